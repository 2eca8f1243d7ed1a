//! What was measured: a span of time, and what the machine and its containers did in it.
//!
//! A span holds amounts that were used in it rather than the readings of counters. Two spans that follow each other add
//! up to one, so the fine ones of a day become the coarse ones of a year without a second kind of figure; and counters
//! that start again, gaps and clocks that jump end at the sampler, which sees them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A span of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// When it began, in milliseconds since 1970 (UTC).
    pub from: i64,
    /// How much of it was seen, in milliseconds: less than up to its end where there are gaps.
    pub seen: u64,
    /// When it ended, in milliseconds since 1970 (UTC).
    pub to: i64,
    /// Of how many samples it was made.
    pub samples: u32,
    /// The machine as a whole.
    pub machine: Machine,
    /// The containers that ran in it, by name. Of a Compose project: `project/service/number`; of a cluster:
    /// `namespace/pod/container`; of others the container's own name.
    pub containers: BTreeMap<String, Usage>,
}

/// What a machine did. Times are microseconds, sizes are bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Processors, as the system counts them.
    pub cores: u32,
    /// Processor time by kind (`/proc/stat`), of all cores together.
    pub cpu: CpuTime,
    /// The most that one sample had used of all cores together, in thousandths of a core.
    pub cpu_peak: u64,
    /// Memory there is.
    pub memory: u64,
    /// The least that was left of it for new work (`MemAvailable`).
    pub memory_available: u64,
    /// Swap in use, at most.
    pub swap: u64,
    /// Time in which something, or everything, waited for a resource (`/proc/pressure`).
    pub pressure: Pressure,
    /// The highest load average over one minute, in hundredths.
    pub load: u64,
    /// The file system that holds the engine's data: its size.
    pub disk: u64,
    /// And the least that was free of it.
    pub disk_free: u64,
    /// Read from disks and written to them.
    pub io: Flow,
    /// Received and sent over the network, loopback left out.
    pub network: Flow,
}

/// Processor time by kind, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTime {
    /// Programs, those with lower priority too.
    pub user: u64,
    /// The kernel, interrupts included.
    pub system: u64,
    /// Nothing to do.
    pub idle: u64,
    /// Nothing to do, but a disk was awaited.
    pub wait: u64,
    /// There was work, and the hypervisor did not give the time for it.
    pub steal: u64,
}

/// Time in which work stood still for want of something, in microseconds; nothing where the kernel does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// Something waited for a processor.
    pub cpu: u64,
    /// Something waited for memory.
    pub memory: u64,
    /// Everything waited for memory.
    pub memory_full: u64,
    /// Something waited for a disk.
    pub io: u64,
    /// Everything waited for a disk.
    pub io_full: u64,
}

/// Bytes into a thing and out of it: read and written, received and sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Read, or received.
    pub inward: u64,
    /// Written, or sent.
    pub outward: u64,
}

/// What a container did. Times are microseconds, sizes are bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// How much of the interval it was seen in, in milliseconds.
    pub seen: u64,
    /// Processor time.
    pub cpu: u64,
    /// The most that one sample had used, in thousandths of a core.
    pub cpu_peak: u64,
    /// Time in which it had work and was held back by its own limit.
    pub throttled: u64,
    /// Memory that cannot be given back: usage without inactive files, as the kubelet and `docker stats` count it. At most.
    pub memory: u64,
    /// The same at the end of the interval.
    pub memory_last: u64,
    /// The most that the kernel remembers, files included; nothing where it does not.
    pub memory_peak: u64,
    /// Its limit at the end of the interval; nothing where it has none.
    pub memory_limit: u64,
    /// Processes that the kernel killed for want of memory.
    pub oom_kills: u32,
    /// How often it was started anew.
    pub restarts: u32,
    /// How long its newest process had run at the end, in milliseconds: start-up is told from work by it.
    pub age: u64,
    /// Over the network.
    pub network: Flow,
    /// From disks and to them.
    pub io: Flow,
}

impl Interval {
    /// This one and the one after it as one. What was used adds up, peaks stay, levels are those of the later one.
    #[must_use]
    pub fn then(mut self, later: Self) -> Self {
        self.from = self.from.min(later.from);
        self.to = self.to.max(later.to);
        self.seen = self.seen.saturating_add(later.seen);
        self.samples = self.samples.saturating_add(later.samples);
        self.machine = self.machine.then(later.machine);
        for (name, usage) in later.containers {
            let whole = match self.containers.remove(&name) {
                Some(before) => before.then(usage),
                None => usage,
            };
            self.containers.insert(name, whole);
        }
        self
    }
}

/// Neighbours of the same minute as one, which is what rates are told of; coarser ones stay.
pub fn fold_minutes(intervals: &[Interval]) -> Vec<Interval> {
    const MINUTE: i64 = 60_000;
    let mut folded: Vec<Interval> = Vec::new();
    for interval in intervals {
        let minute = |one: &Interval| one.from.div_euclid(MINUTE);
        match folded.pop() {
            Some(last) if minute(&last) == minute(interval) => folded.push(last.then(interval.clone())),
            last => folded.extend(last.into_iter().chain([interval.clone()])),
        }
    }
    folded
}

