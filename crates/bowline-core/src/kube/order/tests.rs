use serde_json::{Value, json};

use super::*;
use crate::kube::object::{Origin, identify, split_api_version};

/// A manifest from its value.
pub(crate) fn manifest(file: &str, value: Value) -> Manifest {
    let id = identify(&value).unwrap();
    let version = value["apiVersion"].as_str().map(|text| split_api_version(text).1.to_owned()).unwrap();
    Manifest { id, version, value, origin: Origin { file: file.into(), line: 1, column: 1 } }
}

fn api_version(kind: &str) -> &str {
    match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" => "apps/v1",
        "Job" | "CronJob" => "batch/v1",
        "Role" | "RoleBinding" | "ClusterRole" => "rbac.authorization.k8s.io/v1",
        "NetworkPolicy" | "Ingress" => "networking.k8s.io/v1",
        "StorageClass" => "storage.k8s.io/v1",
        "HorizontalPodAutoscaler" => "autoscaling/v2",
        "PodDisruptionBudget" => "policy/v1",
        "CustomResourceDefinition" => "apiextensions.k8s.io/v1",
        "ValidatingWebhookConfiguration" => "admissionregistration.k8s.io/v1",
        "Kafka" => "kafka.strimzi.io/v1",
        _ => "v1",
    }
}

/// `Deployment chat/user` in a file, with these fields.
pub(crate) fn object(file: &str, name: &str, fields: Value) -> Manifest {
    let (kind, name) = name.split_once(' ').unwrap();
    let mut metadata = match name.split_once('/') {
        Some((namespace, name)) => json!({"namespace": namespace, "name": name}),
        None => json!({"name": name}),
    };
    let mut value = json!({"apiVersion": api_version(kind), "kind": kind});
    for (field, content) in fields.as_object().unwrap() {
        match field.as_str() {
            "after" => metadata["annotations"] = json!({DEPENDS_ON: content}),
            _ => value[field] = content.clone(),
        }
    }
    value["metadata"] = metadata;
    manifest(file, value)
}

fn mounting(config: &str) -> Value {
    json!({"spec": {"template": {"spec": {"volumes": [{"configMap": {"name": config}}]}}}})
}

fn order(objects: &[Manifest]) -> Vec<String> {
    describe(&edges(objects).unwrap())
}

