//! The engine's API: exactly what a deploy needs of it, every wait bounded.

mod adoption;
mod container;
mod exec;
mod image;
mod log;
mod machine;
mod process;
mod sampler;
mod volume;
mod watch;
mod writer;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use hyperlocal::UnixConnector;

use crate::connection::{Connection, ConnectionError, RunError};

pub use adoption::{FoundProject, FoundService};
pub use exec::Streams;
pub use image::{Credential, Progress};
pub use log::{Line, Stream};
pub use machine::Machine;
pub use process::Program;
pub use sampler::{NAME as SAMPLER, Sampler, Wanted as WantedSampler};
pub(crate) use volume::Volume;
pub use watch::{Change, Occurrence, Watch};
pub use writer::Writer;

/// How long an ordinary question may take. Engines under load answer slowly; a dead one is noticed by the connection.
const ORDINARY: Duration = Duration::from_secs(30);
/// A stream has no end of its own; a connection that breaks ends it.
const FOREVER: Duration = Duration::from_secs(30 * 86_400);
/// The longest that bollard waits for a response to begin: above every timeout of ours, which count.
const LONGEST: u64 = 3600;

/// How long a connection that nobody needs stays open.
const IDLE: Duration = Duration::from_secs(30);

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The connection to the host is gone.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The engine's socket does not answer, or broke off.
    #[error("cannot {what}: the Docker engine on {host} does not answer")]
    Unreachable {
        /// What was attempted.
        what: String,
        /// Where.
        host: String,
        /// Why.
        source: Box<bollard::errors::Error>,
    },
    /// No answer in time.
    #[error("cannot {what}: no answer from the Docker engine on {host} within {} s", .after.as_secs())]
    Timeout {
        /// What was attempted.
        what: String,
        /// Where.
        host: String,
        /// How long was waited.
        after: Duration,
    },
    /// It is not there.
    #[error("cannot {what}: {message}")]
    NotFound {
        /// What was attempted.
        what: String,
        /// In the engine's words.
        message: String,
    },
    /// The engine says no: a conflict, a bad request, an error of its own.
    #[error("cannot {what}: the engine answers {status}: {message}")]
    Refused {
        /// What was attempted.
        what: String,
        /// The HTTP status; 200 when it failed in the middle.
        status: u16,
        /// In the engine's words.
        message: String,
    },
    /// The disk of the host is full.
    #[error("cannot {what}: no space left on {host}")]
    NoSpace {
        /// What was attempted.
        what: String,
        /// Where.
        host: String,
    },
    /// A registry wants other credentials, or none of these.
    #[error("cannot {what}: the registry denies access: {message}")]
    Denied {
        /// What was attempted.
        what: String,
        /// In the engine's words.
        message: String,
    },
    /// The engine answered something that it should not.
    #[error("cannot {what}: {message}")]
    Unexpected {
        /// What was attempted.
        what: String,
        /// What is wrong with the answer.
        message: String,
    },
    /// The right to change the target is gone.
    #[error(transparent)]
    Authority(#[from] crate::lease::AuthorityError),
    /// A command beside the engine failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl EngineError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Connection(error) => error.hint(),
            Self::Run(error) => error.hint(),
            Self::Unreachable { .. } | Self::Timeout { .. } => {
                Some("look at the engine there: sudo systemctl status docker".into())
            }
            Self::NoSpace { .. } => {
                Some("make room there, e.g. with `bowline prune`; see `docker system df`".into())
            }
            Self::Denied { .. } => {
                Some("log in to the registry here (docker login), or check its policy".into())
            }
            _ => None,
        }
    }

    /// Whether host or engine could not be reached, as opposed to having answered no.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Connection(_)
                | Self::Unreachable { .. }
                | Self::Timeout { .. }
                | Self::Run(RunError::Connection(_))
        )
    }

    /// Whether the engine says that the thing is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// The engine of a host. Clones share the connection.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    connection: Connection,
    host: Arc<str>,
}

