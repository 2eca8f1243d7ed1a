//! From what is to what should be, on a Docker host.

pub mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::compose::desired::{DeployImage, Desired, DesiredService};
use crate::compose::model::Condition;
use crate::compose::observed::{Container, Observed};
use crate::digest::Digest;
use crate::image::ImageId;
use crate::journal::{Traces, Written};
use crate::plan::{Plan, PlanError, Precondition, Step, StepId};

/// What can be done on a Docker host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    /// Pull a released image by its manifest's digest.
    Pull {
        /// Which.
        image: ImageId,
    },
    /// Pull somebody else's image by its name.
    PullNamed {
        /// Which.
        name: String,
    },
    /// Write files of the spec into the project's directory.
    WriteFiles {
        /// What each path will hold.
        files: BTreeMap<String, Digest>,
        /// Those that somebody edited on the target: they are kept under another name first.
        edited: BTreeSet<String>,
        /// Files of an earlier release that this one does not have: they are removed. What a mounted directory holds
        /// counts, not only what it should hold.
        #[serde(skip_serializing_if = "BTreeSet::is_empty")]
        stale: BTreeSet<String>,
        /// Files that were kept when a run that did not end well replaced them: they are put back into their places.
        #[serde(skip_serializing_if = "BTreeSet::is_empty")]
        restored: BTreeSet<String>,
    },
    /// Give an image names.
    Name {
        /// An id of the image that the engine knows: config or manifest digest, whichever it uses.
        image: NamedImage,
        /// The full names.
        names: BTreeSet<String>,
    },
    /// Replace a service's containers by new ones and start them.
    Recreate {
        /// How many.
        replicas: u32,
    },
    /// Start or add containers of a service, leaving alone those that run.
    Start {
        /// How many.
        replicas: u32,
    },
    /// Stop and remove containers: all of a service, or some.
    Remove {
        /// Their ids.
        containers: BTreeSet<String>,
    },
}

/// An image to be named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum NamedImage {
    /// Of a release.
    Released(ImageId),
    /// The engine's own id.
    Engine(Digest),
}

/// How long pulling one image may take before the connection is given up.
const PULL_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How long Compose may take to replace containers: stopping waits for the service's own grace period.
const REPLACE_TIMEOUT: Duration = Duration::from_secs(300);
const SHORT_TIMEOUT: Duration = Duration::from_secs(60);

/// Plans the way from what is observed to what is desired. Whatever is right already is left alone.
///
/// Everything is pulled before anything is written, written before anything is named, named before anything is
/// started; services start in the order of their dependencies; what is no longer wanted goes last, unless it holds a port
/// or a name that another service needs.
///
/// # Errors
/// When services depend on each other in a circle.
pub fn plan(observed: &Observed, desired: &Desired) -> Result<Plan<Action>, PlanError> {
    let mut steps = pulls(observed, desired);
    let pulled: BTreeSet<StepId> = ids(&steps);
    steps.extend(file::write(observed, desired, &pulled));
    let written = ids(&steps);
    steps.extend(names(observed, desired, &written));
    let prepared = ids(&steps);
    let mut changes = Vec::new();
    for (name, service) in &desired.services {
        changes.extend(change(observed, name, service, &prepared));
    }
    give_way(observed, desired, &mut changes);
    let gone = removals(observed, desired, &mut changes, &prepared);
    steps.extend(changes);
    steps.extend(gone);
    let all = ids(&steps);
    steps.extend(file::restore(observed, desired, &all));
    Plan::order(observed.revision.as_ref().map(|revision| revision.number), steps)
}

fn ids_of(containers: &[&Container]) -> BTreeSet<String> {
    containers.iter().map(|container| container.id.clone()).collect()
}

fn ids(steps: &[Step<Action>]) -> BTreeSet<StepId> {
    steps.iter().map(|step| step.id.clone()).collect()
}

