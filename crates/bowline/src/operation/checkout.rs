//! A compose target as it lies in the checkout: read by the Compose CLI of this machine, without its host.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bowline_compose::project::{Checkout, ProjectError};
use bowline_core::compose::model::Model;
use bowline_core::compose::override_file::render;
use bowline_core::kube::translation::image_of;
use bowline_core::reference::Reference;
use serde_json::Value;

use super::goal::overrides;
use super::host::{read_variables, with_hint};
use super::spec::project_directory;
use crate::config::{ComposeTarget, Config, Service};
use crate::error::{Attempt, Failure, Outcome};
use crate::git::Git;

/// What Compose understands of a target's files.
pub(super) struct Interpreted {
    /// Its JSON; paths are those of the checkout. It holds secrets.
    pub(super) config: Value,
    /// The compose project's name.
    pub(super) project: String,
    /// The compose project's directory in the checkout, absolute.
    pub(super) directory: PathBuf,
    /// What Compose warned of.
    pub(super) warnings: Vec<String>,
}

/// Lets this machine's Compose read the files of the checkout, with what the target needs differently laid over them if
/// that is wanted.
///
/// # Errors
/// When there is no Compose, or it refuses the files.
pub(super) async fn interpret(
    config: &Config,
    target: &ComposeTarget,
    with_overrides: bool,
) -> Outcome<Interpreted> {
    let below = project_directory(&target.files);
    let directory = config.directory.join(&below);
    let directory =
        std::fs::canonicalize(&directory).attempt(|| format!("looking at {}", directory.display()))?;
    let relative = |file: &String| match Path::new(file).strip_prefix(&below) {
        Ok(rest) => rest.to_string_lossy().into_owned(),
        Err(_) => file.clone(),
    };
    let project = target.project.clone().unwrap_or_else(|| config.project.clone());
    let checkout = Checkout {
        directory: directory.clone(),
        name: project.clone(),
        files: target.files.iter().map(relative).collect(),
        profiles: target.profiles.clone(),
        env: read_variables(config, target)?,
    };
    let read = async |overlay| {
        checkout.config(overlay).await.map_err(|error| {
            let failure =
                Failure::invalid(format!("reading the compose files of {}", target.name)).because(&error);
            match error {
                ProjectError::Missing { .. } => {
                    failure.hint("install the package docker-compose-plugin here; no engine has to run")
                }
                error => with_hint(failure, error.hint()),
            }
        })
    };
    let mut rendered = read(None).await?;
    let wanted = overrides(target);
    if with_overrides && !wanted.is_empty() {
        let model = Model::parse(rendered.config.clone(), "", "")
            .map_err(|error| Failure::failed("reading the compose files").because(&error))?;
        let overlay = render(&model, &wanted).map_err(|error| {
            Failure::invalid(format!("reading [targets.{}.services]", target.name)).because(&error)
        })?;
        if let Some(overlay) = overlay {
            rendered = read(Some(overlay.content)).await?;
        }
    }
    let unset = rendered.warnings.unset.iter();
    let unset =
        unset.map(|name| format!("the compose file uses ${{{name}}}, which is not set here: it is empty"));
    let warnings = unset.chain(rendered.warnings.others.iter().cloned()).collect();
    Ok(Interpreted { config: rendered.config, project, directory, warnings })
}

/// Where the compose project lies on its host: as it is configured, else where such things are put by people. What Bowline
/// takes without configuration is a directory of its own, in which a cluster's node has nothing.
pub(super) fn directory_on_host(target: &ComposeTarget, project: &str) -> String {
    target.directory.clone().unwrap_or_else(|| format!("/srv/{project}"))
}

/// Our service that a service of the compose file runs: the one that claims its image, else the one of its name that
/// claims none.
pub(super) fn service_of<'c>(
    config: &'c Config,
    project: &str,
    name: &str,
    raw: &Value,
) -> Option<&'c Service> {
    let image: Option<Reference> = image_of(project, name, raw).parse().ok();
    let claims = |claimed: &Reference| {
        image.as_ref().is_some_and(|image| {
            claimed.repository == image.repository
                && (claimed.tag.is_none() || claimed.effective_tag() == image.effective_tag())
        })
    };
    let by_image = config.services.values().find(|service| service.images.iter().any(claims));
    by_image.or_else(|| config.services.get(name).filter(|service| service.images.is_empty()))
}

/// The files below the configuration's directory that git tracks; none where it is no git repository.
pub(super) async fn tracked(config: &Config) -> Outcome<Option<BTreeSet<PathBuf>>> {
    match Git::open(&config.directory).await {
        Ok(git) => Ok(Some(super::release::tracked_files(&git, config).await?)),
        Err(_) => Ok(None),
    }
}
