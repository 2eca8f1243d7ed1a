//! Blobs (distribution-spec, "Pulling blobs", "Pushing Blobs", "Mounting a blob from another repository").

use std::io::SeekFrom;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bowline_core::digest::Digest;
use bowline_core::reference::Repository;
use futures_util::StreamExt as _;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Body, Method, Url};
use tokio::io::AsyncSeekExt as _;

use super::auth::Scope;
use super::retry::{self, Retry};
use super::{Answer, Call, Client, RegistryError, may_follow, method};
use crate::store::{Store, StoreError};

/// What is told about progress: this many bytes more have gone out or come in. May be called from any thread.
pub type Tick = Arc<dyn Fn(u64) + Send + Sync>;

/// Up to this size, a blob goes with the request that ends its upload.
const SMALL: u64 = 64 << 10;
/// How often an upload is begun again that the registry refuses: a state that passes does so at once.
const RESTARTS: u32 = 2;
/// How much is read from disk at a time.
const CHUNK: usize = 256 << 10;

/// How a blob came to be in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was there.
    Present,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent.
    Sent,
}

/// Where a blob's bytes come from.
#[derive(Clone)]
pub(crate) enum Origin<'a> {
    /// A file on disk.
    File(&'a Path),
    /// Bytes in memory: small ones.
    Bytes(&'a [u8]),
    /// Another repository, piped through.
    Repository(&'a Repository),
    /// It cannot be sent: it is there, or can be mounted, or it is missing.
    Nowhere,
}

/// A blob to be brought into a repository.
#[derive(Clone)]
pub(crate) struct Upload<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) origin: Origin<'a>,
    /// A repository of the same registry that may have it.
    pub(crate) mount: Option<&'a str>,
    pub(crate) tick: Tick,
}

/// An upload that the registry has opened.
struct Session {
    location: Url,
    /// How much of the blob the registry has.
    offset: u64,
}

impl Client {
    /// Whether a repository has a blob.
    pub async fn has_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool, RegistryError> {
        let call = Call {
            registry: &repository.registry,
            repository: &repository.name,
            scope: Scope::pull(&repository.name),
            doing: format!("look for blob {} in {repository}", digest.short()),
        };
        let url = self.url(call.registry, &format!("{}/blobs/{digest}", repository.name))?;
        let answer = self.send(&call, |http| method(http, Method::HEAD, &url)).await?;
        match answer.0.status().as_u16() {
            // A registry that does not know the repository yet does not have the blob.
            404 => Ok(false),
            _ => answer.accept(&call, &[200]).await.map(|_| true),
        }
    }

