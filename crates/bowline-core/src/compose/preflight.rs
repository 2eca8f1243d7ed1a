//! What would make a deploy fail, found before anything is touched.

use std::collections::{BTreeMap, BTreeSet};

use crate::compose::desired::{DeployImage, Desired};
use crate::compose::observed::{Container, HostPort, Observed};
use crate::compose::planning::file::kept;
use crate::compose::planning::{Action, is_image, weak_dependencies};
use crate::digest::Digest;
use crate::finding::{Finding, Findings};
use crate::health::{ProcessState, Test};
use crate::image::{ImageId, Platform};
use crate::plan::Plan;

/// Checks a plan against the machine it is for.
pub fn check(observed: &Observed, desired: &Desired, plan: &Plan<Action>) -> Findings {
    let mut findings = Findings::default();
    for name in &desired.unnamed {
        findings.refusals.push(Finding::new(
            name,
            "no service of the compose file runs its image",
            format!("name the image that the compose file uses in [services.{name}] images"),
        ));
    }
    check_adoption(observed, desired, &mut findings);
    check_platforms(observed, desired, &mut findings);
    check_names(observed, desired, &mut findings);
    check_ports(observed, desired, plan, &mut findings);
    check_room(observed, desired, plan, &mut findings);
    warn_of_memory(observed, desired, &mut findings);
    warn_of_weakness(observed, desired, plan, &mut findings);
    findings
}

/// A project that somebody else has started is not taken over in passing.
fn check_adoption(observed: &Observed, desired: &Desired, findings: &mut Findings) {
    if observed.revision.is_some() {
        return;
    }
    let running = || observed.containers.iter().filter(|container| !container.one_off);
    let elsewhere: BTreeSet<&str> = running()
        .map(|container| container.working_dir.as_str())
        .filter(|directory| !directory.is_empty() && *directory != desired.directory)
        .collect();
    let adopt =
        "run `bowline adopt TARGET`: it tells what to write into bowline.toml, and changes no container";
    if let Some(directory) = elsewhere.first() {
        findings.refusals.push(Finding::new(
            &desired.project,
            format!("the project runs already, from {directory}, not from {}", desired.directory),
            adopt,
        ));
    } else if running().next().is_some() {
        findings.warnings.push(Finding::new(
            &desired.project,
            "the project runs already, and Bowline does not know what it runs: all of it is replaced",
            "run `bowline adopt TARGET` first: what is equal is then left alone, and the way back is open",
        ));
    }
}

fn check_platforms(observed: &Observed, desired: &Desired, findings: &mut Findings) {
    let Some(machine) = &observed.engine.platform else { return };
    for (name, service) in &desired.services {
        let asked: Option<Platform> = service.model.platform.as_deref().and_then(|text| text.parse().ok());
        let emulated = asked.is_some_and(|asked| !asked.runs_on(machine));
        if let Some(DeployImage::Released { id, .. }) = &service.image
            && !id.platform.runs_on(machine)
            && !emulated
        {
            findings.refusals.push(Finding::new(
                name,
                format!("its image is for {}, the machine is {machine}", id.platform),
                format!("build it for {machine}"),
            ));
        }
    }
}

fn check_names(observed: &Observed, desired: &Desired, findings: &mut Findings) {
    for (name, service) in desired.services.iter().filter(|(_, service)| service.model.replicas > 0) {
        if let Some(wanted) = &service.model.container_name {
            if let Some(stranger) = observed.strangers.iter().find(|stranger| stranger.name == *wanted) {
                let owner = match &stranger.project {
                    Some(project) => format!("compose project `{project}`"),
                    None => "no compose project".into(),
                };
                findings.refusals.push(Finding::new(
                    name,
                    format!("container_name `{wanted}` is taken by a container of {owner}"),
                    "rename one of the two, or remove that container if nobody needs it",
                ));
            }
            if service.model.replicas > 1 {
                findings.refusals.push(Finding::new(
                    name,
                    format!("container_name allows one container, {} are wanted", service.model.replicas),
                    "remove container_name, or ask for one replica",
                ));
            }
        }
    }
}

