//! What must be allowed before a release can be applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::finding::{Finding, Findings};
use crate::kube::object::{Kind, ObjectId};
use crate::kube::planning::{Action, Assessment};

use super::Cluster;
use super::reference::Reference;

/// Something that must be allowed, as a SelfSubjectAccessReview asks for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Right {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
    /// On which kind; discovery knows the name of the resource.
    pub kind: Kind,
    /// On a part of it, such as `log`.
    pub part: Option<&'static str>,
    /// In which namespace, or in the whole cluster. A namespace itself is in itself: so the API server has it.
    pub namespace: Option<String>,
}

impl Right {
    /// On what it is: `Pod/log in chat`.
    fn place(&self) -> String {
        let part = self.part.map(|part| format!("/{part}")).unwrap_or_default();
        let namespace =
            self.namespace.as_ref().map(|namespace| format!(" in {namespace}")).unwrap_or_default();
        format!("{}{part}{namespace}", self.kind)
    }

    /// Whether nothing goes without it; else causes are told poorer.
    fn is_needed(&self) -> bool {
        self.part != Some("log") && !self.kind.is("", "Event")
    }
}

impl fmt::Display for Right {
    /// `patch Deployment in chat`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.place())
    }
}

/// What is going to happen to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It is made.
    Create,
    /// It is changed in place.
    Change,
    /// It is deleted, and made anew.
    Renew,
    /// It is deleted.
    Delete,
    /// It is looked at until it is ready.
    Await,
}

impl Deed {
    /// What a step of a plan does to which object.
    pub fn of(action: &Action) -> Option<(&ObjectId, Self)> {
        match action {
            Action::Apply { id, assessment: Assessment::Create { .. } } => Some((id, Self::Create)),
            Action::Apply { id, .. } => Some((id, Self::Change)),
            Action::Replace { id, .. } => Some((id, Self::Renew)),
            Action::Delete { id } => Some((id, Self::Delete)),
            Action::Await { id } => Some((id, Self::Await)),
            Action::Gather => None,
        }
    }

    /// An object is applied by a patch; one that is not there is created by it, which is a right of its own.
    fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::Create => &["get", "create", "patch"],
            Self::Change => &["get", "patch"],
            Self::Renew => &["get", "create", "patch", "delete"],
            Self::Delete => &["get", "delete"],
            Self::Await => &["list", "watch"],
        }
    }
}

/// All that must be allowed to do this, to look at what becomes of it, and to keep lease and records in the target's own
/// namespace. What is only looked up before is not among it: what cannot be looked up is not judged.
pub fn rights<'p>(deeds: impl IntoIterator<Item = (&'p ObjectId, Deed)>, own: &str) -> BTreeSet<Right> {
    let mut found = BTreeSet::new();
    let mut add = |kind: &Kind, part, namespace: Option<&str>, verbs: &[&'static str]| {
        for verb in verbs {
            let namespace = namespace.map(str::to_owned);
            found.insert(Right { verb, kind: kind.clone(), part, namespace });
        }
    };
    for (id, deed) in deeds {
        let kind = &id.kind;
        let itself = kind.is("", "Namespace").then_some(id.name.as_str());
        let namespace = id.namespace.as_deref().or(itself);
        add(kind, None, namespace, deed.verbs());
        if deed == Deed::Await && id.namespace.is_some() {
            add(&Kind::new("", "Pod"), None, namespace, &["list", "watch"]);
            add(&Kind::new("", "Pod"), Some("log"), namespace, &["get"]);
            add(&Kind::new("apps", "ReplicaSet"), None, namespace, &["list", "watch"]);
            add(&Kind::new("", "Event"), None, namespace, &["list", "watch"]);
        }
        if deed == Deed::Await && kind.is("batch", "CronJob") {
            add(&Kind::new("batch", "Job"), None, namespace, &["list", "watch"]);
        }
    }
    add(&Kind::new("coordination.k8s.io", "Lease"), None, Some(own), &["get", "create", "update"]);
    add(&Kind::new("", "Secret"), None, Some(own), &["get", "list", "create", "delete"]);
    found
}

pub(super) fn check(cluster: &Cluster, findings: &mut Findings) {
    let mut denied: BTreeMap<(bool, String), Vec<&str>> = BTreeMap::new();
    for right in &cluster.denied {
        denied.entry((right.is_needed(), right.place())).or_default().push(right.verb);
    }
    for ((needed, place), verbs) in denied {
        let text = format!("not allowed: {} {place}", verbs.join(", "));
        if needed {
            let remedy = "have a Role or ClusterRole with these verbs bound to the account that Bowline uses";
            findings.refusals.push(Finding::new("rights", text, remedy));
        } else {
            let remedy = "should it fail, the cause is told without this; allow it, and it is told whole";
            findings.warnings.push(Finding::new("rights", text, remedy));
        }
    }
    let unread: Vec<String> = cluster.unreadable.iter().map(Reference::to_string).collect();
    if !unread.is_empty() {
        findings.warnings.push(Finding::new(
            "rights",
            format!("could not be looked up, and is not judged: {}", unread.join(", ")),
            "allow get and list on these, and more is found before it fails",
        ));
    }
}
