//! `prune --registry`: old releases that no target runs or may go back to.

use std::collections::BTreeSet;

use bowline_core::digest::Digest;
use bowline_core::release::Record;
use bowline_core::tag::Tag;
use bowline_oci::registry::RegistryError;
use serde::Serialize;

use crate::config::{Config, Target};
use crate::error::{Failure, Outcome};
use crate::operation::archive;
use crate::operation::cluster::Site;
use crate::operation::depot::Depot;
use crate::operation::host::{Host, with_hint};

/// Releases that can go.
#[derive(Debug, Default)]
pub struct Superfluous {
    /// Their records, oldest first.
    pub releases: Vec<Record>,
    /// Manifests that other tags name: they stay, whatever goes.
    shared: BTreeSet<Digest>,
    /// What was left out, and why.
    pub warnings: Vec<String>,
}

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// Releases.
    pub releases: usize,
    /// Image manifests.
    pub images: usize,
    /// Tags that still name an image of a release that stays, because the registry cannot delete single tags.
    pub tags_left: usize,
}

/// The releases that targets run or may go back to.
#[derive(Debug, Default)]
pub struct InUse {
    /// Their tags.
    pub releases: BTreeSet<String>,
    /// Targets that could not be asked, and why.
    pub unreachable: Vec<(String, Failure)>,
}

/// Asks every target of the configuration what it runs and may go back to.
pub async fn observe_targets(config: &Config) -> InUse {
    let mut in_use = InUse::default();
    for target in config.targets.values() {
        let target = match target {
            Target::Compose(target) => target,
            Target::Kubernetes(target) => {
                let asked = async { Site::connect(config, target).await?.state().await };
                match asked.await {
                    Err(failure) => in_use.unreachable.push((target.name.clone(), failure)),
                    Ok(state) => {
                        // A cluster forgets revisions by their number: all that are there can be gone back to.
                        in_use.releases.extend(state.revisions.into_values().filter_map(|one| one.release));
                        in_use.releases.extend(state.intents.into_iter().filter_map(|intent| intent.to));
                    }
                }
                continue;
            }
        };
        let asked = async {
            let host = Host::connect(config, target).await?;
            host.documents.state().await.map_err(|error| {
                host.explain("reading what was deployed to", &error, error.is_unreachable(), error.hint())
            })
        };
        match asked.await {
            Err(failure) => in_use.unreachable.push((target.name.clone(), failure)),
            Ok(state) => {
                let kept = super::releases(&state.revisions, target.pace.keep);
                in_use.releases.extend(kept.into_iter().flatten().map(str::to_owned));
                in_use.releases.extend(state.intents.into_iter().filter_map(|intent| intent.to));
            }
        }
    }
    in_use
}

/// The releases beyond the newest `keep` that nothing uses. `tags` are newest first. Pure.
fn choose<'t>(tags: &'t [Tag], keep: usize, in_use: &BTreeSet<String>) -> Vec<&'t Tag> {
    tags.iter().skip(keep.max(1)).filter(|tag| !in_use.contains(&tag.to_string())).collect()
}

/// Looks for releases that can go. Changes nothing.
///
/// # Errors
/// When the registry fails.
pub async fn observe(depot: &Depot, keep: usize, in_use: &BTreeSet<String>) -> Outcome<Superfluous> {
    let tags = archive::releases(depot).await?;
    let chosen: BTreeSet<&Tag> = choose(&tags, keep, in_use).into_iter().collect();
    let mut found = Superfluous::default();
    let mut going = BTreeSet::new();
    let mut explained = BTreeSet::new();
    for tag in tags.iter().rev() {
        let record = match archive::read(depot, &tag.to_string()).await {
            Ok(Some(release)) => release.record,
            Ok(None) => continue,
            Err(failure) => {
                found.warnings.push(format!("{tag} stays: {failure}"));
                continue;
            }
        };
        let names = record.images.values().map(|image| image.tag.clone()).chain([tag.to_string()]);
        if chosen.contains(tag) {
            going.extend(names);
            found.releases.push(record);
        } else {
            explained.extend(names);
            found.shared.extend(record.images.values().map(|image| image.id.manifest));
        }
    }
    if !found.releases.is_empty() {
        let all = depot.client.tags(&depot.repository).await.map_err(|error| failure(depot, &error))?;
        for tag in all.iter().filter(|tag| !going.contains(*tag) && !explained.contains(*tag)) {
            let reference = depot.repository.tagged(tag);
            let there = depot.client.head_manifest(&reference).await;
            found.shared.extend(there.map_err(|error| failure(depot, &error))?.map(|there| there.digest));
        }
    }
    Ok(found)
}

/// Deletes releases: the record first, so that a release that lost an image is none any more.
///
/// # Errors
/// When the registry does not allow it (405), or fails; what was deleted by then is gone.
pub async fn apply(depot: &Depot, superfluous: &Superfluous) -> Outcome<Deleted> {
    let mut deleted = Deleted::default();
    for record in &superfluous.releases {
        let reference = depot.repository.tagged(&record.tag);
        let there = depot.client.head_manifest(&reference).await.map_err(|error| failure(depot, &error))?;
        if let Some(there) = there {
            delete(depot, &there.digest).await?;
        }
        deleted.releases += 1;
        for image in record.images.values() {
            if !superfluous.shared.contains(&image.id.manifest) {
                deleted.images += usize::from(delete(depot, &image.id.manifest).await?);
            } else if let Err(error) = depot.client.delete_tag(&depot.repository, &image.tag).await {
                match error {
                    RegistryError::Status { status: 400..=499, .. } | RegistryError::Denied { .. } => {
                        deleted.tags_left += 1;
                    }
                    error => return Err(failure(depot, &error)),
                }
            }
        }
    }
    Ok(deleted)
}

async fn delete(depot: &Depot, digest: &Digest) -> Outcome<bool> {
    let deleted = depot.client.delete_manifest(&depot.repository, digest).await;
    deleted.map_err(|error| failure(depot, &error))
}

fn failure(depot: &Depot, error: &RegistryError) -> Failure {
    let failure = Failure::failed(format!("pruning {}", depot.place())).because(error);
    if !matches!(error, RegistryError::Status { status: 405, .. }) {
        return with_hint(failure, error.hint());
    }
    let hint = if depot.repository.registry.ends_with(".amazonaws.com") {
        "ECR deletes by its own rules: give the repository a lifecycle policy (prefixes of tags, or a number of images)"
    } else {
        "this registry does not allow anything to be deleted: switch that on there \
         (docker's registry: REGISTRY_STORAGE_DELETE_ENABLED=true), or use its own retention rules"
    };
    failure.hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_and_what_is_in_use_stay() {
        let tags: Vec<Tag> = ["v1.3.0-abcdef1", "v1.2.0-abcdef1", "v1.1.0-abcdef1", "v1.0.0-abcdef1"]
            .map(|tag| tag.parse().unwrap())
            .into();
        let in_use = BTreeSet::from(["v1.1.0-abcdef1".to_owned()]);
        let chosen: Vec<String> = choose(&tags, 1, &in_use).into_iter().map(ToString::to_string).collect();
        assert_eq!(chosen, ["v1.2.0-abcdef1", "v1.0.0-abcdef1"]);
        assert_eq!(choose(&tags, 0, &in_use).len(), 2, "the newest always stays");
        assert!(choose(&tags, 9, &in_use).is_empty());
    }
}
