//! Which version a commit gets, and why.

use std::collections::BTreeSet;

use crate::bump::{self, Bump, DefaultBump, NoToken};
use crate::history::{Change, CommitId};
use crate::tag::{self, Claim, RemoteTag, Reservation, Tag, TagNote};
use crate::title::excerpt;
use crate::version::Version;

/// How commits that carry a number lie to the commit that wants one, as somebody with the history found out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ancestry {
    /// Those that it contains. Only needed for the commits of the highest number.
    pub contained: BTreeSet<CommitId>,
    /// Those that contain it.
    pub containing: BTreeSet<CommitId>,
    /// Those that are no commits, or that nobody has.
    pub unknown: BTreeSet<CommitId>,
}

/// Everything that the decision depends on, as plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The commit that wants a version.
    pub head: CommitId,
    /// All tags of the remote.
    pub tags: Vec<RemoteTag>,
    /// All reserved numbers.
    pub reservations: Vec<Reservation>,
    /// What the message of the tag on `head` says, where there is one.
    pub note: Option<TagNote>,
    /// How the releases lie to `head`.
    pub ancestry: Ancestry,
    /// What `head` contains and no release does, newest first.
    pub changes: Vec<Change>,
    /// What happens when no title carries a token.
    pub default_bump: DefaultBump,
    /// How all this was found out, in plain words, safe to show.
    pub remarks: Vec<String>,
}

/// A release, as git knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedCommit {
    /// Its tag.
    pub tag: Tag,
    /// Its commit.
    pub commit: CommitId,
}

/// What is to be done about the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It gets this tag.
    New {
        /// The tag to make.
        tag: Tag,
        /// Which part rises.
        bump: Bump,
        /// The release before.
        previous: Option<TaggedCommit>,
    },
    /// It has a tag: this is a re-run.
    Reused {
        /// The tag it has.
        tag: Tag,
        /// Which part rose, where that is known.
        bump: Option<Bump>,
        /// The release before.
        previous: Option<TaggedCommit>,
    },
    /// A release contains it already.
    Superseded {
        /// The highest of them; where its number is only reserved, the tag that it is going to have.
        by: TaggedCommit,
    },
    /// Nothing asks for a release.
    Nothing {
        /// The newest release.
        previous: Option<TaggedCommit>,
    },
}

/// The verdict with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is to be done.
    pub verdict: Verdict,
    /// Step by step, in plain words, safe to show.
    pub reasons: Vec<String>,
}

/// Why no verdict could be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// Every title must carry a token, and one does not.
    #[error(transparent)]
    NoToken(#[from] NoToken),
    /// The number would exceed 64 bits.
    #[error("no {bump} version follows {version}: the number would exceed 64 bits")]
    Exhausted {
        /// The highest number that is taken.
        version: Version,
        /// Which part should rise.
        bump: Bump,
    },
}

impl DecideError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoToken(_) => {
                "put [major], [minor], [patch] or [skip] into the pull request's title, or set default-bump"
            }
            Self::Exhausted { .. } => "delete the tag with that number if it was made by mistake",
        }
    }
}

/// Decides. The same observation gives the same decision.
///
/// Numbers are taken once for the whole remote: the next number follows the highest one, also when that was given
/// to a commit that no branch reaches, so that "newest" means one thing to everybody who reads tags.
///
/// # Errors
/// [`DecideError`].
pub fn decide(observation: &Observation) -> Result<Decision, DecideError> {
    let Observation { head, ancestry, remarks, .. } = observation;
    let mut reasons = remarks.clone();
    let claims = usable_claims(observation, &mut reasons);
    let release = |claim: &Claim| TaggedCommit { tag: name(claim), commit: claim.commit.clone() };

    if let Some((tag, claim)) = claims.iter().find_map(|claim| {
        claim.tag.as_ref().filter(|_| claim.commit == *head).map(|tag| (tag.clone(), claim))
    }) {
        reasons.push(format!("commit {} carries {tag} already, so that is used again", head.short()));
        let previous = previous_of(claim, &claims, observation.note.as_ref()).map(release);
        let bump = observation.note.as_ref().map(|note| note.bump);
        return Ok(Decision { verdict: Verdict::Reused { tag, bump, previous }, reasons });
    }
    if let Some(claim) = claims.iter().find(|claim| ancestry.containing.contains(&claim.commit)) {
        let by = release(claim);
        reasons.push(format!(
            "{} on {} contains commit {}, so this commit is superseded",
            by.tag,
            by.commit.short(),
            head.short()
        ));
        return Ok(Decision { verdict: Verdict::Superseded { by }, reasons });
    }

    let reserved = claims.iter().find(|claim| claim.commit == *head);
    let base = base_of(&claims, reserved, ancestry, &mut reasons);
    let previous = base.map(release);
    say_changes(&observation.changes, previous.as_ref(), &mut reasons);
    let rise = bump::fold(&observation.changes, observation.default_bump)?;
    reasons.extend(rise.reasons);
    let Some(bump) = rise.bump else {
        reasons.push("so there is nothing to release".to_owned());
        return Ok(Decision { verdict: Verdict::Nothing { previous }, reasons });
    };
    let version = if let Some(claim) = reserved {
        reasons.push(format!("{} reserves {} for this very commit", claim.reference, claim.version));
        claim.version
    } else {
        let from = base.map_or(Version::default(), |claim| claim.version);
        let next = from.next(bump).ok_or(DecideError::Exhausted { version: from, bump })?;
        reasons.push(format!("{from} and [{bump}] give {next}"));
        next
    };
    let tag = Tag::new(version, head);
    reasons.push(format!("the suffix is the beginning of commit {head}, which gives {tag}"));
    Ok(Decision { verdict: Verdict::New { tag, bump, previous }, reasons })
}

