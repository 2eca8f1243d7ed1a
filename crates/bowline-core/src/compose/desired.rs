//! What should be on a Docker host: the compose model, a release's images and the target's wishes, brought together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::compose::model::{Condition, Model, Network, ServiceModel};
use crate::digest::Digest;
use crate::health::{Gate, Test};
use crate::image::ImageId;
use crate::reference::Reference;
use crate::release::{Spec, SpecFile};

/// The file that carries a target's own wishes for services, beside the compose file.
pub const OVERRIDE_FILE: &str = "bowline.override.yaml";

/// What configuration says of a target and of our services.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// The compose project's name.
    pub project: String,
    /// The compose project's directory on the target, absolute.
    pub directory: String,
    /// Our services by name.
    pub services: BTreeMap<String, ServiceWish>,
    /// How long a service may take to come up, unless it says otherwise.
    pub start: Duration,
    /// How often a service may die on the way, unless it says otherwise.
    pub restarts: u32,
    /// How long a service without any check must stay up.
    pub settle: Duration,
}

/// What configuration says of one of our services.
#[derive(Debug, Clone, Default)]
pub struct ServiceWish {
    /// The names by which compose files call its image. None: the compose service of the same name is meant.
    pub images: Vec<Reference>,
    /// The port it listens on.
    pub port: Option<u16>,
    /// A configured probe.
    pub test: Option<Test>,
    /// How long it may take to come up.
    pub start: Option<Duration>,
    /// How often it may die on the way.
    pub restarts: Option<u32>,
}

/// An image to deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployImage {
    /// Of a release: pulled by its manifest's digest where it is missing.
    Released {
        /// Which.
        id: ImageId,
        /// Compressed bytes of its layers, where known.
        size: Option<u64>,
        /// Its compressed layers and their bytes; none where the release did not record them.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        layers: BTreeMap<Digest, u64>,
        /// The name that keeps it on the host for a later rollback.
        keep: String,
        /// Whether it brings a health check of its own.
        #[serde(default)]
        healthcheck: bool,
    },
    /// One that was found on the host when it was adopted.
    Adopted {
        /// The engine's own id.
        id: Digest,
        /// The name that keeps it on the host.
        keep: String,
    },
}

impl DeployImage {
    /// Whether an engine's id means this image.
    pub fn is(&self, engine_id: &Digest) -> bool {
        match self {
            Self::Released { id, .. } => id.is(engine_id),
            Self::Adopted { id, .. } => id == engine_id,
        }
    }

    /// The name that keeps it on the host.
    pub fn keep(&self) -> &str {
        match self {
            Self::Released { keep, .. } | Self::Adopted { keep, .. } => keep,
        }
    }

    /// What goes into a fingerprint: the same on every engine.
    fn key(&self) -> Digest {
        match self {
            Self::Released { id, .. } => id.config,
            Self::Adopted { id, .. } => *id,
        }
    }
}

/// What should be.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The compose project's name.
    pub project: String,
    /// Its directory on the target, absolute.
    pub directory: String,
    /// The services of the compose file, ours and others.
    pub services: BTreeMap<String, DesiredService>,
    /// The files of the project's directory.
    pub files: BTreeMap<String, SpecFile>,
    /// Configured services that no service of the compose file stands for.
    pub unnamed: Vec<String>,
    /// Whether it is the base revision again: then files that somebody had edited are edited again in the end.
    pub back: bool,
}

/// What one service of the compose file should be.
#[derive(Debug, Clone)]
pub struct DesiredService {
    /// Our service whose image it runs.
    pub ours: Option<String>,
    /// That image.
    pub image: Option<DeployImage>,
    /// The full name by which the compose file calls the image.
    pub image_name: String,
    /// Its definition in one digest: equal fingerprints, nothing to replace.
    pub fingerprint: Digest,
    /// What proves that it is up.
    pub gate: Gate,
    /// What the CLI understood.
    pub model: ServiceModel,
}

impl DesiredService {
    /// Whether others wait for its end.
    pub fn is_awaited(&self) -> bool {
        self.gate.test == Test::Completed
    }
}

/// Brings model, images and wishes together. `images` is by our service's name.
pub fn describe(
    model: &Model,
    images: &BTreeMap<String, DeployImage>,
    spec: &Spec,
    override_file: Option<SpecFile>,
    wishes: &Wishes,
) -> Desired {
    let mut files: BTreeMap<String, SpecFile> = spec
        .files
        .iter()
        .filter(|(path, _)| *path != "bowline.toml")
        .map(|(p, f)| (p.clone(), f.clone()))
        .collect();
    files.extend(override_file.map(|file| (OVERRIDE_FILE.to_owned(), file)));
    let awaited = completed_services(model);
    let mut named = BTreeSet::new();
    let mut services = BTreeMap::new();
    for (name, service) in &model.services {
        let ours = claim(name, service, wishes);
        named.extend(ours.clone());
        let image = ours.as_ref().and_then(|ours| images.get(ours)).cloned();
        let image_name = image_name(name, service, wishes);
        let wish = ours.as_ref().and_then(|ours| wishes.services.get(ours));
        let fingerprint = fingerprint(service, image.as_ref(), &image_name, model, &files, &wishes.directory);
        let own_check = matches!(image, Some(DeployImage::Released { healthcheck: true, .. }));
        let gate = gate(service, wish, awaited.contains(name.as_str()), own_check, wishes);
        let desired = DesiredService { ours, image, image_name, fingerprint, gate, model: service.clone() };
        services.insert(name.clone(), desired);
    }
    let unnamed = wishes.services.keys().filter(|name| !named.contains(*name)).cloned().collect();
    let (project, directory) = (wishes.project.clone(), wishes.directory.clone());
    Desired { project, directory, services, files, unnamed, back: false }
}

