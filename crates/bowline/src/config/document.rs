//! `bowline.toml` as it is written: serde's types, from which the JSON schema comes too. Their doc comments are what
//! editors show.

use std::collections::BTreeMap;
use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// A value and where it stands, in bytes.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Range<usize>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::deserialize(deserializer)?;
        Ok(Self { span: spanned.span(), value: spanned.into_inner() })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}
impl<T: Eq> Eq for At<T> {}
impl<T: PartialOrd> PartialOrd for At<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.value.partial_cmp(&other.value)
    }
}
impl<T: Ord> Ord for At<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.value.cmp(&other.value)
    }
}

/// One text or a list of them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(super) enum OneOrMany {
    /// One.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl OneOrMany {
    /// As a list.
    pub(super) fn list(&self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::Many(many) => many.clone(),
        }
    }
}

/// A value of an environment variable.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(super) enum Scalar {
    /// `"20"`
    Text(String),
    /// `20`
    Integer(i64),
    /// `true`
    Boolean(bool),
    /// `0.5`
    Number(f64),
}

impl Scalar {
    /// As the environment holds it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Boolean(flag) => flag.to_string(),
            Self::Number(number) => number.to_string(),
        }
    }
}

/// How Bowline builds this repository and where it runs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(title = "bowline.toml")]
pub(super) struct Document {
    /// The repository as a whole.
    pub project: ProjectTable,
    /// How versions are counted.
    pub version: VersionTable,
    /// How artifacts and images are built.
    pub build: BuildTable,
    /// Where images and releases are kept. Absent: the embedded registry.
    pub registry: RegistryTable,
    /// The services that this repository builds, by name.
    pub services: BTreeMap<At<String>, ServiceTable>,
    /// Where they run, by name.
    pub targets: BTreeMap<At<String>, TargetTable>,
    /// Who is told.
    pub notify: NotifyTable,
    /// What machines there are.
    pub capacity: CapacityTable,
}

/// The repository as a whole.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ProjectTable {
    /// The project's name: lower-case letters, digits, `-` and `_`.
    pub name: Option<At<String>>,
}

/// What machines there are.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct CapacityTable {
    /// A file with your own types of machines and their prices, which go before those of Amazon EC2 that Bowline brings.
    pub machines: Option<At<String>>,
    /// What happens when the services of a Docker host need more than it has: by what was measured, else by their limits.
    pub fit: Option<FitName>,
    /// So long after a deploy, of a Docker host that is measured or of a cluster, its summary says what the release changed in CPU
    /// and memory: `5m`. Absent: nothing is waited for.
    pub compare_after: Option<At<String>>,
}

/// What happens when a machine is too small.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum FitName {
    /// It is said.
    Warn,
    /// The deploy is refused.
    Refuse,
    /// Nothing.
    Ignore,
}

/// How versions are counted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct VersionTable {
    /// What merged changes without `[major]`, `[minor]` or `[patch]` in their titles count as.
    pub default_bump: Option<DefaultBumpName>,
}

/// What merged changes without a token in their titles count as.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(super) enum DefaultBumpName {
    /// A patch.
    Patch,
    /// Nothing: there is no release.
    None,
    /// A mistake: the release is refused.
    Error,
}

/// How artifacts and images are built.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct BuildTable {
    /// One command that builds everything, with `{version}` (5.0.2-b321acf) and `{tag}` (v5.0.2-b321acf); both are also
    /// in its environment as BOWLINE_VERSION and BOWLINE_TAG. A list is taken word by word.
    pub command: Option<At<OneOrMany>>,
    /// Whether commands are run by `sh -c`. Versions then come from the environment alone.
    pub shell: Option<bool>,
    /// The image on which images without a Dockerfile are built, for services that name none.
    pub base: Option<At<String>>,
    /// The platform that images are built for, e.g. linux/arm64. Absent: this machine's.
    pub platform: Option<At<String>>,
}

/// Where images and releases are kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RegistryTable {
    /// The one repository that takes every service's images. Absent: the embedded registry.
    pub repository: Option<At<String>>,
    /// Whether it is spoken to over plain HTTP, without encryption: for a registry inside of a network that is trusted.
    pub insecure: Option<bool>,
    /// How a service and a version make an image tag. `{service}_{version}` for what other tools filled.
    pub tag: Option<At<String>>,
}

/// A service that this repository builds.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ServiceTable {
    /// Globs of the files that it is made from. When none of them changed it keeps its image. Absent: always built.
    pub inputs: Option<Vec<At<String>>>,
    /// The command that builds this service, in place of the project's.
    pub build: Option<At<OneOrMany>>,
    /// A glob of the one file (or directory) that the build leaves, with `{version}`, `{tag}` and `{service}`.
    pub artifact: Option<At<String>>,
    /// The directory that the Dockerfile copies from. Absent: the Dockerfile's.
    pub context: Option<At<String>>,
    /// The Dockerfile, read after the build. Absent: the one in the context, else one is made from the artifact.
    pub dockerfile: Option<At<String>>,
    /// The names by which compose files and manifests call its image.
    pub images: Option<Vec<At<String>>>,
    /// The image on which its image is built when it has no Dockerfile.
    pub base: Option<At<String>>,
    /// The platform of its image, e.g. linux/arm64. Absent: the project's.
    pub platform: Option<At<String>>,
    /// The port that it listens on in its container.
    pub port: Option<At<u16>>,
    /// How one sees that it works. Absent: the compose file's health check, else it has to stay up for a while.
    pub health: Option<At<HealthTable>>,
}

