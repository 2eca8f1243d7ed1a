//! Which kinds come first where nothing else says so.

use crate::kube::object::Kind;
use crate::kube::workload::template_pointer;

use super::Until;

/// The place of a kind among all kinds: smaller ones come first where the manifests leave it open. A rank makes nobody
/// wait: what must be there first is an edge.
pub fn rank(kind: &Kind) -> u8 {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => 0,
        ("", "ResourceQuota" | "LimitRange")
        | ("networking.k8s.io", "NetworkPolicy")
        | ("policy", "PodDisruptionBudget")
        | ("scheduling.k8s.io", "PriorityClass")
        | ("node.k8s.io", "RuntimeClass") => 1,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => 2,
        ("", "ServiceAccount") => 3,
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => 4,
        ("rbac.authorization.k8s.io", _) => 5,
        ("storage.k8s.io", _) | ("networking.k8s.io", "IngressClass") => 6,
        ("", "PersistentVolume") => 7,
        ("", "PersistentVolumeClaim") => 8,
        ("", "ConfigMap" | "Secret") => 9,
        ("", "Service" | "Endpoints") | ("discovery.k8s.io", _) => 10,
        ("", "Pod") => 14,
        ("autoscaling" | "extensions" | "networking.k8s.io", "HorizontalPodAutoscaler" | "Ingress") => 15,
        ("admissionregistration.k8s.io" | "apiregistration.k8s.io", _) => 16,
        _ if runs_pods(kind) => 13,
        // Custom resources, and kinds that nobody here knows.
        _ => 11,
    }
}

/// The rank of a Job that others wait for.
pub(super) const NEEDED_JOB: u8 = 12;

/// What others wait for in an object of this kind. Services, Ingresses and autoscalers are applied and done: whether
/// they become more than that depends on a load balancer or on pods that may come after them.
pub fn until(kind: &Kind) -> Until {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Service") | ("policy", _) | ("discovery.k8s.io", _) => Until::Applied,
        (_, "Ingress" | "HorizontalPodAutoscaler") => Until::Applied,
        _ => Until::Ready,
    }
}

/// Whether objects of this kind run pods. Templates do not.
pub fn runs_pods(kind: &Kind) -> bool {
    template_pointer(kind).is_some() && kind.kind != "PodTemplate"
}

/// Whether objects of this kind limit the pods of their namespace.
pub(super) fn is_policy(kind: &Kind) -> bool {
    kind.is("", "ResourceQuota") || kind.is("", "LimitRange") || kind.is("networking.k8s.io", "NetworkPolicy")
}

/// Whether the API server asks somebody else because of objects of this kind.
pub(super) fn is_last(kind: &Kind) -> bool {
    matches!(
        (kind.group.as_str(), kind.kind.as_str()),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration")
            | ("apiregistration.k8s.io", "APIService")
    )
}

/// Whether objects of this kind grant rights.
pub(super) fn is_binding(kind: &Kind) -> bool {
    kind.is("rbac.authorization.k8s.io", "RoleBinding")
        || kind.is("rbac.authorization.k8s.io", "ClusterRoleBinding")
}
