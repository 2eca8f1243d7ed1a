//! `bowline init`: the first `bowline.toml`.

use clap::Args;

use crate::cli::{Context, wait};
use crate::config::FILE;
use crate::error::Outcome;
use crate::init::proposal::{Proposal, Service, Sure};
use crate::operation::init::init;
use crate::operation::{translation, workflow};
use crate::ui::{count, printable};

/// What `init` takes.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Replace what is there already; with --github the workflow alone
    #[arg(long)]
    force: bool,
    /// Write the GitHub workflow that ships every merge, and bowline.toml where there is none
    #[arg(long)]
    github: bool,
    /// The target that the workflow ships to, where there are several
    #[arg(long, requires = "github")]
    target: Option<String>,
    /// Write manifests for a cluster of this name from a target's compose file, and add it to bowline.toml
    #[arg(long, value_name = "TARGET", conflicts_with = "github", conflicts_with = "force")]
    kubernetes: Option<String>,
    /// The target whose compose file that is, where there are several
    #[arg(long, value_name = "TARGET", requires = "kubernetes")]
    from: Option<String>,
}

/// Writes the file and says what was guessed, from what, and what is unsure.
///
/// # Errors
/// Kind `Invalid`: there is one already, or nothing was found.
pub fn run(context: &Context, args: &InitArgs) -> Outcome<()> {
    if args.github {
        return github(context, args);
    }
    if let Some(target) = &args.kubernetes {
        return kubernetes(context, args, target);
    }
    configuration(context, args)
}

/// The workflow, and before it the configuration where there is none: one that is there is not touched, for by now
/// it is the user's.
fn github(context: &Context, args: &InitArgs) -> Outcome<()> {
    if !context.directory.join(FILE).exists() {
        configuration(context, args)?;
    }
    let written = wait(workflow::write(&context.directory, args.target.as_deref(), args.force))?;
    let path = written.path.display().to_string();
    let (target, remarks) = (&written.workflow.target, written.workflow.remarks());
    if context.ui.json {
        context
            .ui
            .data(&serde_json::json!({ "ok": true, "path": path, "target": target, "remarks": remarks }));
        return Ok(());
    }
    let branch = &written.workflow.branch;
    context.ui.done(printable(&format!("{path}: ships {target} on every push to {branch}")));
    for remark in remarks {
        context.ui.say(format!("  ? {}", printable(&remark)));
    }
    Ok(())
}

/// Manifests, and before them the configuration where there is none.
fn kubernetes(context: &Context, args: &InitArgs, target: &str) -> Outcome<()> {
    if !context.directory.join(FILE).exists() {
        configuration(context, args)?;
    }
    let written = wait(translation::write(&context.directory, target, args.from.as_deref()))?;
    let ui = &context.ui;
    if ui.json {
        ui.data(&serde_json::json!({ "ok": true, "written": written }));
        return Ok(());
    }
    for remark in &written.remarks {
        let subject = remark.service.as_ref().map(|service| format!("{service}: ")).unwrap_or_default();
        let text = printable(&format!("{subject}{}", remark.text));
        if remark.unsure { ui.say(format!("? {text}")) } else { ui.faint(format!("  {text}")) }
    }
    for path in &written.kept {
        ui.faint(printable(&format!("  {path}: left as it is")));
    }
    let (count, from) = (count(written.files.len(), "file"), &written.from);
    let also = if written.configured { format!(", and [targets.{target}] in {FILE}") } else { String::new() };
    ui.done(printable(&format!("{}/: {count} from the compose file of {from}{also}", written.folder)));
    if !written.variables.is_empty() {
        let names: Vec<&str> = written.variables.iter().map(String::as_str).collect();
        ui.say(printable(&format!("its secrets are taken from the environment: {}", names.join(", "))));
    }
    ui.say(printable(&format!(
        "next: read the files, look at what `bowline diff {from} {target}` says, commit; then `bowline ship {target}`"
    )));
    Ok(())
}

fn configuration(context: &Context, args: &InitArgs) -> Outcome<()> {
    let written = init(&context.directory, args.force)?;
    let path = written.path.display().to_string();
    if context.ui.json {
        context.ui.data(&serde_json::json!({ "ok": true, "path": path, "proposal": written.proposal }));
        return Ok(());
    }
    tell(context, &written.proposal);
    let (services, targets) = (written.proposal.services.len(), written.proposal.targets.len());
    context.ui.done(format!(
        "{}: {}, {}",
        printable(&path),
        count(services, "service"),
        count(targets, "target")
    ));
    context.ui.say("next: read it and commit it; `bowline build` tries it out, `bowline ship TARGET` releases and deploys");
    Ok(())
}

fn tell(context: &Context, proposal: &Proposal) {
    let ui = &context.ui;
    ui.say(printable(&format!("project {} ({})", proposal.project, proposal.project_from)));
    if let Some(command) = &proposal.command {
        ui.say(printable(&format!("builds with {command}")));
    }
    for service in &proposal.services {
        ui.say(printable(&headline(service)));
        for because in &service.because {
            ui.faint(format!("    {}", printable(because)));
        }
        for unsure in &service.unsure {
            ui.say(format!("  ? {}", printable(unsure)));
        }
    }
    for left in &proposal.left_out {
        ui.faint(printable(&format!("left out {}: {}", left.what, left.why)));
    }
    for unsure in &proposal.unsure {
        ui.say(format!("? {}", printable(unsure)));
    }
}

fn headline(service: &Service) -> String {
    let from = match (&service.module, service.tool) {
        (Some(module), Some(tool)) => format!("from {module} ({tool})"),
        _ => "that nothing here builds".into(),
    };
    let sure = match service.sure {
        Sure::Certain => "",
        Sure::Likely => ", likely",
        Sure::Guess => ", a guess",
    };
    format!("service {} {from}{sure}", service.name)
}
