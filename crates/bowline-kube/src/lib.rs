//! A Kubernetes cluster as a target: reached by a kubeconfig or through a stream that somebody else opens, looked at,
//! and changed by server-side apply.
//!
//! Objects are dynamic: JSON values, as manifests and the API have them. No kubectl is needed, and nothing is installed
//! in the cluster.
#![deny(missing_docs)]

mod access;
mod application;
mod call;
mod cluster;
mod dial;
mod discovery;
mod error;
mod login;
mod observation;
mod review;
mod summary;

pub mod document;
pub mod exec;
pub mod lease;
pub mod log;
pub mod state;
pub mod watch;

pub use access::CONTROL_PLANE_KUBECONFIGS;
pub use application::{Applied, Deleted, Dependents, Expected, Handover};
pub use cluster::{Cluster, ORDINARY};
pub use dial::{Opener, Stream};
pub use discovery::{Catalog, GroupVersion, Resource, ServerVersion};
pub use error::KubeError;
pub use observation::{Observation, Wanted};
