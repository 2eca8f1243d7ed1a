//! Layers: the same entries give the same bytes, on any machine and any day.
//!
//! Entries are written in the order of their paths' bytes, with a fixed time, without user names. The archive is
//! hashed, compressed and hashed again in one pass, straight into the store; nothing is held in memory.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bowline_core::digest::Digest;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::manifest::{Descriptor, LAYER_GZIP};
use crate::store::{BlobWriter, Store, StoreError};

/// The time of every entry, in seconds since 1970. Not zero: some programs take zero for "no time".
const MTIME: u64 = 1;
/// Level 1: jars and binaries are compressed already, and time counts more than a few per cent.
const LEVEL: u32 = 1;
/// Part of every memo's key: to be raised when the same entries would give other bytes.
const ASSEMBLY: u32 = 1;
/// A file that changed this recently may change again without its times telling.
const SETTLED: Duration = Duration::from_millis(50);

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the image, without a leading slash.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file with the content of this one.
    File(Source),
    /// A symbolic link to this target, as written.
    Symlink(String),
}

/// A file of the build context as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Device, inode, permissions and the two times that tell whether it changed.
    stamp: (u64, u64, u32, i128, i128),
}

impl Source {
    /// The file at this path, of which `meta` was found.
    pub fn new(path: &Path, meta: &fs::Metadata) -> Self {
        Self { path: path.to_owned(), size: meta.len(), stamp: stamp(meta) }
    }

    fn changed_at(&self) -> i128 {
        self.stamp.3.max(self.stamp.4)
    }
}

fn stamp(meta: &fs::Metadata) -> (u64, u64, u32, i128, i128) {
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    let modified = nanoseconds(meta.mtime(), meta.mtime_nsec());
    (meta.dev(), meta.ino(), meta.mode(), modified, nanoseconds(meta.ctime(), meta.ctime_nsec()))
}

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The compressed blob.
    pub descriptor: Descriptor,
    /// The digest of the archive before compression.
    pub diff_id: Digest,
}

/// Why a layer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A file of the build context could not be read.
    #[error("could not read {} for an image layer", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file changed while it was read.
    #[error("{} changed while it was copied into an image", .0.display())]
    Changed(PathBuf),
    /// The archive could not be written.
    #[error("could not write the entry `{path}` of an image layer")]
    Write {
        /// The entry.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The store could not take it.
    #[error("could not store an image layer")]
    Store(#[source] StoreError),
}

/// Hashes what passes through.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A blob of the store that compresses what is written into it and knows both digests.
pub(crate) struct LayerWriter {
    tar: Hashing<GzEncoder<BlobWriter>>,
}

impl LayerWriter {
    pub(crate) fn new(store: &Store) -> Result<Self, StoreError> {
        let encoder = GzEncoder::new(store.writer()?, Compression::new(LEVEL));
        Ok(Self { tar: Hashing { inner: encoder, hasher: Sha256::new() } })
    }

    pub(crate) fn commit(self) -> Result<Layer, StoreError> {
        let diff_id = Digest::from_bytes(self.tar.hasher.finalize().into());
        let blob = self
            .tar
            .inner
            .finish()
            .map_err(|source| StoreError::Io { doing: "finish", path: "a layer".into(), source })?
            .commit()?;
        Ok(Layer { descriptor: Descriptor::new(LAYER_GZIP, blob.digest, blob.size), diff_id })
    }
}

impl Write for LayerWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tar.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tar.flush()
    }
}

/// Writes a layer of these entries into the store. Where the same files, unchanged by their stamps, were
/// written before, the layer is there already and no file is opened.
pub fn write(store: &Store, entries: &[Entry]) -> Result<Layer, LayerError> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    let there = |layer: &Layer| store.has(&layer.descriptor.digest, layer.descriptor.size);
    let key = key(&sorted);
    if let Some(layer) = store.recall("layer", &key).filter(there) {
        return Ok(layer);
    }
    // Files that only look new (a fresh checkout, a jar rebuilt to the same bytes) are hashed, which is an order of
    // magnitude faster than compressing them again.
    let content = content_key(&sorted)?;
    let layer = match store.recall("content", &content).filter(there) {
        Some(layer) => layer,
        None => {
            let layer = compress(store, &sorted)?;
            store.remember("content", &content, &layer);
            layer
        }
    };
    if is_settled(&sorted) {
        store.remember("layer", &key, &layer);
    }
    Ok(layer)
}

fn compress(store: &Store, entries: &[&Entry]) -> Result<Layer, LayerError> {
    let mut builder = tar::Builder::new(LayerWriter::new(store).map_err(LayerError::Store)?);
    for entry in entries {
        append(&mut builder, entry)?;
    }
    let failed = |source| LayerError::Write { path: "end of archive".into(), source };
    builder.into_inner().map_err(failed)?.commit().map_err(LayerError::Store)
}

/// Whether no file changed just now: then a later change shows in its stamp.
fn is_settled(entries: &[&Entry]) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let before = i128::try_from(now.saturating_sub(SETTLED).as_nanos()).unwrap_or(i128::MAX);
    entries.iter().all(|entry| match &entry.kind {
        EntryKind::File(source) => source.changed_at() < before,
        _ => true,
    })
}

