//! Which kinds the cluster knows, and how each is asked for.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::kube::object::{Kind, api_version};
use futures_util::future::{join_all, try_join};
use serde_json::Value;

use crate::call::{Call, segment};
use crate::cluster::Cluster;
use crate::error::KubeError;

/// A version of an API group; the core group is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersion {
    /// The group, e.g. `apps`.
    pub group: String,
    /// The version, e.g. `v1`.
    pub version: String,
}

impl GroupVersion {
    /// A version of a group.
    pub fn new(group: &str, version: &str) -> Self {
        Self { group: group.into(), version: version.into() }
    }

    fn path(&self) -> String {
        match self.group.as_str() {
            "" => format!("/api/{}", segment(&self.version)),
            group => format!("/apis/{}/{}", segment(group), segment(&self.version)),
        }
    }
}

impl std::fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&api_version(&self.group, &self.version))
    }
}

/// How objects of a kind are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Group and version that it is asked for in.
    pub version: GroupVersion,
    /// The kind.
    pub kind: String,
    /// Its name in paths, e.g. `deployments`.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// What can be done with it: `get`, `list`, `patch`, …
    pub verbs: BTreeSet<String>,
}

impl Resource {
    /// The path of all objects, of a namespace or of the whole cluster.
    pub(crate) fn path(&self, namespace: Option<&str>) -> String {
        let base = self.version.path();
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{base}/namespaces/{}/{}", segment(namespace), self.plural),
            None => format!("{base}/{}", self.plural),
        }
    }

    /// The path of one object.
    pub(crate) fn object_path(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}", self.path(namespace), segment(name))
    }

    /// The kind without its version.
    pub fn kind(&self) -> Kind {
        Kind::new(&self.version.group, &self.kind)
    }
}

/// The API server's version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion {
    /// The first number, 1 so far.
    pub major: u32,
    /// The second number, e.g. 33.
    pub minor: u32,
    /// As it calls itself, e.g. `v1.33.4+k3s1`.
    pub text: String,
}

impl ServerVersion {
    /// Whether the server notes who set the number of pods through `scale`, as autoscalers do (since 1.22:
    /// kubernetes#98377).
    pub fn notes_scaling(&self) -> bool {
        (self.major, self.minor) >= (1, 22)
    }

    /// Whether one stream of a command in a container can end while the others go on (`v5.channel.k8s.io`, on by default
    /// since 1.30: KEP-4006).
    pub(crate) fn ends_single_streams(&self) -> bool {
        (self.major, self.minor) >= (1, 30)
    }
}

/// What the cluster knows of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// The API server's version.
    pub server: ServerVersion,
    /// The kinds of the groups and versions that were asked for and are there.
    known: BTreeMap<GroupVersion, BTreeMap<String, Resource>>,
    /// All versions of each group of the cluster, the preferred one first.
    versions: BTreeMap<String, Vec<String>>,
    /// Groups that are there, but whose own server does not answer.
    silent: BTreeMap<GroupVersion, String>,
}

impl Catalog {
    /// How a kind is asked for in a version; none where the cluster does not know it (see [`Self::explain`]).
    pub fn resource(&self, version: &GroupVersion, kind: &str) -> Option<&Resource> {
        self.known.get(version)?.get(kind)
    }

    /// How a kind is asked for in whichever version was asked about.
    pub fn any(&self, kind: &Kind) -> Option<&Resource> {
        let of_group = self.known.iter().filter(|(version, _)| version.group == kind.group);
        of_group.filter_map(|(_, kinds)| kinds.get(&kind.kind)).next()
    }

    /// Whether the cluster has a version of a group.
    pub fn has(&self, version: &GroupVersion) -> bool {
        self.versions.get(&version.group).is_some_and(|versions| versions.contains(&version.version))
    }

    /// Why a kind is not known, and what the cluster has instead.
    pub fn explain(&self, version: &GroupVersion, kind: &str) -> String {
        let unknown = format!("the cluster ({}) does not know {kind} of {version}", self.server.text);
        if let Some(reason) = self.silent.get(version) {
            return format!("{unknown}: the server of that group does not answer: {reason}");
        }
        let others = self.versions.get(&version.group).map(Vec::as_slice).unwrap_or_default();
        let others: Vec<_> = others.iter().filter(|other| **other != version.version).collect();
        match (self.has(version), others.is_empty()) {
            (true, _) => {
                let kinds: Vec<_> =
                    self.known.get(version).into_iter().flat_map(BTreeMap::keys).cloned().collect();
                format!("{unknown}: there are {}", kinds.join(", "))
            }
            (false, true) => format!("{unknown}: it has no version of that group"),
            (false, false) => {
                let others: Vec<_> =
                    others.into_iter().map(|other| api_version(&version.group, other)).collect();
                format!("{unknown}: it has {}", others.join(", "))
            }
        }
    }
}

impl Cluster {
    /// Asks which kinds some groups and versions have, all at once: a request for each, one for the names of all groups
    /// and one for the server's version. What the cluster does not have is left out.
    pub async fn discover(&self, wanted: &BTreeSet<GroupVersion>) -> Result<Catalog, KubeError> {
        let kinds = async {
            let answers = join_all(wanted.iter().map(|version| self.kinds_of(version))).await;
            answers.into_iter().collect::<Result<Vec<_>, _>>()
        };
        let ((server, versions), answers) = try_join(try_join(self.version(), self.groups()), kinds).await?;
        let (mut known, mut silent) = (BTreeMap::new(), BTreeMap::new());
        for (version, answer) in wanted.iter().zip(answers) {
            match answer {
                Known::Kinds(kinds) => {
                    known.insert(version.clone(), kinds);
                }
                Known::Absent => {}
                Known::Silent(reason) => {
                    silent.insert(version.clone(), reason);
                }
            }
        }
        Ok(Catalog { server, known, versions, silent })
    }

