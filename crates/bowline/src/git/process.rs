//! One git process: what it is given, how long it may take, how much it may say.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{GitError, LIMIT, LOCAL, NETWORK};

/// A call that was not made yet.
#[derive(Debug)]
pub(super) struct Call {
    directory: PathBuf,
    /// What is attempted, for errors: `listing the tags of remote origin`.
    pub(super) what: String,
    pub(super) arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    input: Vec<u8>,
    timeout: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Output {
    what: String,
    /// The exit code; `None`: a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

impl Output {
    pub(super) fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// The output of a call that must not fail.
    pub(super) fn or_fail(self) -> Result<Self, GitError> {
        if self.succeeded() { Ok(self) } else { Err(GitError::failed(self.what, &self.stderr)) }
    }

    /// The lines printed.
    pub(super) fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.stdout).lines().map(str::to_owned).collect()
    }
}

impl Call {
    pub(super) fn new<A: Into<OsString>>(
        directory: &Path,
        what: String,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            directory: directory.to_owned(),
            what,
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            input: Vec::new(),
            timeout: LOCAL,
        }
    }

    pub(super) fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    pub(super) fn envs(mut self, pairs: &[(OsString, OsString)]) -> Self {
        self.environment.extend_from_slice(pairs);
        self
    }

    pub(super) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// It goes to the network.
    pub(super) fn remote(mut self) -> Self {
        self.timeout = NETWORK;
        self
    }

    /// It must not go to the network: git fetches what a partial clone lacks by itself, and would hang or fail there.
    pub(super) fn offline(self) -> Self {
        self.env("GIT_NO_LAZY_FETCH", "1").env("GIT_ALLOW_PROTOCOL", "none")
    }

    pub(super) async fn run(self) -> Result<Output, GitError> {
        let mut child = self.command().spawn().map_err(|source| GitError::start(source, &self.directory))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // Git may end before it has read everything; then its exit code tells.
                let _ = stdin.write_all(&self.input).await;
            }
        };
        let work = async { tokio::join!(feed, read(stdout), read(stderr), child.wait()) };
        // On timeout the child is dropped, and with it killed.
        let Ok(((), stdout, stderr, status)) = tokio::time::timeout(self.timeout, work).await else {
            return Err(GitError::TimedOut { what: self.what, seconds: self.timeout.as_secs() });
        };
        let io = |source| GitError::Io { what: self.what.clone(), source };
        let (stdout, stderr, status) = (stdout.map_err(io)?, stderr.map_err(io)?, status.map_err(io)?);
        if stdout.len() > LIMIT {
            return Err(GitError::TooLong { what: self.what });
        }
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        Ok(Output { what: self.what, code: status.code(), stdout, stderr })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        // The clone's hooks and file watchers are the user's, for the user's own work.
        command.args(["--no-pager", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]);
        command.args(["-c", "log.showSignature=false", "-c", "i18n.logOutputEncoding=UTF-8"]);
        command.args(&self.arguments).current_dir(&self.directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            if redirects(&name) {
                command.env_remove(name);
            }
        }
        command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C").env("LANGUAGE", "C");
        command.env("GIT_NO_REPLACE_OBJECTS", "1").env("GIT_OPTIONAL_LOCKS", "0");
        // Nothing may ask a person: git would fall back to a graphical prompt, ssh to the terminal.
        for (key, value) in [("GIT_ASKPASS", ""), ("GCM_INTERACTIVE", "never")] {
            if std::env::var_os(key).is_none() {
                command.env(key, value);
            }
        }
        command.env("SSH_ASKPASS_REQUIRE", "never");
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }
}

/// Whether a variable would lead git to another repository (as inside a hook) or make it print what it must not.
fn redirects(name: &OsStr) -> bool {
    const REDIRECT: [&str; 14] = [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_COMMON_DIR",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_NAMESPACE",
        "GIT_PREFIX",
        "GIT_SHALLOW_FILE",
        "GIT_GRAFT_FILE",
        "GIT_QUARANTINE_PATH",
        "GIT_CURL_VERBOSE",
        "GIT_LITERAL_PATHSPECS",
        "GIT_EXTERNAL_DIFF",
    ];
    let name = name.to_string_lossy();
    REDIRECT.contains(&name.as_ref()) || name.starts_with("GIT_TRACE")
}

/// Everything, but no more than a byte above the limit is kept; the rest is read and dropped.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(LIMIT as u64 + 1).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}
