//! `COPY` and `ADD`: which entries a layer gets, as BuildKit's file operations (solver/llbsolver/file, fsutil/copy)
//! decide it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::context::{Context, ContextError, Found};
use crate::layer::{Entry, EntryKind, Source};
use crate::pattern::clean;
use crate::tree::{Loop, Node, NodeKind, Tree};

/// A `COPY` with every variable replaced.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Paths or patterns in the context.
    pub sources: Vec<String>,
    /// Where they go: absolute, with a slash at the end where it must be a directory.
    pub destination: String,
    /// Owner and group of everything that is made.
    pub owner: (u32, u32),
    /// `--chmod`, in place of the normalised modes.
    pub mode: Option<u32>,
    /// Whether archives would be unpacked.
    pub add: bool,
}

/// Why a `COPY` was not carried out.
#[derive(Debug)]
pub enum Obstacle {
    /// It is for the engine, because of this.
    Engine(String),
    /// It cannot be done at all.
    Context(ContextError),
}

impl From<ContextError> for Obstacle {
    fn from(error: ContextError) -> Self {
        Self::Context(error)
    }
}

impl From<Loop> for Obstacle {
    fn from(error: Loop) -> Self {
        Self::Engine(error.to_string())
    }
}

/// A layer in the making, over the image's tree so far.
struct Draft<'a> {
    tree: &'a mut Tree,
    entries: BTreeMap<String, Entry>,
    owner: (u32, u32),
    mode: Option<u32>,
}

/// The entries of the layer that a `COPY` makes; the tree is brought up to date.
pub fn plan(context: &Context, tree: &mut Tree, copy: &Resolved) -> Result<Vec<Entry>, Obstacle> {
    let mut draft = Draft { tree, entries: BTreeMap::new(), owner: copy.owner, mode: copy.mode };
    let parent = copy.destination.rsplit_once('/').map_or("", |(parent, _)| parent);
    let parent = draft.tree.resolve(parent)?;
    draft.make_directories(&parent)?;
    let target = draft.tree.resolve(&clean(&copy.destination))?;
    let mut count = 0;
    for source in &copy.sources {
        // Sources cannot leave the context: `..` at its root is the root.
        let rooted = clean(&format!("/{source}"));
        let matches = context.matches(rooted.trim_start_matches('/'))?;
        if matches.is_empty() {
            return Err(Obstacle::Engine(format!("nothing matches `{source}`")));
        }
        for path in matches {
            count += 1;
            let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name);
            draft.copy(context, &context.find(&path)?, name, &target, copy.add)?;
        }
    }
    let directory = draft.tree.get(&target).is_some_and(|node| node.kind == NodeKind::Directory);
    if count > 1 && !directory {
        return Err(Obstacle::Engine("several sources, and the destination is no directory".into()));
    }
    Ok(draft.entries.into_values().collect())
}

/// The entries of the layer that makes a directory, with its parents; none where it exists.
pub fn plan_directory(tree: &mut Tree, path: &str, owner: (u32, u32)) -> Result<Vec<Entry>, Obstacle> {
    let path = tree.resolve(path)?;
    if tree.get(&path).is_some_and(|node| node.kind == NodeKind::Directory) {
        return Ok(Vec::new());
    }
    let mut draft = Draft { tree, entries: BTreeMap::new(), owner, mode: None };
    draft.make_directories(&path)?;
    Ok(draft.entries.into_values().collect())
}

