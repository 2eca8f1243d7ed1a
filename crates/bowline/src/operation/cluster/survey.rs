//! Looks at a cluster: the objects of a release and what Bowline keeps there first, what they refer to only when something
//! is to change.

use std::collections::BTreeSet;

use bowline_core::finding::Finding;
use bowline_core::kube::object::{Kind, ObjectId};
use bowline_core::kube::preflight::{Cluster, Deed, Reference, RunningPod, grows, references, rights};
use bowline_core::kube::revision::Revision;
use bowline_kube::state::State;
use bowline_kube::{Catalog, GroupVersion, KubeError, Observation, Wanted};
use serde_json::Value;

use super::goal::{Goal, Prepared};
use super::image::{self, Images};
use super::site::Site;
use crate::error::Outcome;

/// Group and version of all kinds that manifests of any other kind refer to.
const REFERRED: [(&str, &str); 10] = [
    ("", "v1"),
    ("apps", "v1"),
    ("autoscaling", "v1"),
    ("batch", "v1"),
    ("coordination.k8s.io", "v1"),
    ("networking.k8s.io", "v1"),
    ("node.k8s.io", "v1"),
    ("rbac.authorization.k8s.io", "v1"),
    ("scheduling.k8s.io", "v1"),
    ("storage.k8s.io", "v1"),
];

/// Looks at what Bowline keeps there, at the objects of a goal, of the revisions and of interrupted runs. Gives how the
/// cluster calls all their kinds, too.
///
/// # Errors
/// When the cluster does not answer, or what is kept there cannot be read.
pub(super) async fn own(site: &Site, prepared: &Prepared) -> Outcome<(State, Observation, Catalog)> {
    let looking = |error: &KubeError| site.explain("looking at", error);
    let goal: BTreeSet<ObjectId> = prepared.goal.ids().cloned().collect();
    let look = async |catalog: &Catalog, objects: BTreeSet<ObjectId>| {
        let wanted = Wanted { objects, lists: BTreeSet::new() };
        site.cluster.observe(catalog, &wanted).await.map_err(|error| looking(&error))
    };
    let (state, mut seen) = tokio::try_join!(site.state(), look(&prepared.catalog, goal.clone()))?;
    // What revisions and runs brought besides is known only now, and mostly nothing.
    let (mut others, mut versions) = (BTreeSet::new(), BTreeSet::new());
    let mut add = |id: &ObjectId, version: &str| {
        if prepared.catalog.any(&id.kind).is_none() {
            versions.insert(GroupVersion::new(&id.kind.group, version));
        }
        if !goal.contains(id) {
            others.insert(id.clone());
        }
    };
    for entry in state.revisions.values().flat_map(|revision: &Revision| revision.inventory.iter()) {
        add(&entry.id, &entry.version);
    }
    for trace in state.intents.iter().flat_map(|intent| &intent.traces.objects) {
        add(&trace.id, &trace.version);
    }
    let catalog = if versions.is_empty() {
        prepared.catalog.clone()
    } else {
        let manifests = prepared.goal.manifests.iter();
        versions
            .extend(manifests.map(|manifest| GroupVersion::new(&manifest.id.kind.group, &manifest.version)));
        site.cluster.discover(&versions).await.map_err(|error| looking(&error))?
    };
    if !others.is_empty() {
        let more = look(&catalog, others).await?;
        seen.objects.extend(more.objects);
        seen.notes.extend(more.notes);
        seen.unseen.extend(more.unseen);
    }
    Ok((state, seen, catalog))
}

/// What there is around a release, whatever of it is applied.
pub(super) struct Surroundings {
    asked: BTreeSet<Reference>,
    catalog: Catalog,
    seen: Observation,
    /// What the cluster autoscaler reports.
    report: Option<Value>,
}

