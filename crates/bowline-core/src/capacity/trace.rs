//! What a container was seen to use, sample by sample: what recommendations are made from.

use bowline_measurement::interval::{Interval, Usage};

/// One look at a container, at the span of time that ended with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When it was taken, in milliseconds since 1970 (UTC).
    pub at: i64,
    /// The time that it tells of, in milliseconds; more than nothing.
    pub seen: u64,
    /// Processor time in that, in microseconds.
    pub cpu: u64,
    /// Working set, in bytes.
    pub memory: u64,
}

impl Sample {
    /// Used processors, in thousandths of a core, rounded up as Kubernetes does (`Quantity.MilliValue`).
    pub fn millicores(&self) -> u64 {
        if self.seen == 0 { 0 } else { self.cpu.div_ceil(self.seen) }
    }
}

/// The kernel killed a container for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// When, in milliseconds since 1970 (UTC).
    pub at: i64,
    /// The memory that it had asked for, in bytes; nothing where it had not.
    pub requested: u64,
    /// The memory that it was allowed, in bytes; nothing where no limit was set.
    pub limit: u64,
}

/// One container, from its first sample to its last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// Oldest first, each later than the one before.
    pub samples: Vec<Sample>,
    /// Oldest first.
    pub kills: Vec<Kill>,
}

/// Recommenders take a sample each minute, and count samples to tell how much they know.
const MINUTE: i64 = 60_000;

/// What intervals (oldest first) say of a container, as a sample for each minute: of finer intervals those of a minute
/// are one sample, and one that is coarser is as many samples as it has minutes, all alike, so that what was kept
/// coarse weighs as much as what is fine. The memory of a sample is the most that its interval had.
pub fn gather<'a>(intervals: impl IntoIterator<Item = &'a Interval>, container: &str) -> Trace {
    let mut trace = Trace::default();
    let mut minute = None;
    for interval in intervals {
        let Some(usage) = interval.containers.get(container).filter(|usage| usage.seen > 0) else { continue };
        let this = interval.from.div_euclid(MINUTE);
        match trace.samples.last_mut() {
            Some(sample) if minute == Some(this) && interval.to > sample.at => {
                extend(sample, interval.to, usage)
            }
            Some(sample) if interval.to <= sample.at => continue,
            _ => trace.samples.extend(spread(interval.to, usage)),
        }
        minute = Some(this);
        if usage.oom_kills > 0 {
            let limit = usage.memory_limit;
            trace.kills.push(Kill { at: interval.to, requested: limit, limit });
        }
    }
    trace
}

fn extend(sample: &mut Sample, at: i64, usage: &Usage) {
    sample.at = at;
    sample.seen = sample.seen.saturating_add(usage.seen);
    sample.cpu = sample.cpu.saturating_add(usage.cpu);
    sample.memory = sample.memory.max(usage.memory);
}

/// A sample for each minute that was seen, the last at the end, or one if it was less.
fn spread(to: i64, usage: &Usage) -> impl Iterator<Item = Sample> + use<> {
    let Usage { seen, cpu, memory, .. } = *usage;
    let count = (seen / MINUTE.unsigned_abs()).max(1);
    // Differences of what was there until then, so that nothing is lost by rounding.
    let until = move |whole: u64, number: u64| {
        u64::try_from(u128::from(whole) * u128::from(number) / u128::from(count)).unwrap_or(whole)
    };
    (0..count).map(move |number| Sample {
        at: to.saturating_sub(i64::try_from(count - 1 - number).unwrap_or(i64::MAX).saturating_mul(MINUTE)),
        seen: until(seen, number + 1) - until(seen, number),
        cpu: until(cpu, number + 1) - until(cpu, number),
        memory,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use bowline_measurement::interval::Machine;

    fn interval(from: i64, to: i64, usage: Usage) -> Interval {
        let containers = BTreeMap::from([("web".to_owned(), usage)]);
        let seen = to.abs_diff(from);
        Interval { from, to, seen, samples: 1, machine: Machine::default(), containers }
    }

    fn used(seen: u64, cpu: u64, memory: u64) -> Usage {
        Usage { seen, cpu, memory, ..Usage::default() }
    }

    #[test]
    fn what_is_finer_than_a_minute_becomes_a_minute() {
        let quarters: Vec<Interval> = (0..5)
            .map(|n| interval(n * 15_000, (n + 1) * 15_000, used(15_000, 1_000_000, 10 + n as u64)))
            .collect();
        let trace = gather(&quarters, "web");
        assert_eq!(
            trace.samples,
            [
                Sample { at: 60_000, seen: 60_000, cpu: 4_000_000, memory: 13 },
                Sample { at: 75_000, seen: 15_000, cpu: 1_000_000, memory: 14 },
            ]
        );
        assert_eq!(trace.samples[0].millicores(), 67);
        assert_eq!(gather(&quarters, "db"), Trace::default());
    }

    #[test]
    fn what_is_coarser_is_as_many_samples_as_it_has_minutes() {
        let kill = Usage { oom_kills: 2, memory_limit: 99, ..used(200_000, 1_000_000, 7) };
        let trace = gather(&[interval(0, 200_000, kill)], "web");
        assert_eq!(
            trace.samples,
            [
                Sample { at: 80_000, seen: 66_666, cpu: 333_333, memory: 7 },
                Sample { at: 140_000, seen: 66_667, cpu: 333_333, memory: 7 },
                Sample { at: 200_000, seen: 66_667, cpu: 333_334, memory: 7 },
            ]
        );
        assert_eq!(trace.kills, [Kill { at: 200_000, requested: 99, limit: 99 }]);
    }

    #[test]
    fn where_nothing_was_seen_there_is_no_sample() {
        let gap = [
            interval(0, 60_000, used(60_000, 1, 1)),
            interval(60_000, 120_000, used(0, 0, 0)),
            interval(120_000, 180_000, used(60_000, 1, 1)),
        ];
        let times: Vec<i64> = gather(&gap, "web").samples.iter().map(|sample| sample.at).collect();
        assert_eq!(times, [60_000, 180_000]);
    }
}
