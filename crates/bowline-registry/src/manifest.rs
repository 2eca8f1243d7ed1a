//! Manifests: what names an image's content.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::response::Response;
use bowline_core::digest::Digest;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderName, Method, StatusCode, header};

use crate::disk;
use crate::document::{self, Document};
use crate::error::Refusal;
use crate::name::{Name, Reference};
use crate::router::{Asked, CONTENT_DIGEST, Registry, answer, blocking};
use crate::store::Store;
use crate::tag;

/// The largest manifest taken (distribution-spec, "Pushing Manifests": at least 4 MiB should be).
const LARGEST: usize = 4 * 1024 * 1024;
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// A stored manifest.
pub(crate) struct Manifest {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) bytes: Vec<u8>,
}

impl Manifest {
    /// What it says. It was read once before it was stored, so a failure is the disk's.
    pub(crate) fn document(&self) -> std::io::Result<Document> {
        document::parse(Some(&self.media_type), &self.bytes).map_err(|reason| {
            std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!("manifest {} was damaged: {reason}", self.digest),
            )
        })
    }
}

/// The repository's manifest of this digest.
pub(crate) fn find(store: &Store, name: &Name, digest: &Digest) -> std::io::Result<Option<Manifest>> {
    let Some(media_type) = disk::read(&store.manifests(name).join(digest.hex()))? else { return Ok(None) };
    let Some(bytes) = disk::read(&store.content(digest))? else { return Ok(None) };
    let media_type = String::from_utf8_lossy(&media_type).into_owned();
    Ok(Some(Manifest { digest: *digest, media_type, bytes }))
}

/// Every manifest of the repository, in the order of their digests.
pub(crate) fn all(
    store: &Store,
    name: &Name,
) -> std::io::Result<impl Iterator<Item = std::io::Result<Manifest>>> {
    let digests = disk::names(&store.manifests(name))?.into_iter();
    let digests = digests.filter_map(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
    let (store, name) = (store.clone(), name.clone());
    Ok(digests.filter_map(move |digest| find(&store, &name, &digest).transpose()))
}

/// A manifest of the repository that needs this content, if there is one.
pub(crate) fn find_namer(store: &Store, name: &Name, digest: &Digest) -> std::io::Result<Option<Digest>> {
    for manifest in all(store, name)? {
        let manifest = manifest?;
        if manifest.document()?.needs().any(|needed| needed == digest) {
            return Ok(Some(manifest.digest));
        }
    }
    Ok(None)
}

/// HEAD and GET.
pub(crate) async fn get(
    registry: &Registry,
    name: Name,
    reference: Reference,
    asked: &Asked,
) -> Result<Response, Refusal> {
    let store = registry.store.clone();
    let manifest = blocking(move || {
        let _naming = store.naming();
        let digest = match &reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(tag) => tag::find(&store, &name, tag)?,
        };
        let manifest = digest.map(|digest| find(&store, &name, &digest)).transpose()?.flatten();
        manifest.ok_or_else(|| Refusal::UnknownManifest { reference: reference.to_string() })
    })
    .await?;
    let headers = vec![
        (header::CONTENT_TYPE, manifest.media_type),
        (header::CONTENT_LENGTH, manifest.bytes.len().to_string()),
        (header::ETAG, format!("\"{}\"", manifest.digest)),
        (CONTENT_DIGEST, manifest.digest.to_string()),
    ];
    let body = if asked.method == Method::HEAD { Body::empty() } else { Body::from(manifest.bytes) };
    Ok(answer(StatusCode::OK, headers, body))
}

/// PUT, by tag or digest. With `If-None-Match: *` a tag is written only where it is not there yet (RFC 9110, section
/// 13.1.2); the same manifest again is no conflict.
pub(crate) async fn put(
    registry: &Registry,
    name: Name,
    reference: Reference,
    asked: &Asked,
    body: &mut BodyDataStream,
) -> Result<Response, Refusal> {
    let store = registry.store.clone();
    let content_type = asked.header(header::CONTENT_TYPE).map(str::to_owned);
    let only_new = asked.header(header::IF_NONE_MATCH).is_some_and(|value| value.trim() == "*");
    let bytes = read_body(body, registry.limits.idle).await?;
    blocking(move || {
        let document = document::parse(content_type.as_deref(), &bytes)
            .map_err(|reason| Refusal::InvalidManifest { reason })?;
        let digest = Digest::of(&bytes);
        store_manifest(&store, &name, &reference, &document, &bytes, only_new)?;
        let mut headers = vec![
            (header::LOCATION, format!("/v2/{name}/manifests/{digest}")),
            (CONTENT_DIGEST, digest.to_string()),
        ];
        headers.extend(document.subject.map(|subject| (SUBJECT, subject.to_string())));
        Ok(answer(StatusCode::CREATED, headers, Body::empty()))
    })
    .await
}

