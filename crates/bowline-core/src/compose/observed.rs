//! What a Docker host was found to be: plain values that the adapter fills in.

pub mod port;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::health::{CheckStatus, ProcessState};
use crate::image::Platform;
use crate::journal::Traces;
use crate::release::Revision;

pub use port::HostPort;

/// One look at a target.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The machine.
    pub engine: Engine,
    /// All containers of the compose project.
    pub containers: Vec<Container>,
    /// The containers of others: who holds which name and port.
    pub strangers: Vec<Stranger>,
    /// All images of the engine.
    pub images: Vec<HostImage>,
    /// The digests of the files in the project's directory whose paths were asked for; what is not there is absent.
    pub files: BTreeMap<String, Digest>,
    /// The TCP ports of the host that are listened on, and its UDP ports that are bound, whoever does; empty where that could
    /// not be found out.
    pub listening: BTreeSet<HostPort>,
    /// The newest revision.
    pub revision: Option<Revision>,
    /// What runs that have not ended brought since.
    pub traces: Traces,
}

/// What the machine is and has.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Engine {
    /// `os/arch`; none where the engine does not tell.
    pub platform: Option<Platform>,
    /// Memory of the machine in bytes.
    pub memory: u64,
    /// Processors.
    pub cpus: u32,
    /// Free bytes where images are kept; none where it could not be found out.
    pub disk_free: Option<u64>,
    /// The engine's version.
    pub version: String,
}

/// A container of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// The full id.
    pub id: String,
    /// Its name without the leading slash.
    pub name: String,
    /// Its compose service (label `com.docker.compose.service`).
    pub service: String,
    /// Its number within the service.
    pub number: u32,
    /// Whether it was made by `docker compose run`: not ours to touch.
    pub one_off: bool,
    /// The engine's own id of its image.
    pub image: Digest,
    /// Its process.
    pub state: ProcessState,
    /// The exit code of its last process.
    pub exit_code: i64,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// What the engine says about a failed start.
    pub error: String,
    /// How often the engine restarted it.
    pub restarts: u32,
    /// Its health check's answer, where it has a check.
    pub check: Option<CheckStatus>,
    /// When its process was started: RFC 3339, the engine's clock.
    pub started_at: String,
    /// Compose's own hash of its definition (label `com.docker.compose.config-hash`).
    pub config_hash: String,
    /// The compose project's directory (label `com.docker.compose.project.working_dir`).
    pub working_dir: String,
    /// The compose files it was made from (label `com.docker.compose.project.config_files`).
    pub config_files: Vec<String>,
    /// Host ports it holds.
    pub ports: BTreeSet<HostPort>,
    /// Its addresses in the networks it is attached to.
    pub addresses: Vec<String>,
    /// `no`, `always`, `on-failure`, `unless-stopped`.
    pub restart: String,
}

impl Container {
    /// Whether it does its work, as far as its process tells: running, or, where it is a task, ended well. The engine does
    /// not tell a stop by hand from an end of its own; see [`Placed::task`](crate::release::Placed::task).
    pub fn is_in_place(&self, task: bool) -> bool {
        match self.state {
            ProcessState::Running => self.check != Some(CheckStatus::Unhealthy),
            ProcessState::Exited => task && self.has_ended_well(),
            _ => false,
        }
    }

    /// Whether it has ended with exit code 0 and nothing would have started it again.
    pub fn has_ended_well(&self) -> bool {
        self.state == ProcessState::Exited
            && self.exit_code == 0
            && !matches!(self.restart.as_str(), "always" | "unless-stopped")
    }

    /// Whether it is called as Compose calls a new container until the old one is gone: twelve hex digits of the old
    /// one's id before its name.
    pub fn has_passing_name(&self) -> bool {
        let (head, rest) = self.name.split_at_checked(12).unwrap_or_default();
        rest.starts_with('_') && head.chars().all(|c| c.is_ascii_hexdigit())
    }
}

/// A container that belongs to somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// Its name.
    pub name: String,
    /// Its compose project, where it has one.
    pub project: Option<String>,
    /// Host ports it holds.
    pub ports: BTreeSet<HostPort>,
    /// The engine's id of the image it runs.
    pub image: Option<Digest>,
}

/// An image that the engine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostImage {
    /// The engine's own id: the config's digest on the classic store, the manifest's on the containerd store.
    pub id: Digest,
    /// Its names, in full (`docker.io/library/x:latest`).
    pub names: BTreeSet<String>,
    /// The manifest digests by which it was pulled.
    pub manifests: BTreeSet<Digest>,
    /// The repositories (`registry/name`) from which it was pulled by digest.
    #[serde(default)]
    pub repositories: BTreeSet<String>,
    /// Bytes on disk.
    pub size: u64,
}

impl Observed {
    /// Whether anything of the project runs.
    pub fn runs(&self) -> bool {
        let running = |container: &Container| !container.one_off && container.state == ProcessState::Running;
        self.containers.iter().any(running)
    }

    /// The image that the engine knows by this name.
    pub fn image_named(&self, name: &str) -> Option<&HostImage> {
        self.images.iter().find(|image| image.names.contains(name))
    }

    /// The containers of one service that Compose made for `up`, in the order of their numbers.
    pub fn containers_of(&self, service: &str) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(move |container| container.service == service && !container.one_off)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A running container of the service `users`.
    pub(in crate::compose) fn container(name: &str) -> Container {
        let id = Digest::of(b"image").to_string();
        let container = serde_json::json!({
            "id": "c1", "name": name, "service": "users", "number": 1, "one_off": false, "image": id,
            "state": "running", "exit_code": 0, "oom_killed": false, "error": "", "restarts": 0,
            "started_at": "", "config_hash": "", "working_dir": "", "config_files": [], "ports": [],
            "addresses": [], "restart": "no",
        });
        serde_json::from_value(container).unwrap()
    }

    #[test]
    fn passing_names_are_told_from_names() {
        assert!(container("463d14547851_tiny-users-1").has_passing_name());
        for name in ["tiny-users-1", "463d14547851", "463d1454785g_x", "", "\u{e9}63d14547851_x"] {
            assert!(!container(name).has_passing_name(), "{name}");
        }
    }
}
