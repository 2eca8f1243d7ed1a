//! From a compose file to manifests that a team can read, keep and go on with.
//!
//! The Compose CLI says what the file means; this says the same in a cluster's words, as plainly as it goes: a Deployment
//! for each service, a Service of the same name, so that the names by which they call each other stay. What has no
//! counterpart, and what had to be guessed, is told, and stands as a remark where it matters.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::object::{ObjectId, identify};
use crate::compose::model::{InvalidModel, Model};

mod claim;
mod container;
pub mod environment;
pub mod image;
pub mod name;
mod other;
pub mod probe;
mod service;
mod volume;
mod workload;
pub mod yaml;

use image::Traits;
use name::Names;
use probe::Probe;
use yaml::Node;

/// What is translated.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// What the CLI printed (`docker compose config --format json`).
    pub config: Value,
    /// The compose project's name.
    pub project: String,
    /// The target's name in bowline.toml.
    pub target: String,
    /// The namespace of the objects. The objects do not name it: the target does.
    pub namespace: String,
    /// What is known besides of the services of the file.
    pub services: BTreeMap<String, Known>,
    /// What lies at the paths that services mount and that `configs` are made of.
    pub sources: BTreeMap<String, Source>,
    /// Where values of variables come from, by service and variable.
    pub origins: BTreeMap<(String, String), Origin>,
}

/// What is known of a service of the compose file besides.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// What bowline.toml asks: its `health`.
    pub probe: Option<Probe>,
    /// Its `port` in bowline.toml.
    pub port: Option<u16>,
    /// What its Dockerfile gives away.
    pub traits: Traits,
}

/// What lies at a path that is mounted.
#[derive(Clone)]
pub enum Source {
    /// One small file of the repository.
    File(Content),
    /// Small files of the repository, by their paths in the mounted directory.
    Directory(BTreeMap<String, Content>),
    /// What stays on the host.
    Host {
        /// Its path there.
        path: String,
        /// Whether it is a directory.
        directory: bool,
        /// Why it is not brought along.
        why: &'static str,
    },
}

/// A small file.
#[derive(Clone)]
pub struct Content {
    /// What is in it.
    pub text: String,
    /// Whether it can be run.
    pub executable: bool,
}

/// Where the value of a variable comes from, if it does not stand in the compose file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file that git does not track.
    Untracked(String),
    /// This variable, filled in: all of the value, or a part of it.
    Variable {
        /// Its name.
        name: String,
        /// Whether it is all of the value.
        whole: bool,
    },
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File(_) => "File",
            Self::Directory(_) => "Directory",
            Self::Host { .. } => "Host",
        })
    }
}

/// Manifests, and what there is to say about them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Translation {
    /// The documents, in the order in which one reads them.
    pub documents: Vec<Document>,
    /// The Secrets that the target is to make: by name and key, where each value is found (`env:…`, `file:…`).
    pub secrets: BTreeMap<String, BTreeMap<String, String>>,
    /// What was guessed, and what is not sure.
    pub remarks: Vec<Remark>,
    /// The image of each service, as the manifests name it.
    pub images: BTreeMap<String, String>,
}

/// One object in a file of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Below the folder of manifests: `deployment/users.yaml`.
    pub path: String,
    /// Which object it is. Its namespace is the target's to say.
    pub id: ObjectId,
    /// The YAML.
    pub text: String,
    /// The object.
    pub value: Value,
}

/// Something to say about what was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Remark {
    /// The service of the compose file; none: all of it.
    pub service: Option<String>,
    /// What.
    pub text: String,
    /// Whether somebody has to look at it.
    pub unsure: bool,
}

