//! Reserving a number on the remote and pushing the tag, so that of several who want a number one gets it.

use bowline_core::history::CommitId;
use bowline_core::tag::Tag;

use super::error::redact;
use super::process::Output;
use super::{Git, GitError};
use crate::clock;

/// How a number is reserved.
///
/// A tag's suffix takes away git's own lock: two commits can push different tags of one number. So the number itself
/// is pushed as a reference too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `refs/releases/1.2.3` and the tag in one atomic push, with an empty lease: without it a reference that is no tag
    /// would be fast-forwarded, and two would get the number.
    Reference,
    /// For hosts that refuse references of other names: the tag `release/1.2.3` and the tag in one atomic push. As
    /// strong, since git never moves an existing tag; but people see two tags.
    Tag,
    /// For hosts without atomic pushes: the tag `release/1.2.3` first, then the tag. Weaker: who is killed in between
    /// leaves a number that is taken and has no tag, until the same commit is released again.
    TagThenTag,
}

/// How a push ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// The tag is on the remote.
    Done,
    /// Somebody was faster, or the remote was busy: look again.
    Lost,
    /// The host has no atomic pushes; nothing was changed.
    NotAtomic,
    /// The remote refuses it; nothing was changed (but [`Way::TagThenTag`] may leave its reservation).
    Refused {
        /// What it said.
        said: String,
    },
}

impl Git {
    /// Writes the tag object, pushes it and the reservation. No local tag is made.
    ///
    /// # Errors
    /// When the remote cannot be reached, or git fails.
    pub async fn publish(
        &self,
        remote: &str,
        tag: &Tag,
        commit: &CommitId,
        message: &str,
        way: Way,
    ) -> Result<Pushed, GitError> {
        let object = self.write_tag(tag, commit, message).await?;
        let version = tag.version();
        let name = format!("refs/tags/{tag}");
        let tag = format!("{object}:{name}");
        let lease = format!("--force-with-lease=refs/releases/{version}:");
        let lock = format!("{commit}:refs/tags/release/{version}");
        match way {
            Way::Reference => {
                let reservation = format!("{commit}:refs/releases/{version}");
                let result = self.push(remote, &["--atomic", &lease], &[&tag, &reservation]).await?;
                if matches!(result.pushed, Pushed::Refused { .. }) && result.landed.contains(&name) {
                    return self.reserve_late(remote, &name, &object, &lock).await;
                }
                Ok(result.pushed)
            }
            Way::Tag => Ok(self.push(remote, &["--atomic"], &[&tag, &lock]).await?.pushed),
            Way::TagThenTag => match self.push(remote, &[], &[&lock]).await?.pushed {
                Pushed::Done => Ok(self.push(remote, &[], &[&tag]).await?.pushed),
                other => Ok(other),
            },
        }
    }

    /// A host that hides references (`receive.hideRefs`) refuses those and, atomic or not, takes the rest: our tag is
    /// there without its reservation. The number is reserved by a tag now; whoever is second takes the tag back.
    /// That is weaker (a third may see both tags for a moment), but happens once: lock tags that are there already are
    /// reason enough to begin with [`Way::Tag`].
    async fn reserve_late(
        &self,
        remote: &str,
        name: &str,
        object: &CommitId,
        lock: &str,
    ) -> Result<Pushed, GitError> {
        let late = self.push(remote, &[], &[lock]).await?.pushed;
        if late != Pushed::Done {
            let lease = format!("--force-with-lease={name}:{object}");
            self.push(remote, &[&lease], &[&format!(":{name}")]).await?;
        }
        Ok(late)
    }

    /// An annotated tag as an object that no local reference names.
    async fn write_tag(&self, tag: &Tag, commit: &CommitId, message: &str) -> Result<CommitId, GitError> {
        let identity = ["-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT"];
        let output = self.call("reading who tags".into(), identity).run().await?;
        let known = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let tagger = if output.succeeded() && !known.is_empty() {
            known
        } else {
            format!("Bowline <bowline@localhost> {} +0000", clock::now().as_second())
        };
        let text = format!("object {commit}\ntype commit\ntag {tag}\ntagger {tagger}\n\n{message}");
        let output = self.call(format!("writing tag {tag}"), ["mktag"]).input(text).run().await?.or_fail()?;
        let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        id.parse().map_err(|_| GitError::failed(format!("writing tag {tag}"), &id))
    }

    async fn push(&self, remote: &str, options: &[&str], references: &[&str]) -> Result<Answer, GitError> {
        let what = format!("pushing to remote `{remote}`");
        let mirror = format!("remote.{remote}.mirror=false");
        let fixed = [
            "-c",
            "push.followTags=false",
            "-c",
            "push.gpgSign=false",
            "-c",
            "push.recurseSubmodules=no",
            "-c",
            &mirror,
            "push",
            "--porcelain",
            "--no-verify",
        ];
        let to = ["--", remote];
        let arguments = fixed.iter().chain(options).chain(&to).chain(references).copied();
        let call = self.call(what.clone(), arguments.collect::<Vec<&str>>());
        let output = call.envs(&self.ssh().await?).remote().run().await?;
        read_push(output, what, self.shallow)
    }
}

/// What a remote made of a push.
struct Answer {
    pushed: Pushed,
    /// The references that it has now as they were pushed.
    landed: Vec<String>,
}

/// Reads `git push --porcelain`: a flag, a tab, the references, a tab, and why.
fn read_push(output: Output, what: String, shallow: bool) -> Result<Answer, GitError> {
    let lines = output.lines();
    let taken = lines.iter().filter(|line| line.starts_with(['*', '=', ' ', '+', '-']));
    let landed = taken
        .filter_map(|line| line.split('\t').nth(1)?.rsplit_once(':').map(|(_, to)| to.to_owned()))
        .collect();
    let answer = |pushed| Ok(Answer { pushed, landed });
    if output.succeeded() {
        return answer(Pushed::Done);
    }
    if output.stderr.contains("does not support --atomic") {
        return answer(Pushed::NotAtomic);
    }
    let rejected: Vec<&String> = lines.iter().filter(|line| line.starts_with('!')).collect();
    if rejected.is_empty() {
        return Err(GitError::remote(what, &output.stderr, shallow));
    }
    const RACE: [&str; 9] = [
        "stale info",
        "already exists",
        "fetch first",
        "non-fast-forward",
        "cannot lock ref",
        "failed to update ref",
        "incorrect old value",
        "failed to lock",
        "Unable to create",
    ];
    let race = |text: &str| RACE.iter().any(|word| text.contains(word));
    if rejected.iter().any(|line| race(line)) || race(&output.stderr) {
        return answer(Pushed::Lost);
    }
    // Of an atomic push the innocent references are rejected as well; what tells is the other one.
    let told = rejected.iter().find(|line| !line.contains("(atomic")).or(rejected.first());
    let words = told.map(|line| line.split('\t').skip(1).collect::<Vec<_>>().join(" ")).unwrap_or_default();
    let heard: Vec<&str> =
        output.stderr.lines().filter(|line| line.starts_with("remote:")).take(4).map(str::trim).collect();
    let said = if heard.is_empty() { words } else { format!("{words}; {}", heard.join("; ")) };
    answer(Pushed::Refused { said: redact(&said) })
}
