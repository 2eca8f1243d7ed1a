//! The `bowline-gate` binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowline_gate::cli::run()
}
