//! `bowline status`: what runs where.

use std::process::ExitCode;

use bowline_core::status::ServiceStatus;
use clap::Args;
use jiff::Timestamp;

use crate::cli::Context;
use crate::config::Config;
use crate::error::Outcome;
use crate::operation::status::{Report, observe};
use crate::operation::target::Connected;
use crate::ui::{printable, table, width};

/// What `status` takes.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The target's name in bowline.toml
    target: String,
    /// Exit with 1 when a service does not do its work
    #[arg(long)]
    check: bool,
}

/// Shows what runs on a target. Changes nothing.
///
/// # Errors
/// When the target cannot be reached.
pub async fn run(context: &Context, args: StatusArgs) -> Outcome<ExitCode> {
    let config = Config::load(&context.directory)?;
    let report = observe(&Connected::open(&config, &args.target).await?).await?;
    if context.ui.json {
        context.ui.data(&report);
    } else {
        show(context, &report);
    }
    let failed = args.check && !report.status.healthy;
    Ok(ExitCode::from(u8::from(failed)))
}

fn show(context: &Context, report: &Report) {
    let ui = &context.ui;
    let status = &report.status;
    let what = match (&status.release, status.revision) {
        (Some(release), Some(number)) => format!("{release} (revision {number})"),
        (None, Some(number)) => format!("what was adopted (revision {number})"),
        _ => "nothing that Bowline deployed".into(),
    };
    let health = match (status.services.is_empty(), status.healthy) {
        (true, _) => "nothing runs",
        (false, true) => "healthy",
        (false, false) => "NOT HEALTHY",
    };
    ui.print(&printable(&format!("{}: {what}, {health}", status.target)));
    if !status.services.is_empty() {
        ui.print("");
        ui.print(&services(report));
    }
    if let Some(running) = &report.running {
        ui.say(printable(&format!("at this moment: {running}")));
    }
    if let Some(interrupted) = &status.interrupted {
        ui.warn(printable(&format!(
            "a run did not end: {interrupted}; the next deploy or rollback finishes or undoes it"
        )));
    }
    if let Some(lock) = report.lock.as_ref().filter(|lock| report.running.is_none() && !lock.over) {
        ui.say(printable(&format!("locked by {} (bowline {})", lock.by, lock.verb)));
    }
    if !report.drifted.is_empty() {
        ui.warn(printable(&format!(
            "not as it was left: {}; `bowline diff {}` shows what somebody changed",
            report.drifted.join(", "),
            status.target
        )));
    }
    for (name, why) in &report.unreadable {
        ui.warn(printable(&format!("{name} cannot be read: {why}")));
    }
}

fn services(report: &Report) -> String {
    let counted = report.status.services.iter().any(|service| service.count.is_some());
    let row = |service: &ServiceStatus| {
        let digest = service.digest.as_deref().unwrap_or("-");
        let digest = digest.strip_prefix("sha256:").unwrap_or(digest);
        let ready =
            service.count.map_or_else(|| "-".into(), |count| format!("{}/{}", count.ready, count.wanted));
        let mut row = vec![
            service.name.clone(),
            service.version.clone().unwrap_or_else(|| "-".into()),
            digest.chars().take(12).collect(),
        ];
        row.extend(counted.then_some(ready));
        let since = age(service.since.as_deref(), report.now);
        // The state of pods that are not up can be long: it comes last.
        row.extend(if counted { [since, service.state.clone()] } else { [service.state.clone(), since] });
        row
    };
    let rows: Vec<_> = report.status.services.iter().map(row).collect();
    match counted {
        true => {
            let header = ["SERVICE", "VERSION", "IMAGE", "READY", "FOR", "STATE"];
            table::render_within(&header, &rows, width::of_stdout())
        }
        false => table::render(&["SERVICE", "VERSION", "IMAGE", "STATE", "FOR"], &rows),
    }
}

/// Since when, as a span by the engine's clock. One that was never started has the year 1.
fn age(since: Option<&str>, now: Timestamp) -> String {
    let since = since.and_then(|text| text.parse::<Timestamp>().ok());
    match since {
        Some(since) if since > Timestamp::UNIX_EPOCH => table::span(now.duration_since(since).as_secs()),
        _ => "-".into(),
    }
}
