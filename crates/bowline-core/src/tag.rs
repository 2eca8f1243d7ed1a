//! Release tags such as `v5.0.2-b321acf`: which tags of a remote are releases, and what a release's tag says.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bump::Bump;
use crate::history::{Change, CommitId};
use crate::title::excerpt;
use crate::version::Version;

/// A tag that has the form of a release: `v` (or not), a version, and `-` with the beginning of a commit id (or not).
/// Whether it *is* one depends on the commit it points at: [`Tag::names`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    version: Version,
    suffix: Option<String>,
    prefixed: bool,
}

/// Why a text is no release tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a release tag of the form v1.2.3-0a1b2c3 or v1.2.3")]
pub struct InvalidTag(String);

impl Tag {
    /// The tag that a release of this commit carries.
    pub fn new(version: Version, commit: &CommitId) -> Self {
        Self { version, suffix: Some(suffix(commit).to_owned()), prefixed: true }
    }

    /// The numbers in it.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether it is the name of a release of this commit: its suffix begins the commit's id, or it has none.
    pub fn names(&self, commit: &CommitId) -> bool {
        self.suffix.as_ref().is_none_or(|suffix| commit.as_str().starts_with(suffix.as_str()))
    }

    /// The tag without its `v`, as `{version}` stands for it: `5.0.2-b321acf`.
    pub fn number(&self) -> String {
        let text = self.to_string();
        text.strip_prefix('v').map_or(text.clone(), str::to_owned)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = if self.prefixed { "v" } else { "" };
        write!(f, "{v}{}", self.version)?;
        self.suffix.as_ref().map_or(Ok(()), |suffix| write!(f, "-{suffix}"))
    }
}

impl FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidTag(excerpt(text));
        let (prefixed, rest) = text.strip_prefix('v').map_or((false, text), |rest| (true, rest));
        let (core, suffix) = rest.split_once('-').map_or((rest, None), |(core, suffix)| (core, Some(suffix)));
        let version = core.parse().map_err(|_| invalid())?;
        // Four digits and more are read, also digits alone: older scripts made such tags.
        let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if suffix.is_some_and(|suffix| !(4..=64).contains(&suffix.len()) || !hex(suffix)) {
            return Err(invalid());
        }
        Ok(Self { version, suffix: suffix.map(str::to_owned), prefixed })
    }
}

impl Serialize for Tag {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What follows the version in a tag: the shortest beginning of the commit's id that has seven digits or more and a
/// letter. A suffix of digits alone that begins with 0 would be no valid version (semver 2.0.0, item 9), and one
/// commit must always give one suffix: then two runs for the same commit cannot reserve two names.
pub fn suffix(commit: &CommitId) -> &str {
    let id = commit.as_str();
    let letter = id.find(|c: char| c.is_ascii_lowercase()).map_or(id.len(), |at| at + 1);
    id.get(..letter.max(7)).unwrap_or(id)
}

/// What the message of a release's tag says, so that a later run reads how the number came about instead of asking
/// again (titles may have been edited since).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagNote {
    /// The release before.
    pub previous: Option<String>,
    /// Which part rose.
    pub bump: Bump,
    /// What was merged since, newest first, titles shortened.
    pub changes: Vec<Change>,
    /// How many more changes there were than are listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: usize,
    /// The rule that decided, in words.
    pub rule: String,
    /// The tool and its version.
    pub tool: String,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl TagNote {
    /// A note about these changes; at most 200 are kept, each title on one line and shortened.
    pub fn new(previous: Option<&Tag>, bump: Bump, changes: &[Change], rule: String, tool: String) -> Self {
        const KEPT: usize = 200;
        let shorten = |change: &Change| Change { title: excerpt(&change.title), ..change.clone() };
        Self {
            previous: previous.map(Tag::to_string),
            bump,
            changes: changes.iter().take(KEPT).map(shorten).collect(),
            omitted: changes.len().saturating_sub(KEPT),
            rule,
            tool,
        }
    }

    /// The tag message: a line for people, and the note as one line of JSON.
    ///
    /// # Errors
    /// When the note cannot be written as JSON.
    pub fn render(&self, tag: &Tag) -> Result<String, serde_json::Error> {
        serde_json::to_string(self).map(|json| format!("release {tag}\n\n{json}\n"))
    }

    /// The note in a tag message; `None` when there is none (a tag made by hand or by another tool).
    pub fn parse(message: &str) -> Option<Self> {
        message.lines().filter(|line| line.starts_with('{')).find_map(|line| serde_json::from_str(line).ok())
    }
}

/// A tag as the remote lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteTag {
    /// Its name without `refs/tags/`.
    pub name: String,
    /// What it points at in the end (`^{}`), not the tag object.
    pub commit: CommitId,
}

