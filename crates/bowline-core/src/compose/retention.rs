//! Which images of a Docker host nothing needs any more. Only those that Bowline brought there are ever named.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::compose::observed::HostImage;
use crate::digest::Digest;
use crate::release::Revision;

/// An image to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outdated {
    /// The engine's own id.
    pub id: Digest,
    /// Its names, all of them ours.
    pub names: BTreeSet<String>,
    /// Bytes on disk, shared layers counted again.
    pub size: u64,
}

/// The images that a rollback may need: those of the last `keep` different releases among the revisions, the newest
/// included.
pub fn needed<'a>(revisions: impl IntoIterator<Item = &'a Revision>, keep: u32) -> BTreeSet<Digest> {
    let mut newest_first: Vec<&Revision> = revisions.into_iter().collect();
    newest_first.sort_by_key(|revision| std::cmp::Reverse(revision.number));
    let mut releases: BTreeSet<Option<&str>> = BTreeSet::new();
    let mut images = BTreeSet::new();
    for revision in newest_first {
        releases.insert(revision.release.as_deref());
        if releases.len() > usize::try_from(keep.max(1)).unwrap_or(usize::MAX) {
            break;
        }
        for placed in revision.services.values() {
            images.insert(placed.image);
            images.extend(placed.released.iter().flat_map(|id| [id.config, id.manifest]));
        }
    }
    images
}

/// The images that Bowline brought, no container uses and nothing needs. `is_ours` knows our names for images
/// (`registry/repository:tag`); `repositories` are where releases are pulled from by digest.
pub fn outdated(
    images: &[HostImage],
    used: &BTreeSet<Digest>,
    needed: &BTreeSet<Digest>,
    repositories: &BTreeSet<String>,
    is_ours: impl Fn(&str) -> bool,
) -> Vec<Outdated> {
    let brought = |image: &HostImage| match image.names.is_empty() {
        true => image.repositories.iter().any(|repository| repositories.contains(repository)),
        false => image.names.iter().all(|name| is_ours(name)),
    };
    let spare = |image: &&HostImage| {
        !used.contains(&image.id)
            && !needed.contains(&image.id)
            && !image.manifests.iter().any(|manifest| needed.contains(manifest))
            && brought(image)
    };
    let outdated =
        |image: &HostImage| Outdated { id: image.id, names: image.names.clone(), size: image.size };
    images.iter().filter(spare).map(outdated).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::event::RunId;
    use crate::release::Placed;

    fn revision(number: u64, release: &str, image: &str) -> Revision {
        let placed = Placed {
            image: Digest::of(image.as_bytes()),
            image_name: "app".into(),
            released: None,
            fingerprint: Digest::of(b""),
            containers: vec![],
            task: false,
        };
        Revision {
            number,
            release: Some(release.into()),
            verb: "deploy".into(),
            at: "2026-11-22T10:00:00Z".parse().unwrap(),
            run: RunId::from("r".to_owned()),
            by: "t".into(),
            spec: Digest::of(b""),
            files: BTreeMap::new(),
            images: BTreeMap::new(),
            services: BTreeMap::from([("app".into(), placed)]),
            milliseconds: 0,
        }
    }

    fn image(content: &str, names: &[&str], repositories: &[&str]) -> HostImage {
        HostImage {
            id: Digest::of(content.as_bytes()),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            manifests: BTreeSet::new(),
            repositories: repositories.iter().map(|name| (*name).to_owned()).collect(),
            size: 1,
        }
    }

    #[test]
    fn only_what_we_brought_and_nothing_needs_goes() {
        let revisions =
            [revision(1, "v1", "a"), revision(2, "v2", "b"), revision(3, "v1", "a"), revision(4, "v3", "c")];
        let needed = needed(&revisions, 2);
        let images = [
            image("a", &["reg/app:a"], &[]),
            image("b", &["reg/app:b"], &[]),
            image("c", &["reg/app:c"], &[]),
            image("used", &["reg/app:used"], &[]),
            image("theirs", &["redis:7"], &[]),
            image("both", &["reg/app:x", "mine:latest"], &[]),
            image("half-pulled", &[], &["reg/app"]),
            image("their dangling", &[], &[]),
        ];
        let used = BTreeSet::from([Digest::of(b"used")]);
        let repositories = BTreeSet::from(["reg/app".to_owned()]);
        let gone = outdated(&images, &used, &needed, &repositories, |name| name.starts_with("reg/app:"));
        let ids: Vec<_> = gone.iter().map(|outdated| outdated.id).collect();
        assert_eq!(ids, [Digest::of(b"b"), Digest::of(b"half-pulled")]);
    }
}
