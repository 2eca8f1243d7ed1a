//! Segments: which there are, and what is in one.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bowline_measurement::frame::{Decoder, FrameError, Record};
use bowline_measurement::interval::Interval;
use bowline_measurement::rollup::Step;
use flate2::read::GzDecoder;

use super::StoreError;

/// A file of rows: `NUMBER.rows` while it is written, `NUMBER-FROM-TO.rows.gz` when it is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// They are numbered in the order in which they were written.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
    /// From which label to which, of a full one.
    pub span: Option<(i64, i64)>,
}

/// The segments of one step in a store, the oldest first; none where there is no directory. One that was being replaced
/// by its compressed self counts once.
///
/// # Errors
/// When the directory cannot be read.
pub fn list_segments(store: &Path, step: Step) -> Result<Vec<Segment>, StoreError> {
    let directory = store.join(step.name());
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(StoreError::disk("read the directory", &directory))?,
    };
    let mut found: Vec<Segment> = entries.flatten().filter_map(|entry| parse_name(entry.path())).collect();
    // The full one comes first, and stays.
    found.sort_by_key(|segment| (segment.number, segment.span.is_none()));
    found.dedup_by_key(|segment| segment.number);
    Ok(found)
}

fn parse_name(path: PathBuf) -> Option<Segment> {
    let name = path.file_name()?.to_str()?;
    if let Some(number) = name.strip_suffix(".rows") {
        return Some(Segment { number: number.parse().ok()?, path, span: None });
    }
    let mut parts = name.strip_suffix(".rows.gz")?.split('-');
    let number = parts.next()?.parse().ok()?;
    let span = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(Segment { number, path, span: Some(span) })
}

/// What was found in a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Content {
    /// So many rows.
    pub rows: u64,
    /// So many bytes of whole frames, not compressed.
    pub bytes: u64,
}

/// Hands every row of a segment to `visit`, in the order in which they were written. A tail that was torn off and all
/// that follows damage is left out: rows have no other copy, and the next segment is read all the same.
///
/// # Errors
/// When the file cannot be read or was written by a later Bowline, or when `visit` says so.
pub fn read_rows(
    segment: &Segment,
    mut visit: impl FnMut(Interval) -> Result<(), StoreError>,
) -> Result<Content, StoreError> {
    let path = &segment.path;
    let file = File::open(path).map_err(StoreError::disk("open", path))?;
    let mut source: Box<dyn Read> =
        if segment.span.is_some() { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    let (mut decoder, mut piece, mut rows) = (Decoder::default(), vec![0; 32 << 10], 0_u64);
    loop {
        let length = match source.read(&mut piece) {
            Ok(length) => length,
            // A compressed file that ends too early.
            Err(error) if segment.span.is_some() && error.raw_os_error().is_none() => 0,
            Err(error) => return Err(StoreError::disk("read", path)(error)),
        };
        let Some(taken) = piece.get(..length).filter(|taken| !taken.is_empty()) else { break };
        decoder.feed(taken);
        loop {
            match decoder.next_record() {
                Ok(Some(Record::Row(row))) => {
                    rows = rows.saturating_add(1);
                    visit(row)?;
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(source @ FrameError::Newer { .. }) => {
                    return Err(StoreError::Frame { path: path.clone(), source });
                }
                Err(_) => return Ok(Content { rows, bytes: decoder.good() }),
            }
        }
    }
    Ok(Content { rows, bytes: decoder.good() })
}
