//! DaemonSets.

use serde_json::{Value, json};

use super::samples::*;
use super::*;

const UID: &str = "6f0c1b9e-1111-4a83-9d0a-2f4a3c1f0d11";

fn set() -> Value {
    json!({
        "metadata": {"name": "agent", "namespace": "chat", "uid": UID, "generation": 2, "creationTimestamp": "2026-11-01T08:00:00Z",
                     "annotations": {"deprecated.daemonset.template.generation": "2"}},
        "spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}},
        "status": {"currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberAvailable": 2, "numberMisscheduled": 0,
                   "numberReady": 2, "observedGeneration": 2, "updatedNumberScheduled": 2}
    })
}

fn agent(node: &str, generation: &str) -> Value {
    with(
        pod(&format!("agent-{node}")),
        json!({
            "metadata": {"labels": {"pod-template-generation": generation, "controller-revision-hash": "x"},
                         "ownerReferences": [{"kind": "DaemonSet", "name": "agent", "uid": UID, "controller": true}]},
            "spec": {"nodeName": node}
        }),
    )
}

fn judge(set: &Value, pods: Vec<Value>) -> String {
    let nodes = vec![node("node-1", "True"), node("node-2", "True"), node("node-3", "Unknown")];
    Scene { pods, nodes, ..Scene::default() }.judge("apps", "DaemonSet", set)
}

#[test]
fn a_daemon_set_is_up_on_every_node_that_answers() {
    let both = || vec![agent("node-1", "2"), agent("node-2", "2")];
    assert_eq!(judge(&set(), both()), "ready: all pods are ready");
    let status = |patch: Value| with(set(), json!({"status": patch}));
    for (set, pods, expected) in [
        (
            with(set(), json!({"metadata": {"generation": 3}})),
            both(),
            "starting: its controller has not seen the change yet",
        ),
        (
            status(json!({"updatedNumberScheduled": 1})),
            vec![agent("node-1", "2"), agent("node-2", "1")],
            "starting: 1 of 2 pods of the new version",
        ),
        (
            status(json!({"numberAvailable": 1, "numberUnavailable": 1})),
            both(),
            "starting: 1 of 2 pods available",
        ),
        (
            status(json!({"desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberUnavailable": 1})),
            [both(), vec![agent("node-3", "1")]].concat(),
            "ready: ready on every node that answers",
        ),
        (
            status(
                json!({"desiredNumberScheduled": 0, "currentNumberScheduled": 0, "numberAvailable": null, "updatedNumberScheduled": null}),
            ),
            vec![],
            "ready: no node wants it",
        ),
        (
            with(
                set(),
                json!({"spec": {"updateStrategy": {"type": "OnDelete"}}, "status": {"updatedNumberScheduled": null}}),
            ),
            vec![agent("node-1", "1"), agent("node-2", "1")],
            "ready: all pods are ready, and stay as they are until somebody deletes them",
        ),
    ] {
        assert_eq!(judge(&set, pods), expected);
    }
}

#[test]
fn only_its_new_pods_fail_it() {
    let broken = |generation: &str| {
        let image = waiting("ErrImagePull", "reg:5000/chat:agent_v1: not found");
        with(
            agent("node-1", generation),
            json!({"status": {"phase": "Pending", "containerStatuses": [image], "conditions": []}}),
        )
    };
    let rolling = with(set(), json!({"status": {"updatedNumberScheduled": 1, "numberAvailable": 1}}));
    assert!(judge(&rolling, vec![broken("2"), agent("node-2", "1")]).starts_with("failed: pod agent-node-1"));
    assert!(judge(&rolling, vec![broken("1"), agent("node-2", "2")]).starts_with("starting"));
}

#[test]
fn pods_that_the_api_refuses_are_told_by_an_event() {
    let few = with(
        set(),
        json!({"status": {"currentNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 1}}),
    );
    let refusal = |at: &str| {
        let message = "Error creating: pods \"agent-x\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces";
        with(
            event(UID, "FailedCreate", message, at),
            json!({"involvedObject": {"kind": "DaemonSet", "fieldPath": null}}),
        )
    };
    let judge = |events: Vec<Value>| {
        let health = Scene { pods: vec![agent("node-2", "2")], events, ..Scene::default() }.judge(
            "apps",
            "DaemonSet",
            &few,
        );
        health.split(':').next().unwrap_or_default().to_owned()
    };
    assert_eq!(judge(vec![refusal("2026-11-22T10:00:20Z")]), "failed");
    // From before the change, or followed by a success.
    assert_eq!(judge(vec![refusal("2026-11-22T09:50:00Z")]), "starting");
    let made = event(UID, "SuccessfulCreate", "Created pod: agent-y", "2026-11-22T10:00:30Z");
    assert_eq!(judge(vec![refusal("2026-11-22T10:00:20Z"), made]), "starting");
}
