//! A Docker host as a target: connected to, and looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bowline_compose::connection::{Address, Connection, ConnectionError, Options};
use bowline_compose::directory::Directory;
use bowline_compose::document::Documents;
use bowline_compose::engine::{Engine, EngineError};
use bowline_compose::lease::{Holder, Lease, LeaseError};
use bowline_compose::observation::{Observation, observe};

use bowline_core::compose::observed::Container;
use bowline_core::event::RunId;

use crate::config::{ComposeTarget, Config, Target};
use crate::error::{Failure, FailureKind, Outcome};

/// How old a look may be by which something is decided, where we have changed nothing since: Compose itself needs that
/// much from its start until it touches the first container.
const RECENT: Duration = Duration::from_millis(250);

/// From when on a look is recent enough to act upon.
pub(super) fn moments_ago() -> Instant {
    let now = Instant::now();
    now.checked_sub(RECENT).unwrap_or(now)
}

/// A connection to a target's host, and where the project is there.
pub struct Host {
    /// The target's name.
    pub target: String,
    /// The compose project's name.
    pub project: String,
    /// The connection.
    pub connection: Connection,
    /// The engine there.
    pub engine: Engine,
    /// What Bowline keeps there.
    pub documents: Documents,
    /// The compose project's directory there.
    pub directory: Directory,
    /// Variables for the compose files, from the operator's files. They may be secret.
    pub(super) variables: BTreeMap<String, String>,
    /// The last look at the project's containers, and when it began.
    seen: tokio::sync::Mutex<Option<(Instant, Vec<Container>)>>,
    /// When we last changed them: looks from before do not count.
    changed: std::sync::Mutex<Instant>,
}

/// The Docker host of this name in the configuration.
///
/// # Errors
/// When there is no such target, or it is a cluster.
pub fn compose_target<'c>(config: &'c Config, name: &str) -> Outcome<&'c ComposeTarget> {
    match config.target(name)? {
        Target::Compose(target) => match twin(config, target) {
            None => Ok(target),
            Some(twin) => Err(Failure::invalid(format!("{name} and {twin} are one project on one host"))
                .since("each would replace what the other deployed")
                .hint(format!("give one of them another project: `project = \"…\"` in [targets.{name}]"))),
        },
        Target::Kubernetes(_) => Err(Failure::invalid(format!("{name} is a Kubernetes cluster"))
            .since("this version of Bowline deploys to Docker hosts")
            .hint("name a target with `compose = …`")),
    }
}

/// Another target of the same project on the same host.
fn twin<'c>(config: &'c Config, target: &ComposeTarget) -> Option<&'c str> {
    let project = |target: &ComposeTarget| target.project.clone().unwrap_or_else(|| config.project.clone());
    config.targets.values().find_map(|other| match other {
        Target::Compose(other) => {
            (other.name != target.name && other.host == target.host && project(other) == project(target))
                .then_some(other.name.as_str())
        }
        Target::Kubernetes(_) => None,
    })
}

impl Host {
    /// Connects to a target.
    ///
    /// # Errors
    /// Kind `Unreachable`: the host, its engine or our right to use it is missing; says which.
    pub async fn connect(config: &Config, target: &ComposeTarget) -> Outcome<Self> {
        let address = match &target.host {
            None => Address::Local,
            Some(host) => host.parse().map_err(|error| {
                Failure::invalid(format!("reading the host of target {}", target.name)).because(&error)
            })?,
        };
        let connection = Connection::open(&address, &Options::from_env())
            .await
            .map_err(|error| unreachable(target, &error))?;
        let engine = Engine::open(&connection)
            .await
            .map_err(|error| engine_failure("connecting to", target, &error))?;
        let project = target.project.clone().unwrap_or_else(|| config.project.clone());
        let documents = Documents::new(&engine, &project)
            .map_err(|error| Failure::invalid("naming the project").because(&error))?;
        let path = target.directory.clone().unwrap_or_else(|| {
            format!("{}/.local/share/bowline/{project}/{}", connection.home(), target.name)
        });
        let directory = Directory::new(&connection, &path);
        let variables = read_variables(config, target)?;
        Ok(Self {
            target: target.name.clone(),
            project,
            connection,
            engine,
            documents,
            directory,
            variables,
            seen: tokio::sync::Mutex::default(),
            changed: std::sync::Mutex::new(Instant::now()),
        })
    }

    /// Looks at everything at once. `files` are the paths in the project's directory whose digests are wanted.
    ///
    /// # Errors
    /// When the host does not answer, or answers what it should not.
    pub async fn look(&self, files: &BTreeSet<String>) -> Outcome<Observation> {
        observe(&self.documents, &self.directory, files)
            .await
            .map_err(|error| self.explain("looking at", &error, error.is_unreachable(), error.hint()))
    }

