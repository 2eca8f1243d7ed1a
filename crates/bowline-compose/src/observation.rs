//! One look at a whole target: everything at the same time, in as few round trips as there are.

use std::collections::BTreeSet;

use bowline_core::compose::observed::port::read_sockets;
use bowline_core::compose::observed::{Container, HostImage, Observed, Stranger};
use bowline_core::journal::Traces;

use crate::directory::{Directory, DirectoryError};
use crate::document::{DocumentError, Documents};
use crate::engine::{EngineError, Machine};
use crate::state::State;

/// What one look showed.
#[derive(Debug, Clone)]
pub struct Observation {
    /// What planning needs.
    pub observed: Observed,
    /// More about the machine.
    pub machine: Machine,
    /// What Bowline keeps there.
    pub state: State,
}

/// Why a target could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// The engine does not tell.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The documents cannot be read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The project's directory cannot be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl ObserveError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Engine(error) => error.hint(),
            Self::Document(error) => error.hint(),
            Self::Directory(error) => error.hint(),
        }
    }

    /// Whether host or engine could not be reached.
    pub fn is_unreachable(&self) -> bool {
        use crate::connection::RunError;
        match self {
            Self::Engine(error) => error.is_unreachable(),
            Self::Document(error) => error.is_unreachable(),
            Self::Directory(error) => matches!(error, DirectoryError::Run(RunError::Connection(_))),
        }
    }
}

/// What is on a target: containers, images, and what Bowline keeps there; not what machine it is.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// All containers of the compose project.
    pub containers: Vec<Container>,
    /// The containers of others.
    pub strangers: Vec<Stranger>,
    /// All images of the engine.
    pub images: Vec<HostImage>,
    /// What Bowline keeps there.
    pub state: State,
}

/// Looks at what is on a target: as a whole look does, in two round trips.
pub async fn take_inventory(documents: &Documents) -> Result<Inventory, ObserveError> {
    let engine = documents.engine();
    let containers = async { Ok::<_, ObserveError>(engine.containers(documents.project()).await?) };
    let images = async { Ok(engine.images().await?) };
    let state = async { Ok(documents.state().await?) };
    let ((containers, strangers), images, state) = tokio::try_join!(containers, images, state)?;
    Ok(Inventory { containers, strangers, images, state })
}

/// Looks at a target: machine, disk, ports, containers, images, documents, and the files of these paths.
pub async fn observe(
    documents: &Documents,
    directory: &Directory,
    paths: &BTreeSet<String>,
) -> Result<Observation, ObserveError> {
    let engine = documents.engine();
    let machine = async { Ok::<_, ObserveError>(engine.machine().await?) };
    let files = async { Ok(directory.digests(paths).await?) };
    // The last to begin: the shell that waits on a far host goes to whoever begins first.
    let sockets = async { Ok(engine.sockets().await) };
    let (machine, inventory, files, sockets) =
        tokio::try_join!(machine, take_inventory(documents), files, sockets)?;
    let Inventory { containers, strangers, images, state } = inventory;
    let observed = Observed {
        engine: machine.engine.clone(),
        containers,
        strangers,
        images,
        files,
        listening: read_sockets(&sockets, machine.engine.platform.as_ref()),
        revision: state.newest().cloned(),
        traces: Traces::of(&state.intents, state.newest().map(|revision| revision.number)),
    };
    Ok(Observation { observed, machine, state })
}