    /// Reads a small blob of a known size, verified.
    pub async fn read_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut retry = Retry::within(self.patience);
        loop {
            let (call, response, _) = self.open_blob(repository, digest, 0).await?;
            let limit = usize::try_from(size).unwrap_or(usize::MAX);
            let bytes = match self.read_body(&call, response, limit).await {
                Err(error) if error.is_passing() && retry.pause(None).await => continue,
                result => result?,
            };
            let actual = Digest::of(&bytes);
            if actual != *digest {
                return Err(RegistryError::Mismatch {
                    reference: repository.at(*digest).to_string(),
                    actual,
                });
            }
            return Ok(bytes);
        }
    }

    /// Fetches a blob of a known size, in bytes, into the store, verified. A line that is cut is taken up again where
    /// it broke; a registry that sends more is not listened to.
    pub async fn pull_blob(
        &self,
        repository: &Repository,
        (digest, size): (&Digest, u64),
        store: &Store,
        tick: &Tick,
    ) -> Result<(), RegistryError> {
        let _turn = self.inner.transfers.acquire().await;
        let doing = format!("fetch blob {} of {repository}", digest.short());
        let failed = |source: StoreError| RegistryError::Store { doing: doing.clone(), source };
        let mut writer = store.writer().map_err(failed)?;
        let mut have = 0;
        let mut retry = Retry::within(self.patience);
        loop {
            match self.pull_from(repository, (digest, size), &mut writer, &mut have, tick).await {
                Ok(()) => break,
                Err(error) if error.is_passing() && retry.pause(None).await => {}
                Err(error) => return Err(error),
            }
        }
        writer.commit_as(digest).map(drop).map_err(failed)
    }

    async fn pull_from(
        &self,
        repository: &Repository,
        (digest, size): (&Digest, u64),
        writer: &mut impl std::io::Write,
        have: &mut u64,
        tick: &Tick,
    ) -> Result<(), RegistryError> {
        let (call, mut response, mut skip) = self.open_blob(repository, digest, *have).await?;
        let idle = self.inner.options.idle;
        loop {
            let chunk = tokio::time::timeout(idle, response.chunk()).await;
            let Some(chunk) =
                chunk.map_err(|_| call.timeout(idle))?.map_err(|source| call.transport(source))?
            else {
                return Ok(());
            };
            // A registry without ranges starts over: what is there already is dropped.
            let dropped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= dropped as u64;
            let fresh = chunk.slice(dropped..);
            if *have + fresh.len() as u64 > size {
                return Err(call.protocol(&format!("sends more than the {size} bytes that the blob has")));
            }
            writer.write_all(&fresh).map_err(|source| RegistryError::Store {
                doing: call.doing.clone(),
                source: StoreError::Io { doing: "write", path: "a blob".into(), source },
            })?;
            *have += fresh.len() as u64;
            tick(fresh.len() as u64);
        }
    }

    /// Opens a blob from `offset` on; also gives how many bytes of the body come before that.
    async fn open_blob<'a>(
        &self,
        repository: &'a Repository,
        digest: &Digest,
        offset: u64,
    ) -> Result<(Call<'a>, reqwest::Response, u64), RegistryError> {
        let call = Call {
            registry: &repository.registry,
            repository: &repository.name,
            scope: Scope::pull(&repository.name),
            doing: format!("fetch blob {} of {repository}", digest.short()),
        };
        let url = self.url(call.registry, &format!("{}/blobs/{digest}", repository.name))?;
        let get = |http: &reqwest::Client| match offset {
            0 => method(http, Method::GET, &url),
            _ => method(http, Method::GET, &url).header(RANGE, format!("bytes={offset}-")),
        };
        let answer = self.send(&call, get).await?.accept(&call, &[200, 206]).await?;
        let skip = if answer.0.status().as_u16() == 206 { 0 } else { offset };
        Ok((call, answer.0, skip))
    }

    /// Brings a blob into a repository, unless it is there: by mount where that works, else by sending it. A line
    /// that is cut is taken up where the registry says that it broke, or the upload starts over. `None` where it
    /// would have to be sent and there is nothing to send.
    pub(crate) async fn push_blob(&self, upload: &Upload<'_>) -> Result<Option<Outcome>, RegistryError> {
        if self.has_blob(upload.repository, &upload.digest).await? {
            return Ok(Some(Outcome::Present));
        }
        if matches!(upload.origin, Origin::Nowhere) {
            return Ok(None);
        }
        let _turn = self.inner.transfers.acquire().await;
        let mut retry = Retry::within(self.patience);
        let mut mount = upload.mount;
        let mut restarts = 0;
        let mut session: Option<Session> = None;
        loop {
            let result = match session.take() {
                None => match self.start(upload, mount).await {
                    Ok(None) => return Ok(Some(Outcome::Mounted)),
                    Ok(Some(opened)) => self.continue_upload(upload, opened, &mut session).await,
                    Err(error) => Err(error),
                },
                Some(open) => self.continue_upload(upload, open, &mut session).await,
            };
            mount = None;
            let error = match result {
                Ok(()) => return Ok(Some(Outcome::Sent)),
                Err(error) => error,
            };
            // A session that is gone, or out of step, is opened anew.
            let restart = matches!(&error, RegistryError::NotFound { .. })
                || matches!(&error, RegistryError::Status { status: 400 | 409 | 416, .. });
            if !(error.is_passing() || restart) || !retry.pause(None).await {
                return Err(error);
            }
            if restart {
                session = None;
                restarts += 1;
                if restarts > RESTARTS {
                    return Err(error);
                }
            }
            if let Some(broken) = session.take() {
                session = self.ask_offset(upload, broken).await;
            }
        }
    }

    /// Opens an upload; `None` where the registry mounted the blob instead.
    async fn start(
        &self,
        upload: &Upload<'_>,
        mount: Option<&str>,
    ) -> Result<Option<Session>, RegistryError> {
        let repository = upload.repository;
        let mut scope = Scope::push(&repository.name);
        let mut url = self.url(&repository.registry, &format!("{}/blobs/uploads/", repository.name))?;
        if let Some(from) = mount {
            scope = scope.and_pull(from);
            url.query_pairs_mut().append_pair("mount", &upload.digest.to_string()).append_pair("from", from);
        }
        let call = upload.call(scope);
        let post = |http: &reqwest::Client| method(http, Method::POST, &url).header(CONTENT_LENGTH, 0);
        let answer = match self.send(&call, post).await {
            Ok(answer) => answer.accept(&call, &[201, 202]).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) if answer.0.status().as_u16() == 201 && mount.is_some() => Ok(None),
            Ok(answer) => {
                let location = location(&call, &answer)?;
                Ok(Some(Session { location, offset: 0 }))
            }
            // Registries answer a mount that they do not like in many ways; without one it may work.
            Err(error) if mount.is_some() && !error.is_passing() => Box::pin(self.start(upload, None)).await,
            Err(error) => Err(error),
        }
    }

    /// Sends what the registry does not have yet, and ends the upload. `broken` gets the session back where it
    /// may be taken up again.
    async fn continue_upload(
        &self,
        upload: &Upload<'_>,
        mut session: Session,
        broken: &mut Option<Session>,
    ) -> Result<(), RegistryError> {
        let call = upload.call(Scope::push(&upload.repository.name));
        let small = upload.size <= SMALL && session.offset == 0;
        if !small && session.offset < upload.size {
            match self.send_body(upload, &call, Method::PATCH, &session.location, session.offset).await {
                // ECR answers 201 to a chunk, others 202 or 204.
                Ok(answer) => session.location = location(&call, &answer)?,
                Err(error) => {
                    *broken = Some(session);
                    return Err(error);
                }
            }
        }
        let mut url = session.location.clone();
        url.query_pairs_mut().append_pair("digest", &upload.digest.to_string());
        if small {
            return self.send_body(upload, &call, Method::PUT, &url, 0).await.map(drop);
        }
        let put = |http: &reqwest::Client| method(http, Method::PUT, &url).header(CONTENT_LENGTH, 0);
        self.send(&call, put).await?.accept(&call, &[200, 201, 204]).await.map(drop)
    }

    /// Sends a blob's bytes from `offset` on, and watches that they move.
    async fn send_body(
        &self,
        upload: &Upload<'_>,
        call: &Call<'_>,
        verb: Method,
        url: &Url,
        offset: u64,
    ) -> Result<Answer, RegistryError> {
        let moved = Arc::new(AtomicU64::new(0));
        let mut token = self.token(call);
        let mut refused = false;
        loop {
            let body = self.body(upload, offset, &moved).await?;
            let length = upload.size - offset;
            let http = self.http(call.registry)?;
            let mut request = method(http, verb.clone(), url)
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, length)
                .body(body);
            if offset > 0 {
                request = request.header(CONTENT_RANGE, format!("{offset}-{}", upload.size - 1));
            }
            let (http, request) = self.authorize(call, request, token.as_ref())?;
            let idle = self.inner.options.idle;
            let response = watch(idle, &moved, http.execute(request))
                .await
                .ok_or_else(|| call.timeout(idle))?
                .map_err(|source| call.transport(source))?;
            if response.status().as_u16() == 401 && !refused {
                refused = true;
                token = Some(self.log_in(call, token.as_ref(), response.headers()).await?);
                continue;
            }
            if super::error::is_passing(response.status().as_u16())
                && let Some(after) = retry::after(response.headers(), SystemTime::now())
            {
                tokio::time::sleep(after.min(self.patience)).await;
            }
            return Answer(response).accept(call, &[200, 201, 202, 204]).await;
        }
    }

    /// The bytes from `offset` on, as a body that reports what goes through it.
    async fn body(
        &self,
        upload: &Upload<'_>,
        offset: u64,
        moved: &Arc<AtomicU64>,
    ) -> Result<Body, RegistryError> {
        let (tick, moved) = (upload.tick.clone(), moved.clone());
        let report = move |bytes: usize| {
            moved.fetch_add(bytes as u64, Ordering::Relaxed);
            tick(bytes as u64);
        };
        match upload.origin {
            Origin::File(path) => {
                let failed = |source| RegistryError::Store {
                    doing: format!("send blob {}", upload.digest.short()),
                    source: StoreError::Io { doing: "read", path: path.to_owned(), source },
                };
                let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
                file.seek(SeekFrom::Start(offset)).await.map_err(failed)?;
                let stream = tokio_util::io::ReaderStream::with_capacity(file, CHUNK);
                Ok(Body::wrap_stream(
                    stream.inspect(move |chunk| report(chunk.as_ref().map_or(0, bytes::Bytes::len))),
                ))
            }
            Origin::Nowhere => Ok(Body::from("")),
            Origin::Bytes(bytes) => {
                let rest = bytes.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
                report(rest.len());
                Ok(Body::from(rest.to_vec()))
            }
            Origin::Repository(source) => {
                let (_, response, skip) = self.open_blob(source, &upload.digest, offset).await?;
                let mut skip = usize::try_from(skip).unwrap_or(usize::MAX);
                let stream = response.bytes_stream().map(move |chunk| {
                    let chunk = chunk?;
                    let dropped = skip.min(chunk.len());
                    skip -= dropped;
                    report(chunk.len() - dropped);
                    Ok::<_, reqwest::Error>(chunk.slice(dropped..))
                });
                Ok(Body::wrap_stream(stream))
            }
        }
    }

    /// Asks how much of a broken upload the registry has; `None` where it must start over.
    async fn ask_offset(&self, upload: &Upload<'_>, session: Session) -> Option<Session> {
        let call = upload.call(Scope::push(&upload.repository.name));
        let answer = self.send(&call, |http| method(http, Method::GET, &session.location)).await.ok()?;
        let answer = answer.accept(&call, &[204]).await.ok()?;
        // `0-0` is one byte, or none: registries do not agree. Starting over is right in both cases.
        let last: u64 = answer.header("range")?.rsplit_once('-')?.1.parse().ok()?;
        let offset = if last == 0 { return None } else { last + 1 };
        let location = location(&call, &answer).unwrap_or(session.location);
        (offset <= upload.size).then_some(Session { location, offset })
    }
}

