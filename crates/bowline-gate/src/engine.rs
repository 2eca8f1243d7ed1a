//! What the Docker engine is asked: which containers there are, and what they are called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::request::{RequestError, send};

/// An engine under load answers late, and a sample must not wait for it.
const TIME: Duration = Duration::from_secs(3);

/// The engine behind a socket.
#[derive(Debug, Clone)]
pub struct Engine {
    socket: PathBuf,
}

/// Why the engine did not say.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No answer.
    #[error("cannot ask the Docker engine at {} {what}: {source}; does it run, and is its socket mounted there?", .socket.display())]
    Unanswered {
        /// Where it was asked.
        socket: PathBuf,
        /// What it was asked.
        what: String,
        /// Why not.
        source: RequestError,
    },
    /// An answer that is not understood.
    #[error("cannot read what the Docker engine at {} answers when asked {what}: {source}", .socket.display())]
    Unreadable {
        /// Where it was asked.
        socket: PathBuf,
        /// What it was asked.
        what: String,
        /// Why not.
        source: serde_json::Error,
    },
}

/// A container in the engine's list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its names, each with a slash before it; links make more than one.
    #[serde(default)]
    pub names: Option<Vec<String>>,
    /// Its labels.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
}

/// What the engine tells of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspected {
    /// How often its restart policy has started it anew.
    #[serde(default)]
    pub restart_count: u32,
    /// How it is now.
    #[serde(default)]
    pub state: State,
    /// How it was told to run.
    #[serde(default)]
    pub host_config: HostConfig,
}

/// How a container is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct State {
    /// Its first process, as the host numbers it; 0 when it does not run.
    #[serde(default)]
    pub pid: u32,
    /// When it was started, by the host's clock.
    #[serde(default)]
    pub started_at: String,
}

/// How a container was told to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostConfig {
    /// `host`, `container:ID`, or a network of its own.
    #[serde(default)]
    pub network_mode: String,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Actor")]
    actor: Actor,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Deserialize)]
struct Info {
    #[serde(rename = "Name")]
    name: String,
}

impl Engine {
    /// The engine behind this socket.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// All containers, those that do not run too.
    ///
    /// # Errors
    /// When the engine does not answer within three seconds, or nothing that is understood; so for all that it is asked.
    pub async fn list(&self) -> Result<Vec<Listed>, EngineError> {
        self.ask("which containers there are", "/containers/json?all=true").await
    }

    /// What there is to know about one.
    ///
    /// # Errors
    /// As for [`Engine::list`]; also when it is gone.
    pub async fn inspect(&self, id: &str) -> Result<Inspected, EngineError> {
        self.ask(&format!("about container {id}"), &format!("/containers/{id}/json")).await
    }

    /// How often processes of which containers were killed for want of memory, between two moments in milliseconds
    /// since 1970. The engine remembers its last 256 events.
    ///
    /// # Errors
    /// As for [`Engine::list`].
    pub async fn list_kills(&self, since: i64, until: i64) -> Result<BTreeMap<String, u32>, EngineError> {
        let what = "which processes were killed for want of memory";
        let moment = |at: i64| format!("{}.{:03}", at.div_euclid(1_000), at.rem_euclid(1_000));
        // {"event":["oom"],"type":["container"]}
        let filters = "%7B%22event%22%3A%5B%22oom%22%5D%2C%22type%22%3A%5B%22container%22%5D%7D";
        let path = format!("/events?since={}&until={}&filters={filters}", moment(since), moment(until));
        let bytes = self.get(what, &path).await?;
        let mut kills = BTreeMap::new();
        for event in serde_json::Deserializer::from_slice(&bytes).into_iter::<Event>() {
            let event = event.map_err(|source| self.unreadable(what, source))?;
            let count: &mut u32 = kills.entry(event.actor.id).or_default();
            *count = count.saturating_add(1);
        }
        Ok(kills)
    }

    /// What the host is called: a container has a name of its own.
    ///
    /// # Errors
    /// As for [`Engine::list`].
    pub async fn name(&self) -> Result<String, EngineError> {
        Ok(self.ask::<Info>("what its host is called", "/info").await?.name)
    }

    async fn ask<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<T, EngineError> {
        let bytes = self.get(what, path).await?;
        serde_json::from_slice(&bytes).map_err(|source| self.unreadable(what, source))
    }

    async fn get(&self, what: &str, path: &str) -> Result<Bytes, EngineError> {
        let unanswered =
            |source| EngineError::Unanswered { socket: self.socket.clone(), what: what.into(), source };
        let request = Request::get(path).header("host", "localhost").body(Empty::new());
        let request = request.map_err(|error| unanswered(RequestError::Connection(error.to_string())))?;
        send(UnixStream::connect(&self.socket), request, TIME).await.map_err(unanswered)
    }

    fn unreadable(&self, what: &str, source: serde_json::Error) -> EngineError {
        EngineError::Unreadable { socket: self.socket.clone(), what: what.into(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_engines_are_understood() {
        let list: Vec<Listed> = serde_json::from_str(
            r#"[{"Id":"ab","Names":["/chat-user-1"],"Image":"x","Labels":{"a":"b"},"State":"running","Ports":[]},
                {"Id":"cd","Names":null,"Labels":null}]"#,
        )
        .unwrap();
        assert_eq!(list[0].names.as_deref(), Some(&["/chat-user-1".to_owned()][..]));
        assert_eq!(list[1], Listed { id: "cd".into(), ..Listed::default() });
        let one: Inspected = serde_json::from_str(
            r#"{"Id":"ab","RestartCount":3,"State":{"Status":"running","Pid":4242,
                "StartedAt":"2026-11-25T13:09:01.123456789Z"},"HostConfig":{"NetworkMode":"chat_default"}}"#,
        )
        .unwrap();
        assert_eq!((one.restart_count, one.state.pid), (3, 4242));
        assert_eq!(one.host_config.network_mode, "chat_default");
    }
}
