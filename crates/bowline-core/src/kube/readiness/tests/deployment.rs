use serde_json::{Value, json};

use super::samples::*;
use super::*;

fn scene() -> Scene {
    Scene {
        sets: vec![old_replica_set(), replica_set()],
        pods: vec![pod("user-6c9d4b7f8-a"), pod("user-6c9d4b7f8-b")],
        nodes: vec![node("node-2", "True")],
        ..Scene::default()
    }
}

fn counts(all: u64, updated: u64, available: u64) -> Value {
    let some = |number: u64| if number == 0 { Value::Null } else { json!(number) };
    json!({"status": {"replicas": some(all), "updatedReplicas": some(updated), "readyReplicas": some(available),
                      "availableReplicas": some(available)}})
}

fn judge(scene: &Scene, deployment: &Value) -> String {
    scene.judge("apps", "Deployment", deployment)
}

#[test]
fn a_deployment_is_up_when_all_its_pods_are_new_and_available() {
    assert_eq!(judge(&scene(), &deployment()), "ready: all pods are ready");
    let up = running("user", "2026-11-22T10:00:03Z", true);
    let old_cluster = Scene {
        sets: vec![v20::replica_set()],
        pods: vec![
            v20::pod("user-6c9d4b7f8-a", "Running", up.clone()),
            v20::pod("user-6c9d4b7f8-b", "Running", up),
        ],
        ..Scene::default()
    };
    assert_eq!(judge(&old_cluster, &v20::deployment()), "ready: all pods are ready");
    for (patch, expected) in [
        (json!({"metadata": {"generation": 5}}), "starting: its controller has not seen the change yet"),
        (
            json!({"status": {"observedGeneration": null}}),
            "starting: its controller has not seen the change yet",
        ),
        (counts(3, 1, 2), "starting: 1 of 2 pods of the new version"),
        (counts(3, 2, 3), "starting: 1 pod of the old version still there"),
        (counts(2, 2, 1), "starting: 1 of 2 pods available"),
        // One replica of which one may be missing: none is not enough.
        (
            with(
                counts(1, 1, 0),
                json!({"spec": {"replicas": 1, "strategy": {"rollingUpdate": {"maxUnavailable": 1}}}}),
            ),
            "starting: 0 of 1 pod available",
        ),
        (counts(3, 3, 3), "starting: 1 pod too many"),
        (
            json!({"metadata": {"deletionTimestamp": CHANGED, "finalizers": ["foregroundDeletion"]}}),
            "starting: it is being deleted and waits for foregroundDeletion",
        ),
    ] {
        assert_eq!(judge(&scene(), &with(deployment(), patch)), expected);
    }
    assert_eq!(
        words(&super::judge(&Kind::new("apps", "Deployment"), &Sight::default(), &budget(), at(CHANGED))),
        "absent"
    );
}

#[test]
fn a_deployment_of_nothing_is_up() {
    let scene = Scene { pods: vec![], ..scene() };
    let none = with(deployment(), with(counts(0, 0, 0), json!({"spec": {"replicas": 0}})));
    assert_eq!(judge(&scene, &none), "ready: no pods wanted");
    let leaving = with(deployment(), with(counts(2, 2, 2), json!({"spec": {"replicas": 0}})));
    assert_eq!(judge(&scene, &leaving), "starting: 2 pods too many");
}

#[test]
fn counts_without_pods_prove_nothing() {
    let scene = Scene { pods: vec![pod("user-6c9d4b7f8-a")], ..scene() };
    assert_eq!(judge(&scene, &deployment()), "starting: 1 of 2 pods ready");
    let scene = Scene { sets: vec![old_replica_set()], ..scene };
    assert_eq!(judge(&scene, &deployment()), "starting: its new ReplicaSet is not seen yet");
}

#[test]
fn a_paused_deployment_says_so() {
    let paused = with(deployment(), json!({"spec": {"paused": true}}));
    assert_eq!(judge(&scene(), &paused), "ready: all pods are ready");
    // Its template changed: the controller observes that and does nothing.
    let held = with(paused.clone(), counts(2, 0, 2));
    assert_eq!(
        judge(&scene(), &held),
        "starting: it is paused: its change is not rolled out until somebody resumes it"
    );
    let halfway = with(paused, counts(3, 1, 2));
    assert_eq!(
        judge(&scene(), &halfway),
        "starting: 1 of 2 pods of the new version; it is paused until somebody resumes it"
    );
}

