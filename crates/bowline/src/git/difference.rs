//! Which files differ between two commits.

use std::collections::BTreeSet;

use bowline_core::history::CommitId;

use super::history::Cache;
use super::process::Call;
use super::{Git, GitError, paths};

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedPaths {
    /// These paths, relative to the top of the repository, were added, changed or removed.
    Known(BTreeSet<String>),
    /// It cannot be told, so everything counts as changed.
    Unknown {
        /// Why, in plain words.
        reason: String,
    },
}

impl Git {
    /// The paths that differ between two commits. In a shallow or partial clone the folders (not the files) of the
    /// older commit are fetched into the cache, the clone stays as it is.
    ///
    /// # Errors
    /// When git cannot be run. That the remote does not give the older commit is no error but [`ChangedPaths::Unknown`].
    pub async fn changed_paths(
        &self,
        remote: &str,
        previous: &CommitId,
        head: &CommitId,
    ) -> Result<ChangedPaths, GitError> {
        let what = format!("comparing commit {} with {}", previous.short(), head.short());
        let compare =
            ["diff-tree", "-r", "-z", "--name-only", "--no-renames", previous.as_str(), head.as_str()];
        let output = self.call(what.clone(), compare).offline().run().await?;
        if output.succeeded() {
            return Ok(ChangedPaths::Known(paths(&output.stdout).collect()));
        }
        match self.compare_fetched(remote, [previous, head], self.call(what, compare)).await {
            Ok(known) => Ok(ChangedPaths::Known(known)),
            Err(error @ (GitError::Missing | GitError::Start { .. })) => Err(error),
            Err(error) => Ok(ChangedPaths::Unknown { reason: error.to_string() }),
        }
    }

    async fn compare_fetched(
        &self,
        remote: &str,
        commits: [&CommitId; 2],
        compare: Call,
    ) -> Result<BTreeSet<String>, GitError> {
        let cache = Cache::open_kind(self, remote, "folders").await?;
        // By id: hosts give any commit that one of their references reaches. The newer one may be in this clone alone.
        let [previous, head] = commits.map(|commit| (commit.to_string(), commit.clone(), commit.clone()));
        cache.fetch_with(&[previous], &["--filter=blob:none", "--depth=1"]).await?;
        let folders = self.call("looking for the folders".into(), ["rev-parse", "--verify", "--quiet"]);
        let mut folders = folders.offline();
        folders.arguments.push(format!("{}^{{tree}}", head.1).into());
        if !folders.run().await?.succeeded() {
            cache.fetch_with(&[head], &["--filter=blob:none", "--depth=1"]).await?;
        }
        let output = compare.envs(&cache.reading(self)).offline().run().await?.or_fail()?;
        Ok(paths(&output.stdout).collect())
    }
}
