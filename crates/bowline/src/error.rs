//! The one error that people see, and the exit codes it leads to.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// What a failure means for the target and for whoever called; each has one exit code (design, "Verbs").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// 1: it failed, and the target is as it was.
    Failed,
    /// 2: the request or the configuration is wrong.
    Invalid,
    /// 3: somebody else holds the lock.
    Locked,
    /// 4: the target cannot be reached.
    Unreachable,
    /// 5: it failed and could not be put back: a person is needed.
    Stranded,
}

impl FailureKind {
    /// The process exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Invalid => 2,
            Self::Locked => 3,
            Self::Unreachable => 4,
            Self::Stranded => 5,
        }
    }
}

/// A failure in words for people: what was attempted on what, why it failed, and what to do next.
///
/// Adapters return their own typed errors; an operation turns them into this, adding kind and hint.
#[derive(Debug)]
pub struct Failure {
    /// What it means.
    pub kind: FailureKind,
    /// What was attempted, on what, in one line without a final full stop.
    pub message: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// Lines shown as they are below the causes: the end of a log, a source excerpt with a caret.
    pub detail: Vec<String>,
    /// Excerpts of a source with carets, coloured, in which the characters of strangers are harmless already.
    pub excerpt: Option<Box<str>>,
    /// What to do next.
    pub hint: Option<String>,
}

/// The result of everything in this crate that can fail in front of a user.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            detail: Vec::new(),
            excerpt: None,
            hint: None,
        }
    }

    /// It failed, and the target is as it was (exit 1).
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Failed, message)
    }

    /// The request or the configuration is wrong (exit 2).
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Invalid, message)
    }

    /// Adds why: the error and all its sources, each said once.
    #[must_use]
    pub fn because(mut self, error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if self.causes.last() != Some(&text) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds why, in words.
    #[must_use]
    pub fn since(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds lines that are shown as they are.
    #[must_use]
    pub fn detail(mut self, lines: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.detail.extend(lines.into_iter().map(Into::into));
        self
    }

    /// Adds excerpts of a source, coloured. They must have been made safe to show.
    #[must_use]
    pub fn excerpt(mut self, text: impl Into<Box<str>>) -> Self {
        self.excerpt = Some(text.into());
        self
    }

    /// The exit code for `main`.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl Error for Failure {}

/// Adds what was attempted to any error of a library.
pub trait Attempt<T> {
    /// Turns an error into a [`Failure`] of kind `Failed` that says what was attempted.
    ///
    /// # Errors
    /// The failure.
    fn attempt(self, what: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T, E: Error + 'static> Attempt<T> for Result<T, E> {
    fn attempt(self, what: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|error| Failure::failed(what()).because(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once_and_in_order() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        let failure = Failure::failed("reading x").because(&Outer(std::io::Error::other("inner")));
        assert_eq!(failure.to_string(), "reading x: outer: inner");
        assert_eq!(failure.kind.code(), 1);
    }
}
