//! The Vertical Pod Autoscaler's recommendation, with the defaults of its version 1.8.1.
//!
//! From kubernetes/autoscaler, `vertical-pod-autoscaler/pkg/recommender`. Samples become histograms in
//! `model/container.go` and `model/aggregate_container_state.go`; histograms become amounts in `logic/estimator.go` and
//! `logic/recommender.go`; the defaults are in `config/config.go` and `model/aggregations_config.go`. Amounts are whole
//! millicores and bytes at every step there, cut off rather than rounded, and so they are here. Not here: limits of a
//! resource policy, checkpoints (which round weights), and what a recommender keeps that is restarted.

use std::collections::BTreeMap;

use super::super::arithmetic::power;
use super::super::histogram::{Buckets, Histogram, nanoseconds};
use super::super::trace::{Kill, Sample, Trace};
use super::{Amount, Recommendation};

const DAY: i64 = 86_400_000;
/// The weight of a sample of processors (`minSampleWeight`). Older descriptions say: what was requested, if that is more.
const CPU_WEIGHT: f64 = 0.1;
/// And that of the peak of memory in a day.
const MEMORY_WEIGHT: f64 = 1.0;
/// No amount is greater (`MaxResourceAmount`).
const GREATEST: i64 = 100_000_000_000_000;
/// What is added to a percentile (`recommendation-margin-fraction`).
const MARGIN: f64 = 0.15;
/// Least amounts of a pod, which its containers share equally.
const LEAST_MILLICORES: f64 = 25.0;
const LEAST_MEGABYTES: f64 = 250.0;
/// After a kill more memory is needed by this factor, and by this many bytes at least.
const KILL_RATIO: f64 = 1.2;
const KILL_BYTES: i64 = 100 * 1024 * 1024;

/// A recommendation for each container of a pod. The traces of a container are those of the pod's replicas; pods that
/// are gone are replicas too. A container without samples gets the least amounts.
pub fn recommend(pod: &BTreeMap<String, Vec<Trace>>) -> BTreeMap<String, Recommendation> {
    let share = 1.0 / pod.len() as f64;
    let floor = Floor {
        cpu: scale(whole(LEAST_MILLICORES * 0.001 * 1000.0), share),
        memory: scale(whole(LEAST_MEGABYTES * 1024.0 * 1024.0), share),
    };
    pod.iter().map(|(name, replicas)| (name.clone(), aggregate(replicas).recommend(&floor))).collect()
}

struct Floor {
    cpu: i64,
    memory: i64,
}

/// What all replicas of a container used (`AggregateContainerState`).
struct Aggregate {
    cpu: Histogram,
    memory: Histogram,
    first: i64,
    last: i64,
    samples: i64,
}

/// Where one replica is in its day (`ContainerState`).
#[derive(Default)]
struct Replica {
    /// When the last sample was taken.
    last: Option<i64>,
    /// When its day ends: the first begins with the first sample.
    end: Option<i64>,
    /// The most memory in this day that was seen, and that a kill showed to be needed.
    peak: i64,
    killed_peak: i64,
}

