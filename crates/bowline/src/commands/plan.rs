//! `bowline plan TARGET [VERSION]`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::PathBuf;

use bowline_core::finding::Findings;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::config::Config;
use crate::error::{Attempt, Failure, Outcome};
use crate::operation::archive::Release;
use crate::operation::cluster;
use crate::operation::delivery::{Delivery, Order};
use crate::operation::depot::Depot;
use crate::operation::target::Reached;
use crate::ui::plan::{refuse, render, warn};

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
    /// Plan with these manifests in place of the release's; `-` reads them from a pipe (clusters)
    #[arg(long, value_name = "FILE")]
    pub manifests: Option<PathBuf>,
    /// Write the release's images into the manifests here: only the bytes of the images change (clusters)
    #[arg(long)]
    pub write_images: bool,
    /// Plan as `deploy --renew` would (clusters)
    #[arg(long, value_name = "OBJECT")]
    pub renew: Vec<String>,
    /// Plan as `deploy --prune` would (clusters)
    #[arg(long)]
    pub prune: bool,
}

/// Shows what `deploy` would do.
///
/// # Errors
/// When the target cannot be reached, there is no such release, or the deploy would be refused.
pub async fn run(context: &Context, args: PlanArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let depot = Depot::open(&config).await?;
    let target = Reached::open(&config, &depot, &args.target).await?;
    let release = target.choose(args.version.as_deref()).await?;
    match &target {
        Reached::Host(delivery) => show_host(context, &args, delivery, &release).await,
        Reached::Cluster(delivery) => show_cluster(context, &args, delivery, &release).await,
    }
}

/// A plan as it is shown, of whatever kind of target.
struct Shown {
    from: Option<String>,
    base: Option<u64>,
    steps: Value,
    /// The plan in lines; none where there is nothing to do.
    lines: Option<String>,
    findings: Findings,
    notes: Vec<String>,
}

async fn show_host(
    context: &Context,
    args: &PlanArgs,
    delivery: &Delivery<'_>,
    release: &Release,
) -> Outcome<()> {
    if args.manifests.is_some() || args.write_images || !args.renew.is_empty() || args.prune {
        return Err(Failure::invalid(format!("{} is a Docker host", args.target))
            .since("--manifests, --write-images, --renew and --prune are for clusters"));
    }
    let goal = delivery.goal(release, "plan");
    let only: BTreeSet<String> = args.services.iter().cloned().collect();
    let proposal = delivery.plan(&goal, &only).await?;
    let plan = &proposal.plan;
    let shown = Shown {
        from: proposal.look.observed.revision.as_ref().and_then(|revision| revision.release.clone()),
        base: plan.base,
        steps: json!(plan.steps),
        lines: (!plan.is_empty()).then(|| render(plan, &proposal.prepared.desired)),
        findings: proposal.findings,
        notes: proposal.prepared.warnings,
    };
    show(context, &args.target, &release.record.tag, shown)
}

async fn show_cluster(
    context: &Context,
    args: &PlanArgs,
    delivery: &cluster::Delivery<'_>,
    release: &Release,
) -> Outcome<()> {
    let manifests = args.manifests.as_ref().map(read_manifests).transpose()?;
    let prepared = delivery.prepare(release, manifests, "plan").await?;
    if args.write_images {
        return write_images(context, &prepared.goal);
    }
    let order = Order {
        target: args.target.clone(),
        version: args.version.clone(),
        only: args.services.iter().cloned().collect(),
        no_rollback: false,
        patience: std::time::Duration::ZERO,
        renew: args.renew.clone(),
        prune: args.prune,
    };
    let proposal = delivery.plan(prepared, &order).await?;
    let plan = &proposal.plan;
    let shown = Shown {
        from: proposal.state.newest().and_then(|revision| revision.release.clone()),
        base: plan.base,
        steps: json!(plan.steps),
        lines: (!plan.is_empty()).then(|| crate::ui::cluster::render(&proposal)),
        notes: proposal.goal.notes.clone(),
        findings: proposal.findings,
    };
    show(context, &args.target, &release.record.tag, shown)
}

fn show(context: &Context, target: &str, to: &str, shown: Shown) -> Outcome<()> {
    let ui = &context.ui;
    let Shown { from, base, steps, lines, findings, notes } = shown;
    if ui.json {
        ui.data(&json!({
            "target": target, "from": from, "to": to, "base": base, "steps": steps,
            "warnings": findings.warnings, "refusals": findings.refusals, "notes": notes,
        }));
    } else {
        ui.print(&format!("{target}: {} -> {to}", from.as_deref().unwrap_or("nothing")));
        ui.print(lines.as_deref().unwrap_or("  nothing to do: it runs already"));
    }
    for note in &notes {
        ui.warn(crate::ui::printable(note));
    }
    warn(ui, &findings.warnings, None);
    refuse(target, &findings).map_or(Ok(()), Err)
}

/// Manifests from a file or a pipe: `kustomize build … | bowline plan cluster --manifests -`.
fn read_manifests(path: &PathBuf) -> Outcome<BTreeMap<String, String>> {
    let (name, text) = if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .attempt(|| "reading manifests from standard input".into())?;
        ("stdin.yaml".to_owned(), text)
    } else {
        let text = std::fs::read_to_string(path).attempt(|| format!("reading {}", path.display()))?;
        (path.display().to_string(), text)
    };
    Ok(BTreeMap::from([(name, text)]))
}

/// Writes the images of the goal into the manifests of this checkout.
fn write_images(context: &Context, goal: &cluster::Goal) -> Outcome<()> {
    let written = crate::operation::manifest::write_images(&context.directory, &goal.pins)?;
    if context.ui.json {
        context.ui.data(&json!({ "written": written }));
    } else if written.is_empty() {
        context.ui.print("the manifests name these images already");
    } else {
        written.iter().for_each(|file| context.ui.print(&crate::ui::printable(file)));
    }
    Ok(())
}
