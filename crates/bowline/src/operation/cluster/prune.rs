//! `prune` on a cluster: objects of earlier revisions that the newest does not have, and revisions that nobody goes back to.
//!
//! Never what may hold what people stored, unless somebody names it; never what somebody else made anew since.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::kube::conflict::MANAGER;
use bowline_core::kube::naming::is_named;
use bowline_core::kube::object::ObjectId;
use bowline_core::kube::order::runs_pods;
use bowline_core::kube::prune::leftovers;
use bowline_core::kube::revision::{Entry, outdated};
use bowline_kube::lease::Authority;
use bowline_kube::{Deleted, Dependents, Expected, Wanted};
use serde::Serialize;
use serde_json::Value;

use super::lock;
use super::pull_secret::is_login;
use super::site::Site;
use super::standing::{discover, resource};
use crate::error::{Failure, Outcome};

/// What nothing needs any more.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Waste {
    /// Objects that go.
    pub objects: Vec<Leftover>,
    /// Objects that nothing wants and that stay, each with why.
    pub kept: BTreeMap<String, String>,
    /// Numbers of revisions.
    pub revisions: Vec<u64>,
}

/// An object that the newest revision does not have.
#[derive(Debug, Clone, PartialEq)]
pub struct Leftover {
    /// Which.
    pub id: ObjectId,
    entry: Entry,
    live: Value,
}

impl Waste {
    /// Whether there is nothing that can go.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.revisions.is_empty()
    }
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// How many objects.
    pub objects: usize,
    /// Objects that are being deleted and are not gone yet.
    pub going: Vec<String>,
    /// How many revisions.
    pub revisions: usize,
}

/// Says what nothing needs any more; `named` are objects that may hold data and are to go nevertheless. Changes nothing.
///
/// # Errors
/// When the cluster does not answer; when a run did not end, or something that Bowline keeps there cannot be read, for what
/// is needed is not known then; when the newest revision has no objects at all; when nothing has a name that was given.
pub async fn observe(site: &Site, keep: u32, named: &[String]) -> Outcome<Waste> {
    let looking = || Failure::failed(format!("looking for what {} does not need", site.target.name));
    let state = site.state().await?;
    if let Some(intent) = state.intents.first() {
        return Err(looking()
            .since(format!("a {} by {} has not ended: what it needs is not known", intent.verb, intent.by))
            .hint("wait for it, or deploy or roll back first"));
    }
    if let Some((name, why)) = state.unreadable.first_key_value() {
        return Err(looking()
            .since(format!("{name} on it cannot be read: {why}"))
            .hint("a newer bowline may have written it: update this one"));
    }
    let (pruned, entries) = leftovers(&state.revisions).map_err(|error| looking().because(&error))?;
    let objects: BTreeSet<ObjectId> = pruned.gone.union(&pruned.kept).cloned().collect();
    let catalog = discover(site, entries.values().filter(|entry| objects.contains(&entry.id))).await?;
    let wanted = Wanted { objects, lists: BTreeSet::new() };
    let seen = site.cluster.observe(&catalog, &wanted).await;
    let live = seen.map_err(|error| site.explain("looking at", &error))?.objects;
    for name in named {
        if !live.keys().any(|id| is_named(id, name)) {
            return Err(Failure::invalid(format!(
                "no earlier revision left an object `{name}` on {}",
                site.target.name
            ))
            .hint("name it by kind and name: `--delete PersistentVolumeClaim/data`"));
        }
    }
    let mut waste = Waste { revisions: outdated(&state.revisions, keep), ..Waste::default() };
    for (id, live) in live {
        let asked = named.iter().any(|name| is_named(&id, name));
        let Some(entry) = entries.get(&id).cloned() else { continue };
        match reason_to_keep(&live, pruned.kept.contains(&id) && !asked) {
            Some(why) => drop(waste.kept.insert(id.to_string(), why.to_owned())),
            None => waste.objects.push(Leftover { id, entry, live }),
        }
    }
    Ok(waste)
}