/// The tag of a claim; where its tag is missing, the one that its number and commit lead to.
fn name(claim: &Claim) -> Tag {
    claim.tag.clone().unwrap_or_else(|| Tag::new(claim.version, &claim.commit))
}

fn usable_claims(observation: &Observation, reasons: &mut Vec<String>) -> Vec<Claim> {
    let (claims, foreign) = tag::claims(&observation.tags, &observation.reservations);
    let (unknown, claims): (Vec<_>, Vec<_>) =
        claims.into_iter().partition(|claim| observation.ancestry.unknown.contains(&claim.commit));
    let tagged = claims.iter().filter(|claim| claim.tag.is_some()).count();
    reasons.push(match (observation.tags.len(), tagged) {
        (0, _) => "the remote has no tags".to_owned(),
        (1, 1) => "the remote's only tag is a release".to_owned(),
        (all, ours) => format!("{ours} of the remote's {all} tags are releases"),
    });
    if !foreign.is_empty() {
        reasons.push(format!(
            "ignored, because they are no version whose suffix begins the id of their commit: {}",
            some(foreign.iter().map(|name| excerpt(name)))
        ));
    }
    if !unknown.is_empty() {
        let names = unknown.iter().map(|claim| excerpt(&claim.reference));
        reasons.push(format!("ignored, because they lead to no commit: {}", some(names)));
    }
    claims
}

/// A list for people: the first five, and how many more.
fn some(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(5);
    let first: Vec<String> = names.take(5).collect();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", first.join(", "))
}

/// The release before this one: what its tag says, else the next lower number.
fn previous_of<'a>(claim: &Claim, claims: &'a [Claim], note: Option<&TagNote>) -> Option<&'a Claim> {
    let tagged = || claims.iter().filter(|other| other.tag.is_some());
    match note {
        Some(note) => {
            let previous = note.previous.as_ref()?;
            tagged().find(|other| other.tag.as_ref().is_some_and(|tag| tag.to_string() == *previous))
        }
        None => tagged().find(|other| other.version < claim.version),
    }
}

/// The claim with the highest number (below one's own reservation, if there is one). Of several with one number, one
/// that the commit contains.
fn base_of<'a>(
    claims: &'a [Claim],
    reserved: Option<&Claim>,
    ancestry: &Ancestry,
    reasons: &mut Vec<String>,
) -> Option<&'a Claim> {
    let below = |claim: &&Claim| reserved.is_none_or(|own| claim.version < own.version);
    let Some(highest) = claims.iter().find(below) else {
        reasons.push("no release yet: counting starts at 0.0.0".to_owned());
        return None;
    };
    let same: Vec<&Claim> = claims.iter().filter(|claim| claim.version == highest.version).collect();
    let contained = |claim: &&&Claim| ancestry.contained.contains(&claim.commit);
    let base = same.iter().find(contained).copied().unwrap_or(highest);
    reasons.push(format!("the newest release is {} on commit {}", name(base), base.commit.short()));
    if same.len() > 1 {
        let count = same.len();
        reasons
            .push(format!("{count} tags share its number; the next number is the same whichever is meant"));
    }
    if base.tag.is_none() {
        reasons.push(format!(
            "its tag is missing: its run is under way or stopped, or the tag was deleted; {} keeps the number taken",
            excerpt(&base.reference)
        ));
    }
    if !ancestry.contained.contains(&base.commit) {
        reasons.push("this commit does not contain it, but a number is never given twice".to_owned());
    }
    Some(base)
}

