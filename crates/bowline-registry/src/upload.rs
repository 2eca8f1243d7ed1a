//! Uploads: content on its way in, hashed while it is written.

use std::collections::HashMap;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream};
use axum::response::Response;
use bowline_core::digest::Digest;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderName, StatusCode, header};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use crate::error::Refusal;
use crate::name::Name;
use crate::router::{Asked, CONTENT_DIGEST, Registry, answer, blocking};

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// How long a request waits for an earlier one of the same upload, whose connection may just have broken.
const TURN: Duration = Duration::from_secs(5);
/// Pieces of a body that may wait for the disk.
const QUEUE: usize = 8;

/// All open uploads.
#[derive(Debug, Clone)]
pub(crate) struct Uploads {
    open: Arc<Mutex<HashMap<String, Arc<Upload>>>>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Upload {
    id: String,
    name: Name,
    /// Nothing any more once it was finished, cancelled, or the disk refused.
    content: Arc<tokio::sync::Mutex<Option<Content>>>,
    /// How many bytes arrived; readable while somebody sends.
    length: AtomicU64,
    touched: Mutex<Instant>,
}

#[derive(Debug)]
struct Content {
    file: NamedTempFile,
    hasher: Sha256,
    length: u64,
    _permit: OwnedSemaphorePermit,
}

type Turn = OwnedMutexGuard<Option<Content>>;

impl Content {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn go_back(&mut self, hasher: Sha256, length: u64) -> io::Result<()> {
        self.file.as_file().set_len(length)?;
        self.file.seek(SeekFrom::Start(length))?;
        (self.hasher, self.length) = (hasher, length);
        Ok(())
    }
}

impl Uploads {
    /// No uploads, with room for so many.
    pub(crate) fn new(room: usize) -> Self {
        Self { open: Arc::default(), room: Arc::new(Semaphore::new(room)) }
    }

    /// Forgets the uploads that nobody continued for so long.
    pub(crate) fn sweep(&self, age: Duration) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, upload| {
            let touched = *upload.touched.lock().unwrap_or_else(PoisonError::into_inner);
            !upload.is_over() && (touched.elapsed() < age || upload.content.try_lock().is_err())
        });
    }

    async fn open(&self, registry: &Registry, name: Name) -> Result<Arc<Upload>, Refusal> {
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|_| Refusal::TooManyUploads)?;
        let store = registry.store.clone();
        let file = blocking(move || Ok(store.stage()?)).await?;
        let content = Content { file, hasher: Sha256::new(), length: 0, _permit: permit };
        let upload = Arc::new(Upload {
            id: format!("{:032x}", rand::random::<u128>()),
            name,
            content: Arc::new(tokio::sync::Mutex::new(Some(content))),
            length: AtomicU64::new(0),
            touched: Mutex::new(Instant::now()),
        });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(upload.id.clone(), Arc::clone(&upload));
        Ok(upload)
    }

    fn find(&self, name: &Name, id: &str) -> Result<Arc<Upload>, Refusal> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let upload = open.get(id).filter(|upload| upload.name == *name && !upload.is_over());
        let upload = upload.ok_or_else(|| Refusal::UnknownUpload { id: id.into() })?;
        upload.touch();
        Ok(Arc::clone(upload))
    }

    fn forget(&self, id: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl Upload {
    fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether its content is gone. While somebody sends it is not.
    fn is_over(&self) -> bool {
        self.content.try_lock().is_ok_and(|content| content.is_none())
    }

    fn location(&self) -> String {
        format!("/v2/{}/blobs/uploads/{}", self.name, self.id)
    }

    /// A relative location, so that it also holds through a forwarded port; and how far the upload is. The range of
    /// nothing is `0-0`, as every registry says it.
    fn answer(&self, status: StatusCode) -> Response {
        let length = self.length.load(Ordering::Acquire);
        let headers = vec![
            (header::LOCATION, self.location()),
            (header::RANGE, format!("0-{}", length.saturating_sub(1))),
            (UPLOAD_ID, self.id.clone()),
        ];
        answer(status, headers, Body::empty())
    }

    async fn take_turn(&self) -> Result<Turn, Refusal> {
        let content = timeout(TURN, Arc::clone(&self.content).lock_owned()).await;
        let content = content.map_err(|_| Refusal::InvalidUpload {
            reason: "another request is sending its content".into(),
        })?;
        if content.is_some() { Ok(content) } else { Err(Refusal::UnknownUpload { id: self.id.clone() }) }
    }

    /// Adds a body. What arrived of one that was cut stays, so that the client can go on from there.
    async fn append(
        self: &Arc<Self>,
        mut content: Turn,
        span: Option<Span>,
        body: &mut BodyDataStream,
        idle: Duration,
    ) -> Result<Turn, Refusal> {
        let before = content.as_ref().map(|content| (content.hasher.clone(), content.length));
        let (sender, receiver) = mpsc::channel(QUEUE);
        let upload = Arc::clone(self);
        let writer = blocking(move || {
            let written = write_all(&upload, &mut content, receiver);
            if written.is_err() {
                // What is on disk and what was hashed are no longer the same; the space is given back.
                *content = None;
            }
            Ok(written.map(|()| content)?)
        });
        let (sent, content) = tokio::join!(send_all(self, body, sender, idle), writer);
        let mut content = content?;
        let arrived = before.as_ref().zip(content.as_ref()).map(|((_, before), now)| now.length - before);
        if let Some((span, arrived)) = span.zip(arrived)
            && (arrived > span.length() || (sent.is_ok() && arrived < span.length()))
        {
            if let Some((content, (hasher, length))) = content.as_mut().zip(before) {
                content.go_back(hasher, length)?;
                self.length.store(length, Ordering::Release);
            }
            let reason = format!("{arrived} bytes came for a range of {}", span.length());
            return Err(Refusal::InvalidUpload { reason });
        }
        sent.map(|()| content)
    }
}

/// Takes what the body sends to the writer. Dropping the sender, as also happens when the client goes away, ends it.
async fn send_all(
    upload: &Upload,
    body: &mut BodyDataStream,
    sender: mpsc::Sender<Bytes>,
    idle: Duration,
) -> Result<(), Refusal> {
    loop {
        let chunk = match timeout(idle, body.next()).await {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(_))) => return Err(Refusal::Cut),
            Ok(None) => return Ok(()),
            Err(_) => return Err(Refusal::Stalled { seconds: idle.as_secs() }),
        };
        upload.touch();
        if sender.send(chunk).await.is_err() {
            // The writer stopped, and says why itself.
            return Ok(());
        }
    }
}

