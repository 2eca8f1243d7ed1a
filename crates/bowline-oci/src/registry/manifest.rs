//! Manifests (distribution-spec, "Pulling manifests", "Pushing Manifests", "Deleting Manifests").

use std::time::{Duration, SystemTime};

use bowline_core::digest::Digest;
use bowline_core::reference::{Reference, Repository};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, IF_NONE_MATCH};

use super::auth::Scope;
use super::retry::{Retry, after};
use super::{Answer, Call, Client, DOCUMENT_LIMIT, RegistryError, UNREACHABLE, method};
use crate::manifest::{DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Document, INDEX, MANIFEST, parse};

/// A manifest as a registry gave it, verified.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Type, digest and size.
    pub descriptor: Descriptor,
    /// The bytes that have this digest.
    pub bytes: Vec<u8>,
    /// What they say.
    pub document: Document,
}

/// How a manifest is asked for: by digest, else by tag.
fn name(reference: &Reference) -> String {
    match &reference.digest {
        Some(digest) => digest.to_string(),
        None => reference.effective_tag().unwrap_or("latest").to_owned(),
    }
}

/// How long a registry may deny a blob that it has just confirmed. Seen of docker-registry while another client sends the
/// same blob: it is half there for a moment.
const UNSETTLED: Duration = Duration::from_secs(3);

impl Client {
    fn accepting(
        &self,
        verb: Method,
        call: &Call<'_>,
        reference: &Reference,
    ) -> Result<Request, RegistryError> {
        let path = format!("{}/manifests/{}", reference.repository.name, name(reference));
        Ok(Request { verb, url: self.url(call.registry, &path)? })
    }

    /// Type, digest and size of a manifest; `None` where the repository has no such tag or digest.
    pub async fn head_manifest(&self, reference: &Reference) -> Result<Option<Descriptor>, RegistryError> {
        let call = Call {
            registry: &reference.repository.registry,
            repository: &reference.repository.name,
            scope: Scope::pull(&reference.repository.name),
            doing: format!("look for {reference}"),
        };
        let request = self.accepting(Method::HEAD, &call, reference)?;
        let answer = self.send(&call, |http| request.build(http)).await?;
        if answer.0.status().as_u16() == 404 {
            return Ok(None);
        }
        let answer = answer.accept(&call, &[200]).await?;
        let digest = answer.header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
        let size = answer.header("content-length").and_then(|text| text.parse().ok());
        let media_type = answer.header("content-type").unwrap_or_default().to_owned();
        match (digest.or(reference.digest), size) {
            (Some(digest), Some(size)) => Ok(Some(Descriptor::new(&media_type, digest, size))),
            // A registry may leave the headers out: the manifest itself has both.
            _ => Ok(self.get_manifest(reference).await?.map(|fetched| fetched.descriptor)),
        }
    }

    /// A manifest or index; `None` where the repository has no such tag or digest.
    pub async fn get_manifest(&self, reference: &Reference) -> Result<Option<Fetched>, RegistryError> {
        let call = Call {
            registry: &reference.repository.registry,
            repository: &reference.repository.name,
            scope: Scope::pull(&reference.repository.name),
            doing: format!("read {reference}"),
        };
        let request = self.accepting(Method::GET, &call, reference)?;
        let answer = self.send(&call, |http| request.build(http)).await?;
        if answer.0.status().as_u16() == 404 {
            return Ok(None);
        }
        let answer = answer.accept(&call, &[200]).await?;
        let stated = answer.header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
        let media_type = answer.header("content-type").map(str::to_owned);
        let bytes = self.read_body(&call, answer.0, DOCUMENT_LIMIT).await?;
        let actual = Digest::of(&bytes);
        if reference.digest.or(stated).is_some_and(|wanted| wanted != actual) {
            return Err(RegistryError::Mismatch { reference: reference.to_string(), actual });
        }
        let document = parse(&bytes, media_type.as_deref())
            .map_err(|source| RegistryError::Manifest { reference: reference.to_string(), source })?;
        let own = match &document {
            Document::Manifest(manifest) => manifest.media_type.clone(),
            Document::Index(index) => index.media_type.clone(),
        };
        let kind = own.or(media_type).unwrap_or_else(|| MANIFEST.into());
        let descriptor = Descriptor::new(&kind, actual, bytes.len() as u64);
        Ok(Some(Fetched { descriptor, bytes, document }))
    }

