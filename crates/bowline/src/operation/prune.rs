//! `prune` on a Docker host: images and revisions that nothing needs any more. Never volumes, networks, images of
//! others, what runs, or what a rollback needs.

pub mod registry;

use std::collections::{BTreeMap, BTreeSet};

use bowline_compose::document::Documents;
use bowline_compose::engine::Writer;
use bowline_compose::lease::Authority;
use bowline_compose::observation::{Inventory, take_inventory};
use bowline_core::compose::desired::DeployImage;
use bowline_core::compose::observed::HostImage;
use bowline_core::compose::retention::{Outdated, needed, outdated};
use bowline_core::digest::Digest;
use bowline_core::event::RunId;
use bowline_core::reference::{Reference, Repository};
use bowline_core::release::Revision;
use serde::Serialize;

use super::depot::LOCAL;
use super::host::Host;
use super::lock;
use crate::error::{Failure, Outcome};

/// So many of the newest revisions stay, whatever their releases.
const REVISIONS: usize = 20;

/// What nothing needs any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Waste {
    /// Images.
    pub images: Vec<Outdated>,
    /// Numbers of revisions.
    pub revisions: Vec<u64>,
}

impl Waste {
    /// Bytes of the images; shared layers are counted again.
    pub fn bytes(&self) -> u64 {
        self.images.iter().map(|image| image.size).sum()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.revisions.is_empty()
    }
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// How many images.
    pub images: usize,
    /// Their bytes; shared layers are counted again.
    pub bytes: u64,
    /// How many revisions.
    pub revisions: usize,
}

/// Whose images are ours.
#[derive(Debug, Clone)]
struct Ours {
    /// The repository in the names that releases keep on hosts.
    kept_as: Repository,
    /// The compose project: what was adopted has its name.
    project: Repository,
    /// Names that revisions say they keep.
    kept: BTreeSet<String>,
}

impl Ours {
    fn new(project: &str, kept_as: &Repository, revisions: &BTreeMap<u64, Revision>) -> Self {
        let images = revisions.values().flat_map(|revision| revision.images.values());
        Self {
            kept_as: kept_as.clone(),
            project: Repository { registry: LOCAL.into(), name: project.into() },
            kept: images.map(|image| image.keep().to_owned()).collect(),
        }
    }

    /// Whether Bowline gives such names.
    fn names(&self, name: &str) -> bool {
        let repository = name.parse::<Reference>().map(|reference| reference.repository);
        self.kept.contains(name)
            || repository.is_ok_and(|repository| repository == self.kept_as || repository == self.project)
    }

    /// Those repositories of the host's images that releases are pulled from. The embedded registry has another port in
    /// each run.
    fn repositories(&self, images: &[HostImage]) -> BTreeSet<String> {
        let embedded = self.kept_as.registry == LOCAL;
        let is_ours = |text: &&String| {
            text.parse::<Repository>().is_ok_and(|repository| {
                let passing = embedded && repository.is_loopback() && repository.name == self.kept_as.name;
                repository == self.kept_as || passing
            })
        };
        images.iter().flat_map(|image| &image.repositories).filter(is_ours).cloned().collect()
    }
}

/// Says what nothing needs any more. `elsewhere` are images that other projects on the same host need. Pure.
fn find(
    inventory: &Inventory,
    project: &str,
    kept_as: &Repository,
    keep: u32,
    elsewhere: &BTreeSet<Digest>,
) -> Waste {
    let revisions = &inventory.state.revisions;
    let ours = Ours::new(project, kept_as, revisions);
    let mut needed = needed(revisions.values(), keep);
    needed.extend(deployed(revisions, keep));
    needed.extend(elsewhere);
    let repositories = ours.repositories(&inventory.images);
    let strangers = inventory.strangers.iter().filter_map(|stranger| stranger.image);
    let used = inventory.containers.iter().map(|container| container.image).chain(strangers).collect();
    let images = outdated(&inventory.images, &used, &needed, &repositories, |name| ours.names(name));
    Waste { images, revisions: old(revisions, keep) }
}

/// The releases that stay: the last `keep` different ones.
fn releases(revisions: &BTreeMap<u64, Revision>, keep: u32) -> BTreeSet<Option<&str>> {
    let mut kept = BTreeSet::new();
    for revision in revisions.values().rev() {
        if kept.len() < usize::try_from(keep.max(1)).unwrap_or(usize::MAX) {
            kept.insert(revision.release.as_deref());
        }
    }
    kept
}