fn say_changes(changes: &[Change], previous: Option<&TaggedCommit>, reasons: &mut Vec<String>) {
    let count = match changes.len() {
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    };
    reasons.push(match previous {
        Some(_) => format!("{count} that no release contains:"),
        None => format!("{count} since the beginning:"),
    });
    const SHOWN: usize = 20;
    reasons.extend(changes.iter().take(SHOWN).map(|change| format!("  {}", bump::describe(change))));
    if let Some(more) = changes.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        reasons.push(format!("  and {more} more"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::TitleSource;

    fn id(start: &str) -> CommitId {
        format!("{start:e<40}").parse().unwrap()
    }

    fn change(title: &str) -> Change {
        Change {
            commit: id("abcdef1"),
            number: None,
            title: title.into(),
            source: TitleSource::Commit,
            bot: false,
        }
    }

    /// Tags as `name commit`, all contained in the head.
    fn observe(tags: &[(&str, &str)], titles: &[&str]) -> Observation {
        let tags: Vec<RemoteTag> = tags
            .iter()
            .map(|(name, commit)| RemoteTag { name: (*name).into(), commit: id(commit) })
            .collect();
        let head = id("abcdef1");
        let contained = tags.iter().map(|tag| tag.commit.clone()).collect();
        Observation {
            ancestry: Ancestry { contained, ..Ancestry::default() },
            head,
            tags,
            reservations: Vec::new(),
            note: None,
            changes: titles.iter().map(|title| change(title)).collect(),
            default_bump: DefaultBump::Patch,
            remarks: Vec::new(),
        }
    }

    fn outcome(observation: &Observation) -> String {
        match decide(observation) {
            Ok(Decision { verdict: Verdict::New { tag, bump, previous }, .. }) => {
                format!(
                    "new {tag} {bump} after {}",
                    previous.map_or("nothing".into(), |release| release.tag.to_string())
                )
            }
            Ok(Decision { verdict: Verdict::Reused { tag, .. }, .. }) => format!("reused {tag}"),
            Ok(Decision { verdict: Verdict::Superseded { by }, .. }) => format!("superseded by {}", by.tag),
            Ok(Decision { verdict: Verdict::Nothing { .. }, .. }) => "nothing".into(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn the_next_number_follows_the_highest_one() {
        for (tags, titles, expected) in [
            (vec![], vec!["x"], "new v0.0.1-abcdef1 patch after nothing"),
            (vec![], vec!["[minor] first"], "new v0.1.0-abcdef1 minor after nothing"),
            (vec![("v5.0.1-abf2154", "abf2154")], vec!["x"], "new v5.0.2-abcdef1 patch after v5.0.1-abf2154"),
            (
                vec![("v5.0.10-a1b2", "a1b2"), ("v5.0.2-abf2154", "abf2154")],
                vec!["[minor] x"],
                "new v5.1.0-abcdef1 minor after v5.0.10-a1b2",
            ),
            (
                vec![("v5.0.1", "1"), ("nightly", "2"), ("v9.0.0-rc.1", "3")],
                vec!["x"],
                "new v5.0.2-abcdef1 patch after v5.0.1",
            ),
            (vec![("v9.0.0-fffffff", "abc")], vec!["x"], "new v0.0.1-abcdef1 patch after nothing"),
            (vec![("v5.0.1-0123456", "0123456")], vec!["x"], "new v5.0.2-abcdef1 patch after v5.0.1-0123456"),
            (vec![("v5.0.2-abcdef1", "abcdef1"), ("v5.0.1", "1")], vec![], "reused v5.0.2-abcdef1"),
            (vec![("v5.0.2", "abcdef1"), ("v5.0.2-abcdef1", "abcdef1")], vec![], "reused v5.0.2-abcdef1"),
            (vec![], vec!["[skip] docs"], "nothing"),
            (
                vec![("v18446744073709551615.0.0", "1")],
                vec!["[major] x"],
                "error: no major version follows 18446744073709551615.0.0: the number would exceed 64 bits",
            ),
        ] {
            assert_eq!(outcome(&observe(&tags, &titles)), expected, "{tags:?}");
        }
    }

    #[test]
    fn seventeen_tags_of_one_number_are_no_error() {
        let names: Vec<(String, String)> =
            (10..27).map(|n| (format!("v5.0.1-a{n}b"), format!("a{n}b"))).collect();
        let tags: Vec<(&str, &str)> =
            names.iter().map(|(name, commit)| (name.as_str(), commit.as_str())).collect();
        let mut observation = observe(&tags, &["x"]);
        observation.ancestry.contained = [id("a20b")].into();
        assert_eq!(outcome(&observation), "new v5.0.2-abcdef1 patch after v5.0.1-a20b");
        observation.ancestry.contained.clear();
        let decision = decide(&observation).unwrap();
        assert!(decision.reasons.iter().any(|reason| reason.contains("17 tags share its number")));
    }

    #[test]
    fn an_older_commit_is_superseded_by_the_highest_release_that_contains_it() {
        let mut observation = observe(&[("v5.0.1-a1b2", "a1b2"), ("v5.0.2-b1b2", "b1b2")], &["[major] x"]);
        observation.ancestry.containing = [id("a1b2"), id("b1b2")].into();
        assert_eq!(outcome(&observation), "superseded by v5.0.2-b1b2");
    }

    #[test]
    fn a_reserved_number_is_taken_unless_it_is_ones_own() {
        let mut observation = observe(&[("v5.0.1-a1b2", "a1b2")], &["[minor] x"]);
        let reserve = |commit: &str| Reservation {
            version: Version::new(5, 1, 0),
            commit: id(commit),
            reference: "refs/releases/5.1.0".into(),
        };
        observation.reservations = vec![reserve("b1b2")];
        assert_eq!(outcome(&observation), "new v5.2.0-abcdef1 minor after v5.1.0-b1b2eee");
        observation.reservations = vec![reserve("abcdef1")];
        assert_eq!(outcome(&observation), "new v5.1.0-abcdef1 minor after v5.0.1-a1b2");
        observation.reservations = vec![reserve("b1b2")];
        observation.ancestry.containing = [id("b1b2")].into();
        assert_eq!(outcome(&observation), "superseded by v5.1.0-b1b2eee");
    }

    #[test]
    fn a_tag_that_leads_to_no_commit_is_ignored() {
        let mut observation = observe(&[("v6.0.0", "1"), ("v5.0.1", "2")], &["x"]);
        observation.ancestry.unknown = [id("1")].into();
        assert_eq!(outcome(&observation), "new v5.0.2-abcdef1 patch after v5.0.1");
    }

    #[test]
    fn a_rerun_takes_bump_and_predecessor_from_the_tag() {
        let mut observation =
            observe(&[("v5.1.0-abcdef1", "abcdef1"), ("v5.0.1", "1"), ("v5.0.2", "2")], &[]);
        let note =
            TagNote::new(Some(&"v5.0.1".parse().unwrap()), Bump::Minor, &[], String::new(), String::new());
        observation.note = Some(note);
        let Verdict::Reused { bump, previous, .. } = decide(&observation).unwrap().verdict else { panic!() };
        assert_eq!((bump, previous.unwrap().tag.to_string().as_str()), (Some(Bump::Minor), "v5.0.1"));
    }

    proptest! {
        #[test]
        fn a_new_number_is_higher_than_all_others_and_the_order_of_tags_is_no_matter(
            numbers in prop::collection::vec((0..5u64, 0..5u64, 0..5u64), 0..12),
            titles in prop::collection::vec("\\[(major|minor|patch|skip)\\] x|x", 1..6),
        ) {
            let names: Vec<(String, String)> = numbers.iter().enumerate()
                .map(|(n, (a, b, c))| (format!("v{a}.{b}.{c}-c{n:03}"), format!("c{n:03}"))).collect();
            let tags: Vec<(&str, &str)> = names.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
            let observation = observe(&tags, &titles);
            let decision = decide(&observation).unwrap();
            if let Verdict::New { tag, .. } = &decision.verdict {
                for (a, b, c) in numbers {
                    prop_assert!(tag.version() > Version::new(a, b, c));
                }
            }
            let mut turned = observation.clone();
            turned.tags.reverse();
            prop_assert_eq!(decide(&turned).unwrap().verdict, decision.verdict);
        }

        #[test]
        fn reasons_are_single_lines_safe_to_show(title: String, name: String) {
            let observation = observe(&[(&name, "1")], &[&title]);
            for reason in decide(&observation).unwrap().reasons {
                prop_assert!(!reason.chars().any(char::is_control), "{:?}", reason);
            }
        }
    }
}
