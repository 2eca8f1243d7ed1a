//! StatefulSets: pods with names, replaced one after the other.

use jiff::Timestamp;
use serde_json::Value;

use super::container::Life;
use super::creation::told_by_event;
use super::crew::{Crew, kept};
use super::pod::{Standing, is_ready, look};
use super::status::{count, is_owned, is_terminating, is_unobserved, name, pods, text, wanted_replicas};
use super::{Budget, Case, Sight};
use crate::health::{Cause, Health};

const REVISION_OF_POD: &str = "/metadata/labels/controller-revision-hash";

/// A StatefulSet is up when all its pods are ready and those at or above its partition are of the new version
/// (kubernetes: pkg/controller/statefulset/stateful_set_control.go; kubectl's `rollout status` asks the same).
pub(super) fn judge(case: &Case<'_>) -> Health {
    let set = case.object;
    if is_unobserved(set) {
        return Health::Starting("its controller has not seen the change yet".into());
    }
    let wanted = wanted_replicas(set);
    let (by_hand, partition) = strategy(set);
    let renewed = if by_hand { 0 } else { wanted.saturating_sub(partition) };
    let update = text(set, "/status/updateRevision");
    let all = kept(case, set);
    let crew = Crew::look(case, all.iter().copied().filter(|pod| text(pod, REVISION_OF_POD) == update));
    if let Some(cause) = crew.find_failure() {
        return Health::Failed(cause);
    }
    let (exist, ready) = (count(set, "/status/replicas"), count(set, "/status/readyReplicas"));
    if exist < wanted
        && let Some(refusal) = told_by_event(case, false)
    {
        return match refusal.is_final {
            true => Health::Failed(Cause::new(refusal.words)),
            false => crew.wait(&refusal.words),
        };
    }
    if let Some(pod) = find_wedge(case, &all, renewed) {
        return Health::Starting(format!(
            "pod {pod} of an older version is not ready, and its controller does not replace it before it is: delete it"
        ));
    }
    let is_one = !update.is_empty() && text(set, "/status/currentRevision") == update;
    let updated = if is_one { exist } else { count(set, "/status/updatedReplicas") };
    let counted = match (exist, updated, ready) {
        (exist, ..) if exist > wanted => format!("{} too many", pods(exist - wanted)),
        (_, updated, _) if updated < renewed => format!("{updated} of {} of the new version", pods(renewed)),
        (_, _, ready) if ready < wanted => format!("{ready} of {} ready", pods(wanted)),
        _ if partition == 0 && !by_hand && wanted > 0 && !is_one => {
            "its controller concludes the update".into()
        }
        _ => return conclude(&crew, wanted, renewed, is_one),
    };
    wait(case, &all, &crew, &counted)
}

fn conclude(crew: &Crew, wanted: u64, renewed: u64, is_one: bool) -> Health {
    match crew.conclude(if is_one { wanted } else { renewed }) {
        Health::Ready(_) if !is_one && renewed == 0 && wanted > 0 => Health::Ready(
            "all pods are ready, and stay as they are until somebody deletes them or lowers its partition",
        ),
        health => health,
    }
}

/// Where the new pods say nothing, the old ones may: all must be ready.
fn wait(case: &Case<'_>, all: &[&Value], crew: &Crew, counted: &str) -> Health {
    let uid = text(case.object, "/metadata/uid");
    let going = case.sight.pods.iter().filter(|pod| is_terminating(pod) && is_owned(pod, uid));
    let going = going.map(|pod| name(pod)).min();
    match (crew.wait(counted), going) {
        (Health::Starting(words), Some(going)) if words == counted => {
            Health::Starting(format!("{counted}; pod {going} is still ending"))
        }
        (Health::Starting(words), None) if words == counted => {
            Crew::look(case, all.iter().copied()).wait(counted)
        }
        (health, _) => health,
    }
}

/// Whether pods are only replaced when somebody deletes them, and the ordinal below which they are left alone.
fn strategy(set: &Value) -> (bool, u64) {
    let by_hand = text(set, "/spec/updateStrategy/type") == "OnDelete";
    (by_hand, count(set, "/spec/updateStrategy/rollingUpdate/partition"))
}

/// A pod of an older version that cannot get better and so keeps the others from being replaced (kubernetes: "Forced
/// rollback" of the StatefulSet page; `processReplica` waits for each pod in turn).
fn find_wedge<'a>(case: &Case<'_>, all: &[&'a Value], renewed: u64) -> Option<&'a str> {
    let update = text(case.object, "/status/updateRevision");
    if renewed == 0 || text(case.object, "/spec/podManagementPolicy") == "Parallel" {
        return None;
    }
    // Its restarts were before the change, and count.
    let budget = Budget { since: None, ..*case.budget };
    let case = Case { budget: &budget, ..*case };
    let old = all.iter().filter(|pod| text(pod, REVISION_OF_POD) != update && !is_ready(pod));
    old.filter(
        |pod| matches!(look(&case, pod, Life::Service), Standing::Troubled(trouble) if trouble.hopeless),
    )
    .map(|pod| name(pod))
    .min()
}

/// The name of the pod that must be deleted before a StatefulSet goes on: it is of an older version, cannot get better,
/// and its controller waits for it to be ready before it replaces any. None where it goes on by itself.
///
/// The way back from a release that failed needs this: putting the old `spec` back is not enough.
pub fn wedged(sight: &Sight<'_>, budget: &Budget, now: Timestamp) -> Option<String> {
    let object = sight.object.filter(|object| !is_unobserved(object))?;
    let case = Case { object, sight, budget, now };
    let (by_hand, partition) = strategy(object);
    let renewed = if by_hand { 0 } else { wanted_replicas(object).saturating_sub(partition) };
    find_wedge(&case, &kept(&case, object), renewed).map(str::to_owned)
}
