//! DaemonSets: a pod on every node that wants one.

use serde_json::Value;

use super::Case;
use super::creation::told_by_event;
use super::crew::{Crew, kept};
use super::pod::is_lost;
use super::status::{count, is_unobserved, pods, text};
use crate::health::{Cause, Health};

/// A DaemonSet is up when every node that wants one has an available pod of the new version (kubernetes:
/// pkg/controller/daemon/update.go). Nodes that do not answer are not waited for: their pods cannot be replaced before
/// they come back, which is nothing that a release could do.
pub(super) fn judge(case: &Case<'_>) -> Health {
    let set = case.object;
    if is_unobserved(set) {
        return Health::Starting("its controller has not seen the change yet".into());
    }
    let by_hand = text(set, "/spec/updateStrategy/type") == "OnDelete";
    let all = kept(case, set);
    let (lost, reachable): (Vec<&Value>, Vec<&Value>) =
        all.into_iter().partition(|pod| is_lost(case, text(pod, "/spec/nodeName")));
    let (new, old): (Vec<_>, Vec<_>) = reachable.into_iter().partition(|pod| by_hand || is_new(set, pod));
    let crew = Crew::look(case, new.into_iter());
    if let Some(cause) = crew.find_failure() {
        return Health::Failed(cause);
    }
    let lost = u64::try_from(lost.len()).unwrap_or_default();
    let wanted = count(set, "/status/desiredNumberScheduled");
    let reachable = wanted.saturating_sub(lost);
    if count(set, "/status/currentNumberScheduled") < wanted
        && let Some(refusal) = told_by_event(case, !old.is_empty())
    {
        return match refusal.is_final {
            true => Health::Failed(Cause::new(refusal.words)),
            false => crew.wait(&refusal.words),
        };
    }
    let updated = if by_hand { reachable } else { count(set, "/status/updatedNumberScheduled") };
    let available = count(set, "/status/numberAvailable");
    let counted = match (updated, available) {
        (updated, _) if updated < reachable => format!("{updated} of {} of the new version", pods(reachable)),
        _ if !old.is_empty() => {
            format!("{} of the old version still there", pods(old.len().try_into().unwrap_or(1)))
        }
        (_, available) if available < reachable => format!("{available} of {} available", pods(reachable)),
        _ => {
            return match crew.conclude(reachable) {
                Health::Ready(_) if wanted == 0 => Health::Ready("no node wants it"),
                Health::Ready(_) if lost > 0 => Health::Ready("ready on every node that answers"),
                Health::Ready(_) if by_hand => {
                    Health::Ready("all pods are ready, and stay as they are until somebody deletes them")
                }
                health => health,
            };
        }
    };
    crew.wait(&counted)
}

/// Whether a pod is of the present template. The annotation and the label are the API server's and the controller's own
/// (kubernetes: `IsPodUpdated` in pkg/controller/daemon/util); the hash would need the ControllerRevisions.
fn is_new(set: &Value, pod: &Value) -> bool {
    let generation = text(set, "/metadata/annotations/deprecated.daemonset.template.generation");
    generation.is_empty() || text(pod, "/metadata/labels/pod-template-generation") == generation
}
