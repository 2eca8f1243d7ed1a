//! Why a controller cannot make its pods: the API refuses them.

use jiff::Timestamp;
use serde_json::Value;

use super::Case;
use super::event::{about, newest};
use super::status::{condition, is_terminating, shorten};

/// A refusal to create a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What the API server said.
    pub(super) words: String,
    /// Whether trying again cannot help.
    pub(super) is_final: bool,
}

/// The refusal that a ReplicaSet, a ReplicationController or a Deployment tells in its condition (kubernetes:
/// pkg/controller/replicaset/replica_set_utils.go: it stays until creating succeeds).
pub(super) fn told_by_condition(case: &Case<'_>, object: &Value, has_others: bool) -> Option<Refusal> {
    let failure = condition(object, "ReplicaFailure").filter(|failure| failure.is_true())?;
    // FailedDelete: a pod too many, which does not keep the new ones from being ready.
    (failure.reason() != "FailedDelete").then(|| weigh(case, failure.message(), failure.since(), has_others))
}

/// The refusal that a StatefulSet, a DaemonSet or a Job tells in an event only. One that was followed by a success, or
/// is older than the change, is over.
pub(super) fn told_by_event(case: &Case<'_>, has_others: bool) -> Option<Refusal> {
    let tries = about(case.sight.events, case.object)
        .filter(|event| matches!(event.reason, "FailedCreate" | "SuccessfulCreate"));
    let failed = newest(tries).filter(|event| event.reason == "FailedCreate" && !case.is_stale(event.at))?;
    Some(weigh(case, failed.message, failed.at, has_others))
}

/// What a refusal means. `has_others` tells whether the workload has other pods that are to go.
fn weigh(case: &Case<'_>, message: &str, since: Option<Timestamp>, has_others: bool) -> Refusal {
    let message_lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| message_lower.contains(words));
    // The cluster's own trouble; a webhook whose server is not up, perhaps since it is part of this very release.
    const PASSING: [&str; 10] = [
        "failed calling webhook",
        "status unknown for quota",
        "operation cannot be fulfilled",
        "timed out",
        "timeout",
        "etcdserver",
        "connection refused",
        "currently unable to handle",
        "try again",
        "too many requests",
    ];
    // A new namespace gets its default ServiceAccount, and that its token, a moment later.
    const YOUNG: [&str; 3] =
        ["error looking up service account", "no api token found", "unable to find service account"];
    let is_going = case.sight.pods.iter().any(|pod| is_terminating(pod));
    let is_final = if says(&["denied the request"]) {
        true
    } else if says(&PASSING) {
        false
    } else if says(&YOUNG) {
        case.is_lasting(since)
    } else if says(&["exceeded quota"]) {
        // Pods of the old version give their share back when they are gone.
        !is_going && (!has_others || case.is_lasting(since))
    } else {
        true
    };
    Refusal { words: format!("its pods cannot be created: {}", shorten(message)), is_final }
}
