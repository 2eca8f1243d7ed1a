//! What a remote has: its tags, reserved numbers and tips, in one answer.

use std::collections::BTreeMap;

use bowline_core::history::CommitId;
use bowline_core::tag::{RemoteTag, Reservation};

use super::{Git, GitError};

/// A tag of the remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTag {
    /// Its name without `refs/tags/`.
    pub name: String,
    /// What the reference holds: a tag object, or the commit itself.
    pub object: CommitId,
    /// What it leads to in the end.
    pub commit: CommitId,
}

/// One listing of a remote's references.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its tags, without those that only reserve a number.
    pub tags: Vec<ListedTag>,
    /// The numbers that are reserved.
    pub reservations: Vec<Reservation>,
    /// Every reference with what it holds, by name.
    pub references: BTreeMap<String, CommitId>,
}

impl Listing {
    /// The tags as the decision wants them.
    pub fn remote_tags(&self) -> Vec<RemoteTag> {
        self.tags.iter().map(|tag| RemoteTag { name: tag.name.clone(), commit: tag.commit.clone() }).collect()
    }

    /// Reads what `git ls-remote` prints: an id, a tab, a reference; `REF^{}` is what a tag object leads to.
    pub(super) fn parse(text: &str) -> Self {
        let mut references = BTreeMap::new();
        let mut peeled = BTreeMap::new();
        for (id, name) in text.lines().filter_map(|line| line.split_once('\t')) {
            let Ok(id) = id.parse::<CommitId>() else { continue };
            match name.strip_suffix("^{}") {
                Some(name) => peeled.insert(name.to_owned(), id),
                None => references.insert(name.to_owned(), id),
            };
        }
        let mut listing = Self::default();
        for (reference, object) in &references {
            let commit = peeled.get(reference).unwrap_or(object).clone();
            let number = ["refs/releases/", "refs/tags/release/"]
                .iter()
                .find_map(|start| reference.strip_prefix(start));
            if let Some(version) = number.and_then(|number| number.parse().ok()) {
                listing.reservations.push(Reservation { version, commit, reference: reference.clone() });
            } else if let Some(name) = reference.strip_prefix("refs/tags/") {
                listing.tags.push(ListedTag { name: name.to_owned(), object: object.clone(), commit });
            }
        }
        listing.references = references;
        listing
    }
}

impl Git {
    /// Asks the remote for all its references: complete whatever the depth of this clone.
    ///
    /// # Errors
    /// When the remote is not known or does not answer.
    pub async fn list(&self, remote: &str) -> Result<Listing, GitError> {
        self.address(remote).await?;
        let what = format!("listing the tags of remote `{remote}`");
        let call = self.call(what.clone(), ["ls-remote", "--quiet", "--", remote]);
        let output = call.envs(&self.ssh().await?).remote().run().await?;
        if !output.succeeded() {
            return Err(GitError::remote(what, &output.stderr, self.shallow));
        }
        Ok(Listing::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    /// The configured address of a remote; an address given in place of a name is taken as it is.
    pub(super) async fn address(&self, remote: &str) -> Result<String, GitError> {
        let key = format!("remote.{remote}.url");
        let output = self.call(format!("reading {key}"), ["config", "--get", &key]).run().await?;
        let text = String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned();
        if output.succeeded() && !text.is_empty() {
            return Ok(text);
        }
        if !remote.starts_with('-') && (remote.contains(':') || remote.contains('/')) {
            return Ok(remote.to_owned());
        }
        let others = self.call("listing the remotes".into(), ["remote"]).run().await?.lines();
        Err(GitError::NoRemote { name: remote.to_owned(), others })
    }

    /// Makes ssh fail rather than ask, unless the user chose how ssh is run.
    pub(super) async fn ssh(&self) -> Result<Vec<(std::ffi::OsString, std::ffi::OsString)>, GitError> {
        let chosen = ["GIT_SSH_COMMAND", "GIT_SSH"].iter().any(|key| std::env::var_os(key).is_some());
        let configured = self
            .call("reading core.sshCommand".into(), ["config", "--get", "core.sshCommand"])
            .run()
            .await?
            .succeeded();
        if chosen || configured {
            return Ok(Vec::new());
        }
        Ok(vec![("GIT_SSH_COMMAND".into(), "ssh -o BatchMode=yes -o ConnectTimeout=15".into())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_tells_tags_reservations_and_tips_apart() {
        let (a, b, c) = ("a".repeat(40), "b".repeat(40), "c".repeat(40));
        let text = format!(
            "{a}\tHEAD\n{a}\trefs/heads/main\n{b}\trefs/tags/v1.0.0\n{a}\trefs/tags/v1.0.0^{{}}\n{a}\trefs/tags/light\n\
             {c}\trefs/tags/release/1.0.1\n{a}\trefs/releases/1.0.0\n{a}\trefs/tags/release/notes\nnonsense\n"
        );
        let listing = Listing::parse(&text);
        let names: Vec<&str> = listing.tags.iter().map(|tag| tag.name.as_str()).collect();
        assert_eq!(names, ["light", "release/notes", "v1.0.0"]);
        assert_eq!(
            (listing.tags[2].object.as_str(), listing.tags[2].commit.as_str()),
            (b.as_str(), a.as_str())
        );
        assert_eq!(listing.reservations.len(), 2);
        assert_eq!(listing.references.len(), 7);
    }
}
