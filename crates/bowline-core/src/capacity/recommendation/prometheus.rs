//! What Prometheus 3 answers to the few kinds of queries that recommenders put to it.
//!
//! From prometheus/prometheus, `promql/functions.go` (`extrapolatedRate`, `quantile_over_time`) and `promql/engine.go`
//! (`subqueryTimeRange`, the lookback of instant vectors), with its operations in its order. Times are milliseconds since
//! 1970, and ranges are open at their beginning, as they are since version 3. Series have no stale markers.

/// A sample of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// When.
    pub(super) at: i64,
    /// What was scraped.
    pub(super) value: f64,
}

/// A sample counts for five minutes (`--query.lookback-delta`).
const LOOKBACK: i64 = 300_000;

/// `series`, at a time.
pub(super) fn look(series: &[Point], at: i64) -> Option<Point> {
    within(series, at, LOOKBACK).last().copied()
}

/// `rate(series[range])`, at a time: the increase of a counter in each second.
///
/// The samples do not reach to the ends of the range. The increase is drawn on up to there, or by half of the time
/// between samples where there should have been one, but never down below zero.
pub(super) fn rate(series: &[Point], at: i64, range: i64) -> Option<f64> {
    let samples = within(series, at, range);
    let (first, last) = (samples.first()?, samples.last()?);
    let intervals = samples.len() - 1;
    if intervals == 0 {
        return None;
    }
    let mut increase = last.value - first.value;
    for (before, after) in samples.iter().zip(samples.iter().skip(1)) {
        if after.value < before.value {
            increase += before.value;
        }
    }
    let sampled = seconds(last.at - first.at);
    let average = sampled / intervals as f64;
    let far = average * 1.1;
    let mut to_start = seconds(first.at - (at - range));
    let mut to_end = seconds(at - last.at);
    if to_start >= far {
        to_start = average / 2.0;
    }
    if increase > 0.0 && first.value >= 0.0 {
        to_start = to_start.min(sampled * (first.value / increase));
    }
    if to_end >= far {
        to_end = average / 2.0;
    }
    let factor = (sampled + to_start + to_end) / sampled;
    Some(increase * (factor / seconds(range)))
}

/// At which times a subquery `[range:step]` looks, asked at a time: multiples of the step.
pub(super) fn steps(at: i64, range: i64, step: i64) -> impl Iterator<Item = i64> {
    let first = (at - range).div_euclid(step) + 1;
    (first..=at.div_euclid(step)).map(move |number| number * step)
}

/// `quantile_over_time`: between two values, a share of each. None of no values.
pub(super) fn quantile(share: f64, values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = share * (values.len() as f64 - 1.0);
    let below = rank.floor();
    let weight = rank - below;
    let lower = values.get(below as usize)?;
    if weight == 0.0 {
        return Some(*lower);
    }
    let upper = values.get(below as usize + 1).unwrap_or(lower);
    Some(lower * (1.0 - weight) + upper * weight)
}

/// The samples after `at - range`, up to `at`.
fn within(series: &[Point], at: i64, range: i64) -> &[Point] {
    // Of two weeks most steps lie before a series begins or after it ends: they need no search.
    match (series.first(), series.last()) {
        (Some(first), Some(last)) if first.at <= at && last.at > at - range => {}
        _ => return &[],
    }
    let from = series.partition_point(|point| point.at <= at - range);
    let to = series.partition_point(|point| point.at <= at);
    series.get(from..to).unwrap_or_default()
}

fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: &[(i64, f64)]) -> Vec<Point> {
        points.iter().map(|(at, value)| Point { at: at * 1000, value: *value }).collect()
    }

    #[test]
    fn a_rate_reaches_to_the_ends_of_its_range() {
        let counter = series(&[(60, 100.0), (90, 130.0), (120, 160.0)]);
        assert_eq!(rate(&counter, 130_000, 75_000), Some(1.0));
        // One sample is none, and the beginning of the range is outside of it.
        assert_eq!(rate(&counter, 135_000, 45_000), None);
        assert_eq!(rate(&counter, 90_000, 30_000), None);
    }

    #[test]
    fn a_counter_that_began_again_grew_from_zero() {
        let counter = series(&[(30, 100.0), (60, 130.0), (90, 15.0)]);
        assert_eq!(rate(&counter, 90_000, 90_000), Some(45.0 * 1.5 / 90.0));
    }

    #[test]
    fn a_counter_was_never_below_zero() {
        let counter = series(&[(60, 0.0), (90, 30.0)]);
        assert_eq!(rate(&counter, 90_000, 60_000), Some(0.5));
    }

    #[test]
    fn a_sample_counts_for_five_minutes() {
        let gauge = series(&[(60, 7.0)]);
        for (at, seen) in [(59_999, false), (60_000, true), (359_999, true), (360_000, false)] {
            assert_eq!(look(&gauge, at).is_some(), seen, "{at}");
        }
    }

    #[test]
    fn steps_are_multiples_whenever_it_is_asked() {
        assert_eq!(steps(160, 150, 75).collect::<Vec<_>>(), [75, 150]);
        assert_eq!(steps(150, 150, 75).collect::<Vec<_>>(), [75, 150]);
    }

    #[test]
    fn a_quantile_lies_between_values() {
        assert_eq!(quantile(0.5, &mut []), None);
        assert_eq!(quantile(0.95, &mut [3.0]), Some(3.0));
        assert_eq!(quantile(0.5, &mut [4.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(quantile(0.75, &mut [3.0, 1.0]), Some(2.5));
        assert_eq!(quantile(1.0, &mut [3.0, 1.0]), Some(3.0));
    }
}