/// The images that a return to these releases deploys, also those of services that did not run.
fn deployed(revisions: &BTreeMap<u64, Revision>, keep: u32) -> BTreeSet<Digest> {
    let kept = releases(revisions, keep);
    let revisions = revisions.values().filter(|revision| kept.contains(&revision.release.as_deref()));
    let ids = |image: &DeployImage| match image {
        DeployImage::Released { id, .. } => vec![id.config, id.manifest],
        DeployImage::Adopted { id, .. } => vec![*id],
    };
    revisions.flat_map(|revision| revision.images.values()).flat_map(ids).collect()
}

/// The numbers of revisions that are neither among the newest nor of a release that stays.
fn old(revisions: &BTreeMap<u64, Revision>, keep: u32) -> Vec<u64> {
    let kept = releases(revisions, keep);
    let older = revisions.values().rev().skip(REVISIONS);
    let mut old: Vec<u64> = older
        .filter(|revision| !kept.contains(&revision.release.as_deref()))
        .map(|revision| revision.number)
        .collect();
    old.reverse();
    old
}

/// Looks for what nothing needs any more. Changes nothing.
///
/// # Errors
/// When the host does not answer; when a run did not end, for what it needs is not known; when something that Bowline
/// keeps there cannot be read.
pub async fn observe(host: &Host, keep: u32, kept_as: &Repository) -> Outcome<Waste> {
    observe_after(host, keep, kept_as, &[]).await
}

/// The same, where these runs are over: what the journal says of them is about to go.
async fn observe_after(host: &Host, keep: u32, kept_as: &Repository, over: &[&RunId]) -> Outcome<Waste> {
    let inventory = async {
        let taken = take_inventory(&host.documents).await;
        taken.map_err(|error| host.explain("looking at", &error, error.is_unreachable(), error.hint()))
    };
    let (inventory, elsewhere) = tokio::try_join!(inventory, needed_elsewhere(host))?;
    let mut intents = inventory.state.intents.iter().filter(|intent| !over.contains(&&intent.run));
    if let Some(intent) = intents.next() {
        return Err(Failure::failed(format!("looking for what {} does not need", host.target))
            .since(format!("a {} by {} has not ended: what it needs is not known", intent.verb, intent.by))
            .hint("wait for it, or deploy or roll back first"));
    }
    // A page of theirs that goes at this moment may be there without what it says.
    let mut unreadable = inventory.state.unreadable.clone();
    unreadable.retain(|name, _| !over.iter().any(|run| name.ends_with(&run.to_string())));
    check_readable(host, &unreadable)?;
    Ok(find(&inventory, &host.project, kept_as, keep, &elsewhere))
}

/// What cannot be read may name images that are needed.
fn check_readable(host: &Host, unreadable: &BTreeMap<String, String>) -> Outcome<()> {
    let Some((name, why)) = unreadable.first_key_value() else { return Ok(()) };
    Err(Failure::failed(format!("looking for what {} does not need", host.target))
        .since(format!("{name} on it cannot be read: {why}"))
        .hint("a newer bowline may have written it: update this one"))
}

/// The images that other projects on the same host may go back to.
async fn needed_elsewhere(host: &Host) -> Outcome<BTreeSet<Digest>> {
    let projects = host.engine.projects().await.map_err(|error| host.failure("looking at", &error))?;
    let read = async |documents: Documents| {
        let state = documents.state().await.map_err(|error| {
            host.explain("reading what was deployed to", &error, error.is_unreachable(), error.hint())
        })?;
        check_readable(host, &state.unreadable)?;
        // Its own number of releases is not known here: all that its revisions name stays.
        let mut found = needed(state.revisions.values(), u32::MAX);
        found.extend(deployed(&state.revisions, u32::MAX));
        Ok::<_, Failure>(found)
    };
    let others = projects.iter().filter(|project| project.name != host.project);
    // A name that no document can have is a project that Bowline never deployed.
    let documents = others.filter_map(|project| Documents::new(&host.engine, &project.name).ok());
    let found = futures_util::future::try_join_all(documents.map(read)).await?;
    Ok(found.into_iter().flatten().collect())
}

