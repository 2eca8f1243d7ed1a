//! How often which values were seen, where what is long ago counts less.
//!
//! As the VPA recommender has it (kubernetes/autoscaler, `vertical-pod-autoscaler/pkg/recommender/util`:
//! `histogram.go`, `histogram_options.go`, `decaying_histogram.go`), with its operations in its order, so that
//! percentiles are equal to its own.

use super::arithmetic::{logarithm, power, power_of_two, whole_power_of_two};

const DAY: i64 = 86_400_000;
/// In this time a sample loses half of its weight: a day, for processors as for memory.
pub const HALF_LIFE: i64 = DAY;
/// After so many half-lives from the reference all weights are scaled down, or they would grow beyond all numbers.
const GREATEST_EXPONENT: i64 = 100;
/// A bucket that weighs less is empty. A thousandth of the least weight of a sample.
const EPSILON: f64 = 1e-4;
/// Each bucket is wider than the one before by a twentieth.
const RATIO: f64 = 1.0 + 0.05;

/// Ranges of values. Each is wider than the one before by a twentieth, and the last has no end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Buckets {
    first: f64,
    count: usize,
}

impl Buckets {
    /// The first from 0 to `first`, and as many as it takes that the last begins at `most` or above it.
    pub fn new(first: f64, most: f64) -> Self {
        let last = (logarithm(most * (RATIO - 1.0) / first + 1.0) / logarithm(RATIO)).ceil();
        Self { first, count: last as usize + 1 }
    }

    /// In which bucket a value lies.
    fn find(&self, value: f64) -> usize {
        if value < self.first {
            return 0;
        }
        let bucket = logarithm(value * (RATIO - 1.0) / self.first + 1.0) / logarithm(RATIO);
        (bucket as usize).min(self.count - 1)
    }

    /// Where a bucket begins.
    fn start(&self, bucket: usize) -> f64 {
        if bucket == 0 {
            return 0.0;
        }
        let exponent = i32::try_from(bucket).unwrap_or(i32::MAX);
        self.first * (power(RATIO, exponent) - 1.0) / (RATIO - 1.0)
    }
}

/// Weights of values by bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    buckets: Buckets,
    weights: Vec<f64>,
    total: f64,
    /// The first bucket that is not empty, and the last.
    lowest: usize,
    highest: usize,
    /// A sample of this time has its own weight, a later one more: a multiple of the half-life, in milliseconds since 1970.
    reference: Option<i64>,
}

impl Histogram {
    /// An empty one.
    pub fn new(buckets: Buckets) -> Self {
        let weights = vec![0.0; buckets.count];
        Self { buckets, weights, total: 0.0, lowest: buckets.count - 1, highest: 0, reference: None }
    }

    /// Adds a value that was seen at a time, in milliseconds since 1970. Its weight is not negative.
    pub fn add(&mut self, value: f64, weight: f64, at: i64) {
        let weight = weight * self.decay(at);
        let bucket = self.buckets.find(value);
        let Some(there) = self.weights.get_mut(bucket) else { return };
        *there += weight;
        self.total += weight;
        if *there >= EPSILON {
            self.lowest = self.lowest.min(bucket);
            self.highest = self.highest.max(bucket);
        }
    }

    /// Takes away what was added with the same value, weight and time.
    pub fn subtract(&mut self, value: f64, weight: f64, at: i64) {
        let weight = weight * self.decay(at);
        let bucket = self.buckets.find(value);
        self.total = difference(self.total, weight);
        if let Some(there) = self.weights.get_mut(bucket) {
            *there = difference(*there, weight);
        }
        self.narrow();
    }

    /// The end of the bucket up to which a share of the weight lies, from 0 to 1; of the last bucket, its start. It is
    /// more than the value that was seen, by up to a twentieth. 0 where nothing was added.
    pub fn percentile(&self, share: f64) -> f64 {
        if self.weight(self.lowest) < EPSILON {
            return 0.0;
        }
        let threshold = share * self.total;
        let mut sum = 0.0;
        let mut bucket = self.lowest;
        while bucket < self.highest {
            sum += self.weight(bucket);
            if sum >= threshold {
                break;
            }
            bucket += 1;
        }
        self.buckets.start((bucket + 1).min(self.buckets.count - 1))
    }

