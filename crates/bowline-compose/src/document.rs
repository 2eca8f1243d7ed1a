//! Small documents on the target, kept by the engine: each is a volume whose labels hold it.
//!
//! Creating a volume whose name is taken gives the one that is there, untouched, and a volume's labels never change:
//! so creating a document is an atomic create-if-absent, and a document that exists is immutable. Volumes survive
//! `docker system prune --all`; they are empty directories otherwise. No program is needed on the host.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rand::RngExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::engine::{Engine, EngineError, Volume};

/// The longest document, as JSON, in bytes.
pub const LARGEST: usize = 16 << 20;
/// From this size on, documents are compressed; below, people can read them with `docker volume inspect`.
const LARGE: usize = 4 << 10;
/// The largest label that is sent: engines were seen to take 4 MiB.
const LARGEST_LABEL: usize = 4 << 20;

const PROJECT: &str = "dev.bowline.project";
const KIND: &str = "dev.bowline.kind";
const KEY: &str = "dev.bowline.key";
const CONTENT: &str = "dev.bowline.content";
const ENCODING: &str = "dev.bowline.encoding";
const WRITE: &str = "dev.bowline.write";

/// What a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Who may change the target.
    Lease,
    /// What a running operation means to do, and what it found out.
    Journal,
    /// What the target was brought to.
    Revision,
    /// The files that a revision was deployed with.
    Spec,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Lease, Self::Journal, Self::Revision, Self::Spec];

    fn word(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Journal => "journal",
            Self::Revision => "revision",
            Self::Spec => "spec",
        }
    }
}

/// A document as it is on the target.
#[derive(Clone, PartialEq)]
pub struct Document {
    /// What it is about.
    pub kind: Kind,
    /// Its key within its kind.
    pub key: String,
    /// Its content.
    pub content: Value,
    /// When it was written, by the engine's clock, to the second.
    pub created_at: Option<Timestamp>,
}

impl Document {
    /// Its content as a type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, DocumentError> {
        T::deserialize(&self.content).map_err(|error| DocumentError::Unreadable {
            name: format!("{} {}", self.kind.word(), self.key),
            reason: error.to_string(),
        })
    }
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document").field("kind", &self.kind).field("key", &self.key).finish_non_exhaustive()
    }
}

/// What came of creating a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Creation {
    /// It is there now, by us.
    Created(Document),
    /// Somebody had written one with this key; it is as it was.
    Exists(Document),
}

/// Everything of a project that was found on the target.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The documents, in the order of kind and key (keys that are numbers, by number).
    pub documents: Vec<Document>,
    /// Names of documents that cannot be read, and why: written half, or by a newer Bowline.
    pub unreadable: BTreeMap<String, String>,
}

impl Found {
    /// The documents of a kind.
    pub fn of(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Document> {
        self.documents.iter().filter(move |document| document.kind == kind)
    }
}

/// Why a document was not written, or cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The engine did not do it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It is too large.
    #[error("cannot keep {name} on the target: {bytes} bytes are more than the {limit} that fit")]
    TooLarge {
        /// Which.
        name: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Its key, or the project's name, cannot be part of a volume's name.
    #[error("`{0}` cannot be part of a document's name: letters, digits and _ . - only")]
    InvalidName(String),
    /// It cannot be made sense of.
    #[error("cannot read {name} on the target: {reason}")]
    Unreadable {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },
}

impl DocumentError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Engine(error) => error.hint(),
            Self::Unreadable { .. } => Some("a newer bowline may have written it: update this one".into()),
            _ => None,
        }
    }

    /// Whether host or engine could not be reached.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Engine(error) if error.is_unreachable())
    }
}

/// The documents of one compose project on one engine.
#[derive(Clone)]
pub struct Documents {
    engine: Engine,
    project: Arc<str>,
}

impl Documents {
    /// The documents of this project.
    ///
    /// # Errors
    /// When the project's name cannot be part of a volume's name.
    pub fn new(engine: &Engine, project: &str) -> Result<Self, DocumentError> {
        Ok(Self { engine: engine.clone(), project: name_part(project)?.into() })
    }

    /// The engine that keeps them.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The project.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Writes a document, unless there is one with this key: then gives that one.
    pub async fn create(
        &self,
        kind: Kind,
        key: &str,
        content: &impl Serialize,
    ) -> Result<Creation, DocumentError> {
        let name = self.name(kind, key)?;
        let json = serde_json::to_string(content)
            .map_err(|error| DocumentError::Unreadable { name: name.clone(), reason: error.to_string() })?;
        let (encoding, text) = encode(&name, &json)?;
        let write: String = format!("{:032x}", rand::rng().random::<u128>());
        let labels = HashMap::from([
            (PROJECT.to_owned(), self.project.to_string()),
            (KIND.to_owned(), kind.word().to_owned()),
            (KEY.to_owned(), key.to_owned()),
            (ENCODING.to_owned(), encoding.to_owned()),
            (CONTENT.to_owned(), text),
            (WRITE.to_owned(), write.clone()),
        ]);
        let volume = self.engine.claim_volume(&name, labels).await?;
        let ours = volume.labels.get(WRITE) == Some(&write);
        let document = read(volume)?;
        Ok(if ours { Creation::Created(document) } else { Creation::Exists(document) })
    }

