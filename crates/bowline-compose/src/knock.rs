//! Asking a container from the host's side whether it is up: by TCP, or by one HTTP request.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::connection::Connection;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Over SSH, a refused connection is told by an early end: this long is waited for it.
const REFUSAL: Duration = Duration::from_millis(300);

/// Something that can be talked over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Connection {
    /// Whether a connection to this address of the host's networks is accepted within 5 s.
    pub async fn accepts_tcp(&self, address: SocketAddr) -> bool {
        let knock = async {
            let Some(mut stream) = self.dial(address).await else { return false };
            if !self.is_far() {
                return true;
            }
            let mut byte = [0];
            // Silence and a greeting are both a yes.
            !matches!(tokio::time::timeout(REFUSAL, stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
        };
        tokio::time::timeout(PATIENCE, knock).await.unwrap_or(false)
    }

    /// The status of one GET request to this address of the host's networks; nothing where there is no answer
    /// within 5 s. `path` begins with a slash. Redirects are not followed.
    pub async fn http_status(&self, address: SocketAddr, path: &str) -> Option<u16> {
        let ask = async {
            let stream = self.dial(address).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
            let driver = tokio::spawn(connection);
            let request = http::Request::get(path)
                .header("Host", "localhost")
                .header("User-Agent", "bowline")
                .header("Connection", "close")
                .body(Empty::<Bytes>::new())
                .ok()?;
            let status = sender.send_request(request).await.ok().map(|answer| answer.status().as_u16());
            driver.abort();
            status
        };
        tokio::time::timeout(PATIENCE, ask).await.ok()?
    }

    async fn dial(&self, address: SocketAddr) -> Option<Box<dyn Stream>> {
        match self.lead_to(address).await.ok()? {
            Some(socket) => Some(Box::new(UnixStream::connect(socket).await.ok()?)),
            None => Some(Box::new(TcpStream::connect(address).await.ok()?)),
        }
    }
}