/// Removes what was found. What is in use by now stays.
///
/// # Errors
/// When the host does not answer, or the right to change it is gone.
pub async fn apply(host: &Host, authority: &Authority, waste: &Waste) -> Outcome<Removed> {
    let writer = Writer::new(&host.engine, authority);
    let mut removed = Removed::default();
    for image in &waste.images {
        let image = HostImage {
            id: image.id,
            names: image.names.clone(),
            manifests: BTreeSet::new(),
            repositories: BTreeSet::new(),
            size: image.size,
        };
        let gone = writer.remove_image_whole(&image).await;
        if gone.map_err(|error| host.failure("removing images from", &error))? {
            removed.images += 1;
            removed.bytes += image.size;
        }
    }
    if !waste.revisions.is_empty() {
        let forgotten = host.documents.forget(authority, &waste.revisions).await;
        forgotten.map_err(|error| {
            host.explain("forgetting old revisions of", &error, error.is_unreachable(), error.hint())
        })?;
        removed.revisions = waste.revisions.len();
    }
    Ok(removed)
}

/// What a deploy ends with: looks again, and removes what nothing needs. `over` are the runs that ended with it: whether
/// the journal still has them makes no difference.
///
/// # Errors
/// See [`observe`] and [`apply`]; the deploy itself has succeeded.
pub async fn after_deploy(
    host: &Host,
    authority: &Authority,
    keep: u32,
    kept_as: &Repository,
    over: &[&RunId],
) -> Outcome<Removed> {
    let waste = observe_after(host, keep, kept_as, over).await?;
    apply(host, authority, &waste).await
}

/// Removes what is wasted, under the lock: looks once more, for others may have changed it since it was shown.
///
/// # Errors
/// Kind `Locked`: somebody else has the lock; else see [`observe`] and [`apply`].
pub async fn prune(host: &Host, keep: u32, kept_as: &Repository, shown: &Waste) -> Outcome<Removed> {
    let lease = lock::take(host, "prune").await?;
    let work = async {
        let mut waste = observe(host, keep, kept_as).await?;
        // Nothing goes that was not shown.
        waste.images.retain(|image| shown.images.iter().any(|other| other.id == image.id));
        waste.revisions.retain(|number| shown.revisions.contains(number));
        apply(host, lease.authority(), &waste).await
    };
    let outcome = work.await;
    // It ends by itself within 30 s.
    let _ = lease.release().await;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revisions(releases: &[&str]) -> BTreeMap<u64, Revision> {
        let one = |(number, release): (u64, &&str)| {
            let keep = format!("reg/shop:web_{release}");
            let image = DeployImage::Adopted { id: Digest::of(release.as_bytes()), keep };
            let revision = Revision {
                number,
                release: Some((*release).to_owned()),
                verb: "deploy".into(),
                at: "2026-11-22T10:00:00Z".parse().unwrap(),
                run: RunId::from("r".to_owned()),
                by: "t".into(),
                spec: Digest::of(b""),
                files: BTreeMap::new(),
                images: BTreeMap::from([("web".into(), image)]),
                services: BTreeMap::new(),
                milliseconds: 0,
            };
            (number, revision)
        };
        (1..).zip(releases).map(one).collect()
    }

    #[test]
    fn old_revisions_go_unless_their_release_stays() {
        let mut releases = vec!["v1", "v2", "v3", "v2"];
        releases.extend(vec!["v2"; 20]);
        releases.push("v4");
        let revisions = revisions(&releases);
        assert_eq!(old(&revisions, 2), [1, 3]);
        assert_eq!(old(&revisions, 4), [0_u64; 0]);
    }

    #[test]
    fn what_a_rollback_deploys_is_needed() {
        let revisions = revisions(&["v1", "v2", "v3"]);
        assert_eq!(deployed(&revisions, 2), BTreeSet::from([Digest::of(b"v2"), Digest::of(b"v3")]));
    }

    #[test]
    fn names_are_ours_by_their_whole_repository() {
        let kept_as: Repository = "registry.example/shop".parse().unwrap();
        let ours = Ours::new("main", &kept_as, &revisions(&["v1"]));
        for name in ["registry.example/shop:web_v1", "bowline.local/main:web_adopted", "reg/shop:web_v1"] {
            assert!(ours.names(name), "{name}");
        }
        for name in ["registry.example/shop2:web_v1", "bowline.local/other:x", "docker.io/library/web:1"] {
            assert!(!ours.names(name), "{name}");
        }
    }
}
