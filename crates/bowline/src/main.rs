//! The `bowline` binary: everything is in the library, so that tests and the server can call it.

use std::process::ExitCode;

fn main() -> ExitCode {
    bowline::cli::run()
}
