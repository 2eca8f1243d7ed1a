//! How far an object is, in numbers: for tables, not for decisions.

use serde_json::Value;

use super::status::{count, is_unobserved, wanted_replicas};
use crate::kube::object::Kind;
pub use crate::status::Progress;

/// How far an object is; none for kinds that count nothing. Counts that are not yet about the present `spec` are zero.
pub fn progress(kind: &Kind, object: &Value) -> Option<Progress> {
    let status = |field: &str| count(object, &format!("/status/{field}"));
    let (ready, wanted) = match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment") => {
            let old = status("replicas").saturating_sub(status("updatedReplicas"));
            // Available ones may be old ones: at least that many less are new.
            let available = status("availableReplicas").saturating_sub(old).min(status("updatedReplicas"));
            (available, wanted_replicas(object))
        }
        ("apps", "ReplicaSet") | ("", "ReplicationController") => {
            (status("availableReplicas"), wanted_replicas(object))
        }
        ("apps", "StatefulSet") => {
            let wanted = wanted_replicas(object);
            let is_one =
                object.pointer("/status/currentRevision") == object.pointer("/status/updateRevision");
            let left = count(object, "/spec/updateStrategy/rollingUpdate/partition").min(wanted);
            let updated = if is_one { wanted } else { status("updatedReplicas").saturating_add(left) };
            (status("readyReplicas").min(updated), wanted)
        }
        ("apps", "DaemonSet") => (
            status("numberAvailable").min(status("updatedNumberScheduled")),
            status("desiredNumberScheduled"),
        ),
        ("batch", "Job") => {
            let wanted = object.pointer("/spec/completions").and_then(Value::as_u64).unwrap_or(1);
            return Some(Progress { ready: status("succeeded").min(wanted), wanted });
        }
        ("", "Pod") => {
            let wanted = super::status::items(object, "/spec/containers").count();
            let ready = super::status::items(object, "/status/containerStatuses")
                .filter(|status| super::status::is_true(status, "/ready"))
                .count();
            return Some(Progress { ready: ready.try_into().ok()?, wanted: wanted.try_into().ok()? });
        }
        _ => return None,
    };
    Some(Progress { ready: if is_unobserved(object) { 0 } else { ready.min(wanted) }, wanted })
}
