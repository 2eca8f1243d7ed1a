//! `bowline diff`: what somebody changed on a target by hand, or where two targets differ.

use std::collections::BTreeSet;
use std::process::ExitCode;

use bowline_core::parity::Difference;
use clap::Args;

use crate::cli::Context;
use crate::config::Config;
use crate::error::Outcome;
use crate::operation::diff::observe;
use crate::operation::parity;
use crate::operation::target::Connected;
use crate::ui::{count, printable, table};

/// What `diff` takes.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The target's name in bowline.toml
    target: String,
    /// Another target: compares what the files of this checkout make of the two, and asks neither
    other: Option<String>,
    /// Exit with 1 when something differs
    #[arg(long)]
    check: bool,
}

/// Shows where two targets differ, service by service.
async fn between(context: &Context, config: &Config, args: &DiffArgs, other: &str) -> Outcome<ExitCode> {
    let report = parity::compare(config, &args.target, other).await?;
    for warning in &report.warnings {
        context.ui.warn(printable(warning));
    }
    if context.ui.json {
        context.ui.data(&report);
    } else if report.differences.is_empty() {
        context.ui.say(printable(&format!("{} and {other}: no differences", args.target)));
    } else {
        let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let row = |found: &Difference| {
            vec![found.service.clone(), found.what.clone(), side(&found.one), side(&found.other)]
        };
        let rows: Vec<_> = report.differences.iter().map(row).collect();
        let header = ["SERVICE", "WHAT", &args.target.to_uppercase(), &other.to_uppercase()];
        context.ui.print(&table::render(&header, &rows));
        let services: BTreeSet<&String> = report.differences.iter().map(|found| &found.service).collect();
        let (differences, services) =
            (count(report.differences.len(), "difference"), count(services.len(), "service"));
        context.ui.say(format!("{differences} in {services}; nothing was asked of either target"));
    }
    Ok(ExitCode::from(u8::from(args.check && !report.differences.is_empty())))
}

/// Shows how a target differs from what its newest revision left there. Changes nothing.
///
/// # Errors
/// When the target cannot be reached, or nothing was deployed to it yet.
pub async fn run(context: &Context, args: DiffArgs) -> Outcome<ExitCode> {
    let config = Config::load(&context.directory)?;
    if let Some(other) = &args.other {
        return between(context, &config, &args, other).await;
    }
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
