//! The pull requests behind a commit, asked of GitHub's API
//! (docs.github.com/rest/commits, "List pull requests associated with a commit").

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::history::{Change, CommitId, TitleSource};
use bowline_core::title::{self, excerpt};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, RETRY_AFTER};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Surroundings;
use crate::http;

/// No more commits than this are asked for: a first release would use up the hourly limit.
const MOST: usize = 100;
/// All questions together may take this long.
const PATIENCE: Duration = Duration::from_secs(45);
const AT_ONCE: usize = 4;
const LIMIT: usize = 16 << 20;

#[derive(Deserialize)]
struct Pull {
    number: u64,
    #[serde(default)]
    title: Option<String>,
    merged_at: Option<String>,
    user: Option<User>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    login: String,
    #[serde(default, rename = "type")]
    kind: String,
}

/// The merged pull requests of each commit. What could not be found out is missing, and the second value says why, in
/// plain words: titles then come from commit messages.
pub async fn pull_requests(
    surroundings: &Surroundings,
    commits: &[CommitId],
) -> (BTreeMap<CommitId, Vec<Change>>, Option<String>) {
    let client = match http::client() {
        Ok(client) => client,
        Err(failure) => return (BTreeMap::new(), Some(format!("the GitHub API was not asked: {failure}"))),
    };
    let deadline = Instant::now() + PATIENCE;
    let surroundings = Arc::new(surroundings.clone());
    let mut found = BTreeMap::new();
    let mut trouble = None;
    let mut waiting = commits.iter().take(MOST);
    let mut asking = JoinSet::new();
    loop {
        while trouble.is_none() && asking.len() < AT_ONCE {
            let Some(commit) = waiting.next().cloned() else { break };
            let (client, surroundings) = (client.clone(), surroundings.clone());
            asking.spawn(async move {
                let answer = ask(&client, &surroundings, &commit, deadline).await;
                (commit, answer)
            });
        }
        match asking.join_next().await {
            None => break,
            Some(Ok((commit, Ok(changes)))) => drop(found.insert(commit, changes)),
            Some(Ok((commit, Err(why)))) => {
                trouble.get_or_insert(format!(
                    "the GitHub API did not tell about commit {}: {why}",
                    commit.short()
                ));
            }
            Some(Err(_)) => {}
        }
    }
    if trouble.is_none() && commits.len() > MOST {
        trouble =
            Some(format!("the GitHub API was asked about the newest {MOST} of {} commits", commits.len()));
    }
    (found, trouble)
}

async fn ask(
    client: &reqwest::Client,
    surroundings: &Surroundings,
    commit: &CommitId,
    deadline: Instant,
) -> Result<Vec<Change>, String> {
    let repository = surroundings.repository.as_deref().unwrap_or_default();
    let address = format!(
        "{}/repos/{repository}/commits/{commit}/pulls?per_page=100",
        surroundings.api.trim_end_matches('/')
    );
    let mut pause = Duration::from_millis(250);
    loop {
        let mut request = client.get(&address).header(ACCEPT, "application/vnd.github+json");
        request = request.header("X-GitHub-Api-Version", "2022-11-28");
        if let Some(token) = &surroundings.token {
            request = request.bearer_auth(token);
        }
        let result = tokio::time::timeout_at(deadline, request.send()).await;
        let response = result.map_err(|_| "no answer in time".to_owned())?;
        let (why, asked) = match response {
            Ok(response) if response.status().is_success() => {
                let read = tokio::time::timeout_at(deadline, http::body(response, LIMIT)).await;
                let bytes = read
                    .map_err(|_| "no answer in time".to_owned())?
                    .map_err(|error| http::causes(&error))?;
                return parse(&bytes, commit);
            }
            Ok(response) if passes(response.status()) => {
                let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let asked = header.and_then(|text| text.parse().ok()).map(Duration::from_secs);
                (format!("it answered {}", response.status()), asked)
            }
            // No pull request knows the commit, or the commit was never pushed.
            Ok(response) if response.status() == StatusCode::UNPROCESSABLE_ENTITY => return Ok(Vec::new()),
            Ok(response) => return Err(format!("it answered {}", response.status())),
            Err(error) => (excerpt(&http::causes(&error.without_url())), None),
        };
        // Full jitter, so that many runs do not come back at once.
        let wait = asked.unwrap_or_else(|| pause.mul_f64(rand::random::<f64>()));
        if Instant::now() + wait + Duration::from_secs(1) > deadline || pause > Duration::from_secs(4) {
            return Err(why);
        }
        tokio::time::sleep(wait).await;
        pause *= 2;
    }
}

/// Whether a later try may do better.
fn passes(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn parse(bytes: &[u8], commit: &CommitId) -> Result<Vec<Change>, String> {
    let text = String::from_utf8_lossy(bytes);
    let pulls: Vec<Pull> =
        serde_json::from_str(&text).map_err(|error| format!("its answer is not understood: {error}"))?;
    let merged = pulls.into_iter().filter(|pull| pull.merged_at.is_some());
    let change = |pull: Pull| Change {
        commit: commit.clone(),
        number: Some(pull.number),
        title: pull.title.unwrap_or_default(),
        source: TitleSource::Api,
        bot: pull.user.is_some_and(|user| user.kind == "Bot" || title::is_bot(&user.login)),
    };
    Ok(merged.map(change).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_merged_requests_count() {
        let commit = "a".repeat(40).parse().unwrap();
        let text = br#"[{"number":1,"title":"[major] x","merged_at":"2026-01-01T00:00:00Z"},
                        {"number":2,"title":"[minor] y","merged_at":null}]"#;
        let changes = parse(text, &commit).unwrap();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].number, Some(1));
        assert!(parse(b"<html>", &commit).is_err());
    }
}
