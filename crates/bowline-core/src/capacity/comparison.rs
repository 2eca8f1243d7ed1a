//! Before and after: two windows beside each other.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::profile::{Profile, ServiceProfile, Window};

/// One service before and after. Processors in thousandths of a core, memory in bytes; none where it did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The service; none for the machine as a whole.
    pub service: Option<String>,
    /// Processor use of all its containers, on average.
    pub cpu: (Option<u64>, Option<u64>),
    /// The most memory of one container; of the machine what was in use.
    pub memory: (Option<u64>, Option<u64>),
}

/// Two windows, compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// How many samples either window has.
    pub samples: (u64, u64),
    /// How much of either was seen, in milliseconds.
    pub seen: (u64, u64),
    /// The machine, then all services by name.
    pub changes: Vec<Change>,
}

impl Comparison {
    /// On what its figures stand, in a line.
    pub fn basis(&self) -> String {
        let (before, after) = (self.seen.0 / 60_000, self.seen.1 / 60_000);
        format!(
            "CPU is the average, memory the most; {before} min were seen before in {} samples, {after} min after in {}.",
            self.samples.0, self.samples.1
        )
    }
}

impl Change {
    /// Its figures for people: processors before, after and by how much, then memory, as `bytes` writes it. `absent` stands for
    /// those that are not known.
    pub fn cells(&self, absent: &str, bytes: impl Fn(u64) -> String) -> [String; 6] {
        let figure =
            |value: Option<u64>, show: &dyn Fn(u64) -> String| value.map_or_else(|| absent.to_owned(), show);
        let cpu = |value| figure(value, &|thousandths| format!("{thousandths}m"));
        let memory = |value| figure(value, &bytes);
        [
            cpu(self.cpu.0),
            cpu(self.cpu.1),
            percent(self.cpu),
            memory(self.memory.0),
            memory(self.memory.1),
            percent(self.memory),
        ]
    }
}

/// By how much the first became the second; empty where either is missing or was nothing.
fn percent(pair: (Option<u64>, Option<u64>)) -> String {
    match pair {
        (Some(before @ 1..), Some(after)) => {
            format!("{:+.0} %", (after as f64 / before as f64 - 1.0) * 100.0)
        }
        _ => String::new(),
    }
}

/// Compares two windows.
pub fn compare(before: &Profile, after: &Profile) -> Comparison {
    let of = |part: fn(&Window) -> u64| (part(&before.machine.window), part(&after.machine.window));
    let machine = |profile: &Profile| {
        let used = profile.machine.memory.saturating_sub(profile.machine.memory_available);
        (profile.machine.busy.average(), Some(used).filter(|_| profile.machine.window.samples > 0))
    };
    let pair =
        |service: Option<String>, before: (Option<u64>, Option<u64>), after: (Option<u64>, Option<u64>)| {
            Change { service, cpu: (before.0, after.0), memory: (before.1, after.1) }
        };
    let mut changes = vec![pair(None, machine(before), machine(after))];
    let names: BTreeSet<&String> = before.services.keys().chain(after.services.keys()).collect();
    let figures = |service: Option<&ServiceProfile>| {
        (service.map(|service| service.average), service.map(|service| service.memory))
    };
    for name in names {
        let (before, after) = (before.services.get(name), after.services.get(name));
        changes.push(pair(Some(name.clone()), figures(before), figures(after)));
    }
    Comparison { samples: of(|window| window.samples), seen: of(|window| window.seen), changes }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use bowline_measurement::interval::{CpuTime, Interval, Machine, Usage};

    fn profile(services: &[(&str, u64)]) -> Profile {
        let usage = |cpu: u64| Usage { seen: 1_000, cpu: cpu * 1_000, memory: cpu << 20, ..Usage::default() };
        let containers: BTreeMap<String, Usage> =
            services.iter().map(|(name, cpu)| (format!("p/{name}/1"), usage(*cpu))).collect();
        let cpu = CpuTime { user: 7_000, ..CpuTime::default() };
        let machine = Machine { cpu, memory: 100, memory_available: 60, ..Machine::default() };
        let interval = Interval { from: 0, to: 1_000, seen: 1_000, samples: 1, machine, containers };
        Profile::new(&[interval], |name| name.split('/').nth(1).map(str::to_owned))
    }

    #[test]
    fn what_came_and_what_went_is_told() {
        let found = compare(&profile(&[("a", 5), ("b", 9)]), &profile(&[("a", 7), ("c", 1)]));
        let rows: Vec<_> = found.changes.iter().map(|one| (one.service.as_deref(), one.cpu)).collect();
        assert_eq!(
            rows,
            [
                (None, (Some(7), Some(7))),
                (Some("a"), (Some(5), Some(7))),
                (Some("b"), (Some(9), None)),
                (Some("c"), (None, Some(1))),
            ]
        );
        assert_eq!((found.samples, found.changes[0].memory), ((1, 1), (Some(40), Some(40))));
        let nothing = compare(&Profile::default(), &Profile::default());
        assert_eq!((nothing.samples, nothing.changes[0].memory), ((0, 0), (None, None)));
    }
}
