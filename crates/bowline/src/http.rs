//! The one HTTP client of the shell: rustls with ring, the system's certificates, bounded in time and size.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::redirect::Policy;

use crate::error::{Failure, Outcome};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a whole request may take.
const REQUEST: Duration = Duration::from_secs(20);

/// The shared client; its connections are reused.
///
/// # Errors
/// When TLS cannot be set up: no certificates on this machine, for example.
pub fn client() -> Outcome<reqwest::Client> {
    static CLIENT: OnceLock<Result<reqwest::Client, String>> = OnceLock::new();
    CLIENT.get_or_init(|| build(Policy::default())).clone().map_err(without_tls)
}

/// A client of its own that asks nobody but whom it is told to: an answer that points elsewhere is the answer.
///
/// # Errors
/// As [`client`].
pub fn client_without_redirects() -> Outcome<reqwest::Client> {
    build(Policy::none()).map_err(without_tls)
}

fn build(redirects: Policy) -> Result<reqwest::Client, String> {
    // Somebody else in this process may have chosen a provider already; there is only one to choose.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().user_agent(concat!("bowline/", env!("CARGO_PKG_VERSION")));
    let builder = builder.connect_timeout(CONNECT).timeout(REQUEST).redirect(redirects);
    builder.build().map_err(|error| causes(&error))
}

fn without_tls(cause: String) -> Failure {
    Failure::failed("setting up HTTPS")
        .since(cause)
        .hint("install the system's certificates (Debian: ca-certificates)")
}

/// The body of an answer, if it is no longer than `limit` bytes.
///
/// # Errors
/// When the connection breaks or the body is longer.
pub async fn body(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| BodyError::Broken(error.without_url()))? {
        if bytes.len() + chunk.len() > limit {
            return Err(BodyError::TooLong { limit });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection broke.
    #[error("the answer broke off")]
    Broken(#[source] reqwest::Error),
    /// It is too long.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
}

/// An error with all that led to it, on one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}
