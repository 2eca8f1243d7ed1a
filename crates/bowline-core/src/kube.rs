//! A Kubernetes cluster: from manifests and what the API server tells to a plan.
//!
//! Objects are plain JSON values, as manifests and the API have them: a rule reads the few fields that it is about, and
//! no version of Kubernetes is built in.

pub mod adjustment;
pub mod adoption;
pub mod answer;
pub mod comparison;
pub mod conflict;
pub mod drift;
pub mod edit;
pub mod field;
pub mod image;
pub mod manifest;
pub mod naming;
pub mod normal;
pub mod object;
pub mod order;
pub mod place;
pub mod planning;
pub mod preflight;
pub mod prune;
pub mod pull_secret;
pub mod readiness;
pub mod revision;
pub mod scheduling;
pub mod status;
pub mod translation;
pub mod workload;