    fn weight(&self, bucket: usize) -> f64 {
        self.weights.get(bucket).copied().unwrap_or_default()
    }

    /// By how much a sample of a time weighs more than one of the reference time.
    fn decay(&mut self, at: i64) -> f64 {
        let reference = match self.reference {
            Some(there) if at <= there.saturating_add(GREATEST_EXPONENT * HALF_LIFE) => there,
            _ => self.shift(at),
        };
        power_of_two(nanoseconds(at.saturating_sub(reference)) / nanoseconds(HALF_LIFE))
    }

    /// Moves the reference to a time, and all weights with it. Only how weights compare is of importance, so any
    /// reference does, and a whole number of half-lives costs no digits.
    fn shift(&mut self, at: i64) -> i64 {
        let reference = at.saturating_add(HALF_LIFE / 2).div_euclid(HALF_LIFE) * HALF_LIFE;
        if let Some(before) = self.reference {
            let factor = whole_power_of_two(before.saturating_sub(reference) / HALF_LIFE);
            let inside = self.lowest..=self.highest;
            self.weights
                .iter_mut()
                .enumerate()
                .filter(|(n, _)| inside.contains(n))
                .for_each(|(_, w)| *w *= factor);
            self.total *= factor;
            self.narrow();
        }
        self.reference = Some(reference);
        reference
    }

    /// Leaves out buckets that became empty at both ends.
    fn narrow(&mut self) {
        while self.weight(self.lowest) < EPSILON && self.lowest < self.buckets.count - 1 {
            self.lowest += 1;
        }
        while self.weight(self.highest) < EPSILON && self.highest > 0 {
            self.highest -= 1;
        }
    }
}

/// A duration of milliseconds as a count of nanoseconds, which from a hundred days on is rounded: so are the original's.
pub(super) fn nanoseconds(milliseconds: i64) -> f64 {
    milliseconds.saturating_mul(1_000_000) as f64
}

/// What is left, or nothing where that is next to nothing.
fn difference(value: f64, less: f64) -> f64 {
    let rest = value - less;
    if rest < EPSILON { 0.0 } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu() -> Histogram {
        Histogram::new(Buckets::new(0.01, 1000.0))
    }

    #[test]
    fn a_twentieth_more_each_time_makes_176_buckets() {
        assert_eq!(Buckets::new(0.01, 1000.0).count, 176);
        assert_eq!(Buckets::new(1e7, 1e12).count, 176);
    }

    #[test]
    fn a_border_belongs_to_the_bucket_that_begins_there() {
        let memory = Buckets::new(1e7, 1e12);
        for (value, bucket) in [(0.0, 0), (9_999_999.0, 0), (10_000_000.0, 1), (20_499_999.0, 1), (1e13, 175)]
        {
            assert_eq!(memory.find(value), bucket, "{value}");
        }
        for bucket in 1..175 {
            let start = memory.start(bucket);
            assert_eq!(memory.find(start * 1.001), bucket);
            assert_eq!(memory.find(start * 0.999), bucket - 1);
        }
    }

    #[test]
    fn percentiles_are_ends_of_buckets() {
        let mut histogram = cpu();
        assert_eq!(histogram.percentile(0.9), 0.0);
        for n in 0..10 {
            histogram.add(if n == 0 { 1.0 } else { 0.005 }, 0.1, 0);
        }
        assert_eq!(histogram.percentile(0.5), 0.01);
        assert!(histogram.percentile(0.95) > 1.0 && histogram.percentile(0.95) < 1.05);
        histogram.subtract(1.0, 0.1, 0);
        assert_eq!(histogram.percentile(1.0), 0.01);
    }

    #[test]
    fn what_is_a_day_older_counts_half() {
        let mut histogram = cpu();
        for (value, at) in [(0.005, 0), (1.0, DAY), (1.0, DAY)] {
            histogram.add(value, 0.1, at);
        }
        // 1 of 5 parts is the old one.
        assert_eq!(histogram.percentile(0.19), 0.01);
        assert!(histogram.percentile(0.21) > 1.0);
        // Three hundred days later it is as if it had never been.
        histogram.add(0.005, 0.1, 300 * DAY);
        assert_eq!(histogram.percentile(1.0), 0.01);
    }
}