/// Translates a compose project. Pure.
///
/// # Errors
/// When the CLI's JSON has another shape than Compose always writes.
pub fn translate(given: &Given) -> Result<Translation, InvalidModel> {
    let mut config = given.config.clone();
    unescape(&mut config);
    let model = Model::parse(config.clone(), "", "")?;
    let mut names = Names::default();
    let services: BTreeMap<String, String> =
        model.services.keys().map(|service| (service.clone(), names.take(service))).collect();
    let mut writer = Writer {
        given,
        config,
        model,
        services,
        volumes: BTreeMap::new(),
        configs: BTreeMap::new(),
        config_names: Names::default(),
        sources: BTreeMap::new(),
        written: Translation::default(),
    };
    writer.namespace();
    writer.claims();
    writer.networks();
    writer.services(&mut names);
    for service in writer.model.services.keys().cloned().collect::<Vec<_>>() {
        writer.workload(&service);
    }
    let mut written = writer.written;
    let rank = |document: &Document| {
        let folders = ["namespace", "volume", "config", "service", "deployment", "job"];
        folders.iter().position(|folder| document.path.split('/').next() == Some(folder))
    };
    written.documents.sort_by_key(|document| (rank(document), document.path.clone()));
    let mut seen = BTreeSet::new();
    written.remarks.retain(|remark| seen.insert(remark.clone()));
    Ok(written)
}

/// What Compose prints can be given to it again, and therefore has `$$` for `$`.
pub fn unescape(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("$$") => *text = text.replace("$$", "$"),
        Value::Array(items) => items.iter_mut().for_each(unescape),
        Value::Object(map) => map.values_mut().for_each(unescape),
        _ => {}
    }
}

/// The name of a service's image: the written one, else the one that Compose gives to what it builds.
pub fn image_of(project: &str, name: &str, service: &Value) -> String {
    let written = service.get("image").and_then(Value::as_str);
    written.map_or_else(|| format!("{project}-{name}"), str::to_owned)
}

struct Writer<'g> {
    given: &'g Given,
    config: Value,
    model: Model,
    /// What the services are called in the cluster.
    services: BTreeMap<String, String>,
    /// What named volumes are called there.
    volumes: BTreeMap<String, String>,
    /// What mounted files are called there, by what they are made of.
    configs: BTreeMap<String, String>,
    config_names: Names,
    /// Which value a variable for a secret has, so that no two of them are one.
    sources: BTreeMap<String, String>,
    written: Translation,
}

impl Writer<'_> {
    fn raw(&self, service: &str) -> Value {
        self.model.services.get(service).map(|service| service.raw.clone()).unwrap_or_default()
    }

    fn called(&self, service: &str) -> String {
        self.services.get(service).cloned().unwrap_or_else(|| name::label(service))
    }

    fn known(&self, service: &str) -> Known {
        self.given.services.get(service).cloned().unwrap_or_default()
    }

    fn guess(&mut self, service: Option<&str>, text: impl Into<String>) {
        let service = service.map(str::to_owned);
        self.written.remarks.push(Remark { service, text: text.into(), unsure: false });
    }

    fn doubt(&mut self, service: Option<&str>, text: impl Into<String>) {
        let service = service.map(str::to_owned);
        self.written.remarks.push(Remark { service, text: text.into(), unsure: true });
    }

    /// Adds an object. `tail` stands below it as it is.
    fn add(&mut self, folder: &str, node: &Node, tail: &str) {
        let value = node.value();
        let Some(id) = identify(&value) else { return };
        let text = node.render() + tail;
        self.written.documents.push(Document { path: format!("{folder}/{}.yaml", id.name), id, text, value });
    }

    fn namespace(&mut self) {
        let name = self.given.namespace.clone();
        let mut node = Node::object("v1", "Namespace", &name);
        node.remark(
            "The other manifests name no namespace: `namespace` of the target in bowline.toml puts them here.",
        );
        self.add("namespace", &node, "");
    }

    /// In a cluster everybody reaches everybody.
    fn networks(&mut self) {
        let networks = self.config.get("networks").and_then(Value::as_object);
        let names: Vec<String> = networks.into_iter().flatten().map(|(name, _)| name.clone()).collect();
        if names.len() > 1 {
            self.doubt(
                None,
                format!(
                    "the networks {} kept services apart; in the cluster all reach each other, unless you add NetworkPolicies",
                    names.join(", ")
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests;
