//! What a kubelet says of its node and of the containers on it (`/stats/summary`, `k8s.io/kubelet/pkg/apis/stats/v1alpha1`).
//!
//! The kubelet looks on its own time, every ten seconds or so, and says when: what was not looked at anew has no figure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use bowline_measurement::interval::{CpuTime, Flow, Interval, Machine, Usage};

/// What kubelets said at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    nodes: BTreeMap<String, Node>,
    containers: BTreeMap<String, Container>,
}

/// A counter and when it was read, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counter {
    at: i64,
    /// Microseconds.
    cpu: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    counter: Counter,
    cores: u32,
    memory: u64,
    memory_available: u64,
    disk: u64,
    disk_free: u64,
    network: Flow,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Container {
    counter: Counter,
    started: i64,
    memory: u64,
}

impl Summary {
    /// Adds what a node's kubelet says; `cores` are the node's processors. What is not there is left out.
    pub fn add(&mut self, summary: &Value, cores: u32) {
        let Some(name) = summary.pointer("/node/nodeName").and_then(Value::as_str) else { return };
        let node = summary.pointer("/node").unwrap_or(&Value::Null);
        let Some(counter) = counter(node) else { return };
        let available = number(node, "/memory/availableBytes");
        self.nodes.insert(
            name.to_owned(),
            Node {
                counter,
                cores,
                memory: number(node, "/memory/workingSetBytes").saturating_add(available),
                memory_available: available,
                disk: number(node, "/fs/capacityBytes"),
                disk_free: number(node, "/fs/availableBytes"),
                network: Flow {
                    inward: number(node, "/network/rxBytes"),
                    outward: number(node, "/network/txBytes"),
                },
            },
        );
        for pod in list(summary, "/pods") {
            let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
            let (Some(namespace), Some(pod_name)) = (text("/podRef/namespace"), text("/podRef/name")) else {
                continue;
            };
            for container in list(pod, "/containers") {
                let (Some(name), Some(counter)) =
                    (container.get("name").and_then(Value::as_str), self::counter(container))
                else {
                    continue;
                };
                self.containers.insert(
                    format!("{namespace}/{pod_name}/{name}"),
                    Container {
                        counter,
                        started: time(container, "/startTime").unwrap_or(counter.at),
                        memory: number(container, "/memory/workingSetBytes"),
                    },
                );
            }
        }
    }

    /// What happened from one summary to the next, all nodes together as one machine; none where no node was looked at anew.
    pub fn until(&self, later: &Self) -> Option<Interval> {
        let mut machine = Machine::default();
        let (mut from, mut to, mut seen) = (i64::MAX, i64::MIN, 0);
        for (name, after) in &later.nodes {
            machine.cores += after.cores;
            machine.memory += after.memory;
            machine.memory_available += after.memory_available;
            machine.disk += after.disk;
            machine.disk_free += after.disk_free;
            let Some(before) = self.nodes.get(name) else { continue };
            let Some((time, used)) = before.counter.until(after.counter) else { continue };
            (from, to, seen) = (from.min(before.counter.at), to.max(after.counter.at), time.max(seen));
            let all = u64::from(after.cores).saturating_mul(time).saturating_mul(1000);
            machine.cpu = machine.cpu.plus(CpuTime {
                user: used,
                idle: all.saturating_sub(used),
                ..CpuTime::default()
            });
            let since = |after: u64, before: u64| after.saturating_sub(before);
            machine.network.inward += since(after.network.inward, before.network.inward);
            machine.network.outward += since(after.network.outward, before.network.outward);
        }
        machine.cpu_peak = machine.cpu.busy().checked_div(seen)?;
        let containers = later.containers.iter().filter_map(|(name, after)| {
            let before = self.containers.get(name)?;
            Some((name.clone(), before.until(after)?))
        });
        Some(Interval { from, to, seen, samples: 1, machine, containers: containers.collect() })
    }
}

impl Counter {
    /// Milliseconds and microseconds of processor time until another reading; none where that is the same one, or counts
    /// from another beginning.
    fn until(self, later: Self) -> Option<(u64, u64)> {
        let time = u64::try_from(later.at.saturating_sub(self.at)).ok().filter(|time| *time > 0)?;
        Some((time, later.cpu.checked_sub(self.cpu)?))
    }
}

