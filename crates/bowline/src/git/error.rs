//! What can go wrong with git, and what to do then.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::Failure;

/// Why something could not be done with git. URLs in it carry no credentials.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no git.
    #[error("git is not installed")]
    Missing,
    /// It does not know what is needed.
    #[error("this git is older than 2.32")]
    TooOld,
    /// It could not be started.
    #[error("starting git in {}", .directory.display())]
    Start {
        /// Where.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Talking to the process failed.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error("{what}: git gave no answer within {seconds} s")]
    TimedOut {
        /// What was attempted.
        what: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// It printed too much.
    #[error("{what}: git printed more than 256 MiB")]
    TooLong {
        /// What was attempted.
        what: String,
    },
    /// The directory is in no repository.
    #[error("{} is not in a git repository", crate::ui::place(.directory))]
    NoRepository {
        /// Which directory.
        directory: PathBuf,
    },
    /// The repository belongs to somebody else (`safe.directory`).
    #[error("git does not trust the repository in {}, because it belongs to another user", .directory.display())]
    Distrusted {
        /// Which directory.
        directory: PathBuf,
    },
    /// A name leads to no commit.
    #[error("`{name}` leads to no commit in this clone")]
    NoCommit {
        /// The name.
        name: String,
        /// Whether the clone is shallow: it may exist elsewhere.
        shallow: bool,
    },
    /// The clone has no such remote.
    #[error("the repository has no remote `{name}`{}", listed(.others))]
    NoRemote {
        /// The name.
        name: String,
        /// The remotes that it has.
        others: Vec<String>,
    },
    /// The remote did not do what was asked.
    #[error("{what}: {said}")]
    Remote {
        /// What was attempted, with the remote's name.
        what: String,
        /// The end of what git said.
        said: String,
        /// Why, as far as git's words tell.
        trouble: Trouble,
        /// Whether the clone is shallow, so that it cannot stand in for the remote.
        shallow: bool,
    },
    /// The history of the commit cannot be had.
    #[error(
        "{what}: commit {commit} or a commit before it is neither in this shallow clone nor on the remote"
    )]
    NoHistory {
        /// What was attempted.
        what: String,
        /// The commit.
        commit: String,
    },
    /// Git failed otherwise.
    #[error("{what}: {said}")]
    Failed {
        /// What was attempted.
        what: String,
        /// The end of what git said.
        said: String,
    },
}

/// Why a remote does not answer as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It wants other credentials.
    Credentials,
    /// The way to it is broken.
    Network,
    /// It is not there.
    Absent,
    /// Something else.
    Other,
}

impl GitError {
    pub(super) fn start(source: io::Error, directory: &Path) -> Self {
        // A missing working directory is reported the same way by the system.
        if source.kind() == io::ErrorKind::NotFound && directory.is_dir() {
            Self::Missing
        } else {
            Self::Start { directory: directory.to_owned(), source }
        }
    }

    pub(super) fn no_repository(directory: &Path, stderr: &str) -> Self {
        let directory = directory.to_owned();
        if stderr.contains("dubious ownership") {
            Self::Distrusted { directory }
        } else {
            Self::NoRepository { directory }
        }
    }

    pub(super) fn failed(what: String, stderr: &str) -> Self {
        Self::Failed { what, said: said(stderr) }
    }

    pub(super) fn remote(what: String, stderr: &str, shallow: bool) -> Self {
        Self::Remote { what, said: said(stderr), trouble: trouble(stderr), shallow }
    }

