//! `bowline completions SHELL`.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::error::Outcome;

/// Which shell.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell to complete for
    shell: Shell,
}

/// Writes the completion script to stdout.
///
/// # Errors
/// Never; the signature is that of every command.
pub fn run(args: CompletionsArgs, command: &mut Command) -> Outcome<()> {
    clap_complete::generate(args.shell, command, "bowline", &mut std::io::stdout());
    Ok(())
}