/// Compose would notice as well, but only after it has stopped the container that the new one replaces.
fn check_ports(observed: &Observed, desired: &Desired, plan: &Plan<Action>, findings: &mut Findings) {
    let by_processes = held_by_processes(observed, plan);
    let is_recreated = |name: &str| {
        let recreates = |action: &Action| matches!(action, Action::Recreate { .. });
        plan.steps.iter().any(|step| step.subject == name && recreates(&step.action))
    };
    for (name, service) in desired.services.iter().filter(|(_, service)| service.model.replicas > 0) {
        for port in service.model.host_ports() {
            let holds = |held: &HostPort| held.overlaps(&port);
            if let Some(stranger) = observed.strangers.iter().find(|other| other.ports.iter().any(holds)) {
                findings.refusals.push(Finding::new(
                    name,
                    format!("port {port} of the host is taken by container `{}`", stranger.name),
                    "stop that container or publish another port",
                ));
            } else if is_recreated(name) && by_processes.iter().any(|held| holds(held)) {
                let list = if port.protocol == "udp" { "ss -lnup" } else { "ss -ltnp" };
                findings.refusals.push(Finding::new(
                    name,
                    format!("port {port} of the host is taken by a process that is no container"),
                    format!("stop that process or publish another port; `{list}` names it"),
                ));
            }
        }
    }
}

/// The ports of the host that somebody holds and no container publishes: for what one publishes, the engine holds the
/// port. None where that would be a guess.
fn held_by_processes<'o>(observed: &'o Observed, plan: &Plan<Action>) -> Vec<&'o HostPort> {
    let is_up = |container: &&Container| {
        matches!(container.state, ProcessState::Running | ProcessState::Paused | ProcessState::Restarting)
    };
    let ours = observed.containers.iter().filter(is_up).flat_map(|container| &container.ports);
    let published: Vec<&HostPort> =
        ours.chain(observed.strangers.iter().flat_map(|stranger| &stranger.ports)).collect();
    let is_published = |held: &HostPort| published.iter().any(|port| port.overlaps(held));
    // Where nobody listens on any port that containers publish, these are the sockets of another network than the engine's:
    // Bowline runs in a container itself, say, and the engine's socket was handed in.
    let mut tcp = published.iter().filter(|port| port.protocol == "tcp").peekable();
    let is_elsewhere =
        tcp.peek().is_some() && !tcp.any(|port| observed.listening.iter().any(|held| held.overlaps(port)));
    // A container without an address of its own may be on the host's network, and give up its ports when it is replaced.
    let leaves = |container: &Container| {
        let goes = |action: &Action| matches!(action, Action::Recreate { .. } | Action::Remove { .. });
        plan.steps.iter().any(|step| step.subject == container.service && goes(&step.action))
    };
    let is_on_host = |container: &Container| {
        container.state == ProcessState::Running && container.addresses.is_empty() && leaves(container)
    };
    if is_elsewhere || observed.containers.iter().any(is_on_host) {
        return Vec::new();
    }
    observed.listening.iter().filter(|held| !is_published(held)).collect()
}

/// A pulled layer is unpacked: about two and a half times its compressed size, while both lie on the disk. Many take more;
/// this is a refusal, and must not meet what would fit.
const UNPACKED: f64 = 2.5;
/// What stays free beyond that: containers that run write logs and data meanwhile, and an engine without any room cannot
/// even make the containers of the way back.
const KEEP_FREE: u64 = 256 << 20;

fn check_room(observed: &Observed, desired: &Desired, plan: &Plan<Action>, findings: &mut Findings) {
    let to_pull = bytes_to_pull(observed, desired, plan);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let needed = ((to_pull as f64 * UNPACKED) as u64).saturating_add(KEEP_FREE);
    if let Some(free) = observed.engine.disk_free
        && to_pull > 0
        && free < needed
    {
        findings.refusals.push(Finding::new(
            "disk",
            format!(
                "{} of layers are to be pulled, which needs about {}; {} are free",
                mebibytes(to_pull),
                // Rounded up: what is said to be needed is more than what is said to be free.
                mebibytes(needed.saturating_add((1 << 20) - 1)),
                mebibytes(free)
            ),
            "run `bowline prune TARGET`, or make room",
        ));
    }
}

