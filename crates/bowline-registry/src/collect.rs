//! Removing content that nothing names any more.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bowline_core::digest::Digest;

use crate::disk;
use crate::manifest;
use crate::store::Store;

/// What a collection removed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// How many pieces of content (blobs and manifests).
    pub blobs: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Why content could not be collected. What was removed until then was unneeded; nothing else is touched.
#[derive(Debug, thiserror::Error)]
#[error("could not remove unneeded content from the registry store {}", directory.display())]
pub struct CollectError {
    directory: PathBuf,
    #[source]
    source: io::Error,
}

impl CollectError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        "check the disk; a manifest that was damaged has to be pushed again, or deleted, before anything is removed"
    }
}

impl Store {
    /// Removes the blobs that no manifest of their repository needs, then the content that no repository has.
    /// Blobs that were pushed, mounted or asked for within the last `spare` (and a minute) stay: somebody may be
    /// about to push the manifest that needs them. Pushes wait meanwhile.
    ///
    /// # Errors
    /// [`CollectError`] where the disk refuses or a manifest cannot be read: what it needs is unknown then.
    pub fn collect(&self, spare: Duration) -> Result<Collected, CollectError> {
        let directory = || self.repositories().parent().map(PathBuf::from).unwrap_or_default();
        if self.is_only_read() {
            let source = io::Error::new(io::ErrorKind::PermissionDenied, "it was opened for reading");
            return Err(CollectError { directory: directory(), source });
        }
        self.sweep(spare).map_err(|source| CollectError { directory: directory(), source })
    }

    fn sweep(&self, spare: Duration) -> io::Result<Collected> {
        let _removing = self.removing();
        let mut kept = BTreeSet::new();
        for name in self.names()? {
            let mut needed = BTreeSet::new();
            for manifest in manifest::all(self, &name)? {
                let manifest = manifest?;
                needed.extend(manifest.document()?.needs().copied());
                kept.insert(manifest.digest);
            }
            for hex in disk::names(&self.blobs(&name))? {
                let Ok(digest) = format!("sha256:{hex}").parse::<Digest>() else { continue };
                let mark = self.blobs(&name).join(&hex);
                if needed.contains(&digest) || is_new(&mark, spare)? {
                    kept.insert(digest);
                } else {
                    disk::remove(&mark)?;
                }
            }
        }
        self.sweep_content(&kept)
    }

    fn sweep_content(&self, kept: &BTreeSet<Digest>) -> io::Result<Collected> {
        let mut collected = Collected::default();
        for shard in disk::names(&self.shards())? {
            for hex in disk::names(&self.shards().join(shard))? {
                let Ok(digest) = format!("sha256:{hex}").parse::<Digest>() else { continue };
                if kept.contains(&digest) {
                    continue;
                }
                let bytes = self.length(&digest)?.unwrap_or(0);
                if disk::remove(&self.content(&digest))? {
                    collected.blobs += 1;
                    collected.bytes += bytes;
                }
            }
        }
        Ok(collected)
    }
}

fn is_new(mark: &std::path::Path, spare: Duration) -> io::Result<bool> {
    let Some(metadata) = disk::metadata(mark)? else { return Ok(false) };
    // Marks are renewed once a minute at most, so they may be that much older than the last request. A mark of the
    // future (the clock was set back) counts as new.
    let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
    Ok(!spare.is_zero() && age < spare.saturating_add(Duration::from_secs(60)))
}
