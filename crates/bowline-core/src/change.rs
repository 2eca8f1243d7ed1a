//! Which services a release changes: only those are built, the others keep their image (design, "Decided" 3).
//!
//! In doubt a service is changed: building once too often costs minutes, not building ships the wrong thing.

use std::collections::BTreeSet;
use std::fmt;

use crate::digest::Digest;

/// What is known of the time since the previous release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum History {
    /// There is no previous release.
    First,
    /// There is one, but what changed since cannot be told; why, in words.
    Unknown(String),
    /// The paths, relative to the project's directory and with `/`, that differ between its commit and this one.
    Paths(BTreeSet<String>),
}

/// What decides about one service.
pub struct Question<'a> {
    /// The service's image in the previous release, with the fingerprint of how it was built where that was recorded.
    pub previous: Option<Option<Digest>>,
    /// The fingerprint of how it is built now (command, artifact, Dockerfile, base, context).
    pub definition: Digest,
    /// Whether a path is among the service's inputs; `None` where none are configured.
    pub inputs: Option<&'a dyn Fn(&str) -> bool>,
    /// Files that count though no input names them: Dockerfile and `.dockerignore`.
    pub files: &'a [String],
    /// The configuration's path; it decides where the previous release did not record how the service was built.
    pub configuration: &'a str,
}

/// Whether a service changes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It keeps its image.
    No,
    /// It is built.
    Yes(Reason),
}

/// Why a service is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// There is no previous release.
    First,
    /// It is not in the previous release.
    New,
    /// It has no `inputs`.
    NoInputs,
    /// What changed since the previous release cannot be told.
    Unknown(String),
    /// How it is built differs.
    Definition,
    /// A file of its inputs differs: the first, and how many more.
    Input {
        /// The first path.
        path: String,
        /// How many others.
        more: usize,
    },
    /// Somebody asked for it.
    Asked,
}

impl Changed {
    /// Whether it is built.
    pub fn is_yes(&self) -> bool {
        matches!(self, Self::Yes(_))
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("unchanged"),
            Self::Yes(reason) => reason.fmt(f),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("first release"),
            Self::New => f.write_str("new service"),
            Self::NoInputs => f.write_str("no inputs configured"),
            Self::Unknown(why) => write!(f, "history unknown: {why}"),
            Self::Definition => f.write_str("built differently than before"),
            Self::Input { path, more: 0 } => f.write_str(path),
            Self::Input { path, more } => write!(f, "{path} and {more} more"),
            Self::Asked => f.write_str("asked for"),
        }
    }
}

/// Decides about one service.
pub fn decide(history: &History, question: &Question<'_>) -> Changed {
    let paths = match history {
        History::First => return Changed::Yes(Reason::First),
        History::Unknown(why) => return Changed::Yes(Reason::Unknown(why.clone())),
        History::Paths(paths) => paths,
    };
    let Some(recorded) = question.previous else { return Changed::Yes(Reason::New) };
    let Some(inputs) = question.inputs else { return Changed::Yes(Reason::NoInputs) };
    let same = match recorded {
        Some(definition) => definition == question.definition,
        None => !paths.contains(question.configuration),
    };
    if !same {
        return Changed::Yes(Reason::Definition);
    }
    let mut touched = paths.iter().filter(|path| inputs(path) || question.files.contains(path));
    match touched.next() {
        None => Changed::No,
        Some(path) => Changed::Yes(Reason::Input { path: path.clone(), more: touched.count() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(history: &History, recorded: Option<Option<&str>>, inputs: Option<&str>) -> String {
        let matches = |path: &str| path.starts_with(inputs.unwrap_or_default());
        decide(
            history,
            &Question {
                previous: recorded.map(|text| text.map(|text| Digest::of(text.as_bytes()))),
                definition: Digest::of(b"now"),
                inputs: inputs.map(|_| &matches as &dyn Fn(&str) -> bool),
                files: &["docker/user".into()],
                configuration: "bowline.toml",
            },
        )
        .to_string()
    }

    fn paths(paths: &[&str]) -> History {
        History::Paths(paths.iter().map(|path| (*path).to_owned()).collect())
    }

    #[test]
    fn in_doubt_a_service_is_changed() {
        let now = Some(Some("now"));
        let some = paths(&["user/a", "user/b", "chat/c"]);
        for (history, recorded, inputs, expected) in [
            (&History::First, None, Some("user/"), "first release"),
            (&History::Unknown("no network".into()), now, Some("user/"), "history unknown: no network"),
            (&some, None, Some("user/"), "new service"),
            (&some, now, None, "no inputs configured"),
            (&some, Some(Some("then")), Some("none/"), "built differently than before"),
            (&some, now, Some("user/"), "user/a and 1 more"),
            (&some, now, Some("chat/"), "chat/c"),
            (&some, now, Some("room/"), "unchanged"),
            (&paths(&["docker/user"]), now, Some("room/"), "docker/user"),
            (&paths(&["bowline.toml"]), now, Some("room/"), "unchanged"),
            (&paths(&["bowline.toml"]), Some(None), Some("room/"), "built differently than before"),
            (&paths(&[]), Some(None), Some("room/"), "unchanged"),
        ] {
            assert_eq!(check(history, recorded, inputs), expected);
        }
    }
}
