//! What a service and its machine were like over a window: the figures that advice and plans are made from.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use bowline_measurement::interval::{Interval, Machine, Usage};

/// For how long after its start a process is starting rather than working: classes are loaded, code is compiled, caches are
/// filled (facts of the field: a JVM's burst is over after two minutes).
pub const START: Duration = Duration::from_secs(120);

/// A window, and how well it was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Window {
    /// When it began, in milliseconds since 1970 (UTC).
    pub from: i64,
    /// When it ended.
    pub to: i64,
    /// How much of it was seen, in milliseconds.
    pub seen: u64,
    /// Of how many samples.
    pub samples: u64,
}

impl Window {
    /// From its beginning to its end.
    pub fn length(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.to.saturating_sub(self.from)).unwrap_or(0))
    }

    /// How much of it was seen, in hundredths.
    pub fn coverage(&self) -> u64 {
        let length = u64::try_from(self.length().as_millis()).unwrap_or(u64::MAX);
        self.seen.saturating_mul(100).checked_div(length).unwrap_or(0).min(100)
    }
}

/// Rates of processor use, in thousandths of a core.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates {
    sorted: Vec<u64>,
    /// What was used, over all time seen.
    used: u128,
    seen: u128,
}

impl Rates {
    fn add(&mut self, rate: u64, used: u64, seen: u64) {
        self.sorted.push(rate);
        self.used += u128::from(used);
        self.seen += u128::from(seen);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The rate that so many of a hundred do not exceed, between neighbours in proportion, as Prometheus'
    /// `quantile_over_time` has it; none without rates.
    pub fn percentile(&self, percent: u32) -> Option<u64> {
        let last = self.sorted.len().checked_sub(1)?;
        let place = last as f64 * f64::from(percent.min(100)) / 100.0;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let (low, part) = (place.floor() as usize, place - place.floor());
        let (low, high) = (*self.sorted.get(low)?, *self.sorted.get(low + 1).or(self.sorted.last())?);
        let between = low as f64 + (high.saturating_sub(low)) as f64 * part;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(between.round() as u64)
    }

    /// The highest.
    pub fn highest(&self) -> Option<u64> {
        self.sorted.last().copied()
    }

    /// The average over all time seen.
    pub fn average(&self) -> Option<u64> {
        self.used.checked_div(self.seen).map(|average| u64::try_from(average).unwrap_or(u64::MAX))
    }
}

/// What a service was like: of several containers of it, the one that needed most counts, figure by figure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceProfile {
    /// What was seen of it.
    pub window: Window,
    /// How many containers of it ran at once, at most.
    pub replicas: u32,
    /// Processor use of one container at work.
    pub steady: Rates,
    /// The most that one sample had used while it started; none where no start was seen, or only in rows that are longer than
    /// a start: whose peak that was is not to be told.
    pub starting: Option<u64>,
    /// Processor use of all its containers together, starts included, on average over the time in which it ran.
    pub average: u64,
    /// The time in which its containers were seen, each for itself, in milliseconds.
    seen_each: u64,
    /// The most memory that one container could not give back, in bytes.
    pub memory: u64,
    /// Its limit at the end; none where it has none.
    pub memory_limit: Option<u64>,
    /// How long it had work and was held back by its own limit, in milliseconds.
    pub throttled: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// How often it was started anew.
    pub restarts: u64,
}

impl ServiceProfile {
    /// How long it was held back, in thousandths of the time it was seen in.
    pub fn throttling(&self) -> u64 {
        self.throttled.saturating_mul(1000).checked_div(self.seen_each).unwrap_or(0).min(1000)
    }
}

/// What a machine was like. Shares are thousandths of the time seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineProfile {
    /// What was seen of it.
    pub window: Window,
    /// Processors.
    pub cores: u32,
    /// What was worked, of all processors together.
    pub busy: Rates,
    /// Of the processors' time that was wanted, the share that the hypervisor kept.
    pub steal: u64,
    /// What was wanted of all processors together, on average, in thousandths of a core: what was worked, and what the
    /// hypervisor kept.
    pub wanted: Option<u64>,
    /// The share of time in which something waited for a processor.
    pub cpu_pressure: u64,
    /// The share of time in which something waited for memory.
    pub memory_pressure: u64,
    /// The share of time in which something waited for a disk.
    pub io_pressure: u64,
    /// Memory, in bytes.
    pub memory: u64,
    /// The least that was left of it.
    pub memory_available: u64,
    /// Swap in use, at most.
    pub swap: u64,
    /// The least that was free of the engine's file system, and its size.
    pub disk: (u64, u64),
}