/// In the order in which the recommender comes to know of it: by time, then samples before kills, then by replica.
fn aggregate(replicas: &[Trace]) -> Aggregate {
    let mut events: Vec<(i64, bool, usize, Event<'_>)> = Vec::new();
    for (number, replica) in replicas.iter().enumerate() {
        events.extend(replica.samples.iter().map(|sample| (sample.at, false, number, Event::Sample(sample))));
        events.extend(replica.kills.iter().map(|kill| (kill.at, true, number, Event::Kill(kill))));
    }
    events.sort_by_key(|(at, is_kill, number, _)| (*at, *is_kill, *number));
    let mut whole = Aggregate::new();
    let mut states: Vec<Replica> = replicas.iter().map(|_| Replica::default()).collect();
    for (_, _, number, event) in events {
        let Some(state) = states.get_mut(number) else { continue };
        match event {
            Event::Sample(sample) => {
                whole.add(sample);
                state.add(&mut whole.memory, sample.at, bytes(sample.memory), false);
            }
            Event::Kill(kill) => state.record(&mut whole.memory, kill),
        }
    }
    whole
}

enum Event<'a> {
    Sample(&'a Sample),
    Kill(&'a Kill),
}

impl Replica {
    /// A day has one sample of memory: its peak, at its end. A higher one replaces it.
    fn add(&mut self, memory: &mut Histogram, at: i64, usage: i64, killed: bool) {
        if !killed && self.last.is_some_and(|last| at < last) {
            return;
        }
        self.last = Some(at);
        let mut end = *self.end.get_or_insert(at);
        if at < end {
            let before = self.peak.max(self.killed_peak);
            if before == 0 || usage <= before {
                return;
            }
            memory.subtract(before as f64, MEMORY_WEIGHT, end);
        } else {
            end = end.saturating_add((at.saturating_sub(end) / DAY * DAY).saturating_add(DAY));
            self.end = Some(end);
            self.peak = 0;
            self.killed_peak = 0;
        }
        memory.add(usage as f64, MEMORY_WEIGHT, end);
        if killed {
            self.killed_peak = usage;
        } else {
            self.peak = usage;
        }
    }

    /// A kill is a sample of what would have been needed (`RecordOOM`): more than was asked for or used. What an earlier
    /// kill showed to be needed is left out, or a series of kills would drive it up without end.
    fn record(&mut self, memory: &mut Histogram, kill: &Kill) {
        if self.last.is_some_and(|last| kill.at < last.saturating_sub(DAY)) {
            return;
        }
        let used = bytes(kill.requested).max(self.peak);
        let needed = used.saturating_add(KILL_BYTES).max(scale(used, KILL_RATIO));
        self.add(memory, kill.at, needed, true);
    }
}

impl Aggregate {
    fn new() -> Self {
        // From 10 millicores to 1000 cores, from 10 MB to 1 TB.
        let cpu = Histogram::new(Buckets::new(0.01, 1000.0));
        let memory = Histogram::new(Buckets::new(1e7, 1e12));
        Self { cpu, memory, first: i64::MAX, last: i64::MIN, samples: 0 }
    }

    fn add(&mut self, sample: &Sample) {
        self.cpu.add(bytes(sample.millicores()) as f64 / 1000.0, CPU_WEIGHT, sample.at);
        self.first = self.first.min(sample.at);
        self.last = self.last.max(sample.at);
        self.samples += 1;
    }

    /// How many days of samples there are, one a minute: by the time between first and last, or by their number if
    /// that makes fewer.
    fn confidence(&self) -> f64 {
        if self.samples == 0 {
            return 0.0;
        }
        let lifespan = nanoseconds(self.last.saturating_sub(self.first)) / nanoseconds(DAY);
        lifespan.min(self.samples as f64 / 1440.0)
    }

    /// The little that is known widens the bounds: after 12 hours the upper one is three times the percentile, after a
    /// day twice, after a week 1.14 times. The lower one is 0.6 times after 5 minutes, 0.95 times after an hour.
    fn recommend(&self, floor: &Floor) -> Recommendation {
        let confidence = self.confidence();
        Recommendation {
            target: self.estimate(0.9, 1.0, floor),
            lower: self.estimate(0.5, power(1.0 + 0.001 / confidence, -2), floor),
            upper: self.estimate(0.95, power(1.0 + 1.0 / confidence, 1), floor),
        }
    }

    fn estimate(&self, percentile: f64, factor: f64, floor: &Floor) -> Amount {
        let cpu = scale(with_margin(whole(self.cpu.percentile(percentile) * 1000.0)), factor);
        let memory = scale(with_margin(whole(self.memory.percentile(percentile))), factor);
        Amount { cpu: cpu.max(floor.cpu).unsigned_abs(), memory: memory.max(floor.memory).unsigned_abs() }
    }
}

fn with_margin(amount: i64) -> i64 {
    amount + scale(amount, MARGIN)
}

fn scale(amount: i64, factor: f64) -> i64 {
    whole(amount as f64 * factor)
}

/// A whole amount: what lies behind the point is cut off. What is no number is nothing.
fn whole(amount: f64) -> i64 {
    if amount > GREATEST as f64 { GREATEST } else { amount.max(0.0) as i64 }
}

fn bytes(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}