fn completed_services(model: &Model) -> BTreeSet<&str> {
    let edges = model.services.values().flat_map(|service| &service.depends_on);
    edges.filter(|(_, edge)| edge.condition == Condition::Completed).map(|(on, _)| on.as_str()).collect()
}

/// The full name of a service's image: the written one, else the one that Compose gives to what it builds.
fn image_name(name: &str, service: &ServiceModel, wishes: &Wishes) -> String {
    let written = service.image.clone().unwrap_or_else(|| format!("{}-{name}", wishes.project));
    match written.parse::<Reference>() {
        Ok(mut reference) => {
            reference.tag = reference.effective_tag().map(str::to_owned);
            reference.to_string()
        }
        Err(_) => written,
    }
}

/// Which of our services a compose service runs: one that claims its image's name, else the one of the same name that
/// claims none.
fn claim(name: &str, service: &ServiceModel, wishes: &Wishes) -> Option<String> {
    let called: Option<Reference> = image_name(name, service, wishes).parse().ok();
    let claims = |wish: &ServiceWish| {
        wish.images.iter().any(|claimed| {
            called.as_ref().is_some_and(|called| {
                claimed.repository == called.repository
                    && (claimed.tag.is_none() || claimed.tag == called.tag)
            })
        })
    };
    let by_image = wishes.services.iter().find(|(_, wish)| claims(wish));
    let by_name = || wishes.services.get_key_value(name).filter(|(_, wish)| wish.images.is_empty());
    by_image.or_else(by_name).map(|(ours, _)| ours.clone())
}

fn gate(
    service: &ServiceModel,
    wish: Option<&ServiceWish>,
    awaited: bool,
    own_check: bool,
    wishes: &Wishes,
) -> Gate {
    let probe = wish
        .and_then(|wish| wish.test.clone().or_else(|| wish.port.map(|port| Test::Tcp { port })))
        // Where nothing can be asked, an answer is not waited for.
        .filter(|_| service.network() != Network::Hidden);
    let test = match (awaited, service.healthcheck) {
        (true, _) => Test::Completed,
        (false, Some(true)) => Test::Healthcheck,
        (false, None) if own_check => Test::Healthcheck,
        _ => probe.unwrap_or(Test::Settle { time: wishes.settle }),
    };
    Gate {
        test,
        start: wish.and_then(|wish| wish.start).unwrap_or(wishes.start),
        restarts: wish.and_then(|wish| wish.restarts).unwrap_or(wishes.restarts),
        replicas: service.replicas,
    }
}

/// The digest of all that makes a service's containers what they are.
///
/// Left out is what does not reach the container: `build`, `depends_on`, `profiles`, the number of replicas. Put in is
/// what Compose's own hash leaves out: the image's content and that of the spec's files that are mounted.
fn fingerprint(
    service: &ServiceModel,
    image: Option<&DeployImage>,
    image_name: &str,
    model: &Model,
    files: &BTreeMap<String, SpecFile>,
    directory: &str,
) -> Digest {
    let mut raw = service.raw.clone();
    if let Some(map) = raw.as_object_mut() {
        for key in ["build", "depends_on", "image", "profiles", "pull_policy", "scale"] {
            map.remove(key);
        }
        if let Some(deploy) = map.get_mut("deploy").and_then(Value::as_object_mut) {
            deploy.remove("replicas");
        }
    }
    let mut text = String::from("1\n");
    crate::digest::write_canonical(&raw, &mut text);
    text.push_str(&format!("\n{image_name}\n"));
    text.push_str(&image.map(|image| image.key().to_string()).unwrap_or_default());
    for path in mounted_sources(service, model) {
        let Some(relative) = path.strip_prefix(directory).map(|rest| rest.trim_start_matches('/')) else {
            continue;
        };
        for (file, content) in files {
            let below =
                file.strip_prefix(relative).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            if below || relative.is_empty() {
                text.push_str(&format!("\n{file} {} {}", content.executable, content.digest()));
            }
        }
    }
    Digest::of(text.as_bytes())
}

fn mounted_sources<'a>(service: &'a ServiceModel, model: &'a Model) -> BTreeSet<&'a str> {
    let mut sources: BTreeSet<&str> = service.binds.iter().map(String::as_str).collect();
    for kind in ["configs", "secrets"] {
        for used in service.raw.get(kind).and_then(Value::as_array).into_iter().flatten() {
            let name =
                used.get("source").and_then(Value::as_str).or_else(|| used.as_str()).unwrap_or_default();
            sources.extend(model.file_sources.get(&format!("{kind}/{name}")).map(String::as_str));
        }
    }
    sources
}