/// A number that somebody reserved (`refs/releases/1.2.3`, or the tag `release/1.2.3` where a host refuses that).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The number.
    pub version: Version,
    /// For which commit.
    pub commit: CommitId,
    /// The full name of the reference.
    pub reference: String,
}

/// A number that is taken: by a release's tag, or by a reservation whose tag is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The number.
    pub version: Version,
    /// The commit it was given to.
    pub commit: CommitId,
    /// The tag; `None`: only reserved. Its run stopped, or somebody deleted the tag.
    pub tag: Option<Tag>,
    /// The full name of the reference that says so.
    pub reference: String,
}

/// All numbers that are taken, highest first, and the tags that are no releases.
///
/// A tag is a release when its suffix begins the id of the commit it points at, which nothing else does by
/// accident: `v1.2.3-rc.1`, `v1.2.3-beta`, `nightly` and tags for other commits are not. A plain `v1.2.3` counts.
pub fn claims(tags: &[RemoteTag], reservations: &[Reservation]) -> (Vec<Claim>, Vec<String>) {
    let mut claims = Vec::new();
    let mut foreign = Vec::new();
    for RemoteTag { name, commit } in tags {
        match name.parse::<Tag>() {
            Ok(tag) if tag.names(commit) => claims.push(Claim {
                version: tag.version,
                commit: commit.clone(),
                tag: Some(tag),
                reference: format!("refs/tags/{name}"),
            }),
            _ => foreign.push(name.clone()),
        }
    }
    let tagged: BTreeSet<(Version, CommitId)> =
        claims.iter().map(|claim| (claim.version, claim.commit.clone())).collect();
    for Reservation { version, commit, reference } in reservations {
        if !tagged.contains(&(*version, commit.clone())) {
            let (commit, reference) = (commit.clone(), reference.clone());
            claims.push(Claim { version: *version, commit, tag: None, reference });
        }
    }
    claims.sort_by(|a, b| {
        b.version.cmp(&a.version).then_with(|| b.tag.is_some().cmp(&a.tag.is_some())).then_with(|| {
            // Of two names for one number the one with a suffix says more.
            let plain = |claim: &Claim| claim.tag.as_ref().is_none_or(|tag| tag.suffix.is_none());
            plain(a).cmp(&plain(b)).then_with(|| a.reference.cmp(&b.reference))
        })
    });
    (claims, foreign)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::TitleSource;

    fn id(start: &str) -> CommitId {
        format!("{start:0<40}").parse().unwrap()
    }

    #[test]
    fn release_tags_are_read_with_and_without_v_and_suffix() {
        for text in [
            "v5.0.2-b321acf",
            "5.0.2-b321acf",
            "v5.0.2",
            "5.0.2",
            "v5.0.2-b321",
            "v5.0.2-0123456",
            "v0.0.0",
            &format!("v1.2.3-{}", "a".repeat(64)),
        ] {
            assert_eq!(text.parse::<Tag>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_tags_are_not() {
        for text in [
            "",
            "v",
            "latest",
            "v5",
            "v5.0",
            "v5.0.2-",
            "v5.0.2-rc.1",
            "v5.0.2-beta",
            "v5.0.2-abc",
            "v5.0.2-ABCDEF0",
            "V5.0.2",
            "vv5.0.2",
            "v05.0.2",
            "v5.0.2+b321acf",
            "v5.0.2-b321acf-x",
            "user/v5.0.2",
            "v5.0.2_b321acf",
            "v99999999999999999999.0.0",
            "release-v5.0.2",
            &format!("v1.2.3-{}", "a".repeat(65)),
        ] {
            assert!(text.parse::<Tag>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_suffix_is_seven_digits_or_up_to_the_first_letter() {
        for (commit, expected) in
            [("b321acf99", "b321acf"), ("01234567a9", "01234567a"), ("0123456a", "0123456a")]
        {
            assert_eq!(suffix(&id(commit)), expected);
        }
        let digits = id("0");
        assert_eq!(suffix(&digits), digits.as_str());
    }

    #[test]
    fn a_suffix_that_does_not_begin_the_commit_is_somebody_elses() {
        let tag = |name: &str, commit: &str| RemoteTag { name: name.into(), commit: id(commit) };
        let (claims, foreign) = claims(
            &[
                tag("v1.0.0-abcdef1", "abcdef1"),
                tag("v9.0.0-abcdef1", "fedcba"),
                tag("v1.0.10", "a1"),
                tag("x", "a2"),
            ],
            &[],
        );
        let versions: Vec<String> = claims.iter().map(|claim| claim.version.to_string()).collect();
        assert_eq!(versions, ["1.0.10", "1.0.0"]);
        assert_eq!(foreign, ["v9.0.0-abcdef1", "x"]);
    }

    #[test]
    fn a_reservation_counts_once_beside_its_tag() {
        let commit = id("abcdef1");
        let tag = RemoteTag { name: "v1.0.0-abcdef1".into(), commit: commit.clone() };
        let reserved = |patch, commit: &CommitId| Reservation {
            version: Version::new(1, 0, patch),
            commit: commit.clone(),
            reference: format!("refs/releases/1.0.{patch}"),
        };
        let (claims, _) = claims(&[tag], &[reserved(0, &commit), reserved(1, &commit)]);
        assert_eq!(claims.len(), 2);
        assert_eq!(claims[0].tag, None);
        assert_eq!(claims[0].version, Version::new(1, 0, 1));
    }

    #[test]
    fn a_note_survives_its_message_and_hostile_titles() {
        let title = "$(x) `y` \u{1b}[31m\n::set-output name=a::b {\"previous\":1}".to_owned();
        let change =
            Change { commit: id("a"), number: Some(1), title, source: TitleSource::Event, bot: false };
        let changes = vec![change; 300];
        let note = TagNote::new(None, Bump::Minor, &changes, "rule".into(), "bowline 1".into());
        let message = note.render(&Tag::new(Version::new(1, 2, 3), &id("abcdef1"))).unwrap();
        assert!(message.starts_with("release v1.2.3-abcdef1\n\n{"));
        assert_eq!(TagNote::parse(&message), Some(note.clone()));
        assert_eq!((note.changes.len(), note.omitted), (200, 100));
        assert_eq!(TagNote::parse("release by hand\n{not json"), None);
    }

    proptest! {
        #[test]
        fn a_new_tag_names_its_commit_and_is_read_back(commit in "[0-9a-f]{40}|[0-9a-f]{64}|[0-9]{40}", patch: u64) {
            let commit: CommitId = commit.parse().unwrap();
            let tag = Tag::new(Version::new(1, 2, patch), &commit);
            prop_assert!(tag.names(&commit));
            prop_assert_eq!(tag.to_string().parse::<Tag>().unwrap(), tag);
        }

        #[test]
        fn no_name_panics(name: String) {
            let _ = name.parse::<Tag>();
        }
    }
}