impl Upload<'_> {
    fn call(&self, scope: Scope) -> Call<'_> {
        Call {
            registry: &self.repository.registry,
            repository: &self.repository.name,
            scope,
            doing: format!("send blob {} to {}", self.digest.short(), self.repository),
        }
    }
}

/// Where an upload goes on: relative to the request, and nowhere forbidden.
fn location(call: &Call<'_>, answer: &Answer) -> Result<Url, RegistryError> {
    let base = answer.0.url();
    let text = answer
        .header(LOCATION.as_str())
        .ok_or_else(|| call.protocol("opened an upload without a place for it"))?;
    let mut url = base.join(text).map_err(|_| call.protocol("named an upload's place that is no address"))?;
    // Behind a proxy that ends TLS, registries often name themselves without it.
    if base.scheme() == "https" && url.scheme() == "http" && url.host_str() == base.host_str() {
        let _ = url.set_scheme("https");
    }
    if !may_follow(base, &url) {
        return Err(call.protocol("sends uploads to a forbidden address"));
    }
    Ok(url)
}

/// Waits for a request as long as bytes move; `None` when they did not for this long.
async fn watch<T>(idle: Duration, moved: &AtomicU64, request: impl Future<Output = T>) -> Option<T> {
    let mut request = std::pin::pin!(request);
    let mut last = moved.load(Ordering::Relaxed);
    loop {
        match tokio::time::timeout(idle, request.as_mut()).await {
            Ok(result) => return Some(result),
            Err(_) => {
                let now = moved.load(Ordering::Relaxed);
                if now == last {
                    return None;
                }
                last = now;
            }
        }
    }
}
