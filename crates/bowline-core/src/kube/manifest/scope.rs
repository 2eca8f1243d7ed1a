//! Which kinds live in a namespace, and which are the whole cluster's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kube::object::Kind;

/// Where objects of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In none: there is one of a name in the whole cluster.
    Cluster,
}

/// The kinds of Kubernetes itself that live in no namespace, by group. A kind that is missing here is answered for by
/// discovery, and by [`is_built_in`] last.
const OF_CLUSTER: [(&str, &[&str]); 16] = [
    ("", &["ComponentStatus", "Namespace", "Node", "PersistentVolume"]),
    (
        "admissionregistration.k8s.io",
        &[
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
            "MutatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "ValidatingWebhookConfiguration",
        ],
    ),
    ("apiextensions.k8s.io", &["CustomResourceDefinition"]),
    ("apiregistration.k8s.io", &["APIService"]),
    ("authentication.k8s.io", &["SelfSubjectReview", "TokenReview"]),
    ("authorization.k8s.io", &["SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview"]),
    ("certificates.k8s.io", &["CertificateSigningRequest", "ClusterTrustBundle"]),
    ("flowcontrol.apiserver.k8s.io", &["FlowSchema", "PriorityLevelConfiguration"]),
    ("networking.k8s.io", &["IPAddress", "IngressClass", "ServiceCIDR"]),
    ("node.k8s.io", &["RuntimeClass"]),
    ("policy", &["PodSecurityPolicy"]),
    ("rbac.authorization.k8s.io", &["ClusterRole", "ClusterRoleBinding"]),
    ("resource.k8s.io", &["DeviceClass", "DeviceTaintRule", "ResourceClass", "ResourceSlice"]),
    ("scheduling.k8s.io", &["PriorityClass"]),
    (
        "storage.k8s.io",
        &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"],
    ),
    ("storagemigration.k8s.io", &["StorageVersionMigration"]),
];

/// Groups of Kubernetes itself that are not in [`OF_CLUSTER`].
const NAMESPACED: [&str; 7] = [
    "apps",
    "autoscaling",
    "batch",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
];

/// Whether the group of a kind is one of Kubernetes itself.
pub fn is_built_in(kind: &Kind) -> bool {
    let group = kind.group.as_str();
    NAMESPACED.contains(&group) || OF_CLUSTER.iter().any(|(of_cluster, _)| *of_cluster == group)
}

/// Whether a kind is one that Kubernetes itself keeps in no namespace.
pub fn is_of_cluster(kind: &Kind) -> bool {
    OF_CLUSTER.iter().any(|(group, kinds)| *group == kind.group && kinds.contains(&kind.kind.as_str()))
}

/// The scope that a custom resource definition gives the kind that it defines.
pub(super) fn defined(value: &Value) -> Option<(Kind, Scope)> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let scope = match text("/spec/scope")? {
        "Cluster" => Scope::Cluster,
        "Namespaced" => Scope::Namespaced,
        _ => return None,
    };
    Some((Kind::new(text("/spec/group")?, text("/spec/names/kind")?), scope))
}

/// The scope of a kind: Kubernetes' own first, then what the release defines, then what the cluster says.
pub(super) fn find(
    kind: &Kind,
    defined: &BTreeMap<Kind, Scope>,
    asked: impl Fn(&Kind) -> Option<Scope>,
) -> Option<Scope> {
    if is_of_cluster(kind) {
        return Some(Scope::Cluster);
    }
    let known = defined.get(kind).copied().or_else(|| asked(kind));
    known.or_else(|| is_built_in(kind).then_some(Scope::Namespaced))
}
