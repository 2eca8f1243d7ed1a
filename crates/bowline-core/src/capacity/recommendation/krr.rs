//! The recommendation of Robusta's KRR, strategies `simple` and `simple_limit`, with its defaults of 2026.
//!
//! From robusta-dev/krr: what is asked of Prometheus in `integrations/prometheus/metrics/{base,cpu,memory}.py`, what is
//! made of the answers in `strategies/simple.py` and `strategies/simple_limit.py`, the rounding in `core/runner.py`.
//!
//! KRR asks about the last 14 days in steps of 75 seconds. What it sees depends on how often Prometheus scrapes: a rate
//! over 75 seconds needs two samples in them, and where a minute lies between two, three of four steps have none. Peaks of
//! memory between two steps are not seen at all.

use super::super::trace::Trace;
use super::prometheus::{Point, look, quantile, rate, steps};

/// `history_duration`, 336 hours, in milliseconds.
const HISTORY: i64 = 14 * 86_400_000;
/// `timeframe_duration`, 1.25 minutes.
const STEP: i64 = 75_000;
/// Fewer points than this are too few (`points_required`).
const POINTS: usize = 100;
/// What is added to the peak of memory (`memory_buffer_percentage`), and to the limit at which it was killed.
const BUFFER: f64 = 1.0 + 15.0 / 100.0;
const KILL_BUFFER: f64 = 1.0 + 25.0 / 100.0;
const MEBIBYTE: u64 = 1 << 20;
/// `cpu_min_value` and `memory_min_value`. The latter is in megabytes by its description, and in mebibytes in the code.
const LEAST_MILLICORES: u64 = 10;
const LEAST_MEMORY: u64 = 100 * MEBIBYTE;

/// By which percentiles processors are recommended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// `simple`: the 95th of each replica, the highest of those; no limit.
    #[default]
    Simple,
    /// `simple_limit`: of all replicas together the 66th as request and the 96th as limit.
    SimpleLimit,
}

/// What KRR is told on its command line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// The strategy.
    pub strategy: Strategy,
    /// Whether kills count (`--use-oomkill-data`).
    pub kills: bool,
}

/// What is recommended for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// Processors, in thousandths of a core.
    pub cpu: Result<Allocation, Missing>,
    /// Memory, in bytes.
    pub memory: Result<Allocation, Missing>,
}

/// An amount of a resource to ask for, and one not to go beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// To ask for.
    pub request: u64,
    /// Not to go beyond; none where there should be no limit.
    pub limit: Option<u64>,
}

/// Why nothing is recommended. That a horizontal autoscaler looks after the resource, KRR's third reason, is for
/// whoever asks to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// There is nothing to go by.
    #[error("no data")]
    Data,
    /// There are fewer than 100 points.
    #[error("not enough data")]
    Points,
}

/// Recommends for a container, from the traces of its replicas, asked at a time (milliseconds since 1970).
pub fn recommend(replicas: &[Trace], now: i64, settings: Settings) -> Advice {
    Advice {
        cpu: recommend_cpu(replicas, now, settings.strategy),
        memory: recommend_memory(replicas, now, settings.kills),
    }
}

fn recommend_cpu(replicas: &[Trace], now: i64, strategy: Strategy) -> Result<Allocation, Missing> {
    let counters: Vec<Vec<Point>> = replicas.iter().map(count).collect();
    let points = counters.iter().map(|series| seen(series, now)).sum();
    match strategy {
        Strategy::Simple => {
            let highest = counters
                .iter()
                .filter_map(|series| {
                    let mut rates: Vec<f64> =
                        steps(now, HISTORY, STEP).filter_map(|at| rate(series, at, STEP)).collect();
                    quantile(0.95, &mut rates)
                })
                .reduce(f64::max);
            let cores = judge(highest, points)?;
            Ok(Allocation { request: millicores(cores), limit: None })
        }
        Strategy::SimpleLimit => {
            // A range query, which begins at a full minute and not at a multiple of the step.
            let end = now.div_euclid(60_000) * 60_000;
            let times = (0..=HISTORY / STEP).map(|number| end - HISTORY + number * STEP);
            let mut rates: Vec<f64> = counters
                .iter()
                .flat_map(|series| times.clone().filter_map(move |at| rate(series, at, STEP)))
                .collect();
            rates.sort_by(f64::total_cmp);
            let request = millicores(judge(percentile(0.66, &rates), points)?);
            let limit = percentile(0.96, &rates).map(millicores);
            Ok(Allocation { request, limit })
        }
    }
}