impl Container {
    fn until(&self, after: &Self) -> Option<Usage> {
        let restarted = after.started != self.started;
        // One that was started anew counts from its start.
        let begin = if restarted { Counter { at: after.started, cpu: 0 } } else { self.counter };
        let (seen, cpu) = begin.until(after.counter)?;
        Some(Usage {
            seen,
            cpu,
            cpu_peak: cpu.checked_div(seen)?,
            memory: after.memory,
            memory_last: after.memory,
            restarts: u32::from(restarted),
            age: u64::try_from(after.counter.at.saturating_sub(after.started)).unwrap_or(0),
            ..Usage::default()
        })
    }
}

fn counter(value: &Value) -> Option<Counter> {
    let nanoseconds = value.pointer("/cpu/usageCoreNanoSeconds").and_then(Value::as_u64)?;
    Some(Counter { at: time(value, "/cpu/time")?, cpu: nanoseconds / 1000 })
}

fn time(value: &Value, pointer: &str) -> Option<i64> {
    let text = value.pointer(pointer)?.as_str()?;
    Some(text.parse::<Timestamp>().ok()?.as_millisecond())
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

fn list<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn summary(second: u32, node: u64, app: u64, started: &str) -> Summary {
        let time = format!("2026-11-25T10:00:{second:02}Z");
        let cpu = |used: u64| json!({ "time": time, "usageCoreNanoSeconds": used });
        let value = json!({
            "node": { "nodeName": "n1", "cpu": cpu(node), "memory": { "workingSetBytes": 300, "availableBytes": 700 },
                "fs": { "capacityBytes": 1000, "availableBytes": 400 } },
            "pods": [{ "podRef": { "namespace": "chat", "name": "user-1" }, "containers": [
                { "name": "app", "startTime": started, "cpu": cpu(app), "memory": { "workingSetBytes": 50 } },
                { "name": "no-figures" },
            ] }],
        });
        let mut found = Summary::default();
        found.add(&value, 2);
        found
    }

    const LONG_AGO: &str = "2026-11-25T09:00:00Z";

    #[test]
    fn what_was_used_lies_between_two_looks_of_the_kubelet() {
        let found = summary(0, 10_000_000_000, 1_000_000_000, LONG_AGO)
            .until(&summary(10, 20_000_000_000, 2_000_000_000, LONG_AGO))
            .unwrap();
        // A whole core of two for ten seconds, a tenth of it by the container.
        assert_eq!(
            (found.seen, found.machine.cpu.busy(), found.machine.cpu.idle),
            (10_000, 10_000_000, 10_000_000)
        );
        assert_eq!(
            (found.machine.memory, found.machine.memory_available, found.machine.cpu_peak),
            (1000, 700, 1000)
        );
        let app = &found.containers["chat/user-1/app"];
        assert_eq!((app.cpu_rate(), app.memory, app.restarts, app.age), (Some(100), 50, 0, 3_610_000));
        assert_eq!(found.containers.len(), 1);
    }

    #[test]
    fn what_was_not_looked_at_anew_has_no_figure() {
        let same = summary(0, 1_000, 1_000, LONG_AGO);
        assert_eq!(same.until(&same), None);
        assert_eq!(Summary::default().until(&same), None);
    }

    #[test]
    fn a_container_that_was_started_anew_counts_from_its_start() {
        let found = summary(0, 0, 9_000_000_000, LONG_AGO)
            .until(&summary(10, 1_000_000_000, 500_000_000, "2026-11-25T10:00:05Z"))
            .unwrap();
        let app = &found.containers["chat/user-1/app"];
        assert_eq!((app.seen, app.cpu, app.restarts, app.age), (5_000, 500_000, 1, 5_000));
    }

    #[test]
    fn an_answer_that_makes_no_sense_says_nothing() {
        let mut found = Summary::default();
        for value in [json!(null), json!({ "node": { "nodeName": "n" } }), json!({ "node": [], "pods": 7 })] {
            found.add(&value, 2);
        }
        assert_eq!(found, Summary::default());
    }
}