/// Looks at everything that a release's objects name, at the nodes and what runs on them, and at quotas.
///
/// # Errors
/// When the cluster does not answer.
pub(super) async fn surroundings(site: &Site, goal: &Goal) -> Outcome<Surroundings> {
    let manifests = &goal.manifests;
    let asked = references(manifests);
    let wanted = wanted(&asked);
    let own = manifests.iter().map(|manifest| GroupVersion::new(&manifest.id.kind.group, &manifest.version));
    let versions = own.chain(REFERRED.map(|(group, version)| GroupVersion::new(group, version))).collect();
    let looking = |error: &KubeError| site.explain("looking at", error);
    let catalog = site.cluster.discover(&versions).await.map_err(|error| looking(&error))?;
    let (seen, report) = tokio::join!(site.cluster.observe(&catalog, &wanted), report(site, &catalog));
    let seen = seen.map_err(|error| looking(&error))?;
    Ok(Surroundings { asked, catalog, seen, report })
}

/// What is to be done with a release.
pub(super) struct Around<'p> {
    /// What should be.
    pub(super) goal: &'p Goal,
    /// How the cluster calls the kinds of everything that is written.
    pub(super) catalog: &'p Catalog,
    /// The objects that are as they should be.
    pub(super) unchanged: BTreeSet<ObjectId>,
    /// What is going to happen to which object.
    pub(super) deeds: Vec<(&'p ObjectId, Deed)>,
}

/// Everything that matters to a release before it is applied: what there is around it, the caller's rights, the registry.
/// Gives what could not be looked at, too.
pub(super) async fn around(
    site: &Site,
    around: Around<'_>,
    surroundings: Surroundings,
) -> (Cluster, Vec<Finding>) {
    let Around { goal, catalog: known, unchanged, deeds } = around;
    let Surroundings { asked, catalog, seen, report } = surroundings;
    let rights = rights(deeds, &site.namespace);
    let resource = |kind: &Kind| catalog.any(kind).or_else(|| known.any(kind));
    let images = async {
        match &site.registry {
            Some(registry) => image::look(registry, goal, &unchanged).await,
            None => Images::default(),
        }
    };
    let (denied, mut images) = tokio::join!(site.cluster.denied(resource, &rights), images);
    let all = |kind: &str| -> Vec<&Value> {
        seen.objects.iter().filter(|(id, _)| id.kind.is("", kind)).map(|(_, value)| value).collect()
    };
    let nodes: Vec<Value> = all("Node").into_iter().cloned().collect();
    let grows = grows(&nodes, all("Pod"), report.as_ref());
    images.forgive(&nodes);
    let note = |text| Finding::new(site.target.name.clone(), text, "what is not seen is not checked");
    // What may not be looked at is told as a whole: it is in `unreadable`.
    let mut notes = images.notes;
    let denied = denied.unwrap_or_else(|error| {
        notes.push(note(error.to_string()));
        BTreeSet::new()
    });
    let cluster = Cluster {
        pods: all("Pod").into_iter().filter_map(RunningPod::read).collect(),
        unreadable: asked
            .into_iter()
            .filter(|reference| seen.unseen.contains(&reference.to_string()))
            .collect(),
        nodes,
        existing: seen.objects,
        images: images.facts,
        denied,
        unchanged,
        grows,
    };
    (cluster, notes)
}

fn wanted(asked: &BTreeSet<Reference>) -> Wanted {
    let mut wanted = Wanted::default();
    for reference in asked {
        match reference {
            Reference::Object(id) => drop(wanted.objects.insert(id.clone())),
            Reference::All { kind, namespace } => {
                wanted.lists.insert((kind.clone(), namespace.clone()));
            }
        }
    }
    wanted
}

/// What the cluster autoscaler reports, where there is one. Who may not look at it learns as much from nodes and pods.
async fn report(site: &Site, catalog: &Catalog) -> Option<Value> {
    let id = ObjectId::namespaced("", "ConfigMap", "kube-system", "cluster-autoscaler-status");
    site.cluster.get(catalog.any(&id.kind)?, &id).await.ok().flatten()
}
