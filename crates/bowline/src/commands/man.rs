//! `bowline man`.

use clap::Command;

use crate::error::{Attempt, Outcome};

/// Writes the manual page (roff) to stdout.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(command: Command) -> Outcome<()> {
    clap_mangen::Man::new(command).render(&mut std::io::stdout()).attempt(|| "writing the manual page".into())
}
