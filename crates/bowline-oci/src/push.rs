//! Images of one release into one repository.
//!
//! An image that is there is not sent, and of the others only the blobs that are missing: each of them once, even
//! where several services need it at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bowline_core::digest::Digest;
use bowline_core::image::ImageId;
use bowline_core::reference::Repository;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;

use crate::assemble::Image;
use crate::manifest::{Descriptor, MANIFEST};
use crate::registry::{Client, Origin, Outcome, RegistryError, Tick, Upload};
use crate::store::{Store, StoreError};

/// Images pushed at the same time; their blobs are limited by the client.
const IMAGES: usize = 8;
/// Blobs of one image looked at, at the same time.
const BLOBS: usize = 8;

/// An image to push.
#[derive(Debug, Clone)]
pub struct Item {
    /// What to call it in progress and errors: the service.
    pub name: String,
    /// The image. Layers that are not in the store come from `base`.
    pub image: Image,
    /// Where its base layers can be had.
    pub base: Option<Repository>,
    /// The tags it gets.
    pub tags: Vec<String>,
}

/// What happens during a push. Bytes are those of compressed blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// This image needs its blobs checked: so many bytes in all.
    Started {
        /// The image.
        name: String,
        /// Its size.
        bytes: u64,
    },
    /// So many bytes of it went out.
    Sent {
        /// The image.
        name: String,
        /// How many more.
        bytes: u64,
    },
    /// So many bytes of it need not be sent: they are there.
    Skipped {
        /// The image.
        name: String,
        /// How many more.
        bytes: u64,
    },
    /// The image and its tags are in the registry.
    Done {
        /// The image.
        name: String,
    },
}

/// Who is told about progress; may be called from any thread.
pub type Observer = Arc<dyn Fn(Progress) + Send + Sync>;

/// What became of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The service.
    pub name: String,
    /// The image.
    pub id: ImageId,
    /// Bytes sent for it. A blob that several services share counts for the first only.
    pub sent: u64,
    /// Bytes that were there or were mounted.
    pub skipped: u64,
    /// Whether anything was new: a blob, the manifest or a tag.
    pub changed: bool,
}

/// What became of a push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushReport {
    /// Image by image, in the order given.
    pub images: Vec<Pushed>,
    /// How long it took.
    pub took: Duration,
}

impl PushReport {
    /// Bytes sent in all.
    pub fn sent(&self) -> u64 {
        self.images.iter().map(|image| image.sent).sum()
    }
}

/// Why an image was not pushed. Images before it may be in the registry; without their release record nobody
/// takes them for a release.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry failed.
    #[error("could not push the image of {name}")]
    Registry {
        /// The service.
        name: String,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// The store failed.
    #[error("could not read the image of {name} from the cache")]
    Store {
        /// The service.
        name: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// A layer is nowhere.
    #[error("layer {layer} of the image of {name} is neither in the cache nor in the registry")]
    Layer {
        /// The service.
        name: String,
        /// The layer.
        layer: Digest,
    },
}

impl PushError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry { source, .. } => source.hint(),
            Self::Store { source, .. } => source.hint().map(str::to_owned),
            Self::Layer { .. } => Some("build it again".into()),
        }
    }
}

/// What is known of blobs in the repository, shared by all images of one push: whoever comes first moves a blob,
/// the others wait for it.
type Known = Mutex<HashMap<Digest, Arc<OnceCell<Outcome>>>>;

struct Push<'a> {
    client: &'a Client,
    store: &'a Store,
    repository: &'a Repository,
    known: Known,
    observer: &'a Observer,
}

/// Pushes images and gives them their tags. A tag that exists with other content is an error, unless tags may be
/// `moved`; nothing is sent twice, and what is there already is not sent at all.
pub async fn push(
    client: &Client,
    store: &Store,
    repository: &Repository,
    items: &[Item],
    moved: bool,
    observer: &Observer,
) -> Result<PushReport, PushError> {
    let start = Instant::now();
    let push = Push { client, store, repository, known: Known::default(), observer };
    let push = &push;
    // Tags come after all images: a push that fails halfway leaves none of them behind.
    let sends = items.iter().map(|item| push.send_image(item));
    let mut images: Vec<Pushed> = futures_util::stream::iter(sends).buffered(IMAGES).try_collect().await?;
    let tags = items.iter().map(|item| push.tag(item, moved));
    let tagged: Vec<bool> = futures_util::stream::iter(tags).buffered(IMAGES).try_collect().await?;
    for (image, tagged) in images.iter_mut().zip(tagged) {
        image.changed |= tagged;
    }
    Ok(PushReport { images, took: start.elapsed() })
}

