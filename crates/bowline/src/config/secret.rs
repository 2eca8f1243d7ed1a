//! Secrets are named in the configuration, never written there.

use std::path::{Path, PathBuf};

use crate::error::{Failure, Outcome};

/// Where a secret is found when it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// In an environment variable: `env:NAME`.
    Env(String),
    /// In a file, relative to the configuration's directory: `file:PATH`.
    File(PathBuf),
}

/// A file that is longer than this holds no token (64 KiB).
const LONGEST: u64 = 1 << 16;

impl Secret {
    /// Reads `env:NAME` or `file:PATH`; `None` for anything else, which would be the secret itself.
    pub fn parse(text: &str) -> Option<Self> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if let Some(name) = text.strip_prefix("env:") {
            let named = !name.is_empty()
                && name.chars().all(legal)
                && !name.starts_with(|c: char| c.is_ascii_digit());
            return named.then(|| Self::Env(name.into()));
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
        }
    }
}
