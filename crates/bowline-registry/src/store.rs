//! The directory behind the registry.
//!
//! ```text
//! lock, version                           one process at a time; the layout's number
//! staging/                                files that are being written; emptied at open
//! blobs/sha256/ab/abcd…                   content, shared by all repositories, manifests included
//! repositories/NAME/_blobs/HEX            an empty file: this repository has that blob
//! repositories/NAME/_manifests/HEX        the media type under which the manifest was sent
//! repositories/NAME/_tags/TAG             a manifest's digest
//! repositories/NAME/_referrers/HEX/HEX    an empty file: the second manifest is about the first
//! ```
//! Content is written before what names it, so a crash leaves at worst content that nothing names. Names of
//! repositories have no component that begins with `_`, so ours never meet theirs.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use bowline_core::digest::Digest;
use tempfile::NamedTempFile;

use crate::disk;
use crate::name::Name;

const LAYOUT: &str = "1\n";
const OURS: [&str; 5] = ["lock", "version", "staging", "blobs", "repositories"];
/// How old a blob's mark may become before a client that asks for the blob makes it new. Collection spares new marks.
const REFRESH: Duration = Duration::from_secs(60);

/// A registry's content in a directory, held by this process alone unless it is only read. Clones are the same store;
/// the directory is free again when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Held for writing while content is taken away, for reading while content is named.
    gate: RwLock<()>,
    /// Held while a tag is looked at and then written.
    tags: Mutex<()>,
    /// The lock is the open file's; it ends with the process, however that ends. Who only reads has none.
    lock: Option<File>,
}

/// Why a directory could not be opened as a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error("the registry store {} is in use by another process{}", directory.display(), by_whom(*process))]
    InUse {
        /// The store's directory.
        directory: PathBuf,
        /// The process that says it has it.
        process: Option<u32>,
    },
    /// It holds something else.
    #[error("{} is not a registry store: it holds `{found}`", directory.display())]
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// A name in it that no store has.
        found: String,
    },
    /// It was written by a version with another layout.
    #[error("the registry store {} has the layout `{found}`, which this version does not know", directory.display())]
    Layout {
        /// The store's directory.
        directory: PathBuf,
        /// What its version file says.
        found: String,
    },
    /// The disk refused.
    #[error("could not open the registry store {}", directory.display())]
    Disk {
        /// The store's directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn by_whom(id: Option<u32>) -> String {
    id.map(|id| format!(" ({id})")).unwrap_or_default()
}

impl OpenError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "use the registry that runs already, stop it, or choose another directory",
            Self::Foreign { .. } => "choose a directory that is empty or does not exist yet",
            Self::Layout { .. } => "use the version of bowline that wrote it, or choose another directory",
            Self::Disk { .. } => "check that the directory can be written and that its disk is not full",
        }
    }
}

