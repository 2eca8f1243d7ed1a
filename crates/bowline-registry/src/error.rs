//! What a client is told when a request is refused (distribution-spec, "Error Codes").

use std::io;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bowline_core::digest::Digest;
use http::{StatusCode, header};
use serde_json::json;

use crate::router::answer;

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is nothing at `{path}`")]
    NoSuchPath { path: String },
    #[error("{what} does not take {method}")]
    Method { method: String, what: &'static str },
    #[error("`{name}` is not a repository name")]
    InvalidName { name: String },
    #[error("repository `{name}` is not known here")]
    UnknownName { name: String },
    #[error("`{text}` is not a digest of the form sha256:<64 hex digits>")]
    InvalidDigest { text: String },
    #[error("the content has the digest {actual}, not {expected}")]
    OtherDigest { expected: Digest, actual: Digest },
    #[error("`{text}` is neither a tag nor a digest")]
    InvalidReference { text: String },
    #[error("blob {digest} is not in this repository")]
    UnknownBlob { digest: Digest },
    #[error("manifest `{reference}` is not in this repository")]
    UnknownManifest { reference: String },
    #[error("the manifest cannot be taken: {reason}")]
    InvalidManifest { reason: String },
    #[error("the manifest is larger than {limit} bytes")]
    LargeManifest { limit: usize },
    #[error("the manifest names {digest}, which is not in this repository: push it first")]
    MissingContent { digest: Digest },
    #[error("the manifest says that {digest} has {declared} bytes, but it has {actual}")]
    OtherSize { digest: Digest, declared: u64, actual: u64 },
    #[error("tag `{tag}` exists already, as {present}")]
    TagExists { tag: String, present: Digest },
    #[error("{digest} cannot be deleted while manifest {by} names it: delete that one first")]
    StillNamed { digest: Digest, by: Digest },
    #[error("upload `{id}` is not known here")]
    UnknownUpload { id: String },
    #[error("the upload cannot go on: {reason}")]
    InvalidUpload { reason: String },
    #[error("the upload goes on at byte {offset}")]
    OutOfOrder { location: String, offset: u64 },
    #[error("the blob has {length} bytes, and the range is not within them")]
    RangeNotSatisfiable { length: u64 },
    #[error("a number of results is wanted as n, not `{text}`")]
    InvalidNumber { text: String },
    #[error("too many uploads are open")]
    TooManyUploads,
    #[error("this registry is only for its own machine, and `{host}` is not one of its names")]
    ForeignHost { host: String },
    #[error("nothing more came for {seconds} s")]
    Stalled { seconds: u64 },
    #[error("the connection broke before the request was complete")]
    Cut,
    #[error("the registry could not use its disk: {kind}")]
    Disk {
        kind: io::ErrorKind,
        #[source]
        source: io::Error,
    },
}

impl From<io::Error> for Refusal {
    fn from(source: io::Error) -> Self {
        Self::Disk { kind: source.kind(), source }
    }
}

impl Refusal {
    /// The code of the specification's table. The table has none for a path or a tag write that a condition
    /// forbids; `NOT_FOUND`, `TAG_EXISTS` and `UNKNOWN` are ours, in its form.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NoSuchPath { .. } => "NOT_FOUND",
            Self::Method { .. } | Self::StillNamed { .. } => "UNSUPPORTED",
            Self::InvalidName { .. } => "NAME_INVALID",
            Self::UnknownName { .. } => "NAME_UNKNOWN",
            Self::InvalidDigest { .. } | Self::OtherDigest { .. } => "DIGEST_INVALID",
            Self::InvalidReference { .. } | Self::InvalidManifest { .. } | Self::LargeManifest { .. } => {
                "MANIFEST_INVALID"
            }
            Self::UnknownBlob { .. } => "BLOB_UNKNOWN",
            Self::UnknownManifest { .. } => "MANIFEST_UNKNOWN",
            Self::MissingContent { .. } => "MANIFEST_BLOB_UNKNOWN",
            Self::OtherSize { .. } => "SIZE_INVALID",
            Self::TagExists { .. } => "TAG_EXISTS",
            Self::UnknownUpload { .. } => "BLOB_UPLOAD_UNKNOWN",
            Self::InvalidUpload { .. }
            | Self::OutOfOrder { .. }
            | Self::RangeNotSatisfiable { .. }
            | Self::Stalled { .. }
            | Self::Cut => "BLOB_UPLOAD_INVALID",
            Self::InvalidNumber { .. } => "PAGINATION_NUMBER_INVALID",
            Self::TooManyUploads => "TOOMANYREQUESTS",
            Self::ForeignHost { .. } => "DENIED",
            Self::Disk { .. } => "UNKNOWN",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPath { .. }
            | Self::UnknownName { .. }
            | Self::UnknownBlob { .. }
            | Self::UnknownManifest { .. }
            | Self::UnknownUpload { .. } => StatusCode::NOT_FOUND,
            Self::Method { .. } | Self::StillNamed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::InvalidName { .. }
            | Self::InvalidDigest { .. }
            | Self::OtherDigest { .. }
            | Self::InvalidReference { .. }
            | Self::InvalidManifest { .. }
            | Self::OtherSize { .. }
            | Self::InvalidUpload { .. }
            | Self::InvalidNumber { .. }
            | Self::Cut => StatusCode::BAD_REQUEST,
            // Not 404: a client would take that for a missing repository.
            Self::MissingContent { .. } => StatusCode::BAD_REQUEST,
            Self::LargeManifest { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TagExists { .. } => StatusCode::PRECONDITION_FAILED,
            Self::OutOfOrder { .. } | Self::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::TooManyUploads => StatusCode::TOO_MANY_REQUESTS,
            Self::ForeignHost { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::Stalled { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Disk { kind: io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, .. } => {
                StatusCode::INSUFFICIENT_STORAGE
            }
            Self::Disk { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Request texts come back in messages: cut, and without anything a terminal would act on.
fn escape(text: &str) -> String {
    text.chars().take(600).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body =
            json!({"errors": [{"code": self.code(), "message": escape(&self.to_string())}]}).to_string();
        let mut headers = vec![(header::CONTENT_TYPE, "application/json".to_owned())];
        match &self {
            Self::OutOfOrder { location, offset } => {
                headers.push((header::LOCATION, location.clone()));
                headers.push((header::RANGE, format!("0-{}", offset.saturating_sub(1))));
            }
            Self::RangeNotSatisfiable { length } => {
                headers.push((header::CONTENT_RANGE, format!("bytes */{length}")));
            }
            Self::TooManyUploads => headers.push((header::RETRY_AFTER, "5".into())),
            _ => {}
        }
        answer(self.status(), headers, Body::from(body))
    }
}
