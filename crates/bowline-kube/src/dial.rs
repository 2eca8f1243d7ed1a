//! How a byte stream to the API server comes about: directly, through a proxy, or as somebody else opens it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take to come about.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);
/// A proxy's answer to CONNECT is a few lines; more is something else.
const LONGEST_ANSWER: usize = 8192;

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Opens a stream to a host and port, from wherever it likes: over SSH, from the control plane's own machine.
pub type Opener = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> + Send + Sync>;

/// The way to the API server.
#[derive(Clone)]
pub(crate) enum Dialer {
    /// From here.
    Direct,
    /// From here, through an HTTP proxy.
    Proxy {
        /// The proxy's host and port.
        at: (String, u16),
    },
    /// As somebody else opens it.
    Through(Opener),
}

impl Dialer {
    async fn dial(self, host: String, port: u16) -> io::Result<Wire> {
        let stream = match self {
            Self::Direct => Box::new(connect(&host, port).await?) as Box<dyn Stream>,
            Self::Proxy { at: (proxy, at) } => {
                let mut stream = connect(&proxy, at).await?;
                in_time(CONNECT, tunnel(&mut stream, &host, port)).await?;
                Box::new(stream)
            }
            // Whoever opens it knows how long that may take: a first SSH connection is slower than a channel of it.
            Self::Through(open) => in_time(CONNECT * 4, open(host, port)).await?,
        };
        Ok(Wire(TokioIo::new(stream)))
    }
}

async fn in_time<T>(within: Duration, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late =
        || io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {} s", within.as_secs()));
    timeout(within, what).await.map_err(|_| late())?
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = in_time(CONNECT, TcpStream::connect((host, port))).await?;
    // Requests are small and waited for.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks an HTTP proxy for a tunnel.
async fn tunnel(stream: &mut TcpStream, host: &str, port: u16) -> io::Result<()> {
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        // One byte at a time: what comes after the empty line belongs to the tunnel.
        match stream.read_u8().await {
            Ok(byte) if answer.len() < LONGEST_ANSWER => answer.push(byte),
            _ => return Err(io::Error::other("the proxy does not answer CONNECT as a proxy does")),
        }
    }
    let status = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    match status.split_whitespace().nth(1) {
        Some("200") => Ok(()),
        _ => Err(io::Error::other(format!("the proxy refuses a tunnel to {authority}: {status}"))),
    }
}

impl tower::Service<Uri> for Dialer {
    type Response = Wire;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Wire>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (host, port) = authority(&uri);
        Box::pin(self.clone().dial(host, port))
    }
}

/// Host and port of an address, an IPv6 address without its brackets.
pub(crate) fn authority(uri: &Uri) -> (String, u16) {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    (host, uri.port_u16().unwrap_or(port))
}

/// A stream as hyper wants it.
pub(crate) struct Wire(TokioIo<Box<dyn Stream>>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
