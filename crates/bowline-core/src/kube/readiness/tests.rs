//! Tables of what a cluster tells and what it means. Objects are written as API servers write them: those of `v20` as
//! Kubernetes 1.20 does (with Docker), the others as 1.33 and later (with containerd).

use jiff::Timestamp;
use serde_json::Value;

use super::*;

mod daemon;
mod deployment;
mod generic;
mod job;
mod lab;
mod pod;
mod robustness;
mod samples;
mod stateful;
mod storage;

/// When the tests' changes are made.
const CHANGED: &str = "2026-11-22T10:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn budget() -> Budget {
    Budget { settle: Duration::from_secs(10), restarts: 8, since: Some(at(CHANGED)) }
}

fn words(health: &Health) -> String {
    match health {
        Health::Absent => "absent".into(),
        Health::Starting(why) => format!("starting: {why}"),
        Health::Ready(how) => format!("ready: {how}"),
        Health::Failed(cause) => format!("failed: {cause}"),
    }
}

/// A whole cluster as one test needs it.
#[derive(Debug, Clone, Default)]
struct Scene {
    sets: Vec<Value>,
    pods: Vec<Value>,
    nodes: Vec<Value>,
    classes: Vec<Value>,
    events: Vec<Value>,
    logs: Logs,
}

impl Scene {
    fn see<T>(&self, object: &Value, ask: impl FnOnce(&Sight<'_>) -> T) -> T {
        let (sets, pods): (Vec<_>, Vec<_>) = (self.sets.iter().collect(), self.pods.iter().collect());
        let (nodes, classes): (Vec<_>, Vec<_>) = (self.nodes.iter().collect(), self.classes.iter().collect());
        let events: Vec<_> = self.events.iter().collect();
        ask(&Sight {
            object: Some(object),
            replica_sets: &sets,
            pods: &pods,
            nodes: &nodes,
            classes: &classes,
            events: &events,
            logs: &self.logs,
        })
    }

    /// What is judged a minute after the change, when all has had its time.
    fn judge(&self, group: &str, kind: &str, object: &Value) -> String {
        self.judge_at(group, kind, object, "2026-11-22T10:01:00Z")
    }

    fn judge_at(&self, group: &str, kind: &str, object: &Value, now: &str) -> String {
        self.see(object, |sight| words(&judge(&Kind::new(group, kind), sight, &budget(), at(now))))
    }
}
