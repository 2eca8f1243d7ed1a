//! What runs on a target, in few words: the same for every kind of target.

use serde::Serialize;

/// `status --json` (design, "Verbs").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The target's name.
    pub target: String,
    /// The release of the newest revision; none before the first deploy and where the state was adopted.
    pub release: Option<String>,
    /// The newest revision's number.
    pub revision: Option<u64>,
    /// The services of a project, or the workloads of a cluster.
    pub services: Vec<ServiceStatus>,
    /// Whether all of them do their work.
    pub healthy: bool,
    /// What an interrupted run left unfinished, in words.
    pub interrupted: Option<String>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// The compose service, or the workload.
    pub name: String,
    /// The release that it runs, where its image is ours.
    pub version: Option<String>,
    /// Its image: the manifest's digest where it is ours, else as the engine or the node has it.
    pub digest: Option<String>,
    /// `running`, `healthy`, `unhealthy`, `starting`, `restarting`, `exited (1)`, `completed`, `absent`, …
    pub state: String,
    /// When its newest process was started (RFC 3339, the engine's or the node's clock).
    pub since: Option<String>,
    /// How many of its pods are up, and how many are wanted; none for what counts none.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub count: Option<Progress>,
}

/// How many of the wanted things are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// How many are up, and of the new version.
    pub ready: u64,
    /// How many are wanted.
    pub wanted: u64,
}
