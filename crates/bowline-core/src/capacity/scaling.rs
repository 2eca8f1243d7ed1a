//! How throughput grows with load, and where it ends: the universal scalability law (Gunther, "Guerrilla Capacity
//! Planning", 2007). With `n` requests under way at once the throughput is
//!
//! ```text
//! X(n) = l n / (1 + s (n - 1) + k n (n - 1))
//! ```
//!
//! where `l` is what one alone would reach, `s` the part of the work that is done one after the other, and `k` the price of
//! agreeing with each other.

/// The fewest points that a law is fitted to.
pub const FEWEST: usize = 6;

/// One step of a load test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// How many requests were under way on average: throughput times mean latency (Little's law).
    pub concurrency: f64,
    /// Requests that were answered in a second.
    pub throughput: f64,
}

/// The law of a system.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Law {
    /// Requests in a second that one alone would reach.
    pub alone: f64,
    /// The part of the work that is done one after the other, from 0 to 1.
    pub contention: f64,
    /// The price of agreeing with each other.
    pub coherence: f64,
}

/// A law, and how far it is to be believed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// The law.
    pub law: Law,
    /// How far the points lie from it: the root of the mean square, relative to each.
    pub error: f64,
    /// The highest throughput within what was measured or as the law has it, and the lowest and highest such when any one
    /// point is left out.
    pub peak: (f64, f64, f64),
    /// Of how many points it was made.
    pub points: usize,
}

/// Why no law could be fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoLaw {
    /// There are too few points.
    #[error("{0} steps are too few to tell how it grows: at least {FEWEST} are needed")]
    Few(usize),
    /// The points are all of one load, or make no sense.
    #[error("the steps lie too close together to tell how it grows")]
    Alike,
}

impl Law {
    /// The throughput with so many under way.
    pub fn throughput(&self, concurrency: f64) -> f64 {
        let (n, over) = (concurrency, concurrency - 1.0);
        self.alone * n / (1.0 + self.contention * over + self.coherence * n * over)
    }

    /// With how many under way the throughput is highest; none where it grows on.
    pub fn summit(&self) -> Option<f64> {
        (self.coherence > 0.0).then(|| ((1.0 - self.contention).max(0.0) / self.coherence).sqrt().max(1.0))
    }

    /// The highest throughput there is: at the summit, else what it comes ever closer to; none where it grows on for ever.
    pub fn peak(&self) -> Option<f64> {
        match self.summit() {
            Some(summit) => Some(self.throughput(summit)),
            None => (self.contention > 0.0).then(|| self.alone / self.contention),
        }
    }
}

/// Fits the law to points by least squares: `n / X` is linear in what is sought, and each point counts relative to its size.
///
/// # Errors
/// When there are too few points, or they lie too close together.
pub fn fit(points: &[Point]) -> Result<Fit, NoLaw> {
    let usable: Vec<Point> = points
        .iter()
        .copied()
        .filter(|point| point.throughput > 0.0 && point.concurrency > 0.0)
        .filter(|point| point.throughput.is_finite() && point.concurrency.is_finite())
        .collect();
    if usable.len() < FEWEST {
        return Err(NoLaw::Few(usable.len()));
    }
    let (least, most) = usable.iter().fold((f64::MAX, 0.0_f64), |(least, most), point| {
        (least.min(point.concurrency), most.max(point.concurrency))
    });
    // Of loads that differ by less than this it cannot be told how it grows.
    if most < least * 1.5 {
        return Err(NoLaw::Alike);
    }
    let law = solve(&usable).ok_or(NoLaw::Alike)?;
    let square = |point: &Point| (law.throughput(point.concurrency) / point.throughput - 1.0).powi(2);
    let error = (usable.iter().map(square).sum::<f64>() / usable.len() as f64).sqrt();
    let reached = usable.iter().map(|point| point.throughput).fold(0.0, f64::max);
    let peak = law.peak().unwrap_or(reached);
    let without = (0..usable.len()).filter_map(|left_out| {
        let rest: Vec<Point> = usable
            .iter()
            .enumerate()
            .filter(|(place, _)| *place != left_out)
            .map(|(_, point)| *point)
            .collect();
        solve(&rest)?.peak()
    });
    let (low, high) = without.fold((peak, peak), |(low, high), other| (low.min(other), high.max(other)));
    Ok(Fit { law, error, peak: (peak, low, high), points: usable.len() })
}