impl Machine {
    fn then(self, later: Self) -> Self {
        Self {
            cores: later.cores,
            cpu: self.cpu.plus(later.cpu),
            cpu_peak: self.cpu_peak.max(later.cpu_peak),
            memory: later.memory,
            memory_available: self.memory_available.min(later.memory_available),
            swap: self.swap.max(later.swap),
            pressure: self.pressure.plus(later.pressure),
            load: self.load.max(later.load),
            disk: later.disk,
            disk_free: self.disk_free.min(later.disk_free),
            io: self.io.plus(later.io),
            network: self.network.plus(later.network),
        }
    }
}

impl CpuTime {
    /// The sum, kind by kind.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            user: self.user.saturating_add(other.user),
            system: self.system.saturating_add(other.system),
            idle: self.idle.saturating_add(other.idle),
            wait: self.wait.saturating_add(other.wait),
            steal: self.steal.saturating_add(other.steal),
        }
    }

    /// What has passed since an earlier reading. Time in which nothing is to be done may run backwards in `/proc/stat`: then none
    /// has.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            idle: self.idle.saturating_sub(before.idle),
            wait: self.wait.saturating_sub(before.wait),
            steal: self.steal.saturating_sub(before.steal),
        }
    }

    /// What was worked.
    pub fn busy(self) -> u64 {
        self.user.saturating_add(self.system)
    }

    /// All of it.
    pub fn total(self) -> u64 {
        self.busy().saturating_add(self.idle).saturating_add(self.wait).saturating_add(self.steal)
    }
}

impl Pressure {
    fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_add(other.cpu),
            memory: self.memory.saturating_add(other.memory),
            memory_full: self.memory_full.saturating_add(other.memory_full),
            io: self.io.saturating_add(other.io),
            io_full: self.io_full.saturating_add(other.io_full),
        }
    }

    /// What has passed since an earlier reading.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            memory: self.memory.saturating_sub(before.memory),
            memory_full: self.memory_full.saturating_sub(before.memory_full),
            io: self.io.saturating_sub(before.io),
            io_full: self.io_full.saturating_sub(before.io_full),
        }
    }
}

impl Flow {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            inward: self.inward.saturating_add(other.inward),
            outward: self.outward.saturating_add(other.outward),
        }
    }

    /// What has passed since an earlier reading; none where that was more: it counts something else now.
    pub fn since(self, before: Self) -> Option<Self> {
        Some(Self {
            inward: self.inward.checked_sub(before.inward)?,
            outward: self.outward.checked_sub(before.outward)?,
        })
    }
}

impl Usage {
    /// Used processors over the time it was seen in, in thousandths of a core; none where it was not seen.
    pub fn cpu_rate(&self) -> Option<u64> {
        // Microseconds of work in a millisecond are thousandths of a core.
        self.cpu.checked_div(self.seen)
    }

    fn then(self, later: Self) -> Self {
        Self {
            seen: self.seen.saturating_add(later.seen),
            cpu: self.cpu.saturating_add(later.cpu),
            cpu_peak: self.cpu_peak.max(later.cpu_peak),
            throttled: self.throttled.saturating_add(later.throttled),
            memory: self.memory.max(later.memory),
            memory_last: later.memory_last,
            memory_peak: self.memory_peak.max(later.memory_peak),
            memory_limit: later.memory_limit,
            oom_kills: self.oom_kills.saturating_add(later.oom_kills),
            restarts: self.restarts.saturating_add(later.restarts),
            age: later.age,
            network: self.network.plus(later.network),
            io: self.io.plus(later.io),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn usage()(seen in 0..20_000_u64, cpu in 0..9_000_u64, cpu_peak in 0..4_000_u64, memory in 0..9_000_u64,
            memory_last in 0..9_000_u64, oom_kills in 0..2_u32, age in 0..9_000_u64) -> Usage {
            Usage { seen, cpu, cpu_peak, memory, memory_last, oom_kills, age, ..Usage::default() }
        }
    }

    prop_compose! {
        fn interval(from: i64)(idle in 0..9_000_u64, memory_available in 0..9_000_u64, load in 0..500_u64,
            containers in prop::collection::btree_map("[ab]", usage(), 0..3)) -> Interval {
            let cpu = CpuTime { idle, ..CpuTime::default() };
            let machine = Machine { cpu, memory_available, load, ..Machine::default() };
            Interval { from, to: from + 10, seen: 10, samples: 1, machine, containers }
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_which_are_joined_first(a in interval(0), b in interval(10), c in interval(20)) {
            let left = a.clone().then(b.clone()).then(c.clone());
            prop_assert_eq!(left, a.then(b.then(c)));
        }
    }

    #[test]
    fn a_rate_counts_only_what_was_seen() {
        let usage = Usage { seen: 2_000, cpu: 1_000_000, ..Usage::default() };
        assert_eq!(usage.cpu_rate(), Some(500));
        assert_eq!(Usage::default().cpu_rate(), None);
    }
}