fn write_all(upload: &Upload, turn: &mut Turn, mut receiver: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let Some(content) = turn.as_mut() else { return Ok(()) };
    while let Some(chunk) = receiver.blocking_recv() {
        content.write(&chunk)?;
        upload.length.store(content.length, Ordering::Release);
    }
    Ok(())
}

/// POST: opens an upload, or makes the blob at once from another repository (`mount`) or the body (`digest`).
pub(crate) async fn begin(
    registry: &Registry,
    name: Name,
    asked: &Asked,
    body: &mut BodyDataStream,
) -> Result<Response, Refusal> {
    if let Some(text) = asked.query("mount") {
        let digest = text.parse().map_err(|_| Refusal::InvalidDigest { text })?;
        let from = asked.query("from").map(|from| Name::parse(&from).ok_or(from));
        let store = registry.store.clone();
        let into = name.clone();
        let mounted = blocking(move || {
            Ok(match from {
                Some(Ok(from)) => store.mount_blob(&into, &digest, Some(&from))?,
                // No repository has that name, so there is nothing to mount from it.
                Some(Err(_)) => false,
                None => store.mount_blob(&into, &digest, None)?,
            })
        });
        if mounted.await? {
            return Ok(created(&name, &digest));
        }
    }
    let digest = asked.query("digest").map(|text| parse_digest(Some(text))).transpose()?;
    let upload = registry.uploads.open(registry, name).await?;
    let Some(digest) = digest else { return Ok(upload.answer(StatusCode::ACCEPTED)) };
    let turn = upload.take_turn().await?;
    let finished = finish(registry, &upload, turn, None, digest, body).await;
    // The client was never told of this upload, so it cannot continue or cancel it.
    registry.uploads.forget(&upload.id);
    finished
}

/// GET: how far an upload is.
pub(crate) fn status(registry: &Registry, name: &Name, id: &str) -> Result<Response, Refusal> {
    Ok(registry.uploads.find(name, id)?.answer(StatusCode::NO_CONTENT))
}

/// DELETE: forgets an upload.
pub(crate) fn cancel(registry: &Registry, name: &Name, id: &str) -> Result<Response, Refusal> {
    registry.uploads.find(name, id)?;
    registry.uploads.forget(id);
    Ok(answer(StatusCode::NO_CONTENT, Vec::new(), Body::empty()))
}

