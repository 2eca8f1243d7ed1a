//! `bowline diff`: what somebody changed on a target by hand.

use std::process::ExitCode;

use clap::Args;

use crate::cli::Context;
use crate::config::Config;
use crate::error::Outcome;
use crate::operation::diff::observe;
use crate::operation::target::Connected;
use crate::ui::{printable, table};

/// What `diff` takes.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The target's name in bowline.toml
    target: String,
    /// Exit with 1 when something differs
    #[arg(long)]
    check: bool,
}

/// Shows how a target differs from what its newest revision left there. Changes nothing.
///
/// # Errors
/// When the target cannot be reached, or nothing was deployed to it yet.
pub async fn run(context: &Context, args: DiffArgs) -> Outcome<ExitCode> {
    let config = Config::load(&context.directory)?;
    let report = observe(&Connected::open(&config, &args.target).await?).await?;
    let since = match &report.release {
        Some(release) => format!("{release} (revision {})", report.revision),
        None => format!("revision {}", report.revision),
    };
    if context.ui.json {
        context.ui.data(&report);
    } else if report.drift.is_empty() {
        context.ui.say(printable(&format!("{}: nothing was changed since {since}", report.target)));
    } else {
        let rows: Vec<_> =
            report.drift.iter().map(|drift| vec![drift.subject.clone(), drift.text.clone()]).collect();
        context.ui.print(&table::render(&["WHAT", "DIFFERENCE"], &rows));
        context.ui.say(printable(&format!("compared with {since}; the next deploy sets it right")));
    }
    Ok(ExitCode::from(u8::from(args.check && !report.drift.is_empty())))
}