impl Engine {
    /// Greets the engine behind a connection, unless it has answered already: one round trip. No API version is asked
    /// for: an engine answers in the newest that it knows, and what is used here has been in all of them.
    pub async fn open(connection: &Connection) -> Result<Self, EngineError> {
        let what = "greet the engine";
        let host: Arc<str> = connection.address().to_string().into();
        let unreachable = |source| EngineError::Unreachable {
            what: what.into(),
            host: host.to_string(),
            source: Box::new(source),
        };
        let docker = connect(connection).map_err(unreachable)?;
        let engine = Self { docker, connection: connection.clone(), host: Arc::clone(&host) };
        if !connection.has_answered() {
            engine.ask(what, ORDINARY, engine.docker.ping()).await?;
        }
        Ok(engine)
    }

    /// The connection that it is reached through.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Waits for an answer, for the timeout, or for the end of the connection.
    async fn ask<T>(
        &self,
        what: &str,
        timeout: Duration,
        answer: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, EngineError> {
        tokio::select! {
            answer = answer => answer.map_err(|error| self.explain(what, error)),
            lost = self.connection.wait_lost() => Err(lost.into()),
            () = tokio::time::sleep(timeout) => {
                Err(EngineError::Timeout { what: what.into(), host: self.host.to_string(), after: timeout })
            }
        }
    }

    /// Says in our words what bollard says.
    fn explain(&self, what: &str, error: bollard::errors::Error) -> EngineError {
        use bollard::errors::Error;
        if let Some(lost) = self.connection.lost() {
            return lost.into();
        }
        let what = what.to_owned();
        let (status, message) = match error {
            Error::DockerResponseServerError { status_code, message } => (status_code, message),
            Error::DockerStreamError { error } => (200, error),
            Error::JsonDataError { message, .. } => {
                return EngineError::Unexpected {
                    what,
                    message: format!("the answer is no JSON that is known: {message}"),
                };
            }
            other => {
                return EngineError::Unreachable {
                    what,
                    host: self.host.to_string(),
                    source: Box::new(other),
                };
            }
        };
        let message: String = message.trim().chars().filter(|c| !c.is_control()).take(500).collect();
        let denied = [
            "unauthorized",
            "denied: ",
            "access denied",
            "no basic auth credentials",
            "authentication required",
        ];
        if message.contains("no space left on device") {
            EngineError::NoSpace { what, host: self.host.to_string() }
        } else if denied.iter().any(|word| message.contains(word)) {
            EngineError::Denied { what, message }
        } else if status == 404 {
            EngineError::NotFound { what, message }
        } else {
            EngineError::Refused { what, status, message }
        }
    }
}

/// The engine behind a socket, by connections that stay open between requests. bollard's own would open one for each, which
/// over SSH costs a round trip more.
fn connect(connection: &Connection) -> Result<Docker, bollard::errors::Error> {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE);
    builder.pool_max_idle_per_host(connection.idle_sockets());
    let client = builder.build(UnixConnector);
    let send = move |request: BollardRequest| {
        let answer = client.request(request);
        async move { answer.await.map_err(bollard::errors::Error::from) }
    };
    // In the address, hyperlocal reads the socket's path as hexadecimal.
    let path = connection.socket().as_os_str().as_encoded_bytes();
    let path: String = path.iter().map(|byte| format!("{byte:02x}")).collect();
    Docker::connect_with_custom_transport(send, Some(format!("unix://{path}")), LONGEST, API_DEFAULT_VERSION)
}

/// One map entry for the engine's list filters.
fn filter(key: &str, value: String) -> std::collections::HashMap<String, Vec<String>> {
    std::collections::HashMap::from([(key.to_owned(), vec![value])])
}

/// The first 12 characters of an id, as people know it from `docker ps`.
fn short(id: &str) -> String {
    id.chars().take(12).collect()
}
