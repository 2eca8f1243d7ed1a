//! A service that the repository builds.

use std::time::Duration;

use bowline_core::image::Platform;
use bowline_core::reference::Reference;
use bowline_core::service::ServiceName;

use super::Command;

/// A service that the repository builds. Paths are relative to the configuration's directory and stay inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name: in tags, in outputs, and in the compose file unless `images` leads elsewhere.
    pub name: ServiceName,
    /// Valid globs (`*` stops at slashes) of the files it is made from. Empty: nobody knows, it is always built.
    pub inputs: Vec<String>,
    /// The command that builds it, in place of the project's.
    pub command: Option<Command>,
    /// A valid glob of what the build leaves, with placeholders.
    pub artifact: Option<String>,
    /// The directory that its Dockerfile copies from.
    pub context: Option<String>,
    /// Its Dockerfile.
    pub dockerfile: Option<String>,
    /// The names by which compose files and manifests call its image. No other service has one of them.
    pub images: Vec<Reference>,
    /// What a made Dockerfile starts from: its own, else the project's.
    pub base: Option<Reference>,
    /// What its image is built for: its own, else the project's. `None`: this machine's.
    pub platform: Option<Platform>,
    /// The port it listens on in its container.
    pub port: Option<u16>,
    /// How one sees that it works.
    pub health: Health,
}

/// How one sees that a service works. What is `None` is the target's to say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// What is asked. `None`: the compose file's health check, else it has to settle.
    pub probe: Option<Probe>,
    /// How long it may take to become healthy, restarts included.
    pub start: Option<Duration>,
    /// How often it may die and be restarted on the way.
    pub restarts: Option<u32>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A GET that answers with 2xx or 3xx.
    Http {
        /// Starts with a slash.
        path: String,
        /// The port in the container.
        port: u16,
    },
    /// A connection that is accepted.
    Tcp {
        /// The port in the container.
        port: u16,
    },
}
