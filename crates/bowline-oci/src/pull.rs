//! Base images: found in a registry, described in the store, and read only where somebody needs to know what is in
//! them.

use bowline_core::image::{ImageId, Platform};
use bowline_core::reference::{Reference, Repository};

use crate::assemble::{Base, Image};
use crate::config::ImageConfig;
use crate::manifest::{
    DOCKER_LAYER, Descriptor, Document, InvalidManifest, LAYER, LAYER_GZIP, LAYER_ZSTD, Manifest, parse,
};
use crate::registry::{Client, RegistryError, Tick};
use crate::store::{Store, StoreError};
use crate::tree::{self, Tree, TreeError};

/// The largest config that is read into memory, in bytes.
const CONFIG_LIMIT: u64 = 8 << 20;

/// An image of a registry.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image. Its manifest and config are in the store; its layers may not be.
    pub image: Image,
    /// What the config says.
    pub config: ImageConfig,
    /// Where its layers are.
    pub repository: Repository,
}

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry failed, or does not have it.
    #[error("could not get the image {reference}")]
    Registry {
        /// The image.
        reference: String,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// There is no such image.
    #[error("there is no image {reference}")]
    Missing {
        /// The image.
        reference: String,
    },
    /// It is for other machines.
    #[error("{reference} has no image for {platform}")]
    Platform {
        /// The image.
        reference: String,
        /// The platform that was wanted.
        platform: Platform,
    },
    /// The store failed.
    #[error("could not keep the image {reference} in the cache")]
    Store {
        /// The image.
        reference: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// Its documents make no sense.
    #[error("could not understand the image {reference}")]
    Manifest {
        /// The image.
        reference: String,
        /// Why not.
        #[source]
        source: InvalidManifest,
    },
    /// Its layers are of a kind that only engines read.
    #[error("the image {reference} {problem}")]
    Layers {
        /// The image.
        reference: String,
        /// What is the matter.
        problem: String,
    },
    /// One of its layers is damaged.
    #[error("could not read what is in the image {reference}")]
    Tree {
        /// The image.
        reference: String,
        /// Why not.
        #[source]
        source: TreeError,
    },
}

impl PullError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry { source, .. } => source.hint(),
            Self::Missing { .. } => Some("check its name and tag".into()),
            Self::Store { source, .. } => source.hint().map(str::to_owned),
            _ => None,
        }
    }
}

/// Finds an image for a platform and brings manifest and config into the store. What the store has already is
/// not asked for again: of a tag, only what it names.
pub async fn pull(
    client: &Client,
    store: &Store,
    reference: &Reference,
    platform: &Platform,
) -> Result<Pulled, PullError> {
    let name = reference.to_string();
    let failed = |source| PullError::Registry { reference: name.clone(), source };
    let kept = |source| PullError::Store { reference: name.clone(), source };
    let top = match reference.digest {
        Some(digest) => digest,
        None => {
            let head = client.head_manifest(reference).await.map_err(failed)?;
            head.ok_or_else(|| PullError::Missing { reference: name.clone() })?.digest
        }
    };
    let mut at = reference.repository.at(top);
    let (descriptor, manifest) = loop {
        let (descriptor, document) = document(client, store, &at, &name).await?;
        match document {
            Document::Manifest(manifest) => break (descriptor, *manifest),
            Document::Index(index) => {
                let chosen = index.select(platform);
                let missing = || PullError::Platform { reference: name.clone(), platform: platform.clone() };
                let chosen =
                    chosen.filter(|chosen| chosen.digest != descriptor.digest).ok_or_else(missing)?;
                at = reference.repository.at(chosen.digest);
            }
        }
    };
    if manifest.config.size > CONFIG_LIMIT {
        let problem = format!("has a config of {} bytes", manifest.config.size);
        return Err(PullError::Layers { reference: name, problem });
    }
    if !store.has(&manifest.config.digest, manifest.config.size) {
        let quiet: Tick = std::sync::Arc::new(|_| {});
        client
            .pull_blob(&reference.repository, (&manifest.config.digest, manifest.config.size), store, &quiet)
            .await
            .map_err(failed)?;
    }
    let bytes = store.read(&manifest.config.digest).map_err(kept)?;
    let invalid =
        |source| PullError::Manifest { reference: name.clone(), source: InvalidManifest::Json(source) };
    let config: ImageConfig = serde_json::from_slice(&bytes).map_err(invalid)?;
    if !config.platform().runs_on(platform) {
        return Err(PullError::Platform { reference: name, platform: platform.clone() });
    }
    let image = describe(descriptor, manifest, &config);
    Ok(Pulled { image, config, repository: reference.repository.clone() })
}

