//! The workloads of a target as they run now, and how people call them.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::kube::naming::{is_named, names, services_of};
use bowline_core::kube::object::ObjectId;
use bowline_core::kube::order::runs_pods;
use bowline_core::kube::revision::{Entry, PlacedImage};
use bowline_core::kube::workload::{containers, pod_spec};
use bowline_kube::state::State;
use bowline_kube::watch::{Sight, Subject, Watch};

use super::site::Site;
use super::standing::{discover, subjects};
use crate::error::{Failure, Outcome};

/// The workloads of the newest revision, and those that an interrupted run brought.
pub(super) struct Crew {
    target: String,
    pub(super) subjects: Vec<Subject>,
    pub(super) names: BTreeMap<ObjectId, String>,
    /// What is there of each.
    pub(super) seen: BTreeMap<ObjectId, Sight>,
    /// Our images, by service: the newest revision's last.
    images: Vec<(String, PlacedImage)>,
}

impl Crew {
    /// Looks at the workloads.
    ///
    /// # Errors
    /// When the cluster does not answer, or nothing was deployed to it yet.
    pub(super) async fn observe(site: &Site) -> Outcome<Self> {
        let state = site.state().await?;
        let entries = placed(&state);
        let target = site.target.name.clone();
        if entries.is_empty() {
            return Err(Failure::invalid(format!("nothing that runs was deployed to {target} yet"))
                .hint("`bowline status` shows what is there; `bowline adopt` takes over what runs already"));
        }
        let catalog = discover(site, &entries).await?;
        let subjects = subjects(&catalog, &entries);
        let watch = Watch::open(&site.cluster, &subjects).await;
        let watch = watch.map_err(|error| site.explain("looking at", &error))?;
        let seen = subjects.iter().map(|subject| (subject.id.clone(), watch.sight(&subject.id))).collect();
        let images = state.revisions.into_values().flat_map(|revision| revision.images).collect();
        let names = names(subjects.iter().map(|subject| &subject.id));
        Ok(Self { target, subjects, names, seen, images })
    }

    /// The workloads that somebody names: by their own names, or by services whose images they run. All where none is named.
    ///
    /// # Errors
    /// Kind `Invalid`: nothing has such a name; says which there are.
    pub(super) fn choose(&self, wanted: &BTreeSet<String>) -> Outcome<BTreeSet<ObjectId>> {
        if wanted.is_empty() {
            return Ok(self.names.keys().cloned().collect());
        }
        let mut chosen = BTreeSet::new();
        for name in wanted {
            let found = self.find(name);
            if found.is_empty() {
                let known: Vec<&str> = self.names.values().map(String::as_str).collect();
                return Err(Failure::invalid(format!("{} has no workload `{name}`", self.target))
                    .hint(format!("it has {}", known.join(", "))));
            }
            chosen.extend(found);
        }
        Ok(chosen)
    }

    fn find(&self, name: &str) -> BTreeSet<ObjectId> {
        let called = |id: &&ObjectId| {
            self.names.get(*id).is_some_and(|own| own == name) || id.name == name || is_named(id, name)
        };
        let found: BTreeSet<ObjectId> = self.names.keys().filter(called).cloned().collect();
        if !found.is_empty() {
            return found;
        }
        let runs = |(id, sight): &(&ObjectId, &Sight)| {
            let images = self.images.iter().map(|(service, placed)| (service, placed));
            sight.object.as_deref().is_some_and(|object| services_of(&id.kind, object, images).contains(name))
        };
        self.seen.iter().filter(runs).map(|(id, _)| id.clone()).collect()
    }

    /// Whether an image is one that some revision placed.
    pub(super) fn is_ours(&self, image: &str) -> bool {
        self.images.iter().any(|(_, placed)| placed.reference == image)
    }

    /// The workloads whose pods have several containers.
    pub(super) fn crowded(&self) -> BTreeSet<ObjectId> {
        let several = |(id, sight): &(&ObjectId, &Sight)| {
            let spec = sight.object.as_deref().and_then(|object| pod_spec(&id.kind, object));
            spec.is_some_and(|spec| containers(spec).count() > 1)
        };
        self.seen.iter().filter(several).map(|(id, _)| id.clone()).collect()
    }
}

/// What Bowline brought to a cluster and runs pods.
fn placed(state: &State) -> Vec<Entry> {
    let mut all: BTreeMap<ObjectId, Entry> = BTreeMap::new();
    for trace in state.intents.iter().flat_map(|intent| &intent.traces.objects) {
        let (id, version) = (trace.id.clone(), trace.version.clone());
        all.insert(id.clone(), Entry { id, version, remembered: None, origin: None });
    }
    for entry in state.newest().iter().flat_map(|revision| revision.inventory.iter()) {
        all.insert(entry.id.clone(), entry.clone());
    }
    all.into_values().filter(|entry| runs_pods(&entry.id.kind)).collect()
}
