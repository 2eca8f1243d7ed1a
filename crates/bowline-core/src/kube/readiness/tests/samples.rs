//! Objects as API servers write them, and how to change what a test is about.

use serde_json::{Value, json};

/// A value with some of its fields replaced: objects are merged, lists and the rest replaced, nulls removed (RFC 7386).
pub(super) fn with(mut value: Value, patch: Value) -> Value {
    merge(&mut value, patch);
    value
}

fn merge(value: &mut Value, patch: Value) {
    match (value, patch) {
        (Value::Object(map), Value::Object(patch)) => {
            for (key, patch) in patch {
                if patch.is_null() {
                    map.remove(&key);
                } else {
                    merge(map.entry(key).or_insert(Value::Null), patch);
                }
            }
        }
        (value, patch) => *value = patch,
    }
}

fn owner(kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid,
            "controller": true, "blockOwnerDeletion": true}])
}

/// A Deployment of two replicas that is rolled out, as 1.33 tells it.
pub(super) fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "user", "namespace": "chat", "uid": "7f1c1b9e-8f0c-4a83-9d0a-2f4a3c1f0d11",
            "resourceVersion": "81923", "generation": 4, "creationTimestamp": "2026-11-01T08:00:00Z",
            "annotations": {"deployment.kubernetes.io/revision": "3"}, "labels": {"app": "user"}
        },
        "spec": {
            "replicas": 2, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "user"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {
                "metadata": {"labels": {"app": "user"}},
                "spec": {
                    "containers": [container()], "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
                    "dnsPolicy": "ClusterFirst", "securityContext": {}, "schedulerName": "default-scheduler"
                }
            }
        },
        "status": {
            "observedGeneration": 4, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
            "terminatingReplicas": 0,
            "conditions": [
                {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable",
                 "message": "Deployment has minimum availability.",
                 "lastTransitionTime": "2026-11-01T08:00:20Z", "lastUpdateTime": "2026-11-01T08:00:20Z"},
                {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
                 "message": "ReplicaSet \"user-6c9d4b7f8\" has successfully progressed.",
                 "lastTransitionTime": "2026-11-01T08:00:00Z", "lastUpdateTime": "2026-11-22T10:00:30Z"}
            ]
        }
    })
}

/// A container of a template, as the API server fills it in; with a readiness probe.
pub(super) fn container() -> Value {
    json!({
        "name": "user", "image": "reg:5000/chat:user_v5.0.2-b321acf", "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": 8010, "protocol": "TCP"}],
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"memory": "512Mi"}},
        "readinessProbe": {"httpGet": {"path": "/actuator/health", "port": 8010, "scheme": "HTTP"},
                           "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"
    })
}

pub(super) const NEW_SET: &str = "1d2b4a56-5a3f-4b0b-8c1d-6c9d4b7f8000";
pub(super) const OLD_SET: &str = "2e3c5b67-6b40-4c1c-9d2e-59654c756000";

/// The ReplicaSet of the Deployment's present template. `terminatingReplicas` is written from 1.33 on.
pub(super) fn replica_set() -> Value {
    json!({
        "metadata": {
            "name": "user-6c9d4b7f8", "namespace": "chat", "uid": NEW_SET, "generation": 1,
            "creationTimestamp": "2026-11-22T10:00:00Z",
            "annotations": {
                "deployment.kubernetes.io/desired-replicas": "2", "deployment.kubernetes.io/max-replicas": "3",
                "deployment.kubernetes.io/revision": "3"
            },
            "labels": {"app": "user", "pod-template-hash": "6c9d4b7f8"},
            "ownerReferences": owner("Deployment", "user", "7f1c1b9e-8f0c-4a83-9d0a-2f4a3c1f0d11")
        },
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 1, "replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 2,
                   "availableReplicas": 2, "terminatingReplicas": 0}
    })
}

/// The ReplicaSet of the template before.
pub(super) fn old_replica_set() -> Value {
    with(
        replica_set(),
        json!({
            "metadata": {
                "name": "user-59654c756", "uid": OLD_SET, "creationTimestamp": "2026-11-10T09:00:00Z",
                "annotations": {"deployment.kubernetes.io/revision": "2"},
                "labels": {"pod-template-hash": "59654c756"}
            },
            "spec": {"replicas": 0},
            "status": {"replicas": 0, "fullyLabeledReplicas": null, "readyReplicas": null, "availableReplicas": null}
        }),
    )
}

/// A pod of the new ReplicaSet that is ready, as a kubelet of 1.33 with containerd tells it.
pub(super) fn pod(name: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "chat", "uid": format!("pod-{name}"), "creationTimestamp": "2026-11-22T10:00:01Z",
            "generateName": "user-6c9d4b7f8-", "labels": {"app": "user", "pod-template-hash": "6c9d4b7f8"},
            "ownerReferences": owner("ReplicaSet", "user-6c9d4b7f8", NEW_SET)
        },
        "spec": {
            "containers": [container()], "nodeName": "node-2", "restartPolicy": "Always", "serviceAccountName": "default",
            "tolerations": [
                {"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300},
                {"effect": "NoExecute", "key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 300}
            ]
        },
        "status": {
            "phase": "Running", "qosClass": "Burstable", "hostIP": "10.77.0.2", "hostIPs": [{"ip": "10.77.0.2"}],
            "podIP": "10.244.1.9", "podIPs": [{"ip": "10.244.1.9"}], "startTime": "2026-11-22T10:00:01Z",
            "conditions": conditions(true),
            "containerStatuses": [running("user", "2026-11-22T10:00:03Z", true)]
        }
    })
}

