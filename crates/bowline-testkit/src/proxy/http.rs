//! HTTP/1.1, only as much of it as is needed to know where a message ends.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};

use super::stream::{Connection, pass};
use super::{Fault, Request, State};

const HEAD_LIMIT: usize = 256 * 1024;
/// How long a server that has answered already may leave the rest of the request unread.
const GRACE: Duration = Duration::from_secs(5);

/// Where a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Empty,
    Length(u64),
    Chunked,
    UntilClosed,
}

struct Head {
    text: Vec<u8>,
    first: Vec<String>,
    headers: Vec<(String, String)>,
}

impl Head {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn framing(&self, otherwise: Framing) -> Framing {
        if self.header("transfer-encoding").is_some_and(|value| value.to_lowercase().contains("chunked")) {
            return Framing::Chunked;
        }
        match self.header("content-length").and_then(|value| value.parse().ok()) {
            Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
            None => otherwise,
        }
    }

    fn status(&self) -> u16 {
        self.first.get(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    fn request(&self) -> Request {
        let word = |index: usize| self.first.get(index).cloned().unwrap_or_default();
        Request {
            number: 0,
            method: word(0),
            path: word(1),
            headers: self.headers.clone(),
            status: None,
            sent: 0,
            received: 0,
        }
    }
}

fn cut() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

async fn read_head(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Head>> {
    let mut text = Vec::new();
    let mut begin = 0;
    loop {
        if from.read_until(b'\n', &mut text).await? == 0 {
            return if text.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if text.len() > HEAD_LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if matches!(&text[begin..], b"\r\n" | b"\n") {
            break;
        }
        begin = text.len();
    }
    let readable = String::from_utf8_lossy(&text).into_owned();
    let mut lines = readable.lines();
    let first = lines.next().unwrap_or_default().split(' ').map(str::to_owned).collect();
    let pair =
        |line: &str| line.split_once(':').map(|(key, value)| (key.to_lowercase(), value.trim().to_owned()));
    Ok(Some(Head { headers: lines.filter_map(pair).collect(), first, text }))
}

/// Passes requests and answers until one side ends or a fault cuts the line.
pub(super) async fn forward(client: Connection, server: Connection, state: &State) -> io::Result<()> {
    let (from_client, mut to_client) = tokio::io::split(client);
    let (from_server, mut to_server) = tokio::io::split(server);
    let mut from_client = BufReader::new(from_client);
    let mut from_server = BufReader::new(from_server);
    // The first byte of TLS. Engines try that first and wait long for an answer in kind; web servers say no at once.
    if from_client.fill_buf().await?.first() == Some(&0x16) {
        return to_client.write_all(answer(400, &[], "this is plain HTTP\n").as_bytes()).await;
    }
    while let Some(head) = read_head(&mut from_client).await? {
        let (place, fault) = state.note(head.request());
        match fault {
            Some(Fault::Cut) => return Err(cut()),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            Some(Fault::Answer { status, headers, body }) => {
                // The request is taken whole, so that the client reads the answer rather than a broken pipe.
                let mut sink = Counted { inner: tokio::io::sink(), limit: None };
                sink.body(&mut from_client, head.framing(Framing::Empty), |_| ()).await?;
                to_client.write_all(answer(status, &headers, &body).as_bytes()).await?;
                state.amend(place, |request| request.status = Some(status));
                continue;
            }
            _ => {}
        }
        tokio::time::sleep(state.latency()).await;
        to_server.write_all(&head.text).await?;
        let upward = async {
            let limit = if let Some(Fault::CutRequestAfter(bytes)) = fault { Some(bytes) } else { None };
            let mut writer = Counted { inner: &mut to_server, limit };
            let count = |bytes| {
                state.upward.fetch_add(bytes, Ordering::Relaxed);
                state.amend(place, |request| request.sent += bytes);
            };
            writer.body(&mut from_client, head.framing(Framing::Empty), count).await
        };
        let exchange = Exchange { state, place, fault: fault.as_ref(), method: &head.first[0] };
        let downward = exchange.answer(&mut from_server, &mut to_client);
        let cuts_request = matches!(fault, Some(Fault::CutRequestAfter(_)));
        let after = both(upward, downward, cuts_request).await?;
        match after {
            After::Next => {}
            After::Close => return Ok(()),
            After::Tunnel => {
                let up = pass(from_client, to_server, state, &state.upward);
                let down = pass(from_server, to_client, state, &state.downward);
                return tokio::try_join!(up, down).map(drop);
            }
        }
    }
    Ok(())
}

/// Waits for the request to be passed and its answer to be given, in whichever order they end.
async fn both(
    upward: impl Future<Output = io::Result<()>>,
    downward: impl Future<Output = io::Result<After>>,
    cuts_request: bool,
) -> io::Result<After> {
    tokio::pin!(upward, downward);
    tokio::select! {
        after = &mut downward => {
            let after = after?;
            let rest = tokio::time::timeout(GRACE, upward).await;
            Ok(if rest.is_ok_and(|rest| rest.is_ok()) { after } else { After::Close })
        }
        sent = &mut upward => match sent {
            // A server may answer and close without reading everything: its answer still counts.
            Err(_) if !cuts_request => downward.await.map(|_| After::Close),
            sent => { sent?; downward.await }
        }
    }
}

enum After {
    Next,
    Close,
    Tunnel,
}

struct Exchange<'a> {
    state: &'a State,
    place: usize,
    fault: Option<&'a Fault>,
    method: &'a str,
}

impl Exchange<'_> {
    async fn answer(
        &self,
        from: &mut (impl AsyncBufRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<After> {
        loop {
            let head = read_head(from).await?.ok_or_else(cut)?;
            let status = head.status();
            if matches!(self.fault, Some(Fault::CutAnswer)) && status >= 200 {
                return Err(cut());
            }
            tokio::time::sleep(self.state.latency()).await;
            to.write_all(&head.text).await?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            self.state.amend(self.place, |request| request.status = Some(status));
            if status == 101 {
                return Ok(After::Tunnel);
            }
            let bare = self.method == "HEAD" || status == 204 || status == 304;
            let framing = if bare { Framing::Empty } else { head.framing(Framing::UntilClosed) };
            let limit = if let Some(Fault::CutAnswerAfter(bytes)) = self.fault { Some(*bytes) } else { None };
            let count = |bytes| {
                self.state.downward.fetch_add(bytes, Ordering::Relaxed);
                self.state.amend(self.place, |request| request.received += bytes);
            };
            Counted { inner: &mut *to, limit }.body(from, framing, count).await?;
            let closes = head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            return Ok(if closes || framing == Framing::UntilClosed { After::Close } else { After::Next });
        }
    }
}

/// A writer that takes a limited number of a body's bytes.
struct Counted<W> {
    inner: W,
    limit: Option<u64>,
}

impl<W: AsyncWrite + Unpin> Counted<W> {
    async fn body(
        &mut self,
        from: &mut (impl AsyncBufRead + Unpin),
        framing: Framing,
        mut count: impl FnMut(u64),
    ) -> io::Result<()> {
        match framing {
            Framing::Empty => {}
            Framing::Length(length) => self.piece(from, length, &mut count).await?,
            Framing::UntilClosed => self.piece(from, u64::MAX, &mut count).await?,
            Framing::Chunked => loop {
                let mut line = Vec::new();
                from.read_until(b'\n', &mut line).await?;
                self.inner.write_all(&line).await?;
                let text = String::from_utf8_lossy(&line);
                let size = text.trim().split(';').next().unwrap_or_default();
                let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
                if size == 0 {
                    self.trailer(from).await?;
                    break;
                }
                self.piece(from, size, &mut count).await?;
                let mut end = Vec::new();
                from.read_until(b'\n', &mut end).await?;
                self.inner.write_all(&end).await?;
                self.inner.flush().await?;
            },
        }
        self.inner.flush().await
    }

    async fn trailer(&mut self, from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<()> {
        loop {
            let mut line = Vec::new();
            from.read_until(b'\n', &mut line).await?;
            self.inner.write_all(&line).await?;
            if line.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                return Ok(());
            }
        }
    }

    async fn piece(
        &mut self,
        from: &mut (impl AsyncBufRead + Unpin),
        length: u64,
        count: &mut impl FnMut(u64),
    ) -> io::Result<()> {
        let mut left = length;
        let mut buffer = vec![0; 64 * 1024];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = from.read(&mut buffer[..most]).await?;
            if read == 0 {
                return if length == u64::MAX { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            left -= read as u64;
            let granted = self.limit.map_or(read as u64, |limit| limit.min(read as u64));
            self.inner.write_all(&buffer[..usize::try_from(granted).unwrap_or(read)]).await?;
            self.inner.flush().await?;
            count(granted);
            if let Some(limit) = self.limit.as_mut() {
                *limit -= granted;
                if granted < read as u64 {
                    return Err(cut());
                }
            }
        }
        Ok(())
    }
}

fn answer(status: u16, headers: &[(String, String)], body: &str) -> String {
    let mut text = format!("HTTP/1.1 {status} Told So\r\nContent-Length: {}\r\n", body.len());
    for (key, value) in headers {
        text += &format!("{key}: {value}\r\n");
    }
    text + "\r\n" + body
}