/// Everything that decides a layer's bytes, as one digest; files by their stamps.
fn key(entries: &[&Entry]) -> Digest {
    let stamps = |Source { path, size, stamp }: &Source| format!("{path:?} {size} {stamp:?}");
    let lines = entries.iter().map(|entry| line(entry, stamps));
    Digest::of(lines.collect::<String>().as_bytes())
}

/// The same, files by what is in them.
fn content_key(entries: &[&Entry]) -> Result<Digest, LayerError> {
    let mut lines = String::new();
    for entry in entries {
        let mut content = String::new();
        if let EntryKind::File(source) = &entry.kind {
            let mut hashing = Hashing { inner: io::sink(), hasher: Sha256::new() };
            read_whole(source, |reader| io::copy(reader, &mut hashing).map(drop))?;
            content = Digest::from_bytes(hashing.hasher.finalize().into()).hex();
        }
        lines += &line(entry, |_| content.clone());
    }
    Ok(Digest::of(lines.as_bytes()))
}

fn line(entry: &Entry, file: impl Fn(&Source) -> String) -> String {
    let Entry { path, kind, mode, uid, gid } = entry;
    let what = match kind {
        EntryKind::Directory => "directory".to_owned(),
        EntryKind::Symlink(target) => format!("link {target:?}"),
        EntryKind::File(source) => format!("file {}", file(source)),
    };
    format!("{ASSEMBLY} {path:?} {mode:o} {uid} {gid} {what}\n")
}

/// Reads a file that must stay as it was found: one that grew or shrank meanwhile would leave an archive that
/// cannot be read.
fn read_whole(source: &Source, read: impl FnOnce(&mut dyn Read) -> io::Result<()>) -> Result<(), LayerError> {
    let failed = |error| LayerError::Read { path: source.path.clone(), source: error };
    let file = File::open(&source.path).map_err(failed)?;
    if stamp(&file.metadata().map_err(failed)?) != source.stamp {
        return Err(LayerError::Changed(source.path.clone()));
    }
    let result = read(&mut BufReader::with_capacity(1 << 17, (&file).take(source.size)));
    if stamp(&file.metadata().map_err(failed)?) != source.stamp {
        return Err(LayerError::Changed(source.path.clone()));
    }
    result.map_err(failed)
}

fn append(builder: &mut tar::Builder<LayerWriter>, entry: &Entry) -> Result<(), LayerError> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(MTIME);
    header.set_size(0);
    let failed = |source| LayerError::Write { path: entry.path.clone(), source };
    match &entry.kind {
        EntryKind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            builder.append_data(&mut header, format!("{}/", entry.path), io::empty()).map_err(failed)
        }
        EntryKind::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, &entry.path, target).map_err(failed)
        }
        EntryKind::File(source) => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(source.size);
            read_whole(source, |reader| builder.append_data(&mut header, &entry.path, reader))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path) -> EntryKind {
        EntryKind::File(Source::new(path, &fs::metadata(path).unwrap()))
    }

    fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
        Entry { path: path.into(), kind, mode, uid: 0, gid: 0 }
    }

    #[test]
    fn equal_content_gives_an_equal_digest_whatever_the_order_place_and_time() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut digests = Vec::new();
        for (home, reverse) in [(&one, false), (&two, true)] {
            let store = Store::open(&home.path().join("cache")).unwrap();
            let path = home.path().join("app");
            fs::write(&path, "content").unwrap();
            let mut entries = vec![
                entry("app", EntryKind::Directory, 0o755),
                entry("app/bin", file(&path), 0o755),
                entry("app/link", EntryKind::Symlink("bin".into()), 0o777),
                entry(&format!("app/{}", "long".repeat(60)), file(&path), 0o644),
            ];
            if reverse {
                entries.reverse();
            }
            digests.push(write(&store, &entries).unwrap());
        }
        assert_eq!(digests[0], digests[1]);
        // Known bytes: whoever changes them changes everybody's images, and raises ASSEMBLY.
        assert_eq!(digests[0].diff_id.short(), "92fe1569103d");
    }

    #[test]
    fn unchanged_files_are_not_opened_again() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("cache")).unwrap();
        let path = home.path().join("app");
        fs::write(&path, "content").unwrap();
        std::thread::sleep(2 * SETTLED);
        let entries = [entry("app", file(&path), 0o644)];
        let first = write(&store, &entries).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(write(&store, &entries).unwrap(), first, "from the memo: the file is gone");
    }

    #[test]
    fn a_file_that_only_looks_new_is_not_compressed_again() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("cache")).unwrap();
        let path = home.path().join("app");
        fs::write(&path, "content").unwrap();
        let first = write(&store, &[entry("app", file(&path), 0o644)]).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "content").unwrap();
        // Other bytes under the blob's name show that it was not written again.
        fs::write(store.path(&first.descriptor.digest), vec![0; first.descriptor.size as usize]).unwrap();
        assert_eq!(write(&store, &[entry("app", file(&path), 0o644)]).unwrap(), first);
        assert!(store.read(&first.descriptor.digest).is_err());
    }

    #[test]
    fn a_file_that_changed_since_it_was_found_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("cache")).unwrap();
        let path = home.path().join("app");
        fs::write(&path, "content").unwrap();
        let entries = [entry("app", file(&path), 0o644)];
        fs::write(&path, "longer content").unwrap();
        assert!(matches!(write(&store, &entries), Err(LayerError::Changed(_))));
    }
}
