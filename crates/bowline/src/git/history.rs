//! Commits without files: who contains whom, and what was merged since.
//!
//! A full clone that has every release's commit answers itself. Otherwise commits alone (`--filter=tree:0`) are fetched
//! into a bare repository below the cache directory, one for each remote. The clone's own shallow
//! boundary, references and configuration stay as they are, so a clone of depth 1 gives the same answers as a full one.

mod cache;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use bowline_core::decision::Ancestry;
use bowline_core::history::{Commit, CommitId};
use bowline_core::tag::{Claim, TagNote};
use bowline_core::title::excerpt;

use super::process::Call;
use super::{Git, GitError, ListedTag, Listing};

pub(super) use cache::Cache;

/// No more commits than this are read for their titles.
const MOST: usize = 20_000;

/// A place where the history of a commit, and of the releases, is known.
#[derive(Debug)]
pub struct History {
    directory: PathBuf,
    environment: Vec<(OsString, OsString)>,
    head: CommitId,
    /// Where it was found, in plain words.
    pub remark: String,
}

impl History {
    /// Finds the history of `head` and of all claims; fetches what this clone lacks.
    ///
    /// # Errors
    /// When the remote does not give it.
    pub async fn open(
        git: &Git,
        remote: &str,
        listing: &Listing,
        head: &CommitId,
        claims: &[Claim],
    ) -> Result<Self, GitError> {
        let mut wanted: Vec<CommitId> = claims.iter().map(|claim| claim.commit.clone()).collect();
        wanted.push(head.clone());
        let clone = Self {
            directory: git.directory.clone(),
            environment: Vec::new(),
            head: head.clone(),
            remark: "this clone has the whole history".to_owned(),
        };
        if !git.shallow && clone.missing(&wanted).await?.is_empty() {
            return Ok(clone);
        }
        let cache = Cache::open(git, remote).await?;
        let mut references = Vec::new();
        for claim in claims {
            if let Some(object) = listing.references.get(&claim.reference) {
                references.push((claim.reference.clone(), object.clone(), claim.commit.clone()));
            }
        }
        let tip =
            listing.references.iter().find(|(name, object)| *object == head && name.starts_with("refs/"));
        match tip {
            Some((name, object)) => references.push((name.clone(), object.clone(), object.clone())),
            // A cache that cannot be read is made anew by the fetch.
            None if cache
                .missing(std::slice::from_ref(head))
                .await
                .is_ok_and(|missing| missing.is_empty()) => {}
            None => {
                let heads = listing.references.iter().filter(|(name, _)| name.starts_with("refs/heads/"));
                references.extend(heads.map(|(name, object)| (name.clone(), object.clone(), object.clone())));
            }
        }
        cache.fetch(&references).await?;
        let found = Self {
            directory: git.directory.clone(),
            environment: cache.reading(git),
            head: head.clone(),
            remark: format!(
                "{}; commits were fetched from `{}` without files",
                if git.shallow { "this clone is shallow" } else { "this clone lacks some of the releases" },
                excerpt(remote)
            ),
        };
        if found.missing(&wanted).await?.is_empty() {
            return Ok(found);
        }
        let what = format!("reading the history from remote `{remote}`");
        Err(GitError::NoHistory { what, commit: head.to_string() })
    }

    /// How the claims' commits lie to the head.
    ///
    /// # Errors
    /// When the history has holes.
    pub async fn ancestry(&self, claims: &[Claim]) -> Result<Ancestry, GitError> {
        let all: BTreeSet<CommitId> = claims.iter().map(|claim| claim.commit.clone()).collect();
        let unknown = self.no_commits(&all).await?;
        let known: BTreeSet<CommitId> =
            all.difference(&unknown).filter(|commit| **commit != self.head).cloned().collect();
        if known.is_empty() {
            return Ok(Ancestry { unknown, ..Ancestry::default() });
        }
        let tips: String = known.iter().map(|commit| format!("{commit}\n")).collect();
        let input = format!("^{}\n{tips}", self.head);
        let outside = self.commits(["rev-list", "--stdin"], &input).await?;
        let between = self.commits(["rev-list", "--ancestry-path", "--stdin"], &input).await?;
        Ok(Ancestry {
            contained: known.difference(&outside).cloned().collect(),
            containing: known.intersection(&between).cloned().collect(),
            unknown,
        })
    }