/// Why an object that nothing wants stays; none where it goes.
fn reason_to_keep(live: &Value, holds_data: bool) -> Option<&'static str> {
    let owners = live.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let ours = |owner: &Value| owner.get("manager").and_then(Value::as_str) == Some(MANAGER);
    let going = live.pointer("/metadata/deletionTimestamp").is_some();
    if is_login(Some(live)) {
        return Some("nodes may still pull with it");
    }
    match (holds_data, owners.into_iter().any(ours)) {
        _ if going => Some("it is being deleted already"),
        (_, false) => Some("Bowline never applied it, or somebody made it anew since"),
        (true, true) => Some("what people stored may be in it: it goes when you name it with --delete"),
        (false, true) => None,
    }
}

/// Removes what was shown, under the lock: looks once more, for others may have changed it since.
///
/// # Errors
/// Kind `Locked`: somebody else has the lock; else see [`observe`].
pub async fn prune(site: &Site, keep: u32, named: &[String], shown: &Waste) -> Outcome<Removed> {
    let lease = lock::take(site, "prune").await?;
    let work = async {
        let mut waste = observe(site, keep, named).await?;
        // Nothing goes that was not shown.
        let uid = |value: &Value| value.pointer("/metadata/uid").cloned();
        waste.objects.retain(|object| {
            shown.objects.iter().any(|other| other.id == object.id && uid(&other.live) == uid(&object.live))
        });
        waste.revisions.retain(|number| shown.revisions.contains(number));
        apply(site, lease.authority(), waste).await
    };
    let outcome = work.await;
    // It ends by itself within 30 s.
    let _ = lease.release().await;
    outcome
}

async fn apply(site: &Site, authority: &Authority, mut waste: Waste) -> Outcome<Removed> {
    let mut removed = Removed::default();
    // What runs goes before what it needs, and what holds data last.
    waste.objects.sort_by_key(|object| (!runs_pods(&object.id.kind), object.entry.id.clone()));
    let catalog = discover(site, waste.objects.iter().map(|object| &object.entry)).await?;
    for object in &waste.objects {
        let Some(resource) = resource(&catalog, &object.entry) else { continue };
        authority
            .check()
            .map_err(|lost| Failure::failed(format!("pruning {}", site.target.name)).because(&lost))?;
        let expected = Expected::object(&object.live);
        let deleted = site.cluster.delete(resource, &object.id, &expected, Dependents::After).await;
        match deleted.map_err(|error| site.explain("removing objects from", &error))? {
            Deleted::Gone | Deleted::Absent => removed.objects += 1,
            Deleted::Going => {
                removed.objects += 1;
                removed.going.push(object.id.to_string());
            }
            // Another object has the name by now: it is somebody else's.
            Deleted::Stale { .. } => {}
        }
    }
    if !waste.revisions.is_empty() {
        let forgotten = site.documents.forget(authority, &waste.revisions).await;
        forgotten.map_err(|error| {
            site.explain_any("forgetting old revisions of", &error, error.is_unreachable(), error.hint())
        })?;
        removed.revisions = waste.revisions.len();
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_ours_and_holds_nothing_goes_unasked() {
        let live = |manager: &str| json!({"metadata": {"managedFields": [{"manager": manager}]}});
        let going =
            json!({"metadata": {"managedFields": [{"manager": "bowline"}], "deletionTimestamp": "x"}});
        for (live, holds_data, goes) in [
            (live("bowline"), false, true),
            (live("bowline"), true, false),
            (live("kubectl-create"), false, false),
            (json!({}), false, false),
            (
                json!({"metadata": {"managedFields": [{"manager": "bowline"}],
                    "annotations": {"bowline.dev/login": "me@r"}}}),
                false,
                false,
            ),
            (going, false, false),
        ] {
            assert_eq!(reason_to_keep(&live, holds_data).is_none(), goes, "{live} {holds_data}");
        }
    }
}