#[test]
fn the_order_of_a_small_release_says_why() {
    let none = || json!({});
    let objects = [
        object("a.yaml", "Deployment chat/user", mounting("settings")),
        object(
            "a.yaml",
            "HorizontalPodAutoscaler chat/user",
            json!({"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "user"}}}),
        ),
        object(
            "a.yaml",
            "Ingress chat/web",
            json!({"spec": {"defaultBackend": {"service": {"name": "user"}}}}),
        ),
        object("a.yaml", "Service chat/user", none()),
        object("a.yaml", "ConfigMap chat/settings", none()),
        object("a.yaml", "PersistentVolumeClaim chat/data", json!({"spec": {"storageClassName": "manual"}})),
        object("a.yaml", "PersistentVolume disk", json!({"spec": {"storageClassName": "manual"}})),
        object("a.yaml", "ResourceQuota chat/limits", none()),
        object("a.yaml", "PodDisruptionBudget chat/user", none()),
        object("a.yaml", "Namespace chat", none()),
        object(
            "a.yaml",
            "StatefulSet chat/db",
            json!({"spec": {"serviceName": "db", "template": {"spec": {
            "volumes": [{"persistentVolumeClaim": {"claimName": "data"}}]}}}}),
        ),
        object("a.yaml", "Service chat/db", none()),
    ];
    let expected = [
        "Namespace chat",
        "ResourceQuota chat/limits after Namespace chat, in which it lives",
        "PodDisruptionBudget chat/user after Namespace chat, in which it lives",
        "PersistentVolume disk",
        "PersistentVolumeClaim chat/data after Namespace chat, in which it lives; PersistentVolume disk, to which it is bound",
        "ConfigMap chat/settings after Namespace chat, in which it lives",
        "Service chat/db after Namespace chat, in which it lives",
        "Service chat/user after Namespace chat, in which it lives",
        "Deployment chat/user after Namespace chat, in which it lives; ConfigMap chat/settings, which it mounts; \
         ResourceQuota chat/limits, which it must keep to; Service chat/db, which its environment tells of; \
         Service chat/user, which its environment tells of",
        "StatefulSet chat/db after Namespace chat, in which it lives; \
         PersistentVolumeClaim chat/data, which it mounts; Service chat/db, which names its pods; \
         ResourceQuota chat/limits, which it must keep to; Service chat/user, which its environment tells of",
        "HorizontalPodAutoscaler chat/user after Namespace chat, in which it lives; Deployment chat/user, which it scales",
        "Ingress chat/web after Namespace chat, in which it lives; Service chat/user, to which it routes",
    ];
    assert_eq!(order(&objects), expected);
    let mut turned = objects.to_vec();
    turned.reverse();
    assert_eq!(order(&turned), expected, "the sequence of the files does not matter");
}

#[test]
fn rights_come_before_the_pods_that_use_them() {
    let account = json!({"spec": {"template": {"spec": {"serviceAccountName": "user"}}}});
    let objects = [
        object("a.yaml", "Deployment chat/user", account),
        object(
            "a.yaml",
            "RoleBinding chat/reads",
            json!({"roleRef": {"kind": "Role", "name": "reader"}, "subjects": [{"kind": "ServiceAccount", "name": "user"}]}),
        ),
        object("a.yaml", "Role chat/reader", json!({})),
        object("a.yaml", "ServiceAccount chat/user", json!({})),
    ];
    assert_eq!(
        order(&objects),
        [
            "ServiceAccount chat/user",
            "Role chat/reader",
            "RoleBinding chat/reads after Role chat/reader, which it grants; \
             ServiceAccount chat/user, to which it grants a role",
            "Deployment chat/user after ServiceAccount chat/user, as which it runs; \
             RoleBinding chat/reads, which gives it its rights",
        ]
    );
}

#[test]
fn custom_resources_come_after_their_kind_and_webhooks_after_pods() {
    let objects = [
        object(
            "a.yaml",
            "ValidatingWebhookConfiguration hook",
            json!({"webhooks": [{"clientConfig": {"service": {"namespace": "chat", "name": "op"}}}]}),
        ),
        object("a.yaml", "Kafka chat/events", json!({"after": "operator"})),
        object("a.yaml", "Deployment chat/operator", json!({"spec": {"template": {"spec": {}}}})),
        object("a.yaml", "Service chat/op", json!({})),
        object(
            "a.yaml",
            "CustomResourceDefinition kafkas.kafka.strimzi.io",
            json!({"spec": {"group": "kafka.strimzi.io", "names": {"kind": "Kafka"}}}),
        ),
    ];
    assert_eq!(
        order(&objects),
        [
            "CustomResourceDefinition kafkas.kafka.strimzi.io",
            "Service chat/op",
            "Deployment chat/operator after Service chat/op, which its environment tells of",
            "Kafka chat/events after CustomResourceDefinition kafkas.kafka.strimzi.io, which defines its kind; \
             Deployment chat/operator, as its annotation bowline.dev/depends-on asks",
            "ValidatingWebhookConfiguration hook after Service chat/op, which is called for it; \
             Deployment chat/operator, which it could hinder",
        ]
    );
}

#[test]
fn what_is_optional_or_elsewhere_is_not_waited_for() {
    let volumes = json!([{"configMap": {"name": "a", "optional": true}}, {"configMap": {"name": "b"}}]);
    let objects = [
        object(
            "a.yaml",
            "Deployment chat/user",
            json!({"spec": {"template": {"spec": {"volumes": volumes}}}}),
        ),
        object("a.yaml", "ConfigMap chat/a", json!({})),
        object("a.yaml", "ConfigMap other/b", json!({})),
    ];
    assert_eq!(order(&objects), ["ConfigMap chat/a", "ConfigMap other/b", "Deployment chat/user"]);
}

#[test]
fn annotations_ask_for_an_order() {
    let objects = |after: &str| {
        [
            object("k8s/user.yaml", "Deployment chat/user", json!({"after": after})),
            object("k8s/db.yaml", "Deployment chat/postgres", json!({})),
            object("k8s/db.yaml", "Service chat/postgres", json!({})),
            object("k8s/db.yaml", "Job chat/migrate", json!({"after": "postgres"})),
            object("k8s/db.yaml", "StatefulSet other/nats", json!({})),
            object("k8s/db.yaml", "CronJob chat/twin", json!({})),
            object("k8s/db.yaml", "Job chat/twin", json!({})),
        ]
    };
    let all = order(&objects("postgres, job/migrate,other/StatefulSet/nats"));
    assert_eq!(
        all.iter().find(|line| line.starts_with("Deployment chat/user")).unwrap(),
        "Deployment chat/user after Deployment chat/postgres, as its annotation bowline.dev/depends-on asks; \
         Job chat/migrate, as its annotation bowline.dev/depends-on asks; \
         StatefulSet other/nats, as its annotation bowline.dev/depends-on asks; \
         Service chat/postgres, which its environment tells of"
    );
    let problem = |after: &str| match edges(&objects(after)).unwrap_err() {
        OrderError::Requests(problems) => {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
        other @ OrderError::Circle(_) => panic!("{other}"),
    };
    let head = "k8s/user.yaml:1:1: Deployment chat/user: bowline.dev/depends-on names";
    for (after, expected) in [
        ("a/b/c/d", "`a/b/c/d`, which is not of the form `name`, `Kind/name` or `namespace/Kind/name`"),
        ("postgres,", "``, which is not of the form `name`, `Kind/name` or `namespace/Kind/name`"),
        ("job/migrat", "`job/migrat`, which this release does not have; did you mean Job chat/migrate?"),
        (
            "statefulset/nats",
            "`statefulset/nats`, which this release does not have; did you mean StatefulSet other/nats?",
        ),
        ("zookeeper", "`zookeeper`, which this release does not have"),
        ("twin", "`twin`, which may be CronJob chat/twin or Job chat/twin: write its kind too"),
        ("user", "`user`, which is the object itself"),
    ] {
        assert_eq!(problem(after), format!("{head} {expected}"), "{after}");
    }
    assert_eq!(problem("x, y").lines().count(), 2, "all problems are told at once");
}

#[test]
fn numbered_files_wait_for_all_of_those_before() {
    let objects = [
        object("k8s/p1-namespace.yaml", "Namespace chat", json!({})),
        object("k8s/p2-db/a.yaml", "StatefulSet chat/db", json!({})),
        object("k8s/p2-db/b.yaml", "StatefulSet chat/cache", json!({})),
        object("k8s/p2-db/c.yaml", "StatefulSet chat/queue", json!({})),
        object("k8s/p3-web.yaml", "Deployment chat/a", json!({})),
        object("k8s/p3-web.yaml", "Deployment chat/b", json!({})),
        object("k8s/p3-web.yaml", "ConfigMap chat/c", json!({})),
        object("k8s/tools.yaml", "Deployment chat/tools", json!({})),
    ];
    let ordering = edges(&objects).unwrap();
    assert_eq!(
        describe(&ordering),
        [
            "Namespace chat",
            "Deployment chat/tools after Namespace chat, in which it lives",
            "StatefulSet chat/cache after Namespace chat, in which it lives",
            "StatefulSet chat/db after Namespace chat, in which it lives",
            "StatefulSet chat/queue after Namespace chat, in which it lives",
            "all of p2- after StatefulSet chat/cache; StatefulSet chat/db; StatefulSet chat/queue; Namespace chat",
            "ConfigMap chat/c after Namespace chat, in which it lives; all of p2-, as its file is of group p3-",
            "Deployment chat/a after Namespace chat, in which it lives; all of p2-, as its file is of group p3-",
            "Deployment chat/b after Namespace chat, in which it lives; all of p2-, as its file is of group p3-",
        ]
    );
    let web = ordering.among(|id| id.name == "a" || id.name == "chat");
    assert_eq!(
        describe(&web),
        ["Namespace chat", "Deployment chat/a after Namespace chat, in which it lives"],
        "nothing of p2- is applied"
    );
    let two = ordering.among(|id| id.name == "a" || id.name == "db");
    assert_eq!(
        describe(&two),
        ["StatefulSet chat/db", "Deployment chat/a after StatefulSet chat/db, as its file is of group p3-"]
    );
}

#[test]
fn a_number_wins_over_custom() {
    let objects = [
        object("p1-a.yaml", "Deployment chat/a", json!({})),
        object("p2-a.yaml", "Service chat/a", json!({})),
        object("p3-b.yaml", "Deployment chat/b", json!({})),
    ];
    assert_eq!(
        order(&objects),
        [
            "Deployment chat/a",
            "Service chat/a after Deployment chat/a, as its file is of group p2-",
            "Deployment chat/b after Service chat/a, as its file is of group p3-; \
             Deployment chat/a, as its file is of group p3-",
        ]
    );
}

#[test]
fn a_circle_names_objects_and_reasons() {
    let circle = |objects: &[Manifest]| match edges(objects).unwrap_err() {
        OrderError::Circle(circle) => circle.to_string(),
        other @ OrderError::Requests(_) => panic!("{other}"),
    };
    assert_eq!(
        circle(&[
            object("p1-user.yaml", "Deployment chat/user", mounting("settings")),
            object("p2-settings.yaml", "ConfigMap chat/settings", json!({})),
        ]),
        "ConfigMap chat/settings waits for all of p1-, as its file is of group p2-; \
         all of p1- waits for Deployment chat/user, which belongs to it; \
         Deployment chat/user waits for ConfigMap chat/settings, which it mounts"
    );
    assert_eq!(
        circle(&[
            object("x.yaml", "Deployment chat/a", json!({"after": "b"})),
            object("x.yaml", "Deployment chat/b", json!({"after": "a"})),
            object("x.yaml", "Deployment chat/c", json!({"after": "b"})),
        ]),
        "Deployment chat/a waits for Deployment chat/b, as its annotation bowline.dev/depends-on asks; \
         Deployment chat/b waits for Deployment chat/a, as its annotation bowline.dev/depends-on asks"
    );
}

#[test]
fn edges_do_not_explode() {
    let mut objects = Vec::new();
    for number in 0..1000 {
        let file = format!("k8s/p{}-x/{number}.yaml", number % 4);
        let account = format!("account{}", number % 10);
        let fields = json!({"spec": {"template": {"spec": {
            "serviceAccountName": account, "volumes": [{"configMap": {"name": format!("settings{number}")}}]}}}});
        objects.push(object(&file, &format!("Deployment chat/user{number}"), fields));
        objects.push(object(&file, &format!("ConfigMap chat/settings{number}"), json!({})));
        objects.push(object(&file, &format!("Service chat/user{number}"), json!({})));
        objects.push(object("k8s/p0-x.yaml", &format!("NetworkPolicy chat/policy{number}"), json!({})));
        let binding = json!({"roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": account}]});
        objects.push(object("k8s/p0-x.yaml", &format!("RoleBinding chat/binding{number}"), binding));
    }
    let ordering = edges(&objects).unwrap();
    assert!(ordering.size() < 6 * objects.len(), "{} edges for {} objects", ordering.size(), objects.len());
    let mut passed = std::collections::BTreeSet::new();
    for entry in ordering.entries() {
        assert!(entry.after.iter().all(|edge| passed.contains(&edge.to)), "{}", entry.node);
        passed.insert(entry.node.clone());
    }
}

/// Objects of many kinds, groups and namespaces, which name nothing.
fn some_objects() -> impl proptest::strategy::Strategy<Value = Vec<Manifest>> {
    use proptest::prelude::*;
    const KINDS: [&str; 9] = [
        "Namespace",
        "NetworkPolicy",
        "RoleBinding",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "Service",
        "Deployment",
        "Job",
        "ValidatingWebhookConfiguration",
    ];
    let one = (0..KINDS.len(), 0..4_u8, 0..6_u8).prop_map(|(kind, group, number)| {
        let file = if group == 0 { "a.yaml".to_owned() } else { format!("p{group}-a.yaml") };
        let fields = json!({"spec": {"storageClassName": "disk", "template": {"spec": {}}},
            "subjects": [{"kind": "ServiceAccount", "name": "default"}]});
        let namespace = match KINDS[kind] {
            "PersistentVolume" | "ValidatingWebhookConfiguration" | "Namespace" => "",
            _ => ["a/", "b/"][usize::from(number % 2)],
        };
        object(&file, &format!("{} {namespace}{number}", KINDS[kind]), fields)
    });
    proptest::collection::vec(one, 0..24)
}

/// Everything that each object waits for, directly or not.
fn reached(ordering: &Ordering) -> std::collections::BTreeMap<Node, std::collections::BTreeSet<Node>> {
    let mut reached: std::collections::BTreeMap<Node, std::collections::BTreeSet<Node>> = Default::default();
    for Entry { node, after } in ordering.entries() {
        let mut all = std::collections::BTreeSet::new();
        for edge in after {
            all.extend(
                reached.get(&edge.to).unwrap_or_else(|| panic!("{} stands too late", edge.to)).clone(),
            );
            all.insert(edge.to.clone());
        }
        reached.insert(node.clone(), all);
    }
    reached
}

proptest::proptest! {
    #[test]
    fn customs_make_no_circle_and_groups_stand_whatever_is_left_out(
        objects in some_objects(),
        kept in proptest::collection::vec(proptest::bool::ANY, 24),
    ) {
        let whole = edges(&objects).unwrap();
        let keeps = |id: &ObjectId| {
            objects.iter().position(|object| object.id == *id).is_some_and(|place| kept[place])
        };
        for (ordering, there) in [(whole.clone(), None), (whole.among(keeps), Some(&keeps))] {
            let reached = reached(&ordering);
            let mut first = std::collections::BTreeMap::new();
            for object in &objects {
                first.entry(object.id.clone()).or_insert(object);
            }
            first.retain(|id, _| there.is_none_or(|keeps| keeps(id)));
            assert_eq!(reached.keys().filter(|node| matches!(node, Node::Object(_))).count(), first.len());
            for early in first.values() {
                for late in first.values() {
                    let groups = [early, late].map(|object| Group::of(&object.origin.file));
                    if groups.iter().all(Option::is_some) && groups[0] < groups[1] {
                        let (early, late) = (Node::Object(early.id.clone()), Node::Object(late.id.clone()));
                        assert!(reached[&late].contains(&early), "{late} does not wait for {early}");
                    }
                }
            }
        }
    }
}