/// All of a window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// The machine.
    pub machine: MachineProfile,
    /// Its services by name.
    pub services: BTreeMap<String, ServiceProfile>,
}

impl Profile {
    /// Makes the profile of a window from what was measured, in order of time; of one minute each is best. `service` says to
    /// which service a container belongs; those of none are left out.
    pub fn new(intervals: &[Interval], service: impl Fn(&str) -> Option<String>) -> Self {
        let mut profile = Self { machine: machine(intervals), services: BTreeMap::new() };
        let mut working = BTreeMap::<String, u128>::new();
        for interval in intervals {
            // How many containers a service had, and how long it was seen: several of them do not make the time longer.
            let mut here = BTreeMap::<String, (u32, u64)>::new();
            for (container, usage) in &interval.containers {
                let Some(name) = service(container).filter(|_| usage.seen > 0) else { continue };
                let (count, seen) = here.entry(name.clone()).or_default();
                (*count, *seen) = (*count + 1, (*seen).max(usage.seen));
                *working.entry(name.clone()).or_default() += u128::from(usage.cpu);
                profile.services.entry(name).or_default().add(interval, usage);
            }
            for (name, (count, seen)) in here {
                if let Some(service) = profile.services.get_mut(&name) {
                    service.note(interval, count, seen);
                }
            }
        }
        for (name, service) in &mut profile.services {
            service.steady.sorted.sort_unstable();
            let used = working.get(name).copied().unwrap_or(0).checked_div(u128::from(service.window.seen));
            service.average = used.map_or(0, |used| u64::try_from(used).unwrap_or(u64::MAX));
        }
        profile
    }
}

impl ServiceProfile {
    fn note(&mut self, interval: &Interval, count: u32, seen: u64) {
        let first = self.window.samples == 0;
        self.window.from = if first { interval.from } else { self.window.from };
        self.window.to = interval.to;
        self.window.seen += seen;
        self.window.samples += u64::from(interval.samples);
        self.replicas = self.replicas.max(count);
    }

    fn add(&mut self, interval: &Interval, usage: &Usage) {
        self.seen_each += usage.seen;
        // A process that was younger than this at the end had still been starting at the beginning.
        let length = u64::try_from(interval.to.saturating_sub(interval.from)).unwrap_or(0);
        let start = u64::try_from(START.as_millis()).unwrap_or(u64::MAX);
        let starting = usage.age < start.saturating_add(length);
        if starting {
            // A row that is longer than a start holds work as well, and its peak is anybody's: it says nothing of either.
            if length <= start {
                self.starting = Some(self.starting.unwrap_or(0).max(usage.cpu_peak));
            }
        } else if let Some(rate) = usage.cpu_rate() {
            self.steady.add(rate, usage.cpu, usage.seen);
        }
        self.memory = self.memory.max(usage.memory);
        self.memory_limit = Some(usage.memory_limit).filter(|limit| *limit > 0);
        self.throttled += usage.throttled / 1000;
        self.oom_kills += u64::from(usage.oom_kills);
        self.restarts += u64::from(usage.restarts);
    }
}

