//! How people call objects: `users`, `Deployment/users`, `chat/Deployment/users`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::object::{Kind, ObjectId};
use super::revision::PlacedImage;
use super::workload::{containers, pod_spec};

/// What each object is called among these: by its name where that is enough, else by kind and name, else by all of it.
pub fn names<'i>(ids: impl IntoIterator<Item = &'i ObjectId>) -> BTreeMap<ObjectId, String> {
    let ids: BTreeSet<&ObjectId> = ids.into_iter().collect();
    let is_enough = |form: &dyn Fn(&ObjectId) -> String, id: &ObjectId| {
        ids.iter().filter(|other| form(other) == form(id)).count() == 1
    };
    let by_kind = |id: &ObjectId| format!("{}/{}", id.kind, id.name);
    let called = |id: &ObjectId| {
        if is_enough(&|id| id.name.clone(), id) {
            id.name.clone()
        } else if is_enough(&by_kind, id) {
            by_kind(id)
        } else {
            format!("{}/{}", id.namespace.as_deref().unwrap_or_default(), by_kind(id))
        }
    };
    ids.iter().map(|id| ((*id).clone(), called(id))).collect()
}

/// Whether `Kind/name` or `namespace/Kind/name` means this object.
pub fn is_named(id: &ObjectId, name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let is = |kind: &str, name: &str| id.kind.kind.eq_ignore_ascii_case(kind) && id.name == name;
    match parts.as_slice() {
        [kind, name] => is(kind, name),
        [namespace, kind, name] => id.namespace.as_deref() == Some(namespace) && is(kind, name),
        _ => false,
    }
}

/// The services of ours whose images an object runs. `images` are those that revisions placed, by service.
pub fn services_of<'s>(
    kind: &Kind,
    object: &Value,
    images: impl IntoIterator<Item = (&'s String, &'s PlacedImage)>,
) -> BTreeSet<&'s str> {
    let Some(spec) = pod_spec(kind, object) else { return BTreeSet::new() };
    let named: BTreeSet<&str> =
        containers(spec).filter_map(|container| container.get("image")?.as_str()).collect();
    let used = images.into_iter().filter(|(_, placed)| named.contains(placed.reference.as_str()));
    used.map(|(service, _)| service.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_as_long_as_it_has_to_be() {
        let ids = [
            ObjectId::namespaced("apps", "Deployment", "chat", "users"),
            ObjectId::namespaced("apps", "Deployment", "chat", "nats"),
            ObjectId::namespaced("apps", "StatefulSet", "chat", "nats"),
            ObjectId::namespaced("batch", "Job", "chat", "clean"),
            ObjectId::namespaced("batch", "Job", "shop", "clean"),
        ];
        let names = names(&ids);
        let told: Vec<&str> = ids.iter().map(|id| names[id].as_str()).collect();
        assert_eq!(
            told,
            ["users", "Deployment/nats", "StatefulSet/nats", "chat/Job/clean", "shop/Job/clean"]
        );
        for (name, is) in [
            ("deployment/users", true),
            ("chat/Deployment/users", true),
            ("shop/Deployment/users", false),
            ("users", false),
            ("Service/users", false),
        ] {
            assert_eq!(is_named(&ids[0], name), is, "{name}");
        }
    }

    #[test]
    fn an_image_says_whose_workload_it_is() {
        let placed = |reference: &str| PlacedImage { reference: reference.into(), id: None };
        let images = BTreeMap::from([
            ("users".to_owned(), placed("reg/chat:users_v1@sha256:a")),
            ("web".to_owned(), placed("reg/chat:web_v1@sha256:b")),
        ]);
        let spec = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "a", "image": "reg/chat:users_v1@sha256:a"}, {"name": "b", "image": "nginx"}]}}}});
        let found = services_of(&Kind::new("apps", "Deployment"), &spec, &images);
        assert_eq!(found, BTreeSet::from(["users"]));
        assert!(services_of(&Kind::new("", "Service"), &spec, &images).is_empty());
    }
}
