//! A document as Secrets: its head, which is the document when it fits, and its parts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bowline_core::digest::Digest;
use serde::Serialize;
use serde_json::{Value, json};

use super::name::name_part;
use super::{Document, DocumentError, Found, KIND, Kind, LARGEST};

/// From this size on, documents are compressed; below, people can read them with `kubectl get secret`.
const LARGE: usize = 4 << 10;
/// How much of a document one Secret holds, in bytes: the API server takes 1 MiB of data.
const PART: usize = 900 << 10;

/// The type of Bowline's Secrets: they mean nothing to anybody else.
const TYPE: &str = "bowline.dev/document";
/// The number of a revision.
const NUMBER: &str = "bowline.dev/number";
/// On parts: that they are.
const PART_OF: &str = "bowline.dev/part-of";
const KEY: &str = "bowline.dev/key";
const ENCODING: &str = "bowline.dev/encoding";
const DIGEST: &str = "bowline.dev/digest";
const WRITE: &str = "bowline.dev/write";
/// The names of the parts, in their order, with blanks between them.
const PARTS: &str = "bowline.dev/parts";

/// The name of the Secret that is the head of a document.
pub(super) fn name(prefix: &str, kind: Kind, key: &str) -> String {
    format!("{prefix}.{}.{}", kind.word(), key_part(key))
}

/// Digests are names already, and too long for [`name_part`]; numbers and runs differ by more than their case.
fn key_part(key: &str) -> String {
    let hex = key.len() == 64 && key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if hex { key.to_owned() } else { name_part(&key.to_lowercase()) }
}

/// A document about to be written.
pub(super) struct Written {
    name: String,
    labels: BTreeMap<&'static str, String>,
    key: String,
    encoding: &'static str,
    digest: Digest,
    write: String,
    packed: Vec<u8>,
    part_names: Vec<String>,
}

impl Written {
    pub(super) fn new(
        prefix: &str,
        mut labels: BTreeMap<&'static str, String>,
        kind: Kind,
        key: &str,
        content: &impl Serialize,
    ) -> Result<Self, DocumentError> {
        let name = name(prefix, kind, key);
        let json = serde_json::to_vec(content)
            .map_err(|error| DocumentError::Unreadable { name: name.clone(), reason: error.to_string() })?;
        if json.len() > LARGEST {
            return Err(DocumentError::TooLarge { name, bytes: json.len(), limit: LARGEST });
        }
        labels.insert(KIND, kind.word().to_owned());
        if kind == Kind::Revision {
            labels.insert(NUMBER, key_part(key));
        }
        let (encoding, packed) = pack(json);
        let write = format!("{:016x}", rand::random::<u64>());
        let count = if packed.len() > PART { packed.len().div_ceil(PART) } else { 0 };
        let part_names = (0..count).map(|number| format!("{name}.{write}.{number}")).collect();
        let digest = Digest::of(&packed);
        Ok(Self { name, labels, key: key.into(), encoding, digest, write, packed, part_names })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn part_names(&self) -> &[String] {
        &self.part_names
    }

    /// Whether a Secret is what this very write made.
    pub(super) fn is_ours(&self, there: &Secret) -> bool {
        there.annotation(WRITE) == Some(&self.write)
    }

    /// The Secrets that come before the head; none where the head holds the document.
    pub(super) fn parts(&self) -> impl Iterator<Item = Value> {
        let mut labels = self.labels.clone();
        labels.insert(PART_OF, self.write.clone());
        let chunks = self.packed.chunks(PART);
        self.part_names.iter().zip(chunks).map(move |(name, chunk)| {
            // The head's name does not fit into a label.
            let annotations = json!({PART_OF: self.name});
            secret(name, &labels, &annotations, json!({"content": STANDARD.encode(chunk)}))
        })
    }

    /// The Secret that makes it a document.
    pub(super) fn head(&self) -> Value {
        let mut annotations = json!({
            KEY: self.key,
            ENCODING: self.encoding,
            DIGEST: self.digest,
            WRITE: self.write,
        });
        let data = if self.part_names.is_empty() {
            json!({"content": STANDARD.encode(&self.packed)})
        } else {
            if let Some(map) = annotations.as_object_mut() {
                map.insert(PARTS.into(), self.part_names.join(" ").into());
            }
            json!({})
        };
        secret(&self.name, &self.labels, &annotations, data)
    }
}

fn secret(name: &str, labels: &BTreeMap<&'static str, String>, annotations: &Value, data: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "type": TYPE,
        "immutable": true,
        "data": data,
    })
}

/// A Secret as it is in the cluster.
pub(super) struct Secret(Value);

impl Secret {
    pub(super) fn new(value: Value) -> Self {
        Self(value)
    }

