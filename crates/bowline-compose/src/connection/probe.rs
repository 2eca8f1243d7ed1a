//! What one look at a host says: who we are there, where the engine is, whether Compose is.

use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::ChildStdout;
use tokio::sync::watch;

/// Where an engine's socket is unless somebody says otherwise.
pub(super) const SOCKET: &str = "/var/run/docker.sock";

/// Says `key=value` lines, then `ready`, then what takes longer; then waits for the end of its input. It holds no
/// single quote, for it travels inside some.
pub(super) const SCRIPT: &str = r#"
echo "user=$(id -un 2>/dev/null || id -u)"
echo "home=$HOME"
docker=$(command -v docker 2>/dev/null)
echo "docker=$docker"
host=$DOCKER_HOST
if [ -z "$host" ] && [ -n "$docker" ] && { [ -n "$DOCKER_CONTEXT" ] || grep -q currentContext "${DOCKER_CONFIG:-$HOME/.docker}/config.json" 2>/dev/null; }; then
  host=$(docker context inspect --format "{{.Endpoints.docker.Host}}" 2>/dev/null)
fi
if [ -z "$host" ] && [ ! -S /var/run/docker.sock ] && [ -S "${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/docker.sock" ]; then
  host=unix://${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/docker.sock
fi
echo "endpoint=$host"
socket=/var/run/docker.sock
case $host in unix://*) socket=${host#unix://} ;; esac
if [ ! -S "$socket" ]; then echo "access=absent"
elif [ -r "$socket" ] && [ -w "$socket" ]; then echo "access=open"
else echo "access=denied"; fi
echo ready
[ -z "$docker" ] || echo "compose=$(docker compose version --short 2>/dev/null)"
exec cat >/dev/null
"#;

/// Whether the engine's socket can be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Access {
    /// It can.
    Open,
    /// It is there, and closed to this user.
    Denied,
    /// It is not there.
    #[default]
    Absent,
}

/// What the probe found.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) user: String,
    pub(super) home: String,
    pub(super) docker: Option<String>,
    /// The engine's address where it is not the usual one: `unix:///…`, `ssh://…`, `tcp://…`.
    pub(super) endpoint: Option<String>,
    pub(super) access: Access,
    compose: watch::Sender<Option<String>>,
}

impl Facts {
    /// Takes one line in.
    pub(super) fn note(&mut self, line: &str) {
        let Some((key, value)) = line.trim_end().split_once('=') else { return };
        let some = || Some(value.to_owned()).filter(|value| !value.is_empty());
        match key {
            "user" => self.user = value.into(),
            "home" => self.home = value.into(),
            "docker" => self.docker = some(),
            "endpoint" => self.endpoint = some(),
            "access" => {
                self.access = match value {
                    "open" => Access::Open,
                    "denied" => Access::Denied,
                    _ => Access::Absent,
                }
            }
            _ => {}
        }
    }

    /// The engine's socket on the host; `Err` with the endpoint where it is no socket.
    pub(super) fn socket(&self) -> Result<PathBuf, String> {
        match self.endpoint.as_deref() {
            None => Ok(SOCKET.into()),
            Some(endpoint) => match endpoint.strip_prefix("unix://") {
                Some(path) => Ok(path.into()),
                None => Err(endpoint.into()),
            },
        }
    }

    pub(super) fn compose_sender(&self) -> watch::Sender<Option<String>> {
        self.compose.clone()
    }

    /// The version of Compose, once it is known; closed without one when there is none.
    pub(super) fn compose(&self) -> watch::Receiver<Option<String>> {
        self.compose.subscribe()
    }
}

/// The probe's lines, no more of them than a sane host has to say.
pub(super) type Lines = tokio::io::Lines<BufReader<tokio::io::Take<ChildStdout>>>;

/// Reads the probe's lines up to `ready`. `None` when they end before.
pub(super) async fn read_facts(stdout: ChildStdout) -> Option<(Facts, Lines)> {
    let mut lines = BufReader::new(stdout.take(64 << 10)).lines();
    let mut facts = Facts::default();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.trim() == "ready" {
            return Some((facts, lines));
        }
        facts.note(&line);
    }
    None
}

/// Reads what the probe says after `ready`, to its end.
pub(super) async fn read_compose(mut rest: Lines, compose: watch::Sender<Option<String>>) {
    while let Ok(Some(line)) = rest.next_line().await {
        if let Some(version) = line.strip_prefix("compose=") {
            compose.send_replace(Some(version.trim().to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_fits_between_single_quotes() {
        assert!(!SCRIPT.contains('\''));
    }

    #[test]
    fn the_engine_is_where_the_host_says() {
        let mut facts = Facts::default();
        assert_eq!(facts.socket(), Ok(PathBuf::from("/var/run/docker.sock")));
        facts.note("endpoint=unix:///run/user/1000/docker.sock");
        assert_eq!(facts.socket(), Ok(PathBuf::from("/run/user/1000/docker.sock")));
        facts.note("endpoint=tcp://10.0.0.1:2375");
        assert_eq!(facts.socket(), Err("tcp://10.0.0.1:2375".into()));
    }
}
