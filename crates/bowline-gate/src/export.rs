//! Hands out what was measured.

use std::io::{self, Write};
use std::path::Path;

use bowline_measurement::frame::{Record, encode};
use bowline_measurement::interval::Interval;
use bowline_measurement::rollup::Step;

use crate::facts::read_facts;
use crate::store::segment::{list_segments, read_rows};
use crate::store::{StoreError, remainder};

/// How often a writer may take a segment away that was about to be read. It does so once an hour.
const RETRIES: usize = 5;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Rows that end after this, in milliseconds since 1970.
    pub since: i64,
    /// Rows that begin before this.
    pub until: i64,
    /// How long the rows are.
    pub step: Step,
}

/// Why it was not handed out, or not all.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whoever reads has gone.
    #[error("cannot write what was measured: {0}")]
    Output(#[from] io::Error),
}

/// Writes the facts, the rows in the order in which they were written, and the end, as frames. The last row may be of a
/// minute, or an hour, that has not passed yet. It goes on while a sampler writes, and needs little memory.
///
/// # Errors
/// When the store cannot be read, or the output takes no more.
pub fn export(store: &Path, selection: Selection, output: &mut impl Write) -> Result<(), ExportError> {
    let mut failed = None;
    let mut write = |record: Record| {
        let frame = encode(&record).map_err(|source| StoreError::Frame { path: store.to_owned(), source })?;
        if failed.is_none() {
            failed = output.write_all(&frame).err();
        }
        // The rest of a segment is read in vain: that is at most a day of rows.
        Ok::<_, StoreError>(())
    };
    if let Some(facts) = read_facts(store) {
        write(Record::Facts(facts))?;
    }
    let wanted = |row: &Interval| row.to > selection.since && row.from < selection.until;
    let mut visit = |row: Interval| if wanted(&row) { write(Record::Row(row)) } else { Ok(()) };
    let mark = visit_all(store, selection, &mut visit)?;
    for row in retry(|| remainder(store, selection.step, mark))? {
        visit(row)?;
    }
    write(Record::End)?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(output.flush()?),
    }
}

/// Visits the rows of all segments that may hold wanted ones; gives where the last one ends.
fn visit_all(
    store: &Path,
    selection: Selection,
    visit: &mut impl FnMut(Interval) -> Result<(), StoreError>,
) -> Result<Option<i64>, StoreError> {
    let (mut mark, mut done) = (None, None);
    retry(|| {
        let segments = list_segments(store, selection.step)?;
        let (last, before) = (segments.last().map(|segment| segment.number), done);
        for segment in segments.iter().filter(|segment| Some(segment.number) > before) {
            let outside =
                segment.span.is_some_and(|(from, to)| to <= selection.since || from >= selection.until);
            // The end of the last one must be known.
            if !outside || Some(segment.number) == last {
                read_rows(segment, |row| {
                    mark = Some(row.to);
                    visit(row)
                })?;
            }
            done = Some(segment.number);
        }
        Ok(())
    })?;
    Ok(mark)
}

/// Does it again where the writer has compressed a segment, or let it go, between looking and opening.
fn retry<T>(mut attempt: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let mut left = RETRIES;
    loop {
        match attempt() {
            Err(StoreError::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound && left > 0 => {
                left = left.saturating_sub(1);
            }
            outcome => return outcome,
        }
    }
}