/// Compressed bytes of the layers that are not on the host yet, each counted once. An image whose layers were not recorded
/// counts as a whole.
fn bytes_to_pull(observed: &Observed, desired: &Desired, plan: &Plan<Action>) -> u64 {
    let wanted = || desired.services.values().filter_map(|service| service.image.as_ref());
    let base = observed.revision.iter().flat_map(|revision| revision.images.values());
    let mut there: BTreeSet<&Digest> = BTreeSet::new();
    for image in base.chain(wanted()) {
        if let DeployImage::Released { layers, .. } = image
            && observed.images.iter().any(|found| is_image(image, found))
        {
            there.extend(layers.keys());
        }
    }
    let mut layers_to_pull: BTreeMap<&Digest, u64> = BTreeMap::new();
    let mut whole: BTreeMap<&ImageId, u64> = BTreeMap::new();
    for image in wanted() {
        let DeployImage::Released { id, size, layers, .. } = image else { continue };
        if !plan.steps.iter().any(|step| matches!(&step.action, Action::Pull { image } if image == id)) {
            continue;
        }
        match size {
            Some(size) if layers.is_empty() => {
                whole.insert(id, *size);
            }
            _ => layers_to_pull.extend(layers.iter().map(|(layer, size)| (layer, *size))),
        }
    }
    let missing = layers_to_pull.into_iter().filter(|(layer, _)| !there.contains(layer));
    missing.map(|(_, size)| size).chain(whole.into_values()).fold(0, u64::saturating_add)
}

/// A limit above what the machine has protects nobody.
fn warn_of_memory(observed: &Observed, desired: &Desired, findings: &mut Findings) {
    let memory = observed.engine.memory;
    for (name, service) in &desired.services {
        if let Some(limit) = service.model.memory
            && memory > 0
            && limit > memory
            && service.model.replicas > 0
        {
            findings.warnings.push(Finding::new(
                name,
                format!("it may use {}, the machine has {}", mebibytes(limit), mebibytes(memory)),
                "set a memory limit that the machine can keep",
            ));
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn warn_of_weakness(observed: &Observed, desired: &Desired, plan: &Plan<Action>, findings: &mut Findings) {
    for step in &plan.steps {
        if let Some(gate) = &step.gate
            && let Test::Settle { time } = &gate.test
        {
            let text = format!(
                "it has no health check: staying up for {} s is all the proof there is",
                time.as_secs_f64()
            );
            let remedy = "give it a healthcheck in the compose file, or health in bowline.toml";
            findings.warnings.push(Finding::new(&step.subject, text, remedy).weak());
        }
        if let Action::WriteFiles { edited, .. } = &step.action {
            for path in edited {
                findings.warnings.push(Finding::new(
                    path,
                    "it differs on the target from what was last deployed; it will be replaced",
                    format!("the edited one is kept there as {}", kept(path)),
                ));
            }
        }
    }
    for (name, on) in weak_dependencies(desired) {
        let text = format!("it waits for `{on}` to be healthy, whose health check is switched off");
        let remedy = "give it a health check, or depend on its start only";
        findings.warnings.push(Finding::new(&name, text, remedy).weak());
    }
    for container in &observed.containers {
        let placed = observed
            .revision
            .as_ref()
            .is_some_and(|revision| revision.services.contains_key(&container.service));
        if !desired.services.contains_key(&container.service) && !placed && !container.one_off {
            findings.warnings.push(Finding::new(
                &container.service,
                format!(
                    "container `{}` belongs to the project, but the compose file has no such service",
                    container.name
                ),
                "it is left alone; remove it by hand if nobody needs it",
            ));
        }
    }
}

#[cfg(test)]
mod tests;
