use serde_json::{Value, json};

use super::samples::*;
use super::*;

const UID: &str = "5c0c1b9e-4444-4a83-9d0a-2f4a3c1f0d11";

fn claim(patch: Value) -> Value {
    let base = json!({
        "metadata": {"name": "data", "namespace": "chat", "uid": UID, "creationTimestamp": CHANGED,
                     "finalizers": ["kubernetes.io/pvc-protection"]},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeMode": "Filesystem",
                 "storageClassName": "local-path"},
        "status": {"phase": "Pending"}
    });
    with(base, patch)
}

fn class(name: &str, mode: &str, is_default: bool, created: &str) -> Value {
    json!({"metadata": {"name": name, "creationTimestamp": created,
                        "annotations": {"storageclass.kubernetes.io/is-default-class": is_default.to_string()}},
           "provisioner": "rancher.io/local-path", "volumeBindingMode": mode})
}

fn told(reason: &str, message: &str) -> Value {
    with(
        event(UID, reason, message, "2026-11-22T10:00:05Z"),
        json!({"involvedObject": {"kind": "PersistentVolumeClaim", "fieldPath": null}}),
    )
}

#[test]
fn a_claim_is_up_when_it_is_bound_or_only_lacks_a_pod() {
    let judge = |patch: Value, classes: Vec<Value>, events: Vec<Value>| {
        Scene { classes, events, ..Scene::default() }.judge("", "PersistentVolumeClaim", &claim(patch))
    };
    let late = || class("local-path", "WaitForFirstConsumer", false, CHANGED);
    let soon = |name: &str, created: &str| class(name, "Immediate", true, created);
    let unnamed = || json!({"spec": {"storageClassName": null}});
    let lost = json!({"spec": {"volumeName": "pv-1"}, "status": {"phase": "Lost"}});
    let consumer = || told("WaitForFirstConsumer", "waiting for first consumer to be created before binding");
    let external = || {
        told(
            "ExternalProvisioning",
            "waiting for a volume to be created, either by external provisioner \"rancher.io/local-path\" or manually created by system administrator",
        )
    };
    let unknown = || told("ProvisioningFailed", "storageclass.storage.k8s.io \"local-path\" not found");
    for (patch, classes, events, expected) in [
        (json!({"status": {"phase": "Bound"}}), vec![], vec![], "ready: bound"),
        (lost, vec![], vec![], "failed: its volume pv-1 does not exist any more"),
        (json!({}), vec![late()], vec![], "ready: waits for its first consumer"),
        (json!({}), vec![], vec![consumer()], "ready: waits for its first consumer"),
        (json!({}), vec![soon("local-path", CHANGED)], vec![], "starting: it is not bound yet"),
        (
            json!({}),
            vec![soon("other", CHANGED)],
            vec![external()],
            "starting: ExternalProvisioning: waiting for a volume to be created, either by external provisioner \"rancher.io/local-path\" or manually created by system administrator",
        ),
        (
            json!({}),
            vec![],
            vec![unknown()],
            "failed: ProvisioningFailed: storageclass.storage.k8s.io \"local-path\" not found",
        ),
        // No class named: the youngest default.
        (
            unnamed(),
            vec![class("late", "WaitForFirstConsumer", true, CHANGED), soon("old", "2026-01-01T00:00:00Z")],
            vec![],
            "ready: waits for its first consumer",
        ),
        (unnamed(), vec![late(), soon("default", CHANGED)], vec![], "starting: it is not bound yet"),
        // An empty name is no class at all.
        (
            json!({"spec": {"storageClassName": ""}}),
            vec![class("late", "WaitForFirstConsumer", true, CHANGED)],
            vec![],
            "starting: it is not bound yet",
        ),
    ] {
        assert_eq!(judge(patch, classes, events), expected);
    }
}

#[test]
fn a_volume_is_up_when_it_can_be_bound() {
    for (status, expected) in [
        (json!({"phase": "Available", "lastPhaseTransitionTime": CHANGED}), "ready: available"),
        (json!({"phase": "Bound"}), "ready: bound"),
        (json!({"phase": "Pending"}), "starting: it is not available yet"),
        (
            json!({"phase": "Failed", "message": "no volume plugin matched"}),
            "failed: its reclamation has failed: no volume plugin matched",
        ),
    ] {
        let volume = json!({"metadata": {"name": "pv-1"}, "status": status});
        assert_eq!(Scene::default().judge("", "PersistentVolume", &volume), expected);
    }
}
