//! How much is kept of each step.

use bowline_measurement::rollup::Step;

/// One series of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tier {
    pub(crate) step: Step,
    /// A segment is full with so many rows.
    pub(crate) rows: u64,
    /// And so many full ones are kept.
    pub(crate) segments: usize,
}

impl Tier {
    /// Segments of an hour, a day and thirty days: what is read again after a kill stays small, what is compressed is
    /// long enough to be worth it.
    pub(crate) fn new(step: Step, every: u64) -> Self {
        let (rows, segments) = match step {
            Step::Sample => (3_600_000_u64.checked_div(every).unwrap_or(240).max(1), 24),
            Step::Minute => (1_440, 14),
            Step::Hour => (720, 13),
        };
        Self { step, rows, segments }
    }
}
