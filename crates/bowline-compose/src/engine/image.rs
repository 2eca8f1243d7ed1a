//! Images: what is there, and getting what is not.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::{CreateImageOptionsBuilder, ListImagesOptionsBuilder};
use bowline_core::compose::observed::HostImage;
use bowline_core::digest::Digest;
use bowline_core::reference::{Reference, Repository};
use futures_util::StreamExt as _;
use http::HeaderValue;

use super::{Engine, EngineError, ORDINARY};

/// How long a pull may go without any sign of life. Unpacking a large layer on a small disk is silent.
const SILENCE: Duration = Duration::from_secs(180);

/// How the engine logs in to a registry for one pull. It is sent in a header and kept nowhere.
#[derive(Clone)]
pub enum Credential {
    /// Name and password.
    Password {
        /// The user.
        username: String,
        /// The password or token.
        password: String,
    },
    /// An OAuth2 refresh token (`identitytoken` of Docker's configuration).
    IdentityToken(String),
}

impl Credential {
    /// The header's value (Engine API, "Authentication"): JSON in URL-safe base64.
    fn header(&self, registry: &str) -> Option<HeaderValue> {
        let json = match self {
            Self::Password { username, password } => {
                serde_json::json!({"username": username, "password": password, "serveraddress": registry})
            }
            Self::IdentityToken(token) => {
                serde_json::json!({"identitytoken": token, "serveraddress": registry})
            }
        };
        let mut value = HeaderValue::from_str(&URL_SAFE.encode(json.to_string())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that have arrived.
    pub received: u64,
    /// Bytes of all layers whose size is known by now.
    pub total: u64,
    /// Layers that are complete, those that were there before included.
    pub layers_done: usize,
    /// Layers.
    pub layers: usize,
}

impl Engine {
    /// All images with their names in full. Layers that nothing names are not listed.
    pub async fn images(&self) -> Result<Vec<HostImage>, EngineError> {
        let options = ListImagesOptionsBuilder::new().digests(true).build();
        let found = self.ask("list images", ORDINARY, self.docker.list_images(Some(options))).await?;
        let found = found.into_iter().filter_map(|image| {
            Some(HostImage {
                id: image.id.parse().ok()?,
                names: image.repo_tags.iter().filter_map(|name| full(name)).collect(),
                manifests: manifests(&image.repo_digests),
                repositories: repositories(&image.repo_digests),
                size: image.size.try_into().unwrap_or(0),
            })
        });
        let mut images: Vec<HostImage> = found.collect();
        images.sort_by_key(|image| image.id);
        Ok(images)
    }

    /// One image by name, id or `repository@digest`; none when it is not there.
    pub async fn image(&self, name: &str) -> Result<Option<HostImage>, EngineError> {
        let what = format!("look at image {name}");
        let image = match self.ask(&what, ORDINARY, self.docker.inspect_image(name)).await {
            Ok(image) => image,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let id = image.id.unwrap_or_default();
        let id =
            id.parse().map_err(|_| EngineError::Unexpected { what, message: format!("its id is `{id}`") })?;
        let names = image.repo_tags.unwrap_or_default();
        let digests = image.repo_digests.unwrap_or_default();
        Ok(Some(HostImage {
            id,
            names: names.iter().filter_map(|name| full(name)).collect(),
            manifests: manifests(&digests),
            repositories: repositories(&digests),
            size: image.size.and_then(|size| size.try_into().ok()).unwrap_or(0),
        }))
    }

    /// Pulls one image, by digest where the reference has one. Nothing happens where it is there already.
    pub(super) async fn pull(
        &self,
        image: &Reference,
        credential: Option<&Credential>,
        mut progress: impl FnMut(Progress),
    ) -> Result<(), EngineError> {
        let what = format!("pull {}", image.familiar());
        let mut docker = self.docker.clone();
        // bollard would encode the header with the other alphabet of base64, which engines cannot read as soon as a
        // password leads to a `+` or `/`.
        let registry = &image.repository.registry;
        if let Some(header) = credential.and_then(|credential| credential.header(registry)) {
            docker = docker.with_request_modifier(move |mut request| {
                request.headers_mut().insert("X-Registry-Auth", header.clone());
                request
            });
        }
        let version = match (&image.digest, image.effective_tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let options =
            CreateImageOptionsBuilder::new().from_image(&image.repository.to_string()).tag(&version).build();
        let mut answers = Box::pin(docker.create_image(Some(options), None, None));
        let mut layers = Layers::default();
        loop {
            // A stream's end is no error, and `ask` wants a result.
            let next = async { answers.next().await.transpose() };
            let Some(info) = self.ask(&what, SILENCE, next).await? else { return Ok(()) };
            if let Some(error) = info.error_detail.as_ref().and_then(|detail| detail.message.clone()) {
                return Err(self.explain(&what, bollard::errors::Error::DockerStreamError { error }));
            }
            if layers.note(&info) {
                progress(layers.sum());
            }
        }
    }
}

/// What is known of each layer of a pull: bytes received, bytes in all, whether it is complete.
#[derive(Default)]
struct Layers(HashMap<String, (u64, u64, bool)>);

impl Layers {
    /// Takes one message in; says whether it was about a layer.
    fn note(&mut self, info: &CreateImageInfo) -> bool {
        let (Some(id), Some(status)) = (&info.id, &info.status) else { return false };
        let layer = self.0.get(id).copied().unwrap_or_default();
        let (received, total, done) = layer;
        let next = match status.as_str() {
            "Pulling fs layer" | "Waiting" => layer,
            "Downloading" => {
                let detail = info.progress_detail.clone().unwrap_or_default();
                let bytes = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
                let received = bytes(detail.current).unwrap_or(received);
                (received, bytes(detail.total).unwrap_or(total).max(received), done)
            }
            "Verifying Checksum" | "Download complete" | "Extracting" => (total, total, done),
            "Pull complete" | "Already exists" => (total, total, true),
            _ => return false,
        };
        self.0.insert(id.clone(), next);
        true
    }

    fn sum(&self) -> Progress {
        let mut sum = Progress { layers: self.0.len(), ..Progress::default() };
        for (received, total, done) in self.0.values() {
            sum.received += received;
            sum.total += total;
            sum.layers_done += usize::from(*done);
        }
        sum
    }
}

/// A name in full: `docker.io/library/x:latest`. What has no name is listed as `<none>:<none>`.
fn full(name: &str) -> Option<String> {
    name.parse::<Reference>().ok().map(|reference| reference.to_string())
}

fn manifests(digests: &[String]) -> BTreeSet<Digest> {
    digests.iter().filter_map(|name| name.rsplit_once('@')?.1.parse().ok()).collect()
}

/// The repositories, in full, that an image was pulled from or pushed to.
fn repositories(digests: &[String]) -> BTreeSet<String> {
    let repositories = digests.iter().filter_map(|name| name.rsplit_once('@')?.0.parse::<Repository>().ok());
    repositories.map(|repository| repository.to_string()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_password_with_any_character_is_readable_for_the_engine() {
        let credential = Credential::Password { username: "a".into(), password: "??>>~~ÿ".into() };
        let header = credential.header("r").unwrap();
        let text = header.to_str().unwrap();
        assert!(!text.contains(['+', '/']), "{text}");
        assert!(header.is_sensitive());
        assert_eq!(format!("{credential:?}"), "Credential(…)");
    }

    #[test]
    fn progress_adds_up() {
        let mut layers = Layers::default();
        let say = |text: &str| serde_json::from_str::<CreateImageInfo>(text).unwrap();
        assert!(!layers.note(&say(r#"{"status":"Pulling from chat","id":"sha256:1"}"#)));
        assert!(layers.note(&say(r#"{"status":"Already exists","id":"a"}"#)));
        assert!(
            layers
                .note(&say(r#"{"status":"Downloading","id":"b","progressDetail":{"current":5,"total":9}}"#))
        );
        assert_eq!(layers.sum(), Progress { received: 5, total: 9, layers_done: 1, layers: 2 });
        assert!(layers.note(&say(r#"{"status":"Pull complete","id":"b"}"#)));
        assert_eq!(layers.sum(), Progress { received: 9, total: 9, layers_done: 2, layers: 2 });
    }

    #[test]
    fn names_are_given_in_full() {
        assert_eq!(
            full("main-service_user:latest").as_deref(),
            Some("docker.io/library/main-service_user:latest")
        );
        assert_eq!(full("<none>:<none>"), None);
    }
}
