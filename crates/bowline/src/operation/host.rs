//! A Docker host as a target: connected to, and looked at.

use std::collections::{BTreeMap, BTreeSet};

use bowline_compose::connection::{Address, Connection, ConnectionError, Options};
use bowline_compose::directory::Directory;
use bowline_compose::document::{Document, Documents, Found, Kind};
use bowline_compose::engine::{Engine, Machine};
use bowline_core::compose::observed::Observed;
use bowline_core::digest::Digest;
use bowline_core::journal::Intent;
use bowline_core::release::Revision;

use crate::config::{ComposeTarget, Config, Target};
use crate::error::{Failure, FailureKind, Outcome};

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
}

/// One look at a host.
pub struct Look {
    /// What planning needs.
    pub observed: Observed,
    /// The machine.
    pub machine: Machine,
    /// The revisions, oldest first.
    pub revisions: Vec<Revision>,
    /// What a run that did not end means to do.
    pub interrupted: Option<Intent>,
    /// Documents that could not be read, and why.
    pub unreadable: BTreeMap<String, String>,
}

/// The Docker host of this name in the configuration.
///
/// # Errors
/// When there is no such target, or it is a cluster.
pub fn compose_target<'c>(config: &'c Config, name: &str) -> Outcome<&'c ComposeTarget> {
    match config.target(name)? {
        Target::Compose(target) => Ok(target),
        Target::Kubernetes(_) => Err(Failure::invalid(format!("{name} is a Kubernetes cluster"))
            .since("this version of Bowline deploys to Docker hosts")
            .hint("name a target with `compose = …`")),
    }
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
        Ok(Self { target: target.name.clone(), project, connection, engine, documents, directory, variables })
    }

    /// Looks at everything at once. `files` are the paths in the project's directory whose digests are wanted, besides
    /// those of the newest revision.
    ///
    /// # Errors
    /// When the engine does not answer, or answers what it should not.
    pub async fn look(&self, files: &BTreeSet<String>) -> Outcome<Look> {
        let (machine, containers, images, found) = tokio::join!(
            self.engine.machine(),
            self.engine.containers(&self.project),
            self.engine.images(),
            self.documents.list(),
        );
        let failure = |error: &bowline_compose::engine::EngineError| self.failure("looking at", error);
        let machine = machine.map_err(|error| failure(&error))?;
        let (containers, strangers) = containers.map_err(|error| failure(&error))?;
        let images = images.map_err(|error| failure(&error))?;
        let found = found.map_err(|error| self.document_failure("reading what was deployed to", &error))?;
        let revisions = self.revisions(&found)?;
        let interrupted = found.of(Kind::Journal).find_map(|document| document.read::<Intent>().ok());
        let revision = revisions.last().cloned();
        let mut paths = files.clone();
        paths.extend(revision.iter().flat_map(|revision| revision.files.keys().cloned()));
        let files = self.digests(&paths).await?;
        let observed =
            Observed { engine: machine.engine.clone(), containers, strangers, images, files, revision };
        Ok(Look { observed, machine, revisions, interrupted, unreadable: found.unreadable })
    }

    /// The digests of files in the project's directory; those that are not there are left out.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn digests(&self, paths: &BTreeSet<String>) -> Outcome<BTreeMap<String, Digest>> {
        if paths.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.directory.digests(paths).await.map_err(|error| {
            let failure =
                format!("reading the project's files in {} on {}", self.directory.path(), self.target);
            Failure::failed(failure).because(&error)
        })
    }

    fn revisions(&self, found: &Found) -> Outcome<Vec<Revision>> {
        let mut revisions = Vec::new();
        for document in found.of(Kind::Revision) {
            revisions.push(self.read::<Revision>(document)?);
        }
        revisions.sort_by_key(|revision| revision.number);
        Ok(revisions)
    }

    /// Reads a document as what it should be.
    ///
    /// # Errors
    /// When a newer Bowline wrote it.
    pub fn read<T: serde::de::DeserializeOwned>(&self, document: &Document) -> Outcome<T> {
        document.read().map_err(|error| self.document_failure("reading what was deployed to", &error))
    }

    /// An engine's error in words.
    pub fn failure(&self, doing: &str, error: &bowline_compose::engine::EngineError) -> Failure {
        let kind = if error.is_unreachable() { FailureKind::Unreachable } else { FailureKind::Failed };
        with_hint(Failure::new(kind, format!("{doing} {}", self.target)).because(error), error.hint())
    }

    /// A document's error in words.
    pub fn document_failure(&self, doing: &str, error: &bowline_compose::document::DocumentError) -> Failure {
        let kind = if error.is_unreachable() { FailureKind::Unreachable } else { FailureKind::Failed };
        with_hint(Failure::new(kind, format!("{doing} {}", self.target)).because(error), error.hint())
    }
}

/// Reads the files with variables: `NAME=value` lines, as Compose's own `.env`, without quoting or interpolation.
fn read_variables(config: &Config, target: &ComposeTarget) -> Outcome<BTreeMap<String, String>> {
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

fn engine_failure(
    doing: &str,
    target: &ComposeTarget,
    error: &bowline_compose::engine::EngineError,
) -> Failure {
    let failure = Failure::new(FailureKind::Unreachable, format!("{doing} {}", target.name)).because(error);
    with_hint(failure, error.hint())
}

/// Adds a hint where there is one.
pub fn with_hint(failure: Failure, hint: Option<String>) -> Failure {
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
