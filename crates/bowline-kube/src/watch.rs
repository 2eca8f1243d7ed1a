//! What goes on in a cluster while a release is rolled out: the touched objects, what they own, and what happens to
//! them, kept up to date by what the API server tells. Nothing is asked for again and again.
//!
//! The picture survives an API server that goes away: it stays as it was, [`Watch::trouble`] says since when, and it
//! goes on, or is made anew, when the server is back.

mod feed;
mod picture;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bowline_core::kube::object::{Kind, ObjectId, identify, split_api_version};
use bowline_core::kube::workload::template_pointer;
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::discovery::Resource;
use crate::error::KubeError;
use feed::{Feed, Scope};
use picture::{FeedId, Form, Picture};

/// An object to be watched, and how the API server calls its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Which.
    pub id: ObjectId,
    /// The version of its API, without the group: `v1`.
    pub version: String,
    /// Its kind's name in paths: `deployments`.
    pub plural: String,
}

impl Subject {
    /// An object of a kind that the cluster's catalog has.
    pub fn of(resource: &Resource, id: &ObjectId) -> Self {
        Self { id: id.clone(), version: resource.version.version.clone(), plural: resource.plural.clone() }
    }
}

/// What was seen of an object and of all that belongs to it. Values have `apiVersion` and `kind`, no
/// `managedFields`, and digests in place of secret values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sight {
    /// The object; none where there is none.
    pub object: Option<Arc<Value>>,
    /// What it owns, and what that owns in turn: ReplicaSets, Jobs, pods.
    pub owned: Vec<Arc<Value>>,
    /// Events of all of them.
    pub events: Vec<Arc<Value>>,
}

impl Sight {
    /// What is owned and of this kind.
    pub fn owned_of<'s>(&'s self, kind: &'s Kind) -> impl Iterator<Item = &'s Value> {
        let is = |value: &Value| identify(value).is_some_and(|id| id.kind == *kind);
        self.owned.iter().map(AsRef::as_ref).filter(move |value| is(value))
    }

    /// The pods that it owns; a pod itself owns none.
    pub fn pods(&self) -> impl Iterator<Item = &Value> {
        self.owned
            .iter()
            .map(AsRef::as_ref)
            .filter(|value| value.get("kind").and_then(Value::as_str) == Some("Pod"))
    }
}

/// Why the picture may be out of date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// For how long.
    pub since: Duration,
    /// Why, in words.
    pub reason: String,
}

/// A picture of a part of a cluster that is kept up to date until it is dropped.
pub struct Watch {
    cluster: Cluster,
    shared: Shared,
    news: watch::Receiver<u64>,
    scopes: BTreeMap<Scope, FeedId>,
    feeds: JoinSet<()>,
}

/// What the feeds write into.
#[derive(Clone)]
struct Shared {
    state: Arc<Mutex<State>>,
    news: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct State {
    picture: Picture,
    trouble: BTreeMap<FeedId, (Instant, String)>,
    missing: BTreeMap<String, String>,
}

impl Watch {
    /// Begins to watch: these objects, with pods, ReplicaSets and events of their namespaces, and nodes. Gives the
    /// picture when all has been looked at once.
    ///
    /// # Errors
    /// When the API server does not answer, or does not let the caller look. Kinds that it does not know yet are no
    /// error, nor is what only makes reasons better (see [`Watch::missing`]).
    pub async fn open(cluster: &Cluster, subjects: &[Subject]) -> Result<Self, KubeError> {
        let (sender, news) = watch::channel(0);
        let shared = Shared { state: Arc::default(), news: Arc::new(sender) };
        let (scopes, feeds) = (BTreeMap::new(), JoinSet::new());
        let mut watch = Self { cluster: cluster.clone(), shared, news, scopes, feeds };
        watch.add(subjects).await?;
        watch.news.mark_unchanged();
        Ok(watch)
    }

