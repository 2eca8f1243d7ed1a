//! Which release is meant: by a version as people write it, or the newest that is complete.

use std::collections::BTreeMap;

use bowline_core::image::Platform;
use bowline_core::placeholder::Placeholders;
use bowline_core::release::{FORMAT, Milestone, Record, ReleasedImage, release_before};
use bowline_oci::list::list;
use bowline_oci::pull::pull;

use super::archive::{self, Release};
use super::depot::Depot;
use super::host::with_hint;
use super::release::has_healthcheck;
use super::release::tracked_files;
use super::{manifest, spec};
use crate::build::image::open_cache;
use crate::clock;
use crate::config::Config;
use crate::error::{Failure, Outcome};
use crate::git::Git;

/// How many tags that could be releases are looked up, where images of other tools are among them.
const LOOKED_UP: usize = 50;

/// Finds the release of this version, or the newest. Versions are compared whole: `5.0.2` never means `5.0.21`. The
/// target's platform is asked for only where the images of another tool are chosen by it.
///
/// # Errors
/// When there is none, or the version is no version, or means several.
pub async fn find(
    depot: &Depot,
    config: &Config,
    version: Option<&str>,
    platform: impl Future<Output = Outcome<Option<Platform>>>,
) -> Outcome<Release> {
    let releases = archive::releases(depot).await?;
    let Some(version) = version else {
        for tag in releases.iter().take(LOOKED_UP) {
            if let Some(release) = archive::look_up(depot, tag).await? {
                return Ok(release);
            }
        }
        return Err(none(depot));
    };
    let mut found = Vec::new();
    for tag in releases.iter().filter(|tag| names(&tag.to_string(), version)).take(LOOKED_UP) {
        found.extend(archive::look_up(depot, tag).await?);
    }
    match found.len() {
        0 => foreign(depot, config, version, platform).await,
        1 => found.pop().ok_or_else(|| none(depot)),
        _ => {
            let names: Vec<&str> = found.iter().map(|release| release.record.tag.as_str()).collect();
            Err(Failure::invalid(format!("`{version}` means several releases"))
                .hint(format!("name one of them: {}", names.join(", "))))
        }
    }
}

