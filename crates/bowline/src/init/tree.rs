//! A listing of a repository, with the contents of the files that tell something.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Attempt, Failure, Outcome};

/// Directories that hold what was built, downloaded, or only looks like what is deployed.
const FOREIGN: [&str; 20] = [
    ".git",
    ".gradle",
    ".idea",
    ".next",
    ".terraform",
    ".venv",
    ".vscode",
    ".yarn",
    "__pycache__",
    "bin",
    "build",
    "coverage",
    "dist",
    "fixtures",
    "node_modules",
    "out",
    "target",
    "testdata",
    "vendor",
    "venv",
];

/// A file that is larger than this is not read (512 KiB).
const LARGEST: u64 = 512 << 10;

/// More files than this are not listed: the rest of a very large repository is left out.
const MOST: usize = 200_000;

/// How deep directories are looked into.
const DEEPEST: usize = 12;

/// The files of a repository by their path, `/` between the parts, and the text of those that tell something.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The directory's own name.
    pub name: String,
    files: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// A tree from paths and contents, for tests.
    pub fn of<'t>(name: &str, files: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let files = files.into_iter().map(|(path, text)| (path.to_owned(), Some(text.to_owned()))).collect();
        Self { name: name.into(), files }
    }

    /// Lists a directory, without symbolic links and without what was built or downloaded, and reads build files,
    /// Dockerfiles, compose files, manifests and the applications' own configuration.
    ///
    /// # Errors
    /// Kind `Invalid`: the directory cannot be read.
    pub fn read(directory: &Path) -> Outcome<Self> {
        let whole = directory.canonicalize().map_err(|error| {
            Failure::invalid(format!("looking at {}", directory.display())).because(&error)
        })?;
        let name = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut tree = Self { name, files: BTreeMap::new() };
        tree.list(&whole, "", 0)?;
        Ok(tree)
    }

    fn list(&mut self, directory: &Path, prefix: &str, depth: usize) -> Outcome<()> {
        let entries = std::fs::read_dir(directory).attempt(|| format!("listing {}", directory.display()))?;
        for entry in entries.flatten() {
            let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else { continue };
            let path = format!("{prefix}{name}");
            if kind.is_dir() && depth < DEEPEST && !FOREIGN.contains(&name.as_str()) {
                // A directory that may not be read tells nothing; the others still do.
                let _ = self.list(&entry.path(), &format!("{path}/"), depth + 1);
            } else if kind.is_file() && self.files.len() < MOST {
                let wanted = tells(&name) && entry.metadata().is_ok_and(|file| file.len() <= LARGEST);
                let text = wanted.then(|| std::fs::read_to_string(entry.path()).ok()).flatten();
                self.files.insert(path, text);
            }
        }
        Ok(())
    }

    /// The text of a file, where it was read.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Whether there is such a file.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// All paths, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The files that were read, in order.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// The first of these files that is there.
    pub fn first<'p>(&self, paths: impl IntoIterator<Item = &'p str>) -> Option<&'p str> {
        paths.into_iter().find(|path| self.has(path))
    }
}

/// Whether a file of this name says something about how the repository is built or deployed.
fn tells(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let ending = lower.rsplit_once('.').map_or("", |(_, ending)| ending);
    matches!(lower.as_str(), "pom.xml" | "package.json" | "cargo.toml" | ".env" | "application.properties")
        || matches!(ending, "yaml" | "yml" | "gradle" | "kts" | "dockerfile")
        || lower.starts_with("dockerfile")
}
