//! What runs on a Docker host, in few words.

use serde::Serialize;

use crate::compose::observed::{Container, Observed};
use crate::health::{CheckStatus, ProcessState};

/// `status --json` (design, "Verbs").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The target's name.
    pub target: String,
    /// The release of the newest revision; none before the first deploy and where the state was adopted.
    pub release: Option<String>,
    /// The newest revision's number.
    pub revision: Option<u64>,
    /// The services of the project.
    pub services: Vec<ServiceStatus>,
    /// Whether all of them do their work.
    pub healthy: bool,
    /// What an interrupted run left unfinished, in words.
    pub interrupted: Option<String>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// The compose service.
    pub name: String,
    /// The release that it runs, where its image is ours.
    pub version: Option<String>,
    /// Its image: the manifest's digest where it is ours, else the engine's id.
    pub digest: Option<String>,
    /// `running`, `healthy`, `unhealthy`, `starting`, `restarting`, `exited (1)`, `completed`, `absent`, …
    pub state: String,
    /// When its newest process was started (RFC 3339, the engine's clock).
    pub since: Option<String>,
}

/// Folds one look into words.
pub fn fold(target: &str, observed: &Observed) -> Status {
    let revision = observed.revision.as_ref();
    let mut names: Vec<&str> =
        observed.containers.iter().map(|container| container.service.as_str()).collect();
    names.extend(revision.iter().flat_map(|revision| revision.services.keys().map(String::as_str)));
    names.sort_unstable();
    names.dedup();
    let mut healthy = true;
    let mut services = Vec::new();
    for name in names {
        let containers: Vec<&Container> = observed.containers_of(name).collect();
        let placed = revision.and_then(|revision| revision.services.get(name));
        // A service with no replicas was placed with no containers: nothing is missing.
        let wanted = placed.is_none_or(|placed| !placed.containers.is_empty());
        healthy &=
            containers.iter().all(|container| container.is_in_place()) && (!containers.is_empty() || !wanted);
        let released = placed.and_then(|placed| placed.released.as_ref());
        let digest = released
            .map(|id| id.manifest)
            .or_else(|| containers.first().map(|container| container.image))
            .map(|digest| digest.to_string());
        services.push(ServiceStatus {
            name: name.to_owned(),
            version: released.and_then(|_| revision.and_then(|revision| revision.release.clone())),
            digest,
            state: words(&containers, wanted),
            since: containers.iter().map(|container| container.started_at.clone()).max(),
        });
    }
    Status {
        target: target.to_owned(),
        release: revision.and_then(|revision| revision.release.clone()),
        revision: revision.map(|revision| revision.number),
        healthy: healthy && !services.is_empty(),
        services,
        interrupted: None,
    }
}

fn words(containers: &[&Container], wanted: bool) -> String {
    let worst = containers.iter().min_by_key(|container| container.is_in_place());
    let Some(container) = worst else { return if wanted { "absent".into() } else { "switched off".into() } };
    let state = match (container.state, container.check) {
        (ProcessState::Running, Some(CheckStatus::Healthy)) => "healthy".into(),
        (ProcessState::Running, Some(CheckStatus::Unhealthy)) => "unhealthy".into(),
        (ProcessState::Running, Some(CheckStatus::Starting)) => "starting".into(),
        (ProcessState::Running, None) => "running".into(),
        (ProcessState::Exited, _) if container.is_in_place() => "completed".into(),
        (ProcessState::Exited, _) => format!("exited ({})", container.exit_code),
        (ProcessState::Restarting, _) => format!("restarting ({})", container.exit_code),
        (ProcessState::Created, _) => "created".into(),
        (ProcessState::Paused, _) => "paused".into(),
        (ProcessState::Removing | ProcessState::Dead, _) => "being removed".into(),
    };
    if containers.len() > 1 { format!("{state} ×{}", containers.len()) } else { state }
}
