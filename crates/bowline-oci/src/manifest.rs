//! Manifests, indexes and descriptors, as the OCI image specification 1.1 writes them (`manifest.md`,
//! `image-index.md`, `descriptor.md`), with Docker's older names of the same things understood.

use std::collections::BTreeMap;

use bowline_core::digest::Digest;
use bowline_core::image::Platform;
use serde::{Deserialize, Serialize};

/// An image manifest (image-spec 1.1).
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An image index (image-spec 1.1).
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An image config (image-spec 1.1).
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A gzip-compressed layer (image-spec 1.1).
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// An uncompressed layer (image-spec 1.1).
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A zstd-compressed layer (image-spec 1.1).
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The empty JSON object that artifacts have for a config (image-spec 1.1, "Guidance for an Empty Descriptor").
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Docker's image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's name for a gzip-compressed layer.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// What points at content: media type, digest and size (image-spec, descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// In an index: where the image runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformFields>,
    /// Arbitrary metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// A descriptor with nothing but the required fields.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.into(), digest, size, platform: None, annotations: None }
    }

    /// The descriptor of these bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }
}

/// A platform as JSON objects in an index spell it (image-index.md, "platform").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformFields {
    /// `GOARCH`.
    pub architecture: String,
    /// `GOOS`.
    pub os: String,
    /// The CPU variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl PlatformFields {
    /// The same as a [`Platform`].
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone().filter(|variant| !variant.is_empty()),
        }
    }
}

/// An image or artifact manifest (image-spec 1.1, manifest.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`MANIFEST`], or [`DOCKER_MANIFEST`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact this is, where it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Arbitrary metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// An image index (image-spec 1.1, image-index.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// [`INDEX`], or [`DOCKER_LIST`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What it lists.
    pub manifests: Vec<Descriptor>,
}

/// What a manifest's bytes turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image or artifact.
    Manifest(Box<Manifest>),
    /// Images for several platforms.
    Index(Index),
}

/// Why bytes are no manifest that Bowline understands.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// Not JSON of the right shape.
    #[error("the manifest is not valid JSON of its kind")]
    Json(#[source] serde_json::Error),
    /// Something from before schema 2, or something new.
    #[error("a manifest of type `{0}` is not understood")]
    Kind(String),
}

/// Reads a manifest or an index. `media_type` is what the registry's `Content-Type` said, if anything: the
/// document's own `mediaType` counts first, as the specification demands that both agree.
pub fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Document, InvalidManifest> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    let kind: Kind = serde_json::from_slice(bytes).map_err(InvalidManifest::Json)?;
    let named = kind.media_type.as_deref().or(media_type).unwrap_or_default();
    let index = match named {
        INDEX | DOCKER_LIST => true,
        MANIFEST | DOCKER_MANIFEST => false,
        _ if kind.manifests.is_some() => true,
        _ if kind.config.is_some() => false,
        other => return Err(InvalidManifest::Kind(other.chars().take(100).collect())),
    };
    if index {
        serde_json::from_slice(bytes).map(Document::Index).map_err(InvalidManifest::Json)
    } else {
        serde_json::from_slice(bytes)
            .map(|one| Document::Manifest(Box::new(one)))
            .map_err(InvalidManifest::Json)
    }
}

impl Index {
    /// The entry whose image runs on this platform: the first that names the same operating system and
    /// architecture and no other variant.
    pub fn select(&self, platform: &Platform) -> Option<&Descriptor> {
        let runs =
            |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|p| p.platform().runs_on(platform));
        let exact = |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|p| p.platform() == *platform);
        self.manifests.iter().find(exact).or_else(|| self.manifests.iter().find(runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_gives_the_image_of_a_platform() {
        let digest = Digest::of(b"x");
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[
            {{"mediaType":"{MANIFEST}","digest":"{digest}","size":1,"platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}},
            {{"mediaType":"{MANIFEST}","digest":"{digest}","size":2,"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
        );
        let Document::Index(index) = parse(text.as_bytes(), None).unwrap() else { panic!("an index") };
        assert_eq!(index.select(&Platform::linux("x86_64")).unwrap().size, 2);
        assert_eq!(index.select(&Platform::linux("aarch64")).unwrap().size, 1);
        assert!(index.select(&Platform::linux("s390x")).is_none());
    }

    #[test]
    fn the_oldest_manifests_are_refused() {
        let text = br#"{"schemaVersion":1,"fsLayers":[]}"#;
        let error =
            parse(text, Some("application/vnd.docker.distribution.manifest.v1+prettyjws")).unwrap_err();
        assert!(error.to_string().contains("v1+prettyjws"), "{error}");
    }
}
