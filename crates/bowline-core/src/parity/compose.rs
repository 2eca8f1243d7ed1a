//! The services of a Docker host in the words of [`super`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Facets, Mount, Setting, Side};
use crate::compose::model::{InvalidModel, Model, ServiceModel};
use crate::kube::translation::probe::{Probe, of_compose};
use crate::kube::translation::{image_of, unescape};
use crate::reference::Reference;

/// What bowline.toml says of a service of the compose file.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    /// Our service that it runs.
    pub ours: Option<String>,
    /// What is asked to see whether it is healthy, where the compose file has no check.
    pub probe: Option<Probe>,
}

/// Describes a project: what the CLI printed, with the target's overrides laid over it. Paths that begin with the first
/// of `moved` are read as beginning with the second: the checkout's directory, and the project's on the host.
///
/// # Errors
/// When the CLI's JSON has another shape than Compose always writes.
pub fn describe(
    mut config: Value,
    project: &str,
    claims: &BTreeMap<String, Claim>,
    moved: (&str, &str),
) -> Result<Side, InvalidModel> {
    unescape(&mut config);
    let model = Model::parse(config, moved.0, moved.1)?;
    let facets = |(name, service): (&String, &ServiceModel)| {
        let claim = claims.get(name).cloned().unwrap_or_default();
        (name.clone(), of_service(project, name, service, claim))
    };
    Ok(model.services.iter().map(facets).collect())
}

fn of_service(project: &str, name: &str, service: &ServiceModel, claim: Claim) -> Facets {
    let raw = &service.raw;
    let image = image_of(project, name, raw);
    let mut ports = BTreeSet::new();
    let mut outside = BTreeSet::new();
    for port in &service.ports {
        let text = super::cluster::port(u64::from(port.target), &port.protocol);
        let here = matches!(port.address.as_str(), "127.0.0.1" | "::1" | "localhost");
        if !here && port.published.is_some() {
            outside.insert(text.clone());
        }
        ports.insert(text);
    }
    let exposed = raw.get("expose").and_then(Value::as_array).into_iter().flatten();
    ports.extend(exposed.map(|port| {
        let text = port.as_str().map_or_else(|| port.to_string(), str::to_owned);
        text.strip_suffix("/tcp").unwrap_or(&text).to_owned()
    }));
    let env = raw.get("environment").and_then(Value::as_object).into_iter().flatten();
    let env = env.map(|(name, value)| {
        let setting = match value {
            Value::String(text) => Setting::Plain(text.clone()),
            Value::Null => Setting::Hidden("from the shell".into()),
            other => Setting::Plain(other.to_string()),
        };
        (name.clone(), setting)
    });
    let cpus = raw.get("cpus").or_else(|| raw.pointer("/deploy/resources/limits/cpus"));
    let cpus = cpus.and_then(|cpus| cpus.as_f64().or_else(|| cpus.as_str()?.parse().ok()));
    Facets {
        ours: claim.ours,
        names: service.container_name.iter().cloned().collect(),
        image: image.parse::<Reference>().map_or(image, |image| short(&image)),
        command: command(raw.get("entrypoint"), raw.get("command")),
        env: env.collect(),
        more_env: false,
        ports,
        open: true,
        outside,
        mounts: mounts(raw),
        health: of_compose(raw).or(claim.probe),
        memory: service.memory,
        // Thousandths of what Compose takes, which is at most some hundred.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        milli_cpus: cpus.filter(|cpus| *cpus > 0.0).map(|cpus| (cpus * 1000.0).round() as u64),
        replicas: Some(service.replicas),
    }
}

/// An image as people write it, with the tag that counts.
pub(super) fn short(image: &Reference) -> String {
    let tag = image.effective_tag().map(str::to_owned);
    Reference { tag, ..image.clone() }.familiar()
}

/// Entry point and command as one line.
pub(super) fn command(entrypoint: Option<&Value>, command: Option<&Value>) -> Option<String> {
    let words = |value: Option<&Value>| -> Vec<String> {
        let list = value.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (entrypoint, command) = (words(entrypoint), words(command));
    match (entrypoint.is_empty(), command.is_empty()) {
        (true, true) => None,
        (true, false) => Some(format!("… {}", command.join(" "))),
        (false, _) => Some([entrypoint, command].concat().join(" ")),
    }
}

fn mounts(raw: &Value) -> BTreeMap<String, Mount> {
    let mut mounts = BTreeMap::new();
    let list = |key: &str| raw.get(key).and_then(Value::as_array).into_iter().flatten();
    for volume in list("volumes") {
        let text = |key: &str| volume.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mount = match (text("type").as_str(), text("source")) {
            ("bind", source) => Mount::Host(source),
            ("volume", source) if !source.is_empty() => Mount::Kept(source),
            _ => Mount::Scratch,
        };
        mounts.insert(text("target"), mount);
    }
    for path in list("tmpfs").filter_map(Value::as_str) {
        mounts.insert(path.split(':').next().unwrap_or(path).to_owned(), Mount::Scratch);
    }
    for (key, below) in [("configs", "/"), ("secrets", "/run/secrets/")] {
        for used in list(key) {
            let text = |key: &str| used.get(key).and_then(Value::as_str).map(str::to_owned);
            let source = text("source").unwrap_or_default();
            let target = text("target").unwrap_or_else(|| source.clone());
            let target = if target.starts_with('/') { target } else { format!("{below}{target}") };
            let mount = if key == "configs" { Mount::Files(source) } else { Mount::Secret(source) };
            mounts.insert(target, mount);
        }
    }
    mounts
}
