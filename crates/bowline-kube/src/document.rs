//! Small documents in the cluster, kept by the API server: each is a Secret of a type of its own.
//!
//! Creating an object whose name is taken fails, and an immutable Secret's content never changes: so creating a document
//! is an atomic create-if-absent, and a document that exists is as it was written. One that does not fit into a Secret
//! is spread over several: its parts are written first, under names that nobody else uses, and last the head that names
//! them. Until then there is no document; parts without a head are what a write that was cut off left.

mod name;
mod secret;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::call::{Again, Call, segment};
use crate::cluster::{Cluster, ORDINARY};
use crate::error::KubeError;
use name::name_part;
use secret::{Secret, Written};

/// The longest document, as JSON, in bytes.
pub const LARGEST: usize = 64 << 20;

/// Who made an object, as other tools read it.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "bowline");
const PROJECT: &str = "bowline.dev/project";
const TARGET: &str = "bowline.dev/target";
const KIND: &str = "bowline.dev/kind";

/// What a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What a running operation means to do.
    Intent,
    /// Why a run turned back.
    Setback,
    /// What the target was brought to.
    Revision,
    /// The files that a revision was deployed with.
    Spec,
    /// The manifests of a revision as they were applied.
    Manifests,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Intent, Self::Setback, Self::Revision, Self::Spec, Self::Manifests];

    fn word(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Setback => "setback",
            Self::Revision => "revision",
            Self::Spec => "spec",
            Self::Manifests => "manifests",
        }
    }
}

/// A document as it is in the cluster.
#[derive(Clone, PartialEq)]
pub struct Document {
    /// What it is about.
    pub kind: Kind,
    /// Its key within its kind.
    pub key: String,
    /// Its content.
    pub content: Value,
    /// When it was written, by the API server's clock, to the second.
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
    Created,
    /// Somebody had written one with this key; it is as it was.
    Exists(Document),
}

/// Documents that were found in the cluster.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The documents, in the order of kind and key (keys that are numbers, by number).
    pub documents: Vec<Document>,
    /// Names of Secrets that cannot be read, and why: damaged, written half, or by a newer Bowline.
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
    /// The cluster did not do it.
    #[error(transparent)]
    Kube(#[from] KubeError),
    /// It is too large.
    #[error("cannot keep {name} in the cluster: {bytes} bytes are more than the {limit} that fit")]
    TooLarge {
        /// Which.
        name: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// It cannot be made sense of.
    #[error("cannot read {name} in the cluster: {reason}")]
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
            Self::Kube(error) => error.hint(),
            Self::Unreadable { .. } => Some("a newer bowline may have written it: update this one".into()),
            Self::TooLarge { .. } => None,
        }
    }

    /// Whether the cluster could not be reached.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Kube(error) if error.is_unreachable())
    }
}

/// The documents of one project's target, in one namespace of one cluster.
#[derive(Clone)]
pub struct Documents {
    cluster: Cluster,
    namespace: Arc<str>,
    project: Arc<str>,
    target: Arc<str>,
}

impl Documents {
    /// The documents of this project's target. The namespace need not exist yet: there are none then.
    pub fn new(cluster: &Cluster, namespace: &str, project: &str, target: &str) -> Self {
        Self {
            cluster: cluster.clone(),
            namespace: namespace.into(),
            project: project.into(),
            target: target.into(),
        }
    }

    /// The cluster that keeps them.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The namespace that they are in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The project.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The target.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The beginning of the names of all that Bowline keeps for this project's target: `bowline.PROJECT.TARGET`.
    pub(crate) fn name(&self) -> String {
        format!("bowline.{}.{}", name_part(&self.project), name_part(&self.target))
    }