    /// Watches further objects too.
    ///
    /// # Errors
    /// As with [`Watch::open`].
    pub async fn add(&mut self, subjects: &[Subject]) -> Result<(), KubeError> {
        let mut first_looks = Vec::new();
        for (scope, optional) in scopes(subjects) {
            if self.scopes.contains_key(&scope) {
                continue;
            }
            let id = self.scopes.len();
            self.scopes.insert(scope.clone(), id);
            let (ready, first_look) = oneshot::channel();
            first_looks.push(first_look);
            let (cluster, shared) = (self.cluster.clone(), self.shared.clone());
            self.feeds.spawn(Feed { id, scope, optional, cluster, shared }.run(ready));
        }
        for first_look in first_looks {
            // A feed that ends without a word was aborted, and this with it.
            first_look.await.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Waits until the picture, or the trouble with it, has changed since the last call.
    pub async fn changed(&mut self) {
        // The sender lives in `self.shared`: there is no error.
        let _ = self.news.changed().await;
    }

    /// An object and what belongs to it, as last told.
    pub fn sight(&self, id: &ObjectId) -> Sight {
        let state = self.shared.lock();
        let Some(object) = state.picture.get(id) else { return Sight::default() };
        let owned = state.picture.owned_by(object);
        let mut events = state.picture.events_of(id, object);
        for value in &owned {
            events.extend(identify(value).map(|id| state.picture.events_of(&id, value)).unwrap_or_default());
        }
        Sight { object: Some(Arc::clone(object)), owned, events }
    }

    /// All that was seen of a kind: in a namespace, or everywhere.
    pub fn seen(&self, kind: &Kind, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.shared.lock().picture.of_kind(kind, namespace)
    }

    /// Takes in an object as a request of ours was answered with. From then on, the picture is never older than that:
    /// what is applied is not judged by how it was before.
    pub fn learn(&self, object: Value) {
        let Some(id) = identify(&object) else { return };
        let version = object.get("apiVersion").and_then(Value::as_str).map(split_api_version);
        let form =
            Form { kind: id.kind.clone(), version: version.map_or("", |(_, version)| version).to_owned() };
        let feeds = |scope: &Scope| {
            scope.form.kind == form.kind
                && scope.namespace == id.namespace
                && scope.name.as_ref().is_none_or(|name| *name == id.name)
        };
        // What belongs to no feed is watched by nobody: knowing it once would be knowing it wrongly soon.
        let Some((_, feed)) = self.scopes.iter().find(|(scope, _)| feeds(scope)) else { return };
        self.shared.change(|picture| picture.put(*feed, &form, object));
    }

    /// Why, and for how long, the picture may be out of date; none while all is well.
    pub fn trouble(&self) -> Option<Trouble> {
        let state = self.shared.lock();
        let (since, reason) = state.trouble.values().min_by_key(|(since, _)| *since)?;
        Some(Trouble { since: since.elapsed(), reason: reason.clone() })
    }

    /// What the caller may not look at, and why: reasons will be poorer for it.
    pub fn missing(&self) -> BTreeMap<String, String> {
        self.shared.lock().missing.clone()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Picture) -> bool) {
        let news = change(&mut self.lock().picture);
        if news {
            self.tell();
        }
    }

    fn note_trouble(&self, feed: FeedId, error: &KubeError) {
        let reason = error.to_string();
        self.lock().trouble.entry(feed).or_insert_with(|| (Instant::now(), String::new())).1 = reason;
        self.tell();
    }

    fn note_fine(&self, feed: FeedId) {
        let was = self.lock().trouble.remove(&feed);
        if was.is_some() {
            self.tell();
        }
    }

    fn note_missing(&self, what: &str, error: &KubeError) {
        self.lock().missing.insert(what.to_owned(), error.to_string());
    }

    fn tell(&self) {
        self.news.send_modify(|number| *number += 1);
    }
}

/// What is to be looked at for these objects, and whether it only makes reasons better.
fn scopes(subjects: &[Subject]) -> BTreeMap<Scope, bool> {
    let mut scopes = BTreeMap::new();
    let scope = |group: &str, kind: &str, plural: &str, namespace: Option<&str>| Scope {
        form: Form { kind: Kind::new(group, kind), version: "v1".into() },
        plural: plural.into(),
        namespace: namespace.map(str::to_owned),
        name: None,
    };
    for subject in subjects {
        let kind = &subject.id.kind;
        if let Some(namespace) = subject.id.namespace.as_deref() {
            let place = Some(namespace);
            scopes.insert(scope("", "Pod", "pods", place), false);
            scopes.insert(scope("apps", "ReplicaSet", "replicasets", place), false);
            scopes.entry(scope("", "Event", "events", place)).or_insert(true);
            if kind.is("batch", "CronJob") {
                scopes.insert(scope("batch", "Job", "jobs", place), false);
            }
        }
        if template_pointer(kind).is_some() {
            scopes.entry(scope("", "Node", "nodes", None)).or_insert(true);
        }
        if kind.is("", "PersistentVolumeClaim") {
            let classes = scope("storage.k8s.io", "StorageClass", "storageclasses", None);
            scopes.entry(classes).or_insert(true);
        }
        let own = Scope {
            form: Form { kind: kind.clone(), version: subject.version.clone() },
            plural: subject.plural.clone(),
            namespace: subject.id.namespace.clone(),
            name: subject.id.namespace.is_none().then(|| subject.id.name.clone()),
        };
        scopes.insert(own, false);
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(group: &str, kind: &str, plural: &str, namespace: Option<&str>, name: &str) -> Subject {
        let id = ObjectId {
            kind: Kind::new(group, kind),
            namespace: namespace.map(str::to_owned),
            name: name.into(),
        };
        Subject { id, version: "v1".into(), plural: plural.into() }
    }

    #[test]
    fn each_kind_is_watched_once_per_namespace_with_what_belongs_to_it() {
        let chat = Some("chat");
        let scopes = scopes(&[
            subject("apps", "Deployment", "deployments", chat, "user"),
            subject("apps", "Deployment", "deployments", chat, "gateway"),
            subject("batch", "CronJob", "cronjobs", chat, "clean"),
            subject("", "Pod", "pods", chat, "alone"),
            subject("", "Namespace", "namespaces", None, "chat"),
        ]);
        let words: Vec<String> = scopes
            .iter()
            .map(|(scope, optional)| {
                let place = scope.namespace.as_deref().or(scope.name.as_deref()).unwrap_or("*");
                format!("{} {place}{}", scope.plural, if *optional { "?" } else { "" })
            })
            .collect();
        assert_eq!(
            words,
            [
                "events chat?",
                "namespaces chat",
                "nodes *?",
                "pods chat",
                "deployments chat",
                "replicasets chat",
                "cronjobs chat",
                "jobs chat",
            ]
        );
    }
}
