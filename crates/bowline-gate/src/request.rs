//! One request over one connection.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// More is no answer to a question of ours: a list of a thousand containers has 2 MB.
const LIMIT: usize = 8 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Nobody is there, or the connection broke off.
    #[error("{0}")]
    Connection(String),
    /// It takes too long.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The answer is no.
    #[error("the answer is {0}")]
    Refused(http::StatusCode),
}

/// Sends a request over a fresh connection, waits for the whole answer, and closes. `connect` and all else share the
/// time.
pub async fn send<S>(
    connect: impl Future<Output = std::io::Result<S>>,
    request: Request<Empty<Bytes>>,
    time: Duration,
) -> Result<Bytes, RequestError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let exchange = async {
        let broken = |error: hyper::Error| RequestError::Connection(error.to_string());
        let stream = connect.await.map_err(|error| RequestError::Connection(error.to_string()))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            if !response.status().is_success() {
                return Err(RequestError::Refused(response.status()));
            }
            let body = Limited::new(response.into_body(), LIMIT).collect().await;
            body.map(|body| body.to_bytes()).map_err(|error| RequestError::Connection(error.to_string()))
        };
        tokio::pin!(answer, connection);
        let mut open = true;
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                _ = &mut connection, if open => open = false,
            }
        }
    };
    tokio::time::timeout(time, exchange).await.unwrap_or(Err(RequestError::Timeout(time)))
}
