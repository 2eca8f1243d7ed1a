//! What runs on a Docker host, in few words.

use crate::compose::observed::{Container, Observed};
use crate::health::{CheckStatus, ProcessState};
use crate::status::{ServiceStatus, Status};

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
        let task = placed.is_some_and(|placed| placed.task);
        healthy &= containers.iter().all(|container| container.is_in_place(task))
            && (!containers.is_empty() || !wanted);
        let released = placed.and_then(|placed| placed.released.as_ref());
        let digest = released
            .map(|id| id.manifest)
            .or_else(|| containers.first().map(|container| container.image))
            .map(|digest| digest.to_string());
        services.push(ServiceStatus {
            name: name.to_owned(),
            version: released.and_then(|_| revision.and_then(|revision| revision.release.clone())),
            digest,
            state: words(&containers, wanted, task),
            since: containers.iter().map(|container| container.started_at.clone()).max(),
            count: None,
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

fn words(containers: &[&Container], wanted: bool, task: bool) -> String {
    let worst = containers.iter().min_by_key(|container| container.is_in_place(task));
    let Some(container) = worst else { return if wanted { "absent".into() } else { "switched off".into() } };
    let state = match (container.state, container.check) {
        (ProcessState::Running, Some(CheckStatus::Healthy)) => "healthy".into(),
        (ProcessState::Running, Some(CheckStatus::Unhealthy)) => "unhealthy".into(),
        (ProcessState::Running, Some(CheckStatus::Starting)) => "starting".into(),
        (ProcessState::Running, None) => "running".into(),
        (ProcessState::Exited, _) if container.is_in_place(task) => "completed".into(),
        (ProcessState::Exited, _) => format!("exited ({})", container.exit_code),
        (ProcessState::Restarting, _) => format!("restarting ({})", container.exit_code),
        (ProcessState::Created, _) => "created".into(),
        (ProcessState::Paused, _) => "paused".into(),
        (ProcessState::Removing | ProcessState::Dead, _) => "being removed".into(),
    };
    if containers.len() > 1 { format!("{state} ×{}", containers.len()) } else { state }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::compose::drift;
    use crate::compose::observed::tests::container;
    use crate::digest::Digest;
    use crate::event::RunId;
    use crate::release::{Placed, Revision};

    /// The first revision, which has the service `users`.
    pub(in crate::compose) fn revision(task: bool) -> Revision {
        let placed = Placed {
            image: Digest::of(b"image"),
            image_name: "users".into(),
            released: None,
            fingerprint: Digest::of(b""),
            containers: vec!["c1".into()],
            task,
        };
        Revision {
            number: 1,
            release: Some("v1.0.0".into()),
            verb: "deploy".into(),
            at: "2026-11-22T10:00:00Z".parse().unwrap(),
            run: RunId::from("r".to_owned()),
            by: "t".into(),
            spec: Digest::of(b""),
            files: BTreeMap::new(),
            images: BTreeMap::new(),
            services: BTreeMap::from([("users".into(), placed)]),
            milliseconds: 0,
        }
    }

    #[test]
    fn only_a_task_completes_and_everything_else_that_ended_is_down() {
        use ProcessState::{Exited, Running};
        for (task, state, exit_code, restart, expected) in [
            (true, Exited, 0, "no", "completed"),
            (true, Exited, 0, "on-failure", "completed"),
            (true, Exited, 1, "no", "exited (1)"),
            (true, Exited, 0, "always", "exited (0)"),
            (true, Running, 0, "no", "running"),
            (false, Running, 0, "no", "running"),
            (false, Exited, 0, "no", "exited (0)"),
            (false, Exited, 0, "on-failure", "exited (0)"),
            (false, Exited, 143, "unless-stopped", "exited (143)"),
        ] {
            let restart = restart.to_owned();
            let container = Container { state, exit_code, restart, ..container("app-users-1") };
            let revision = revision(task);
            let observed = Observed {
                containers: vec![container],
                revision: Some(revision.clone()),
                ..Default::default()
            };
            let status = fold("box", &observed);
            let up = matches!(expected, "completed" | "running");
            assert_eq!((status.services[0].state.as_str(), status.healthy), (expected, up));
            assert_eq!(drift::find(&observed, &revision).is_empty(), up, "{expected}");
        }
    }
}
