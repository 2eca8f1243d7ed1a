//! Blobs: content by digest.

use std::io::SeekFrom;

use axum::body::Body;
use axum::response::Response;
use bowline_core::digest::Digest;
use http::{Method, StatusCode, header};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use crate::disk;
use crate::error::Refusal;
use crate::manifest;
use crate::name::Name;
use crate::router::{Asked, CONTENT_DIGEST, Registry, answer, blocking};

/// What is read from disk at once on its way out.
const CHUNK: usize = 256 * 1024;

/// HEAD and GET, whole or one range.
pub(crate) async fn get(
    registry: &Registry,
    name: Name,
    digest: Digest,
    asked: &Asked,
) -> Result<Response, Refusal> {
    let store = registry.store.clone();
    let opened = blocking(move || Ok(store.open_blob(&name, &digest)?)).await?;
    let (file, length) = opened.ok_or(Refusal::UnknownBlob { digest })?;
    let mut headers = vec![
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::ACCEPT_RANGES, "bytes".into()),
        (header::ETAG, format!("\"{digest}\"")),
        (CONTENT_DIGEST, digest.to_string()),
    ];
    let span = asked.header(header::RANGE).map_or(Span::Whole, |text| parse_range(text, length));
    let (status, start, count) = match span {
        Span::Whole => (StatusCode::OK, 0, length),
        Span::Part { start, end } => {
            headers.push((header::CONTENT_RANGE, format!("bytes {start}-{end}/{length}")));
            (StatusCode::PARTIAL_CONTENT, start, end - start + 1)
        }
        Span::Outside => return Err(Refusal::RangeNotSatisfiable { length }),
    };
    headers.push((header::CONTENT_LENGTH, count.to_string()));
    if asked.method == Method::HEAD {
        return Ok(answer(status, headers, Body::empty()));
    }
    let mut file = tokio::fs::File::from_std(file);
    file.set_max_buf_size(CHUNK);
    if start > 0 {
        file.seek(SeekFrom::Start(start)).await?;
    }
    let stream = ReaderStream::with_capacity(file.take(count), CHUNK);
    Ok(answer(status, headers, Body::from_stream(stream)))
}

/// DELETE: takes the blob out of this repository. The content goes when it is collected.
pub(crate) async fn delete(registry: &Registry, name: Name, digest: Digest) -> Result<Response, Refusal> {
    let store = registry.store.clone();
    blocking(move || {
        let _removing = store.removing();
        if let Some(by) = manifest::find_namer(&store, &name, &digest)? {
            return Err(Refusal::StillNamed { digest, by });
        }
        if disk::remove(&store.blobs(&name).join(digest.hex()))? {
            Ok(answer(StatusCode::ACCEPTED, Vec::new(), Body::empty()))
        } else {
            Err(Refusal::UnknownBlob { digest })
        }
    })
    .await
}

#[derive(Debug, PartialEq, Eq)]
enum Span {
    Whole,
    /// From the first to the last byte, both included.
    Part {
        start: u64,
        end: u64,
    },
    Outside,
}

/// Which part of `length` bytes a `Range` header asks for (RFC 9110, section 14.2). Several ranges, other units and
/// what does not parse are answered with the whole, as the RFC allows.
fn parse_range(text: &str, length: u64) -> Span {
    let Some((first, last)) = text.trim().strip_prefix("bytes=").and_then(|text| text.split_once('-')) else {
        return Span::Whole;
    };
    let end_of_all = length.saturating_sub(1);
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(start), Ok(end)) if start <= end && start < length => {
            Span::Part { start, end: end.min(end_of_all) }
        }
        (Ok(start), Ok(end)) if start > end => Span::Whole,
        (Ok(start), Err(_)) if last.trim().is_empty() && start < length => {
            Span::Part { start, end: end_of_all }
        }
        (Ok(_), Err(_)) if !last.trim().is_empty() => Span::Whole,
        (Err(_), Ok(count)) if first.trim().is_empty() && count > 0 && length > 0 => {
            Span::Part { start: length.saturating_sub(count), end: end_of_all }
        }
        (Err(_), _) if !first.trim().is_empty() || last.trim().is_empty() => Span::Whole,
        (Err(_), Err(_)) => Span::Whole,
        _ => Span::Outside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let part = |start, end| Span::Part { start, end };
        for (text, length, span) in [
            ("bytes=0-9", 100, part(0, 9)),
            ("bytes=90-200", 100, part(90, 99)),
            ("bytes=99-", 100, part(99, 99)),
            ("bytes=-10", 100, part(90, 99)),
            ("bytes=-200", 100, part(0, 99)),
            ("bytes=100-", 100, Span::Outside),
            ("bytes=100-200", 100, Span::Outside),
            ("bytes=-0", 100, Span::Outside),
            ("bytes=0-0", 0, Span::Outside),
            ("bytes=-5", 0, Span::Outside),
            ("bytes=9-0", 100, Span::Whole),
            ("bytes=0-1,5-6", 100, Span::Whole),
            ("bytes=a-b", 100, Span::Whole),
            ("bytes=-", 100, Span::Whole),
            ("bytes=1-x", 100, Span::Whole),
            ("lines=0-1", 100, Span::Whole),
            ("bytes=0-99999999999999999999999", 100, Span::Whole),
        ] {
            assert_eq!(parse_range(text, length), span, "{text} of {length}");
        }
    }
}