/// How one sees that a service works.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct HealthTable {
    /// A path on the service's port that answers with 2xx or 3xx.
    pub http: Option<At<String>>,
    /// `true`: the service's port accepts connections; a number: that port does.
    pub tcp: Option<At<TcpCheck>>,
    /// The port that `http` asks. Absent: the service's.
    pub port: Option<At<u16>>,
    /// How long it may take to become healthy, restarts included. Absent: the target's.
    pub start: Option<At<String>>,
    /// How often it may die and be restarted on the way. Absent: the target's.
    pub restarts: Option<At<u32>>,
}

/// Which port accepts connections.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(super) enum TcpCheck {
    /// The service's.
    Own(bool),
    /// That one.
    Port(u16),
}

/// The Secret with which a cluster's nodes pull.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(super) enum PullSecretSetting {
    /// Whether there is one.
    Wanted(bool),
    /// Its name.
    Name(String),
}

/// A place where services run: a Docker host with a compose file, or a Kubernetes cluster with manifests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct TargetTable {
    /// The compose file, or several that are merged.
    pub compose: Option<At<OneOrMany>>,
    /// Files with variables for the compose file, on the operator's machine.
    pub env_file: Option<At<OneOrMany>>,
    /// The compose project's directory on the host. Absent: ~/.local/share/bowline/PROJECT/TARGET there.
    pub directory: Option<At<String>>,
    /// The compose project's name. Absent: that of this project.
    pub project: Option<At<String>>,
    /// Compose profiles to start.
    pub profiles: Option<Vec<At<String>>>,

    /// The manifests: files or directories.
    pub kubernetes: Option<At<OneOrMany>>,
    /// A command whose output is manifests too, run in the checkout when a release is made: `kustomize build overlays/prod`.
    pub render: Option<At<OneOrMany>>,
    /// Globs of manifests to leave out.
    pub exclude: Option<Vec<At<String>>>,
    /// The context in the kubeconfig.
    pub context: Option<At<String>>,
    /// The namespace of manifests that name none.
    pub namespace: Option<At<String>>,
    /// The Secret with which nodes pull our images: a name, or false for none. Absent: the one that the manifests name, or one
    /// of ours, where there is a login for the registry.
    pub pull_secret: Option<At<PullSecretSetting>>,
    /// Secrets of the cluster that manifests refer to and git does not hold, by name.
    pub secrets: BTreeMap<At<String>, SecretTable>,

    /// `ssh://user@host[:port]`. Absent: the local engine. For a cluster: the control plane, the API is reached through it.
    pub host: Option<At<String>>,
    /// The machines that it has, by type: `t2.medium`, `3xt2.medium`, `2x4cpu:16G`. Absent: what a host says of itself.
    pub machines: Option<At<String>>,
    /// How long a service may take to become healthy, restarts included. Absent: 120s.
    pub start: Option<At<String>>,
    /// How long a service without a health check has to stay up. Absent: 5s.
    pub settle: Option<At<String>>,
    /// How often a service may die and be restarted on the way. Absent: 8, in a cluster 3.
    pub restarts: Option<At<u32>>,
    /// How many releases stay on the target for rollbacks. Absent: 3.
    pub keep: Option<At<u32>>,
    /// What this target needs differently, by service: any service of the compose file or manifests, ours or not.
    pub services: BTreeMap<At<String>, OverrideTable>,
}

/// What a target needs differently for one service.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct OverrideTable {
    /// Environment variables, added or replaced.
    pub env: BTreeMap<At<String>, Scalar>,
    /// The memory limit, e.g. 512M.
    pub memory: Option<At<String>>,
    /// The processor limit, e.g. 0.5.
    pub cpus: Option<At<f64>>,
    /// How many containers.
    pub replicas: Option<At<u32>>,
    /// `false`: it does not run here.
    pub enabled: Option<bool>,
}

/// A Secret that is made from the team's own sources at each deploy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct SecretTable {
    /// Its namespace. Absent: the target's.
    pub namespace: Option<At<String>>,
    /// Its type, e.g. kubernetes.io/tls. Absent: Opaque.
    pub r#type: Option<At<String>>,
    /// Its keys, and where each value is found: `env:NAME`, `file:PATH` or `command:op read op://vault/db/password`.
    pub data: BTreeMap<At<String>, At<String>>,
}

/// Who is told.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct NotifyTable {
    /// One message per release in Slack: a webhook's URL, or a bot's token and a channel (then the message is updated).
    pub slack: Option<At<SlackTable>>,
}

/// A Slack webhook, or a bot and a channel. Secrets are named, not written: `env:NAME` or `file:PATH`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct SlackTable {
    /// The webhook's URL, as `env:NAME` or `file:PATH`.
    pub url: Option<At<String>>,
    /// The bot's token, as `env:NAME` or `file:PATH`.
    pub token: Option<At<String>>,
    /// The channel that the bot writes to.
    pub channel: Option<At<String>>,
}
