//! What GitHub knows about merged changes: the event file of a workflow run, and the API.

mod api;
mod event;

use std::fmt;
use std::path::PathBuf;

pub use api::pull_requests;
pub use event::{Event, read};

/// Where a workflow run finds out about itself. Empty outside GitHub Actions.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// `$GITHUB_EVENT_PATH`.
    pub event: Option<PathBuf>,
    /// `$GITHUB_API_URL`, else the public API.
    pub api: String,
    /// `$GITHUB_REPOSITORY`: `owner/name`.
    pub repository: Option<String>,
    /// `$GITHUB_TOKEN`.
    token: Option<String>,
}

impl Surroundings {
    /// Reads the environment.
    pub fn observe() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            event: text("GITHUB_EVENT_PATH").map(PathBuf::from),
            api: text("GITHUB_API_URL").unwrap_or_else(|| "https://api.github.com".to_owned()),
            repository: text("GITHUB_REPOSITORY"),
            token: text("GITHUB_TOKEN"),
        }
    }

    /// Whether the API can be asked: there is a token, and a repository to ask about.
    pub fn has_api(&self) -> bool {
        self.token.is_some() && self.repository.is_some()
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "***");
        f.debug_struct("Surroundings")
            .field("event", &self.event)
            .field("api", &self.api)
            .field("repository", &self.repository)
            .field("token", &token)
            .finish()
    }
}
