//! `detach`: gives a target back to plain Compose. Containers, networks, volumes and files stay as they are.

use std::collections::BTreeSet;

use bowline_compose::engine::Writer;
use bowline_compose::lease::Lease;
use bowline_compose::observation::Observation;
use bowline_compose::project::Project;
use bowline_core::compose::desired::OVERRIDE_FILE;
use bowline_core::compose::observed::Container;
use bowline_core::reference::{Reference, Repository};
use serde::Serialize;

use super::depot::LOCAL;
use super::host::{Host, with_hint};
use super::lock;
use crate::config::ComposeTarget;
use crate::error::{Failure, Outcome};

/// What was given back.
#[derive(Debug, Clone, Serialize)]
pub struct Detached {
    /// The target's name.
    pub target: String,
    /// The compose project.
    pub project: String,
    /// Its directory there.
    pub directory: String,
    /// What to type there from now on: it changes nothing now.
    pub command: String,
    /// Services that it would change nevertheless, and why.
    pub would_change: Vec<String>,
    /// How many names of ours were taken off images that have others.
    pub names_removed: usize,
    /// Images that have no other name than ours: they stay.
    pub images_left: Vec<String>,
    /// What else stays.
    pub remains: Vec<String>,
}

/// Gives the target back.
///
/// # Errors
/// Kind `Locked`: somebody else has the lock. Kind `Invalid`: Bowline keeps nothing there. Kind `Failed`: a run has not
/// ended, or the host does not answer.
pub async fn detach(host: &Host, target: &ComposeTarget) -> Outcome<Detached> {
    let lease = lock::take(host, "detach").await?;
    let outcome = detach_under(host, target, &lease).await;
    // It ends by itself within 30 s.
    let _ = lease.release().await;
    outcome
}

async fn detach_under(host: &Host, target: &ComposeTarget, lease: &Lease) -> Outcome<Detached> {
    let look = host.look(&BTreeSet::new()).await?;
    check(host, &look)?;
    let files = files(&look, target);
    let would_change = compare(host, target, &files, &look).await?;
    let (names_removed, images_left) = take_names_off(host, &look, lease).await?;
    host.documents.forget_all(lease.authority()).await.map_err(|error| {
        host.explain("forgetting what was deployed to", &error, error.is_unreachable(), error.hint())
    })?;
    let mut remains = vec![format!(
        "an empty volume bowline.{}.lease.… with who held the lock last (`docker volume rm` takes it away)",
        host.project
    )];
    if files.iter().any(|file| file == OVERRIDE_FILE) {
        remains.push(format!("{OVERRIDE_FILE}, which says what this machine needs differently"));
    }
    if !target.env_files.is_empty() {
        remains.push(format!(
            "the compose files need the variables of {}: put them into {}/.env",
            target.env_files.join(", "),
            host.directory.path()
        ));
    }
    remains
        .extend(look.state.unreadable.keys().map(|name| format!("{name}, which this Bowline cannot read")));
    Ok(Detached {
        target: host.target.clone(),
        project: host.project.clone(),
        directory: host.directory.path().to_owned(),
        command: command(host.directory.path(), &host.project, &files, &target.profiles),
        would_change,
        names_removed,
        images_left,
        remains,
    })
}

fn check(host: &Host, look: &Observation) -> Outcome<()> {
    if let Some(intent) = look.state.intents.first() {
        return Err(Failure::failed(format!("detaching {}", host.target))
            .since(format!("a {} by {} did not end", intent.verb, intent.by))
            .hint("deploy or roll back first: that finishes or undoes it"));
    }
    if look.state.revisions.is_empty() {
        return Err(Failure::invalid(format!("detaching {}", host.target))
            .since("Bowline keeps nothing there about this project")
            .hint(format!(
                "its name is {}; `project` in [targets.{}] leads elsewhere",
                host.project, host.target
            )));
    }
    Ok(())
}

/// The compose files that the containers were made from last, relative to the directory.
fn files(look: &Observation, target: &ComposeTarget) -> Vec<String> {
    let newest = look
        .observed
        .containers
        .iter()
        .filter(|there| !there.one_off && !there.config_files.is_empty())
        .max_by(|a, b| a.started_at.cmp(&b.started_at));
    let relative = |container: &Container| {
        let below = |file: &String| {
            let inside = file.strip_prefix(&container.working_dir).and_then(|rest| rest.strip_prefix('/'));
            inside.unwrap_or(file).to_owned()
        };
        container.config_files.iter().map(below).collect()
    };
    newest.map_or_else(|| target.files.clone(), relative)
}

