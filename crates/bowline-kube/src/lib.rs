//! A Kubernetes cluster as a target: reached by a kubeconfig or through a stream that somebody else opens, looked at,
//! and changed by server-side apply.
//!
//! Objects are dynamic: JSON values, as manifests and the API have them. No kubectl is needed, and nothing is installed
//! in the cluster.
#![deny(missing_docs)]

mod cluster;
mod error;

pub use cluster::{Cluster, ORDINARY};
pub use error::KubeError;