fn simple(
    verb: &str,
    subject: &str,
    action: Action,
    after: BTreeSet<StepId>,
    timeout: Duration,
) -> Step<Action> {
    Step {
        id: StepId::new(verb, subject),
        subject: subject.to_owned(),
        action,
        after,
        expect: Precondition::Nothing,
        gate: None,
        timeout,
    }
}

fn pulls(observed: &Observed, desired: &Desired) -> Vec<Step<Action>> {
    let mut steps: BTreeMap<StepId, Step<Action>> = BTreeMap::new();
    for service in desired.services.values().filter(|service| service.model.replicas > 0) {
        let missing = match &service.image {
            Some(DeployImage::Released { id, .. }) => (!observed
                .images
                .iter()
                .any(|image| id.is(&image.id) || image.manifests.contains(&id.manifest)))
            .then(|| (service.ours.as_deref().unwrap_or_default(), Action::Pull { image: id.clone() })),
            Some(DeployImage::Adopted { .. }) => None,
            None => observed.image_named(&service.image_name).is_none().then(|| {
                (service.image_name.as_str(), Action::PullNamed { name: service.image_name.clone() })
            }),
        };
        if let Some((subject, action)) = missing {
            let step = simple("pull", subject, action, BTreeSet::new(), PULL_TIMEOUT);
            steps.insert(step.id.clone(), step);
        }
    }
    steps.into_values().collect()
}

/// What carrying out a plan brings and replaces: written down before it begins, so that it can be undone.
pub fn traces(observed: &Observed, plan: &Plan<Action>) -> Traces {
    let mut traces = Traces::default();
    for step in &plan.steps {
        match &step.action {
            Action::Recreate { .. } | Action::Start { .. }
                if observed.containers_of(&step.subject).next().is_none() =>
            {
                traces.services.insert(step.subject.clone());
            }
            Action::WriteFiles { files, .. } => {
                let written = |(path, digest): (&String, &Digest)| {
                    let was = observed.files.get(path).copied();
                    (path.clone(), Written { was, wrote: BTreeSet::from([*digest]) })
                };
                traces.written.extend(files.iter().map(written));
            }
            _ => {}
        }
    }
    traces
}

fn names(observed: &Observed, desired: &Desired, after: &BTreeSet<StepId>) -> Vec<Step<Action>> {
    let mut wanted: BTreeMap<&str, (&DeployImage, BTreeSet<String>)> = BTreeMap::new();
    for service in desired.services.values() {
        if let (Some(ours), Some(image)) = (&service.ours, &service.image) {
            let (_, names) = wanted.entry(ours).or_insert_with(|| (image, BTreeSet::new()));
            names.extend([service.image_name.clone(), image.keep().to_owned()]);
        }
    }
    let mut steps = Vec::new();
    for (ours, (image, names)) in wanted {
        let missing: BTreeSet<String> = names
            .into_iter()
            .filter(|name| observed.image_named(name).is_none_or(|there| !is_image(image, there)))
            .collect();
        if !missing.is_empty() {
            let named = match image {
                DeployImage::Released { id, .. } => NamedImage::Released(id.clone()),
                DeployImage::Adopted { id, .. } => NamedImage::Engine(*id),
            };
            let action = Action::Name { image: named, names: missing };
            steps.push(simple("name", ours, action, after.clone(), SHORT_TIMEOUT));
        }
    }
    steps
}

/// Whether an image of the host is this one.
pub(super) fn is_image(image: &DeployImage, there: &crate::compose::observed::HostImage) -> bool {
    image.is(&there.id)
        || matches!(image, DeployImage::Released { id, .. } if there.manifests.contains(&id.manifest))
}

/// What has to be done to one service of the compose file, if anything.
fn change(
    observed: &Observed,
    name: &str,
    service: &DesiredService,
    prepared: &BTreeSet<StepId>,
) -> Vec<Step<Action>> {
    let all: Vec<&Container> = observed.containers_of(name).collect();
    let replicas = service.model.replicas;
    if replicas == 0 {
        let all = ids_of(&all);
        return if all.is_empty() { Vec::new() } else { vec![remove(name, all, prepared.clone())] };
    }
    let (left, containers): (Vec<&Container>, Vec<&Container>) =
        all.iter().copied().partition(|container| is_left_over(container, &all));
    let mut steps = Vec::new();
    if !left.is_empty() {
        let expect = Precondition::Containers(ids_of(&all));
        steps.push(Step { expect, ..remove(name, ids_of(&left), prepared.clone()) });
    }
    steps.extend(renew(observed, name, service, &containers, prepared));
    steps
}

