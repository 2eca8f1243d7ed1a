//! Git: the system's own (2.32 or newer), run as a process with arguments as argv, never through a shell.
//!
//! The user's clone is only read, with one exception: a tag object is written into its object store before it is
//! pushed by id. No local tag, reference, shallow boundary or configuration is ever changed. History that a shallow clone
//! lacks is fetched into a bare repository of our own ([`history`]).

mod branch;
mod difference;
mod error;
mod history;
mod listing;
mod process;
mod publish;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_core::history::CommitId;

pub use difference::ChangedPaths;
pub use error::GitError;
pub use history::History;
pub use listing::{ListedTag, Listing};
pub use publish::{Pushed, Way};

use process::{Call, Output};

use crate::record;

/// A network operation of git may take this long.
const NETWORK: Duration = Duration::from_secs(120);
/// A local one may take this long: a cold disk under load.
const LOCAL: Duration = Duration::from_secs(60);
/// Most bytes that one call may print: a first release reads the messages of the whole history.
const LIMIT: usize = 256 << 20;

/// The user's clone.
#[derive(Debug, Clone)]
pub struct Git {
    /// Where calls are made: the top of the working tree, or the repository itself if it is bare.
    directory: PathBuf,
    objects: PathBuf,
    /// Below this lie the caches.
    cache: PathBuf,
    /// Where the directory that was opened lies below the top, with a final `/`; empty at the top.
    pub prefix: String,
    /// Whether history was cut off when it was cloned.
    pub shallow: bool,
    /// `sha1` or `sha256`.
    format: String,
}

impl Git {
    /// Finds the repository that this directory lies in.
    ///
    /// # Errors
    /// When git is missing, or the directory is in no repository or in one that git does not trust.
    pub async fn open(directory: &Path) -> Result<Self, GitError> {
        let arguments = [
            "rev-parse",
            "--path-format=absolute",
            "--is-shallow-repository",
            "--show-object-format",
            "--git-path",
            "objects",
        ];
        let what = format!("looking for a git repository in {}", directory.display());
        let output = Call::new(directory, what, arguments).run().await?;
        if !output.succeeded() {
            return Err(GitError::no_repository(directory, &output.stderr));
        }
        let lines = output.lines();
        if lines.first().is_some_and(|line| line.starts_with("--")) {
            // An option that git does not know comes back as it is.
            return Err(GitError::TooOld);
        }
        let mut lines = lines.into_iter();
        let shallow = lines.next().as_deref() == Some("true");
        let format = lines.next().unwrap_or_else(|| "sha1".to_owned());
        let objects = PathBuf::from(lines.next().unwrap_or_default());
        let what = "finding the working tree".to_owned();
        let top = Call::new(directory, what, ["rev-parse", "--show-toplevel", "--show-prefix"]).run().await?;
        let mut lines = if top.succeeded() { top.lines().into_iter() } else { Vec::new().into_iter() };
        let directory = lines.next().map_or_else(|| directory.to_owned(), PathBuf::from);
        let prefix = lines.next().unwrap_or_default();
        Ok(Self { directory, objects, cache: record::cache_directory().join("git"), prefix, shallow, format })
    }

    /// The same clone with its caches below another directory.
    #[must_use]
    pub fn with_cache(self, cache: PathBuf) -> Self {
        Self { cache, ..self }
    }

    /// The top of the working tree.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The commit that is checked out.
    ///
    /// # Errors
    /// When there is none yet.
    pub async fn head(&self) -> Result<CommitId, GitError> {
        self.commit("HEAD").await
    }

    /// The commit that a name (a branch, a tag, the beginning of an id) leads to in this clone.
    ///
    /// # Errors
    /// When it leads to none.
    pub async fn commit(&self, name: &str) -> Result<CommitId, GitError> {
        let arguments =
            ["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")];
        let output = self.call(format!("looking up {name}"), arguments).run().await?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().map_err(|_| GitError::NoCommit { name: name.to_owned(), shallow: self.shallow })
    }

    /// The files below `directory` (relative to the top; empty: all) that git tracks, relative to the top.
    ///
    /// # Errors
    /// When git fails.
    pub async fn tracked_files(&self, directory: &Path) -> Result<Vec<PathBuf>, GitError> {
        let what = format!("listing the tracked files in {}", directory.display());
        let mut call = self.call(what, ["--literal-pathspecs", "ls-files", "-z", "--full-name", "--"]);
        if !directory.as_os_str().is_empty() {
            call.arguments.push(directory.into());
        }
        let output = call.run().await?.or_fail()?;
        Ok(paths(&output.stdout).map(PathBuf::from).collect())
    }

    /// Tracked files that differ from the commit that is checked out, relative to the top.
    ///
    /// # Errors
    /// When git fails.
    pub async fn local_changes(&self) -> Result<Vec<PathBuf>, GitError> {
        let what = "looking for changes that are not committed".to_owned();
        let call = self.call(what, ["diff-index", "-z", "--name-only", "HEAD", "--"]);
        // Times of files that were only touched count as changes until the index is refreshed.
        let refresh = ["update-index", "-q", "--refresh"];
        let _ = self.call("refreshing the index".to_owned(), refresh).run().await?;
        let output = call.run().await?.or_fail()?;
        Ok(paths(&output.stdout).map(PathBuf::from).collect())
    }

    /// A file's content as it is in a commit; `None` when the commit has no such
    /// file. In a partial clone git fetches it.
    ///
    /// # Errors
    /// When git fails otherwise, or the commit is not in this clone.
    pub async fn show_file(&self, commit: &CommitId, path: &str) -> Result<Option<Vec<u8>>, GitError> {
        let what = format!("reading {path} as of commit {}", commit.short());
        let list = ["ls-tree", "-z", "--full-tree", commit.as_str(), "--", path];
        let listed = self.call(what.clone(), list).run().await?.or_fail()?;
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        // MODE TYPE ID TAB PATH
        let mut fields = text.split([' ', '\t']).skip(1);
        let (Some("blob"), Some(object)) = (fields.next(), fields.next()) else { return Ok(None) };
        let output = self.call(what, ["cat-file", "blob", object]).run().await?;
        Ok(Some(output.or_fail()?.stdout))
    }

    fn call<A: Into<std::ffi::OsString>>(
        &self,
        what: String,
        arguments: impl IntoIterator<Item = A>,
    ) -> Call {
        Call::new(&self.directory, what, arguments)
    }
}

/// The fields of a `-z` listing. Paths that are no UTF-8 keep a replacement character.
fn paths(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes
        .split(|byte| *byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| String::from_utf8_lossy(path).into_owned())
}
