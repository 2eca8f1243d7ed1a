//! Commits, and the merged changes they carry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::title::{self, Merge};

/// The full id of a commit: 40 lower-case hex digits (SHA-1) or 64 (SHA-256).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

/// Why a text is no commit id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a full commit id of 40 or 64 hex digits")]
pub struct InvalidCommitId(String);

impl CommitId {
    /// The id as git prints it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first seven digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..7).unwrap_or(&self.0)
    }
}

impl FromStr for CommitId {
    type Err = InvalidCommitId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hex && matches!(text.len(), 40 | 64) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidCommitId(text.chars().take(100).collect()))
        }
    }
}

impl TryFrom<String> for CommitId {
    type Error = InvalidCommitId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CommitId> for String {
    fn from(commit: CommitId) -> Self {
        commit.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One commit as `git log` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: CommitId,
    /// Its parents; the first is the branch that was merged into.
    pub parents: Vec<CommitId>,
    /// The author's name.
    pub author: String,
    /// The whole message.
    pub message: String,
}

/// Where a title comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TitleSource {
    /// `--pr-title`.
    Flag,
    /// The file that GitHub describes the event in.
    Event,
    /// GitHub's API.
    Api,
    /// The message of a pull request's merge commit.
    Merge,
    /// The message of a squashed pull request.
    Squash,
    /// The message of any other commit.
    Commit,
}

impl fmt::Display for TitleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "--pr-title",
            Self::Event => "GitHub event file",
            Self::Api => "GitHub API",
            Self::Merge => "merge commit",
            Self::Squash => "squash commit",
            Self::Commit => "commit message",
        })
    }
}

/// Something that was merged: a pull request, or a commit that came without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The commit that brought it.
    pub commit: CommitId,
    /// The pull request's number, where there is one.
    pub number: Option<u64>,
    /// Its title as it was read: written by strangers.
    pub title: String,
    /// Where the title was read.
    pub source: TitleSource,
    /// Whether a bot made it.
    #[serde(default)]
    pub bot: bool,
}

/// The commits whose titles count, newest first as given: those that `head` reaches within `range`, but of a
/// merged pull request only the merge, because its own commits speak through its title. Commits behind any other
/// merge are all looked at, so that a token is not lost when somebody merges by hand (or `git pull` puts the
/// branch that was merged into second).
pub fn walk<'a>(range: &'a [Commit], head: &CommitId) -> Vec<&'a Commit> {
    let by_id: BTreeMap<&CommitId, &Commit> = range.iter().map(|commit| (&commit.id, commit)).collect();
    let mut seen = BTreeSet::new();
    let mut next = vec![head];
    while let Some(commit) = next.pop().and_then(|id| by_id.get(id)) {
        if seen.insert(&commit.id) {
            let parents = match title::parse_message(&commit.message, commit.parents.len()).merge {
                Merge::Request => 1,
                Merge::Squash | Merge::None => commit.parents.len(),
            };
            next.extend(commit.parents.iter().take(parents).filter(|id| by_id.contains_key(id)));
        }
    }
    range.iter().filter(|commit| seen.contains(&commit.id)).collect()
}

/// The change that a commit's message tells of.
pub fn read_change(commit: &Commit) -> Change {
    let message = title::parse_message(&commit.message, commit.parents.len());
    let source = match message.merge {
        Merge::Request => TitleSource::Merge,
        Merge::Squash => TitleSource::Squash,
        Merge::None => TitleSource::Commit,
    };
    Change {
        commit: commit.id.clone(),
        number: message.number,
        title: message.title.to_owned(),
        source,
        bot: message.bot_branch || (commit.parents.len() < 2 && title::is_bot(&commit.author)),
    }
}

/// The changes of these commits: what better sources know (`known`, by commit; an empty list: nothing) takes the place
/// of what the message says, and a pull request is named once however many commits it left. A merge made by hand
/// without a token in its subject is left out, because what it merged is looked at itself, unless there is nothing else.
pub fn fold_changes(walked: &[&Commit], known: &BTreeMap<CommitId, Vec<Change>>) -> Vec<Change> {
    let mut numbers = BTreeSet::new();
    let mut changes = Vec::new();
    for commit in walked {
        let better = known.get(&commit.id).filter(|list| !list.is_empty());
        let found = better.cloned().unwrap_or_else(|| {
            let change = read_change(commit);
            let by_hand = commit.parents.len() > 1 && change.source == TitleSource::Commit;
            let silent = title::parse(&change.title) == title::Marks::default();
            if by_hand && silent { Vec::new() } else { vec![change] }
        });
        for change in found {
            if change.number.is_none_or(|number| numbers.insert(number)) {
                changes.push(change);
            }
        }
    }
    if changes.is_empty() {
        changes.extend(walked.first().map(|commit| read_change(commit)));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> CommitId {
        digit.to_string().repeat(40).parse().unwrap()
    }

    fn commit(name: char, parents: &str, message: &str) -> Commit {
        Commit {
            id: id(name),
            parents: parents.chars().map(id).collect(),
            author: "Ada".to_owned(),
            message: message.to_owned(),
        }
    }

    fn titles(range: &[Commit], head: char) -> Vec<String> {
        let changes = fold_changes(&walk(range, &id(head)), &BTreeMap::new());
        changes.into_iter().map(|change| change.title).collect()
    }

    #[test]
    fn both_hashes_of_git_are_known_and_nothing_else() {
        assert!("a".repeat(40).parse::<CommitId>().is_ok() && "0".repeat(64).parse::<CommitId>().is_ok());
        for text in ["", "abc", &"A".repeat(40), &"g".repeat(40), &"a".repeat(41)] {
            assert!(text.parse::<CommitId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_merged_request_speaks_through_its_title_alone() {
        let range = [
            commit('d', "bc", "Merge pull request #1 from x/y\n\n[minor] rooms"),
            commit('c', "a", "[major] not in the title"),
            commit('b', "a", "[patch] direct"),
        ];
        assert_eq!(titles(&range, 'd'), ["[minor] rooms", "[patch] direct"]);
    }

    #[test]
    fn a_merge_by_hand_hides_no_token() {
        let range = [
            commit('d', "bc", "Merge branch 'main' of example.com:chat"),
            commit('c', "ae", "Merge pull request #1 from x/y\n\n[major] drop"),
            commit('e', "a", "inside the request"),
            commit('b', "a", "local"),
        ];
        assert_eq!(titles(&range, 'd'), ["[major] drop", "local"]);
    }

    #[test]
    fn a_rebased_request_is_named_once() {
        let range = [commit('c', "b", "two"), commit('b', "a", "one")];
        let known = |name| {
            let title = "[minor] both".to_owned();
            let change =
                Change { commit: id(name), number: Some(5), title, source: TitleSource::Api, bot: false };
            (id(name), vec![change])
        };
        let changes = fold_changes(&walk(&range, &id('c')), &[known('c'), known('b')].into());
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].title, "[minor] both");
    }

    #[test]
    fn ten_thousand_commits_do_not_exhaust_the_stack() {
        let name = |n: usize| format!("{n:040x}").parse::<CommitId>().unwrap();
        let range: Vec<Commit> = (1..10_000)
            .rev()
            .map(|n| Commit {
                id: name(n),
                parents: vec![name(n - 1)],
                author: String::new(),
                message: "x".into(),
            })
            .collect();
        assert_eq!(walk(&range, &name(9_999)).len(), 9_999);
    }
}
