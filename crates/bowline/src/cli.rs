//! The command line: what can be asked. Each verb's arguments live with its command.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands;
use crate::error::{Failure, Outcome};
use crate::ui::Ui;

/// From a merged change to healthy containers.
#[derive(Debug, Parser)]
#[command(name = "bowline", version, max_term_width = 100)]
pub struct Cli {
    /// Run as if started in this directory
    #[arg(
        short = 'C',
        long = "directory",
        value_name = "DIR",
        default_value = ".",
        hide_default_value = true,
        global = true,
        display_order = 900
    )]
    pub directory: PathBuf,
    /// Print JSON on stdout, one object a line
    #[arg(long, global = true, display_order = 901)]
    pub json: bool,
    /// Say only what went wrong
    #[arg(short, long, global = true, display_order = 902)]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What Bowline can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Look at the repository and write bowline.toml
    Init(commands::init::InitArgs),
    /// Say which version comes next and why; write nothing
    Version(commands::version::VersionArgs),
    /// Build artifacts and images into the local cache
    Build(commands::build::BuildArgs),
    /// Reserve the version, build, push, and commit the release
    Release(commands::release::ReleaseArgs),
    /// Show exactly what deploy would do; change nothing
    Plan(commands::plan::PlanArgs),
    /// Bring a target to a release and wait until it is healthy, or put back what was there
    Deploy(commands::deploy::DeployArgs),
    /// Release, then deploy
    Ship(commands::ship::ShipArgs),
    /// Go back to the release before, or to a named one
    Rollback(commands::rollback::RollbackArgs),
    /// Show what runs on a target
    Status(commands::status::StatusArgs),
    /// Show what ran on a target before, and how it came to be
    History(commands::history::HistoryArgs),
    /// Show what the services of a target write
    Logs(commands::logs::LogsArgs),
    /// Run a command in a container that runs already
    Exec(commands::exec::ExecArgs),
    /// Show what somebody changed on a target by hand, or where two targets differ
    Diff(commands::diff::DiffArgs),
    /// Remove what nothing needs any more, on a target or in the registry
    Prune(commands::prune::PruneArgs),
    /// Show who may change a target, or take that away in an emergency
    Lock(commands::lock::LockArgs),
    /// Take over what runs on a target already, without touching it
    Adopt(commands::adopt::AdoptArgs),
    /// Give a target back to plain Compose or kubectl
    Detach(commands::detach::DetachArgs),
    /// Check tools, access, clocks, disk and credentials; each finding with its remedy
    Doctor(commands::doctor::DoctorArgs),
    /// Show what a target's machines carry: measured, advised
    Capacity(commands::capacity::CapacityArgs),
    /// Serve the embedded registry to others
    Registry(commands::registry::RegistryArgs),
    /// Print the completion script for a shell
    Completions(commands::completions::CompletionsArgs),
    /// Print the JSON schema of bowline.toml, for editors
    Schema,
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

/// What every command is given: where to work and how to talk.
#[derive(Clone)]
pub struct Context {
    /// The directory that holds `bowline.toml`.
    pub directory: PathBuf,
    /// The channels.
    pub ui: Ui,
}

/// Parses the command line, does what it asks, and says how it ended.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) => {
            let code = u8::try_from(help.exit_code()).unwrap_or(2);
            // A closed pipe (`bowline --help | head`) is no failure.
            let _ = help.print();
            return ExitCode::from(code);
        }
    };
    let ui = Ui::new(cli.json, cli.quiet);
    let context = Context { directory: cli.directory, ui: ui.clone() };
    let _silence = crate::forge::silence();
    match check_directory(&context.directory).and_then(|()| dispatch(&context, cli.verb)) {
        Ok(code) => code,
        Err(failure) => {
            ui.fail(&failure);
            failure.exit_code()
        }
    }
}

/// Otherwise whoever uses it first says so, each in another way.
fn check_directory(directory: &Path) -> Outcome<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let failure = Failure::invalid(format!("working in {}", directory.display()));
    Err(failure.since("there is no such directory").hint("-C names the directory that holds bowline.toml"))
}

fn dispatch(context: &Context, verb: Verb) -> Outcome<ExitCode> {
    match verb {
        Verb::Init(args) => commands::init::run(context, &args),
        Verb::Build(args) => wait(commands::build::run(context, args)),
        Verb::Version(args) => wait(commands::version::run(context, args)),
        Verb::Release(args) => wait(commands::release::run(context, args)),
        Verb::Plan(args) => wait(commands::plan::run(context, args)),
        Verb::Deploy(args) => wait(commands::deploy::run(context, args)),
        Verb::Ship(args) => wait(commands::ship::run(context, args)),
        Verb::Rollback(args) => wait(commands::rollback::run(context, args)),
        Verb::Capacity(args) => wait(commands::capacity::run(context, args)),
        Verb::Registry(args) => wait(commands::registry::run(context, args)),
        Verb::Adopt(args) => wait(commands::adopt::run(context, args)),
        Verb::Detach(args) => wait(commands::detach::run(context, args)),
        Verb::Doctor(args) => return wait(commands::doctor::run(context, args)),
        Verb::Status(args) => return wait(commands::status::run(context, args)),
        Verb::History(args) => wait(commands::history::run(context, args)),
        Verb::Logs(args) => wait(commands::logs::run(context, args)),
        Verb::Exec(args) => return wait(commands::exec::run(context, args)),
        Verb::Diff(args) => return wait(commands::diff::run(context, args)),
        Verb::Prune(args) => wait(commands::prune::run(context, args)),
        Verb::Lock(args) => wait(commands::lock::run(context, args)),
        Verb::Completions(args) => commands::completions::run(args, &mut Cli::command()),
        Verb::Schema => commands::schema::run(context),
        Verb::Man => commands::man::run(Cli::command()),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Starts the runtime for a command that waits for something. Commands that do not wait do not pay for it.
///
/// # Errors
/// What the command returns, or that the runtime could not start.
pub fn wait<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("starting the runtime").because(&error))?
        .block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
    }
}
