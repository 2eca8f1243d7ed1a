//! Small artifacts beside the images: release records.
//!
//! An artifact is a manifest of image-spec 1.1 with an `artifactType`, an empty config and its parts as layers. The
//! same parts give the same digest, so putting one twice is no change, and putting another under a taken tag is
//! an error: the tag is the point at which a release begins to exist.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bowline_core::digest::Digest;
use bowline_core::reference::{Reference, Repository};

use crate::manifest::{Descriptor, Document, EMPTY, MANIFEST, Manifest};
use crate::registry::{Client, Origin, RegistryError, Upload};

/// The config of every artifact.
const EMPTY_CONFIG: &[u8] = b"{}";
/// The largest part that is read back, in bytes.
const PART_LIMIT: u64 = 64 << 20;
/// The annotation that names a layer (image-spec, annotations.md).
const TITLE: &str = "org.opencontainers.image.title";

/// An artifact's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What it is: a media type.
    pub kind: String,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Its parts, in order.
    pub parts: Vec<Part>,
}

/// One part of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub title: String,
    /// What it is.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// An artifact that is under its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Its manifest's digest.
    pub digest: Digest,
    /// Whether it was not there before.
    pub new: bool,
    /// How long it took from looking at the tag until it was written.
    pub took: Duration,
}

/// Why an artifact was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The registry failed.
    #[error("could not {doing} {reference}")]
    Registry {
        /// What was attempted: `write` or `read`.
        doing: &'static str,
        /// The artifact.
        reference: String,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// The tag names something else.
    #[error("{reference} is no {kind}: {problem}")]
    Kind {
        /// The artifact.
        reference: String,
        /// What it should be.
        kind: String,
        /// What it is.
        problem: String,
    },
    /// It cannot be described.
    #[error("could not write the manifest of {reference}")]
    Json {
        /// The artifact.
        reference: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

impl ArtifactError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry { source, .. } => source.hint(),
            _ => None,
        }
    }
}

impl Artifact {
    fn blobs(&self) -> Vec<(Descriptor, &[u8])> {
        let part = |part: &'_ Part| {
            let mut descriptor = Descriptor::of(&part.media_type, &part.bytes);
            descriptor.annotations = Some(BTreeMap::from([(TITLE.to_owned(), part.title.clone())]));
            descriptor
        };
        self.parts.iter().map(|one| (part(one), one.bytes.as_slice())).collect()
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.into()),
            artifact_type: Some(self.kind.clone()),
            config: Descriptor::of(EMPTY, EMPTY_CONFIG),
            layers: self.blobs().into_iter().map(|(descriptor, _)| descriptor).collect(),
            annotations: Some(self.annotations.clone()).filter(|notes| !notes.is_empty()),
        }
    }
}

/// Writes an artifact under a tag: its parts first, the tag last. The same content under the same tag is a success; other
/// content is [`RegistryError::Taken`].
pub async fn push_artifact(
    client: &Client,
    repository: &Repository,
    tag: &str,
    artifact: &Artifact,
) -> Result<Written, ArtifactError> {
    let reference = repository.tagged(tag).to_string();
    let failed = |source| ArtifactError::Registry { doing: "write", reference: reference.clone(), source };
    let json = |source| ArtifactError::Json { reference: reference.clone(), source };
    let bytes = serde_json::to_vec(&artifact.manifest()).map_err(json)?;
    let digest = Digest::of(&bytes);
    match client.head_manifest(&repository.tagged(tag)).await.map_err(failed)? {
        Some(present) if present.digest == digest => {
            return Ok(Written { digest, new: false, took: Duration::ZERO });
        }
        Some(present) => {
            let taken = RegistryError::Taken {
                reference: reference.clone(),
                present: present.digest,
                wanted: digest,
            };
            return Err(failed(taken));
        }
        None => {}
    }
    let mut blobs = artifact.blobs();
    blobs.push((Descriptor::of(EMPTY, EMPTY_CONFIG), EMPTY_CONFIG));
    for (blob, content) in blobs {
        let upload = Upload {
            repository,
            digest: blob.digest,
            size: blob.size,
            origin: Origin::Bytes(content),
            mount: None,
            tick: std::sync::Arc::new(|_| {}),
        };
        client.push_blob(&upload).await.map_err(failed)?;
    }
    let begun = Instant::now();
    let new = client.put_manifest(repository, tag, MANIFEST, &bytes, false).await.map_err(failed)?;
    Ok(Written { digest, new, took: begun.elapsed() })
}

/// Reads an artifact of this kind; `None` where the repository has no such tag or digest.
pub async fn pull_artifact(
    client: &Client,
    reference: &Reference,
    kind: &str,
) -> Result<Option<(Digest, Artifact)>, ArtifactError> {
    let name = reference.to_string();
    let failed = |source| ArtifactError::Registry { doing: "read", reference: name.clone(), source };
    let odd = |problem: String| {
        let (reference, kind) = (name.clone(), kind.to_owned());
        ArtifactError::Kind { reference, kind, problem }
    };
    let Some(fetched) = client.get_manifest(reference).await.map_err(failed)? else { return Ok(None) };
    let Document::Manifest(manifest) = fetched.document else {
        return Err(odd("it is an index of images".into()));
    };
    // Registries from before 1.1 may drop the field; then the config's type is what there is.
    let actual = manifest.artifact_type.as_deref().unwrap_or(&manifest.config.media_type);
    if actual != kind {
        let actual: String = actual.chars().take(100).flat_map(char::escape_default).collect();
        return Err(odd(format!("it is of the kind `{actual}`")));
    }
    let mut parts = Vec::new();
    for layer in &manifest.layers {
        if layer.size > PART_LIMIT {
            return Err(odd(format!("one of its parts is larger than {PART_LIMIT} bytes")));
        }
        let bytes =
            client.read_blob(&reference.repository, &layer.digest, layer.size).await.map_err(failed)?;
        let title = layer.annotations.as_ref().and_then(|notes| notes.get(TITLE)).cloned();
        let media_type = layer.media_type.clone();
        parts.push(Part { title: title.unwrap_or_default(), media_type, bytes });
    }
    let annotations = manifest.annotations.unwrap_or_default();
    let artifact = Artifact { kind: kind.into(), annotations, parts };
    Ok(Some((fetched.descriptor.digest, artifact)))
}