fn store_manifest(
    store: &Store,
    name: &Name,
    reference: &Reference,
    document: &Document,
    bytes: &[u8],
    only_new: bool,
) -> Result<(), Refusal> {
    let digest = Digest::of(bytes);
    if let Reference::Digest(expected) = reference
        && *expected != digest
    {
        return Err(Refusal::OtherDigest { expected: *expected, actual: digest });
    }
    let _naming = store.naming();
    check_content(store, name, document)?;
    let _tagging = store.tagging();
    if let Reference::Tag(tag) = reference
        && only_new
        && let Some(present) = tag::find(store, name, tag)?
        && present != digest
    {
        return Err(Refusal::TagExists { tag: tag.clone(), present });
    }
    // What is named comes first and the name last: a crash between two of these leaves nothing half.
    store.write(&store.content(&digest), bytes)?;
    if let Some(subject) = &document.subject {
        disk::mark(&store.referrers(name, subject).join(digest.hex()))?;
    }
    store.write(&store.manifests(name).join(digest.hex()), document.media_type.as_bytes())?;
    if let Reference::Tag(tag) = reference {
        store.write(&store.tags(name).join(tag), digest.to_string().as_bytes())?;
    }
    Ok(())
}

/// Whether all that a manifest needs is in the repository, with the sizes that it says.
fn check_content(store: &Store, name: &Name, document: &Document) -> Result<(), Refusal> {
    let blobs = document.blobs.iter().map(|blob| (blob, store.has_blob(name, &blob.digest)));
    let children = document.children.iter().map(|child| {
        let path = store.manifests(name).join(child.digest.hex());
        (child, disk::metadata(&path).map(|metadata| metadata.is_some()))
    });
    for (descriptor, there) in blobs.chain(children) {
        let digest = descriptor.digest;
        let length = if there? { store.length(&digest)? } else { None };
        let actual = length.ok_or(Refusal::MissingContent { digest })?;
        if actual != descriptor.size {
            return Err(Refusal::OtherSize { digest, declared: descriptor.size, actual });
        }
    }
    Ok(())
}

/// DELETE by digest: the manifest and every tag that means it.
pub(crate) async fn delete(registry: &Registry, name: Name, digest: Digest) -> Result<Response, Refusal> {
    let store = registry.store.clone();
    blocking(move || {
        let _removing = store.removing();
        let manifest = find(&store, &name, &digest)?
            .ok_or_else(|| Refusal::UnknownManifest { reference: digest.to_string() })?;
        if let Some(by) = find_namer(&store, &name, &digest)? {
            return Err(Refusal::StillNamed { digest, by });
        }
        for tag in disk::names(&store.tags(&name))? {
            if tag::find(&store, &name, &tag)? == Some(digest) {
                disk::remove(&store.tags(&name).join(tag))?;
            }
        }
        disk::remove(&store.manifests(&name).join(digest.hex()))?;
        if let Some(subject) = manifest.document()?.subject {
            disk::remove(&store.referrers(&name, &subject).join(digest.hex()))?;
        }
        Ok(answer(StatusCode::ACCEPTED, Vec::new(), Body::empty()))
    })
    .await
}

async fn read_body(body: &mut BodyDataStream, idle: Duration) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    loop {
        match tokio::time::timeout(idle, body.next()).await {
            Ok(Some(Ok(chunk))) => bytes.extend_from_slice(&chunk),
            Ok(Some(Err(_))) => return Err(Refusal::Cut),
            Ok(None) => return Ok(bytes.freeze()),
            Err(_) => return Err(Refusal::Stalled { seconds: idle.as_secs() }),
        }
        if bytes.len() > LARGEST {
            return Err(Refusal::LargeManifest { limit: LARGEST });
        }
    }
}
