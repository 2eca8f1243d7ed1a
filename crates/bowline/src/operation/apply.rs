//! Does what single steps of a plan say, on a Docker host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bowline_compose::engine::{Credential, EngineError, Writer};
use bowline_compose::lease::Authority;
use bowline_compose::project::{Fault, Project, ProjectError, Recreate, Up};
use bowline_core::compose::desired::Desired;
use bowline_core::compose::model::{Network, ServiceModel};
use bowline_core::compose::observed::Container;
use bowline_core::compose::planning::file::KEPT;
use bowline_core::compose::planning::{Action, NamedImage};
use bowline_core::health::{Cause, Test};
use bowline_core::plan::{Precondition, Step, StepId};
use bowline_core::reference::{Reference, Repository};
use bowline_core::release::SpecFile;
use bowline_oci::credential::{self, Credentials};

use super::host::{Host, moments_ago};
use crate::ui::Ui;

/// Where the target pulls a release's images from.
#[derive(Clone)]
pub(super) struct Source {
    /// The repository as the target reaches it.
    pub(super) repository: Repository,
    /// Whether that name is good only for this run: a port that leads back to us.
    pub(super) passing: bool,
    /// How to log in to registries.
    pub(super) credentials: Credentials,
}

/// What came of steps that ended together; the first cause comes first.
pub(super) type Outcomes = Vec<(StepId, Result<(), Cause>)>;

/// Steps that ended together, and when: nothing was seen of what they changed before.
pub(super) struct Ended {
    pub(super) at: Instant,
    pub(super) outcomes: Outcomes,
}

/// Carries out the steps of one plan. It chooses nothing.
pub(super) struct Applier {
    pub(super) host: std::sync::Arc<Host>,
    pub(super) desired: Desired,
    pub(super) writer: Writer,
    pub(super) project: Project,
    pub(super) source: Source,
    pub(super) ui: Ui,
    /// Bytes that pulls received.
    pub(super) received: AtomicU64,
    /// Services that are started again where that goes, and else left as they are.
    pub(super) optional: BTreeSet<String>,
    /// Those of them that were left.
    pub(super) left: Mutex<BTreeSet<String>>,
}

impl Applier {
    /// The right to change the target.
    pub(super) fn authority(&self) -> &Authority {
        self.writer.authority()
    }

    /// The project's containers of these services, by a look that began at `since` or later.
    pub(super) async fn containers(
        &self,
        services: &BTreeSet<String>,
        since: Instant,
    ) -> Result<Vec<Container>, EngineError> {
        let mut containers = self.host.containers(since).await?;
        containers.retain(|container| services.contains(&container.service));
        Ok(containers)
    }

    /// The last lines of a container; nothing where they cannot be had.
    pub(super) async fn log_tail(&self, container: &str, lines: usize) -> Vec<String> {
        let read = self.host.engine.log_tail(container, lines).await;
        read.map(|lines| lines.into_iter().map(|line| line.text).collect()).unwrap_or_default()
    }

    /// Carries out a step that concerns no running service, or removes containers.
    pub(super) async fn apply(&self, step: &Step<Action>) -> Result<(), Cause> {
        match &step.action {
            Action::Pull { image } => {
                self.pull(&self.source.repository.at(image.manifest), &step.subject).await
            }
            Action::PullNamed { name } => {
                let reference = name.parse::<Reference>().map_err(|error| Cause::new(error.to_string()))?;
                self.pull(&reference, &reference.familiar()).await
            }
            Action::WriteFiles { files, edited, stale, restored } => {
                let content: BTreeMap<String, SpecFile> = files
                    .keys()
                    .filter_map(|path| Some((path.clone(), self.desired.files.get(path)?.clone())))
                    .collect();
                let directory = &self.host.directory;
                let write = directory.write(self.authority(), &content, edited, KEPT).await;
                write.map_err(|error| Cause::new(chain(&error)))?;
                let remove = directory.remove(self.authority(), stale).await;
                remove.map_err(|error| Cause::new(chain(&error)))?;
                let restore = directory.restore(self.authority(), restored, KEPT).await;
                restore.map_err(|error| Cause::new(chain(&error)))
            }
            Action::Name { image, names } => self.name(image, names).await,
            Action::Remove { containers } => {
                self.check_precondition(step).await?;
                let removed = self.remove(containers).await;
                self.host.note_change();
                removed.map_err(|error| Cause::new(chain(&error)))
            }
            Action::Recreate { .. } | Action::Start { .. } => {
                let mut ended = self.start_services(std::slice::from_ref(step)).await;
                ended.outcomes.pop().map_or(Ok(()), |(_, outcome)| outcome)
            }
        }
    }

