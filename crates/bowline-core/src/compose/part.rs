//! Deploying some services of a compose file and leaving all others as they are (`--service`).
//!
//! A revision is one compose file and one image of each of our services: a return to it deploys just that. So a part can be
//! deployed only where the release defines all other services as they run: otherwise nothing on the host, nor the way
//! back, could say what they were made from.

use std::collections::{BTreeMap, BTreeSet};

use crate::compose::desired::{DeployImage, Desired};
use crate::compose::preflight::Finding;
use crate::release::Revision;

/// The release's images for what the services of `only` run, and the base revision's for everything else.
pub fn mix(
    desired: &Desired,
    release: &BTreeMap<String, DeployImage>,
    base: &BTreeMap<String, DeployImage>,
    only: &BTreeSet<String>,
) -> BTreeMap<String, DeployImage> {
    let mut images = base.clone();
    for ours in only.iter().filter_map(|name| desired.services.get(name)?.ours.as_ref()) {
        images.extend(release.get(ours).map(|image| (ours.clone(), image.clone())));
    }
    images
}

/// The services besides `only` that would not stay as the base revision has them. `desired` is made of the images that
/// [`mix`] gives.
pub fn check(desired: &Desired, base: &Revision, only: &BTreeSet<String>) -> Vec<Finding> {
    let names: BTreeSet<&String> = desired.services.keys().chain(base.services.keys()).collect();
    let others = names.into_iter().filter(|name| !only.contains(*name));
    others.filter_map(|name| compare(desired, base, name)).collect()
}

fn compare(desired: &Desired, base: &Revision, name: &str) -> Option<Finding> {
    let (wanted, placed) = (desired.services.get(name), base.services.get(name));
    let count = placed.map_or(0, |placed| placed.containers.len());
    let replicas = wanted.map_or(0, |wanted| wanted.model.replicas);
    let text = match (wanted, placed) {
        (None, Some(_)) => "this release no longer has it".to_owned(),
        (Some(_), None) if replicas > 0 => "it does not run yet".to_owned(),
        (Some(_), Some(_)) if usize::try_from(replicas) != Ok(count) => {
            format!("{count} containers of it run, this release wants {replicas}")
        }
        (Some(wanted), Some(placed)) if replicas > 0 && wanted.fingerprint != placed.fingerprint => {
            "this release changes it too: its definition, or an image or a file that it shares".to_owned()
        }
        _ => return None,
    };
    let remedy = match wanted {
        Some(_) => format!("name it too (`--service {name}`), or deploy the whole release"),
        None => "deploy the whole release".to_owned(),
    };
    Some(Finding { subject: name.to_owned(), text, remedy })
}