/// Which services plain Compose would replace, by its own hash and its own idea of what an image's name means.
async fn compare(
    host: &Host,
    target: &ComposeTarget,
    files: &[String],
    look: &Observation,
) -> Outcome<Vec<String>> {
    let project = Project::new(&host.connection, &host.directory, &host.project, files)
        .profiles(target.profiles.clone())
        .env(host.variables.clone());
    let hashes = project.hashes().await.map_err(|error| {
        let failure = Failure::failed(format!("reading the compose files on {}", host.target));
        with_hint(failure.because(&error), error.hint())
    })?;
    let revision = look.observed.revision.as_ref();
    let mut changes = Vec::new();
    for (service, hash) in &hashes {
        let mut containers = look.observed.containers_of(service).peekable();
        let placed = revision.and_then(|revision| revision.services.get(service));
        if containers.peek().is_none() {
            if placed.is_some_and(|placed| !placed.containers.is_empty()) {
                changes.push(format!("{service} is started: it has no containers"));
            }
            continue;
        }
        let named = placed.and_then(|placed| look.observed.image_named(&placed.image_name));
        for container in containers {
            if container.config_hash != *hash {
                changes.push(format!(
                    "{} is replaced: it was not made from the files as they are",
                    container.name
                ));
            } else if named.is_some_and(|image| image.id != container.image) {
                changes
                    .push(format!("{} is replaced: the name of its image means another one", container.name));
            }
        }
    }
    Ok(changes)
}

/// Takes our names off images that have others. An image without other names would go, so it keeps ours.
async fn take_names_off(host: &Host, look: &Observation, lease: &Lease) -> Outcome<(usize, Vec<String>)> {
    let writer = Writer::new(&host.engine, lease.authority());
    let local = Repository { registry: LOCAL.into(), name: host.project.clone() };
    let revisions = look.state.revisions.values();
    let kept: BTreeSet<&str> =
        revisions.flat_map(|revision| revision.images.values()).map(|image| image.keep()).collect();
    let is_ours = |name: &&String| {
        let repository = name.parse::<Reference>().map(|reference| reference.repository);
        kept.contains(name.as_str()) || repository.is_ok_and(|repository| repository == local)
    };
    let (mut removed, mut left) = (0, Vec::new());
    for image in &look.observed.images {
        let (ours, others): (Vec<&String>, Vec<&String>) = image.names.iter().partition(is_ours);
        if others.is_empty() {
            left.extend(ours.into_iter().cloned());
            continue;
        }
        for name in ours {
            let taken = writer.remove_image(name).await;
            removed +=
                usize::from(taken.map_err(|error| host.failure("taking names off images on", &error))?);
        }
    }
    Ok((removed, left))
}

/// What people type: options only where Compose would not find it by itself.
fn command(directory: &str, project: &str, files: &[String], profiles: &[String]) -> String {
    let plain = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
    let mut words = vec!["docker".to_owned(), "compose".into()];
    let base = directory.rsplit('/').next().unwrap_or_default();
    if base != project {
        words.extend(["-p".into(), project.to_owned()]);
    }
    if !matches!(files, [one] if plain.contains(&one.as_str())) {
        words.extend(files.iter().flat_map(|file| ["-f".to_owned(), file.clone()]));
    }
    words.extend(profiles.iter().flat_map(|profile| ["--profile".to_owned(), profile.clone()]));
    words.extend(["up".into(), "-d".into()]);
    let quoted =
        |word: &String| shlex::try_quote(word).map_or_else(|_| word.clone(), |text| text.into_owned());
    format!(
        "cd {} && {}",
        quoted(&directory.to_owned()),
        words.iter().map(quoted).collect::<Vec<_>>().join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_said_only_where_compose_needs_them() {
        let files = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            command("/srv/shop", "shop", &files(&["compose.yaml"]), &[]),
            "cd /srv/shop && docker compose up -d"
        );
        assert_eq!(
            command("/srv/my shop", "main", &files(&["prod.yaml", OVERRIDE_FILE]), &files(&["all"])),
            "cd '/srv/my shop' && docker compose -p main -f prod.yaml -f bowline.override.yaml --profile all up -d"
        );
    }
}