    /// Whether trying again may do better.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::Remote { trouble: Trouble::Network, .. })
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing => "install git (Debian: apt-get install git)".to_owned(),
            Self::TooOld => "install a newer git".to_owned(),
            Self::Distrusted { directory } => {
                format!("git config --global --add safe.directory '{}'", directory.display())
            }
            Self::NoRepository { .. } => {
                "run bowline inside the repository, or point at it with -C DIR".to_owned()
            }
            Self::NoCommit { shallow: true, .. } => "fetch it, or check out with more depth".to_owned(),
            Self::NoCommit { .. } => {
                "commit something first, or name another commit with --commit".to_owned()
            }
            Self::NoRemote { .. } => {
                "name one with --remote, or add it: git remote add origin URL".to_owned()
            }
            Self::TimedOut { .. } => "check the network and the remote, then run it again".to_owned(),
            Self::NoHistory { .. } => "push the commit, or run `git fetch --unshallow`".to_owned(),
            Self::Remote { trouble, shallow, .. } => {
                let remedy = match trouble {
                    Trouble::Credentials => {
                        "check that this machine may read and push there: a token or key that git finds without asking \
                         (credential helper, ssh agent; in GitHub Actions `permissions: contents: write`)"
                    }
                    Trouble::Network => "check the network and the remote's address, then run it again",
                    Trouble::Absent => "check the remote's address: git remote -v",
                    Trouble::Other => {
                        "see what git says above; `git ls-remote` shows whether the remote answers"
                    }
                };
                let why =
                    "; this clone is shallow, so its own tags and history cannot stand in for the remote's";
                format!("{remedy}{}", if *shallow { why } else { "" })
            }
            Self::Start { .. } | Self::Io { .. } | Self::TooLong { .. } | Self::Failed { .. } => return None,
        })
    }
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        let failure = match &error {
            GitError::Missing
            | GitError::TooOld
            | GitError::NoRepository { .. }
            | GitError::Distrusted { .. }
            | GitError::NoCommit { .. }
            | GitError::NoRemote { .. } => Self::invalid(error.to_string()),
            _ => Self::failed(error.to_string()),
        };
        let failure = match std::error::Error::source(&error) {
            Some(source) => failure.because(source),
            None => failure,
        };
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

fn listed(others: &[String]) -> String {
    if others.is_empty() { String::new() } else { format!(", only {}", others.join(", ")) }
}

/// The lines of git's stderr that say why: errors, else the last ones; without credentials.
fn said(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let telling = |line: &&&str| {
        ["fatal:", "error:", "remote:", "ssh:", "!"].iter().any(|start| line.starts_with(start))
            || line.contains("Permission denied")
            || line.contains("rejected")
    };
    let mut chosen: Vec<&str> = lines.iter().filter(telling).take(6).copied().collect();
    if chosen.is_empty() {
        chosen = lines.iter().rev().take(3).rev().copied().collect();
    }
    if chosen.is_empty() {
        return "git failed and said nothing".to_owned();
    }
    redact(&chosen.join("; ")).chars().take(1000).collect()
}

/// Text without what stands between `://` and `@`: user names, passwords, tokens.
pub(super) fn redact(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        result.push_str(before);
        result.push_str("://");
        let end = after.find(|c: char| c == '/' || c.is_whitespace() || c == '\'').unwrap_or(after.len());
        let authority = after.get(..end).unwrap_or(after);
        let shown = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        result.push_str(shown);
        rest = after.get(end..).unwrap_or("");
    }
    result.push_str(rest);
    result
}

fn trouble(stderr: &str) -> Trouble {
    let any = |needles: &[&str]| needles.iter().any(|needle| stderr.contains(needle));
    if any(&[
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "Permission denied",
        "Permission to ",
        "error: 401",
        "error: 403",
        "Host key verification failed",
        "terminal prompts disabled",
    ]) {
        Trouble::Credentials
    } else if any(&[
        "Could not resolve",
        "Connection refused",
        "Connection timed out",
        "Connection reset",
        "Failed to connect",
        "Couldn't connect",
        "Network is unreachable",
        "No route to host",
        "early EOF",
        "hung up unexpectedly",
        "returned error: 5",
        "SSL",
        "TLS",
    ]) {
        Trouble::Network
    } else if any(&["does not appear to be a git repository", "not found", "does not exist", "No such file"])
    {
        Trouble::Absent
    } else {
        Trouble::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_cut_out_of_addresses() {
        for (text, expected) in [
            ("fatal: unable to access 'https://u:p@h/x': no", "fatal: unable to access 'https://h/x': no"),
            ("https://token@github.com and ssh://git@h:22/x", "https://github.com and ssh://h:22/x"),
            ("https://u:p@ss@h/x", "https://h/x"),
            ("https://example.com/a@b", "https://example.com/a@b"),
            ("git@github.com:a/b", "git@github.com:a/b"),
            ("file:///tmp/x", "file:///tmp/x"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn troubles_are_told_apart() {
        for (stderr, expected) in [
            (
                "fatal: could not read Username for 'https://x': terminal prompts disabled",
                Trouble::Credentials,
            ),
            ("git@x: Permission denied (publickey).", Trouble::Credentials),
            ("fatal: unable to access 'https://x/': Could not resolve host: x", Trouble::Network),
            ("fatal: '/nowhere' does not appear to be a git repository", Trouble::Absent),
            ("fatal: strange", Trouble::Other),
        ] {
            assert_eq!(trouble(stderr), expected, "{stderr}");
        }
    }
}
