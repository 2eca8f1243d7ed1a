//! What identifies an object of the Kubernetes API, and the manifests that people write.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A kind of object: its API group and its name. The version is how one talks about a kind, not what it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Kind {
    /// The API group, e.g. `apps`; empty for the core group.
    pub group: String,
    /// The kind, e.g. `Deployment`.
    pub kind: String,
}

impl Kind {
    /// A kind of a group.
    pub fn new(group: &str, kind: &str) -> Self {
        Self { group: group.into(), kind: kind.into() }
    }

    /// Whether it is this kind of this group.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)
    }
}

/// What no two objects of a cluster have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// What it is.
    #[serde(flatten)]
    pub kind: Kind,
    /// Where it is; none for objects of the whole cluster.
    pub namespace: Option<String>,
    /// What it is called there.
    pub name: String,
}

impl ObjectId {
    /// An object in a namespace.
    pub fn namespaced(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: Kind::new(group, kind), namespace: Some(namespace.into()), name: name.into() }
    }

    /// An object of the whole cluster.
    pub fn of_cluster(group: &str, kind: &str, name: &str) -> Self {
        Self { kind: Kind::new(group, kind), namespace: None, name: name.into() }
    }
}

impl fmt::Display for ObjectId {
    /// `Deployment chat/user`, `Namespace chat`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        self.namespace.iter().try_for_each(|namespace| write!(f, "{namespace}/"))?;
        f.write_str(&self.name)
    }
}

/// Where in a file something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The file's path, relative to the directory of `bowline.toml`.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One object as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Which object it describes.
    pub id: ObjectId,
    /// The version of the API it is written in, without the group, e.g. `v1`.
    pub version: String,
    /// All of it, `apiVersion`, `kind` and `metadata` included.
    pub value: Value,
    /// Where it begins.
    pub origin: Origin,
}

impl Manifest {
    /// The `apiVersion`: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        api_version(&self.id.kind.group, &self.version)
    }
}

/// The `apiVersion` of a version of a group: `v1`, `apps/v1`.
pub fn api_version(group: &str, version: &str) -> String {
    match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    }
}

/// Group and version of an `apiVersion`; the core group is empty.
pub fn split_api_version(text: &str) -> (&str, &str) {
    text.split_once('/').unwrap_or(("", text))
}

/// Which object a value of the API is; none where it does not say.
pub fn identify(value: &Value) -> Option<ObjectId> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (group, _) = split_api_version(text("/apiVersion")?);
    Some(ObjectId {
        kind: Kind::new(group, text("/kind")?),
        namespace: text("/metadata/namespace").map(str::to_owned),
        name: text("/metadata/name")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_says_which_it_is() {
        let value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "user", "namespace": "chat"}});
        let id = identify(&value).unwrap();
        assert_eq!(id, ObjectId::namespaced("apps", "Deployment", "chat", "user"));
        assert_eq!(id.to_string(), "Deployment chat/user");
        let value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "chat"}});
        assert_eq!(identify(&value).unwrap().to_string(), "Namespace chat");
        assert_eq!(identify(&json!({"kind": "Namespace"})), None);
    }
}