    pub(super) fn name(&self) -> &str {
        self.0.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The names of its parts, where it is the head of a document that has some.
    pub(super) fn parts(&self) -> Vec<String> {
        self.annotation(PARTS).map(|names| names.split(' ').map(str::to_owned).collect()).unwrap_or_default()
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.0.get("metadata")?.get("annotations")?.get(name)?.as_str()
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.0.get("metadata")?.get("labels")?.get(name)?.as_str()
    }

    /// The name of the head that it is a part of.
    fn part_of(&self) -> Option<&str> {
        self.annotation(PART_OF)
    }

    fn kind(&self) -> Result<Kind, String> {
        let word = self.label(KIND).ok_or("it has no label that says what it is")?;
        Kind::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(|| format!("it is a `{word}`"))
    }

    fn content(&self) -> Result<Vec<u8>, String> {
        let text = self.0.pointer("/data/content").and_then(Value::as_str).ok_or("it has no content")?;
        STANDARD.decode(text).map_err(|error| error.to_string())
    }

    fn document(&self, parts: &BTreeMap<String, &Self>) -> Result<Document, String> {
        let key = self.annotation(KEY).ok_or("it has no key")?.to_owned();
        let names = self.parts();
        let mut packed = Vec::new();
        if names.is_empty() {
            packed = self.content()?;
        }
        for name in &names {
            let part = parts.get(name).ok_or_else(|| format!("its part {name} is missing"))?;
            packed.extend(part.content().map_err(|error| format!("its part {name}: {error}"))?);
        }
        if self.annotation(DIGEST) != Some(&Digest::of(&packed).to_string()) {
            return Err("its content is not what was written: it is damaged".into());
        }
        let content = unpack(self.annotation(ENCODING).unwrap_or_default(), packed)?;
        let created_at = self.0.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
        let created_at = created_at.and_then(|time| time.parse().ok());
        Ok(Document { kind: self.kind()?, key, content, created_at })
    }
}

/// Puts the documents together that are in these Secrets.
pub(super) fn gather(secrets: Vec<Secret>) -> Found {
    let (parts, heads): (Vec<_>, Vec<_>) = secrets.iter().partition(|secret| secret.part_of().is_some());
    let parts: BTreeMap<String, &Secret> =
        parts.into_iter().map(|part| (part.name().to_owned(), part)).collect();
    let mut found = Found::default();
    let mut named = BTreeSet::new();
    for head in heads {
        named.extend(head.parts());
        match head.document(&parts) {
            Ok(document) => found.documents.push(document),
            Err(reason) => {
                found.unreadable.insert(head.name().to_owned(), reason);
            }
        }
    }
    for name in parts.keys().filter(|name| !named.contains(*name)) {
        let reason = "a part of a document that was never finished, or is being written";
        found.unreadable.insert(name.clone(), reason.into());
    }
    found.documents.sort_by(|a, b| rank(a).cmp(&rank(b)));
    found
}

fn rank(document: &Document) -> (Kind, u64, &str) {
    (document.kind, document.key.parse().unwrap_or(u64::MAX), &document.key)
}

/// What there is, without its content.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Inventory {
    /// Kinds and keys of the documents.
    pub(crate) documents: BTreeSet<(Kind, String)>,
    /// The names of parts that belong to no document.
    pub(crate) orphans: BTreeSet<String>,
    /// The names of heads that say neither kind nor key that is known here.
    pub(crate) unknown: BTreeSet<String>,
}

impl Inventory {
    pub(super) fn of(secrets: &[Secret]) -> Self {
        let mut inventory = Self::default();
        let named: BTreeSet<String> = secrets.iter().flat_map(Secret::parts).collect();
        for secret in secrets {
            match (secret.part_of(), secret.kind(), secret.annotation(KEY)) {
                (Some(_), ..) if named.contains(secret.name()) => {}
                (Some(_), ..) => {
                    inventory.orphans.insert(secret.name().to_owned());
                }
                (None, Ok(kind), Some(key)) => {
                    inventory.documents.insert((kind, key.to_owned()));
                }
                (None, ..) => {
                    inventory.unknown.insert(secret.name().to_owned());
                }
            }
        }
        inventory
    }
}

fn pack(json: Vec<u8>) -> (&'static str, Vec<u8>) {
    if json.len() < LARGE {
        return ("json", json);
    }
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    // Writing to memory does not fail; if it did, the text itself is as good.
    match encoder.write_all(&json).and_then(|()| encoder.finish()) {
        Ok(packed) => ("deflate", packed),
        Err(_) => ("json", json),
    }
}

