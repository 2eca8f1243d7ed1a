//! `bowline plan TARGET [VERSION]`.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::json;

use crate::cli::Context;
use crate::config::Config;
use crate::error::Outcome;
use crate::operation::delivery::Delivery;
use crate::operation::depot::Depot;
use crate::ui::plan::{refuse, render, render_findings};

/// What to plan.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The target, as bowline.toml names it
    pub target: String,
    /// The release (else the newest that is complete): v1.2.3-0a1b2c3 or 1.2.3
    #[arg(id = "release", value_name = "VERSION")]
    pub version: Option<String>,
    /// Only this service of the compose file; may be given several times
    #[arg(long = "service", short = 's', value_name = "SERVICE")]
    pub services: Vec<String>,
}

/// Shows what `deploy` would do.
///
/// # Errors
/// When the target cannot be reached, there is no such release, or the deploy would be refused.
pub async fn run(context: &Context, args: PlanArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let depot = Depot::open(&config).await?;
    let delivery = Delivery::open(&config, &depot, &args.target).await?;
    let release = delivery.choose(args.version.as_deref()).await?;
    let goal = delivery.goal(&release, "plan");
    let only: BTreeSet<String> = args.services.into_iter().collect();
    let proposal = delivery.plan(&goal, &only).await?;
    let now = proposal.look.observed.revision.as_ref().and_then(|revision| revision.release.clone());
    let ui = &context.ui;
    if ui.json {
        ui.data(&json!({
            "target": args.target, "from": now, "to": release.record.tag, "base": proposal.plan.base,
            "steps": proposal.plan.steps, "warnings": proposal.findings.warnings,
            "refusals": proposal.findings.refusals, "notes": proposal.prepared.warnings,
        }));
    } else {
        let from = now.unwrap_or_else(|| "nothing".into());
        ui.print(&format!("{}: {from} -> {}", args.target, release.record.tag));
        if proposal.plan.is_empty() {
            ui.print("  nothing to do: it runs already");
        } else {
            ui.print(&render(&proposal.plan, &proposal.prepared.desired));
        }
    }
    for warning in proposal.prepared.warnings.iter().chain(&render_findings(&proposal.findings.warnings)) {
        ui.warn(crate::ui::printable(warning));
    }
    refuse(&args.target, &proposal.findings).map_or(Ok(()), Err)
}