    /// The project's containers, by a look that began at `since` or later, and after our last change: the last one, where
    /// it did.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(super) async fn containers(&self, since: Instant) -> Result<Vec<Container>, EngineError> {
        let mut seen = self.seen.lock().await;
        let changed = *self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((began, containers)) = &*seen
            && *began >= since.max(changed)
        {
            return Ok(containers.clone());
        }
        let began = Instant::now();
        let (containers, _) = self.engine.containers(&self.project).await?;
        *seen = Some((began, containers.clone()));
        Ok(containers)
    }

    /// Containers were changed, or may have been; gives when.
    pub(super) fn note_change(&self) -> Instant {
        let now = Instant::now();
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = now;
        now
    }

    /// Takes the lock, waiting at most so long for whoever has it; `waiting` is told whom.
    ///
    /// # Errors
    /// Kind `Locked`: somebody else has it.
    pub async fn take_lease(
        &self,
        run: &RunId,
        verb: &str,
        patience: Duration,
        waiting: impl FnMut(&Holder),
    ) -> Outcome<Lease> {
        let taken = Lease::wait(&self.documents, &run.to_string(), verb, patience, waiting).await;
        taken.map_err(|error| {
            let unreachable = matches!(&error, LeaseError::Document(error) if error.is_unreachable());
            let failure = self.explain("taking the lock of", &error, unreachable, error.hint());
            match error {
                LeaseError::Held { .. } => Failure { kind: FailureKind::Locked, ..failure },
                _ => failure,
            }
        })
    }

    /// An error of the adapter in words: what was attempted on this target.
    pub fn explain(
        &self,
        doing: &str,
        error: &(dyn std::error::Error + 'static),
        unreachable: bool,
        hint: Option<String>,
    ) -> Failure {
        explain(&self.target, doing, error, unreachable, hint)
    }

    /// An engine's error in words.
    pub fn failure(&self, doing: &str, error: &EngineError) -> Failure {
        self.explain(doing, error, error.is_unreachable(), error.hint())
    }
}

/// Reads the files with variables: `NAME=value` lines, as Compose's own `.env`, without quoting or interpolation.
pub(super) fn read_variables(config: &Config, target: &ComposeTarget) -> Outcome<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for file in &target.env_files {
        let path = config.directory.join(file);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::invalid(format!("reading the variables in {}", path.display())).because(&error)
        })?;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some((name, value)) = line.split_once('=') {
                let name = name.trim().trim_start_matches("export ").trim();
                let value = value.trim();
                let bare = value
                    .strip_prefix('"')
                    .and_then(|rest| rest.strip_suffix('"'))
                    .or_else(|| value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')));
                variables.insert(name.to_owned(), bare.unwrap_or(value).to_owned());
            }
        }
    }
    Ok(variables)
}

fn unreachable(target: &ComposeTarget, error: &ConnectionError) -> Failure {
    let failure =
        Failure::new(FailureKind::Unreachable, format!("connecting to {}", target.name)).because(error);
    with_hint(failure, error.hint())
}

fn engine_failure(doing: &str, target: &ComposeTarget, error: &EngineError) -> Failure {
    let failure = Failure::new(FailureKind::Unreachable, format!("{doing} {}", target.name)).because(error);
    with_hint(failure, error.hint())
}

/// An error of an adapter in words: what was attempted on which target.
pub fn explain(
    target: &str,
    doing: &str,
    error: &(dyn std::error::Error + 'static),
    unreachable: bool,
    hint: Option<String>,
) -> Failure {
    let kind = if unreachable { FailureKind::Unreachable } else { FailureKind::Failed };
    with_hint(Failure::new(kind, format!("{doing} {target}")).because(error), hint)
}

/// Adds a hint where there is one.
pub fn with_hint(failure: Failure, hint: Option<String>) -> Failure {
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_targets_are_not_one_project_on_one_host() {
        let text = "[project]\nname = \"chat\"\n[services.a]\n[targets.stage]\ncompose = \"c.yaml\"\n[targets.box]\ncompose = \"c.yaml\"\n[targets.far]\ncompose = \"c.yaml\"\nhost = \"ssh://box\"\n";
        let config = Config::parse(text, std::path::Path::new(".")).unwrap();
        let failure = compose_target(&config, "box").unwrap_err();
        assert_eq!(failure.kind.code(), 2);
        assert!(failure.message.contains("box and stage"), "{failure}");
        assert!(compose_target(&config, "far").is_ok());
    }
}
