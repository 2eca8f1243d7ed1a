//! Looks at a cluster: the objects of a release and what Bowline keeps there first, what they refer to only when something
//! is to change.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::kube::object::{Manifest, ObjectId};
use bowline_core::kube::preflight::{Cluster, Reference, Right, RunningPod, references};
use bowline_core::kube::revision::Revision;
use bowline_kube::state::State;
use bowline_kube::{Catalog, GroupVersion, Observation, Wanted};
use serde_json::Value;

use super::goal::Prepared;
use super::site::Site;
use crate::error::Outcome;

/// Group and version of all kinds that manifests of any other kind refer to.
const REFERRED: [(&str, &str); 9] = [
    ("", "v1"),
    ("apps", "v1"),
    ("autoscaling", "v1"),
    ("batch", "v1"),
    ("networking.k8s.io", "v1"),
    ("node.k8s.io", "v1"),
    ("rbac.authorization.k8s.io", "v1"),
    ("scheduling.k8s.io", "v1"),
    ("storage.k8s.io", "v1"),
];

/// Looks at the objects of a goal, of the newest revision and of interrupted runs. Gives how the cluster calls all their
/// kinds, too.
///
/// # Errors
/// When the cluster does not answer.
pub(super) async fn own(site: &Site, prepared: &Prepared, state: &State) -> Outcome<(Observation, Catalog)> {
    let mut objects: BTreeSet<ObjectId> =
        prepared.goal.manifests.iter().map(|manifest| manifest.id.clone()).collect();
    let mut versions = BTreeSet::new();
    let mut add = |id: &ObjectId, version: &str| {
        if prepared.catalog.any(&id.kind).is_none() {
            versions.insert(GroupVersion::new(&id.kind.group, version));
        }
        objects.insert(id.clone());
    };
    for entry in state.newest().iter().flat_map(|base: &&Revision| base.inventory.iter()) {
        add(&entry.id, &entry.version);
    }
    for trace in state.intents.iter().flat_map(|intent| &intent.traces.objects) {
        add(&trace.id, &trace.version);
    }
    let looking = |error: &bowline_kube::KubeError| site.explain("looking at", error);
    let catalog = if versions.is_empty() {
        prepared.catalog.clone()
    } else {
        let manifests = prepared.goal.manifests.iter();
        versions
            .extend(manifests.map(|manifest| GroupVersion::new(&manifest.id.kind.group, &manifest.version)));
        site.cluster.discover(&versions).await.map_err(|error| looking(&error))?
    };
    let wanted = Wanted { objects, lists: BTreeSet::new() };
    let seen = site.cluster.observe(&catalog, &wanted).await.map_err(|error| looking(&error))?;
    Ok((seen, catalog))
}

/// Looks at everything that matters to a release before it is applied: what its objects name, the nodes, what runs on
/// them, quotas.
///
/// # Errors
/// When the cluster does not answer.
pub(super) async fn around(
    site: &Site,
    manifests: &[Manifest],
    unchanged: BTreeSet<ObjectId>,
    denied: BTreeSet<Right>,
) -> Outcome<(Cluster, Vec<String>)> {
    let asked = references(manifests);
    let mut wanted = Wanted::default();
    for reference in &asked {
        match reference {
            Reference::Object(id) => drop(wanted.objects.insert(id.clone())),
            Reference::All { kind, namespace } => {
                wanted.lists.insert((kind.clone(), namespace.clone()));
            }
        }
    }
    let own = manifests.iter().map(|manifest| GroupVersion::new(&manifest.id.kind.group, &manifest.version));
    let versions = own.chain(REFERRED.map(|(group, version)| GroupVersion::new(group, version))).collect();
    let looking = |error: &bowline_kube::KubeError| site.explain("looking at", error);
    let catalog = site.cluster.discover(&versions).await.map_err(|error| looking(&error))?;
    let seen = site.cluster.observe(&catalog, &wanted).await.map_err(|error| looking(&error))?;
    let all = |kind: &str| -> Vec<&Value> {
        seen.objects.iter().filter(|(id, _)| id.kind.is("", kind)).map(|(_, value)| value).collect()
    };
    let cluster = Cluster {
        nodes: all("Node").into_iter().cloned().collect(),
        pods: all("Pod").into_iter().filter_map(RunningPod::read).collect(),
        unreadable: asked
            .into_iter()
            .filter(|reference| seen.unseen.contains(&reference.to_string()))
            .collect(),
        existing: seen.objects,
        images: BTreeMap::new(),
        denied,
        unchanged,
        grows: false,
    };
    Ok((cluster, seen.notes))
}
