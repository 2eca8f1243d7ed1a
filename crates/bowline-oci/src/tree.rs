//! What is where in an image: enough of its file system to copy into it as the engine would.
//!
//! On images with merged `/usr`, `/lib` is a symbolic link, and a layer with a directory `lib/` would replace it
//! and everything below. So destinations are resolved in the image's own tree, which is read from its layers once
//! and remembered by their digests.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read;

use bowline_core::digest::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::link::follow;
use crate::store::{Store, StoreError};

/// More entries than any image has; an archive with more is not one to trust.
const ENTRIES: usize = 5_000_000;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A file, or anything else that is neither directory nor link.
    File,
    /// A symbolic link to this target, as written.
    Symlink(String),
}

/// One change that a layer makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// This is there now.
    Put(String, Node),
    /// This is gone, with everything below it (`.wh.name`).
    Remove(String),
    /// What lower layers have below this is gone (`.wh..wh..opq`).
    Clear(String),
}

/// An image's file system: paths without leading slash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

/// Why an image's file system could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The layer is not in the store.
    #[error("could not open a layer of the base image")]
    Store(#[source] StoreError),
    /// The layer's archive is damaged, or no archive.
    #[error("could not read layer {digest} of the base image")]
    Archive {
        /// The layer.
        digest: Digest,
        /// What is wrong.
        #[source]
        source: std::io::Error,
    },
}

/// A chain of symbolic links that does not end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is a loop of symbolic links")]
pub struct Loop(pub String);

impl Tree {
    /// What is at this path, links not followed. The root is always a directory.
    pub fn get(&self, path: &str) -> Option<&Node> {
        const ROOT: &Node = &Node { kind: NodeKind::Directory, mode: 0o755, uid: 0, gid: 0 };
        if path.is_empty() { Some(ROOT) } else { self.nodes.get(path) }
    }

    /// Puts something at this path.
    pub fn put(&mut self, path: &str, node: Node) {
        self.nodes.insert(path.to_owned(), node);
    }

    /// Removes what is below this path.
    fn clear(&mut self, path: &str) {
        let prefix = format!("{path}/");
        let below = self.nodes.range(prefix.clone()..).take_while(|(other, _)| other.starts_with(&prefix));
        let below: Vec<String> = below.map(|(other, _)| other.clone()).collect();
        for other in below {
            self.nodes.remove(&other);
        }
    }

    /// Lays a layer over it. What the layer removes is removed from below it, whatever the order in the archive.
    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Remove(path) => {
                    self.nodes.remove(path);
                    self.clear(path);
                }
                Change::Clear(path) => self.clear(path),
                Change::Put(..) => {}
            }
        }
        for change in changes {
            if let Change::Put(path, node) = change {
                if node.kind != NodeKind::Directory {
                    self.clear(path);
                }
                self.put(path, node.clone());
            }
        }
    }

    /// Follows every symbolic link in a path, inside the image. What does not exist stays as it is written.
    pub fn resolve(&self, path: &str) -> Result<String, Loop> {
        let Ok(found) = follow::<Infallible>(path, |here| {
            Ok(match self.get(here) {
                Some(Node { kind: NodeKind::Symlink(target), .. }) => Some(target.clone()),
                _ => None,
            })
        });
        found.ok_or_else(|| Loop(path.to_owned()))
    }
}

/// Reads what a layer changes. `archive` is the uncompressed layer.
pub fn read(archive: impl Read) -> std::io::Result<Vec<Change>> {
    let mut changes = Vec::new();
    for entry in tar::Archive::new(archive).entries()? {
        let entry = entry?;
        let header = entry.header();
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = crate::pattern::clean(&format!("/{path}"));
        let path = path.trim_start_matches('/');
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name == ".wh..wh..opq" {
            changes.push(Change::Clear(parent.to_owned()));
            continue;
        }
        if let Some(gone) = name.strip_prefix(".wh.") {
            let gone = if parent.is_empty() { gone.to_owned() } else { format!("{parent}/{gone}") };
            changes.push(Change::Remove(gone));
            continue;
        }
        let kind = match header.entry_type() {
            tar::EntryType::Directory => NodeKind::Directory,
            tar::EntryType::Symlink => NodeKind::Symlink(
                entry.link_name_bytes().map(|l| String::from_utf8_lossy(&l).into_owned()).unwrap_or_default(),
            ),
            tar::EntryType::XGlobalHeader => continue,
            _ => NodeKind::File,
        };
        if path.is_empty() {
            continue;
        }
        let owner =
            |id: std::io::Result<u64>| id.and_then(|id| u32::try_from(id).map_err(std::io::Error::other));
        let node = Node {
            kind,
            mode: header.mode()? & 0o7777,
            uid: owner(header.uid())?,
            gid: owner(header.gid())?,
        };
        changes.push(Change::Put(path.to_owned(), node));
        if changes.len() > ENTRIES {
            return Err(std::io::Error::other("it has more entries than any image has"));
        }
    }
    Ok(changes)
}

