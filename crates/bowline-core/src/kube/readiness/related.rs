//! What must be looked at besides an object itself.

use crate::kube::object::Kind;
use crate::kube::workload::template_pointer;

/// A kind of object that tells something about others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Related {
    /// ReplicaSets of the object's namespace.
    ReplicaSets,
    /// Pods of the object's namespace.
    Pods,
    /// Events of the object's namespace.
    Events,
    /// Nodes.
    Nodes,
    /// StorageClasses.
    StorageClasses,
}

impl Related {
    /// The kind, as the API names it.
    pub fn kind(self) -> Kind {
        match self {
            Self::ReplicaSets => Kind::new("apps", "ReplicaSet"),
            Self::Pods => Kind::new("", "Pod"),
            Self::Events => Kind::new("", "Event"),
            Self::Nodes => Kind::new("", "Node"),
            Self::StorageClasses => Kind::new("storage.k8s.io", "StorageClass"),
        }
    }
}

/// What must be in the [`super::Sight`] of an object of this kind. Events and nodes only make reasons better and may be
/// missing where the user may not read them; a workload's pods and ReplicaSets are needed.
pub fn wanted_related(kind: &Kind) -> &'static [Related] {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment") => &[Related::ReplicaSets, Related::Pods, Related::Events, Related::Nodes],
        ("", "Pod") => &[Related::Events, Related::Nodes],
        ("", "PersistentVolumeClaim") => &[Related::Events, Related::StorageClasses],
        ("", "Service") => &[Related::Pods, Related::Events],
        ("batch", "CronJob") | ("", "PodTemplate") => &[],
        _ if template_pointer(kind).is_some() => &[Related::Pods, Related::Events, Related::Nodes],
        _ => &[],
    }
}