fn overdue(set: &str, at: &str) -> Value {
    json!({"status": {"conditions": [
        {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "lastTransitionTime": "2026-11-01T08:00:20Z"},
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "lastUpdateTime": at,
         "lastTransitionTime": at, "message": format!("ReplicaSet \"{set}\" has timed out progressing.")}
    ]}})
}

#[test]
fn a_progress_deadline_counts_when_it_is_this_changes() {
    let late = with(deployment(), counts(3, 1, 2));
    let scene = Scene {
        pods: vec![pod_with("user-6c9d4b7f8-a", "Running", running("user", "2026-11-22T10:00:03Z", false))],
        ..scene()
    };
    let judge = |set: &str, at: &str| {
        scene.judge_at("apps", "Deployment", &with(late.clone(), overdue(set, at)), "2026-11-22T10:11:00Z")
    };
    assert_eq!(
        judge("user-6c9d4b7f8", "2026-11-22T10:10:02Z"),
        "failed: no progress within its progressDeadlineSeconds of 600: ReplicaSet \"user-6c9d4b7f8\" has timed out \
         progressing.; pod user-6c9d4b7f8-a on node-2, container user: its readiness probe has not passed yet"
    );
    let waiting = "starting: 1 of 2 pods of the new version; pod user-6c9d4b7f8-a on node-2, container user: its \
                   readiness probe has not passed yet";
    // The verdict about the version before stays until there is progress; so does one from before a change of scale.
    assert_eq!(judge("user-59654c756", "2026-11-22T10:10:02Z"), waiting);
    assert_eq!(judge("user-6c9d4b7f8", "2026-11-22T09:50:00Z"), waiting);
}

#[test]
fn only_the_pods_of_the_new_replica_set_count() {
    let broken = with(
        pod_with("user-59654c756-z", "Pending", waiting("ErrImagePull", "reg:5000/chat:user_v1: not found")),
        json!({"metadata": {"ownerReferences": [{"uid": OLD_SET, "controller": true, "kind": "ReplicaSet"}]}}),
    );
    // A ReplicaSet of the same name and revision that a deleted Deployment of the same name has left.
    let left = with(
        replica_set(),
        json!({"metadata": {"uid": "left", "creationTimestamp": "2026-01-01T00:00:00Z",
                            "ownerReferences": [{"uid": "gone", "controller": true, "kind": "Deployment"}]}}),
    );
    let leaving = with(
        pod_with("user-6c9d4b7f8-y", "Running", crashing(20, 1, "Error", "")),
        json!({"metadata": {"deletionTimestamp": CHANGED}}),
    );
    let scene = scene();
    let pods = [vec![broken, leaving], scene.pods.clone()].concat();
    let scene = Scene { sets: [vec![left], scene.sets].concat(), pods, ..Scene::default() };
    assert_eq!(judge(&scene, &deployment()), "ready: all pods are ready");
    // Scaled and changed at once: the change is observed before there is a ReplicaSet for it.
    let broken =
        pod_with("user-6c9d4b7f8-a", "Pending", waiting("ErrImagePull", "reg:5000/chat:user_v1: not found"));
    let scene = Scene { pods: vec![broken], ..scene };
    assert_eq!(
        judge(&scene, &with(deployment(), counts(2, 0, 1))),
        "starting: its new ReplicaSet is not seen yet"
    );
}

fn refused(message: &str) -> Value {
    with(
        replica_set(),
        json!({"status": {"replicas": 0, "fullyLabeledReplicas": null, "readyReplicas": null, "availableReplicas": null,
            "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message,
                            "lastTransitionTime": "2026-11-22T10:00:02Z"}]}}),
    )
}

#[test]
fn pods_that_the_api_refuses_fail_at_once() {
    let quota = "pods \"user-6c9d4b7f8-chccd\" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=2, limited: pods=2";
    let webhook =
        "admission webhook \"images.example.org\" denied the request: the image is not signed, timeout 3s";
    let security = "pods \"user-6c9d4b7f8-x\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false";
    let account = "pods \"user-6c9d4b7f8-x\" is forbidden: error looking up service account chat/default: serviceaccount \"default\" not found";
    let call = "Internal error occurred: failed calling webhook \"w.example.org\": failed to call webhook: Post \"https://w.chat.svc:443/\": dial tcp 10.96.3.4:443: connect: connection refused";
    let first = with(deployment(), counts(0, 0, 0));
    for (message, now, verdict) in [
        (quota, "2026-11-22T10:00:03Z", "failed"),
        (webhook, "2026-11-22T10:00:03Z", "failed"),
        (security, "2026-11-22T10:00:03Z", "failed"),
        (account, "2026-11-22T10:00:03Z", "starting: 0 of 2 pods of the new version; its pods"),
        (account, "2026-11-22T10:00:30Z", "failed"),
        (call, "2026-11-22T10:05:00Z", "starting: 0 of 2 pods of the new version; its pods"),
    ] {
        let scene = Scene { sets: vec![refused(message)], ..Scene::default() };
        let health = scene.judge_at("apps", "Deployment", &first, now);
        assert!(health.starts_with(verdict) && health.contains(message), "{health}");
    }
}

