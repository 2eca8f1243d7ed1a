//! How far a version rises, worked out from the titles of everything that was merged.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::history::Change;
use crate::title::{self, excerpt};

/// Which part of the version rises. Ordered: major is the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bump {
    /// The third part.
    Patch,
    /// The second part.
    Minor,
    /// The first part.
    Major,
}

/// What happens when no title carries a token (`default-bump` in bowline.toml).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultBump {
    /// The patch part rises.
    #[default]
    Patch,
    /// There is nothing to release.
    None,
    /// It is an error: every title must say. Titles of bots are taken as patch.
    Error,
}

/// Why a text is no [`DefaultBump`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of patch, none, error")]
pub struct InvalidDefaultBump(String);

/// No title says how far the version rises, and the configuration asks for one that does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no title carries [major], [minor], [patch] or [skip], and the default bump is `error`: {}", .titles.join("; "))]
pub struct NoToken {
    /// The beginnings of the titles that were read, newest first, safe to show; ten at most.
    pub titles: Vec<String>,
}

/// How far the version rises and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rise {
    /// `None`: nothing is to be released.
    pub bump: Option<Bump>,
    /// In plain words, safe to show.
    pub reasons: Vec<String>,
}

/// The highest token of all changes; where none has one, what `default` says.
///
/// A change marked `[skip]` asks for nothing, so a range of nothing else is not released.
///
/// # Errors
/// [`NoToken`] when `default` is `error` and somebody who is no bot left the token out.
pub fn fold(changes: &[Change], default: DefaultBump) -> Result<Rise, NoToken> {
    let mut reasons = Vec::new();
    let marked: Vec<_> = changes.iter().map(|change| (change, title::parse(&change.title))).collect();
    for (change, marks) in &marked {
        if marks.several {
            reasons.push(format!("{} carries several tokens; the highest counts", describe(change)));
        }
    }
    // Of several changes with the highest token the oldest is named: it is the one that needs the bump.
    let highest = marked.iter().rev().filter_map(|(change, marks)| marks.bump.map(|bump| (bump, *change)));
    if let Some((bump, change)) = highest.reduce(|best, next| if next.0 > best.0 { next } else { best }) {
        reasons.push(format!("the highest token is [{bump}], from {}", describe(change)));
        return Ok(Rise { bump: Some(bump), reasons });
    }
    let silent: Vec<&Change> =
        marked.iter().filter(|(_, marks)| !marks.skip).map(|(change, _)| *change).collect();
    if silent.is_empty() {
        reasons.push("every merged change is marked [skip]".to_owned());
        return Ok(Rise { bump: None, reasons });
    }
    let bump = match default {
        DefaultBump::Patch => Some(Bump::Patch),
        DefaultBump::None => None,
        DefaultBump::Error if silent.iter().all(|change| change.bot) => {
            reasons.push("only bots left the token out; their changes count as patch".to_owned());
            return Ok(Rise { bump: Some(Bump::Patch), reasons });
        }
        DefaultBump::Error => {
            let people = silent.iter().filter(|change| !change.bot);
            return Err(NoToken { titles: people.take(10).map(|change| describe(change)).collect() });
        }
    };
    reasons.push(format!("no title carries a token; the default bump is `{default}`"));
    Ok(Rise { bump, reasons })
}

/// A change in a few words that are safe to show.
pub fn describe(change: &Change) -> String {
    let title = excerpt(&change.title);
    match change.number {
        Some(number) => format!("#{number} \"{title}\" ({})", change.source),
        None => format!("{} \"{title}\" ({})", change.commit.short(), change.source),
    }
}

impl fmt::Display for Bump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Patch => "patch",
            Self::Minor => "minor",
            Self::Major => "major",
        })
    }
}

impl fmt::Display for DefaultBump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Patch => "patch",
            Self::None => "none",
            Self::Error => "error",
        })
    }
}

impl FromStr for DefaultBump {
    type Err = InvalidDefaultBump;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "patch" => Ok(Self::Patch),
            "none" => Ok(Self::None),
            "error" => Ok(Self::Error),
            _ => Err(InvalidDefaultBump(text.chars().take(100).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{CommitId, TitleSource};

    fn change(title: &str) -> Change {
        Change {
            commit: "a".repeat(40).parse::<CommitId>().unwrap(),
            number: None,
            title: title.to_owned(),
            source: TitleSource::Commit,
            bot: title.starts_with("Bump "),
        }
    }

    fn bump(titles: &[&str], default: DefaultBump) -> Result<Option<Bump>, NoToken> {
        let changes: Vec<Change> = titles.iter().map(|title| change(title)).collect();
        fold(&changes, default).map(|rise| rise.bump)
    }

    #[test]
    fn the_highest_token_of_all_changes_counts() {
        use DefaultBump::{Error, None as Nothing, Patch};
        for (titles, default, expected) in [
            (vec!["[patch] a", "[major] b", "[minor] c"], Patch, Some(Bump::Major)),
            (vec!["a", "[minor] b"], Error, Some(Bump::Minor)),
            (vec!["a", "b"], Patch, Some(Bump::Patch)),
            (vec!["a", "b"], Nothing, None),
            (vec!["[skip] a", "[skip] b"], Patch, None),
            (vec!["[skip] a", "[skip] b"], Error, None),
            (vec!["[skip] a", "b"], Patch, Some(Bump::Patch)),
            (vec!["[skip] a", "[patch] b"], Nothing, Some(Bump::Patch)),
            (vec!["Revert \"[major] a\""], Patch, Some(Bump::Patch)),
            (vec!["Bump serde from 1 to 2"], Error, Some(Bump::Patch)),
            (vec!["Bump serde from 1 to 2"], Nothing, None),
            (vec!["Bump serde [minor]"], Patch, Some(Bump::Minor)),
        ] {
            assert_eq!(bump(&titles, default).unwrap(), expected, "{titles:?} {default}");
        }
    }

    #[test]
    fn a_missing_token_can_be_an_error_that_names_the_title() {
        let error = bump(&["fix", "Bump serde", "[skip] docs"], DefaultBump::Error).unwrap_err();
        assert_eq!(error.titles, ["aaaaaaa \"fix\" (commit message)"]);
    }

    #[test]
    fn the_default_reads_what_it_writes() {
        for default in [DefaultBump::Patch, DefaultBump::None, DefaultBump::Error] {
            assert_eq!(default.to_string().parse(), Ok(default));
        }
        assert!("major".parse::<DefaultBump>().is_err());
    }
}
