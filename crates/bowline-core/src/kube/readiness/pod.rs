//! One pod: what keeps it from being ready.

use serde_json::Value;

use super::Case;
use super::container::{Life, containers, restarts};
use super::event::{about, newest};
use super::probe::{is_proven, is_task};
use super::status::{condition, is_terminating, items, name, shorten, text};
use super::trouble::{Trouble, Weight, most_telling};
use crate::health::Health;

/// How one pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is up, and its probes say so.
    Proven,
    /// It is up, and at least one container can only be seen to stay up.
    Settled,
    /// It has ended well.
    Completed,
    /// It is not ready, or has died too often.
    Troubled(Trouble),
}

/// Looks at one pod that nobody has asked to delete.
pub(super) fn look(case: &Case<'_>, pod: &Value, life: Life) -> Standing {
    if let Some(trouble) = find_lost(case, pod) {
        return Standing::Troubled(trouble);
    }
    match text(pod, "/status/phase") {
        "Failed" => return Standing::Troubled(explain_end(case, pod, life)),
        "Succeeded" if life == Life::Task => return Standing::Completed,
        _ => {}
    }
    let troubles: Vec<_> =
        containers(pod, life).filter_map(|container| container.find_trouble(case)).collect();
    if let Some(trouble) = most_telling(troubles.iter()) {
        // A container that is only not ready yet hides what its pod waits for.
        let explained = (trouble.weight == Weight::Waiting).then(|| find_pending(case, pod)).flatten();
        return Standing::Troubled(explained.unwrap_or_else(|| trouble.clone()));
    }
    if let Some(trouble) = find_unplaced(case, pod).or_else(|| find_pending(case, pod)) {
        return Standing::Troubled(trouble);
    }
    let ready = condition(pod, "Ready");
    if !ready.is_some_and(|ready| ready.is_true()) && life == Life::Service {
        let words = match ready.filter(|ready| ready.reason() == "ReadinessGatesNotReady") {
            Some(ready) => ready.words(),
            None => "it is not ready yet".into(),
        };
        return Standing::Troubled(Trouble::new(pod, Weight::Waiting, words));
    }
    match life {
        Life::Task => Standing::Troubled(Trouble::new(pod, Weight::Waiting, "it has not completed yet")),
        Life::Service if items(pod, "/spec/containers").all(is_proven) => Standing::Proven,
        Life::Service => Standing::Settled,
    }
}

/// A pod whose node does not answer: what is written of it is what was, and not the release's fault (kubernetes:
/// pkg/controller/nodelifecycle sets `Ready` of the node to Unknown, `NodeLost` comes from pkg/util/node).
fn find_lost(case: &Case<'_>, pod: &Value) -> Option<Trouble> {
    let node = text(pod, "/spec/nodeName");
    if text(pod, "/status/reason") == "NodeLost" || (!node.is_empty() && is_lost(case, node)) {
        return Some(Trouble::new(pod, Weight::Node, format!("node {node} does not answer")));
    }
    None
}

/// Whether a node is known not to answer, or not to run pods.
pub(super) fn is_lost(case: &Case<'_>, node: &str) -> bool {
    let node = case.sight.nodes.iter().find(|object| name(object) == node);
    node.and_then(|node| condition(node, "Ready")).is_some_and(|ready| !ready.is_true())
}

/// Why a pod as a whole has ended. What the cluster does to pods for its own reasons is made good by their controller.
fn explain_end(case: &Case<'_>, pod: &Value, life: Life) -> Trouble {
    let (reason, message) = (text(pod, "/status/reason"), shorten(text(pod, "/status/message")));
    let disrupted = condition(pod, "DisruptionTarget").is_some_and(|condition| condition.is_true());
    if disrupted || is_passing(reason) {
        let reason = if reason.is_empty() { "Disrupted" } else { reason };
        return Trouble::new(pod, Weight::Waiting, format!("{reason}: {message}"));
    }
    let troubles: Vec<_> =
        containers(pod, life).filter_map(|container| container.find_trouble(case)).collect();
    let end = match most_telling(troubles.iter().filter(|trouble| trouble.exit_code.is_some())) {
        Some(trouble) => trouble.clone(),
        None => Trouble::new(pod, Weight::End, "it has failed"),
    };
    let words = match (reason, message.as_str()) {
        ("", _) => end.words,
        (reason, "") => format!("{} ({reason})", end.words),
        (reason, message) => format!("{} ({reason}: {message})", end.words),
    };
    Trouble { words, hopeless: true, ..end }
}