impl Draft<'_> {
    fn copy(
        &mut self,
        context: &Context,
        found: &Found,
        name: &str,
        target: &str,
        add: bool,
    ) -> Result<(), Obstacle> {
        let exists = self.tree.get(target).map(|node| node.kind == NodeKind::Directory);
        if found.meta.is_dir() {
            if self.mode.is_some() {
                return Err(Obstacle::Engine("--chmod on a directory".into()));
            }
            self.make_directories(target)?;
            for one in context.walk(&found.path)? {
                let below = one.path.strip_prefix(&found.path).unwrap_or(&one.path).trim_start_matches('/');
                self.place(&one, &join(target, below))?;
            }
            return Ok(());
        }
        if add && is_archive(&found.file)? {
            return Err(Obstacle::Engine(format!("ADD of the archive `{}`", found.path)));
        }
        let target = if exists == Some(true) { join(target, name) } else { target.to_owned() };
        self.place(found, &target)
    }

    /// Puts one thing of the context at a path, of which the parent exists.
    fn place(&mut self, found: &Found, path: &str) -> Result<(), Obstacle> {
        let here = self.tree.get(path);
        if found.meta.is_dir() {
            let mode = without_umask(found.meta.mode());
            return match here {
                None => {
                    self.add(path, EntryKind::Directory, NodeKind::Directory, mode);
                    Ok(())
                }
                Some(node) if node.kind != NodeKind::Directory => Err(Obstacle::Engine(format!(
                    "`{}` is a directory, and /{path} in the image is not",
                    found.path
                ))),
                // Engines disagree about what becomes of the directory that is there.
                Some(node) if node.mode != mode || (node.uid, node.gid) != self.owner => {
                    Err(Obstacle::Engine(format!("/{path} in the image has another mode or owner")))
                }
                Some(_) => {
                    self.keep(path);
                    Ok(())
                }
            };
        }
        if here.is_some_and(|node| node.kind == NodeKind::Directory) {
            return Err(Obstacle::Engine(format!(
                "/{path} in the image is a directory, `{}` is not",
                found.path
            )));
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        if name.starts_with(".wh.") {
            return Err(Obstacle::Engine(format!("the name `{name}` has a meaning of its own in layers")));
        }
        if found.meta.is_symlink() {
            let target = std::fs::read_link(&found.file)
                .map_err(|source| ContextError::Read { path: found.file.clone(), source })?;
            let target =
                target.to_str().ok_or_else(|| ContextError::Name { path: found.file.clone() })?.to_owned();
            self.add(path, EntryKind::Symlink(target.clone()), NodeKind::Symlink(target), 0o777);
            return Ok(());
        }
        if !found.meta.is_file() || found.meta.mode() & 0o7000 != 0 {
            return Err(Obstacle::Engine(format!("`{}` is no ordinary file", found.path)));
        }
        let mode = without_umask(found.meta.mode());
        let source = Source::new(&found.file, &found.meta);
        self.add(path, EntryKind::File(source), NodeKind::File, self.mode.unwrap_or(mode));
        Ok(())
    }

    /// Makes a directory and its parents where they are missing; what exists keeps its mode and owner.
    fn make_directories(&mut self, path: &str) -> Result<(), Obstacle> {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for part in ends.filter_map(|end| path.get(..end)).filter(|part| !part.is_empty()) {
            match self.tree.get(part).map(|node| &node.kind) {
                None => self.add(part, EntryKind::Directory, NodeKind::Directory, 0o755),
                Some(NodeKind::Directory) => self.keep(part),
                Some(_) => return Err(Obstacle::Engine(format!("/{part} in the image is no directory"))),
            }
        }
        Ok(())
    }

    /// Emits a directory of the image as it is: some engines give a missing parent a mode of their own.
    fn keep(&mut self, path: &str) {
        if let Some(Node { mode, uid, gid, .. }) = self.tree.get(path).cloned() {
            let kind = EntryKind::Directory;
            self.entries.entry(path.into()).or_insert_with(|| Entry {
                path: path.into(),
                kind,
                mode,
                uid,
                gid,
            });
        }
    }

    fn add(&mut self, path: &str, kind: EntryKind, node: NodeKind, mode: u32) {
        let (uid, gid) = self.owner;
        self.tree.put(path, Node { kind: node, mode, uid, gid });
        self.entries.insert(path.into(), Entry { path: path.into(), kind, mode, uid, gid });
    }
}

fn join(directory: &str, name: &str) -> String {
    match (directory.is_empty(), name.is_empty()) {
        (true, _) => name.into(),
        (_, true) => directory.into(),
        _ => format!("{directory}/{name}"),
    }
}

