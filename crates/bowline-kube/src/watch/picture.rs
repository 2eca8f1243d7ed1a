//! What was seen of a cluster, as it is now: objects by identity, and who owns whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bowline_core::kube::comparison::mask;
use bowline_core::kube::object::{Kind, ObjectId, api_version};
use serde_json::Value;

/// Which feed an object came by.
pub(super) type FeedId = usize;

/// All objects that were seen.
#[derive(Default)]
pub(super) struct Picture {
    objects: BTreeMap<ObjectId, Seen>,
    /// By the uid of the owner.
    owned: BTreeMap<String, BTreeSet<ObjectId>>,
    /// By whom they are about.
    events: BTreeMap<String, BTreeSet<ObjectId>>,
}

struct Seen {
    value: Arc<Value>,
    feed: FeedId,
}

/// What a feed brings: a kind in one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Form {
    pub(super) kind: Kind,
    pub(super) version: String,
}

impl Picture {
    /// Takes in an object; whether that is news. What is older than what is known already is not.
    pub(super) fn put(&mut self, feed: FeedId, form: &Form, value: Value) -> bool {
        let Some((id, value)) = prepare(form, value) else { return false };
        if self.objects.get(&id).is_some_and(|seen| !is_newer(&value, &seen.value)) {
            return false;
        }
        self.insert(feed, id, value);
        true
    }

    /// Takes in that an object is gone; whether that is news.
    pub(super) fn remove(&mut self, form: &Form, value: Value) -> bool {
        let Some((id, value)) = prepare(form, value) else { return false };
        // Another object may have the name by now.
        let same = self.objects.get(&id).is_some_and(|seen| uid(&seen.value) == uid(&value));
        if same {
            self.forget(&id);
        }
        same
    }

    /// Takes in all objects that a feed is about, and forgets those that it brought before.
    pub(super) fn replace(&mut self, feed: FeedId, form: &Form, values: Vec<Value>) {
        let mut gone: BTreeSet<ObjectId> =
            self.objects.iter().filter(|(_, seen)| seen.feed == feed).map(|(id, _)| id.clone()).collect();
        for (id, value) in values.into_iter().filter_map(|value| prepare(form, value)) {
            gone.remove(&id);
            self.insert(feed, id, value);
        }
        for id in &gone {
            self.forget(id);
        }
    }

    pub(super) fn get(&self, id: &ObjectId) -> Option<&Arc<Value>> {
        self.objects.get(id).map(|seen| &seen.value)
    }

    /// All objects of a kind, in one namespace or in all.
    pub(super) fn of_kind(&self, kind: &Kind, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let wanted =
            |id: &ObjectId| id.kind == *kind && (namespace.is_none() || id.namespace.as_deref() == namespace);
        self.objects.iter().filter(|(id, _)| wanted(id)).map(|(_, seen)| Arc::clone(&seen.value)).collect()
    }

    /// All that an object owns, and what that owns in turn, each before what it owns itself.
    pub(super) fn owned_by(&self, value: &Value) -> Vec<Arc<Value>> {
        let mut open: Vec<String> = uid(value).map(str::to_owned).into_iter().collect();
        let mut known = BTreeSet::new();
        let mut found = Vec::new();
        while let Some(owner) = open.pop() {
            let Some(ids) = self.owned.get(&owner) else { continue };
            for id in ids.iter().filter(|id| known.insert((*id).clone())) {
                let Some(seen) = self.objects.get(id) else { continue };
                open.extend(uid(&seen.value).map(str::to_owned));
                found.push(Arc::clone(&seen.value));
            }
        }
        found
    }

    /// What happened to an object, the oldest first as far as names tell.
    pub(super) fn events_of(&self, id: &ObjectId, value: &Value) -> Vec<Arc<Value>> {
        let keys =
            [uid(value).map(str::to_owned), Some(by_name(&id.kind.kind, id.namespace.as_deref(), &id.name))];
        let ids = keys.iter().flatten().filter_map(|key| self.events.get(key)).flatten();
        ids.filter_map(|id| self.get(id)).map(Arc::clone).collect()
    }

    fn insert(&mut self, feed: FeedId, id: ObjectId, value: Value) {
        self.forget(&id);
        for owner in owners(&value) {
            self.owned.entry(owner.to_owned()).or_default().insert(id.clone());
        }
        if let Some(about) = about(&id, &value) {
            self.events.entry(about).or_default().insert(id.clone());
        }
        self.objects.insert(id, Seen { value: Arc::new(value), feed });
    }

    fn forget(&mut self, id: &ObjectId) {
        let Some(seen) = self.objects.remove(id) else { return };
        for owner in owners(&seen.value) {
            take_out(&mut self.owned, owner, id);
        }
        if let Some(about) = about(id, &seen.value) {
            take_out(&mut self.events, &about, id);
        }
    }
}

fn take_out(index: &mut BTreeMap<String, BTreeSet<ObjectId>>, key: &str, id: &ObjectId) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

/// An object as it is kept: lists leave out what it is, and who manages which field is of no use here and large.
fn prepare(form: &Form, mut value: Value) -> Option<(ObjectId, Value)> {
    let map = value.as_object_mut()?;
    map.insert("apiVersion".into(), api_version(&form.kind.group, &form.version).into());
    map.insert("kind".into(), form.kind.kind.as_str().into());
    let metadata = map.get_mut("metadata")?.as_object_mut()?;
    metadata.remove("managedFields");
    let text = |field: &str| metadata.get(field).and_then(Value::as_str).map(str::to_owned);
    let id = ObjectId { kind: form.kind.clone(), namespace: text("namespace"), name: text("name")? };
    // A picture is looked at, shown and kept as evidence.
    mask(&mut value);
    Some((id, value))
}

