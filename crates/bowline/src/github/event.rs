//! The event file: JSON that GitHub writes for a workflow run (docs.github.com, "Webhook events and payloads").

use std::io::Read;
use std::path::Path;

use bowline_core::history::{Change, CommitId, TitleSource};
use bowline_core::title::{self, Merge};
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
    /// Commits that were pushed: those of them whose messages carry a pull request's title.
    Push(Vec<Change>),
    /// Something else.
    Other,
}

#[derive(Deserialize)]
struct File {
    pull_request: Option<Pull>,
    #[serde(default)]
    commits: Vec<Pushed>,
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

#[derive(Deserialize)]
struct Pushed {
    id: String,
    #[serde(default)]
    message: String,
    author: Option<Author>,
}

#[derive(Deserialize)]
struct Author {
    username: Option<String>,
    name: Option<String>,
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
    if let Some(pull) = file.pull_request {
        let bot = pull.user.is_some_and(|user| user.kind == "Bot" || title::is_bot(&user.login));
        let merge = pull.merge_commit_sha.and_then(|id| id.parse().ok());
        return Ok(Event::Pull { title: pull.title, number: pull.number, bot, merge, merged: pull.merged });
    }
    if file.commits.is_empty() {
        return Ok(Event::Other);
    }
    Ok(Event::Push(file.commits.iter().filter_map(read_pushed).collect()))
}

/// A pushed commit whose message names a pull request. (Others are looked up by the API first.) The event does not
/// tell parents: a message that reads as one of a merge is taken as that.
fn read_pushed(pushed: &Pushed) -> Option<Change> {
    let message = title::parse_message(&pushed.message, 2);
    if message.merge == Merge::None {
        return None;
    }
    let author = pushed.author.as_ref();
    let names = author.into_iter().flat_map(|author| [&author.username, &author.name]).flatten();
    Some(Change {
        commit: pushed.id.parse().ok()?,
        number: message.number,
        title: message.title.to_owned(),
        source: TitleSource::Event,
        bot: message.bot_branch || names.into_iter().any(|name| title::is_bot(name)),
    })
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
    fn of_a_push_the_commits_that_name_a_request_are_read() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let text = format!(
            r#"{{"commits":[{{"id":"{a}","message":"Merge pull request #3 from x/y\n\n[major] z"}},
               {{"id":"{b}","message":"rebased","author":{{"username":"ada"}}}}]}}"#
        );
        let Event::Push(changes) = parse(&text).unwrap() else { panic!() };
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].title.as_str(), changes[0].number), ("[major] z", Some(3)));
    }

    #[test]
    fn anything_else_is_no_error_unless_it_is_no_json() {
        assert_eq!(parse(r#"{"action":"x"}"#).unwrap(), Event::Other);
        assert!(parse("hello").is_err());
    }
}
