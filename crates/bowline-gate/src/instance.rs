//! What kind of machine the cloud says this is.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::http::request::Builder;
use tokio::net::TcpStream;

use crate::request::{RequestError, send};

/// The service is on the machine itself: who does not answer by then is not there.
const TIME: Duration = Duration::from_secs(1);

/// Asks EC2's metadata service (IMDSv2: first for a token) at this address for the type of this machine. Its answers
/// travel one hop by default: a container gets them on the host's own network only.
///
/// # Errors
/// When nobody answers within a second, or the answer is no type.
pub async fn fetch_type(service: SocketAddr) -> Result<String, RequestError> {
    let token = Request::put("/latest/api/token").header("x-aws-ec2-metadata-token-ttl-seconds", "60");
    let token = ask(service, token).await?;
    let question =
        Request::get("/latest/meta-data/instance-type").header("x-aws-ec2-metadata-token", &*token);
    let name = ask(service, question).await?;
    let is_type = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_type) {
        return Err(RequestError::Connection("the answer is no instance type".into()));
    }
    Ok(name)
}

async fn ask(service: SocketAddr, request: Builder) -> Result<String, RequestError> {
    let request = request.header("host", service.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| RequestError::Connection(error.to_string()))?;
    let answer = send(TcpStream::connect(service), request, TIME).await?;
    Ok(String::from_utf8_lossy(&answer).trim().to_owned())
}
