//! From a compose file to manifests.

pub mod yaml;
