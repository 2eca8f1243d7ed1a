//! In which order objects are applied, and why.
//!
//! Only edges make anybody wait, and every edge has a [`Reason`]; what no edge connects goes at the same time. Kinds have
//! a [`rank`], which puts them in a row where nothing else does. There is no wall between ranks: a Deployment does not
//! wait for the claim of another one.
//!
//! - What a manifest names must be there first (see [`mention`]): namespaces, definitions of kinds, ServiceAccounts,
//!   ConfigMaps, Secrets, claims, classes. What is `optional` is not waited for.
//! - What somebody asks for: the annotation [`DEPENDS_ON`], and numbered files (see [`Group`]). A group is a
//!   [`Barrier`]: all of the next one waits until all of it is ready.
//! - What nothing names and yet matters, as far as the above leaves it open: pods come after the quotas, limits, network
//!   policies and Services of their namespace, and after the bindings of their ServiceAccount; claims after the volumes of
//!   their class; webhooks and API services after all pods, since they can refuse what comes after them. These never make
//!   a circle: they are only drawn along an order that the others allow.
//! - Custom resources come after the definition of their kind, and after what they scale. Whether the operator behind
//!   them must run first is not to be seen in a manifest: an annotation or a group says so.
//!
//! A claim whose class waits for its first consumer is bound only once a pod uses it. The edge from the pod to the claim
//! stays, and the claim's readiness must count such a claim as ready.

use std::fmt;

use serde::Serialize;

use super::object::{Manifest, ObjectId};

mod circle;
mod custom;
mod graph;
mod group;
pub mod mention;
pub(crate) mod nearest;
mod ordering;
mod rank;
mod reason;
mod request;

pub use circle::{Circle, Link};
pub use group::Group;
pub use ordering::{Edge, Entry, Ordering, describe};
pub use rank::{rank, runs_pods, until};
pub use reason::Reason;
pub use request::{DEPENDS_ON, RequestProblem, Unclear};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// That the API server has taken it.
    Applied,
    /// That it is ready, by the rules of its kind.
    Ready,
}

/// A place in the order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    /// An object is applied.
    Object(ObjectId),
    /// Nothing is done, but many wait here for many. A plan may make it a step that does nothing.
    Barrier(Barrier),
}

/// Many objects that many others wait for. It stands for all edges between them, which could be millions.
///
/// `part` counts from 0: where something of the same sort comes only after some of those that wait, it is in a later part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the fields say what the variants say")]
pub enum Barrier {
    /// All objects of a group of files.
    Group(Group),
    /// What limits the pods of a namespace.
    Policies { namespace: Option<String>, part: usize },
    /// The Services of a namespace.
    Services { namespace: Option<String>, part: usize },
    /// What gives a ServiceAccount its rights.
    Rights { namespace: Option<String>, account: String, part: usize },
    /// The volumes of a class.
    Volumes { class: String, part: usize },
    /// Everything that runs pods.
    Pods { part: usize },
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(id) => id.fmt(f),
            Self::Barrier(barrier) => barrier.fmt(f),
        }
    }
}

impl fmt::Display for Barrier {
    /// `all of p1-`, `the policies of chat`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |namespace: &Option<String>| {
            namespace.as_ref().map(|namespace| format!(" of {namespace}")).unwrap_or_default()
        };
        let part = match self {
            Self::Group(group) => return write!(f, "all of {group}"),
            Self::Policies { namespace, part } => {
                write!(f, "the policies{}", of(namespace)).map(|()| *part)?
            }
            Self::Services { namespace, part } => {
                write!(f, "the Services{}", of(namespace)).map(|()| *part)?
            }
            Self::Rights { namespace, account, part } => {
                write!(f, "the rights of {account}{}", of(namespace)).map(|()| *part)?
            }
            Self::Volumes { class, part } => write!(f, "the volumes of class {class}").map(|()| *part)?,
            Self::Pods { part } => write!(f, "all pods").map(|()| *part)?,
        };
        if part > 0 { write!(f, ", part {}", part + 1) } else { Ok(()) }
    }
}

/// Why objects have no order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Annotations name what is not there.
    #[error("the order cannot be found out: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Requests(Vec<RequestProblem>),
    /// Objects wait for each other in a circle.
    #[error(
        "these wait for each other in a circle: {0}; take away one of these reasons: a reference, an annotation, \
         or the number of a file"
    )]
    Circle(Circle),
}

/// Finds out what waits for what. The same objects give the same order, in whatever sequence they come; of several
/// manifests of one object the first counts.
///
/// # Errors
/// When an annotation names what the release does not have, or when objects wait for each other in a circle.
pub fn edges(objects: &[Manifest]) -> Result<Ordering, OrderError> {
    graph::Graph::new(objects)?.order()
}

#[cfg(test)]
pub(crate) mod tests;
