//! What a target is to be brought to: a release's images and configuration, or those of an earlier revision.

use std::collections::{BTreeMap, BTreeSet};

use bowline_compose::project::{Project, ProjectError};
use bowline_core::compose::desired::{DeployImage, Desired, OVERRIDE_FILE, ServiceWish, Wishes, describe};
use bowline_core::compose::model::Model;
use bowline_core::compose::override_file::render;
use bowline_core::health::Test;
use bowline_core::reference::Repository;
use bowline_core::release::{Record, Revision, Spec, SpecFile};
use bowline_core::service::{ServiceName, ServiceOverride};

use super::host::{Host, with_hint};
use super::spec::project_directory;
use crate::config::{ComposeTarget, Probe, Service, Stored, Target};
use crate::error::{Failure, FailureKind, Outcome};

/// What to bring a target to.
#[derive(Debug, Clone)]
pub struct Goal {
    /// The release; none for an adopted state.
    pub release: Option<String>,
    /// The revision that it was, where it goes back to one.
    pub revision: Option<u64>,
    /// The files it is deployed with.
    pub spec: Spec,
    /// Our images by our services' names.
    pub images: BTreeMap<String, DeployImage>,
    /// The verb that asks for it.
    pub verb: String,
    /// Who asks: `user@machine`.
    pub by: String,
}

/// A goal as the host's Compose understands it.
pub struct Prepared {
    /// What should be.
    pub desired: Desired,
    /// What Compose warned of.
    pub warnings: Vec<String>,
    /// Compose there, for the files that will be there.
    pub(super) project: Project,
    /// How many releases stay on the host.
    pub keep: u32,
}

impl Goal {
    /// A release. `keep` is the repository under whose name images are kept on the host.
    pub fn of_release(record: &Record, spec: Spec, keep: &Repository, verb: &str) -> Self {
        let image = |(service, image): (&String, &bowline_core::release::ReleasedImage)| {
            let keep = keep.tagged(&image.tag).to_string();
            let size = (image.size > 0).then_some(image.size);
            let (id, layers, healthcheck) = (image.id.clone(), image.layers.clone(), image.healthcheck);
            (service.clone(), DeployImage::Released { id, size, layers, keep, healthcheck })
        };
        let images = record.images.iter().map(image).collect();
        let release = Some(record.tag.clone());
        Self { release, revision: None, spec, images, verb: verb.into(), by: whoever() }
    }

    /// What an earlier revision had.
    ///
    /// # Errors
    /// When its configuration is no longer on the host.
    pub async fn of_revision(host: &Host, revision: &Revision) -> Outcome<Self> {
        let spec = super::ledger::read_spec(host, revision).await?;
        Ok(Self {
            release: revision.release.clone(),
            revision: Some(revision.number),
            spec,
            images: revision.images.clone(),
            verb: "rollback".into(),
            by: whoever(),
        })
    }

    /// The paths in the project's directory that it writes.
    pub fn paths(&self, target: &ComposeTarget) -> BTreeSet<String> {
        let mut paths: BTreeSet<String> =
            self.spec.below(&project_directory(&target.files)).files.into_keys().collect();
        paths.remove(crate::config::FILE);
        paths.insert(OVERRIDE_FILE.to_owned());
        paths
    }
}

/// Who runs this: `user@machine`.
pub fn whoever() -> String {
    let user = ["GITHUB_ACTOR", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}@{}", user.as_deref().unwrap_or("root"), machine.trim())
}

/// Compose on the host, for the files of a target; with the overrides laid over them where there are any.
///
/// # Errors
/// When a file with variables cannot be read.
pub(super) fn project_of(host: &Host, target: &ComposeTarget, with_overrides: bool) -> Outcome<Project> {
    let below = project_directory(&target.files);
    let relative = |file: &String| match below.as_str() {
        "" => file.clone(),
        below => file
            .strip_prefix(below)
            .map_or_else(|| file.clone(), |rest| rest.trim_start_matches('/').to_owned()),
    };
    let mut files: Vec<String> = target.files.iter().map(relative).collect();
    if with_overrides {
        files.push(OVERRIDE_FILE.to_owned());
    }
    let project = Project::new(&host.connection, &host.directory, &host.project, &files);
    Ok(project.profiles(target.profiles.clone()).env(host.variables.clone()))
}

