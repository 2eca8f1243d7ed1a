//! `init --kubernetes`: manifests from the compose file of a target, and the target in bowline.toml.

mod configuration;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bowline_core::kube::manifest::read;
use bowline_core::kube::object::Kind;
use bowline_core::kube::translation::name::label;
use bowline_core::kube::translation::probe::Probe;
use bowline_core::kube::translation::{Document, Given, Known, Remark, Translation, image, translate};
use serde::Serialize;

use super::checkout::{self, Interpreted};
use crate::config::{ComposeTarget, Config, FILE, KubernetesTarget, Probe as Asked, Service, Target};
use crate::error::{Attempt, Failure, Outcome};

/// Where manifests go unless the target has a folder already.
const FOLDER: &str = "k8s";

/// What was written.
#[derive(Debug, Serialize)]
pub struct Written {
    /// The target.
    pub target: String,
    /// The compose target that it was made from.
    pub from: String,
    /// The folder of the manifests.
    pub folder: String,
    /// The files that were written.
    pub files: Vec<String>,
    /// The files that were there already, or whose object was.
    pub kept: Vec<String>,
    /// What was guessed, and what is not sure.
    pub remarks: Vec<Remark>,
    /// The variables that a deploy needs for the target's Secrets.
    pub variables: BTreeSet<String>,
    /// Whether bowline.toml has a new target.
    pub configured: bool,
}

/// Translates the compose file of a target (`from`, or the only one) for a cluster, writes what is not there yet, and
/// adds the target to bowline.toml.
///
/// # Errors
/// Kind `Invalid`: no compose target is meant, the name is a Docker host's, or Compose refuses its files.
pub async fn write(directory: &Path, target: &str, from: Option<&str>) -> Outcome<Written> {
    let config = Config::load(directory)?;
    let there = match config.targets.get(target) {
        Some(Target::Compose(_)) => {
            return Err(Failure::invalid(format!("{target} is a Docker host"))
                .hint("give the cluster a name of its own: `bowline init --kubernetes cluster`"));
        }
        Some(Target::Kubernetes(there)) => Some(there),
        None => None,
    };
    let compose = choose(&config, from)?;
    let interpreted = checkout::interpret(&config, compose, false).await?;
    let tracked = checkout::tracked(&config).await?;
    let given = given(&config, compose, target, there, &interpreted, tracked.as_ref())?;
    let mut translation =
        translate(&given).map_err(|error| Failure::failed("reading the compose files").because(&error))?;
    let whole = interpreted.warnings.iter().cloned();
    translation.remarks.extend(whole.map(|text| Remark { service: None, text, unsure: true }));
    translation.remarks.extend(of_all(&config, compose, &translation));
    let folder = there.and_then(|there| folder_of(&config, there)).unwrap_or_else(|| FOLDER.to_owned());
    let text = match there {
        None => Some(configuration::edit(&config, target, &folder, &given.namespace, &translation)?),
        Some(there) => {
            translation.remarks.extend(configuration::missing(there, &translation));
            None
        }
    };
    let (fresh, kept) = choose_documents(&config.directory, &folder, &translation.documents);
    let mut files = Vec::new();
    for (path, document) in fresh {
        let at = config.directory.join(&path);
        let writing = || format!("writing {}", at.display());
        let parent = at.parent().unwrap_or(&config.directory);
        std::fs::create_dir_all(parent).attempt(writing)?;
        std::fs::write(&at, &document.text).attempt(writing)?;
        files.push(path);
    }
    if let Some(text) = &text {
        let at = config.directory.join(FILE);
        std::fs::write(&at, text).attempt(|| format!("writing {}", at.display()))?;
    }
    let sources = translation.secrets.values().flat_map(BTreeMap::values);
    let variables = sources.filter_map(|source| source.strip_prefix("env:")).map(str::to_owned).collect();
    let remarks = translation.remarks;
    let configured = text.is_some();
    Ok(Written {
        target: target.into(),
        from: compose.name.clone(),
        folder,
        files,
        kept,
        remarks,
        variables,
        configured,
    })
}

/// The compose target that is meant.
fn choose<'c>(config: &'c Config, from: Option<&str>) -> Outcome<&'c ComposeTarget> {
    if let Some(from) = from {
        return match config.target(from)? {
            Target::Compose(target) => Ok(target),
            Target::Kubernetes(_) => Err(Failure::invalid(format!("{from} is a Kubernetes cluster"))
                .hint("--from names a target with `compose = …`")),
        };
    }
    let mut targets = config.targets.values().filter_map(|target| match target {
        Target::Compose(target) => Some(target),
        Target::Kubernetes(_) => None,
    });
    match (targets.next(), targets.next()) {
        (Some(only), None) => Ok(only),
        (Some(first), Some(second)) => Err(Failure::invalid("several targets have a compose file")
            .hint(format!("--from says which one: {} or {}", first.name, second.name))),
        (None, _) => Err(Failure::invalid("no target has a compose file to make manifests from")
            .hint("add one to bowline.toml: `[targets.box]` with `compose = \"compose.yaml\"`")),
    }
}

