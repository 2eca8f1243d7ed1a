//! What `init` proposes, as data.

use serde::Serialize;

/// How sure a guess is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sure {
    /// A file says so.
    Certain,
    /// Several signs say so.
    Likely,
    /// It might as well be otherwise.
    Guess,
}

/// A configuration, and how it came to be.
#[derive(Debug, Clone, Serialize)]
pub struct Proposal {
    /// The project's name.
    pub project: String,
    /// Where that came from.
    pub project_from: String,
    /// The command that builds everything.
    pub command: Option<String>,
    /// What the repository builds.
    pub services: Vec<Service>,
    /// Where it runs.
    pub targets: Vec<Target>,
    /// What was seen and is not in the configuration.
    pub left_out: Vec<LeftOut>,
    /// What should be looked at, of the whole.
    pub unsure: Vec<String>,
}

/// A service that the repository seems to build.
#[derive(Debug, Clone, Serialize)]
pub struct Service {
    /// Its name, the compose file's where there is one.
    pub name: String,
    /// The module's directory; `None` when nothing in the repository builds it.
    pub module: Option<String>,
    /// What builds it: `Gradle`, `Maven`, `Cargo`, `Node`, `Docker`.
    pub tool: Option<&'static str>,
    /// How sure it is that this module is this service.
    pub sure: Sure,
    /// What says so.
    pub because: Vec<String>,
    /// What should be looked at.
    pub unsure: Vec<String>,
    /// Globs of the files that it is made from.
    pub inputs: Vec<String>,
    /// A command of its own.
    pub build: Option<String>,
    /// A glob of what the build leaves.
    pub artifact: Option<String>,
    /// The directory that the Dockerfile copies from.
    pub context: Option<String>,
    /// The Dockerfile.
    pub dockerfile: Option<String>,
    /// How compose files and manifests call its image.
    pub images: Vec<String>,
    /// The port in the container.
    pub port: Option<u16>,
    /// How one sees that it works.
    pub health: Option<Health>,
}

/// How one sees that a service works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// A path on its port.
    Http(String),
    /// Its port accepts connections.
    Tcp,
}

/// A target.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Target {
    /// A Docker host.
    Compose {
        /// Its name.
        name: String,
        /// The compose files.
        files: Vec<String>,
        /// The project name that the file sets.
        project: Option<String>,
    },
    /// A cluster.
    Kubernetes {
        /// Its name.
        name: String,
        /// Directories and files of manifests.
        manifests: Vec<String>,
        /// The one namespace that the manifests name.
        namespace: Option<String>,
    },
}

/// Something that was seen and is not in the configuration.
#[derive(Debug, Clone, Serialize)]
pub struct LeftOut {
    /// What.
    pub what: String,
    /// Why not.
    pub why: String,
}
