//! What must be looked up in a cluster before a release can be judged.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::kube::object::{Kind, Manifest, ObjectId};
use crate::kube::order::mention::{Mention, mentions, text};
use crate::kube::order::runs_pods;

use super::service::{Templates, selector};

/// Something to be looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reference {
    /// One object; it may be missing.
    Object(ObjectId),
    /// All objects of a kind.
    All {
        /// Which kind.
        kind: Kind,
        /// In this namespace, or in the whole cluster.
        namespace: Option<String>,
    },
}

impl Reference {
    fn all(group: &str, kind: &str, namespace: Option<&str>) -> Self {
        Self::All { kind: Kind::new(group, kind), namespace: namespace.map(str::to_owned) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(id) => id.fmt(f),
            Self::All { kind, namespace: Some(namespace) } => write!(f, "every {kind} of {namespace}"),
            Self::All { kind, namespace: None } => write!(f, "every {kind}"),
        }
    }
}

/// What must be looked up: the objects of the release themselves, those that they name and that the release does not have,
/// and lists of what else matters to them. Nodes and pods are among the lists; they go into their own fields of the
/// [`Cluster`](super::Cluster).
pub fn references(objects: &[Manifest]) -> BTreeSet<Reference> {
    let templates = Templates::new(objects.iter());
    let ours: BTreeSet<&ObjectId> = objects.iter().map(|manifest| &manifest.id).collect();
    let mut found: BTreeSet<Reference> = ours.iter().map(|id| Reference::Object((*id).clone())).collect();
    for manifest in objects {
        let namespace = manifest.id.namespace.as_deref();
        found.extend(namespace.map(|name| Reference::Object(ObjectId::of_cluster("", "Namespace", name))));
        let named = mentions(manifest);
        let mounts = named.iter().any(|mention| mention.target.kind.is("", "PersistentVolumeClaim"));
        let named = named.into_iter().filter(must_exist);
        found.extend(named.map(|mention| Reference::Object(mention.target)));
        let kind = &manifest.id.kind;
        if runs_pods(kind) {
            found.extend([
                Reference::all("", "Node", None),
                Reference::all("", "Pod", None),
                Reference::all("", "ResourceQuota", namespace),
                Reference::all("", "LimitRange", namespace),
                Reference::all("autoscaling", "HorizontalPodAutoscaler", namespace),
            ]);
        }
        let claims = kind.is("", "PersistentVolumeClaim")
            || manifest.value.pointer("/spec/volumeClaimTemplates").is_some();
        if claims {
            found.insert(Reference::all("storage.k8s.io", "StorageClass", None));
        }
        if claims || mounts {
            found.insert(Reference::all("", "PersistentVolume", None));
        }
        let lost = |selector| templates.selected(namespace, selector).is_empty();
        if kind.is("", "Service") && selector(&manifest.value).is_some_and(lost) {
            let kinds = ["Deployment", "StatefulSet", "DaemonSet"];
            found.extend(kinds.map(|kind| Reference::all("apps", kind, namespace)));
        }
    }
    found
}

/// Whether something that is named is there for certain, or need not be.
pub(super) fn must_exist(mention: &Mention) -> bool {
    let id = &mention.target;
    let given = (id.kind.is("", "ServiceAccount") && id.name == "default")
        || (id.kind.is("", "ConfigMap") && id.name == "kube-root-ca.crt")
        || (id.kind.is("scheduling.k8s.io", "PriorityClass") && id.name.starts_with("system-"));
    !given && !mention.optional
}

/// Whether a manifest is of a kind that Kubernetes does not bring itself.
pub(super) fn is_custom(manifest: &Manifest) -> bool {
    let group = manifest.id.kind.group.as_str();
    let own = matches!(group, "" | "apps" | "batch" | "autoscaling" | "policy" | "extensions")
        || (group.ends_with(".k8s.io") && text(&manifest.value, "/kind").is_some_and(is_builtin_kind));
    !own
}

/// Kinds in the groups `*.k8s.io` that come with Kubernetes; others there are add-ons (snapshots, gateways).
fn is_builtin_kind(kind: &str) -> bool {
    const KINDS: [&str; 22] = [
        "APIService",
        "CSIDriver",
        "CSINode",
        "CSIStorageCapacity",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "EndpointSlice",
        "Event",
        "FlowSchema",
        "Ingress",
        "IngressClass",
        "Lease",
        "MutatingWebhookConfiguration",
        "NetworkPolicy",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "Role",
        "RoleBinding",
        "RuntimeClass",
        "StorageClass",
        "ValidatingWebhookConfiguration",
    ];
    KINDS.contains(&kind)
}
