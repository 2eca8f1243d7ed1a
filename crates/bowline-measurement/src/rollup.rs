//! Coarse rows from fine ones.

use std::fmt;
use std::str::FromStr;

use crate::interval::Interval;

/// How long the rows of a series are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// As they were sampled: 15 seconds, unless told otherwise.
    Sample,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl Step {
    /// All of them, the finest first.
    pub const ALL: [Self; 3] = [Self::Sample, Self::Minute, Self::Hour];

    /// The name, as it is written on command lines and in paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sample => "15s",
            Self::Minute => "1m",
            Self::Hour => "1h",
        }
    }

    /// Its length in milliseconds.
    pub fn milliseconds(self) -> i64 {
        match self {
            Self::Sample => 15_000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
        }
    }

    /// Which minute, or hour, a moment lies in: the same number for all moments that become one row.
    fn bucket(self, at: i64) -> i64 {
        at.div_euclid(self.milliseconds())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text is no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there are no rows of {0:?}: ask for 15s, 1m or 1h")]
pub struct StepError(String);

impl FromStr for Step {
    type Err = StepError;

    fn from_str(text: &str) -> Result<Self, StepError> {
        Self::ALL.into_iter().find(|step| step.name() == text).ok_or_else(|| StepError(text.to_owned()))
    }
}

/// Makes rows of one step from finer ones that come one after the other.
#[derive(Debug, Clone)]
pub struct Rollup {
    step: Step,
    open: Option<Interval>,
}

impl Rollup {
    /// With nothing in it yet.
    pub fn new(step: Step) -> Self {
        Self { step, open: None }
    }

    /// Takes in the next row; gives the coarse row that is finished by it. A row belongs where it begins.
    ///
    /// A clock that was set back finishes a row too: what comes after is told from what came before.
    pub fn push(&mut self, row: Interval) -> Option<Interval> {
        match self.open.take() {
            Some(open)
                if self.step.bucket(open.from) == self.step.bucket(row.from) && row.from >= open.to =>
            {
                self.open = Some(open.then(row));
                None
            }
            before => {
                self.open = Some(row);
                before
            }
        }
    }

    /// The row that is not finished, if one was begun.
    pub fn open(&self) -> Option<&Interval> {
        self.open.as_ref()
    }

    /// Gives the row that is not finished.
    pub fn into_open(self) -> Option<Interval> {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interval::{Flow, Machine};

    fn row(from: i64, to: i64) -> Interval {
        let machine = Machine { network: Flow { inward: 1, outward: 0 }, ..Machine::default() };
        let seen = u64::try_from(to - from).unwrap();
        Interval { from, to, seen, samples: 1, machine, containers: Default::default() }
    }

    #[test]
    fn rows_belong_to_the_minute_in_which_they_begin() {
        let mut rollup = Rollup::new(Step::Minute);
        let finished: Vec<_> =
            (0..12).filter_map(|n| rollup.push(row(7_000 + n * 15_000, 22_000 + n * 15_000))).collect();
        let spans: Vec<_> = finished.iter().map(|row| (row.from, row.to, row.samples)).collect();
        assert_eq!(spans, [(7_000, 67_000, 4), (67_000, 127_000, 4)]);
        assert_eq!(finished[1].machine.network.inward, 4);
        assert_eq!(rollup.open().unwrap().from, 127_000);
    }

    #[test]
    fn a_gap_and_a_clock_that_was_set_back_begin_a_row() {
        let mut rollup = Rollup::new(Step::Hour);
        assert_eq!(rollup.push(row(0, 15_000)), None);
        assert_eq!(rollup.push(row(7_200_000, 7_215_000)).map(|row| row.to), Some(15_000));
        assert_eq!(rollup.push(row(7_100_000, 7_115_000)).map(|row| row.to), Some(7_215_000));
        assert_eq!(rollup.into_open().map(|row| row.from), Some(7_100_000));
    }

    #[test]
    fn steps_are_known_by_name() {
        for step in Step::ALL {
            assert_eq!(step.name().parse(), Ok(step));
        }
        assert_eq!(
            "5m".parse::<Step>().unwrap_err().to_string(),
            "there are no rows of \"5m\": ask for 15s, 1m or 1h"
        );
    }
}
