//! Why one object waits for another.

use std::fmt;

use serde::Serialize;

use super::group::Group;

/// Why one object waits for another, as seen from the one that waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It is in that namespace.
    Namespace,
    /// Its kind is defined there.
    Definition,
    /// Its pods mount it.
    Mount,
    /// The environment of its containers is read from it.
    Environment,
    /// Its pods pull their images with it.
    PullSecret,
    /// Its pods run as that ServiceAccount.
    Account,
    /// It holds a token of that ServiceAccount.
    Token,
    /// Its pods may do what that binding grants.
    Right,
    /// It grants that role.
    Role,
    /// It grants something to that ServiceAccount.
    Subject,
    /// That Service gives its pods their names.
    PodNames,
    /// It is bound to that volume.
    Volume,
    /// It is filled from there.
    Source,
    /// Its storage is of that class.
    StorageClass,
    /// Its pods have that priority.
    Priority,
    /// Its pods are run by that.
    Runtime,
    /// It scales it.
    Scale,
    /// It routes to that Service.
    Route,
    /// It is served by that class.
    IngressClass,
    /// It serves that certificate.
    Certificate,
    /// The API server calls that Service for it.
    Call,
    /// It limits what its pods may have.
    Limit,
    /// Pods learn of the Services that are there when they start.
    Discovery,
    /// While its pods are not there, it could refuse what is still to be applied.
    Last,
    /// The annotation `bowline.dev/depends-on` asks for it.
    Asked,
    /// The file of the one that waits is of this group, the other's is of an earlier one.
    Group(Group),
    /// It is one of those that stand for a barrier; said of the barrier.
    Member,
}

impl fmt::Display for Reason {
    /// What follows `after ConfigMap chat/settings, `: `which it mounts`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespace => "in which it lives",
            Self::Definition => "which defines its kind",
            Self::Mount => "which it mounts",
            Self::Environment => "from which its environment is read",
            Self::PullSecret => "with which it pulls images",
            Self::Account => "as which it runs",
            Self::Token => "whose token it holds",
            Self::Right => "which gives it its rights",
            Self::Role => "which it grants",
            Self::Subject => "to which it grants a role",
            Self::PodNames => "which names its pods",
            Self::Volume => "to which it is bound",
            Self::Source => "from which it is filled",
            Self::StorageClass => "which provides its storage",
            Self::Priority => "which sets its priority",
            Self::Runtime => "which runs it",
            Self::Scale => "which it scales",
            Self::Route => "to which it routes",
            Self::IngressClass => "which serves it",
            Self::Certificate => "whose certificate it serves",
            Self::Call => "which is called for it",
            Self::Limit => "which it must keep to",
            Self::Discovery => "which its environment tells of",
            Self::Last => "which it could hinder",
            Self::Asked => "as its annotation bowline.dev/depends-on asks",
            Self::Group(group) => return write!(f, "as its file is of group {group}"),
            Self::Member => "which belongs to it",
        })
    }
}
