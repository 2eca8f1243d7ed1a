//! Secrets are named in the configuration, never written there.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::error::{Failure, Outcome};

/// Where a secret is found when it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// In an environment variable: `env:NAME`.
    Env(String),
    /// In a file, relative to the configuration's directory: `file:PATH`.
    File(PathBuf),
    /// What a command prints, run without a shell in the configuration's directory: `command:op read op://vault/key`.
    Command(Vec<String>),
}

/// How long a command may take to tell a secret.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file that is longer than this holds no token (64 KiB).
const LONGEST: u64 = 1 << 16;

impl Secret {
    /// Reads `env:NAME`, `file:PATH` or `command:WORDS`; `None` for anything else, which would be the secret itself.
    pub fn parse(text: &str) -> Option<Self> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if let Some(name) = text.strip_prefix("env:") {
            let named = !name.is_empty()
                && name.chars().all(legal)
                && !name.starts_with(|c: char| c.is_ascii_digit());
            return named.then(|| Self::Env(name.into()));
        }
        if let Some(line) = text.strip_prefix("command:") {
            return shlex::split(line).filter(|words| !words.is_empty()).map(Self::Command);
        }
        text.strip_prefix("file:").filter(|path| !path.is_empty()).map(|path| Self::File(path.into()))
    }

    /// The secret, without a line break at its end. It must go nowhere but to whom it is meant for.
    ///
    /// # Errors
    /// Kind `Invalid`: the variable is not set, or the file cannot be read. Never holds the secret.
    pub fn read(&self, directory: &Path) -> Outcome<String> {
        let found = match self {
            Self::Env(name) => std::env::var(name).map_err(|_| {
                Failure::invalid(format!("the environment variable {name} is not set, or not text"))
            })?,
            Self::File(path) => {
                let path = directory.join(path);
                let reading = || Failure::invalid(format!("reading the secret in {}", path.display()));
                let length = std::fs::metadata(&path).map_err(|error| reading().because(&error))?.len();
                if length > LONGEST {
                    return Err(reading().since(format!("it has {length} bytes; {LONGEST} are allowed")));
                }
                std::fs::read_to_string(&path).map_err(|error| reading().because(&error))?
            }
            Self::Command(words) => run(words, directory)?,
        };
        let found = found.trim_end_matches(['\r', '\n']);
        match (found.is_empty(), self) {
            (false, _) => Ok(found.into()),
            (true, Self::Env(name)) => {
                Err(Failure::invalid(format!("the environment variable {name} is empty")))
            }
            (true, Self::File(path)) => {
                Err(Failure::invalid(format!("the secret in {} is empty", path.display())))
            }
            (true, Self::Command(words)) => {
                let program = words.first().map_or("", String::as_str);
                Err(Failure::invalid(format!("`{program}` printed no secret")))
            }
        }
    }
}

/// What a command prints. Its complaints are shown; what it printed is not, whatever happened.
fn run(words: &[String], directory: &Path) -> Outcome<String> {
    let (program, arguments) =
        words.split_first().map_or(("", words), |(first, rest)| (first.as_str(), rest));
    let asking = || Failure::invalid(format!("asking `{program}` for a secret"));
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| asking().because(&error).hint("is it installed, and in PATH?"))?;
    let deadline = Instant::now() + PATIENCE;
    // What it prints fits into a pipe, or it is no secret: it may end before anybody reads.
    let ended = loop {
        match child.try_wait().map_err(|error| asking().because(&error))? {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let Some(status) = ended else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(asking().since(format!("it did not end within {} s", PATIENCE.as_secs())));
    };
    let output = child.wait_with_output().map_err(|error| asking().because(&error))?;
    if !status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let last = complaint.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        return Err(asking().since(format!("{status}: {}", last.trim())));
    }
    String::from_utf8(output.stdout).map_err(|_| asking().since("what it printed is not text"))
}
