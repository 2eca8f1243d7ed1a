//! A small HTTP/1.1 server: a thread for each connection, limits on everything that a stranger sends.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const HEAD_LIMIT: u64 = 16 * 1024;
const BODY_LIMIT: usize = 64 * 1024;
const CONNECTIONS: usize = 2000;
const IDLE: Duration = Duration::from_secs(60);

/// A request; header names are in small letters.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What a request gets.
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers =
            vec![("Content-Type", kind.to_owned()), ("X-Content-Type-Options", "nosniff".to_owned())];
        Self { status, headers, body: body.into() }
    }

    pub fn text(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }
}

/// The answer to a health check: 200, or 503 and why.
pub fn health(state: Result<(), &str>) -> Reply {
    Reply::Answer(match state {
        Ok(()) => Response::text(200, "healthy"),
        Err(why) => Response::text(503, why),
    })
}

/// An answer, or the connection for somebody who goes on with another protocol.
pub enum Reply {
    Answer(Response),
    Upgrade(Response, Box<dyn FnOnce(BufReader<TcpStream>) + Send>),
}

pub type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// Serves until the listener fails.
pub fn serve(listener: &TcpListener, handler: &Handler) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming().flatten() {
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (handler, open) = (Arc::clone(handler), Arc::clone(&open));
        std::thread::spawn(move || {
            // A client that goes away in the middle is none of our business.
            let _ = converse(stream, &handler);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn converse(stream: TcpStream, handler: &Handler) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let request = match read_request(&mut reader) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return write_response(&mut writer, &Response::text(400, &error.to_string()), "close");
            }
            Err(error) => return Err(error),
        };
        match handler(&request) {
            Reply::Answer(response) => {
                let closes =
                    request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                write_response(&mut writer, &response, if closes { "close" } else { "keep-alive" })?;
                if closes {
                    return Ok(());
                }
            }
            Reply::Upgrade(response, go_on) => {
                write_response(&mut writer, &response, "Upgrade")?;
                go_on(reader);
                return Ok(());
            }
        }
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

/// Reads the lines up to the empty one; `None` when the other side has ended.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut limited = reader.take(HEAD_LIMIT);
    loop {
        let begin = head.len();
        if limited.read_until(b'\n', &mut head)? == 0 {
            return match (begin, limited.limit()) {
                (_, 0) => Err(invalid("the head is too long")),
                (0, _) => Ok(None),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        if matches!(head.get(begin..), Some(b"\r\n" | b"\n")) {
            return Ok(Some(head));
        }
    }
}

fn pairs(headers: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    let pair = |header: &httparse::Header<'_>| {
        (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
    };
    headers.iter().map(pair).collect()
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let Some(head) = read_head(reader)? else { return Ok(None) };
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    parsed.parse(&head).map_err(|error| invalid(&error.to_string()))?;
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        headers: pairs(parsed.headers),
        body: Vec::new(),
    };
    if request.header("transfer-encoding").is_some() {
        return Err(invalid("a body must come with its length"));
    }
    let length = request.header("content-length").map_or(Ok(0), str::parse::<usize>);
    let length = length.map_err(|_| invalid("the length is no number"))?;
    if length > BODY_LIMIT {
        return Err(invalid("the body is too long"));
    }
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}

fn write_response(writer: &mut TcpStream, response: &Response, connection: &str) -> io::Result<()> {
    let reason = match response.status {
        101 => "Switching Protocols",
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        503 => "Service Unavailable",
        _ => "Response",
    };
    let mut text = format!("HTTP/1.1 {} {reason}\r\nConnection: {connection}\r\n", response.status);
    for (name, value) in &response.headers {
        text += &format!("{name}: {value}\r\n");
    }
    if response.status != 101 {
        text += &format!("Content-Length: {}\r\n", response.body.len());
    }
    let mut bytes = (text + "\r\n").into_bytes();
    bytes.extend(&response.body);
    writer.write_all(&bytes)
}

/// Asks for a path; gives the status and the body.
pub fn get(address: &str, path: &str, timeout: Duration) -> io::Result<(u16, Vec<u8>)> {
    let address = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let head = read_head(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    parsed.parse(&head).map_err(|error| invalid(&error.to_string()))?;
    let mut body = Vec::new();
    reader.take(1024 * 1024).read_to_end(&mut body)?;
    Ok((parsed.code.unwrap_or(0), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let handler: Handler = Arc::new(|request| {
            let body =
                format!("{} {} {}", request.method, request.path, String::from_utf8_lossy(&request.body));
            Reply::Answer(Response::text(200, &body))
        });
        std::thread::spawn(move || serve(&listener, &handler));
        address
    }

    fn send(address: &str, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // The server may have said its no before it has read everything.
        let _ = stream.write_all(bytes);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    #[test]
    fn requests_of_one_connection_are_answered_in_turn() {
        let request =
            b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\nConnection: close\r\n\r\n";
        let text = send(&start(), request);
        assert!(text.contains("POST /a hi") && text.contains("GET /b"), "{text}");
    }

    #[test]
    fn what_is_too_much_or_no_http_is_refused() {
        let address = start();
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000));
        for bad in [long.as_str(), "nonsense\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"]
        {
            assert!(send(&address, bad.as_bytes()).starts_with("HTTP/1.1 400"), "{}", &bad[..8]);
        }
        assert_eq!(get(&address, "/c", Duration::from_secs(5)).unwrap(), (200, b"GET /c \n".to_vec()));
    }
}
