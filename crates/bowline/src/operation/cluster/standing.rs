//! What a revision left in a cluster, and how that is now.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::kube::drift::{self, Drift};
use bowline_core::kube::object::ObjectId;
use bowline_core::kube::order::runs_pods;
use bowline_core::kube::revision::{Entry, KeptManifest, Revision};
use bowline_kube::watch::Subject;
use bowline_kube::{Catalog, GroupVersion, Resource, Wanted};
use serde_json::Value;

use super::site::Site;
use crate::error::{Failure, Outcome};

/// A revision beside what is there of it.
pub(super) struct Standing {
    /// How the cluster calls the kinds of its objects.
    pub(super) catalog: Catalog,
    /// Its manifests; none where they are no longer kept.
    pub(super) kept: Option<BTreeMap<ObjectId, KeptManifest>>,
    /// Its objects as they are.
    pub(super) live: BTreeMap<ObjectId, Value>,
    /// Its objects that nobody lets us look at.
    pub(super) unseen: BTreeSet<ObjectId>,
}

/// How the cluster calls the kinds of some objects.
pub(super) async fn discover<'e>(
    site: &Site,
    entries: impl IntoIterator<Item = &'e Entry>,
) -> Outcome<Catalog> {
    let wanted = entries.into_iter().map(|entry| GroupVersion::new(&entry.id.kind.group, &entry.version));
    let wanted: BTreeSet<GroupVersion> = wanted.chain([GroupVersion::new("", "v1")]).collect();
    site.cluster.discover(&wanted).await.map_err(|error| site.explain("looking at", &error))
}

/// How an object is asked for, in the version that it was written in where the cluster still has that.
pub(super) fn resource<'c>(catalog: &'c Catalog, entry: &Entry) -> Option<&'c Resource> {
    let version = GroupVersion::new(&entry.id.kind.group, &entry.version);
    catalog.resource(&version, &entry.id.kind.kind).or_else(|| catalog.any(&entry.id.kind))
}

/// The objects that run pods, to be watched.
pub(super) fn subjects<'e>(catalog: &Catalog, entries: impl IntoIterator<Item = &'e Entry>) -> Vec<Subject> {
    let entries = entries.into_iter().filter(|entry| runs_pods(&entry.id.kind));
    entries.filter_map(|entry| Some(Subject::of(resource(catalog, entry)?, &entry.id))).collect()
}

impl Standing {
    /// Looks at what is there of a revision: one list for each kind.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub(super) async fn observe(site: &Site, catalog: Catalog, revision: &Revision) -> Outcome<Self> {
        let objects: BTreeSet<ObjectId> = revision.inventory.ids().cloned().collect();
        let wanted = Wanted { objects, lists: BTreeSet::new() };
        let look = async {
            let seen = site.cluster.observe(&catalog, &wanted).await;
            seen.map_err(|error| site.explain("looking at", &error))
        };
        let read = async {
            let kept = site.documents.manifests(&revision.manifests).await;
            kept.map_err(|error| site.explain_document(&error))
        };
        let (seen, kept) = tokio::try_join!(look, read)?;
        let kept = kept.map(|kept| {
            kept.manifests
                .into_iter()
                .map(|kept| (kept.manifest.id.clone(), kept))
                .collect::<BTreeMap<_, _>>()
        });
        let unseen = wanted.objects.into_iter().filter(|id| seen.unseen.contains(&id.to_string())).collect();
        Ok(Self { catalog, kept, live: seen.objects, unseen })
    }

    /// The objects that are not as the revision left them.
    pub(super) fn drift(&self, revision: &Revision) -> BTreeMap<ObjectId, Drift> {
        let kept = self.kept.iter().flatten();
        let manifests = kept.map(|(id, kept)| (id.clone(), kept.manifest.value.clone())).collect();
        let mut found = drift::find(&revision.inventory, &manifests, &self.live);
        found.retain(|id, _| !self.unseen.contains(id));
        found
    }
}

/// The manifests of a revision are needed, and not kept any more.
pub(super) fn forgotten(site: &Site, revision: &Revision) -> Failure {
    Failure::failed(format!(
        "the manifests of revision {} are no longer on {}",
        revision.number, site.target.name
    ))
    .hint("somebody deleted them: deploy again, and they are kept anew")
}