/// What a layer changes, as remembered.
pub(crate) fn recall(store: &Store, diff_id: &Digest) -> Option<Vec<Change>> {
    store.recall("tree", diff_id)
}

/// What a layer of the store changes: remembered, or read now. `digest` is the compressed blob's.
pub fn index(store: &Store, digest: &Digest, diff_id: &Digest) -> Result<Vec<Change>, TreeError> {
    if let Some(changes) = recall(store, diff_id) {
        return Ok(changes);
    }
    let archive = |source| TreeError::Archive { digest: *digest, source };
    let mut file = std::io::BufReader::new(store.open_blob(digest).map_err(TreeError::Store)?);
    let head = std::io::BufRead::fill_buf(&mut file).map_err(archive)?;
    let changes = if head.starts_with(&[0x1f, 0x8b]) {
        read_verified(flate2::bufread::MultiGzDecoder::new(file), diff_id)
    } else {
        read_verified(file, diff_id)
    };
    let changes = changes.map_err(archive)?;
    store.remember("tree", diff_id, &changes);
    Ok(changes)
}

/// As [`read`], of an archive that has this digest. What is remembered under it counts for every image that names it:
/// one that names another's must not decide what is in that.
fn read_verified(archive: impl Read, diff_id: &Digest) -> std::io::Result<Vec<Change>> {
    let mut archive = Hashing { archive, hash: Sha256::new() };
    let changes = read(&mut archive)?;
    // Archives end with blocks that nobody needs to read; they count.
    std::io::copy(&mut archive, &mut std::io::sink())?;
    if Digest::from_bytes(archive.hash.finalize().into()) != *diff_id {
        return Err(std::io::Error::other(format!("it is not {}, as the image says", diff_id.short())));
    }
    Ok(changes)
}

struct Hashing<R> {
    archive: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.archive.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_under_anothers_name_is_refused() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, "a", &b"x"[..]).unwrap();
        let bytes = archive.into_inner().unwrap();
        assert_eq!(read_verified(bytes.as_slice(), &Digest::of(&bytes)).unwrap().len(), 1);
        let error = read_verified(bytes.as_slice(), &Digest::of(b"debian")).unwrap_err();
        assert!(error.to_string().contains("as the image says"), "{error}");
    }

    fn node(kind: NodeKind) -> Node {
        Node { kind, mode: 0o755, uid: 0, gid: 0 }
    }

    fn link(target: &str) -> Node {
        node(NodeKind::Symlink(target.into()))
    }

    #[test]
    fn destinations_follow_the_images_own_links() {
        let mut tree = Tree::default();
        for (path, target) in [
            ("lib", "usr/lib"),
            ("var/run", "/run"),
            ("usr/lib/up", "../../etc"),
            ("out", "../../../etc"),
            ("a", "b"),
            ("b", "a"),
        ] {
            tree.put(path, link(target));
        }
        for (path, expected) in [
            ("lib/x.so", "usr/lib/x.so"),
            ("var/run/app.pid", "run/app.pid"),
            ("lib/up/passwd", "etc/passwd"),
            ("out/passwd", "etc/passwd"),
            ("new/dir", "new/dir"),
            ("", ""),
        ] {
            assert_eq!(tree.resolve(path).as_deref(), Ok(expected), "{path}");
        }
        assert!(tree.resolve("a/x").is_err());
    }

    #[test]
    fn upper_layers_hide_what_they_remove() {
        let put = |path: &str| Change::Put(path.into(), node(NodeKind::Directory));
        let mut tree = Tree::default();
        tree.apply(&[put("a"), put("a/b"), put("a/b/c"), put("a-b"), put("d"), put("d/e")]);
        tree.apply(&[Change::Remove("a/b".into()), put("d/new"), Change::Clear("d".into())]);
        let left: Vec<&str> = tree.nodes.keys().map(String::as_str).collect();
        assert_eq!(left, ["a", "a-b", "d", "d/new"]);
        tree.apply(&[Change::Put("d".into(), link("a"))]);
        assert_eq!(tree.nodes.len(), 3);
    }
}