fn unpack(encoding: &str, packed: Vec<u8>) -> Result<Value, String> {
    let json = match encoding {
        "json" => packed,
        "deflate" => {
            let mut json = Vec::new();
            let mut decoder = flate2::read::DeflateDecoder::new(packed.as_slice()).take(LARGEST as u64 + 1);
            decoder.read_to_end(&mut json).map_err(|error| error.to_string())?;
            if json.len() > LARGEST {
                return Err("it is larger than documents are".into());
            }
            json
        }
        other => return Err(format!("its encoding `{other}` is not known")),
    };
    serde_json::from_slice(&json).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(kind: Kind, key: &str, content: &impl Serialize) -> Vec<Value> {
        let labels = BTreeMap::from([("bowline.dev/project", "chat".to_owned())]);
        let written = Written::new("bowline.chat.box", labels, kind, key, content).unwrap();
        let mut secrets: Vec<Value> = written.parts().collect();
        secrets.push(written.head());
        secrets
    }

    fn read(secrets: &[Value]) -> Found {
        gather(secrets.iter().cloned().map(Secret::new).collect())
    }

    /// Three megabytes that do not get smaller.
    fn large() -> Value {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{state:016x}")
        };
        json!((0..230_000).map(|_| next()).collect::<String>())
    }

    #[test]
    fn small_documents_stay_readable() {
        let secrets = write(Kind::Revision, "7", &json!({"a": 1}));
        assert_eq!(secrets.len(), 1);
        let head = &secrets[0];
        assert_eq!(head["metadata"]["name"], "bowline.chat.box.revision.7");
        assert_eq!(head["metadata"]["labels"][NUMBER], "7");
        assert_eq!(head["immutable"], true);
        assert_eq!(STANDARD.decode(head["data"]["content"].as_str().unwrap()).unwrap(), br#"{"a":1}"#);
        let found = read(&secrets);
        assert_eq!(found.documents[0].content, json!({"a": 1}));
        assert_eq!(found.documents[0].key, "7");
    }

    #[test]
    fn large_documents_are_spread_and_need_all_their_parts() {
        let key = Digest::of(b"x").hex();
        let content = large();
        let secrets = write(Kind::Spec, &key, &content);
        assert!(secrets.len() > 3, "{}", secrets.len());
        for secret in &secrets {
            let size = secret["data"]["content"].as_str().map_or(0, |text| text.len() / 4 * 3);
            assert!(size < 1 << 20);
            assert!(secret["metadata"]["name"].as_str().unwrap().len() < 253);
        }
        let found = read(&secrets);
        assert_eq!((found.documents[0].key.as_str(), &found.documents[0].content), (key.as_str(), &content));
        assert!(found.unreadable.is_empty());
        // Its head was not written yet, or is gone.
        let (head, parts) = secrets.split_last().unwrap();
        let found = read(parts);
        assert!(found.documents.is_empty());
        assert_eq!(found.unreadable.len(), parts.len());
        // A part is gone: told of, and of no harm to others.
        let mut rest = vec![head.clone()];
        rest.extend_from_slice(&parts[1..]);
        rest.extend(write(Kind::Revision, "1", &1));
        let found = read(&rest);
        assert_eq!(found.documents.len(), 1);
        assert!(found.unreadable[head["metadata"]["name"].as_str().unwrap()].contains("missing"));
    }

    #[test]
    fn what_is_damaged_or_not_ours_is_told_of() {
        for (pointer, value, expected) in [
            ("/data/content", json!("e30="), "damaged"),
            ("/data/content", json!("!"), "Invalid"),
            ("/data", json!({}), "no content"),
            ("/metadata/annotations", json!({}), "no key"),
            ("/metadata/annotations/bowline.dev~1encoding", json!("zstd"), "zstd"),
            ("/metadata/labels/bowline.dev~1kind", json!("wish"), "wish"),
        ] {
            let mut secrets = write(Kind::Revision, "1", &json!({"a": 1}));
            *secrets[0].pointer_mut(pointer).unwrap() = value;
            let found = read(&secrets);
            let reason = &found.unreadable["bowline.chat.box.revision.1"];
            assert!(found.documents.is_empty() && reason.contains(expected), "{reason}");
        }
    }

    #[test]
    fn an_inventory_knows_documents_from_leftovers() {
        let spec = write(Kind::Spec, "s", &large());
        let mut secrets = spec.clone();
        let leftover = write(Kind::Manifests, "a", &large());
        secrets.extend_from_slice(&leftover[..1]);
        secrets.extend(write(Kind::Revision, "1", &1));
        let secrets: Vec<_> = secrets.into_iter().map(Secret::new).collect();
        let inventory = Inventory::of(&secrets);
        let documents = [(Kind::Revision, "1".to_owned()), (Kind::Spec, "s".to_owned())];
        assert_eq!(inventory.documents, documents.into());
        assert_eq!(inventory.orphans.len(), 1);
        assert!(inventory.unknown.is_empty());
    }

    #[test]
    fn runs_and_digests_make_names() {
        assert_eq!(
            name("p", Kind::Setback, "20261122T101500-3f9c2ab417"),
            "p.setback.20261122t101500-3f9c2ab417"
        );
        let hex = Digest::of(b"").hex();
        assert_eq!(name("p", Kind::Spec, &hex), format!("p.spec.{hex}"));
    }
}