fn describe(descriptor: Descriptor, manifest: Manifest, config: &ImageConfig) -> Image {
    let id =
        ImageId { manifest: descriptor.digest, config: manifest.config.digest, platform: config.platform() };
    Image { id, manifest: descriptor, config: manifest.config, layers: manifest.layers }
}

/// A manifest or index by digest: from the store, else from the registry.
async fn document(
    client: &Client,
    store: &Store,
    at: &Reference,
    name: &str,
) -> Result<(Descriptor, Document), PullError> {
    let reference = || name.to_owned();
    if let Some(digest) = at.digest
        && let Ok(bytes) = store.read(&digest)
        && let Ok(document) = parse(&bytes, None)
    {
        let kind = match &document {
            Document::Manifest(manifest) => manifest.media_type.clone(),
            Document::Index(index) => index.media_type.clone(),
        };
        let kind = kind.unwrap_or_else(|| crate::manifest::MANIFEST.into());
        return Ok((Descriptor::new(&kind, digest, bytes.len() as u64), document));
    }
    let fetched = client.get_manifest(at).await;
    let fetched = fetched.map_err(|source| PullError::Registry { reference: reference(), source })?;
    let fetched = fetched.ok_or_else(|| PullError::Missing { reference: reference() })?;
    store.put(&fetched.bytes).map_err(|source| PullError::Store { reference: reference(), source })?;
    Ok((fetched.descriptor, fetched.document))
}

impl Pulled {
    /// The image as one to build on. With `files`, its layers are fetched and read, unless what is in them is
    /// remembered from an earlier time.
    pub async fn base(
        &self,
        client: &Client,
        store: &Store,
        files: bool,
        tick: &Tick,
    ) -> Result<Base, PullError> {
        let reference = || self.repository.at(self.image.manifest.digest).to_string();
        let odd = |problem: String| PullError::Layers { reference: reference(), problem };
        let (layers, ids) = (&self.image.layers, &self.config.rootfs.diff_ids);
        if layers.len() != ids.len() {
            return Err(odd(format!("has {} layers, and a config that names {}", layers.len(), ids.len())));
        }
        let known = [LAYER, LAYER_GZIP, LAYER_ZSTD, DOCKER_LAYER];
        if let Some(layer) = layers.iter().find(|layer| !known.contains(&layer.media_type.as_str())) {
            return Err(odd(format!("has a layer of the kind `{}`", layer.media_type)));
        }
        let mut tree = Tree::default();
        if files {
            for (layer, diff_id) in layers.iter().zip(ids) {
                if tree::recall(store, diff_id).is_none() {
                    if layer.media_type == LAYER_ZSTD {
                        return Err(odd("has zstd-compressed layers".into()));
                    }
                    if !store.has(&layer.digest, layer.size) {
                        let blob = (&layer.digest, layer.size);
                        let fetched = client.pull_blob(&self.repository, blob, store, tick).await;
                        fetched.map_err(|source| PullError::Registry { reference: reference(), source })?;
                    }
                }
                let (store, digest, diff_id) = (store.clone(), layer.digest, *diff_id);
                let read = tokio::task::spawn_blocking(move || tree::index(&store, &digest, &diff_id)).await;
                let changes = read.map_err(|_| odd("could not be read: a worker died".into()))?;
                tree.apply(&changes.map_err(|source| PullError::Tree { reference: reference(), source })?);
            }
        }
        Ok(Base { config: self.config.clone(), layers: layers.clone(), tree })
    }
}
