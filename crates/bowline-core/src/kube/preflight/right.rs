//! What must be allowed before a release can be applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::finding::{Finding, Findings};
use crate::kube::object::{Kind, Manifest};
use crate::kube::order::runs_pods;

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
    /// In which namespace, or in the whole cluster.
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
}

impl fmt::Display for Right {
    /// `patch Deployment in chat`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.place())
    }
}

/// All that must be allowed to apply these objects, to look at what they become, and to keep lease and records in the
/// target's own namespace. What is only looked up is not among it: what cannot be looked up is not judged.
pub fn rights(objects: &[Manifest], own: &str) -> BTreeSet<Right> {
    let mut found = BTreeSet::new();
    let mut add = |kind: &Kind, part, namespace: Option<&str>, verbs: &[&'static str]| {
        for verb in verbs {
            let namespace = namespace.map(str::to_owned);
            found.insert(Right { verb, kind: kind.clone(), part, namespace });
        }
    };
    for manifest in objects {
        let namespace = manifest.id.namespace.as_deref();
        let kind = &manifest.id.kind;
        add(kind, None, namespace, &["get", "create", "patch"]);
        if runs_pods(kind) {
            add(kind, None, namespace, &["list", "watch"]);
            add(&Kind::new("", "Pod"), None, namespace, &["get", "list", "watch"]);
            add(&Kind::new("", "Pod"), Some("log"), namespace, &["get"]);
            add(&Kind::new("", "Event"), None, namespace, &["list"]);
        }
        // Little of these can be changed in place: a new one takes the place of the old one.
        if matches!(kind.kind.as_str(), "Pod" | "Job") {
            add(kind, None, namespace, &["delete"]);
        }
    }
    add(&Kind::new("coordination.k8s.io", "Lease"), None, Some(own), &["get", "create", "update", "patch"]);
    add(&Kind::new("", "Secret"), None, Some(own), &["get", "list", "create", "patch", "delete"]);
    found
}

pub(super) fn check(cluster: &Cluster, findings: &mut Findings) {
    let mut denied: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for right in &cluster.denied {
        denied.entry(right.place()).or_default().push(right.verb);
    }
    for (place, verbs) in denied {
        findings.refusals.push(Finding::new(
            "rights",
            format!("not allowed: {} {place}", verbs.join(", ")),
            "have a Role or ClusterRole with these verbs bound to the account that Bowline uses",
        ));
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