fn recommend_memory(replicas: &[Trace], now: i64, kills: bool) -> Result<Allocation, Missing> {
    let gauges: Vec<Vec<Point>> = replicas
        .iter()
        .map(|trace| {
            trace.samples.iter().map(|sample| Point { at: sample.at, value: sample.memory as f64 }).collect()
        })
        .collect();
    let points = gauges.iter().map(|series| seen(series, now)).sum();
    let peak = gauges.iter().flat_map(|series| values(series, now)).reduce(f64::max);
    let mut needed = judge(peak, points)? * BUFFER;
    if kills {
        let limit = replicas
            .iter()
            .flat_map(|trace| values(&limits(trace), now).collect::<Vec<_>>())
            .reduce(f64::max);
        needed = needed.max(limit.unwrap_or_default() * KILL_BUFFER);
    }
    let memory = mebibytes(needed);
    Ok(Allocation { request: memory, limit: Some(memory) })
}

/// A recommendation needs a value, and enough points behind it.
fn judge(value: Option<f64>, points: usize) -> Result<f64, Missing> {
    let value = value.ok_or(Missing::Data)?;
    if points < POINTS { Err(Missing::Points) } else { Ok(value) }
}

/// `container_cpu_usage_seconds_total`, which was zero before the first sample.
fn count(trace: &Trace) -> Vec<Point> {
    let mut microseconds = 0_u64;
    let point = |at, used: u64| Point { at, value: used as f64 / 1e6 };
    trace
        .samples
        .iter()
        .map(|sample| {
            microseconds = microseconds.saturating_add(sample.cpu);
            point(sample.at, microseconds)
        })
        .collect()
}

/// The limits of a container from the first sample on that shows a kill: how it ended last stays shown.
fn limits(trace: &Trace) -> Vec<Point> {
    let limit = |at| trace.kills.iter().rev().find(|kill| kill.at <= at).map(|kill| kill.limit);
    let shown = trace.samples.iter().filter_map(|sample| Some((sample.at, limit(sample.at)?)));
    shown.map(|(at, limit)| Point { at, value: limit as f64 }).collect()
}

/// What a series is at each step.
fn values(series: &[Point], now: i64) -> impl Iterator<Item = f64> {
    steps(now, HISTORY, STEP).filter_map(|at| look(series, at)).map(|point| point.value)
}

/// `count_over_time`: at how many steps a series has a value.
fn seen(series: &[Point], now: i64) -> usize {
    values(series, now).count()
}

/// `numpy.percentile` of values in order, which draws from the nearer of two.
fn percentile(share: f64, values: &[f64]) -> Option<f64> {
    let rank = share * (values.len() as f64 - 1.0);
    let weight = rank - rank.floor();
    let lower = values.get(rank.floor() as usize)?;
    let upper = values.get(rank.floor() as usize + 1).unwrap_or(lower);
    let difference = upper - lower;
    Some(if weight >= 0.5 { upper - difference * (1.0 - weight) } else { lower + difference * weight })
}

/// Rounded up to thousandths.
fn millicores(cores: f64) -> u64 {
    ((cores * 1000.0).ceil() as u64).max(LEAST_MILLICORES)
}

/// Rounded up to whole MiB.
fn mebibytes(bytes: f64) -> u64 {
    ((bytes / MEBIBYTE as f64).ceil() as u64).saturating_mul(MEBIBYTE).max(LEAST_MEMORY)
}

#[cfg(test)]
mod tests {
    use super::super::super::trace::Sample;
    use super::*;

    fn trace(count: i64) -> Trace {
        let samples =
            (1..=count).map(|n| Sample { at: n * 15_000, seen: 15_000, cpu: 1_500_000, memory: 1 << 30 });
        Trace { samples: samples.collect(), kills: Vec::new() }
    }

    #[test]
    fn little_is_no_recommendation() {
        let advise = |trace: Trace| recommend(&[trace], 30 * 86_400_000, Settings::default());
        assert_eq!(advise(Trace::default()).cpu, Err(Missing::Data));
        // All of it is older than 14 days.
        assert_eq!(advise(trace(1_000)).memory, Err(Missing::Data));
        let short = recommend(&[trace(400)], 400 * 15_000, Settings::default());
        assert_eq!(short.cpu, Err(Missing::Points));
    }

    #[test]
    fn replicas_add_up_to_enough_points() {
        let both = recommend(&[trace(400), trace(400)], 400 * 15_000, Settings::default());
        assert_eq!(both.cpu, Ok(Allocation { request: 100, limit: None }));
        let memory = (1.15 * 1024.0_f64).ceil() as u64 * MEBIBYTE;
        assert_eq!(both.memory, Ok(Allocation { request: memory, limit: Some(memory) }));
    }
}
