//! The manifests of this checkout, as a release of it would bring them.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::digest::Digest;
use bowline_core::image::{ImageId, Platform};
use bowline_core::kube::image::{OurImage, OurImages};
use bowline_core::placeholder::Placeholders;
use bowline_core::release::Spec;

use super::goal::{Assembled, assemble};
use super::site::Site;
use crate::config::Config;
use crate::error::Outcome;
use crate::git::Git;
use crate::operation::depot::kept_as;
use crate::operation::manifest::{Selection, render};
use crate::operation::release::tracked_files;
use crate::operation::spec;

/// What stands in place of a version where there is none yet.
const NO_VERSION: &str = "0.0.0-unreleased";

/// A checkout as a cluster understands it.
pub(super) struct Checkout {
    /// Its objects. The images of ours are none that exist: whoever uses them puts others in.
    pub(super) assembled: Assembled,
    /// The files that a release would carry.
    pub(super) spec: Spec,
}

/// Reads the checkout.
///
/// # Errors
/// When manifests are missing or wrong, a command that renders them fails, or the cluster does not answer.
pub(super) async fn read(site: &Site, config: &Config) -> Outcome<Checkout> {
    let tracked = match Git::open(&config.directory).await {
        Ok(git) => tracked_files(&git, config).await?,
        Err(_) => BTreeSet::new(),
    };
    let mut collected = spec::collect(config, &tracked)?;
    if site.target.render.is_some() {
        collected.add_rendered(render(config, &Placeholders::new(NO_VERSION)).await?);
    }
    let files: BTreeMap<String, String> = Selection::of(&site.target)?.read(&collected.spec)?;
    let mut assembled = assemble(site, &site.target, &files, &ours(config)).await?;
    assembled.notes.extend(collected.warnings);
    Ok(Checkout { assembled, spec: collected.spec })
}

fn ours(config: &Config) -> OurImages {
    let services = config.services.iter().map(|(name, service)| {
        let nothing = Digest::of(name.as_str().as_bytes());
        let platform = Platform::linux(std::env::consts::ARCH);
        let id = ImageId { manifest: nothing, config: nothing, platform };
        let tag = config.tag.render(name, NO_VERSION);
        (name.clone(), OurImage { claims: service.images.clone(), id, tag })
    });
    OurImages { repository: kept_as(config), template: config.tag.clone(), services: services.collect() }
}