    /// Puts a manifest under a tag. Its blobs must be there. A tag that names this manifest already is left
    /// alone (registries with immutable tags refuse even that); one that names another is an error, unless it
    /// may be `moved` and the registry moves it. Gives whether something was sent.
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
        moved: bool,
    ) -> Result<bool, RegistryError> {
        let reference = repository.tagged(tag);
        let wanted = Digest::of(bytes);
        let call = Call {
            registry: &repository.registry,
            repository: &repository.name,
            scope: Scope::push(&repository.name),
            doing: format!("write {reference}"),
        };
        let url = self.url(call.registry, &format!("{}/manifests/{tag}", repository.name))?;
        let body = bytes::Bytes::copy_from_slice(bytes);
        let put = |http: &reqwest::Client| {
            let put = method(http, Method::PUT, &url).header(CONTENT_TYPE, media_type).body(body.clone());
            // Registries that understand it decide between two writers (RFC 9110, section 13.1.2); others ignore it.
            if moved { put } else { put.header(IF_NONE_MATCH, "*") }
        };
        let mut retry = Retry::within(self.patience);
        let mut refused: Option<(RegistryError, bool)> = None;
        loop {
            // Looked at before each sending: somebody else may have been faster while this waited, or this very request
            // got through before the line was cut.
            match (self.head_manifest(&reference).await, refused) {
                (Ok(Some(present)), refused) if present.digest == wanted => return Ok(refused.is_some()),
                (Ok(Some(present)), refused) if !moved || refused.as_ref().is_some_and(keeps_tags) => {
                    let reference = reference.to_string();
                    return Err(RegistryError::Taken { reference, present: present.digest, wanted });
                }
                (_, Some((error, false))) | (Err(error), _) => return Err(error),
                (Ok(_), _) => {}
            }
            let sent = self.send_once(&call, put).await;
            let asked = sent.as_ref().ok().and_then(|sent| after(sent.0.headers(), SystemTime::now()));
            let written = match sent {
                Ok(answer) => answer.accept(&call, &[200, 201, 202, 204]).await,
                Err(error) => Err(error),
            };
            let error = match written {
                Ok(answer) => return confirm(&answer, &reference, wanted),
                Err(error) => error,
            };
            if error.is_unreachable() {
                retry.limit(UNREACHABLE);
            } else if error.lacks_blob() {
                retry.limit(UNSETTLED);
            }
            let again = (error.is_passing() || error.lacks_blob()) && retry.pause(asked).await;
            refused = Some((error, again));
        }
    }

    /// Deletes a manifest by digest, with every tag that names it; `false` where there was none. Registries that
    /// do not allow it answer 405, which is an error.
    pub async fn delete_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        self.delete(repository, &digest.to_string()).await
    }

    /// Deletes one tag; `false` where there was none. Not every registry can: then it is an error.
    pub async fn delete_tag(&self, repository: &Repository, tag: &str) -> Result<bool, RegistryError> {
        self.delete(repository, tag).await
    }

    async fn delete(&self, repository: &Repository, name: &str) -> Result<bool, RegistryError> {
        let call = Call {
            registry: &repository.registry,
            repository: &repository.name,
            scope: Scope::delete(&repository.name),
            doing: format!("delete {name} from {repository}"),
        };
        let url = self.url(call.registry, &format!("{}/manifests/{name}", repository.name))?;
        let answer = self.send(&call, |http| method(http, Method::DELETE, &url)).await?;
        if answer.0.status().as_u16() == 404 {
            return Ok(false);
        }
        answer.accept(&call, &[200, 202, 204]).await.map(|_| true)
    }
}

/// Whether a registry refuses a manifest, for good, in a way in which those with immutable tags refuse to move one.
fn keeps_tags((error, again): &(RegistryError, bool)) -> bool {
    !again && matches!(error, RegistryError::Status { status: 400 | 409 | 412, .. })
}

/// Whether the registry says that it keeps what was sent, if it says anything.
fn confirm(answer: &Answer, reference: &Reference, wanted: Digest) -> Result<bool, RegistryError> {
    let stored = answer.header("docker-content-digest").and_then(|text| text.parse().ok());
    match stored {
        Some(stored) if stored != wanted => {
            Err(RegistryError::Mismatch { reference: reference.to_string(), actual: stored })
        }
        _ => Ok(true),
    }
}

struct Request {
    verb: Method,
    url: reqwest::Url,
}

impl Request {
    fn build(&self, http: &reqwest::Client) -> reqwest::RequestBuilder {
        let mut request = method(http, self.verb.clone(), &self.url);
        for kind in [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST] {
            request = request.header(ACCEPT, kind);
        }
        request
    }
}