    /// The labels of all that Bowline keeps for this project's target.
    pub(crate) fn labels(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            (MANAGED_BY.0, MANAGED_BY.1.to_owned()),
            (PROJECT, name_part(&self.project)),
            (TARGET, name_part(&self.target)),
        ])
    }

    /// Writes a document, unless there is one with this key: then gives that one.
    pub async fn create(
        &self,
        kind: Kind,
        key: &str,
        content: &impl Serialize,
    ) -> Result<Creation, DocumentError> {
        let written = Written::new(&self.name(), self.labels(), kind, key, content)?;
        for part in written.parts() {
            self.post(&part).await?;
        }
        match self.post(&written.head()).await {
            Ok(()) => return Ok(Creation::Created),
            Err(error) if error.is_already_exists() => {}
            Err(error) => return Err(error.into()),
        }
        let there = self.get(written.name()).await?;
        // An answer was lost on the way, and this was the second try.
        if there.as_ref().is_some_and(|there| written.is_ours(there)) {
            return Ok(Creation::Created);
        }
        // Parts that nothing names: leaving them would be untidy, not wrong.
        for name in written.part_names() {
            let _ = self.drop_secret(name).await;
        }
        let there = there.ok_or_else(|| DocumentError::Unreadable {
            name: written.name().into(),
            reason: "it was there, and is gone".into(),
        })?;
        Ok(Creation::Exists(self.complete(there).await?))
    }

    /// Reads the documents of some kinds: one round trip.
    pub async fn list(&self, kinds: &[Kind]) -> Result<Found, DocumentError> {
        let path = format!("{}?labelSelector={}", self.path(), segment(&self.selector(kinds)));
        let answer = self.cluster.fetch(&Call::get("read what Bowline keeps in the cluster", path)).await?;
        Ok(secret::gather(secrets(answer)))
    }

    /// Which documents of some kinds (of all: where none is named) there are, and the parts that belong to none of them: names of Secrets by key.
    /// One round trip, without their content.
    pub(crate) async fn inventory(&self, kinds: &[Kind]) -> Result<secret::Inventory, DocumentError> {
        const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let what = "see what Bowline keeps in the cluster";
        let path = format!("{}?labelSelector={}", self.path(), segment(&self.selector(kinds)));
        let request = http::Request::get(path).header(http::header::ACCEPT, METADATA).body(Vec::new());
        let request = request
            .map_err(|error| KubeError::Unexpected { what: what.into(), message: error.to_string() })?;
        let answer = self.cluster.ask(what, ORDINARY, self.cluster.client().request(request)).await?;
        Ok(secret::Inventory::of(&secrets(answer)))
    }

    /// Reads one document; none where there is none with this key.
    pub async fn find(&self, kind: Kind, key: &str) -> Result<Option<Document>, DocumentError> {
        match self.get(&secret::name(&self.name(), kind, key)).await? {
            Some(head) => Ok(Some(self.complete(head).await?)),
            None => Ok(None),
        }
    }

    /// Removes a document; one that is not there is no error.
    pub async fn delete(&self, kind: Kind, key: &str) -> Result<(), DocumentError> {
        let name = secret::name(&self.name(), kind, key);
        let parts = self.get(&name).await?.map(|head| head.parts()).unwrap_or_default();
        // The head first: what is left when this is cut off is no document any more.
        self.drop_secret(&name).await?;
        for part in parts {
            self.drop_secret(&part).await?;
        }
        Ok(())
    }

    /// Removes a Secret by its name; one that is not there is no error.
    pub(crate) async fn drop_secret(&self, name: &str) -> Result<(), KubeError> {
        let call = Call {
            what: &format!("remove the Secret {}/{name}", self.namespace),
            method: Method::DELETE,
            path: format!("{}/{}", self.path(), segment(name)),
            body: None,
            again: Again::Always,
        };
        match self.cluster.fetch(&call).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Fetches the parts of a document, and puts it together.
    async fn complete(&self, head: Secret) -> Result<Document, DocumentError> {
        let mut secrets = Vec::new();
        for part in head.parts() {
            // One that is missing is told of when the document is put together.
            secrets.extend(self.get(&part).await?);
        }
        let name = head.name().to_owned();
        secrets.push(head);
        let found = secret::gather(secrets);
        let reason = found.unreadable.get(&name).cloned();
        found.documents.into_iter().next().ok_or_else(|| DocumentError::Unreadable {
            name,
            reason: reason.unwrap_or_else(|| "it is not what Bowline writes".into()),
        })
    }

    async fn get(&self, name: &str) -> Result<Option<Secret>, KubeError> {
        let what = format!("read the Secret {}/{name}", self.namespace);
        match self.cluster.fetch(&Call::get(&what, format!("{}/{}", self.path(), segment(name)))).await {
            Ok(secret) => Ok(Some(Secret::new(secret))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn post(&self, secret: &Value) -> Result<(), KubeError> {
        let name = secret.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let call = Call {
            what: &format!("write the Secret {}/{name}", self.namespace),
            method: Method::POST,
            path: format!("{}?fieldManager=bowline", self.path()),
            body: Some(("application/json", secret.to_string().into_bytes())),
            // Names are taken once, and who took one can be told: a second try does no harm.
            again: Again::Always,
        };
        self.cluster.fetch(&call).await.map(drop)
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets", segment(&self.namespace))
    }

    fn selector(&self, kinds: &[Kind]) -> String {
        let labels: Vec<String> =
            self.labels().iter().map(|(label, value)| format!("{label}={value}")).collect();
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
        match kinds.as_slice() {
            [] => labels.join(","),
            kinds => format!("{},{KIND} in ({})", labels.join(","), kinds.join(",")),
        }
    }
}

fn secrets(mut list: Value) -> Vec<Secret> {
    let items = list.get_mut("items").map(Value::take);
    let Some(Value::Array(items)) = items else { return Vec::new() };
    items.into_iter().map(Secret::new).collect()
}
