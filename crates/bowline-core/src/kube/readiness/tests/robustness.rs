//! Whatever the API tells, in whatever order: an answer, and the same one.

use serde_json::{Value, json};

use super::samples::*;
use super::*;

const KINDS: [(&str, &str); 14] = [
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("", "Pod"),
    ("", "Service"),
    ("", "Namespace"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "APIService"),
    ("example.org", "Room"),
];

/// Every value that differs from this one in one place.
fn damaged(value: &Value) -> Vec<Value> {
    let junk = [Value::Null, json!(u64::MAX), json!("…"), json!([[]])];
    let mut all = junk.to_vec();
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                all.extend(damaged(inner).into_iter().map(|inner| {
                    let mut map = map.clone();
                    map.insert(key.clone(), inner);
                    Value::Object(map)
                }));
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                all.extend(damaged(inner).into_iter().map(|inner| {
                    let mut items = items.clone();
                    items[index] = inner;
                    Value::Array(items)
                }));
            }
        }
        _ => {}
    }
    all
}

fn troubled() -> Scene {
    let told =
        |reason: &str, message: &str| event("pod-user-6c9d4b7f8-b", reason, message, "2026-11-22T10:00:40Z");
    Scene {
        sets: vec![old_replica_set(), replica_set()],
        pods: vec![
            pod("user-6c9d4b7f8-a"),
            pod_with("user-6c9d4b7f8-b", "Running", crashing(3, 137, "Error", "")),
            pod_with(
                "user-6c9d4b7f8-c",
                "Pending",
                waiting("ImagePullBackOff", "Back-off pulling image \"x\""),
            ),
            unplaced("user-6c9d4b7f8-d", "SchedulingGated", "held"),
        ],
        nodes: vec![node("node-2", "True"), node("node-3", "Unknown")],
        events: vec![
            told("Unhealthy", "Liveness probe failed: b"),
            told("Unhealthy", "Liveness probe failed: a"),
        ],
        ..Scene::default()
    }
}

#[test]
fn nothing_that_the_api_tells_is_too_strange() {
    let scene = troubled();
    let now = at("2026-11-22T10:01:00Z");
    let ask = |scene: &Scene, (group, name): (&str, &str), object: &Value| {
        let kind = Kind::new(group, name);
        scene.see(object, |sight| {
            let _ = (judge(&kind, sight, &budget(), now), wedged(sight, &budget(), now));
            let _ = (broken_before(&kind, sight, &budget(), now), troubles(&kind, sight, &budget(), now));
        });
        let _ = (progress(&kind, object), unproven(&kind, object), selects(object, Some(object)));
    };
    for object in damaged(&deployment()) {
        KINDS.iter().for_each(|kind| ask(&Scene::default(), *kind, &object));
        ask(&scene, KINDS[0], &object);
    }
    for pod in scene.pods.iter().flat_map(damaged) {
        ask(&Scene { pods: vec![pod], ..scene.clone() }, KINDS[0], &deployment());
    }
    for event in damaged(&scene.events[0]) {
        ask(&Scene { events: vec![event], ..scene.clone() }, KINDS[0], &deployment());
    }
}

#[test]
fn the_order_of_lists_does_not_matter() {
    let mut turned = troubled();
    let first = turned.judge("apps", "Deployment", &deployment());
    assert_eq!(
        first,
        "starting: 1 of 2 pods ready; pod user-6c9d4b7f8-c on node-2, container user: ErrImagePull: \
         reg:5000/chat:user_v5.0.2-b321acf cannot be pulled yet"
    );
    for _ in 0..4 {
        turned.pods.rotate_left(1);
        turned.sets.reverse();
        turned.events.reverse();
        assert_eq!(turned.judge("apps", "Deployment", &deployment()), first);
    }
    turned.pods.retain(|pod| pod["metadata"]["name"] == "user-6c9d4b7f8-b");
    let forth = turned.judge("apps", "Deployment", &deployment());
    turned.events.reverse();
    assert_eq!(turned.judge("apps", "Deployment", &deployment()), forth);
}
