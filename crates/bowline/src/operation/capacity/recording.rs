//! What was seen of a cluster, in a file: what its nodes do not remember is kept by whoever looks.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use bowline_core::capacity::series::Series;
use bowline_measurement::frame::{Decoder, FrameError, Record, encode};
use bowline_measurement::interval::Interval;
use bowline_measurement::rollup::{Rollup, Step};

use crate::error::{Attempt, Failure, Outcome};

/// So much is read at once.
const PIECE: usize = 64 << 10;

/// A file that is being added to, minute by minute: what a kill costs is the last one.
pub struct Recording {
    path: PathBuf,
    file: File,
    rollup: Rollup,
}

impl Recording {
    /// Opens a file, or makes it; what a run that was cut off left half-written goes.
    ///
    /// # Errors
    /// When it cannot be written, or holds something else.
    pub fn open(path: &Path) -> Outcome<Self> {
        let attempt = || format!("recording into {}", path.display());
        let whole = if path.exists() { Some(scan(path)?.1) } else { None };
        let file = OpenOptions::new().create(true).append(true).open(path).attempt(attempt)?;
        if let Some(whole) = whole {
            file.set_len(whole).attempt(attempt)?;
        }
        Ok(Self { path: path.to_owned(), file, rollup: Rollup::new(Step::Minute) })
    }

    /// Takes in what happened next.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, interval: Interval) -> Outcome<()> {
        match self.rollup.push(interval) {
            Some(minute) => self.write(minute),
            None => Ok(()),
        }
    }

    /// Writes the minute that was not over.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Outcome<()> {
        let open = std::mem::replace(&mut self.rollup, Rollup::new(Step::Minute)).into_open();
        open.map_or(Ok(()), |minute| self.write(minute))
    }

    fn write(&mut self, minute: Interval) -> Outcome<()> {
        let attempt = || format!("recording into {}", self.path.display());
        let frame = encode(&Record::Row(minute)).attempt(attempt)?;
        self.file.write_all(&frame).attempt(attempt)
    }
}

/// Reads what was recorded; a last minute that was torn off is left out.
///
/// # Errors
/// When the file cannot be read, or is damaged before its end.
pub fn read(path: &Path) -> Outcome<Series> {
    scan(path).map(|(series, _)| series)
}

/// What a file holds, and how many of its bytes are whole.
fn scan(path: &Path) -> Outcome<(Series, u64)> {
    let attempt = || format!("reading {}", path.display());
    let mut file = File::open(path).attempt(attempt)?;
    let (mut decoder, mut series, mut piece) = (Decoder::default(), Series::default(), vec![0; PIECE]);
    loop {
        let length = file.read(&mut piece).attempt(attempt)?;
        decoder.feed(piece.get(..length).unwrap_or_default());
        series.drain(&mut decoder).map_err(|error| match error {
            FrameError::Damaged { at: 0 } => Failure::invalid(attempt())
                .since("it is no recording of Bowline")
                .hint("bowline capacity CLUSTER --for 24h --record FILE makes one"),
            error => Failure::failed(attempt())
                .because(&error)
                .hint("keep it if it matters, and record into another file"),
        })?;
        if length == 0 {
            return Ok((series, decoder.good()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bowline_measurement::interval::Machine;

    use super::*;

    fn interval(from: i64) -> Interval {
        Interval {
            from,
            seen: 10_000,
            to: from + 10_000,
            samples: 1,
            machine: Machine::default(),
            containers: BTreeMap::new(),
        }
    }

    #[test]
    fn minutes_are_kept_and_a_torn_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.bowline");
        for start in [0, 600_000] {
            let mut recording = Recording::open(&path).unwrap();
            for count in 0..12 {
                recording.add(interval(start + count * 10_000)).unwrap();
            }
            recording.finish().unwrap();
            // A run that was cut off in the middle of a minute.
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(&[9, 0, 0, 0, 1]).unwrap();
        }
        let series = read(&path).unwrap();
        let rows: Vec<(i64, u32)> = series.rows.iter().map(|row| (row.from, row.samples)).collect();
        assert_eq!(rows, [(0, 6), (60_000, 6), (600_000, 6), (660_000, 6)]);
    }

    #[test]
    fn what_is_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "my notes, which are precious").unwrap();
        assert!(Recording::open(&path).is_err());
        assert!(read(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes, which are precious");
    }
}