    async fn pull(&self, reference: &Reference, label: &str) -> Result<(), Cause> {
        let credential = self.credential(reference).await?;
        let bar = self.ui.bytes_bar(label, 0);
        let mut last = 0;
        let outcome = self
            .writer
            .pull(reference, credential.as_ref(), |progress| {
                bar.set_length(progress.total);
                bar.set_position(progress.received);
                last = progress.received;
            })
            .await;
        bar.finish_and_clear();
        self.received.fetch_add(last, Ordering::Relaxed);
        outcome.map_err(|error| Cause::new(chain(&error)))
    }

    async fn credential(&self, reference: &Reference) -> Result<Option<Credential>, Cause> {
        let repository = &reference.repository;
        let found = self
            .source
            .credentials
            .find(&repository.registry, &repository.name)
            .await
            .map_err(|error| Cause::new(chain(&error)))?;
        Ok(found.map(|found| match found {
            credential::Credential::Password { username, password, .. } => {
                Credential::Password { username, password }
            }
            credential::Credential::Identity(token) => Credential::IdentityToken(token),
        }))
    }

    async fn name(&self, image: &NamedImage, names: &BTreeSet<String>) -> Result<(), Cause> {
        let failed = |error: EngineError| Cause::new(chain(&error));
        let candidates = match image {
            NamedImage::Released(id) => vec![id.config.to_string(), id.manifest.to_string()],
            NamedImage::Engine(id) => vec![id.to_string()],
        };
        let names = names.iter().map(|name| name.parse::<Reference>()).collect::<Result<Vec<_>, _>>();
        let names = names.map_err(|error| Cause::new(error.to_string()))?;
        let mut named = Ok(());
        for id in candidates {
            named = self.tag_all(&id, &names).await;
            // Where it is not found, the engine may call its images by the other of the two.
            if !named.as_ref().is_err_and(EngineError::is_not_found) {
                break;
            }
        }
        named.map_err(|error| match error.is_not_found() {
            true => Cause::new("the image is no longer on the host"),
            false => failed(error),
        })?;
        if let NamedImage::Released(image) = image
            && self.source.passing
        {
            // The name leads nowhere once this run has ended; the image keeps its others.
            let passing = self.source.repository.at(image.manifest).to_string();
            self.writer.remove_image(&passing).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn remove(&self, containers: &BTreeSet<String>) -> Result<(), EngineError> {
        for id in containers {
            self.writer.stop(id, None).await?;
            self.writer.remove(id).await?;
        }
        Ok(())
    }

    async fn tag_all(&self, id: &str, names: &[Reference]) -> Result<(), EngineError> {
        for name in names {
            self.writer.tag(id, name).await?;
        }
        Ok(())
    }

    /// Replaces or starts the containers of several services in one call to Compose, and says for each what came of it.
    pub(super) async fn start_services(&self, steps: &[Step<Action>]) -> Ended {
        let mut outcomes = Vec::new();
        let mut at = Instant::now();
        let mut agreed = Vec::new();
        for (step, check) in steps.iter().zip(self.check_preconditions(steps).await) {
            match check {
                Ok(()) => agreed.push(step),
                Err(cause) => outcomes.push((step.id.clone(), Err(cause))),
            }
        }
        // Compose stops at the first service that cannot be started: one that may stay as it is must not keep the others
        // from being started.
        let (optional, needed): (Vec<_>, Vec<_>) =
            agreed.into_iter().partition(|step| self.optional.contains(&step.subject));
        let (replaced, started): (Vec<_>, Vec<_>) =
            needed.into_iter().partition(|step| matches!(step.action, Action::Recreate { .. }));
        let alone = optional.into_iter().map(|step| (vec![step], false));
        let batches = [(replaced, true), (started, false)].into_iter().chain(alone);
        for (batch, replace) in batches.filter(|(batch, _)| !batch.is_empty()) {
            let services: BTreeMap<String, u32> = batch
                .iter()
                .map(|step| match &step.action {
                    Action::Recreate { replicas } | Action::Start { replicas } => {
                        (step.subject.clone(), *replicas)
                    }
                    _ => (step.subject.clone(), 1),
                })
                .collect();
            let timeout = batch.iter().map(|step| step.timeout).max().unwrap_or_default();
            let recreate = if replace { Recreate::Always } else { Recreate::Never };
            let up = Up { services, recreate, start: true, timeout };
            let done = self.project.up(self.authority(), &up).await;
            at = self.host.note_change();
            match done {
                Ok(_) => outcomes.extend(self.confirm(&batch, at).await),
                Err(error) => outcomes.extend(self.blame(&batch, &error, at).await),
            }
        }
        Ended { at, outcomes }
    }

    /// Compose starts what the image's name means at that moment. Another project that calls its image the same may
    /// have moved the name since it was given.
    async fn confirm(&self, batch: &[&Step<Action>], since: Instant) -> Outcomes {
        let services: BTreeSet<String> = batch.iter().map(|step| step.subject.clone()).collect();
        let there = match self.containers(&services, since).await {
            Ok(there) => there,
            Err(error) => {
                let cause = Cause::new(chain(&error));
                return batch.iter().map(|step| (step.id.clone(), Err(cause.clone()))).collect();
            }
        };
        let confirmed = |step: &Step<Action>| {
            let Some(service) = self.desired.services.get(&step.subject) else { return Ok(()) };
            let Some(image) = &service.image else { return Ok(()) };
            let own = there.iter().filter(|there| there.service == step.subject && !there.one_off);
            match own.into_iter().find(|there| !image.is(&there.image)) {
                None => Ok(()),
                Some(other) => Err(Cause::new(format!(
                    "{} was started from another image: somebody else moved the name {}",
                    other.name, service.image_name
                ))),
            }
        };
        batch.iter().map(|step| (step.id.clone(), confirmed(step))).collect()
    }

    /// Compose stops at the first service that cannot be started, and does not say which. The one whose container
    /// does not run is to blame; it comes first, so that it is the first cause.
    async fn blame(&self, batch: &[&Step<Action>], error: &ProjectError, since: Instant) -> Outcomes {
        let services: BTreeSet<String> = batch.iter().map(|step| step.subject.clone()).collect();
        let containers = self.containers(&services, since).await.unwrap_or_default();
        let failed = |service: &str| {
            containers.iter().any(|there| there.service == service && !there.error.is_empty())
        };
        let named = |service: &str| match error.fault() {
            Some(Fault::NameTaken { name, .. }) => {
                let model = self.desired.services.get(service).map(|service| &service.model);
                model.is_some_and(|model| model.container_name.as_ref() == Some(name))
            }
            Some(Fault::PortTaken { port }) => {
                let model = self.desired.services.get(service).map(|service| &service.model);
                model.is_some_and(|model| model.ports.iter().any(|there| there.published == Some(*port)))
            }
            _ => false,
        };
        let mut steps = batch.to_vec();
        steps.sort_by_key(|step| !(failed(&step.subject) || named(&step.subject)));
        let exit_code = |service: &str| {
            let there = containers.iter().find(|there| there.service == service && !there.error.is_empty());
            there.map(|container| container.exit_code).filter(|code| *code != 0)
        };
        let cause = |service: &str| Cause { exit_code: exit_code(service), ..Cause::new(chain(error)) };
        steps.into_iter().map(|step| (step.id.clone(), Err(cause(&step.subject)))).collect()
    }

    async fn check_precondition(&self, step: &Step<Action>) -> Result<(), Cause> {
        let checked = self.check_preconditions(std::slice::from_ref(step)).await;
        checked.into_iter().collect()
    }

    /// Whether the containers of each step's service are those that the plan was made for: one look for all steps.
    async fn check_preconditions(&self, steps: &[Step<Action>]) -> Vec<Result<(), Cause>> {
        let conditional = |step: &&Step<Action>| matches!(step.expect, Precondition::Containers(_));
        let services: BTreeSet<String> =
            steps.iter().filter(conditional).map(|step| step.subject.clone()).collect();
        let there = match services.is_empty() {
            true => Ok(Vec::new()),
            false => {
                self.containers(&services, moments_ago()).await.map_err(|error| Cause::new(chain(&error)))
            }
        };
        let check = |step: &Step<Action>| {
            let Precondition::Containers(expected) = &step.expect else { return Ok(()) };
            let there = there.as_ref().map_err(Clone::clone)?;
            let own =
                there.iter().filter(|container| container.service == step.subject && !container.one_off);
            match own.map(|container| &container.id).collect::<BTreeSet<_>>().into_iter().eq(expected) {
                true => Ok(()),
                false => Err(Cause::new("somebody else changed its containers since the plan was made")),
            }
        };
        steps.iter().map(check).collect()
    }

    /// Asks a container whether it is up, from the host's side.
    pub(super) async fn probe(&self, container: &Container, test: &Test) -> bool {
        let model = self.desired.services.get(&container.service).map(|service| &service.model);
        let address = match model.map(ServiceModel::network) {
            Some(Network::Host) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            _ => container.addresses.iter().find_map(|text| text.parse::<IpAddr>().ok()),
        };
        let Some(address) = address else { return false };
        let connection = &self.host.connection;
        match test {
            Test::Http { port, path } => {
                let status = connection.http_status(SocketAddr::new(address, *port), path).await;
                status.is_some_and(|status| (200..400).contains(&status))
            }
            Test::Tcp { port } => connection.accepts_tcp(SocketAddr::new(address, *port)).await,
            _ => false,
        }
    }
}

/// An error and its sources in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
