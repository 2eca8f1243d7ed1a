//! Where services run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bowline_core::service::ServiceName;

use super::{Command, Secret};

/// A place where services run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A Docker host with a compose project.
    Compose(ComposeTarget),
    /// A Kubernetes cluster with manifests.
    Kubernetes(KubernetesTarget),
}

/// A Docker host with a compose project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeTarget {
    /// The name in the configuration.
    pub name: String,
    /// The compose files, at least one, relative to the configuration's directory.
    pub files: Vec<String>,
    /// Files with variables for them, on the operator's machine.
    pub env_files: Vec<String>,
    /// `ssh://[user@]host[:port]`, checked; `None` is the local engine.
    pub host: Option<String>,
    /// The project's absolute directory on the host. `None`: the configuration's own, or what `adopt` finds.
    pub directory: Option<String>,
    /// The compose project's name. `None`: as compose names it, by its directory.
    pub project: Option<String>,
    /// Profiles to start.
    pub profiles: Vec<String>,
    /// The machines that it has, as written: `3xt2.medium`.
    pub machines: Option<String>,
    /// How long things may take.
    pub pace: Pace,
    /// What is different here, by the compose file's service names.
    pub services: BTreeMap<ServiceName, Override>,
}

/// A Kubernetes cluster with manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesTarget {
    /// The name in the configuration.
    pub name: String,
    /// Files and directories with manifests; at least one, or a command that renders them.
    pub manifests: Vec<String>,
    /// The command whose output is manifests too.
    pub render: Option<Command>,
    /// Valid globs of manifests to leave out.
    pub exclude: Vec<String>,
    /// The context in the kubeconfig. `None`: its current one.
    pub context: Option<String>,
    /// `ssh://[user@]host[:port]` of the control plane, checked: the API is reached through it.
    pub host: Option<String>,
    /// The namespace of manifests that name none.
    pub namespace: Option<String>,
    /// With which Secret nodes pull our images.
    pub pull_secret: PullSecret,
    /// Secrets made from the team's own sources, by their names.
    pub secrets: BTreeMap<String, SecretSource>,
    /// The machines that it has, as written: `3xt2.medium`.
    pub machines: Option<String>,
    /// How long things may take.
    pub pace: Pace,
    /// What is different here, by service.
    pub services: BTreeMap<ServiceName, Override>,
}

/// With which Secret a cluster's nodes pull our images.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PullSecret {
    /// The one that the manifests name, or one of ours.
    #[default]
    Automatic,
    /// None that Bowline writes.
    Never,
    /// One of this name, which Bowline writes whoever made it.
    Named(String),
}

/// A Secret of a cluster, and where its values are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSource {
    /// Its namespace; `None`: the target's.
    pub namespace: Option<String>,
    /// Its type, e.g. `Opaque`.
    pub kind: String,
    /// Where the value of each key is found.
    pub data: BTreeMap<String, Secret>,
}

/// How long things may take on a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long a service may take to become healthy, restarts included.
    pub start: Duration,
    /// How long a service without a health check has to stay up.
    pub settle: Duration,
    /// How often a service may die and be restarted on the way.
    pub restarts: u32,
    /// How many releases stay on the target for rollbacks, the running one included. At least 1.
    pub keep: u32,
}

impl Pace {
    /// The defaults of a cluster: its nodes wait ever longer between restarts, so that the third comes half a minute after
    /// the first start, and the eighth after twenty.
    pub fn of_cluster() -> Self {
        Self { restarts: 3, ..Self::default() }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { start: Duration::from_secs(120), settle: Duration::from_secs(5), restarts: 8, keep: 3 }
    }
}

/// What a target needs differently for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Environment variables, added or replaced.
    pub env: Environment,
    /// The memory limit in bytes, at least 6 MiB, as Docker asks.
    pub memory: Option<u64>,
    /// The processor limit in thousandths of a processor.
    pub milli_cpus: Option<u32>,
    /// How many containers.
    pub replicas: Option<u32>,
    /// Whether it runs here.
    pub enabled: bool,
}

/// Environment variables. Their values do not appear in `Debug`: they can be secrets.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Environment(pub BTreeMap<String, String>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Target {
    /// The name in the configuration.
    pub fn name(&self) -> &str {
        match self {
            Self::Compose(target) => &target.name,
            Self::Kubernetes(target) => &target.name,
        }
    }

    /// The machines that it has, as written.
    pub fn machines(&self) -> Option<&str> {
        match self {
            Self::Compose(target) => target.machines.as_deref(),
            Self::Kubernetes(target) => target.machines.as_deref(),
        }
    }

    /// How long things may take.
    pub fn pace(&self) -> &Pace {
        match self {
            Self::Compose(target) => &target.pace,
            Self::Kubernetes(target) => &target.pace,
        }
    }

    /// What is different here, by service.
    pub fn services(&self) -> &BTreeMap<ServiceName, Override> {
        match self {
            Self::Compose(target) => &target.services,
            Self::Kubernetes(target) => &target.services,
        }
    }
}
