//! The build context: a directory, without what `.dockerignore` leaves out. Nothing outside it can be reached.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::ignore::{Ignore, IgnoreError};
use crate::link::follow;
use crate::pattern::{Pattern, is_pattern};

/// A build context.
#[derive(Debug, Clone)]
pub struct Context {
    root: PathBuf,
    ignore: Ignore,
}

/// Something in the context.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its path relative to the context, with slashes; empty for the context itself.
    pub path: String,
    /// Where it is.
    pub file: PathBuf,
    /// What it is, links not followed.
    pub meta: fs::Metadata,
}

/// Why something in the context could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// There is no such file, or it is ignored.
    #[error("`{path}` is not in the build context {}{}", root.display(), if *.ignored { ": .dockerignore leaves it out" } else { "" })]
    Missing {
        /// The path in the context.
        path: String,
        /// The context.
        root: PathBuf,
        /// Whether an ignore file is the reason.
        ignored: bool,
    },
    /// The file system said no.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A name that no archive can hold portably.
    #[error("the name {path:?} is not UTF-8")]
    Name {
        /// The file.
        path: PathBuf,
    },
}

impl Context {
    /// The context in this directory, with the ignore file that holds for this Dockerfile.
    pub fn open(root: &Path, dockerfile: &Path) -> Result<Self, IgnoreError> {
        Ok(Self { root: root.to_owned(), ignore: Ignore::read(root, dockerfile)? })
    }

    /// Finds a path; every symbolic link on the way is followed, inside the context.
    pub fn find(&self, path: &str) -> Result<Found, ContextError> {
        let missing = |ignored| ContextError::Missing { path: path.into(), root: self.root.clone(), ignored };
        let found = follow(path, |here| {
            let file = self.root.join(here);
            let meta = fs::symlink_metadata(&file).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => missing(false),
                _ => ContextError::Read { path: file.clone(), source },
            })?;
            if !meta.is_symlink() {
                return Ok(None);
            }
            if self.ignore.excludes(here) {
                return Err(missing(true));
            }
            let target = fs::read_link(&file).map_err(|source| ContextError::Read { path: file, source })?;
            target.to_str().map(|target| Some(target.to_owned())).ok_or_else(|| missing(false))
        })?;
        let path = found.ok_or_else(|| missing(false))?;
        let file = self.root.join(&path);
        let meta = fs::symlink_metadata(&file).map_err(|_| missing(false))?;
        let hidden = !path.is_empty() && self.ignore.excludes(&path);
        if hidden && !(meta.is_dir() && self.ignore.may_include_below() && !self.walk(&path)?.is_empty()) {
            return Err(missing(true));
        }
        Ok(Found { path, file, meta })
    }

    /// The paths that a `COPY` source names: itself, or what a pattern matches, sorted.
    pub fn matches(&self, source: &str) -> Result<Vec<String>, ContextError> {
        if !is_pattern(source) {
            return Ok(vec![source.to_owned()]);
        }
        let Ok(pattern) = Pattern::source(source) else { return Ok(Vec::new()) };
        let parts = source.split('/').count();
        let literal: Vec<&str> = source.split('/').take_while(|part| !is_pattern(part)).collect();
        let start = literal.join("/");
        let mut found = Vec::new();
        self.search(&start, literal.len(), parts, &pattern, &mut found)?;
        found.sort();
        Ok(found)
    }

    /// Collects matches: a pattern has as many parts as the paths it matches.
    fn search(
        &self,
        at: &str,
        depth: usize,
        parts: usize,
        pattern: &Pattern,
        found: &mut Vec<String>,
    ) -> Result<(), ContextError> {
        for (path, meta) in self.children(at)? {
            if depth + 1 == parts {
                if pattern.matches(&path) && self.find(&path).is_ok() {
                    found.push(path);
                }
            } else if meta.is_dir() {
                self.search(&path, depth + 1, parts, pattern, found)?;
            }
        }
        Ok(())
    }

    /// What is in a directory of the context, sorted, ignored or not. Nothing, where there is no such directory.
    fn children(&self, at: &str) -> Result<Vec<(String, fs::Metadata)>, ContextError> {
        let directory = self.root.join(at);
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| ContextError::Read { path, source }
        };
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            Err(source) => return Err(read(&directory)(source)),
        };
        let mut children = Vec::new();
        for entry in entries {
            let entry = entry.map_err(read(&directory))?;
            let meta = entry.metadata().map_err(read(&entry.path()))?;
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| ContextError::Name { path: entry.path() })?;
            children.push((if at.is_empty() { name.to_owned() } else { format!("{at}/{name}") }, meta));
        }
        children.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(children)
    }

    /// Everything below a directory that is not ignored, parents first. A directory that is ignored itself is
    /// there if something below it is not.
    pub fn walk(&self, at: &str) -> Result<Vec<Found>, ContextError> {
        let mut found = Vec::new();
        for (path, meta) in self.children(at)? {
            let excluded = self.ignore.excludes(&path);
            if excluded && !(meta.is_dir() && self.ignore.may_include_below()) {
                continue;
            }
            let below = if meta.is_dir() { self.walk(&path)? } else { Vec::new() };
            if excluded && below.is_empty() {
                continue;
            }
            let file = self.root.join(&path);
            found.push(Found { path, file, meta });
            found.extend(below);
        }
        Ok(found)
    }
}
