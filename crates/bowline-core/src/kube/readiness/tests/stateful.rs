use serde_json::{Value, json};

use super::samples::*;
use super::*;

const UID: &str = "9a0c1b9e-2222-4a83-9d0a-2f4a3c1f0d11";
const NEW: &str = "kafka-6f8d7c9b5c";
const OLD: &str = "kafka-5b7c6d8f4d";

/// A StatefulSet of three that is rolled out. `availableReplicas` is written from 1.22 on, always.
fn set() -> Value {
    json!({
        "metadata": {"name": "kafka", "namespace": "chat", "uid": UID, "generation": 3, "creationTimestamp": "2026-11-01T08:00:00Z"},
        "spec": {"replicas": 3, "serviceName": "kafka", "podManagementPolicy": "OrderedReady",
                 "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}},
        "status": {"availableReplicas": 3, "collisionCount": 0, "currentReplicas": 3, "currentRevision": NEW, "observedGeneration": 3,
                   "readyReplicas": 3, "replicas": 3, "updateRevision": NEW, "updatedReplicas": 3}
    })
}

fn member(ordinal: u8, revision: &str) -> Value {
    with(
        pod(&format!("kafka-{ordinal}")),
        json!({"metadata": {"labels": {"controller-revision-hash": revision, "statefulset.kubernetes.io/pod-name": format!("kafka-{ordinal}")},
                            "ownerReferences": [{"kind": "StatefulSet", "name": "kafka", "uid": UID, "controller": true}]}}),
    )
}

fn members(revisions: [&str; 3]) -> Vec<Value> {
    (0..).zip(revisions).map(|(ordinal, revision)| member(ordinal, revision)).collect()
}

fn judge(patch: Value, pods: Vec<Value>) -> String {
    Scene { pods, ..Scene::default() }.judge("apps", "StatefulSet", &with(set(), patch))
}

#[test]
fn a_stateful_set_is_up_when_all_are_new_and_ready() {
    assert_eq!(judge(json!({}), members([NEW; 3])), "ready: all pods are ready");
    // As 1.20 tells it.
    assert_eq!(
        judge(json!({"status": {"availableReplicas": null}}), members([NEW; 3])),
        "ready: all pods are ready"
    );
    let rolling = json!({"status": {"currentRevision": OLD, "currentReplicas": 2, "updatedReplicas": 1}});
    for (patch, pods, expected) in [
        (
            json!({"metadata": {"generation": 4}}),
            members([NEW; 3]),
            "starting: its controller has not seen the change yet",
        ),
        (rolling.clone(), members([OLD, OLD, NEW]), "starting: 1 of 3 pods of the new version"),
        (
            with(rolling.clone(), json!({"status": {"updatedReplicas": 3, "currentReplicas": null}})),
            members([NEW; 3]),
            "starting: its controller concludes the update",
        ),
        (json!({"status": {"readyReplicas": 2}}), members([NEW; 3]), "starting: 2 of 3 pods ready"),
        (json!({"spec": {"replicas": 2}}), members([NEW; 3]), "starting: 1 pod too many"),
        (
            json!({"spec": {"replicas": 0}, "status": {"replicas": 0, "readyReplicas": null}}),
            vec![],
            "ready: no pods wanted",
        ),
        // Only the last one is to be replaced.
        (
            with(rolling.clone(), json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}})),
            members([OLD, OLD, NEW]),
            "ready: all pods are ready",
        ),
        (
            json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}},
                   "status": {"currentRevision": OLD, "updatedReplicas": null}}),
            members([OLD; 3]),
            "ready: all pods are ready, and stay as they are until somebody deletes them or lowers its partition",
        ),
    ] {
        assert_eq!(judge(patch, pods), expected);
    }
}

#[test]
fn a_pod_that_is_ending_is_named() {
    let rolling = json!({"status": {"currentRevision": OLD, "updatedReplicas": 0, "readyReplicas": 2}});
    let leaving = with(member(2, OLD), json!({"metadata": {"deletionTimestamp": CHANGED}}));
    assert_eq!(
        judge(rolling, vec![member(0, OLD), member(1, OLD), leaving]),
        "starting: 0 of 3 pods of the new version; pod kafka-2 is still ending"
    );
}

#[test]
fn an_old_pod_that_cannot_get_better_is_named_for_whoever_goes_back() {
    let since = json!({"metadata": {"creationTimestamp": "2026-11-22T09:50:00Z"}});
    let crashed = json!({"status": {"conditions": conditions(false), "containerStatuses": [crashing(30, 1, "Error", "")]}});
    let pods = vec![member(0, NEW), member(1, NEW), with(with(member(2, OLD), since), crashed)];
    // The way back: the old template is the new one again, and the failed pod is of the version in between.
    let back = json!({"status": {"currentRevision": NEW, "updatedReplicas": 2, "readyReplicas": 2, "updateRevision": NEW}});
    let told = "starting: pod kafka-2 of an older version is not ready, and its controller does not replace it before it is: delete it";
    assert_eq!(judge(back.clone(), pods.clone()), told);
    let scene = Scene { pods, ..Scene::default() };
    let ask =
        |object: &Value| scene.see(object, |sight| wedged(sight, &budget(), at("2026-11-22T10:01:00Z")));
    assert_eq!(ask(&with(set(), back.clone())).as_deref(), Some("kafka-2"));
    let parallel = with(back, json!({"spec": {"podManagementPolicy": "Parallel"}}));
    assert_eq!(ask(&with(set(), parallel)), None);
    assert_eq!(ask(&with(set(), json!({"metadata": {"generation": 9}}))), None);
}

#[test]
fn its_new_pods_fail_it_at_once() {
    let broken = with(
        member(2, NEW),
        json!({"status": {"containerStatuses": [waiting("ErrImagePull", "reg:5000/chat:user_v5.0.2-b321acf: not found")]}}),
    );
    let rolling = json!({"status": {"currentRevision": OLD, "updatedReplicas": 1, "readyReplicas": 2}});
    let health = judge(rolling, vec![member(0, OLD), member(1, OLD), broken]);
    assert!(health.starts_with("failed: pod kafka-2 on node-2, container user: ErrImagePull: "), "{health}");
}

#[test]
fn pods_that_the_api_refuses_are_told_by_an_event() {
    let message = "create Pod kafka-2 in StatefulSet kafka failed error: pods \"kafka-2\" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=2, limited: pods=2";
    let refusal = event(UID, "FailedCreate", message, "2026-11-22T10:00:20Z");
    let few = with(set(), json!({"status": {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2}}));
    let scene =
        Scene { pods: vec![member(0, NEW), member(1, NEW)], events: vec![refusal], ..Scene::default() };
    assert_eq!(
        scene.judge("apps", "StatefulSet", &few),
        format!("failed: its pods cannot be created: {message}")
    );
    // All are there: the event is history.
    let scene = Scene { pods: members([NEW; 3]), ..scene };
    assert_eq!(scene.judge("apps", "StatefulSet", &set()), "ready: all pods are ready");
}

#[test]
fn progress_knows_partitions() {
    let progress = |patch: Value| {
        let progress = progress(&Kind::new("apps", "StatefulSet"), &with(set(), patch)).unwrap();
        (progress.ready, progress.wanted)
    };
    let rolling = json!({"status": {"currentRevision": OLD, "updatedReplicas": 1}});
    assert_eq!(progress(json!({})), (3, 3));
    assert_eq!(progress(rolling.clone()), (1, 3));
    assert_eq!(
        progress(with(rolling, json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}}))),
        (3, 3)
    );
}