impl Push<'_> {
    /// Brings an image's blobs into the repository, unless the image is there.
    async fn send_image(&self, item: &Item) -> Result<Pushed, PushError> {
        let image = &item.image;
        let blobs: Vec<&Descriptor> = image.layers.iter().chain([&image.config]).collect();
        let bytes = blobs.iter().map(|blob| blob.size).sum();
        (self.observer)(Progress::Started { name: item.name.clone(), bytes });
        let mut pushed =
            Pushed { name: item.name.clone(), id: image.id.clone(), sent: 0, skipped: bytes, changed: false };
        let there = self.client.head_manifest(&self.repository.at(image.manifest.digest)).await;
        if there.map_err(|source| self.failed(item, source))?.is_some() {
            (self.observer)(Progress::Skipped { name: item.name.clone(), bytes });
            return Ok(pushed);
        }
        let sends = blobs.into_iter().map(|blob| self.send_blob(item, blob));
        let sent: Vec<u64> = futures_util::stream::iter(sends).buffer_unordered(BLOBS).try_collect().await?;
        pushed.sent = sent.iter().sum();
        pushed.skipped = bytes - pushed.sent;
        pushed.changed = true;
        Ok(pushed)
    }

    /// Brings a blob into the repository; gives how much was sent for it.
    async fn send_blob(&self, item: &Item, blob: &Descriptor) -> Result<u64, PushError> {
        let cell = match self.known.lock() {
            Ok(mut known) => known.entry(blob.digest).or_default().clone(),
            Err(_) => Arc::default(),
        };
        let mut ours = false;
        let outcome = cell
            .get_or_try_init(|| async {
                ours = true;
                self.move_blob(item, blob).await
            })
            .await?;
        if ours && *outcome == Outcome::Sent {
            return Ok(blob.size);
        }
        (self.observer)(Progress::Skipped { name: item.name.clone(), bytes: blob.size });
        Ok(0)
    }

    async fn move_blob(&self, item: &Item, blob: &Descriptor) -> Result<Outcome, PushError> {
        let (observer, name) = (self.observer.clone(), item.name.clone());
        let tick: Tick = Arc::new(move |bytes| observer(Progress::Sent { name: name.clone(), bytes }));
        let path = self.store.path(&blob.digest);
        let local = self.store.has(&blob.digest, blob.size);
        let origin = match &item.base {
            _ if local => Origin::File(&path),
            Some(base) => Origin::Repository(base),
            None => Origin::Nowhere,
        };
        let near = |base: &&Repository| base.registry == self.repository.registry && *base != self.repository;
        let mount = item.base.as_ref().filter(near).map(|base| base.name.as_str());
        let upload =
            Upload { repository: self.repository, digest: blob.digest, size: blob.size, origin, mount, tick };
        match self.client.push_blob(&upload).await {
            Err(RegistryError::Status { status: 400, .. }) if local && self.is_damaged(blob).await => {
                // Gone with it: the next build writes it again.
                let _ = std::fs::remove_file(self.store.path(&blob.digest));
                let source = StoreError::Missing(blob.digest);
                Err(PushError::Store { name: item.name.clone(), source })
            }
            Ok(Some(outcome)) => Ok(outcome),
            Ok(None) => Err(PushError::Layer { name: item.name.clone(), layer: blob.digest }),
            Err(source) => Err(self.failed(item, source)),
        }
    }

    /// Whether a blob of the store is not what its name says: disks forget, and then registries refuse it.
    async fn is_damaged(&self, blob: &Descriptor) -> bool {
        let (store, digest) = (self.store.clone(), blob.digest);
        tokio::task::spawn_blocking(move || store.verify(&digest).is_err()).await.unwrap_or(false)
    }

    /// Writes the manifest under every tag of an image; gives whether that changed anything.
    async fn tag(&self, item: &Item, moved: bool) -> Result<bool, PushError> {
        let digest = &item.image.manifest.digest;
        let bytes = self.store.read(digest);
        let bytes = bytes.map_err(|source| PushError::Store { name: item.name.clone(), source })?;
        let mut changed = false;
        for tag in &item.tags {
            let put = self.client.put_manifest(self.repository, tag, MANIFEST, &bytes, moved).await;
            changed |= put.map_err(|source| self.failed(item, source))?;
        }
        (self.observer)(Progress::Done { name: item.name.clone() });
        Ok(changed)
    }

    fn failed(&self, item: &Item, source: RegistryError) -> PushError {
        PushError::Registry { name: item.name.clone(), source }
    }
}
