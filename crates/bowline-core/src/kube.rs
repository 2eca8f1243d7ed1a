//! A Kubernetes cluster: from manifests and what the API server tells to a plan.
//!
//! Objects are plain JSON values, as manifests and the API have them: a rule reads the few fields that it is about, and
//! no version of Kubernetes is built in.

pub mod answer;
pub mod comparison;
pub mod conflict;
pub mod field;
pub mod object;
pub mod revision;
pub mod workload;