/// Replaces or starts the containers of a service, where they are not what they should be.
fn renew(
    observed: &Observed,
    name: &str,
    service: &DesiredService,
    containers: &[&Container],
    prepared: &BTreeSet<StepId>,
) -> Option<Step<Action>> {
    let replicas = service.model.replicas;
    let outdated = containers.iter().any(|container| !is_current(observed, name, service, container));
    let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
    let placed = observed.revision.as_ref().and_then(|revision| revision.services.get(name));
    let task = service.is_awaited() || placed.is_some_and(|placed| placed.task);
    let in_place = containers.iter().filter(|container| container.is_in_place(task)).count();
    if !containers.is_empty() && !outdated && containers.len() == wanted && in_place == wanted {
        return None;
    }
    let replace = containers.is_empty() || outdated;
    let grows = placed.is_some_and(|placed| placed.containers.len() < wanted);
    let (verb, action) = if replace {
        ("recreate", Action::Recreate { replicas })
    } else {
        ("start", Action::Start { replicas })
    };
    let mut after = prepared.clone();
    after.insert(StepId::new("remove", name));
    for on in service.model.depends_on.keys() {
        after.extend([StepId::new("recreate", on), StepId::new("start", on)]);
    }
    Some(Step {
        id: StepId::new(verb, name),
        subject: name.to_owned(),
        action,
        after,
        expect: Precondition::Containers(ids_of(containers)),
        // What this release did not change cannot fail it.
        gate: (replace || grows).then(|| service.gate.clone()),
        timeout: REPLACE_TIMEOUT,
    })
}

/// The services that a plan starts again because somebody or something has stopped them, and of which it changes nothing:
/// a release can do without. (Where a run was interrupted, it may have been that run that stopped them.)
pub fn started_again(plan: &Plan<Action>) -> BTreeSet<String> {
    let again = |step: &&Step<Action>| matches!(step.action, Action::Start { .. }) && step.gate.is_none();
    plan.steps.iter().filter(again).map(|step| step.subject.clone()).collect()
}

/// While Compose replaces a container, old and new are both there, the new one under a passing name until the old one
/// is gone. A Compose that is killed leaves both, and the next one would replace both at the same time, and quarrel
/// over the name.
fn is_left_over(container: &Container, all: &[&Container]) -> bool {
    let twin = |other: &&Container| other.id != container.id && other.number == container.number;
    container.has_passing_name() && all.iter().any(twin)
}

/// Whether a container is of the wanted image and was made from the wanted definition.
fn is_current(observed: &Observed, name: &str, service: &DesiredService, container: &Container) -> bool {
    let placed = observed.revision.as_ref().and_then(|revision| revision.services.get(name));
    let known = placed.is_some_and(|placed| {
        placed.containers.contains(&container.id) && placed.fingerprint == service.fingerprint
    });
    known && service.image.as_ref().is_none_or(|image| image.is(&container.image))
}

