//! Image configs, with the fields that BuildKit keeps (image-spec `config.md` and Docker's additions
//! `Healthcheck`, `OnBuild`, `Shell`, `ArgsEscaped`).

use std::collections::BTreeMap;

use bowline_core::digest::Digest;
use bowline_core::image::Platform;
use serde::{Deserialize, Serialize};

/// When every image says it was made: content, not the clock, decides what an image is.
pub const EPOCH: &str = "1970-01-01T00:00:00Z";

/// The `PATH` of an image whose base has none (BuildKit's and the classic builder's default for Linux).
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A JSON object used as a set: `{"80/tcp": {}}`.
pub type Set = BTreeMap<String, BTreeMap<String, String>>;

/// An image's config document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// `GOARCH`.
    pub architecture: String,
    /// `GOOS`.
    pub os: String,
    /// The CPU variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// How containers of it run.
    #[serde(default)]
    pub config: RunConfig,
    /// The uncompressed layers.
    pub rootfs: RootFs,
    /// How it came to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<History>>,
}

/// How containers of an image run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `user[:group]`, as written.
    #[serde(skip_serializing_if = "is_blank")]
    pub user: Option<String>,
    /// Ports, as `80/tcp`.
    #[serde(skip_serializing_if = "is_void")]
    pub exposed_ports: Option<Set>,
    /// `NAME=value`, in order.
    #[serde(skip_serializing_if = "is_empty")]
    pub env: Option<Vec<String>>,
    /// The program.
    #[serde(skip_serializing_if = "is_empty")]
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments, or the program where there is no entrypoint.
    #[serde(skip_serializing_if = "is_empty")]
    pub cmd: Option<Vec<String>>,
    /// Mount points.
    #[serde(skip_serializing_if = "is_void")]
    pub volumes: Option<Set>,
    /// Where the program starts.
    #[serde(skip_serializing_if = "is_blank")]
    pub working_dir: Option<String>,
    /// Labels.
    #[serde(skip_serializing_if = "is_void")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that stops it.
    #[serde(skip_serializing_if = "is_blank")]
    pub stop_signal: Option<String>,
    /// A leftover of Windows that BuildKit sets with every `CMD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args_escaped: Option<bool>,
    /// How to ask it whether it is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for images made from this one.
    #[serde(skip_serializing_if = "is_empty")]
    pub on_build: Option<Vec<String>>,
    /// What the shell forms are run with.
    #[serde(skip_serializing_if = "is_empty")]
    pub shell: Option<Vec<String>>,
}

/// A health check as engines read it; times in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// Time between checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<u64>,
    /// How long one may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// How long failures do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_period: Option<u64>,
    /// Time between checks in the start period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<u64>,
    /// How many failures in a row make it unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u64>,
}

/// The uncompressed layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layers.
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

/// One line of an image's history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When; only in what a base brought along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which instruction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// By which tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_layer: Option<bool>,
}

fn is_blank(text: &Option<String>) -> bool {
    text.as_ref().is_none_or(String::is_empty)
}

fn is_empty<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

fn is_void<V>(map: &Option<BTreeMap<String, V>>) -> bool {
    map.as_ref().is_none_or(BTreeMap::is_empty)
}

impl ImageConfig {
    /// The config that `FROM scratch` starts with: the default `PATH`, and `/` as the working directory.
    pub fn scratch(platform: &Platform) -> Self {
        Self {
            created: None,
            author: None,
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            config: RunConfig { working_dir: Some("/".into()), ..RunConfig::default() },
            rootfs: RootFs { kind: "layers".into(), diff_ids: Vec::new() },
            history: Some(Vec::new()),
        }
    }

    /// Where the image runs.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone().filter(|variant| !variant.is_empty()),
        }
    }
}

impl RunConfig {
    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let entry = |line: &'_ String| line.split_once('=').is_some_and(|(key, _)| key == name);
        self.env
            .as_ref()?
            .iter()
            .find(|line| entry(line))
            .and_then(|line| line.split_once('='))
            .map(|(_, value)| value)
    }

    /// Sets an environment variable: in place where it exists, else at the end.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        let line = format!("{name}={value}");
        let env = self.env.get_or_insert_default();
        match env.iter_mut().find(|line| line.split_once('=').map_or(line.as_str(), |(key, _)| key) == name) {
            Some(old) => *old = line,
            None => env.push(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_keeps_its_place_when_it_changes() {
        let mut config = RunConfig::default();
        for (name, value) in [("A", "1"), ("B", "2"), ("A", "3")] {
            config.set_variable(name, value);
        }
        assert_eq!(config.env, Some(vec!["A=3".into(), "B=2".into()]));
        assert_eq!(config.variable("A"), Some("3"));
    }

    #[test]
    fn what_docker_writes_as_null_is_read() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Cmd":null,"Volumes":null,"Hostname":"x"},
            "rootfs":{"type":"layers","diff_ids":[]},"container":"y"}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.config, RunConfig::default());
    }
}
