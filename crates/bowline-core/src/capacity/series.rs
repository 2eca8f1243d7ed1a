//! A series of rows, as it was read.

use bowline_measurement::facts::Facts;
use bowline_measurement::frame::{Decoder, FrameError, Record};
use bowline_measurement::interval::Interval;

/// Rows in the order of time that do not overlap, and what machine they are of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Series {
    /// What the machine is, where that was said.
    pub facts: Option<Facts>,
    /// The rows.
    pub rows: Vec<Interval>,
    /// Whether the end was reached: a stream that breaks off has none.
    pub complete: bool,
}

impl Series {
    /// Takes in the next record, in the order in which they were written.
    ///
    /// Where a clock was set back, rows that were written before begin later than this one: their labels were wrong,
    /// and they go.
    pub fn push(&mut self, record: Record) {
        match record {
            Record::Facts(facts) => self.facts = Some(facts),
            Record::Row(row) => {
                while self.rows.last().is_some_and(|last| last.to > row.from) {
                    self.rows.pop();
                }
                self.rows.push(row);
            }
            Record::End => self.complete = true,
        }
    }

    /// Takes in all records that a decoder has whole.
    ///
    /// # Errors
    /// When its bytes are damaged, or of a later Bowline; what came before is taken in.
    pub fn drain(&mut self, decoder: &mut Decoder) -> Result<(), FrameError> {
        while let Some(record) = decoder.next_record()? {
            self.push(record);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_measurement::interval::Machine;

    #[test]
    fn what_was_labelled_by_a_clock_that_was_ahead_goes() {
        let mut series = Series::default();
        for (from, to) in [(0, 10), (10, 20), (500, 510), (510, 520), (20, 30), (30, 40)] {
            let machine = Machine::default();
            let row = Interval { from, to, seen: 10, samples: 1, machine, containers: Default::default() };
            series.push(Record::Row(row));
        }
        let spans: Vec<_> = series.rows.iter().map(|row| (row.from, row.to)).collect();
        assert_eq!(spans, [(0, 10), (10, 20), (20, 30), (30, 40)]);
        assert!(!series.complete);
        series.push(Record::End);
        assert!(series.complete);
    }
}
