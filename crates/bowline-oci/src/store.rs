//! The content store: an OCI image layout (image-spec `image-layout.md`) and the caches beside it.
//!
//! Blobs are written under a temporary name, hashed on the way, flushed, and only then given their name: a
//! crash leaves a temporary file and never half a blob. Several processes may use one store at a time; they can
//! only write the same bytes under the same name.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bowline_core::digest::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::manifest::{Descriptor, INDEX, Index};

/// Temporary files older than this belong to a process that died.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// `index.json`, manifests and configs are small; what is larger than this is not read into memory.
const DOCUMENT_LIMIT: u64 = 16 << 20;
/// The annotation by which layouts name images (image-spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// What was written or read is not what it should be.
    #[error("the content of {expected} is {actual}: it was cut or changed on the way")]
    Mismatch {
        /// The digest it should have.
        expected: Digest,
        /// The one it has.
        actual: Digest,
    },
    /// A blob that is needed is not there.
    #[error("blob {0} is not in the image cache")]
    Missing(Digest),
    /// A document that is far larger than such documents are.
    #[error("{0} is larger than {DOCUMENT_LIMIT} bytes and is not read")]
    TooLarge(Digest),
    /// A document of the store is damaged.
    #[error("{} is not valid JSON of its kind", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
}

impl StoreError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some disk space, or point the cache to a larger disk")
            }
            Self::Missing(_) | Self::Damaged { .. } | Self::Mismatch { .. } => {
                Some("remove the image cache; it is filled again by the next build")
            }
            _ => None,
        }
    }
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + use<'a> {
    let path = path.to_owned();
    move |source| StoreError::Io { doing, path, source }
}

/// Content by digest, on disk.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A blob's digest and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// A blob being written.
#[derive(Debug)]
pub struct BlobWriter {
    file: BufWriter<tempfile::NamedTempFile>,
    hasher: Sha256,
    size: u64,
    blobs: PathBuf,
}

impl Store {
    /// Opens the store in this directory and makes what is missing. The OCI layout is its subdirectory `oci`.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let store = Self { root: root.to_owned() };
        for directory in [store.blobs(), store.temporary(), store.root.join("memo")] {
            fs::create_dir_all(&directory).map_err(failed("make the cache directory", &directory))?;
        }
        let layout = store.layout().join("oci-layout");
        if !layout.exists() {
            store.replace(&layout, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        let index = store.layout().join("index.json");
        if !index.exists() {
            store.write_index(&Index {
                schema_version: 2,
                media_type: Some(INDEX.into()),
                manifests: Vec::new(),
            })?;
        }
        store.sweep();
        Ok(store)
    }

    /// The OCI layout: what `skopeo copy oci:DIRECTORY:NAME` reads.
    pub fn layout(&self) -> PathBuf {
        self.root.join("oci")
    }

    fn blobs(&self) -> PathBuf {
        self.layout().join("blobs").join("sha256")
    }

    fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Removes what processes that died left behind. Failing here harms nobody.
    fn sweep(&self) {
        let stale = |path: &Path| {
            let modified = fs::metadata(path).and_then(|meta| meta.modified()).ok();
            modified.and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|age| age > STALE)
        };
        let entries = fs::read_dir(self.temporary()).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| stale(path)) {
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }

    /// Where a blob is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// The length of a blob, if the store has it.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().filter(fs::Metadata::is_file).map(|meta| meta.len())
    }

    /// Whether the store has this blob with this length: a length that differs is a damaged blob.
    pub fn has(&self, digest: &Digest, size: u64) -> bool {
        self.size(digest) == Some(size)
    }

    /// Opens a blob for reading.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.path(digest);
        File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing(*digest),
            _ => StoreError::Io { doing: "open", path, source },
        })
    }

    /// Reads a small blob (a manifest, a config) and verifies it.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let path = self.path(digest);
        self.open_blob(digest)?
            .take(DOCUMENT_LIMIT + 1)
            .read_to_end(&mut bytes)
            .map_err(failed("read", &path))?;
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            return Err(StoreError::TooLarge(*digest));
        }
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(StoreError::Mismatch { expected: *digest, actual });
        }
        Ok(bytes)
    }

    /// Reads a whole blob, of any size, and checks that it is what its name says.
    pub fn verify(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        let mut file = self.open_blob(digest)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 17];
        loop {
            let read = file.read(&mut buffer).map_err(failed("read", &path))?;
            if read == 0 {
                break;
            }
            hasher.update(buffer.get(..read).unwrap_or_default());
        }
        let actual = Digest::from_bytes(hasher.finalize().into());
        if actual == *digest { Ok(()) } else { Err(StoreError::Mismatch { expected: *digest, actual }) }
    }

    /// A new blob to write into; [`BlobWriter::commit`] gives it its name.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        let directory = self.temporary();
        let file = tempfile::NamedTempFile::new_in(&directory)
            .map_err(failed("make a temporary file in", &directory))?;
        let file = BufWriter::with_capacity(1 << 17, file);
        Ok(BlobWriter { file, hasher: Sha256::new(), size: 0, blobs: self.blobs() })
    }

    /// A new temporary directory of the store's file system; it goes when it is dropped.
    pub fn scratch(&self) -> Result<tempfile::TempDir, StoreError> {
        let directory = self.temporary();
        tempfile::TempDir::new_in(&directory).map_err(failed("make a temporary directory in", &directory))
    }

    /// Stores these bytes.
    pub fn put(&self, bytes: &[u8]) -> Result<Blob, StoreError> {
        let blob = Blob { digest: Digest::of(bytes), size: bytes.len() as u64 };
        if self.has(&blob.digest, blob.size) {
            return Ok(blob);
        }
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(failed("write", &self.temporary()))?;
        writer.commit()
    }

    /// Names an image in the layout's `index.json`; an older image of that name loses it.
    pub fn name(&self, name: &str, manifest: &Descriptor) -> Result<(), StoreError> {
        let lock_path = self.root.join("lock");
        let lock = File::create(&lock_path).map_err(failed("open the lock file", &lock_path))?;
        lock.lock().map_err(failed("lock", &lock_path))?;
        let path = self.layout().join("index.json");
        let bytes = fs::read(&path).map_err(failed("read", &path))?;
        let mut index: Index =
            serde_json::from_slice(&bytes).map_err(|source| StoreError::Damaged { path, source })?;
        let named = |entry: &Descriptor| {
            entry.annotations.as_ref().and_then(|notes| notes.get(REF_NAME)).is_some_and(|text| text == name)
        };
        index.manifests.retain(|entry| !named(entry));
        let mut entry = manifest.clone();
        entry.annotations.get_or_insert_default().insert(REF_NAME.into(), name.into());
        index.manifests.push(entry);
        self.write_index(&index)
        // The lock goes with its file.
    }

    fn write_index(&self, index: &Index) -> Result<(), StoreError> {
        let path = self.layout().join("index.json");
        let bytes =
            serde_json::to_vec(index).map_err(|source| StoreError::Damaged { path: path.clone(), source })?;
        self.replace(&path, &bytes)
    }

    /// Replaces a file as a whole.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(self.temporary())?;
            file.write_all(bytes)?;
            file.as_file().sync_data()?;
            share(file.path())?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(failed("write", path))
    }

    /// What was remembered under this kind and key. Anything unreadable counts as forgotten.
    pub(crate) fn recall<T: DeserializeOwned>(&self, kind: &str, key: &Digest) -> Option<T> {
        let bytes = fs::read(self.root.join("memo").join(kind).join(key.hex())).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Remembers something that can be found out again. Failing to remember harms nobody.
    pub(crate) fn remember<T: Serialize>(&self, kind: &str, key: &Digest, value: &T) {
        let directory = self.root.join("memo").join(kind);
        if let (Ok(bytes), Ok(())) = (serde_json::to_vec(value), fs::create_dir_all(&directory)) {
            let _ = self.replace(&directory.join(key.hex()), &bytes);
        }
    }
}

/// Temporary files are private; what is kept is not (a cache may be shared in a group, and blobs hold no secret
/// that the image does not hold).
fn share(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

impl BlobWriter {
    /// Names the blob by its digest.
    pub fn commit(self) -> Result<Blob, StoreError> {
        let blob = Blob { digest: Digest::from_bytes(self.hasher.finalize().into()), size: self.size };
        let path = self.blobs.join(blob.digest.hex());
        let finish = || -> io::Result<()> {
            let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
            if fs::metadata(&path).is_ok_and(|meta| meta.len() == blob.size) {
                return Ok(());
            }
            file.as_file().sync_data()?;
            share(file.path())?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        finish().map_err(failed("write", &path))?;
        Ok(blob)
    }

    /// Names the blob by its digest if that is the expected one, else drops it.
    pub fn commit_as(self, expected: &Digest) -> Result<Blob, StoreError> {
        let actual = Digest::from_bytes(self.hasher.clone().finalize().into());
        if actual != *expected {
            return Err(StoreError::Mismatch { expected: *expected, actual });
        }
        self.commit()
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_found_by_its_digest() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let blob = store.put(b"bowline").unwrap();
        assert_eq!(store.read(&blob.digest).unwrap(), b"bowline");
        assert!(store.has(&blob.digest, 7) && !store.has(&blob.digest, 8));
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        store.writer().unwrap().write_all(b"half").unwrap();
        assert_eq!(fs::read_dir(store.blobs()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(store.temporary()).unwrap().count(), 0);
    }

    #[test]
    fn a_blob_that_is_not_the_expected_one_is_not_kept() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let mut writer = store.writer().unwrap();
        writer.write_all(b"cut").unwrap();
        let error = writer.commit_as(&Digest::of(b"cut short")).unwrap_err();
        assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
        assert_eq!(store.size(&Digest::of(b"cut")), None);
    }

    #[test]
    fn a_damaged_blob_is_noticed() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let blob = store.put(b"bowline").unwrap();
        fs::write(store.path(&blob.digest), b"bowlino").unwrap();
        assert!(matches!(store.read(&blob.digest), Err(StoreError::Mismatch { .. })));
    }

    #[test]
    fn many_writers_keep_every_name() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        std::thread::scope(|scope| {
            for n in 0..20 {
                let store = Store::open(home.path()).unwrap();
                scope.spawn(move || {
                    let blob = store.put(b"the same").unwrap();
                    store.name(&format!("n{n}"), &Descriptor::new("t", blob.digest, blob.size)).unwrap();
                });
            }
        });
        let index: Index =
            serde_json::from_slice(&fs::read(store.layout().join("index.json")).unwrap()).unwrap();
        assert_eq!(index.manifests.len(), 20);
    }
}