/// Whether an object is a later state of another, or one that took its name. Versions of one object count upwards; where
/// they are no numbers, what is told last is the latest.
fn is_newer(value: &Value, than: &Value) -> bool {
    let version = |value: &Value| {
        value.pointer("/metadata/resourceVersion").and_then(Value::as_str)?.parse::<u64>().ok()
    };
    uid(value) != uid(than) || version(value).zip(version(than)).is_none_or(|(a, b)| a > b)
}

fn uid(value: &Value) -> Option<&str> {
    value.pointer("/metadata/uid").and_then(Value::as_str)
}

fn owners(value: &Value) -> impl Iterator<Item = &str> {
    let owners = value.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().filter_map(|owner| owner.get("uid")?.as_str())
}

/// Whom an event is about.
fn about(id: &ObjectId, value: &Value) -> Option<String> {
    if id.kind.kind != "Event" {
        return None;
    }
    let object = value.get("involvedObject").or_else(|| value.get("regarding"))?;
    let text = |field: &str| object.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(uid) = text("uid") {
        return Some(uid.to_owned());
    }
    Some(by_name(text("kind")?, text("namespace"), text("name")?))
}

fn by_name(kind: &str, namespace: Option<&str>, name: &str) -> String {
    format!("{kind} {}/{name}", namespace.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(group: &str, kind: &str) -> Form {
        Form { kind: Kind::new(group, kind), version: "v1".into() }
    }

    fn object(name: &str, uid: &str, version: u64, owner: Option<&str>) -> Value {
        let owners: Vec<_> = owner.into_iter().map(|uid| json!({"uid": uid})).collect();
        json!({"metadata": {"name": name, "namespace": "chat", "uid": uid, "managedFields": [1],
            "resourceVersion": version.to_string(), "ownerReferences": owners}})
    }

    fn names(values: &[Arc<Value>]) -> Vec<&str> {
        values.iter().filter_map(|value| value["metadata"]["name"].as_str()).collect()
    }

    #[test]
    fn ownership_leads_from_a_deployment_to_its_pods_and_their_events() {
        let mut picture = Picture::default();
        let (deployment, set, pod) =
            (form("apps", "Deployment"), form("apps", "ReplicaSet"), form("", "Pod"));
        picture.put(2, &pod, object("user-1-a", "p1", 4, Some("r1")));
        picture.put(2, &pod, object("other", "p2", 5, Some("r9")));
        picture.put(1, &set, object("user-1", "r1", 3, Some("d1")));
        picture.put(0, &deployment, object("user", "d1", 2, None));
        let event = json!({"metadata": {"name": "e1", "namespace": "chat"}, "involvedObject": {"uid": "p1"}});
        picture.put(3, &form("", "Event"), event);
        let id = ObjectId::namespaced("apps", "Deployment", "chat", "user");
        let object = Arc::clone(picture.get(&id).unwrap());
        assert_eq!((&object["kind"], &object["apiVersion"]), (&json!("Deployment"), &json!("apps/v1")));
        assert_eq!(object["metadata"].get("managedFields"), None);
        let owned = picture.owned_by(&object);
        assert_eq!(names(&owned), ["user-1", "user-1-a"]);
        let pod_id = ObjectId::namespaced("", "Pod", "chat", "user-1-a");
        assert_eq!(names(&picture.events_of(&pod_id, &owned[1])), ["e1"]);
    }

    #[test]
    fn what_is_older_does_not_come_back() {
        let mut picture = Picture::default();
        let pod = form("", "Pod");
        let id = ObjectId::namespaced("", "Pod", "chat", "a");
        assert!(picture.put(0, &pod, object("a", "p1", 10, None)));
        assert!(!picture.put(0, &pod, object("a", "p1", 9, None)));
        assert!(picture.put(0, &pod, object("a", "p2", 8, None)), "another object of the same name");
        assert!(!picture.remove(&pod, object("a", "p1", 11, None)));
        assert!(picture.get(&id).is_some());
        assert!(picture.remove(&pod, object("a", "p2", 12, None)));
        assert!(picture.get(&id).is_none());
    }

    #[test]
    fn secret_values_are_not_in_the_picture() {
        let mut picture = Picture::default();
        let mut secret = object("database", "s1", 1, None);
        secret["data"] = json!({"password": "aHVudGVyMg=="});
        picture.put(0, &form("", "Secret"), secret);
        let seen = picture.of_kind(&Kind::new("", "Secret"), None);
        assert!(!seen[0].to_string().contains("aHVudGVyMg"), "{}", seen[0]);
    }

    #[test]
    fn a_new_list_replaces_what_its_feed_brought_and_nothing_else() {
        let mut picture = Picture::default();
        let pod = form("", "Pod");
        picture.replace(0, &pod, vec![object("a", "a", 1, Some("o")), object("b", "b", 1, Some("o"))]);
        picture.replace(1, &form("apps", "ReplicaSet"), vec![object("o", "o", 1, None)]);
        picture.replace(0, &pod, vec![object("b", "b", 2, Some("o")), object("c", "c", 2, None)]);
        assert_eq!(names(&picture.of_kind(&pod.kind, Some("chat"))), ["b", "c"]);
        assert!(picture.of_kind(&pod.kind, Some("elsewhere")).is_empty());
        assert_eq!(names(&picture.owned_by(&object("o", "o", 1, None))), ["b"]);
    }
}