/// Containers of services that an earlier revision placed, or a run that did not end, and that are no longer wanted.
/// Others' are left alone. They go last, except where another service needs what they hold.
fn removals(
    observed: &Observed,
    desired: &Desired,
    changes: &mut [Step<Action>],
    prepared: &BTreeSet<StepId>,
) -> Vec<Step<Action>> {
    let placed = observed.revision.iter().flat_map(|revision| revision.services.keys());
    let gone: BTreeSet<&String> = placed
        .chain(&observed.traces.services)
        .filter(|name| !desired.services.contains_key(*name))
        .collect();
    let mut steps = Vec::new();
    for name in gone {
        let containers = ids_of(&observed.containers_of(name).collect::<Vec<_>>());
        if !containers.is_empty() {
            steps.push(remove(name, containers, prepared.clone()));
        }
    }
    let mut late: BTreeSet<StepId> = ids(&steps);
    let is_off = |step: &&Step<Action>| {
        desired.services.get(&step.subject).is_some_and(|service| service.model.replicas == 0)
    };
    let switched_off = changes.iter().filter(is_off);
    let leaving: Vec<(StepId, String)> =
        steps.iter().chain(switched_off).map(|step| (step.id.clone(), step.subject.clone())).collect();
    for step in changes.iter_mut() {
        let Some(service) = desired.services.get(&step.subject).filter(|s| s.model.replicas > 0) else {
            continue;
        };
        for (id, leaving) in &leaving {
            if observed.containers_of(leaving).any(|container| is_in_the_way(container, service)) {
                step.after.insert(id.clone());
                late.remove(id);
            }
        }
    }
    let changed = ids(changes);
    for step in steps.iter_mut().filter(|step| late.contains(&step.id)) {
        step.after.extend(changed.iter().cloned());
    }
    steps
}

/// A port or a name that goes from one service to another is given up before it is taken. Where two exchange theirs,
/// no order helps.
fn give_way(observed: &Observed, desired: &Desired, changes: &mut [Step<Action>]) {
    let keeps = |holder: &str, container: &Container, taker: &DesiredService| {
        let Some(holder) = desired.services.get(holder) else { return false };
        taker.model.host_ports().any(|port| {
            container.ports.iter().any(|held| held.overlaps(&port))
                && holder.model.host_ports().any(|own| own.overlaps(&port))
        })
    };
    let recreated: Vec<(StepId, String)> = changes
        .iter()
        .filter(|step| matches!(step.action, Action::Recreate { .. }))
        .map(|step| (step.id.clone(), step.subject.clone()))
        .collect();
    for (taker_id, taker) in &recreated {
        let Some(service) = desired.services.get(taker) else { continue };
        for (holder_id, holder) in recreated.iter().filter(|(_, holder)| holder != taker) {
            let held = observed
                .containers_of(holder)
                .any(|container| is_in_the_way(container, service) && !keeps(holder, container, service));
            if held
                && !waits_for(changes, holder_id, taker_id)
                && let Some(step) = changes.iter_mut().find(|step| step.id == *taker_id)
            {
                step.after.insert(holder_id.clone());
            }
        }
    }
}

/// Whether a step comes after another, on whatever way.
fn waits_for(steps: &[Step<Action>], step: &StepId, other: &StepId) -> bool {
    let mut open = vec![step];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if id == other {
            return true;
        }
        if seen.insert(id) {
            open.extend(steps.iter().filter(|step| step.id == *id).flat_map(|step| &step.after));
        }
    }
    false
}

/// Whether a container holds a port of the host, or a name, that a service is to have.
fn is_in_the_way(container: &Container, service: &DesiredService) -> bool {
    service.model.container_name.as_ref() == Some(&container.name)
        || service.model.host_ports().any(|port| container.ports.iter().any(|held| held.overlaps(&port)))
}

fn remove(name: &str, containers: BTreeSet<String>, after: BTreeSet<StepId>) -> Step<Action> {
    Step {
        id: StepId::new("remove", name),
        subject: name.to_owned(),
        action: Action::Remove { containers: containers.clone() },
        after,
        expect: Precondition::Containers(containers),
        gate: None,
        timeout: REPLACE_TIMEOUT,
    }
}

/// The edges of `depends_on` that wait for health although nothing can prove it: worth a warning.
pub fn weak_dependencies(desired: &Desired) -> Vec<(String, String)> {
    let mut weak = Vec::new();
    for (name, service) in &desired.services {
        for (on, edge) in &service.model.depends_on {
            let unproved = desired.services.get(on).is_some_and(|on| on.model.healthcheck == Some(false));
            if edge.condition == Condition::Healthy && unproved {
                weak.push((name.clone(), on.clone()));
            }
        }
    }
    weak
}
