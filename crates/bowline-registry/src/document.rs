//! What a manifest says: which content it needs, and what it is about (image-spec, manifest.md and image-index.md).

use bowline_core::digest::Digest;
use serde::Deserialize;
use serde_json::{Map, Value};

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest or an index, as far as a registry reads it.
#[derive(Debug)]
pub(crate) struct Document {
    /// As the client named it, and as it is given back.
    pub(crate) media_type: String,
    /// Config and layers: blobs that must be in the repository.
    pub(crate) blobs: Vec<Descriptor>,
    /// An index's children: manifests that must be in the repository.
    pub(crate) children: Vec<Descriptor>,
    /// The manifest that this one is about. It need not exist.
    pub(crate) subject: Option<Digest>,
    /// The kind under which it is listed as a referrer: its own, else its config's media type.
    pub(crate) artifact_type: Option<String>,
    pub(crate) annotations: Option<Map<String, Value>>,
}

/// A reference to content.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Where else it lies. Such layers (the base of Windows images) are not pushed.
    urls: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    // Go clients write `null` for an empty list.
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<Map<String, Value>>,
}

/// Reads a manifest sent with this `Content-Type`, or where there was none, with the type it names itself.
///
/// # Errors
/// In plain words, why it is no manifest of the four kinds in use. A document that could be read as an image and as
/// an index is refused: two clients would see two different things under one digest (CVE-2021-41190).
pub(crate) fn parse(content_type: Option<&str>, bytes: &[u8]) -> Result<Document, String> {
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| format!("it does not parse: {error}"))?;
    if raw.schema_version != 2 {
        return Err(format!("schemaVersion {} is not 2", raw.schema_version));
    }
    let sent = content_type.map(|text| text.split(';').next().unwrap_or("").trim().to_owned());
    let media_type = match (sent, raw.media_type) {
        (Some(sent), Some(own)) if sent != own => {
            return Err(format!("it was sent as `{sent}`, and says that it is `{own}`"));
        }
        (Some(media_type), _) | (None, Some(media_type)) => media_type,
        (None, None) => return Err("neither Content-Type nor mediaType says what it is".into()),
    };
    let is_image = raw.config.is_some() || raw.layers.is_some();
    match media_type.as_str() {
        OCI_MANIFEST | DOCKER_MANIFEST => {
            if raw.manifests.is_some() {
                return Err("an image manifest cannot have `manifests`".into());
            }
            let config = raw.config.ok_or("an image manifest needs a `config`")?;
            let artifact_type =
                raw.artifact_type.or_else(|| Some(config.media_type.clone())).filter(|kind| !kind.is_empty());
            let layers = raw.layers.unwrap_or_default().into_iter().filter(|layer| !layer.is_elsewhere());
            Ok(Document {
                blobs: std::iter::once(config).chain(layers).collect(),
                children: Vec::new(),
                subject: raw.subject.map(|subject| subject.digest),
                artifact_type,
                annotations: raw.annotations,
                media_type,
            })
        }
        OCI_INDEX | DOCKER_LIST => {
            if is_image {
                return Err("an index cannot have `config` or `layers`".into());
            }
            Ok(Document {
                blobs: Vec::new(),
                children: raw.manifests.ok_or("an index needs `manifests`")?,
                subject: raw.subject.map(|subject| subject.digest),
                artifact_type: raw.artifact_type,
                annotations: raw.annotations,
                media_type,
            })
        }
        other => Err(format!("`{other}` is no manifest type that is known here")),
    }
}

impl Descriptor {
    fn is_elsewhere(&self) -> bool {
        self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
            || self.media_type.contains(".foreign.")
            || self.media_type.contains(".nondistributable.")
    }
}

impl Document {
    /// Every digest that this one needs beside it.
    pub(crate) fn needs(&self) -> impl Iterator<Item = &Digest> {
        self.blobs.iter().chain(&self.children).map(|descriptor| &descriptor.digest)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn descriptor(name: &str) -> Value {
        json!({"mediaType": format!("type/{name}"), "digest": Digest::of(name.as_bytes()), "size": name.len()})
    }

    fn read(content_type: Option<&str>, value: &Value) -> Result<Document, String> {
        parse(content_type, value.to_string().as_bytes())
    }

    #[test]
    fn an_image_needs_its_config_and_the_layers_that_are_not_elsewhere() {
        let mut elsewhere = descriptor("base");
        elsewhere["urls"] = json!(["https://elsewhere.example/base"]);
        let mut foreign = descriptor("foreign");
        foreign["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        let image = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor("config"),
            "layers": [descriptor("layer"), elsewhere, foreign], "subject": descriptor("subject"),
        });
        let image = read(Some(OCI_MANIFEST), &image).unwrap();
        assert_eq!(image.needs().copied().collect::<Vec<_>>(), [Digest::of(b"config"), Digest::of(b"layer")]);
        assert_eq!(image.subject, Some(Digest::of(b"subject")));
        assert_eq!(image.artifact_type.as_deref(), Some("type/config"));
    }

    #[test]
    fn an_index_needs_its_children() {
        let index = json!({"schemaVersion": 2, "manifests": [descriptor("child")], "artifactType": "a/b"});
        let index = read(Some(OCI_INDEX), &index).unwrap();
        assert_eq!(index.needs().copied().collect::<Vec<_>>(), [Digest::of(b"child")]);
        assert_eq!(index.artifact_type.as_deref(), Some("a/b"));
    }

    #[test]
    fn media_types_are_kept_as_sent() {
        let image = |own: Value| json!({"schemaVersion": 2, "mediaType": own, "config": descriptor("c"), "layers": null});
        for (sent, own, kept) in [
            (Some(DOCKER_MANIFEST), json!(DOCKER_MANIFEST), DOCKER_MANIFEST),
            (Some(OCI_MANIFEST), Value::Null, OCI_MANIFEST),
            (None, json!(OCI_MANIFEST), OCI_MANIFEST),
            (Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"), Value::Null, OCI_MANIFEST),
        ] {
            assert_eq!(read(sent, &image(own)).unwrap().media_type, kept);
        }
        assert!(read(Some(DOCKER_MANIFEST), &image(json!(OCI_MANIFEST))).is_err());
        assert!(read(None, &image(Value::Null)).is_err());
    }

    #[test]
    fn what_is_no_manifest_says_why() {
        let config = descriptor("c");
        for (kind, value, word) in [
            (OCI_MANIFEST, json!([]), "parse"),
            (OCI_MANIFEST, json!({"schemaVersion": 1}), "schemaVersion"),
            (OCI_MANIFEST, json!({"schemaVersion": 2}), "config"),
            (OCI_MANIFEST, json!({"schemaVersion": 2, "config": config, "manifests": []}), "manifests"),
            (OCI_INDEX, json!({"schemaVersion": 2, "manifests": [], "layers": []}), "layers"),
            (OCI_INDEX, json!({"schemaVersion": 2}), "manifests"),
            (
                OCI_MANIFEST,
                json!({"schemaVersion": 2, "config": {"digest": "sha256:0", "size": 1}}),
                "digest",
            ),
            (
                OCI_MANIFEST,
                json!({"schemaVersion": 2, "config": {"digest": config["digest"], "size": -1}}),
                "parse",
            ),
            ("text/plain", json!({"schemaVersion": 2}), "text/plain"),
        ] {
            let reason = read(Some(kind), &value).unwrap_err();
            assert!(reason.contains(word), "{value}: {reason}");
        }
    }
}