impl Store {
    /// Opens the store in a directory, or makes a new one there. What uploads left that were not finished is removed.
    ///
    /// # Errors
    /// [`OpenError`]: another process has it, the directory holds something else, or the disk refuses.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let disk = |source| OpenError::Disk { directory: directory.into(), source };
        disk::create_directory(directory).map_err(disk)?;
        let found = disk::names(directory).map_err(disk)?;
        if let Some(found) = found.into_iter().find(|name| !OURS.contains(&name.as_str())) {
            return Err(OpenError::Foreign { directory: directory.into(), found });
        }
        let lock = lock(directory)?;
        check_layout(directory)?;
        let store = Self::new(directory, Some(lock));
        store.prepare().map_err(disk)?;
        Ok(store)
    }

    /// Opens the store that another process, or this one, has open or had. Nothing is changed by way of it, and nobody
    /// is kept from the directory. Files appear whole and are not changed, so reading needs no lock: what is taken away
    /// meanwhile is not found.
    ///
    /// # Errors
    /// [`OpenError`]: there is no store in the directory, or one of another layout.
    pub fn open_for_reading(directory: &Path) -> Result<Self, OpenError> {
        if !check_layout(directory)? {
            let source = io::Error::new(io::ErrorKind::NotFound, "it has no `version` file");
            return Err(OpenError::Disk { directory: directory.into(), source });
        }
        Ok(Self::new(directory, None))
    }

    fn new(directory: &Path, lock: Option<File>) -> Self {
        let (gate, tags) = (RwLock::default(), Mutex::default());
        Self(Arc::new(Inner { root: directory.into(), gate, tags, lock }))
    }

    /// Whether nothing may be changed by way of it.
    pub(crate) fn is_only_read(&self) -> bool {
        self.0.lock.is_none()
    }

    fn prepare(&self) -> io::Result<()> {
        let staging = self.staging();
        disk::create_directory(&staging)?;
        for left in disk::names(&staging)? {
            fs::remove_file(staging.join(left))?;
        }
        disk::create_directory(&self.0.root.join("blobs/sha256"))?;
        disk::create_directory(&self.repositories())?;
        disk::write(&staging, &self.0.root.join("version"), LAYOUT.as_bytes())
    }

    fn staging(&self) -> PathBuf {
        self.0.root.join("staging")
    }

    pub(crate) fn repositories(&self) -> PathBuf {
        self.0.root.join("repositories")
    }

    fn repository(&self, name: &Name) -> PathBuf {
        self.repositories().join(name.path())
    }

    pub(crate) fn content(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let shard: String = hex.chars().take(2).collect();
        self.shards().join(shard).join(hex)
    }

    pub(crate) fn shards(&self) -> PathBuf {
        self.0.root.join("blobs/sha256")
    }

    pub(crate) fn blobs(&self, name: &Name) -> PathBuf {
        self.repository(name).join("_blobs")
    }

    pub(crate) fn manifests(&self, name: &Name) -> PathBuf {
        self.repository(name).join("_manifests")
    }

    pub(crate) fn tags(&self, name: &Name) -> PathBuf {
        self.repository(name).join("_tags")
    }

    pub(crate) fn referrers(&self, name: &Name, subject: &Digest) -> PathBuf {
        self.repository(name).join("_referrers").join(subject.hex())
    }

    /// Held while content is being named, so that it is not collected in between.
    pub(crate) fn naming(&self) -> RwLockReadGuard<'_, ()> {
        self.0.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while content is taken away.
    pub(crate) fn removing(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held from looking at a tag until it is written.
    pub(crate) fn tagging(&self) -> MutexGuard<'_, ()> {
        self.0.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new file for content whose digest is not known yet. It goes when it is dropped.
    pub(crate) fn stage(&self) -> io::Result<NamedTempFile> {
        NamedTempFile::new_in(self.staging())
    }

    /// Keeps staged content of this digest as a blob of the repository.
    pub(crate) fn keep_blob(&self, name: &Name, digest: &Digest, file: NamedTempFile) -> io::Result<()> {
        let _naming = self.naming();
        // Content of the same digest is replaced, so that a push heals what a failing disk has damaged.
        disk::keep(file, &self.content(digest))?;
        disk::mark(&self.blobs(name).join(digest.hex()))
    }

    /// Writes a small file below the store, whole or not at all.
    pub(crate) fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        disk::write(&self.staging(), path, content)
    }

    /// A repository's blob, open, and its length in bytes.
    pub(crate) fn open_blob(&self, name: &Name, digest: &Digest) -> io::Result<Option<(File, u64)>> {
        let _naming = self.naming();
        if self.has_blob(name, digest)? { disk::open(&self.content(digest)) } else { Ok(None) }
    }

    /// Whether the repository has a blob. Whoever asks may rely on the answer, so a collection spares it for a while;
    /// who can only read is not about to name it.
    pub(crate) fn has_blob(&self, name: &Name, digest: &Digest) -> io::Result<bool> {
        let mark = self.blobs(name).join(digest.hex());
        let Some(metadata) = disk::metadata(&mark)? else { return Ok(false) };
        let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
        if age > REFRESH && !self.is_only_read() {
            disk::mark(&mark)?;
        }
        Ok(true)
    }

    /// The length of content, if the store has it under any name.
    pub(crate) fn length(&self, digest: &Digest) -> io::Result<Option<u64>> {
        Ok(disk::metadata(&self.content(digest))?.map(|metadata| metadata.len()))
    }

    /// Makes a blob of one repository, or without `from` of any, a blob of this one too. Says whether it was there.
    pub(crate) fn mount_blob(&self, name: &Name, digest: &Digest, from: Option<&Name>) -> io::Result<bool> {
        let _naming = self.naming();
        let there = match from {
            Some(from) => self.has_blob(from, digest)?,
            None => true,
        };
        if !there || self.length(digest)?.is_none() {
            return Ok(false);
        }
        disk::mark(&self.blobs(name).join(digest.hex()))?;
        Ok(true)
    }

    /// The names of all repositories, sorted; some may hold nothing (any more).
    pub(crate) fn names(&self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        let mut open = vec![String::new()];
        while let Some(prefix) = open.pop() {
            for entry in disk::names(&self.repositories().join(&prefix))? {
                if entry.starts_with('_') {
                    continue;
                }
                let text = if prefix.is_empty() { entry } else { format!("{prefix}/{entry}") };
                if let Some(name) = Name::parse(&text) {
                    names.push(name);
                }
                open.push(text);
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Whether the directory has a store of this layout; false where it has none yet.
fn check_layout(directory: &Path) -> Result<bool, OpenError> {
    let disk = |source| OpenError::Disk { directory: directory.into(), source };
    match disk::read(&directory.join("version")).map_err(disk)? {
        Some(layout) if layout != LAYOUT.as_bytes() => {
            let found = String::from_utf8_lossy(&layout).trim().chars().take(40).collect();
            Err(OpenError::Layout { directory: directory.into(), found })
        }
        layout => Ok(layout.is_some()),
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let disk = |source| OpenError::Disk { directory: directory.into(), source };
    let path = directory.join("lock");
    let mut file =
        File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(disk)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default();
            return Err(OpenError::InUse {
                directory: directory.into(),
                process: holder.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(disk(source)),
    }
    file.set_len(0).map_err(disk)?;
    writeln!(file, "{}", std::process::id()).map_err(disk)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_opens_once_and_again_when_it_was_dropped() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("deep/store");
        let store = Store::open(&directory).unwrap();
        let Err(OpenError::InUse { process, .. }) = Store::open(&directory) else { panic!("opened twice") };
        assert_eq!(process, Some(std::process::id()));
        drop(store);
        Store::open(&directory).unwrap();
    }

    #[test]
    fn a_directory_of_somebody_else_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("thesis.tex"), "").unwrap();
        let error = Store::open(place.path()).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        assert_eq!(disk::names(place.path()).unwrap(), ["thesis.tex"]);
    }

    #[test]
    fn another_layout_is_refused_with_a_hint() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("version"), "2\n").unwrap();
        for opened in [Store::open(place.path()), Store::open_for_reading(place.path())] {
            let error = opened.unwrap_err();
            assert!(error.to_string().contains("`2`") && error.hint().contains("version"), "{error}");
        }
    }

    #[test]
    fn what_is_only_read_keeps_nobody_out_and_is_not_made() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("store");
        assert!(matches!(Store::open_for_reading(&directory), Err(OpenError::Disk { .. })));
        assert!(!directory.exists());
        drop(Store::open(&directory).unwrap());
        let reading = Store::open_for_reading(&directory).unwrap();
        let writing = Store::open(&directory).unwrap();
        assert!(reading.is_only_read() && !writing.is_only_read());
    }

    #[test]
    fn what_was_staged_is_removed_at_open() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(place.path()).unwrap();
        let (_, left) = store.stage().unwrap().keep().unwrap();
        drop(store);
        Store::open(place.path()).unwrap();
        assert!(!left.exists());
    }
}
