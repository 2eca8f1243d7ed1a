//! What the registry knows of the images that changed workloads run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowline_core::finding::Finding;
use bowline_core::kube::object::{Manifest, ObjectId};
use bowline_core::kube::preflight::ImageFact;
use bowline_core::kube::revision::PlacedImage;
use bowline_core::kube::workload::{containers, pod_spec};
use bowline_core::reference::Reference;
use futures_util::future::join_all;
use serde_json::Value;

use super::goal::Goal;
use super::site::Registry;

/// How long a registry that does not answer is asked: its word is good to have, and nodes ask again anyway.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was found out about images.
#[derive(Debug, Default)]
pub(super) struct Images {
    /// By the names that the manifests use.
    pub(super) facts: BTreeMap<String, ImageFact>,
    /// What could not be found out.
    pub(super) notes: Vec<Finding>,
}

/// Looks for the images of workloads that change, those of our registry: one short question for each. What others keep
/// elsewhere is not asked about: it may need logins that only the nodes have.
pub(super) async fn look(registry: &Registry, goal: &Goal, unchanged: &BTreeSet<ObjectId>) -> Images {
    let client = registry.client.with_patience(PATIENCE);
    let names = names(&goal.manifests, unchanged);
    let ours = names.iter().filter_map(|name| {
        let reference: Reference = name.parse().ok()?;
        (reference.repository.registry == registry.repository.registry).then_some((*name, reference))
    });
    let looks = ours.map(|(name, reference)| {
        let client = &client;
        async move { (name, client.head_manifest(&reference).await, reference) }
    });
    let mut found = Images::default();
    for (name, answer, reference) in join_all(looks).await {
        let own = reference.repository == registry.repository;
        match answer {
            Ok(None) => drop(found.facts.insert(name.to_owned(), ImageFact::Missing)),
            Ok(Some(_)) => {
                let id = goal.images.values().find_map(|image| is(image, &reference));
                found.facts.extend(id.map(|platform| (name.to_owned(), platform)));
            }
            Err(error) if own => found.notes.push(Finding::new(
                name,
                format!("could not be looked for: {error}"),
                "nodes that do not have it yet have to reach the registry",
            )),
            Err(_) => {}
        }
    }
    found
}

/// The names of all images that changed workloads run.
fn names<'m>(manifests: &'m [Manifest], unchanged: &BTreeSet<ObjectId>) -> BTreeSet<&'m str> {
    let changed = manifests.iter().filter(|manifest| !unchanged.contains(&manifest.id));
    let specs = changed.filter_map(|manifest| pod_spec(&manifest.id.kind, &manifest.value));
    specs.flat_map(containers).filter_map(|container| container.get("image")?.as_str()).collect()
}

/// What a release's own image runs on.
fn is(image: &PlacedImage, reference: &Reference) -> Option<ImageFact> {
    let id = image.id.as_ref().filter(|id| Some(id.manifest) == reference.digest)?;
    Some(ImageFact::Platforms([id.platform.clone()].into()))
}

impl Images {
    /// An image that the registry has lost may be on nodes still: pods start there, as for a way back they should.
    pub(super) fn forgive(&mut self, nodes: &[Value]) {
        let missing = self.facts.iter().filter(|(_, fact)| **fact == ImageFact::Missing);
        let missing: Vec<String> = missing.map(|(name, _)| name.clone()).collect();
        for name in missing {
            let Some(digest) = name.parse::<Reference>().ok().and_then(|reference| reference.digest) else {
                continue;
            };
            let have: Vec<&str> = nodes.iter().filter_map(|node| has(node, &digest.to_string())).collect();
            if !have.is_empty() {
                self.facts.remove(&name);
                self.notes.push(Finding::new(
                    name,
                    format!("is no longer in the registry; {} have it", have.join(", ")),
                    "pods start on these nodes, and on no other",
                ));
            }
        }
    }
}

/// The name of a node that has an image of this digest.
fn has<'n>(node: &'n Value, digest: &str) -> Option<&'n str> {
    let images = node.pointer("/status/images")?.as_array()?;
    let mut names = images.iter().filter_map(|image| image.get("names")?.as_array()).flatten();
    let there = names.any(|name| name.as_str().is_some_and(|name| name.ends_with(digest)));
    node.pointer("/metadata/name")?.as_str().filter(|_| there)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nodes_have_is_not_missing() {
        let digest = |letter: char| format!("sha256:{}", letter.to_string().repeat(64));
        let name = |letter| format!("r.example/chat:web_1@{}", digest(letter));
        let node = json!({"metadata": {"name": "node-1"},
            "status": {"images": [{"names": [format!("r.example/chat@{}", digest('a'))]}]}});
        let missing = |letter| (name(letter), ImageFact::Missing);
        let mut images = Images { facts: [missing('a'), missing('b')].into(), notes: Vec::new() };
        images.forgive(&[node]);
        assert_eq!(images.facts.into_keys().collect::<Vec<_>>(), [name('b')]);
        assert_eq!(images.notes[0].text, "is no longer in the registry; node-1 have it");
    }
}