fn machine(intervals: &[Interval]) -> MachineProfile {
    let (Some(first), Some(last)) = (intervals.first(), intervals.last()) else {
        return MachineProfile::default();
    };
    let window = Window {
        from: first.from,
        to: last.to,
        seen: intervals.iter().map(|interval| interval.seen).sum(),
        samples: intervals.iter().map(|interval| u64::from(interval.samples)).sum(),
    };
    let mut busy = Rates::default();
    for interval in intervals {
        let used = interval.machine.cpu.busy();
        if let Some(rate) = used.checked_div(interval.seen) {
            busy.add(rate, used, interval.seen);
        }
    }
    busy.sorted.sort_unstable();
    let sum = |of: fn(&Machine) -> u64| intervals.iter().map(|interval| of(&interval.machine)).sum::<u64>();
    let share = |part: u64| part.checked_div(window.seen).unwrap_or(0);
    let (stolen, worked) = (sum(|one| one.cpu.steal), sum(|one| one.cpu.busy()));
    let disk = intervals.iter().map(|interval| (interval.machine.disk_free, interval.machine.disk));
    MachineProfile {
        window,
        cores: last.machine.cores,
        busy,
        wanted: stolen.saturating_add(worked).checked_div(window.seen),
        steal: stolen.saturating_mul(1000).checked_div(stolen.saturating_add(worked)).unwrap_or(0),
        // Microseconds of a millisecond are thousandths.
        cpu_pressure: share(sum(|one| one.pressure.cpu)),
        memory_pressure: share(sum(|one| one.pressure.memory)),
        io_pressure: share(sum(|one| one.pressure.io)),
        memory: last.machine.memory,
        memory_available: intervals.iter().map(|one| one.machine.memory_available).min().unwrap_or(0),
        swap: intervals.iter().map(|one| one.machine.swap).max().unwrap_or(0),
        disk: disk.filter(|(_, size)| *size > 0).min().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_measurement::interval::CpuTime;

    fn minute(number: i64, cpu: u64, age: u64) -> Interval {
        let usage = Usage {
            seen: 60_000,
            cpu,
            cpu_peak: cpu / 60_000,
            memory: 100 + cpu / 1_000_000,
            age,
            ..Usage::default()
        };
        let machine = Machine {
            cores: 2,
            cpu: CpuTime { user: cpu, steal: cpu / 3, ..CpuTime::default() },
            memory: 1_000,
            memory_available: 500,
            ..Machine::default()
        };
        Interval {
            from: number * 60_000,
            to: (number + 1) * 60_000,
            seen: 60_000,
            samples: 4,
            machine,
            containers: BTreeMap::from([("shop/user/1".to_owned(), usage)]),
        }
    }

    fn service(name: &str) -> Option<String> {
        name.split('/').nth(1).map(str::to_owned)
    }

    #[test]
    fn a_start_is_told_from_work() {
        // Two minutes of a whole core, then a tenth of one.
        let minutes: Vec<Interval> = (0..20)
            .map(|number| {
                let cpu = if number < 2 { 60_000_000 } else { 6_000_000 };
                minute(number, cpu, (number as u64 + 1) * 60_000)
            })
            .collect();
        let profile = Profile::new(&minutes, service);
        let user = &profile.services["user"];
        assert_eq!(
            (user.starting, user.steady.highest(), user.steady.percentile(95)),
            (Some(1_000), Some(100), Some(100))
        );
        assert_eq!((user.average, user.memory, user.replicas), (190, 160, 1));
        assert_eq!((profile.machine.steal, profile.machine.busy.average()), (250, Some(190)));
        assert_eq!(
            (user.window.samples, user.window.length(), user.window.coverage()),
            (80, Duration::from_secs(1_200), 100)
        );
    }

    #[test]
    fn an_hour_with_a_start_in_it_says_nothing_of_starts() {
        // Started half an hour before its end; the peak was in its work.
        let hour = |number: i64, age: u64| Interval {
            from: number * 3_600_000,
            to: (number + 1) * 3_600_000,
            ..minute(number, 60_000_000, age)
        };
        let user = |hours: &[Interval]| Profile::new(hours, service).services["user"].clone();
        let first = user(&[hour(0, 1_800_000)]);
        assert_eq!((first.starting, first.steady.count()), (None, 0));
        let both = user(&[hour(0, 1_800_000), hour(1, 5_400_000), hour(2, 9_000_000)]);
        assert_eq!((both.starting, both.steady.count()), (None, 2));
    }

    #[test]
    fn a_service_that_came_late_is_not_averaged_over_the_time_before() {
        let mut minutes: Vec<Interval> =
            (0..100).map(|number| minute(number, 30_000_000, 9_000_000)).collect();
        minutes.iter_mut().take(90).for_each(|one| one.containers.clear());
        // Two containers do not make it seen for longer.
        for one in minutes.iter_mut().skip(90) {
            let usage = one.containers["shop/user/1"].clone();
            one.containers.insert("shop/user/2".to_owned(), usage);
        }
        let user = &Profile::new(&minutes, service).services["user"];
        assert_eq!((user.average, user.replicas, user.window.length()), (1_000, 2, Duration::from_secs(600)));
        assert_eq!((user.window.coverage(), user.window.samples), (100, 40));
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        let mut rates = Rates::default();
        for rate in [10, 20, 30, 40] {
            rates.add(rate, rate, 1);
        }
        assert_eq!(
            [0, 50, 95, 100].map(|percent| rates.percentile(percent)),
            [Some(10), Some(25), Some(39), Some(40)]
        );
        assert_eq!(Rates::default().percentile(95), None);
    }

    #[test]
    fn nothing_measured_gives_no_figures() {
        let profile = Profile::new(&[], service);
        assert_eq!(profile, Profile::default());
        assert_eq!((profile.machine.busy.average(), profile.machine.window.coverage()), (None, 0));
    }
}