/// The number of the revision that `rollback` leads to, of those that the target knows, in their order: the last one of
/// the release that is named; else, after a run that was `interrupted`, the newest, from which that began; else the
/// release before.
pub fn revision_back(history: &[Milestone<'_>], interrupted: bool, version: Option<&str>) -> Option<u64> {
    let Some(version) = version else {
        return if interrupted { Some(history.last()?.number) } else { release_before(history) };
    };
    let named = |there: &&Milestone<'_>| there.release.is_some_and(|release| names(release, version));
    history.iter().rev().find(named).map(|there| there.number)
}

/// Whether a version as people write it means this release, by its name alone: `v5.0.2-b321acf`, `5.0.2-b321acf`, `v5.0.2`
/// and `5.0.2` all mean `v5.0.2-b321acf`.
fn names(release: &str, version: &str) -> bool {
    let (release, wanted) = (bare(release), bare(version));
    release == wanted || release.split('-').next() == Some(wanted)
}

fn bare(version: &str) -> &str {
    version.strip_prefix('v').unwrap_or(version)
}

fn none(depot: &Depot) -> Failure {
    Failure::invalid(format!("there is no complete release in {}", depot.place())).hint(
        "`bowline release` makes one; a run that was cut off is taken up by running it again on its commit",
    )
}

/// A version that another tool pushed: images by the configured tags, and the configuration of this checkout.
async fn foreign(
    depot: &Depot,
    config: &Config,
    version: &str,
    platform: impl Future<Output = Outcome<Option<Platform>>>,
) -> Outcome<Release> {
    let listing = list(&depot.client, &depot.repository).await.map_err(|error| {
        let failure = Failure::failed(format!("listing the images in {}", depot.place())).because(&error);
        with_hint(failure, error.hint())
    })?;
    let wanted = bare(version);
    let tags: BTreeMap<String, String> =
        config.services.keys().map(|name| (name.to_string(), config.tag.render(name, wanted))).collect();
    let exists = |tag: &str| {
        tag.rsplit_once('_').is_some_and(|(service, rest)| {
            listing.images.get(rest).is_some_and(|services| services.contains(service))
        })
    };
    let (there, missing): (Vec<_>, Vec<_>) = tags.iter().partition(|(_, tag)| exists(tag));
    if there.is_empty() {
        let mut known = Vec::new();
        for tag in archive::releases(depot).await?.iter().take(5) {
            known.extend(archive::look_up(depot, tag).await?.map(|release| release.record.tag));
        }
        let failure = Failure::invalid(format!("there is no release `{version}` in {}", depot.place()));
        return Err(match known.is_empty() {
            true => failure.hint("`bowline release` makes one"),
            false => failure.hint(format!("the newest are {}", known.join(", "))),
        });
    }
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.iter().map(|(_, tag)| tag.as_str()).collect();
        return Err(Failure::invalid(format!("version `{version}` is not complete in {}", depot.place()))
            .since(format!("these images are missing: {}", missing.join(", ")))
            .hint("push them, or choose another version; nothing was touched"));
    }
    let platform = platform.await?.unwrap_or_else(|| Platform::linux(std::env::consts::ARCH));
    let store = open_cache()?;
    let mut images = BTreeMap::new();
    for (service, tag) in there {
        let reference = depot.repository.tagged(tag);
        let pulled = pull(&depot.client, &store, &reference, &platform).await.map_err(|error| {
            with_hint(Failure::failed(format!("reading {reference}")).because(&error), error.hint())
        })?;
        let image = ReleasedImage {
            id: pulled.image.id.clone(),
            tag: tag.clone(),
            changed: true,
            built_in: version.to_owned(),
            definition: None,
            healthcheck: has_healthcheck(&store, &pulled.image.id),
            size: pulled.image.layers.iter().map(|layer| layer.size).sum(),
            layers: pulled.image.layers.iter().map(|layer| (layer.digest, layer.size)).collect(),
        };
        images.insert(service.clone(), image);
    }
    // Outside of a repository nothing is known to be tracked: the compose files alone travel.
    let tracked = match Git::open(&config.directory).await {
        Ok(git) => tracked_files(&git, config).await?,
        Err(_) => Default::default(),
    };
    let mut collected = spec::collect(config, &tracked)?;
    collected.add_rendered(manifest::render(config, &Placeholders::new(wanted)).await?);
    let record = Record {
        format: FORMAT,
        project: config.project.clone(),
        tag: format!("v{wanted}"),
        version: wanted.to_owned(),
        commit: String::new(),
        previous: None,
        images,
        spec: collected.spec.digest(),
        created: clock::now(),
        changes: Vec::new(),
    };
    Ok(Release { record, spec: collected.spec })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_leads_to_what_is_named_to_where_it_began_or_to_the_release_before() {
        let milestone = |(number, release)| Milestone { number, release: Some(release), verb: "ship" };
        let history = [(1, "v1.0.0-a"), (2, "v1.0.1-b"), (3, "v1.0.0-a"), (4, "v1.0.2-c")].map(milestone);
        for (interrupted, version, expected) in [
            (false, None, Some(3)),
            (true, None, Some(4)),
            (false, Some("1.0.0"), Some(3)),
            (true, Some("v1.0.1"), Some(2)),
            (false, Some("1.0"), None),
        ] {
            assert_eq!(revision_back(&history, interrupted, version), expected, "{interrupted} {version:?}");
        }
        assert_eq!(revision_back(&[], true, None), None);
    }

    #[test]
    fn versions_are_compared_whole() {
        let tag = "v5.0.2-b321acf";
        for version in ["v5.0.2-b321acf", "5.0.2-b321acf", "v5.0.2", "5.0.2"] {
            assert!(names(tag, version), "{version}");
        }
        for version in ["5.0.21", "5.0", "v5.0.2-b321ac", "0.2", ""] {
            assert!(!names(tag, version), "{version}");
        }
    }
}
