use std::collections::BTreeSet;

use bowline_core::kube::object::{Kind, ObjectId};
use bowline_kube::{Expected, Wanted};
use futures_util::future::join_all;
use serde_json::json;

use crate::lab::{Lab, deployment};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_objects_are_applied_at_once_and_looked_at_in_pages() {
    let Some(lab) = Lab::open("many").await else { return };
    let manifests: Vec<_> = (0..1000)
        .map(|number| {
            let name = format!("map-{number}");
            lab.manifest(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}}))
        })
        .collect();
    let start = std::time::Instant::now();
    join_all(manifests.iter().map(|manifest| lab.apply(manifest, &Expected::Anything, false))).await;
    println!("1000 applied in {:?}", start.elapsed());
    let objects: BTreeSet<_> = manifests.iter().map(|manifest| manifest.id.clone()).collect();
    let absent = ObjectId::namespaced("", "ConfigMap", &lab.namespace, "absent");
    let wanted = Wanted {
        objects: objects.iter().cloned().chain([absent]).collect(),
        lists: BTreeSet::from([
            (Kind::new("", "Namespace"), None),
            (Kind::new("x.example.com", "Unknown"), None),
        ]),
    };
    let start = std::time::Instant::now();
    let observation = lab.cluster.observe(&lab.catalog, &wanted).await.unwrap();
    println!("1000 observed in {:?}", start.elapsed());
    assert!(objects.iter().all(|id| observation.objects.contains_key(id)));
    assert!(observation.objects.contains_key(&ObjectId::of_cluster("", "Namespace", &lab.namespace)));
    assert_eq!(observation.notes, [""; 0]);
    let one = &observation.objects[&manifests[0].id];
    assert_eq!(
        (&one["kind"], &one["apiVersion"], &one["data"]["a"]),
        (&json!("ConfigMap"), &json!("v1"), &json!("b"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_listed_is_asked_for_by_name_and_secrets_stay_secret() {
    let Some(lab) = Lab::open("rights").await else { return };
    let user = format!("{}-ci", lab.namespace);
    lab.applied(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": [
        {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]},
    ]}))
    .await;
    lab.applied(
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]}),
    )
    .await;
    let mut wanted = Wanted::default();
    let kinds = [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"password": "hunter2"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}, "spec": {"ports": [{"port": 80}]}}),
        deployment("app", "app:1"),
        deployment("other", "app:1"),
    ];
    for value in kinds {
        let manifest = lab.manifest(value.clone());
        let live = lab.applied(value).await;
        assert!(!live.to_string().contains("hunter2") && !live.to_string().contains("aHVudGVyMg"), "{live}");
        wanted.objects.insert(manifest.id);
    }
    let cluster = lab.as_user(&user).await;
    let observation = cluster.observe(&lab.catalog, &wanted).await.unwrap();
    let seen: Vec<_> = observation.objects.keys().map(|id| format!("{} {}", id.kind, id.name)).collect();
    assert_eq!(seen, ["ConfigMap one", "ConfigMap two", "Secret db", "Deployment app", "Deployment other"]);
    assert_eq!(observation.unseen.len(), 2, "{:?}", observation.unseen);
    assert!(observation.notes.iter().any(|note| note.contains("services") && note.contains("forbidden")));
    let all = format!("{observation:?}");
    assert!(all.contains("sha256:") && !all.contains("hunter2") && !all.contains("aHVudGVyMg"), "{all}");
}
