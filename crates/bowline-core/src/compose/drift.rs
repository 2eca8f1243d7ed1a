//! How a Docker host differs from what its newest revision left there.

use serde::Serialize;

use crate::compose::observed::Observed;
use crate::health::ProcessState;
use crate::release::Revision;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The service or file.
    pub subject: String,
    /// What is different, in words.
    pub text: String,
}

/// Compares what is there with what the revision left. Nothing found: nobody touched it.
pub fn find(observed: &Observed, revision: &Revision) -> Vec<Drift> {
    let mut found = Vec::new();
    let mut note = |subject: &str, text: String| found.push(Drift { subject: subject.to_owned(), text });
    for (name, placed) in &revision.services {
        for id in &placed.containers {
            match observed.containers.iter().find(|container| container.id == *id) {
                None => note(name, format!("container {} is gone", short(id))),
                Some(container) if !container.is_in_place(placed.task) => note(name, trouble(container)),
                Some(_) => {}
            }
        }
        for container in observed.containers_of(name).filter(|there| !placed.containers.contains(&there.id)) {
            note(name, format!("container {} was made by somebody else", short(&container.id)));
        }
        if let Some(image) = observed.image_named(&placed.image_name)
            && image.id != placed.image
            && placed.released.is_some()
        {
            note(name, format!("the name {} means another image now", placed.image_name));
        }
    }
    for (path, digest) in &revision.files {
        match observed.files.get(path) {
            None => note(path, "the file is gone".into()),
            Some(there) if there != digest => note(path, "the file was edited".into()),
            Some(_) => {}
        }
    }
    for container in observed.containers.iter().filter(|container| !container.one_off) {
        if !revision.services.contains_key(&container.service) {
            note(&container.service, format!("container {} is not part of the release", container.name));
        }
    }
    found
}

fn trouble(container: &super::observed::Container) -> String {
    match container.state {
        ProcessState::Running => format!("container {} is unhealthy", container.name),
        ProcessState::Restarting => {
            format!(
                "container {} restarts again and again (exit code {})",
                container.name, container.exit_code
            )
        }
        ProcessState::Exited | ProcessState::Dead => {
            format!("container {} ended with exit code {}", container.name, container.exit_code)
        }
        ProcessState::Paused => format!("container {} is paused", container.name),
        ProcessState::Created | ProcessState::Removing => {
            format!("container {} is not running", container.name)
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