#[test]
fn a_quota_that_old_pods_still_fill_is_waited_for() {
    let quota = "pods \"user-6c9d4b7f8-chccd\" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=2, limited: pods=2";
    let rolling = with(deployment(), counts(2, 0, 2));
    let leaving = with(pod("user-59654c756-z"), json!({"metadata": {"deletionTimestamp": CHANGED}}));
    let scene = Scene { sets: vec![refused(quota)], ..Scene::default() };
    let verdict = |scene: &Scene, now: &str| {
        scene.judge_at("apps", "Deployment", &rolling, now).split(':').next().unwrap_or_default().to_owned()
    };
    assert_eq!(verdict(&scene, "2026-11-22T10:00:05Z"), "starting");
    assert_eq!(verdict(&scene, "2026-11-22T10:00:30Z"), "failed");
    assert_eq!(verdict(&Scene { pods: vec![leaving], ..scene }, "2026-11-22T10:00:30Z"), "starting");
}

#[test]
fn a_replica_set_of_its_own_is_judged_alike() {
    let judge = |patch: Value| scene().judge("apps", "ReplicaSet", &with(replica_set(), patch));
    assert_eq!(judge(json!({})), "ready: all pods are ready");
    assert_eq!(
        judge(json!({"metadata": {"generation": 2}})),
        "starting: its controller has not seen the change yet"
    );
    assert_eq!(judge(json!({"status": {"availableReplicas": 1}})), "starting: 1 of 2 pods available");
    let refused = refused("pods \"x\" is forbidden: exceeded quota: pods");
    let health = Scene::default().judge("apps", "ReplicaSet", &refused);
    assert!(health.starts_with("failed: its pods cannot be created"), "{health}");
}

#[test]
fn what_was_broken_before_is_named() {
    let kind = Kind::new("apps", "Deployment");
    let broken = |scene: &Scene, object: &Value| {
        scene.see(object, |sight| broken_before(&kind, sight, &budget(), at("2026-11-22T09:59:59Z")))
    };
    let old = json!({"metadata": {"creationTimestamp": "2026-11-10T09:00:00Z"}});
    assert_eq!(broken(&scene(), &deployment()), None);
    // Crash-looping for days: no budget of this change is spent on it, and yet it is broken.
    let worn = with(pod_with("user-6c9d4b7f8-a", "Running", crashing(900, 3, "Error", "")), old.clone());
    let looping = Scene { pods: vec![worn], ..scene() };
    let cause = broken(&looping, &with(deployment(), counts(2, 2, 0))).unwrap();
    assert_eq!(
        cause.reason,
        "pod user-6c9d4b7f8-a on node-2, container user: exited with code 3, restarted 900 times, more than the 8 allowed"
    );
    // Not ready for long, without any restart.
    let mute =
        with(pod_with("user-6c9d4b7f8-a", "Running", running("user", "2026-11-10T09:00:00Z", false)), old);
    let since = json!([{"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-12T09:00:00Z"}]);
    let mute = with(mute, json!({"status": {"conditions": since}}));
    assert!(broken(&Scene { pods: vec![mute], ..scene() }, &with(deployment(), counts(2, 2, 0))).is_some());
    // Somebody is just rolling it out.
    let fresh = pod_with("user-6c9d4b7f8-a", "Running", running("user", "2026-11-22T09:59:50Z", false));
    assert_eq!(broken(&Scene { pods: vec![fresh], ..scene() }, &with(deployment(), counts(3, 1, 2))), None);
}

#[test]
fn progress_counts_what_is_new_and_up() {
    let progress = |patch: Value| {
        let progress = progress(&Kind::new("apps", "Deployment"), &with(deployment(), patch)).unwrap();
        (progress.ready, progress.wanted)
    };
    assert_eq!(progress(json!({})), (2, 2));
    assert_eq!(progress(counts(3, 1, 2)), (0, 2));
    assert_eq!(progress(counts(3, 1, 3)), (1, 2));
    assert_eq!(progress(json!({"metadata": {"generation": 9}})), (0, 2));
    assert_eq!(super::progress(&Kind::new("", "ConfigMap"), &json!({})), None);
}
