//! What was measured, kept on disk.
//!
//! Three series lie side by side: rows as they were sampled for a day, rows of a minute for a fortnight, rows of an hour
//! for a year. Each is a directory of segments, numbered files of frames ([`bowline_measurement::frame`]). The newest
//! is appended to; one that is full is compressed, and the oldest goes. What is old is told by how many segments follow
//! it, not by a clock: one that jumps must not cost a year.
//!
//! **Killed at any moment**, the newest row at most is missing. A row is one `write`; a tail that was torn off is dropped
//! on opening. Coarse rows are written when they are finished; those that were not are made again from the finer ones.
//! After a power cut, what the kernel had not written back yet (usually 30 seconds) is missing too: waking a disk every
//! 15 seconds would cost the services more than these rows are worth.
//!
//! **A full disk** is waited out: rows are kept in memory, up to 4 MB of each series (half a day and more of 13
//! containers), and written when there is room.
//!
//! **Size**, measured by `tests/it/store.rs` with 13 containers whose figures vary more than real ones do: a year takes
//! 16 MB (2 for the day, 9 for the fortnight, 5 for the year's hours) and grows no more.

mod cover;
mod log;
pub mod segment;
mod tier;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bowline_measurement::frame::FrameError;
use bowline_measurement::interval::Interval;
use bowline_measurement::rollup::{Rollup, Step};
use rustix::fs::{FlockOperation, flock};

use log::Log;
use tier::Tier;

pub use cover::{last_end, remainder};

/// Why something cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or a directory.
    #[error("cannot {what} {}: {source}", .path.display())]
    Disk {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process writes it.
    #[error("cannot write to the store {}: another sampler does; stop it first, or name another directory by --store", .0.display())]
    Busy(PathBuf),
    /// A record that cannot be written or read.
    #[error("in {}: {source}", .path.display())]
    Frame {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: FrameError,
    },
}

impl StoreError {
    fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk { what, path: path.to_owned(), source }
    }
}

/// The one writer of a store.
#[derive(Debug)]
pub struct Store {
    samples: Log,
    minutes: Log,
    hours: Log,
    minute: Rollup,
    hour: Rollup,
    /// Held as long as this is.
    _lock: File,
}

impl Store {
    /// Opens a store, or begins one, for samples that come every so many milliseconds. Finishes what a writer that was
    /// killed left unfinished.
    ///
    /// # Errors
    /// When the directory cannot be written, or another process writes it.
    pub fn open(directory: &Path, every: u64) -> Result<Self, StoreError> {
        std::fs::create_dir_all(directory).map_err(StoreError::disk("make the directory", directory))?;
        let path = directory.join("lock");
        let lock = File::create(&path).map_err(StoreError::disk("open", &path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| StoreError::Busy(directory.to_owned()))?;
        let log = |step| Log::open(directory, Tier::new(step, every));
        let mut store = Self {
            samples: log(Step::Sample)?,
            minutes: log(Step::Minute)?,
            hours: log(Step::Hour)?,
            minute: Rollup::new(Step::Minute),
            hour: Rollup::new(Step::Hour),
            _lock: lock,
        };
        store.resume(directory)?;
        Ok(store)
    }

    /// Makes again what was in memory when the writer before was killed.
    fn resume(&mut self, directory: &Path) -> Result<(), StoreError> {
        let (finished, open) = cover::fold(directory, Step::Minute, self.minutes.last())?;
        for row in finished {
            self.minutes.append(&row)?;
        }
        if let Some(open) = open {
            self.minute.push(open);
        }
        let (finished, open) = cover::fold(directory, Step::Hour, self.hours.last())?;
        for row in finished {
            self.hours.append(&row)?;
        }
        if let Some(open) = open {
            self.hour.push(open);
        }
        Ok(())
    }

    /// The label up to which something was measured, if anything was.
    pub fn last(&self) -> Option<i64> {
        self.samples.last()
    }

    /// Keeps a row, and what is finished by it.
    ///
    /// # Errors
    /// When the disk does not take it. It is kept in memory then, and written by a later call; nothing needs to be done.
    pub fn append(&mut self, row: &Interval) -> Result<(), StoreError> {
        let mut outcome = self.samples.append(row);
        if let Some(minute) = self.minute.push(row.clone()) {
            outcome = outcome.and(self.minutes.append(&minute));
            if let Some(hour) = self.hour.push(minute) {
                outcome = outcome.and(self.hours.append(&hour));
            }
        }
        outcome
    }

    /// Writes what a full disk kept in memory, and waits until the disk has it.
    ///
    /// # Errors
    /// When it still does not take it.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        let outcome = self.samples.flush();
        let outcome = outcome.and(self.minutes.flush());
        outcome.and(self.hours.flush())
    }
}
