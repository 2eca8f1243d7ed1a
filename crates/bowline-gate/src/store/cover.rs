//! What coarse rows do not cover yet.

use std::path::Path;

use bowline_measurement::interval::Interval;
use bowline_measurement::rollup::{Rollup, Step};

use super::StoreError;
use super::segment::{list_segments, read_rows};

/// Coarse rows from the fine ones that are not in a coarse one yet.
///
/// A coarse row ends where its last fine one does, by the label: what was written after that fine one is not covered.
struct Cover {
    rollup: Rollup,
    finished: Vec<Interval>,
    step: Step,
    /// Where the last coarse row ends.
    mark: Option<i64>,
    /// Whether the fine row that ends there was met.
    met: bool,
}

impl Cover {
    fn new(step: Step, mark: Option<i64>) -> Self {
        Self { rollup: Rollup::new(step), finished: Vec::new(), step, mark, met: false }
    }

    fn push(&mut self, row: Interval) {
        match self.mark {
            Some(mark) if row.to == mark => *self = Self { met: true, ..Self::new(self.step, self.mark) },
            // Where it is not among them, the clock must tell.
            Some(mark) if !self.met && row.from < mark => {}
            _ => self.finished.extend(self.rollup.push(row)),
        }
    }
}

/// The step below.
fn finer(step: Step) -> Step {
    if step == Step::Hour { Step::Minute } else { Step::Sample }
}

/// The label at which the last row of a series ends; nothing where there is none.
///
/// # Errors
/// When the store cannot be read.
pub fn last_end(store: &Path, step: Step) -> Result<Option<i64>, StoreError> {
    let mut last = None;
    for segment in list_segments(store, step)?.iter().rev() {
        read_rows(segment, |row| {
            last = Some(row.to);
            Ok(())
        })?;
        if last.is_some() {
            break;
        }
    }
    Ok(last)
}

/// The rows of this step that are finished but not written, and the one that is not finished, from the rows of the step
/// below. `mark` is where the last written one ends.
pub(super) fn fold(
    store: &Path,
    step: Step,
    mark: Option<i64>,
) -> Result<(Vec<Interval>, Option<Interval>), StoreError> {
    let mut cover = Cover::new(step, mark);
    visit_newest(store, finer(step), &mut cover)?;
    Ok((cover.finished, cover.rollup.into_open()))
}

/// A coarse row is made of less than two segments of fine ones.
fn visit_newest(store: &Path, step: Step, cover: &mut Cover) -> Result<(), StoreError> {
    let segments = list_segments(store, step)?;
    for segment in segments.get(segments.len().saturating_sub(2)..).unwrap_or_default() {
        read_rows(segment, |row| {
            cover.push(row);
            Ok(())
        })?;
    }
    Ok(())
}

/// What a series does not hold yet: its last rows as they are so far, made from the finer ones. `mark` is where the
/// last row of it that was read ends.
///
/// # Errors
/// When the store cannot be read.
pub fn remainder(store: &Path, step: Step, mark: Option<i64>) -> Result<Vec<Interval>, StoreError> {
    if step == Step::Sample {
        return Ok(Vec::new());
    }
    let mut cover = Cover::new(step, mark);
    visit_newest(store, finer(step), &mut cover)?;
    for row in remainder(store, finer(step), last_end(store, finer(step))?)? {
        cover.push(row);
    }
    let Cover { mut finished, rollup, .. } = cover;
    finished.extend(rollup.into_open());
    Ok(finished)
}
