//! How the objects of a cluster differ from what a revision left there.

use std::collections::BTreeMap;

use serde_json::Value;

use super::comparison::{Change, Remembered, Shown, project};
use super::conflict::{MANAGER, without};
use super::object::ObjectId;
use super::revision::Inventory;
use crate::digest::Digest;

/// What became of an object since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drift {
    /// It is not there any more.
    Gone,
    /// A field of its manifest is not as it was left, or it is another object of that name.
    Changed,
}

/// The objects of a revision that are not as it left them. `manifests` are those that it applied; what it withheld may be
/// missing in them. Of what was never applied nothing but its absence is known.
pub fn find(
    inventory: &Inventory,
    manifests: &BTreeMap<ObjectId, Value>,
    live: &BTreeMap<ObjectId, Value>,
) -> BTreeMap<ObjectId, Drift> {
    let judge = |(id, remembered): (&ObjectId, Option<&Remembered>)| {
        let Some(live) = live.get(id) else { return Some((id.clone(), Drift::Gone)) };
        let (manifest, remembered) = (manifests.get(id)?, remembered?);
        let now = Digest::of_json(&project(&without(manifest, &remembered.yielded), live));
        (now != remembered.live).then(|| (id.clone(), Drift::Changed))
    };
    inventory.iter().map(|entry| (&entry.id, entry.remembered.as_ref())).filter_map(judge).collect()
}

/// What is different in an object, in words, from the changes that would set it right: from what it is to what was left.
/// Nothing where it is as it was left after all.
pub fn explain(changes: &[Change], live: &Value) -> Vec<String> {
    if changes.is_empty() {
        let owners = live.pointer("/metadata/managedFields").and_then(Value::as_array);
        let ours = |owner: &Value| owner.get("manager").and_then(Value::as_str) == Some(MANAGER);
        return match owners {
            Some(owners) if !owners.iter().any(ours) => {
                vec!["was deleted and made anew by somebody else".into()]
            }
            _ => Vec::new(),
        };
    }
    changes.iter().map(words).collect()
}

fn words(change: &Change) -> String {
    let path = &change.path;
    match (&change.before, &change.after) {
        (Shown::Absent, Shown::Text(left)) => format!("{path} is gone, was {left}"),
        (Shown::Absent, _) => format!("{path} is gone"),
        (Shown::Text(now), Shown::Absent) => format!("{path} was added: {now}"),
        (_, Shown::Absent) => format!("{path} was added"),
        (Shown::Text(now), Shown::Text(left)) => format!("{path} is {now}, was {left}"),
        _ => format!("{path} is another one"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kube::comparison::{difference, remember};
    use crate::kube::revision::Entry;

    fn deployment(uid: &str, replicas: u64) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "user", "uid": uid,
            "managedFields": [{"manager": "bowline"}]}, "spec": {"replicas": replicas, "paused": false}})
    }

    #[test]
    fn what_is_ours_and_changed_is_found_and_nothing_else() {
        let id = ObjectId::namespaced("apps", "Deployment", "chat", "user");
        let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 2}});
        let entry = |remembered| Entry { id: id.clone(), version: "v1".into(), remembered, origin: None };
        let left = Some(remember(&manifest, &deployment("1", 2), &[]));
        let yielded = Some(remember(&manifest, &deployment("1", 2), &[".spec.replicas".into()]));
        let unpaused = |mut value: Value| {
            value["spec"]["paused"] = json!(true);
            Some(value)
        };
        for (remembered, live, expected) in [
            (left.clone(), Some(deployment("1", 2)), None),
            (left.clone(), unpaused(deployment("1", 2)), None),
            (left.clone(), Some(deployment("1", 3)), Some(Drift::Changed)),
            (left.clone(), Some(deployment("2", 2)), Some(Drift::Changed)),
            (left, None, Some(Drift::Gone)),
            (yielded, Some(deployment("1", 9)), None),
            (None, Some(deployment("1", 9)), None),
            (None, None, Some(Drift::Gone)),
        ] {
            let inventory: Inventory = [entry(remembered)].into_iter().collect();
            let live: BTreeMap<_, _> = live.map(|live| (id.clone(), live)).into_iter().collect();
            let found = find(&inventory, &BTreeMap::from([(id.clone(), manifest.clone())]), &live);
            assert_eq!(found.get(&id).copied(), expected, "{live:?}");
        }
    }

    #[test]
    fn differences_are_told_as_somebody_made_them() {
        let live = deployment("1", 5);
        let mut left = deployment("1", 2);
        left["spec"]["minReadySeconds"] = json!(4);
        left["spec"].as_object_mut().unwrap().shift_remove("paused");
        let told = explain(&difference(&live, &left), &live);
        assert_eq!(
            told,
            [
                ".spec.minReadySeconds is gone, was 4",
                ".spec.paused was added: false",
                ".spec.replicas is 5, was 2"
            ]
        );
        assert!(explain(&[], &live).is_empty());
        let other = json!({"metadata": {"managedFields": [{"manager": "kubectl-create"}]}});
        assert_eq!(explain(&[], &other), ["was deleted and made anew by somebody else"]);
        let hidden = Change { path: ".data.a".into(), before: Shown::Hidden, after: Shown::Hidden };
        assert_eq!(explain(&[hidden], &live), [".data.a is another one"]);
    }
}
