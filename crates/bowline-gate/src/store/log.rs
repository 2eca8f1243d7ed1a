//! Writes one series.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bowline_measurement::frame::{Record, encode};
use bowline_measurement::interval::Interval;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::StoreError;
use super::cover::last_end;
use super::segment::{Content, Segment, list_segments, read_rows};
use super::tier::Tier;

/// So many bytes of rows are kept in memory at most while the disk takes none; then the oldest go.
const PATIENCE: usize = 4 << 20;

/// The newest segment of a series, and the full ones before it.
#[derive(Debug)]
pub(super) struct Log {
    store: PathBuf,
    tier: Tier,
    number: u64,
    path: PathBuf,
    /// Opened by the first row.
    file: Option<File>,
    content: Content,
    /// From which label to which.
    span: Option<(i64, i64)>,
    last: Option<i64>,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
}

/// A row that the disk has not taken yet.
#[derive(Debug)]
struct Pending {
    frame: Vec<u8>,
    span: (i64, i64),
}

impl Log {
    /// Opens a series for writing: what was torn off is dropped, what was half done is finished or taken back.
    pub(super) fn open(store: &Path, tier: Tier) -> Result<Self, StoreError> {
        let directory = store.join(tier.step.name());
        fs::create_dir_all(&directory).map_err(StoreError::disk("make the directory", &directory))?;
        let segments = list_segments(store, tier.step)?;
        sweep(&directory, &segments)?;
        let newest = segments.last();
        let number = match newest {
            None => 1,
            Some(Segment { number, span: None, .. }) => *number,
            Some(full) => full.number.saturating_add(1),
        };
        let path = directory.join(format!("{number:08}.rows"));
        let mut log = Self {
            last: last_end(store, tier.step)?,
            store: store.to_owned(),
            tier,
            number,
            path,
            file: None,
            content: Content::default(),
            span: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
        };
        if let Some(open) = newest.filter(|segment| segment.span.is_none()) {
            log.reopen(open)?;
        }
        Ok(log)
    }

    fn reopen(&mut self, open: &Segment) -> Result<(), StoreError> {
        let mut span = None;
        self.content = read_rows(open, |row| {
            span = Some(widen(span, (row.from, row.to)));
            Ok(())
        })?;
        self.span = span;
        let file = OpenOptions::new().append(true).open(&self.path);
        let file = file.map_err(StoreError::disk("open", &self.path))?;
        file.set_len(self.content.bytes).map_err(StoreError::disk("shorten", &self.path))?;
        self.file = Some(file);
        Ok(())
    }

    /// Where the last row ends.
    pub(super) fn last(&self) -> Option<i64> {
        self.last
    }

    /// Writes a row, after those that could not be written before.
    pub(super) fn append(&mut self, row: &Interval) -> Result<(), StoreError> {
        let frame = encode(&Record::Row(row.clone()))
            .map_err(|source| StoreError::Frame { path: self.path.clone(), source })?;
        self.last = Some(row.to);
        self.pending_bytes = self.pending_bytes.saturating_add(frame.len());
        self.pending.push_back(Pending { frame, span: (row.from, row.to) });
        let outcome = self.drain();
        while self.pending_bytes > PATIENCE
            && let Some(oldest) = self.pending.pop_front()
        {
            self.pending_bytes = self.pending_bytes.saturating_sub(oldest.frame.len());
        }
        outcome
    }

    /// Writes what could not be written before, and waits for the disk.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        self.drain()?;
        let Some(file) = &self.file else { return Ok(()) };
        file.sync_data().map_err(StoreError::disk("flush", &self.path))
    }

    fn drain(&mut self) -> Result<(), StoreError> {
        while let Some(pending) = self.pending.front() {
            if let Err(error) = write(&mut self.file, &self.path, &pending.frame) {
                // What was written of it would be in the way of the next.
                if let Some(file) = &self.file {
                    file.set_len(self.content.bytes).map_err(StoreError::disk("shorten", &self.path))?;
                }
                return Err(StoreError::disk("write to", &self.path)(error));
            }
            let length = pending.frame.len();
            self.span = Some(widen(self.span, pending.span));
            self.content.bytes = self.content.bytes.saturating_add(length as u64);
            self.content.rows = self.content.rows.saturating_add(1);
            self.pending_bytes = self.pending_bytes.saturating_sub(length);
            self.pending.pop_front();
            if self.content.rows >= self.tier.rows {
                self.turn()?;
            }
        }
        Ok(())
    }

    /// Compresses the segment that is full, lets the oldest go, and begins another one. Whenever this is cut off, the
    /// segment is there: as it was, or compressed, or both.
    fn turn(&mut self) -> Result<(), StoreError> {
        let segments = list_segments(&self.store, self.tier.step)?;
        let full: Vec<_> = segments.iter().filter(|segment| segment.span.is_some()).collect();
        // Before, since a full disk may need just that.
        let surplus = full.len().saturating_add(1).saturating_sub(self.tier.segments);
        for old in full.iter().take(surplus) {
            fs::remove_file(&old.path).map_err(StoreError::disk("delete", &old.path))?;
        }
        let (from, to) = self.span.unwrap_or_default();
        let name = format!("{:08}-{}-{}.rows.gz", self.number, from.max(0), to.max(0));
        let draft = self.path.with_extension("tmp");
        let compressed =
            compress(&self.path, &draft).and_then(|()| fs::rename(&draft, self.path.with_file_name(name)));
        if let Err(error) = compressed {
            let _ = fs::remove_file(&draft);
            return Err(StoreError::disk("compress", &self.path)(error));
        }
        // Not every file system can: then a power cut may bring the segment back as it was, which is as good.
        let _ = self.path.parent().map(|directory| File::open(directory).and_then(|open| open.sync_all()));
        fs::remove_file(&self.path).map_err(StoreError::disk("delete", &self.path))?;
        self.number = self.number.saturating_add(1);
        self.path = self.path.with_file_name(format!("{:08}.rows", self.number));
        (self.file, self.content, self.span) = (None, Content::default(), None);
        Ok(())
    }
}

fn write(file: &mut Option<File>, path: &Path, frame: &[u8]) -> io::Result<()> {
    if file.is_none() {
        *file = Some(OpenOptions::new().append(true).create(true).open(path)?);
    }
    file.as_mut().map_or(Ok(()), |file| file.write_all(frame))
}

/// Takes away what a writer that was killed left half done: drafts, and segments that are there compressed as well.
fn sweep(directory: &Path, segments: &[Segment]) -> Result<(), StoreError> {
    let entries = fs::read_dir(directory).map_err(StoreError::disk("read the directory", directory))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_wanted = segments.iter().any(|segment| segment.path == path);
        if !is_wanted && matches!(extension, Some("tmp" | "rows")) {
            fs::remove_file(&path).map_err(StoreError::disk("delete", &path))?;
        }
    }
    Ok(())
}

fn compress(from: &Path, to: &Path) -> io::Result<()> {
    let mut encoder = GzEncoder::new(File::create(to)?, Compression::default());
    io::copy(&mut File::open(from)?, &mut encoder)?;
    encoder.finish()?.sync_all()
}

fn widen(span: Option<(i64, i64)>, (from, to): (i64, i64)) -> (i64, i64) {
    span.map_or((from, to), |(first, last)| (first.min(from), last.max(to)))
}