/// Reasons by which a kubelet or the cluster ends a pod that may do well elsewhere (kubernetes: pkg/kubelet/eviction,
/// nodeshutdown (`Shutdown` until 1.21), preemption, lifecycle/predicate.go; krane ignores the first two as well).
fn is_passing(reason: &str) -> bool {
    matches!(
        reason,
        "Evicted"
            | "Preempting"
            | "NodeLost"
            | "Shutdown"
            | "NodeShutdown"
            | "Terminated"
            | "NodeAffinity"
            | "UnexpectedAdmissionError"
            | "TopologyAffinityError"
    ) || reason.starts_with("OutOf")
}

/// A pod that no node takes (kubernetes: pkg/scheduler; the message is the scheduler's own).
fn find_unplaced(case: &Case<'_>, pod: &Value) -> Option<Trouble> {
    let placed = condition(pod, "PodScheduled").filter(|placed| placed.is_false())?;
    let trouble = |words| Trouble::new(pod, Weight::Placement, words);
    if placed.reason() != "Unschedulable" {
        // SchedulingGated: somebody holds it back; SchedulerError: the scheduler tries again.
        return Some(trouble(placed.words()));
    }
    let words = format!("no node takes it: {}", shorten(placed.message()));
    let passing = is_about_volumes(placed.message())
        || is_about_nodes(placed.message())
        || !text(pod, "/status/nominatedNodeName").is_empty()
        || is_growing(case, pod)
        // Pods that are going hold their room until they are gone.
        || case.sight.pods.iter().any(|other| is_terminating(other));
    Some(trouble(words).hopeless_if(!passing && case.is_lasting(placed.since())))
}

/// Volumes are made and bound while pods wait for them (kubernetes: pkg/scheduler/framework/plugins/volumebinding).
fn is_about_volumes(message: &str) -> bool {
    message.contains("unbound immediate PersistentVolumeClaims") || message.contains("waiting for")
}

/// Nodes that do not answer or start up may come back.
fn is_about_nodes(message: &str) -> bool {
    ["not-ready", "unreachable", "network-unavailable", "uninitialized", "no nodes available"]
        .iter()
        .any(|words| message.contains(words))
}

/// Whether somebody is adding a node for it (cluster-autoscaler, Karpenter).
fn is_growing(case: &Case<'_>, pod: &Value) -> bool {
    about(case.sight.events, pod).any(|event| matches!(event.reason, "TriggeredScaleUp" | "Nominated"))
}

/// What a pod waits for that has a node and no running containers yet: the last thing that its kubelet did for it.
fn find_pending(case: &Case<'_>, pod: &Value) -> Option<Trouble> {
    if text(pod, "/status/phase") != "Pending" || text(pod, "/spec/nodeName").is_empty() {
        return None;
    }
    let telling = about(case.sight.events, pod).filter(|event| {
        matches!(
            event.reason,
            "FailedMount"
                | "FailedAttachVolume"
                | "FailedMapVolume"
                | "FailedCreatePodSandBox"
                | "FailedPrepareDynamicResources"
                | "NetworkNotReady"
                | "Pulling"
                | "Pulled"
        )
    });
    let event = newest(telling)?;
    let message = shorten(event.message);
    match event.reason {
        "Pulled" => None,
        "Pulling" => Some(Trouble::new(pod, Weight::Waiting, message)),
        "FailedAttachVolume" if message.contains("Multi-Attach") => {
            let hint = "a volume that one node at a time may use is still in use on another";
            Some(Trouble::new(pod, Weight::Surroundings, format!("{message} ({hint})")))
        }
        reason => Some(Trouble::new(pod, Weight::Surroundings, format!("{reason}: {message}"))),
    }
}

/// A pod that nobody makes again: it is to stay up, or to end well.
pub(super) fn judge_bare(case: &Case<'_>) -> Health {
    let pod = case.object;
    let life = if pod.get("spec").is_some_and(is_task) { Life::Task } else { Life::Service };
    match look(case, pod, life) {
        Standing::Proven => Health::Ready("it is ready"),
        Standing::Settled => Health::Ready("settled"),
        Standing::Completed => Health::Ready("completed"),
        // Nobody replaces it.
        Standing::Troubled(trouble) if trouble.hopeless || text(pod, "/status/phase") == "Failed" => {
            Health::Failed(trouble.cause())
        }
        Standing::Troubled(trouble) => Health::Starting(trouble.sentence()),
    }
}

/// Whether a pod's containers are all up by its own account.
pub fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.is_true())
}

/// Whether a pod has died more often than its budget allows.
pub(super) fn is_worn(case: &Case<'_>, pod: &Value) -> bool {
    restarts(pod) > u64::from(case.budget.restarts)
}