/// The law with nothing negative in it: a term that would be is left out.
fn solve(points: &[Point]) -> Option<Law> {
    for terms in [&[0, 1, 2][..], &[0, 2], &[0, 1], &[0]] {
        let Some(found) = least_squares(points, terms) else { continue };
        let [base, contention, coherence] = found;
        if base > 0.0 && contention >= 0.0 && coherence >= 0.0 && contention <= base {
            return Some(Law {
                alone: 1.0 / base,
                contention: contention / base,
                coherence: coherence / base,
            });
        }
    }
    None
}

/// Coefficients of `n / X = a + b (n - 1) + c n (n - 1)`, those that are not among the terms zero, by the normal equations.
fn least_squares(points: &[Point], terms: &[usize]) -> Option<[f64; 3]> {
    let mut matrix = [[0.0_f64; 4]; 3];
    for point in points {
        let (n, x) = (point.concurrency, point.throughput);
        let weight = (x / n).powi(2);
        let values = [1.0, n - 1.0, n * (n - 1.0)];
        for (row, left) in matrix.iter_mut().zip(values) {
            for (cell, right) in row.iter_mut().zip(values.into_iter().chain([n / x])) {
                *cell += weight * left * right;
            }
        }
    }
    // A term that is left out is an unknown that is zero.
    for (place, row) in matrix.iter_mut().enumerate() {
        if !terms.contains(&place) {
            *row = std::array::from_fn(|column| if column == place { 1.0 } else { 0.0 });
        }
    }
    eliminate(matrix)
}

/// Gauss's elimination with the largest pivot; none where the equations do not determine the unknowns.
fn eliminate(mut matrix: [[f64; 4]; 3]) -> Option<[f64; 3]> {
    let size = matrix.iter().flatten().fold(0.0_f64, |most, cell| most.max(cell.abs()));
    for column in 0..3 {
        let pivot = (column..3).max_by(|a, b| {
            let at =
                |row: &usize| matrix.get(*row).and_then(|row| row.get(column)).map_or(0.0, |cell| cell.abs());
            at(a).total_cmp(&at(b))
        })?;
        matrix.swap(column, pivot);
        let pivot = *matrix.get(column)?;
        let head = *pivot.get(column)?;
        if head.abs() <= size * 1e-13 {
            return None;
        }
        for (place, row) in matrix.iter_mut().enumerate() {
            let factor = if place == column { continue } else { row.get(column)? / head };
            for (cell, above) in row.iter_mut().zip(pivot) {
                *cell -= factor * above;
            }
        }
    }
    let mut found = [0.0; 3];
    for (place, value) in found.iter_mut().enumerate() {
        let row = matrix.get(place)?;
        *value = row.get(3)? / row.get(place)?;
    }
    found.iter().all(|value| value.is_finite()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAW: Law = Law { alone: 120.0, contention: 0.05, coherence: 0.002 };

    fn points(law: Law, noise: f64) -> Vec<Point> {
        let steps = [1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0];
        let point = |(place, n): (usize, &f64)| {
            let factor = 1.0 + if place % 2 == 0 { noise } else { -noise };
            Point { concurrency: *n, throughput: law.throughput(*n) * factor }
        };
        steps.iter().enumerate().map(point).collect()
    }

    #[test]
    fn what_follows_the_law_gives_it_back() {
        for law in [LAW, Law { coherence: 0.0, ..LAW }, Law { contention: 0.0, coherence: 0.0, ..LAW }] {
            let fit = fit(&points(law, 0.0)).unwrap();
            let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
            assert!(near(fit.law.alone, law.alone) && near(fit.law.contention, law.contention), "{fit:?}");
            assert!(near(fit.law.coherence, law.coherence) && fit.error < 1e-6, "{fit:?}");
        }
        let summit = LAW.summit().unwrap();
        assert!((summit - 21.79).abs() < 0.01, "{summit}");
    }

    #[test]
    fn noise_shows_in_the_band() {
        let fit = fit(&points(LAW, 0.03)).unwrap();
        let (peak, low, high) = fit.peak;
        assert!(low < peak && peak < high && (0.01..0.05).contains(&fit.error), "{fit:?}");
        let truth = LAW.peak().unwrap();
        assert!((low * 0.95..high * 1.05).contains(&truth), "{truth} {fit:?}");
    }

    #[test]
    fn nothing_is_said_of_too_few_points_or_of_one_load() {
        assert_eq!(fit(&points(LAW, 0.0)[..5]), Err(NoLaw::Few(5)));
        let same = vec![Point { concurrency: 4.0, throughput: 100.0 }; 8];
        assert_eq!(fit(&same), Err(NoLaw::Alike));
        let broken = vec![Point { concurrency: f64::NAN, throughput: 0.0 }; 8];
        assert_eq!(fit(&broken), Err(NoLaw::Few(0)));
    }
}