/// Whether `ADD` would unpack this file: it looks inside, whatever the name.
fn is_archive(path: &Path) -> Result<bool, ContextError> {
    let mut head = Vec::with_capacity(512);
    File::open(path)
        .and_then(|file| file.take(512).read_to_end(&mut head))
        .map_err(|source| ContextError::Read { path: path.to_owned(), source })?;
    const COMPRESSED: [&[u8]; 4] =
        [&[0x1f, 0x8b, 0x08], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z', 0], &[0x28, 0xb5, 0x2f, 0xfd]];
    if COMPRESSED.iter().any(|magic| head.starts_with(magic)) {
        return Ok(true);
    }
    // Old archives have no magic, but every header has a checksum, taken with its own field as spaces.
    let field = head.get(148..156).unwrap_or_default();
    let stated = std::str::from_utf8(field).unwrap_or_default();
    let stated = u32::from_str_radix(stated.trim_matches(['\0', ' ']), 8).ok();
    let sum: u32 = head
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    Ok(head.len() == 512 && stated == Some(sum))
}

/// The mode that a checkout has with the usual umask. Which of the writable-by-group variants a file has depends on the
/// umask of whoever checked it out or built it, and must not change an image; any other mode is somebody's decision, and
/// stays as the engine would keep it.
fn without_umask(mode: u32) -> u32 {
    match mode & 0o777 {
        0o644 | 0o664 | 0o666 => 0o644,
        0o755 | 0o775 | 0o777 => 0o755,
        decided => decided,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn directory(mode: u32, owner: u32) -> Node {
        Node { kind: NodeKind::Directory, mode, uid: owner, gid: owner }
    }

    /// A context with a few files, and an image with merged /usr.
    fn scene() -> (tempfile::TempDir, Context, Tree) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("context");
        for path in ["app.jar", "lib/a.so", "lib/deep/b.so", "tmp/x", "secret"] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        fs::write(root.join(".dockerignore"), "secret").unwrap();
        fs::write(home.path().join("outside"), "x").unwrap();
        for (target, name) in
            [("../outside", "out"), ("lib/a.so", "inside"), ("secret", "sneaky"), ("gone", "gone2")]
        {
            std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        }
        let context = Context::open(&root, &root.join("Dockerfile")).unwrap();
        let mut tree = Tree::default();
        tree.put("usr", directory(0o755, 0));
        tree.put("usr/lib", directory(0o755, 0));
        tree.put("lib", Node { kind: NodeKind::Symlink("usr/lib".into()), mode: 0o777, uid: 0, gid: 0 });
        tree.put("tmp", directory(0o1777, 0));
        tree.put("home", directory(0o700, 5));
        (home, context, tree)
    }

    fn lines(sources: &[&str], destination: &str) -> Result<Vec<String>, String> {
        let (_home, context, mut tree) = scene();
        let sources = sources.iter().map(|source| (*source).to_owned()).collect();
        let copy =
            Resolved { sources, destination: destination.into(), owner: (0, 0), mode: None, add: false };
        match plan(&context, &mut tree, &copy) {
            Ok(entries) => {
                Ok(entries.iter().map(|one| format!("{} {:o} {}", one.path, one.mode, one.uid)).collect())
            }
            Err(Obstacle::Engine(reason)) => Err(reason),
            Err(Obstacle::Context(error)) => Err(error.to_string()),
        }
    }

    #[test]
    fn destinations_go_through_the_images_links_and_parents_stay_as_they_are() {
        for (source, destination, expected) in [
            ("app.jar", "/lib/", "usr 755 0|usr/lib 755 0|usr/lib/app.jar 644 0"),
            ("app.jar", "/lib/x.jar", "usr 755 0|usr/lib 755 0|usr/lib/x.jar 644 0"),
            ("app.jar", "/lib", "usr/lib/app.jar 644 0"),
            ("app.jar", "/tmp/", "tmp 1777 0|tmp/app.jar 644 0"),
            ("app.jar", "/home/new/", "home 700 5|home/new 755 0|home/new/app.jar 644 0"),
            ("lib", "/opt", "opt 755 0|opt/a.so 644 0|opt/deep 755 0|opt/deep/b.so 644 0"),
            ("inside", "/x", "x 644 0"),
            ("../../app.jar", "/x", "x 644 0"),
        ] {
            assert_eq!(lines(&[source], destination).unwrap().join("|"), expected, "{source} {destination}");
        }
    }

    #[test]
    fn nothing_outside_the_context_is_reached() {
        for (source, reason) in [
            ("out", "`out` is not in the build context"),
            ("../outside", "is not in the build context"),
            ("secret", ".dockerignore leaves it out"),
            ("sneaky", ".dockerignore leaves it out"),
            ("gone2", "is not in the build context"),
            ("missing", "is not in the build context"),
        ] {
            let error = lines(&[source], "/x").unwrap_err();
            assert!(error.contains(reason), "{source}: {error}");
        }
    }

    #[test]
    fn what_engines_disagree_about_is_theirs() {
        for (sources, destination, reason) in [
            (vec!["."], "/", "/lib in the image is not"),
            (vec!["nothing*"], "/x", "nothing matches"),
            (vec!["app.jar", "inside"], "/x", "several sources"),
        ] {
            let error = lines(&sources, destination).unwrap_err();
            assert!(error.contains(reason), "{sources:?}: {error}");
        }
    }
}