/// Lets the host's Compose interpret the goal's files, and brings images and wishes in.
///
/// # Errors
/// When Compose refuses the files, or the configuration in the spec is wrong.
pub async fn prepare(host: &Host, today: &ComposeTarget, goal: &Goal) -> Outcome<Prepared> {
    let (then, target) = configured(today, goal)?;
    let spec = goal.spec.below(&project_directory(&target.files));
    let mut files = spec.files.clone();
    files.remove(crate::config::FILE);
    let (mut model, mut warnings) = interpret(host, &project_of(host, &target, false)?, &files).await?;
    let override_file = render(&model, &overrides(&target)).map_err(|error| {
        Failure::invalid(format!("reading [targets.{}.services]", target.name)).because(&error)
    })?;
    if let Some(file) = &override_file {
        files.insert(OVERRIDE_FILE.to_owned(), file.clone());
        (model, warnings) = interpret(host, &project_of(host, &target, true)?, &files).await?;
    }
    let project = project_of(host, &target, override_file.is_some())?;
    warnings.extend(left_out(&then));
    let wishes = wishes(host, &then.services, &target);
    let desired = describe(&model, &goal.images, &spec, override_file, &wishes);
    Ok(Prepared { desired, warnings, project, keep: target.pace.keep })
}

/// What the release's configuration says that this Bowline does not know.
pub(super) fn left_out(stored: &Stored) -> impl Iterator<Item = String> {
    let file = crate::config::FILE;
    stored.unknown.iter().map(move |what| format!("in the release's {file}, {what}: it is left out"))
}

/// What the host's Compose understands of these files.
async fn interpret(
    host: &Host,
    project: &Project,
    files: &BTreeMap<String, SpecFile>,
) -> Outcome<(Model, Vec<String>)> {
    let rendered = project.config_with(files).await.map_err(|error| {
        let kind = match &error {
            ProjectError::Run(_) => FailureKind::Unreachable,
            _ => FailureKind::Invalid,
        };
        let failure = Failure::new(kind, format!("reading the compose files of {}", host.target));
        with_hint(failure.because(&error), error.hint())
    })?;
    let model = Model::parse(rendered.config, &rendered.staged, host.directory.path())
        .map_err(|error| Failure::failed("reading the compose files").because(&error))?;
    let unset = rendered.warnings.unset.iter();
    let unset = unset.map(|name| format!("the compose file uses ${{{name}}}, which is not set: it is empty"));
    let warnings = unset.chain(rendered.warnings.others.iter().cloned()).collect();
    Ok((model, warnings))
}

/// The configuration that the goal was released with; access and place are today's.
fn configured(today: &ComposeTarget, goal: &Goal) -> Outcome<(Stored, ComposeTarget)> {
    let text = goal.spec.text(crate::config::FILE).ok_or_else(|| {
        Failure::failed("the release carries no bowline.toml")
            .hint("release again with this version of Bowline")
    })?;
    let stored = Stored::parse(text, &today.name)?;
    let target = match &stored.target {
        Some(Target::Compose(then)) => ComposeTarget {
            host: today.host.clone(),
            directory: today.directory.clone(),
            project: today.project.clone(),
            ..then.clone()
        },
        // The target is younger than the release.
        _ => today.clone(),
    };
    Ok((stored, target))
}

pub(super) fn overrides(target: &ComposeTarget) -> BTreeMap<String, ServiceOverride> {
    let convert = |wanted: &crate::config::Override| ServiceOverride {
        env: wanted.env.0.clone(),
        memory: wanted.memory,
        cpus: wanted.milli_cpus.map(|milli| f64::from(milli) / 1000.0),
        replicas: wanted.replicas,
        enabled: (!wanted.enabled).then_some(false),
    };
    target.services.iter().map(|(name, wanted)| (name.to_string(), convert(wanted))).collect()
}

fn wishes(host: &Host, services: &BTreeMap<ServiceName, Service>, target: &ComposeTarget) -> Wishes {
    let services = services.values().map(|service| {
        let test = service.health.probe.as_ref().map(|probe| match probe {
            Probe::Http { path, port } => Test::Http { port: *port, path: path.clone() },
            Probe::Tcp { port } => Test::Tcp { port: *port },
        });
        let wish = ServiceWish {
            images: service.images.clone(),
            port: service.port,
            test,
            start: service.health.start,
            restarts: service.health.restarts,
        };
        (service.name.to_string(), wish)
    });
    Wishes {
        project: host.project.clone(),
        directory: host.directory.path().to_owned(),
        services: services.collect(),
        start: target.pace.start,
        restarts: target.pace.restarts,
        settle: target.pace.settle,
    }
}
