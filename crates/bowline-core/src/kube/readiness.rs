//! When is an object of a cluster up, when can it never be: pure functions of what the API told.
//!
//! A controller reports what it counts, and gives up after ten minutes; the reason stands in the pods, their events and
//! the nodes. So a workload is judged by both: it is up when its controller says that every wanted pod is of the new
//! version and available, and it has failed as soon as one of its new pods cannot get better. Deadlines are not added
//! here: who waits knows for how long.
//!
//! Words never hold a time that goes on ("for 12 s"): the same state gives the same health, and nothing is reported twice.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::object::Kind;
use crate::health::Health;

mod baseline;
mod container;
mod creation;
mod crew;
mod daemon;
mod definition;
mod deployment;
mod event;
mod evidence;
mod generic;
mod image;
mod job;
mod pod;
mod probe;
mod progress;
mod related;
mod service;
mod stateful;
mod status;
mod storage;
mod trouble;

#[cfg(test)]
mod tests;

pub use baseline::broken_before;
pub use evidence::troubles;
pub use pod::is_ready as is_pod_ready;
pub use probe::unproven;
pub use progress::{Progress, progress};
pub use related::{Related, wanted_related};
pub use service::selects;
pub use stateful::wedged;
pub use trouble::{Trouble, Weight, first_cause};

/// The last lines that containers wrote, by pod and container; of the process that died where one did.
pub type Logs = BTreeMap<(String, String), Vec<String>>;

static NO_LOGS: Logs = Logs::new();

/// How long a state that another controller may well end (a Secret that an operator is about to make, a scheduler that
/// waits for room) is not yet a failure. The number is kstatus's for pods that cannot be scheduled.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the API told of one object and of what belongs to it.
///
/// Lists may hold more than what belongs to the object, for instance all pods of its namespace: who owns whom is read
/// here. Items need no `apiVersion` and `kind`, which lists of the API leave out.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// The object itself; none where there is none.
    pub object: Option<&'a Value>,
    /// ReplicaSets of its namespace.
    pub replica_sets: &'a [&'a Value],
    /// Pods of its namespace.
    pub pods: &'a [&'a Value],
    /// Nodes. Without them a pod's node is trusted until the pod says otherwise.
    pub nodes: &'a [&'a Value],
    /// StorageClasses.
    pub classes: &'a [&'a Value],
    /// Events of its namespace, of the core group or of `events.k8s.io`.
    pub events: &'a [&'a Value],
    /// What containers wrote.
    pub logs: &'a Logs,
}

impl Default for Sight<'_> {
    fn default() -> Self {
        Self {
            object: None,
            replica_sets: &[],
            pods: &[],
            nodes: &[],
            classes: &[],
            events: &[],
            logs: &NO_LOGS,
        }
    }
}

/// What is asked of a workload, and what it may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// How long a container without a probe must stay up before it counts.
    pub settle: Duration,
    /// How often the containers of one pod may die and be restarted, all together.
    pub restarts: u32,
    /// When the change was made, by the API server's clock. What happened before is not the change's fault: restarts of
    /// older pods, events and verdicts of controllers. None: all that is seen counts.
    pub since: Option<Timestamp>,
}

/// One judgement: what all rules need to know.
#[derive(Debug, Clone, Copy)]
struct Case<'a> {
    object: &'a Value,
    sight: &'a Sight<'a>,
    budget: &'a Budget,
    now: Timestamp,
}

impl Case<'_> {
    /// Whether something has been so for longer than the patience with it; what has no time is new.
    fn is_lasting(&self, since: Option<Timestamp>) -> bool {
        since.is_some_and(|since| status::has_passed(since, PATIENCE, self.now))
    }

    /// Whether something happened before the change; what has no time did not. The API tells whole seconds, rounded
    /// down: what happened in the second of the change may have followed it.
    fn is_stale(&self, at: Option<Timestamp>) -> bool {
        matches!((at, self.budget.since), (Some(at), Some(since)) if at.as_second() < since.as_second())
    }
}

/// Judges one object. `now` is the API server's time.
///
/// Objects whose kind has no state of its own are up when they exist. A custom resource is up when its condition `Ready`
/// says so, or when it has none.
pub fn judge(kind: &Kind, sight: &Sight<'_>, budget: &Budget, now: Timestamp) -> Health {
    let Some(object) = sight.object else { return Health::Absent };
    let case = Case { object, sight, budget, now };
    if kind.is("", "Namespace") {
        return definition::judge_namespace(&case);
    }
    if let Some(why) = status::deletion(object) {
        return Health::Starting(why);
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment") => deployment::judge_deployment(&case),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => deployment::judge_replica_set(&case),
        ("apps", "StatefulSet") => stateful::judge(&case),
        ("apps", "DaemonSet") => daemon::judge(&case),
        ("", "Pod") => pod::judge_bare(&case),
        ("batch", "Job") => job::judge(&case),
        ("batch", "CronJob") => job::judge_cron(&case),
        ("", "PersistentVolumeClaim") => storage::judge_claim(&case),
        ("", "PersistentVolume") => storage::judge_volume(&case),
        ("", "Service") => service::judge(&case),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition::judge_definition(&case),
        ("apiregistration.k8s.io", "APIService") => definition::judge_api(&case),
        (group, _) if generic::is_built_in(group) => Health::Ready("it exists"),
        _ => generic::judge(&case),
    }
}