pub(super) fn conditions(ready: bool) -> Value {
    let (status, reason) = if ready { ("True", Value::Null) } else { ("False", json!("ContainersNotReady")) };
    json!([
        {"type": "PodReadyToStartContainers", "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-11-22T10:00:02Z"},
        {"type": "Initialized", "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-11-22T10:00:01Z"},
        {"type": "Ready", "status": status, "reason": reason, "lastProbeTime": null, "lastTransitionTime": "2026-11-22T10:00:12Z",
         "message": if ready { Value::Null } else { json!("containers with unready status: [user]") }},
        {"type": "ContainersReady", "status": status, "reason": reason, "lastProbeTime": null, "lastTransitionTime": "2026-11-22T10:00:12Z"},
        {"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-11-22T10:00:01Z"}
    ])
}

/// The status of a running container.
pub(super) fn running(name: &str, since: &str, ready: bool) -> Value {
    json!({
        "name": name, "ready": ready, "started": true, "restartCount": 0, "lastState": {},
        "state": {"running": {"startedAt": since}},
        "image": "reg:5000/chat:user_v5.0.2-b321acf",
        "imageID": "reg:5000/chat@sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        "containerID": "containerd://8a0c1e4be9d7c5b3c2f3f2b5d3b0b6f0a6a2c1d2e3f4a5b6c7d8e9f0a1b2c3d4",
        "allocatedResources": {"memory": "512Mi"},
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"memory": "512Mi"}},
        "user": {"linux": {"gid": 0, "supplementalGroups": [0], "uid": 0}}
    })
}

/// The status of a container that waits.
pub(super) fn waiting(reason: &str, message: &str) -> Value {
    with(
        running("user", "", false),
        json!({"started": false, "imageID": "", "containerID": null, "allocatedResources": null, "resources": null,
               "user": null, "state": {"running": null, "waiting": {"reason": reason, "message": message}}}),
    )
}

/// How a process ended.
pub(super) fn ended(code: i64, reason: &str, message: &str) -> Value {
    let message = if message.is_empty() { Value::Null } else { json!(message) };
    with(
        json!({"exitCode": code, "reason": reason, "startedAt": "2026-11-22T10:00:20Z", "finishedAt": "2026-11-22T10:00:21Z",
               "containerID": "containerd://8a0c1e4be9d7c5b3c2f3f2b5d3b0b6f0a6a2c1d2e3f4a5b6c7d8e9f0a1b2c3d4"}),
        json!({"message": message}),
    )
}

/// The status of a container that has died and waits for its next start.
pub(super) fn crashing(restarts: u64, code: i64, reason: &str, message: &str) -> Value {
    with(
        waiting(
            "CrashLoopBackOff",
            "back-off 20s restarting failed container=user pod=user-6c9d4b7f8-x_chat(pod-user)",
        ),
        json!({"restartCount": restarts, "lastState": {"terminated": ended(code, reason, message)}}),
    )
}

/// A pod whose only container has this status.
pub(super) fn pod_with(name: &str, phase: &str, status: Value) -> Value {
    with(
        pod(name),
        json!({"status": {"phase": phase, "conditions": conditions(false), "containerStatuses": [status]}}),
    )
}

/// A pod that no node takes, as the scheduler tells it.
pub(super) fn unplaced(name: &str, reason: &str, message: &str) -> Value {
    with(
        pod(name),
        json!({
            "spec": {"nodeName": null},
            "status": {
                "phase": "Pending", "containerStatuses": null, "hostIP": null, "hostIPs": null, "podIP": null, "podIPs": null,
                "startTime": null,
                "conditions": [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message,
                                "lastProbeTime": null, "lastTransitionTime": "2026-11-22T10:00:01Z"}]
            }
        }),
    )
}

/// An event of a kubelet about a pod's container.
pub(super) fn event(uid: &str, reason: &str, message: &str, at: &str) -> Value {
    json!({
        "metadata": {"name": format!("user.{reason}"), "namespace": "chat"},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "chat", "uid": uid,
                           "fieldPath": "spec.containers{user}"},
        "reason": reason, "message": message, "type": "Warning", "count": 3,
        "firstTimestamp": CHANGED, "lastTimestamp": at, "eventTime": null,
        "source": {"component": "kubelet", "host": "node-2"}, "reportingComponent": "kubelet"
    })
}

const CHANGED: &str = super::CHANGED;

/// A node, ready or not heard of.
pub(super) fn node(name: &str, ready: &str) -> Value {
    let (reason, message) = match ready {
        "True" => ("KubeletReady", "kubelet is posting ready status"),
        _ => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
    };
    json!({"metadata": {"name": name, "uid": name}, "status": {"conditions": [
        {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory"},
        {"type": "Ready", "status": ready, "reason": reason, "message": message, "lastTransitionTime": "2026-11-22T09:59:00Z"}
    ]}})
}

/// The same Deployment, ReplicaSet and pods as Kubernetes 1.20 with Docker tells them.
pub(super) mod v20 {
    use super::*;

    pub(in super::super) fn deployment() -> Value {
        with(super::deployment(), json!({"status": {"terminatingReplicas": null}}))
    }

    pub(in super::super) fn replica_set() -> Value {
        with(super::replica_set(), json!({"status": {"terminatingReplicas": null}}))
    }

    pub(in super::super) fn pod(name: &str, phase: &str, status: Value) -> Value {
        let ready = status["ready"] == json!(true);
        let mut conditions = conditions(ready);
        conditions.as_array_mut().unwrap().remove(0);
        let status = with(
            status,
            json!({"allocatedResources": null, "resources": null, "user": null,
                   "imageID": "docker-pullable://reg:5000/chat@sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}),
        );
        with(
            super::pod(name),
            json!({"status": {"phase": phase, "hostIPs": null, "conditions": conditions, "containerStatuses": [status]}}),
        )
    }
}
