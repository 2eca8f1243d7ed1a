//! `diff ONE OTHER`: where two targets of a repository differ, by the files of the checkout alone.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::kube::adjustment::{Containers, adjust};
use bowline_core::kube::manifest::read;
use bowline_core::kube::object::Manifest;
use bowline_core::kube::translation::probe::Probe;
use bowline_core::kube::workload::{containers, pod_spec};
use bowline_core::parity::{Difference, Side, cluster, compare as differences, compose};
use bowline_core::placeholder::Placeholders;
use bowline_core::reference::Reference;
use bowline_core::service::ServiceName;
use serde::Serialize;
use serde_json::Value;

use super::checkout;
use super::cluster::goal::wishes;
use super::manifest::{Selection, render, rendered_file};
use crate::config::{ComposeTarget, Config, KubernetesTarget, Probe as Asked, Service, Target};
use crate::error::{Attempt, Failure, Outcome};

/// What a command that renders manifests gets for a version: none was released.
const NO_VERSION: &str = "0.0.0-checkout";

/// Where two targets differ.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The first target.
    pub one: String,
    /// The second.
    pub other: String,
    /// The differences, by service.
    pub differences: Vec<Difference>,
    /// What could not be read as it looks.
    pub warnings: Vec<String>,
}

/// Compares two targets. Neither is asked; what each needs differently is worked in.
///
/// # Errors
/// Kind `Invalid`: there is no such target, or its files cannot be read.
pub async fn compare(config: &Config, one: &str, other: &str) -> Outcome<Report> {
    let mut warnings = Vec::new();
    let first = describe(config, config.target(one)?, &mut warnings).await?;
    let second = describe(config, config.target(other)?, &mut warnings).await?;
    Ok(Report { one: one.into(), other: other.into(), differences: differences(&first, &second), warnings })
}

async fn describe(config: &Config, target: &Target, warnings: &mut Vec<String>) -> Outcome<Side> {
    match target {
        Target::Compose(target) => of_host(config, target, warnings).await,
        Target::Kubernetes(target) => of_cluster(config, target, warnings).await,
    }
}

async fn of_host(config: &Config, target: &ComposeTarget, warnings: &mut Vec<String>) -> Outcome<Side> {
    let interpreted = checkout::interpret(config, target, true).await?;
    warnings.extend(interpreted.warnings.iter().map(|warning| format!("{}: {warning}", target.name)));
    let mut claims = BTreeMap::new();
    let services = interpreted.config.get("services").and_then(Value::as_object);
    for (name, raw) in services.into_iter().flatten() {
        let Some(ours) = checkout::service_of(config, &interpreted.project, name, raw) else { continue };
        let probe = ours.health.probe.as_ref().map(|probe| match probe {
            Asked::Http { path, port } => Probe::Http { path: path.clone(), port: *port, tls: false },
            Asked::Tcp { port } => Probe::Tcp { port: *port },
        });
        let probe = probe.or(ours.port.map(|port| Probe::Tcp { port }));
        claims.insert(name.clone(), compose::Claim { ours: Some(ours.name.to_string()), probe });
    }
    let here = interpreted.directory.to_string_lossy().into_owned();
    let there = checkout::directory_on_host(target, &interpreted.project);
    compose::describe(interpreted.config, &interpreted.project, &claims, (here.as_str(), there.as_str()))
        .map_err(|error| Failure::failed("reading the compose files").because(&error))
}

async fn of_cluster(config: &Config, target: &KubernetesTarget, warnings: &mut Vec<String>) -> Outcome<Side> {
    let mut files = texts(config, target)?;
    if target.render.is_some() {
        let rendered = render(config, &Placeholders::new(NO_VERSION)).await?;
        let own = rendered.into_iter().filter(|(name, _)| *name == target.name);
        files.extend(own.map(|(name, text)| (rendered_file(&name), text)));
    }
    let reading = read(&files, target.namespace.as_deref(), |_| None);
    if !reading.problems.is_empty() {
        return Err(Failure::invalid(format!("reading the manifests of {}", target.name))
            .detail(reading.problems.iter().map(ToString::to_string)));
    }
    warnings.extend(reading.warnings.iter().map(|warning| format!("{}: {warning}", target.name)));
    let mut manifests = reading.manifests;
    work_in(config, target, &mut manifests)?;
    let secrets: BTreeMap<String, BTreeSet<String>> = target
        .secrets
        .iter()
        .map(|(name, source)| (name.clone(), source.data.keys().cloned().collect()))
        .collect();
    Ok(cluster::describe(&manifests, &secrets, |image| {
        ours(config, image).map(|service| service.name.to_string())
    }))
}

/// The manifests of a target as they lie in the checkout.
fn texts(config: &Config, target: &KubernetesTarget) -> Outcome<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for path in Selection::of(target)?.find(&config.directory) {
        let at = config.directory.join(&path);
        let text =
            std::fs::read_to_string(&at).attempt(|| format!("reading the manifest {}", at.display()))?;
        texts.insert(path.to_string_lossy().into_owned(), text);
    }
    Ok(texts)
}

/// Our service whose image it is: by the names that it claims, or by its tag in the project's repository.
fn ours<'c>(config: &'c Config, image: &Reference) -> Option<&'c Service> {
    let by_tag = || {
        let tag = image.tag.as_deref().filter(|_| Some(&image.repository) == config.repository.as_ref())?;
        let name = match config.tag.parse(tag) {
            Some((name, _)) => name,
            None => tag.rsplit_once('_')?.0.parse::<ServiceName>().ok()?,
        };
        config.services.get(name.as_str())
    };
    config.service_of(image).or_else(by_tag)
}

fn work_in(config: &Config, target: &KubernetesTarget, manifests: &mut [Manifest]) -> Outcome<()> {
    for (service, wanted) in &target.services {
        let mut places = Containers::new();
        for manifest in manifests.iter() {
            let Some(spec) = pod_spec(&manifest.id.kind, &manifest.value) else { continue };
            for container in containers(spec) {
                let text = |key: &str| container.get(key).and_then(Value::as_str).unwrap_or_default();
                let image: Option<Reference> = text("image").parse().ok();
                if image.and_then(|image| ours(config, &image)).is_some_and(|ours| ours.name == *service) {
                    places.entry(manifest.id.clone()).or_default().insert(text("name").to_owned());
                }
            }
        }
        adjust(manifests, service.as_str(), &places, &wishes(wanted)).map_err(|error| {
            Failure::invalid(format!("reading [targets.{}.services.{service}]", target.name)).because(&error)
        })?;
    }
    Ok(())
}