/// The upload that a request goes on with, once it is its turn, and the span that it says.
async fn take_up(
    registry: &Registry,
    name: &Name,
    id: &str,
    asked: &Asked,
) -> Result<(Arc<Upload>, Turn, Option<Span>), Refusal> {
    let upload = registry.uploads.find(name, id)?;
    let turn = upload.take_turn().await?;
    let span = check_span(&upload, &turn, asked)?;
    Ok((upload, turn, span))
}

/// PATCH: adds a chunk, or all of it.
pub(crate) async fn patch(
    registry: &Registry,
    name: &Name,
    id: &str,
    asked: &Asked,
    body: &mut BodyDataStream,
) -> Result<Response, Refusal> {
    let (upload, turn, span) = take_up(registry, name, id, asked).await?;
    drop(upload.append(turn, span, body, registry.limits.idle).await?);
    Ok(upload.answer(StatusCode::ACCEPTED))
}

/// PUT: adds what is left, if anything, and makes the blob.
pub(crate) async fn put(
    registry: &Registry,
    name: &Name,
    id: &str,
    asked: &Asked,
    body: &mut BodyDataStream,
) -> Result<Response, Refusal> {
    let digest = parse_digest(asked.query("digest"))?;
    let (upload, turn, span) = take_up(registry, name, id, asked).await?;
    finish(registry, &upload, turn, span, digest, body).await
}

async fn finish(
    registry: &Registry,
    upload: &Arc<Upload>,
    turn: Turn,
    span: Option<Span>,
    digest: Digest,
    body: &mut BodyDataStream,
) -> Result<Response, Refusal> {
    let mut turn = upload.append(turn, span, body, registry.limits.idle).await?;
    let content = turn.take().ok_or_else(|| Refusal::UnknownUpload { id: upload.id.clone() })?;
    registry.uploads.forget(&upload.id);
    let actual = Digest::from_bytes(content.hasher.finalize().into());
    if actual != digest {
        return Err(Refusal::OtherDigest { expected: digest, actual });
    }
    let (store, name) = (registry.store.clone(), upload.name.clone());
    blocking(move || Ok(store.keep_blob(&name, &digest, content.file)?)).await?;
    Ok(created(&upload.name, &digest))
}

fn created(name: &Name, digest: &Digest) -> Response {
    let headers =
        vec![(header::LOCATION, format!("/v2/{name}/blobs/{digest}")), (CONTENT_DIGEST, digest.to_string())];
    answer(StatusCode::CREATED, headers, Body::empty())
}

fn parse_digest(text: Option<String>) -> Result<Digest, Refusal> {
    let text = text.unwrap_or_default();
    text.parse().map_err(|_| Refusal::InvalidDigest { text })
}

/// The bytes that a chunk says it is: first and last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u64,
    end: u64,
}

impl Span {
    fn length(self) -> u64 {
        self.end - self.start + 1
    }

    /// `Content-Range` of a chunk: `<first>-<last>` (distribution-spec, "Pushing a blob in chunks"); the form of
    /// RFC 9110, `bytes <first>-<last>/<all>`, is what some clients send.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches([' ', '=']));
        let text = text.split('/').next()?;
        let (start, end) = text.split_once('-')?;
        let span = Self { start: start.parse().ok()?, end: end.parse().ok()? };
        (span.start <= span.end && span.end < u64::MAX).then_some(span)
    }
}

/// The chunk's span, if it says one: it must begin where the upload stands and be as long as the body.
fn check_span(upload: &Upload, turn: &Turn, asked: &Asked) -> Result<Option<Span>, Refusal> {
    let offset = turn.as_ref().map_or(0, |content| content.length);
    let Some(text) = asked.header(header::CONTENT_RANGE) else { return Ok(None) };
    let invalid = |reason| Refusal::InvalidUpload { reason };
    let span = Span::parse(text).ok_or_else(|| invalid(format!("`{text}` is no Content-Range")))?;
    if span.start != offset {
        return Err(Refusal::OutOfOrder { location: upload.location(), offset });
    }
    match asked.length() {
        Some(length) if length != span.length() => {
            Err(invalid(format!("{length} bytes are sent for a range of {}", span.length())))
        }
        _ => Ok(Some(span)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_in_both_forms() {
        for (text, expected) in [
            ("0-9", Some((0, 9))),
            ("10-10", Some((10, 10))),
            ("bytes 5-9/10", Some((5, 9))),
            ("bytes=5-9", Some((5, 9))),
            ("9-5", None),
            ("-5", None),
            ("5-", None),
            ("x", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(Span::parse(text), expected.map(|(start, end)| Span { start, end }), "{text}");
        }
    }
}