fn given(
    config: &Config,
    compose: &ComposeTarget,
    target: &str,
    there: Option<&KubernetesTarget>,
    interpreted: &Interpreted,
    tracked: Option<&BTreeSet<std::path::PathBuf>>,
) -> Outcome<Given> {
    let mut services = BTreeMap::new();
    let raws = interpreted.config.get("services").and_then(serde_json::Value::as_object);
    for (name, raw) in raws.into_iter().flatten() {
        let ours = checkout::service_of(config, &interpreted.project, name, raw);
        services.insert(name.clone(), known(config, ours, raw));
    }
    let namespace = there.and_then(|there| there.namespace.clone());
    let lying = source::Lying { config, compose, interpreted, tracked };
    Ok(Given {
        config: interpreted.config.clone(),
        project: interpreted.project.clone(),
        target: target.into(),
        namespace: namespace.unwrap_or_else(|| label(&interpreted.project)),
        services,
        sources: lying.sources(),
        origins: lying.origins()?,
    })
}

fn known(config: &Config, ours: Option<&Service>, raw: &serde_json::Value) -> Known {
    let text = |pointer: &str| raw.pointer(pointer).and_then(serde_json::Value::as_str);
    let by_compose = text("/build/context")
        .map(|context| Path::new(context).join(text("/build/dockerfile").unwrap_or("Dockerfile")));
    let by_us = ours.and_then(|ours| {
        let context = ours.context.clone().unwrap_or_default();
        let own = ours.dockerfile.clone().map(|file| config.directory.join(file));
        own.or_else(|| Some(config.directory.join(context).join("Dockerfile")))
    });
    let text = [by_us, by_compose].into_iter().flatten().find_map(|path| std::fs::read_to_string(path).ok());
    let probe = ours.and_then(|ours| ours.health.probe.as_ref()).map(|probe| match probe {
        Asked::Http { path, port } => Probe::Http { path: path.clone(), port: *port, tls: false },
        Asked::Tcp { port } => Probe::Tcp { port: *port },
    });
    let traits = text.map(|text| image::read(&text)).unwrap_or_default();
    Known { probe, port: ours.and_then(|ours| ours.port), traits }
}

/// What there is to say about all of it.
fn of_all(config: &Config, compose: &ComposeTarget, translation: &Translation) -> Vec<Remark> {
    let doubt = |text: String| Remark { service: None, text, unsure: true };
    let mut remarks = Vec::new();
    if !compose.services.is_empty() {
        remarks.push(doubt(format!(
            "what [targets.{}.services] needs differently is that machine's: it was not carried over",
            compose.name
        )));
    }
    for service in config.services.values() {
        let used = translation.images.iter().any(|(name, image)| {
            let claimed = image
                .parse()
                .is_ok_and(|image| config.service_of(&image).is_some_and(|it| it.name == service.name));
            claimed || name == service.name.as_str()
        });
        if !used {
            remarks.push(doubt(format!(
                "no service of the compose file runs {}: nothing was written for it",
                service.name
            )));
        }
    }
    remarks
}

/// The first folder of a target's manifests.
fn folder_of(config: &Config, target: &KubernetesTarget) -> Option<String> {
    let folders = target.manifests.iter().map(|path| path.trim_end_matches('/'));
    folders.into_iter().find(|path| !config.directory.join(path).is_file()).map(str::to_owned)
}

/// What is to be written, and the paths of what is there already: as a file, or as an object in another file.
fn choose_documents<'d>(
    directory: &Path,
    folder: &str,
    documents: &'d [Document],
) -> (Vec<(String, &'d Document)>, Vec<String>) {
    let there = objects_below(directory, folder);
    let (mut fresh, mut kept) = (Vec::new(), Vec::new());
    for document in documents {
        let path = format!("{folder}/{}", document.path);
        if directory.join(&path).exists()
            || there.contains(&(document.id.kind.clone(), document.id.name.clone()))
        {
            kept.push(path);
        } else {
            fresh.push((path, document));
        }
    }
    (fresh, kept)
}

/// The objects that manifests in a folder describe already, as far as they can be read.
fn objects_below(directory: &Path, folder: &str) -> BTreeSet<(Kind, String)> {
    let mut texts = BTreeMap::new();
    let mut open = vec![directory.join(folder)];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                texts.insert(path.to_string_lossy().into_owned(), text);
            }
        }
    }
    let reading = read(&texts, None, |_| None);
    reading.manifests.into_iter().map(|manifest| (manifest.id.kind, manifest.id.name)).collect()
}
