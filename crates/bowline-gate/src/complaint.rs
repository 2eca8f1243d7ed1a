//! Says what is wrong once, and once that it is over.

use std::fmt::Display;
use std::io::Write as _;

/// One kind of trouble, which may last.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    open: bool,
}

impl Complaint {
    /// Takes in how it went. Says on stderr why it failed and what follows from it, the first time only, and when it
    /// works again.
    pub(crate) fn hear<T>(&mut self, consequence: &str, outcome: Result<T, impl Display>) -> Option<T> {
        match outcome {
            Ok(value) => {
                if std::mem::take(&mut self.open) {
                    say("that is over; all goes on as before");
                }
                Some(value)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.open, true) {
                    say(&format!("{error}; {consequence}; this is said once"));
                }
                None
            }
        }
    }

    /// Whether it goes wrong at present.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }
}

/// Says a line to people.
pub(crate) fn say(line: &str) {
    // Where nobody listens, there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "bowline-gate: {line}");
}
