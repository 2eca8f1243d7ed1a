//! What happens to a project's containers, as it happens.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::{EventsOptionsBuilder, InspectContainerOptions};
use bowline_core::health::CheckStatus;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::container::{PROJECT, SERVICE};
use super::{Engine, EngineError, FOREVER, filter};

/// Something that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// When, by the engine's clock, in nanoseconds since 1970.
    pub at_nanoseconds: i64,
    /// The container's id.
    pub container: String,
    /// Its name.
    pub name: String,
    /// Its compose service.
    pub service: String,
    /// What.
    pub change: Change,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Created,
    /// Its process was started.
    Started,
    /// Its process ended.
    Died {
        /// With which exit code.
        exit_code: i64,
        /// Whether for want of memory.
        oom_killed: bool,
    },
    /// Its health check says something new.
    Health(CheckStatus),
    /// Somebody stopped it; comes after its death.
    Stopped,
    /// It was given another name.
    Renamed,
    /// It is gone.
    Removed,
}

/// A running subscription. Dropping it ends it.
pub struct Watch {
    occurrences: mpsc::Receiver<Result<Occurrence, EngineError>>,
}

impl Watch {
    /// What comes next. After an error nothing comes any more; `None` then.
    pub async fn next(&mut self) -> Option<Result<Occurrence, EngineError>> {
        self.occurrences.recv().await
    }
}

impl Engine {
    /// Subscribes to everything that happens to the containers of a project from `since` on, by the engine's clock
    /// ([`super::Machine::time`]): what happens before the subscription itself reaches the engine is not missed.
    pub fn watch(&self, project: &str, since: Timestamp) -> Watch {
        let (tell, occurrences) = mpsc::channel(1024);
        let engine = self.clone();
        let project = project.to_owned();
        tokio::spawn(async move {
            tokio::select! {
                error = engine.observe_events(&project, since, &tell) => {
                    let _ = tell.send(Err(error)).await;
                }
                () = tell.closed() => {}
            }
        });
        Watch { occurrences }
    }

    /// Hands on what happens until that is no longer possible; gives why.
    async fn observe_events(
        &self,
        project: &str,
        since: Timestamp,
        tell: &mpsc::Sender<Result<Occurrence, EngineError>>,
    ) -> EngineError {
        let what = "follow the engine's events";
        let mut filters = filter("label", format!("{PROJECT}={project}"));
        filters.insert("type".into(), vec!["container".into()]);
        let since = format!("{}.{:09}", since.as_second(), since.subsec_nanosecond());
        let options = EventsOptionsBuilder::new().since(&since).filters(&filters).build();
        let mut events = Box::pin(self.docker.events(Some(options)));
        let mut starved = HashSet::new();
        loop {
            let next = async { events.next().await.transpose() };
            let event = match self.ask(what, FOREVER, next).await {
                Ok(Some(event)) => event,
                Ok(None) => {
                    let message = "the engine ended the stream".into();
                    return EngineError::Unexpected { what: what.into(), message };
                }
                Err(error) => return error,
            };
            if let Some(occurrence) = self.read(event, &mut starved).await {
                let _ = tell.send(Ok(occurrence)).await;
            }
        }
    }

    /// Turns an event into an occurrence. `starved` holds the containers in which the kernel killed something since
    /// their start: that event comes before the death.
    async fn read(&self, event: EventMessage, starved: &mut HashSet<String>) -> Option<Occurrence> {
        let actor = event.actor?;
        let container = actor.id?;
        let mut attributes: HashMap<String, String> = actor.attributes.unwrap_or_default();
        let action = event.action?;
        let change = match action.as_str() {
            "create" => Change::Created,
            "start" => {
                starved.remove(&container);
                Change::Started
            }
            "oom" => {
                starved.insert(container);
                return None;
            }
            "die" => {
                let exit_code = attributes.get("exitCode").and_then(|code| code.parse().ok()).unwrap_or(-1);
                // 137 is SIGKILL: asked for, or the kernel's. The control group's event may come late or not at all.
                let oom_killed =
                    starved.contains(&container) || (exit_code == 137 && self.was_starved(&container).await);
                Change::Died { exit_code, oom_killed }
            }
            "stop" => Change::Stopped,
            "rename" => Change::Renamed,
            "destroy" => Change::Removed,
            other => Change::Health(match other.strip_prefix("health_status: ")?.trim() {
                "healthy" => CheckStatus::Healthy,
                "unhealthy" => CheckStatus::Unhealthy,
                _ => CheckStatus::Starting,
            }),
        };
        Some(Occurrence {
            at_nanoseconds: event.time_nano.unwrap_or(0),
            name: attributes.remove("name").unwrap_or_default(),
            service: attributes.remove(SERVICE).unwrap_or_default(),
            container,
            change,
        })
    }

    async fn was_starved(&self, container: &str) -> bool {
        let look = self.docker.inspect_container(container, None::<InspectContainerOptions>);
        let found = self.ask("look at a dead container", Duration::from_secs(2), look).await;
        found.ok().and_then(|found| found.state).and_then(|state| state.oom_killed).unwrap_or(false)
    }
}
