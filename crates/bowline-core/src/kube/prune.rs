//! Which objects of an earlier release are no longer wanted.

use std::collections::{BTreeMap, BTreeSet};

use super::comparison::{Loss, loss};
use super::object::ObjectId;
use super::pull_secret::OWN;
use super::revision::{Entry, Inventory, Revision};

/// What would go, and what stays although nothing wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// These go.
    pub gone: BTreeSet<ObjectId>,
    /// These may hold what people stored: they go only when somebody names them.
    pub kept: BTreeSet<ObjectId>,
}

/// Why nothing is pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PruneError {
    /// A release without objects would take away everything: that is a mistake in a path far more often than a wish.
    #[error("the release has no objects at all: everything would be deleted")]
    Everything,
}

/// The objects of the last revision that are not wanted any more. Nothing that Bowline did not apply itself is among them,
/// and no ServiceAccount that it only attached something to: it is others', and the tokens of all pods go with it. Logins of
/// nodes stay as well: a release that was deployed without one says nothing of whether they need it.
///
/// # Errors
/// When nothing is wanted.
pub fn prune(inventory: &Inventory, wanted: &BTreeSet<ObjectId>) -> Result<Pruned, PruneError> {
    if wanted.is_empty() {
        return Err(PruneError::Everything);
    }
    let attached = |entry: &&Entry| {
        let Entry { id, origin, .. } = entry;
        let login = id.kind.is("", "Secret") && id.name.starts_with(OWN);
        origin.is_none() && (id.kind.is("", "ServiceAccount") || login)
    };
    let unwanted = inventory.iter().filter(|entry| !attached(entry)).map(|entry| &entry.id);
    let unwanted = unwanted.filter(|id| !wanted.contains(*id)).cloned();
    let (kept, gone) = unwanted.partition(|id| loss(&id.kind) == Loss::Data);
    Ok(Pruned { gone, kept })
}

/// The objects of all revisions but the newest that the newest does not have, each with the version of its API that it was
/// last written in.
///
/// # Errors
/// When the newest has none.
pub fn leftovers(
    revisions: &BTreeMap<u64, Revision>,
) -> Result<(Pruned, BTreeMap<ObjectId, Entry>), PruneError> {
    let Some((_, newest)) = revisions.last_key_value() else { return Ok(Default::default()) };
    let earlier = revisions.values().flat_map(|revision| revision.inventory.iter());
    let entries: BTreeMap<ObjectId, Entry> = earlier.map(|entry| (entry.id.clone(), entry.clone())).collect();
    let all: Inventory = entries.values().cloned().collect();
    let pruned = prune(&all, &newest.inventory.ids().cloned().collect())?;
    Ok((pruned, entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::kube::comparison::Remembered;

    fn inventory(ids: &[ObjectId]) -> Inventory {
        let digest = Digest::of(b"x");
        let remembered = Remembered { desired: digest, live: digest, yielded: Vec::new() };
        let entry = |id: &ObjectId| Entry {
            id: id.clone(),
            version: "v1".into(),
            remembered: Some(remembered.clone()),
            origin: None,
        };
        ids.iter().map(entry).collect()
    }

    #[test]
    fn data_stays_and_an_empty_release_is_refused() {
        let service = ObjectId::namespaced("", "Service", "chat", "old");
        let claim = ObjectId::namespaced("", "PersistentVolumeClaim", "chat", "data");
        let namespace = ObjectId::of_cluster("", "Namespace", "chat");
        let kept = ObjectId::namespaced("apps", "Deployment", "chat", "user");
        let account = ObjectId::namespaced("", "ServiceAccount", "chat", "default");
        let login = ObjectId::namespaced("", "Secret", "chat", "bowline-registry-chat");
        let all = [service.clone(), claim.clone(), namespace.clone(), kept.clone(), account, login];
        let all = inventory(&all);
        let pruned = prune(&all, &BTreeSet::from([kept])).unwrap();
        assert_eq!(pruned, Pruned { gone: [service].into(), kept: [claim, namespace].into() });
        assert_eq!(prune(&all, &BTreeSet::new()), Err(PruneError::Everything));
    }
}