    /// The commits that the head contains and no claim does, newest first. The second value tells whether there were
    /// too many to read.
    ///
    /// # Errors
    /// When the history has holes.
    pub async fn range(
        &self,
        claims: &[Claim],
        unknown: &BTreeSet<CommitId>,
    ) -> Result<(Vec<Commit>, bool), GitError> {
        let mut input = format!("{}\n", self.head);
        for claim in
            claims.iter().filter(|claim| claim.commit != self.head && !unknown.contains(&claim.commit))
        {
            input.push_str(&format!("^{}\n", claim.commit));
        }
        let most = format!("--max-count={}", MOST + 1);
        let arguments = [
            "log",
            "--topo-order",
            "--no-color",
            "--no-notes",
            &most,
            "-z",
            "--format=%H%x00%P%x00%an%x00%B",
            "--stdin",
        ];
        let output = self.call("reading what was merged", arguments).input(input).run().await?;
        let text = self.check(output)?;
        let text = String::from_utf8_lossy(&text);
        let mut fields = text.split('\0');
        let mut commits = Vec::new();
        while let (Some(id), Some(parents), Some(author), Some(message)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        {
            let Ok(id) = id.parse() else { continue };
            let parents = parents.split(' ').filter_map(|parent| parent.parse().ok()).collect();
            commits.push(Commit { id, parents, author: author.to_owned(), message: message.to_owned() });
        }
        let cut = commits.len() > MOST;
        commits.truncate(MOST);
        Ok((commits, cut))
    }

    fn call<const N: usize>(&self, what: &str, arguments: [&str; N]) -> Call {
        Call::new(&self.directory, what.to_owned(), arguments).envs(&self.environment).offline()
    }

    async fn missing(&self, commits: &[CommitId]) -> Result<Vec<CommitId>, GitError> {
        let call = self.call("looking which commits are here", ["cat-file", "--batch-check=%(objecttype)"]);
        cache::missing(call, commits).await
    }

    /// Those that are no commits: a tag may point at a file.
    async fn no_commits(&self, objects: &BTreeSet<CommitId>) -> Result<BTreeSet<CommitId>, GitError> {
        let input: String = objects.iter().map(|object| format!("{object}\n")).collect();
        let call = self.call("looking what the tags lead to", ["cat-file", "--batch-check=%(objecttype)"]);
        let output = call.input(input).run().await?.or_fail()?;
        let kinds = output.lines();
        Ok(objects
            .iter()
            .zip(kinds)
            .filter(|(_, kind)| kind != "commit")
            .map(|(object, _)| object.clone())
            .collect())
    }

    async fn commits<const N: usize>(
        &self,
        arguments: [&str; N],
        input: &str,
    ) -> Result<BTreeSet<CommitId>, GitError> {
        let output =
            self.call("comparing the releases with the commit", arguments).input(input).run().await?;
        let text = self.check(output)?;
        Ok(String::from_utf8_lossy(&text).lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// A walk that meets a commit that is nowhere ends with exit code 128.
    fn check(&self, output: super::Output) -> Result<Vec<u8>, GitError> {
        if !output.succeeded()
            && ["bad object", "Failed to traverse", "Could not read", "unable to read"]
                .iter()
                .any(|text| output.stderr.contains(text))
        {
            let what = "walking through the history".to_owned();
            return Err(GitError::NoHistory { what, commit: self.head.to_string() });
        }
        output.or_fail().map(|output| output.stdout)
    }
}

impl Git {
    /// What the message of a release's tag says; `None` for a lightweight tag or one made by others.
    ///
    /// # Errors
    /// When the tag is not in this clone and the remote does not give it.
    pub async fn note(&self, remote: &str, tag: &ListedTag) -> Result<Option<TagNote>, GitError> {
        if tag.object == tag.commit {
            return Ok(None);
        }
        let what = format!("reading tag {}", excerpt(&tag.name));
        let read = ["cat-file", "tag", tag.object.as_str()];
        let mut output = self.call(what.clone(), read).offline().run().await?;
        if !output.succeeded() {
            let cache = Cache::open(self, remote).await?;
            let reference = (format!("refs/tags/{}", tag.name), tag.object.clone(), tag.object.clone());
            cache.fetch(&[reference]).await?;
            output = self.call(what, read).envs(&cache.reading(self)).offline().run().await?.or_fail()?;
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.split_once("\n\n").and_then(|(_, message)| TagNote::parse(message)))
    }
}