    /// Reads all documents of the project: one round trip.
    pub async fn list(&self) -> Result<Found, DocumentError> {
        self.find(&format!("bowline.{}.", self.project)).await
    }

    /// Reads the documents of one kind: one round trip.
    pub async fn list_kind(&self, kind: Kind) -> Result<Found, DocumentError> {
        self.find(&format!("bowline.{}.{}.", self.project, kind.word())).await
    }

    async fn find(&self, prefix: &str) -> Result<Found, DocumentError> {
        let mut found = Found::default();
        for volume in self.engine.volumes(prefix).await? {
            let name = volume.name.clone();
            match read(volume) {
                Ok(document) => found.documents.push(document),
                Err(error) => {
                    found.unreadable.insert(name, error.to_string());
                }
            }
        }
        found.documents.sort_by(|a, b| rank(a).cmp(&rank(b)));
        Ok(found)
    }

    /// Removes a document; one that is not there is no error.
    pub async fn delete(&self, kind: Kind, key: &str) -> Result<(), DocumentError> {
        Ok(self.engine.drop_volume(&self.name(kind, key)?).await?)
    }

    fn name(&self, kind: Kind, key: &str) -> Result<String, DocumentError> {
        Ok(format!("bowline.{}.{}.{}", self.project, kind.word(), name_part(key)?))
    }
}

/// The number at the end of a document's name; for names of leases, whose labels may not be readable yet.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    name.rsplit_once('.')?.1.parse().ok()
}

fn rank(document: &Document) -> (Kind, u64, &str) {
    (document.kind, document.key.parse().unwrap_or(u64::MAX), &document.key)
}

fn name_part(text: &str) -> Result<&str, DocumentError> {
    let fits = !text.is_empty()
        && text.len() <= 128
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if fits { Ok(text) } else { Err(DocumentError::InvalidName(text.chars().take(150).collect())) }
}

fn encode(name: &str, json: &str) -> Result<(&'static str, String), DocumentError> {
    let too_large = |bytes, limit| DocumentError::TooLarge { name: name.into(), bytes, limit };
    if json.len() > LARGEST {
        return Err(too_large(json.len(), LARGEST));
    }
    if json.len() < LARGE {
        return Ok(("json", json.into()));
    }
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    let packed = encoder.write_all(json.as_bytes()).and_then(|()| encoder.finish());
    // Writing to memory does not fail; if it did, the text itself is as good.
    let Ok(packed) = packed else { return Ok(("json", json.into())) };
    let text = STANDARD.encode(packed);
    if text.len() > LARGEST_LABEL {
        return Err(too_large(text.len(), LARGEST_LABEL));
    }
    Ok(("deflate+base64", text))
}

fn decode(encoding: &str, text: &str) -> Result<Value, String> {
    let json = match encoding {
        "json" => text.as_bytes().to_vec(),
        "deflate+base64" => {
            let packed = STANDARD.decode(text).map_err(|error| error.to_string())?;
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

fn read(mut volume: Volume) -> Result<Document, DocumentError> {
    let unreadable = |reason: String| DocumentError::Unreadable { name: volume.name.clone(), reason };
    let missing = || unreadable("a label is missing".into());
    let kind = volume.labels.get(KIND).ok_or_else(missing)?;
    let kind = Kind::ALL.into_iter().find(|known| known.word() == kind);
    let kind = kind.ok_or_else(|| unreadable("its kind is not known".into()))?;
    let text = volume.labels.get(CONTENT).ok_or_else(missing)?;
    let encoding = volume.labels.get(ENCODING).ok_or_else(missing)?;
    let content = decode(encoding, text).map_err(unreadable)?;
    let created_at = volume.created_at.as_deref().and_then(|time| time.parse().ok());
    let key = volume.labels.remove(KEY).ok_or_else(|| DocumentError::Unreadable {
        name: volume.name,
        reason: "a label is missing".into(),
    })?;
    Ok(Document { kind, key, content, created_at })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn small_documents_stay_readable_and_large_ones_fit() {
        assert_eq!(encode("x", r#"{"a":1}"#).unwrap(), ("json", r#"{"a":1}"#.into()));
        let large = serde_json::json!({"text": "ab".repeat(1 << 20)}).to_string();
        let (encoding, text) = encode("x", &large).unwrap();
        assert!(text.len() < 100_000);
        assert_eq!(decode(encoding, &text).unwrap().to_string(), large);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let error = encode("spec 3", &"x".repeat(LARGEST + 1)).unwrap_err();
        assert!(error.to_string().contains("spec 3"), "{error}");
        assert!(decode("zstd", "").is_err());
        assert!(name_part("a/b").is_err());
    }
}