    /// The server's version.
    pub async fn version(&self) -> Result<ServerVersion, KubeError> {
        let what = "ask for the cluster's version";
        let answer = self.fetch(&Call::get(what, "/version".into())).await?;
        let text = |field: &str| answer.get(field).and_then(Value::as_str).unwrap_or_default();
        // Some call themselves `27+`.
        let number =
            |field: &str| text(field).trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
        Ok(ServerVersion {
            major: number("major"),
            minor: number("minor"),
            text: text("gitVersion").to_owned(),
        })
    }

    /// The versions of all groups, the preferred one first.
    async fn groups(&self) -> Result<BTreeMap<String, Vec<String>>, KubeError> {
        let what = "ask which kinds of objects the cluster has";
        let answer = self.fetch(&Call::get(what, "/apis".into())).await?;
        let mut versions = BTreeMap::from([(String::new(), vec!["v1".to_owned()])]);
        for group in answer.get("groups").and_then(Value::as_array).into_iter().flatten() {
            let text = |value: &Value, pointer: &str| {
                value.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
            };
            let Some(name) = text(group, "/name") else { continue };
            let list = group.get("versions").and_then(Value::as_array);
            let mut all: Vec<_> =
                list.into_iter().flatten().filter_map(|one| text(one, "/version")).collect();
            let preferred = text(group, "/preferredVersion/version");
            all.sort_by_key(|version| Some(version) != preferred.as_ref());
            versions.insert(name, all);
        }
        Ok(versions)
    }

    async fn kinds_of(&self, version: &GroupVersion) -> Result<Known, KubeError> {
        let what = format!("ask which kinds {version} has");
        let reply = self.call(&Call::get(&what, version.path())).await?;
        match reply.status.as_u16() {
            200..=299 => Ok(Known::Kinds(kinds(version, &reply.body))),
            404 => Ok(Known::Absent),
            // A group whose server is another one (metrics) must not stand in the way of the rest.
            500..=599 if version.group.contains('.') => {
                Ok(Known::Silent(reply.error(&what, self.server()).to_string()))
            }
            _ => Err(reply.error(&what, self.server())),
        }
    }
}

enum Known {
    Kinds(BTreeMap<String, Resource>),
    Absent,
    Silent(String),
}

/// The kinds in a list of resources; parts of them (`deployments/scale`) are none.
fn kinds(version: &GroupVersion, answer: &Value) -> BTreeMap<String, Resource> {
    let list = answer.get("resources").and_then(Value::as_array);
    let resource = |value: &Value| {
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        let plural = text("name").filter(|name| !name.contains('/'))?;
        let kind = text("kind")?;
        let verbs = value.get("verbs").and_then(Value::as_array);
        let verbs = verbs.into_iter().flatten().filter_map(|verb| verb.as_str().map(str::to_owned)).collect();
        let namespaced = value.get("namespaced").and_then(Value::as_bool).unwrap_or(false);
        let (version, plural) = (version.clone(), plural.to_owned());
        Some((kind.to_owned(), Resource { version, kind: kind.to_owned(), plural, namespaced, verbs }))
    };
    list.into_iter().flatten().filter_map(resource).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn catalog() -> Catalog {
        let version = GroupVersion::new("apps", "v1");
        let answer = json!({"resources": [
            {"name": "deployments", "kind": "Deployment", "namespaced": true, "verbs": ["get", "list"]},
            {"name": "deployments/scale", "kind": "Scale", "namespaced": true, "verbs": ["get"]},
        ]});
        Catalog {
            server: ServerVersion { major: 1, minor: 20, text: "v1.20.2".into() },
            known: BTreeMap::from([(version.clone(), kinds(&version, &answer))]),
            versions: BTreeMap::from([
                ("apps".into(), vec!["v1".into()]),
                ("autoscaling".into(), vec!["v1".into(), "v2beta2".into()]),
            ]),
            silent: BTreeMap::from([(GroupVersion::new("metrics.k8s.io", "v1beta1"), "no answer".into())]),
        }
    }

    #[test]
    fn a_kind_knows_its_paths() {
        let catalog = catalog();
        let deployment = catalog.resource(&GroupVersion::new("apps", "v1"), "Deployment").unwrap();
        assert_eq!(deployment.path(None), "/apis/apps/v1/deployments");
        assert_eq!(
            deployment.object_path(Some("chat"), "user"),
            "/apis/apps/v1/namespaces/chat/deployments/user"
        );
        assert_eq!(catalog.resource(&GroupVersion::new("apps", "v1"), "Scale"), None);
        assert_eq!(catalog.any(&Kind::new("apps", "Deployment")), Some(deployment));
    }

    #[test]
    fn what_is_not_known_is_answered_with_what_there_is() {
        for (version, kind, expected) in [
            (
                GroupVersion::new("autoscaling", "v2"),
                "HorizontalPodAutoscaler",
                "does not know HorizontalPodAutoscaler of autoscaling/v2: it has autoscaling/v1, autoscaling/v2beta2",
            ),
            (
                GroupVersion::new("apps", "v1"),
                "Deploymnt",
                "does not know Deploymnt of apps/v1: there are Deployment",
            ),
            (
                GroupVersion::new("x.io", "v1"),
                "X",
                "does not know X of x.io/v1: it has no version of that group",
            ),
            (
                GroupVersion::new("metrics.k8s.io", "v1beta1"),
                "PodMetrics",
                "does not know PodMetrics of metrics.k8s.io/v1beta1: the server of that group does not answer: no answer",
            ),
        ] {
            assert_eq!(catalog().explain(&version, kind), format!("the cluster (v1.20.2) {expected}"));
        }
    }
}
