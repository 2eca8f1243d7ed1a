//! The event file: JSON that GitHub writes for a workflow run (docs.github.com, "Webhook events and payloads").

use std::io::Read;
use std::path::Path;

use bowline_core::history::CommitId;
use bowline_core::title;
use serde::Deserialize;

use crate::error::{Attempt, Failure, Outcome};

/// A title of 10 MB is still read.
const LIMIT: u64 = 64 << 20;

/// What the event says about changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A pull request, merged or not.
    Pull {
        /// Its title, number and author. The commit is not known when it is not merged.
        title: String,
        /// Its number.
        number: Option<u64>,
        /// Whether a bot opened it.
        bot: bool,
        /// The commit that merged it; before that GitHub's trial merge.
        merge: Option<CommitId>,
        /// Whether it is merged.
        merged: bool,
    },
    /// Something else. A push, too: it brings the commits' messages, which the clone has, and no titles. What a squash
    /// merge calls its commit is by default the one commit's subject, not the pull request's title.
    Other,
}

#[derive(Deserialize)]
struct File {
    pull_request: Option<Pull>,
}

#[derive(Deserialize)]
struct Pull {
    #[serde(default)]
    title: String,
    number: Option<u64>,
    user: Option<User>,
    merge_commit_sha: Option<String>,
    #[serde(default)]
    merged: bool,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    login: String,
    #[serde(default, rename = "type")]
    kind: String,
}

/// Reads the file. Invalid UTF-8 in it is replaced, not refused.
///
/// # Errors
/// When the file cannot be read, is longer than 64 MiB, or is no JSON.
pub fn read(path: &Path) -> Outcome<Event> {
    let what = || format!("reading GitHub's event file {}", path.display());
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(path).attempt(what)?.take(LIMIT + 1);
    file.read_to_end(&mut bytes).attempt(what)?;
    if bytes.len() as u64 > LIMIT {
        return Err(Failure::failed(what()).since("it is longer than 64 MiB"));
    }
    parse(&String::from_utf8_lossy(&bytes)).attempt(what)
}

fn parse(text: &str) -> Result<Event, serde_json::Error> {
    let file: File = serde_json::from_str(text)?;
    let event = file.pull_request.map(|pull| {
        let bot = pull.user.is_some_and(|user| user.kind == "Bot" || title::is_bot(&user.login));
        let merge = pull.merge_commit_sha.and_then(|id| id.parse().ok());
        Event::Pull { title: pull.title, number: pull.number, bot, merge, merged: pull.merged }
    });
    Ok(event.unwrap_or(Event::Other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merged_pull_request_is_read() {
        let sha = "a".repeat(40);
        let text = format!(
            r#"{{"action":"closed","pull_request":{{"number":7,"title":"[minor] x\u0000\u001b[31m","merged":true,
               "merge_commit_sha":"{sha}","user":{{"login":"dependabot[bot]","type":"Bot"}}}}}}"#
        );
        let expected = Event::Pull {
            title: "[minor] x\0\u{1b}[31m".into(),
            number: Some(7),
            bot: true,
            merge: sha.parse().ok(),
            merged: true,
        };
        assert_eq!(parse(&text).unwrap(), expected);
    }

    #[test]
    fn anything_else_is_no_error_unless_it_is_no_json() {
        assert_eq!(parse(r#"{"action":"x"}"#).unwrap(), Event::Other);
        assert_eq!(parse(r#"{"commits":[{"id":"a","message":"x (#3)"}]}"#).unwrap(), Event::Other);
        assert!(parse("hello").is_err());
    }
}
