//! Which branch is merged into.

use super::{Git, GitError};

impl Git {
    /// The branch that the remote calls its default, as far as the clone was told; else the one that is checked out.
    /// `None`: neither is known (a detached head, as in CI). Asks nobody.
    ///
    /// # Errors
    /// When git fails to start.
    pub async fn default_branch(&self, remote: &str) -> Result<Option<String>, GitError> {
        let reference = format!("refs/remotes/{remote}/HEAD");
        let head = ["symbolic-ref", "--quiet", &reference];
        let told = self.call("looking for the default branch".to_owned(), head).run().await?;
        let prefix = format!("refs/remotes/{remote}/");
        if let Some(branch) = told.lines().first().and_then(|line| line.strip_prefix(&prefix)) {
            return Ok(Some(branch.to_owned()));
        }
        let current = ["symbolic-ref", "--quiet", "HEAD"];
        let current = self.call("looking for the current branch".to_owned(), current).run().await?;
        Ok(current.lines().first().and_then(|line| line.strip_prefix("refs/heads/")).map(str::to_owned))
    }
}
