//! `bowline adopt`: takes over what runs already.

use clap::Args;

use crate::cli::Context;
use crate::config::{Config, FILE, KubernetesTarget, Target};
use crate::error::{Failure, Outcome};
use crate::operation::adopt::place::{Line, Place, own_files};
use crate::operation::adopt::{Adopted, adopt, missing_lines, observe_place, write_lines};
use crate::operation::cluster;
use crate::operation::host::{Host, compose_target};
use crate::ui::{printable, table};

/// What `adopt` takes.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// The target's name in bowline.toml
    target: String,
    /// Write what is missing into bowline.toml
    #[arg(long)]
    write: bool,
}

/// Finds the compose project, or the objects of the manifests, that run on a target, and records them as revision 0. Nothing
/// is changed.
///
/// # Errors
/// When the target cannot be reached, no project can be meant, or bowline.toml does not lead to it.
pub async fn run(context: &Context, args: AdoptArgs) -> Outcome<()> {
    let mut config = Config::load(&context.directory)?;
    if let Target::Kubernetes(target) = config.target(&args.target)? {
        return run_cluster(context, &config, target, args.write).await;
    }
    let target = compose_target(&config, &args.target)?;
    let mut host = Host::connect(&config, target).await?;
    let place = observe_place(&host, &config, target).await?;
    let lines = missing_lines(&place, &config, target);
    if !context.ui.json {
        show_place(context, &args.target, &place);
    }
    if !lines.is_empty() {
        if args.write {
            config = write_lines(&config, &args.target, &lines)?;
            context.ui.done(format_args!("{FILE}: {}", printable(&texts(&lines).join(", "))));
            host = Host::connect(&config, compose_target(&config, &args.target)?).await?;
        } else {
            tell_lines(context, &args.target, &place, &lines)?;
        }
    }
    let target = compose_target(&config, &args.target)?;
    let files = own_files(&place, target);
    if files != target.files && !lines.iter().any(|line| line.key == "compose") {
        context.ui.warn(printable(&format!(
            "it was made from {}, and bowline.toml names {}",
            files.join(", "),
            target.files.join(", ")
        )));
    }
    let adoption = adopt(&host, &config, target, &place).await?;
    if context.ui.json {
        context.ui.data(&serde_json::json!({ "ok": true, "lines": texts(&lines), "adoption": adoption }));
    } else {
        show(context, &adoption.target, "SERVICE", &adoption.services, &adoption.notes);
    }
    Ok(())
}

fn texts(lines: &[Line]) -> Vec<String> {
    lines.iter().map(Line::text).collect()
}

fn show_place(context: &Context, target: &str, place: &Place) {
    context.ui.say(printable(&format!(
        "{target}: project {} in {}, made from {}",
        place.project,
        place.directory,
        place.files.join(", ")
    )));
}

/// Says which lines are missing; an error where the project is not found without them.
fn tell_lines(context: &Context, target: &str, place: &Place, lines: &[Line]) -> Outcome<()> {
    let table = std::iter::once(format!("[targets.{target}]")).chain(texts(lines));
    if lines.iter().any(|line| line.required) {
        let failure =
            Failure::invalid(format!("{FILE} does not lead to {} in {}", place.project, place.directory));
        return Err(failure.detail(table).hint(format!(
            "write these lines, or let `bowline adopt {target} --write` do it; nothing was recorded"
        )));
    }
    for line in table {
        context.ui.say(printable(&line));
    }
    context.ui.say(format_args!("write this into {FILE}, or let `bowline adopt {target} --write` do it"));
    Ok(())
}

async fn run_cluster(
    context: &Context,
    config: &Config,
    target: &KubernetesTarget,
    write: bool,
) -> Outcome<()> {
    if write {
        return Err(Failure::invalid(format!("{} is a cluster", target.name))
            .since("--write is for Docker hosts: the manifests say which objects are meant"));
    }
    let site = cluster::Site::connect(config, target).await?;
    let adoption = cluster::adopt::adopt(&site, config).await?;
    if context.ui.json {
        context.ui.data(&serde_json::json!({ "ok": true, "adoption": adoption }));
    } else {
        show(context, &adoption.target, "OBJECT", &adoption.services, &adoption.notes);
    }
    Ok(())
}

fn show(context: &Context, target: &str, what: &str, services: &[Adopted], notes: &[String]) {
    let row = |service: &Adopted| {
        vec![
            service.name.clone(),
            service.ours.clone().unwrap_or_else(|| "-".into()),
            service.image.clone(),
            service.first_deploy.clone(),
        ]
    };
    let rows: Vec<_> = services.iter().map(row).collect();
    context.ui.print(&table::render(&[what, "OURS", "IMAGE", "FIRST DEPLOY"], &rows));
    for note in notes {
        context.ui.warn(printable(note));
    }
    context.ui.done(format_args!("{target}: recorded as revision 0; nothing was touched"));
    let next = format!("next: `bowline plan {target}` shows what the newest release would do");
    context.ui.say(printable(&next));
}
