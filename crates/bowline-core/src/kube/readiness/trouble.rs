//! What is wrong with one pod, and which of several troubles explains the others.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::Value;

use super::status::{name, text, time};
use crate::health::Cause;

/// How much a trouble explains: the first ones are causes, the last ones are what one sees of a cause elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Its process cannot be started: wrong processor, no such command.
    Start,
    /// Its image cannot be had.
    Image,
    /// What it needs to be configured is missing.
    Configuration,
    /// The kernel killed it for want of memory.
    Memory,
    /// It ended.
    Exit,
    /// The pod as a whole ended.
    End,
    /// No node takes it.
    Placement,
    /// Its volumes are not there, or its network.
    Surroundings,
    /// It runs and does not answer its probes.
    Probe,
    /// Its node does not answer.
    Node,
    /// Nothing is wrong, it is only not ready yet.
    Waiting,
}

/// What keeps one pod from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// How much it explains.
    pub weight: Weight,
    /// Whether waiting cannot help.
    pub hopeless: bool,
    /// The pod.
    pub pod: String,
    /// When the pod was made: of pods with the same trouble the first is named, however many follow.
    pub created: Option<Timestamp>,
    /// Where the pod is, once it is somewhere.
    pub node: Option<String>,
    /// The container, where it is one container's.
    pub container: Option<String>,
    /// Whether that container only prepares the pod.
    pub is_init: bool,
    /// What it is, without where: `exited with code 3, restart 1 of 8 allowed`.
    pub words: String,
    /// The exit code, where a process ended.
    pub exit_code: Option<i64>,
    /// Whether the process that ended has a successor already: its log is the API's `previous` one.
    pub is_previous: bool,
    /// The last lines that the process wrote.
    pub log: Vec<String>,
}

impl Trouble {
    /// A trouble of a pod as a whole that may still pass.
    pub(super) fn new(pod: &Value, weight: Weight, words: impl Into<String>) -> Self {
        let node = text(pod, "/spec/nodeName");
        Self {
            weight,
            hopeless: false,
            pod: name(pod).to_owned(),
            created: time(pod, "/metadata/creationTimestamp"),
            node: (!node.is_empty()).then(|| node.to_owned()),
            container: None,
            is_init: false,
            words: words.into(),
            exit_code: None,
            is_previous: false,
            log: Vec::new(),
        }
    }

    /// The same, but waiting cannot help.
    pub(super) fn hopeless(self) -> Self {
        Self { hopeless: true, ..self }
    }

    /// The same, hopeless or not.
    pub(super) fn hopeless_if(self, hopeless: bool) -> Self {
        Self { hopeless, ..self }
    }

    /// Where and what: `pod user-5d9 on node-2, container user: exited with code 3`.
    pub fn sentence(&self) -> String {
        let node = self.node.iter().map(|node| format!(" on {node}"));
        let what = if self.is_init { "init container" } else { "container" };
        let container = self.container.iter().map(|container| format!(", {what} {container}"));
        format!("pod {}{}: {}", self.pod, node.chain(container).collect::<String>(), self.words)
    }

    /// The trouble as the cause of a failure.
    pub fn cause(&self) -> Cause {
        Cause {
            reason: self.sentence(),
            exit_code: self.exit_code,
            oom_killed: self.weight == Weight::Memory,
            log: self.log.clone(),
        }
    }

    /// The less, the more telling.
    fn rank(&self) -> (bool, Weight, bool, Option<Timestamp>, &str, Option<&str>) {
        let silent = self.log.is_empty();
        (!self.hopeless, self.weight, silent, self.created, &self.pod, self.container.as_deref())
    }
}

/// The more telling of two troubles is the lesser.
pub(super) fn compare(one: &Trouble, other: &Trouble) -> Ordering {
    one.rank().cmp(&other.rank())
}

/// The most telling of some troubles, whatever their order: what cannot get better before what can, causes before what
/// follows from them, one with last words before one without, the oldest pod first.
pub(super) fn most_telling<'t>(troubles: impl Iterator<Item = &'t Trouble>) -> Option<&'t Trouble> {
    troubles.min_by(|one, other| compare(one, other))
}

/// The cause that explains most of some troubles.
pub fn first_cause(troubles: &[Trouble]) -> Option<Cause> {
    most_telling(troubles.iter()).map(Trouble::cause)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn trouble(pod: &str, minute: u8, weight: Weight, words: &str) -> Trouble {
        let created = format!("2026-11-22T10:{minute:02}:00Z");
        let pod =
            json!({"metadata": {"name": pod, "creationTimestamp": created}, "spec": {"nodeName": "n1"}});
        Trouble::new(&pod, weight, words)
    }

    #[test]
    fn the_most_telling_trouble_is_named_whatever_the_order() {
        let troubles = [
            trouble("user-c", 3, Weight::Probe, "does not answer"),
            trouble("user-b", 2, Weight::Exit, "exited with code 1"),
            Trouble { log: vec!["boom".into()], ..trouble("user-d", 4, Weight::Exit, "exited with code 2") },
            trouble("user-a", 5, Weight::Placement, "no node").hopeless(),
            trouble("user-0", 9, Weight::Placement, "no node").hopeless(),
        ];
        for turn in 0..troubles.len() {
            let mut turned = troubles.to_vec();
            turned.rotate_left(turn);
            assert_eq!(first_cause(&turned).unwrap().reason, "pod user-a on n1: no node");
        }
        let passing = first_cause(&troubles[..3]).unwrap();
        assert_eq!((passing.reason.as_str(), passing.log.len()), ("pod user-d on n1: exited with code 2", 1));
        assert_eq!(first_cause(&[]), None);
    }
}
