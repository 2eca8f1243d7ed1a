//! `bowline prune`: what nothing needs any more, on a target or in the registry.

use std::io::{IsTerminal, stdin};

use clap::Args;

use crate::cli::Context;
use crate::config::Config;
use crate::error::{Failure, FailureKind, Outcome};
use crate::operation::cluster::{self, Site};
use crate::operation::depot::Depot;
use crate::operation::depot::kept_as;
use crate::operation::host::Host;
use crate::operation::prune::registry::{self, Superfluous};
use crate::operation::prune::{Waste, observe, prune};
use crate::operation::target::Connected;
use crate::ui::{count, printable, table};

/// What `prune` takes.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// The target's name in bowline.toml
    #[arg(required_unless_present = "registry", conflicts_with = "registry")]
    target: Option<String>,
    /// Old releases in the registry instead
    #[arg(long)]
    registry: bool,
    /// How many releases stay (else as in bowline.toml for a target, 10 in the registry)
    #[arg(long, value_name = "N")]
    keep: Option<u32>,
    /// Remove it without asking
    #[arg(short, long)]
    yes: bool,
    /// On a cluster: delete this object too, although what people stored may be in it: Kind/name; may be given several times
    #[arg(long, value_name = "OBJECT", conflicts_with = "registry")]
    delete: Vec<String>,
    /// With --registry: delete although a target cannot be asked what it runs
    #[arg(long, requires = "registry")]
    ignore_unreachable: bool,
}

/// Shows what nothing needs any more, and removes it when told to. Never volumes, networks or images of others; on a cluster
/// nothing that may hold data, unless it is named.
///
/// # Errors
/// When the target or the registry cannot be reached, or somebody else holds the lock.
pub async fn run(context: &Context, args: PruneArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    match &args.target {
        Some(name) => prune_target(context, &config, name, &args).await,
        None => prune_registry(context, &config, &args).await,
    }
}

async fn prune_target(context: &Context, config: &Config, name: &str, args: &PruneArgs) -> Outcome<()> {
    let keep = args.keep.unwrap_or(config.target(name)?.pace().keep);
    match Connected::open(config, name).await? {
        Connected::Host(host) => prune_host(context, config, &host, keep, args).await,
        Connected::Cluster(site) => prune_cluster(context, &site, keep, args).await,
    }
}

async fn prune_cluster(context: &Context, site: &Site, keep: u32, args: &PruneArgs) -> Outcome<()> {
    let ui = &context.ui;
    let target = &site.target.name;
    let waste = cluster::prune::observe(site, keep, &args.delete).await?;
    if !ui.json {
        let line =
            |object: &cluster::prune::Leftover| ui.print(&printable(&format!("delete    {}", object.id)));
        waste.objects.iter().for_each(line);
        if !waste.revisions.is_empty() {
            ui.print(&format!("{} old revisions of the history", waste.revisions.len()));
        }
        for (object, why) in &waste.kept {
            ui.say(printable(&format!("stays: {object}: {why}")));
        }
        if waste.is_empty() {
            ui.say(format_args!("{target}: everything that Bowline brought is needed"));
        }
    }
    let agreed = !waste.is_empty() && agree(context, args.yes)?;
    let removed = match agreed {
        true => Some(cluster::prune::prune(site, keep, &args.delete, &waste).await?),
        false => None,
    };
    if ui.json {
        ui.data(&serde_json::json!({
            "ok": true, "target": target, "objects": waste.objects.iter().map(|object| object.id.to_string()).collect::<Vec<_>>(),
            "kept": waste.kept, "revisions": waste.revisions, "removed": removed,
        }));
    } else if let Some(removed) = removed {
        for object in &removed.going {
            ui.say(printable(&format!("{object} goes once its finalizers let it")));
        }
        ui.done(format_args!(
            "{target}: removed {} and {}",
            count(removed.objects, "object"),
            count(removed.revisions, "old revision")
        ));
    }
    Ok(())
}

async fn prune_host(
    context: &Context,
    config: &Config,
    host: &Host,
    keep: u32,
    args: &PruneArgs,
) -> Outcome<()> {
    if let Some(object) = args.delete.first() {
        return Err(Failure::invalid(format!(
            "{} is a Docker host: it has no object `{object}`",
            host.target
        ))
        .since("--delete is for clusters"));
    }
    let kept_as = kept_as(config);
    let waste = observe(host, keep, &kept_as).await?;
    if !context.ui.json {
        show(context, &host.target, &waste);
    }
    let agreed = !waste.is_empty() && agree(context, args.yes)?;
    let removed = if agreed { Some(prune(host, keep, &kept_as, &waste).await?) } else { None };
    if context.ui.json {
        context.ui.data(&serde_json::json!({
            "ok": true, "target": host.target, "images": waste.images, "revisions": waste.revisions, "bytes": waste.bytes(),
            "removed": removed,
        }));
    } else if let Some(removed) = removed {
        let bytes = table::bytes(removed.bytes);
        context.ui.done(format_args!(
            "{}: removed {} images ({bytes}) and {} old revisions",
            host.target, removed.images, removed.revisions
        ));
    }
    Ok(())
}

fn show(context: &Context, target: &str, waste: &Waste) {
    if waste.is_empty() {
        context.ui.say(format_args!("{target}: everything that Bowline brought is needed"));
        return;
    }
    let row = |image: &bowline_core::compose::retention::Outdated| {
        let names: Vec<&str> = image.names.iter().map(String::as_str).collect();
        let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
        vec![image.id.short(), table::bytes(image.size), names]
    };
    let rows: Vec<_> = waste.images.iter().map(row).collect();
    if !rows.is_empty() {
        context.ui.print(&table::render(&["IMAGE", "SIZE", "NAMES"], &rows));
    }
    if !waste.revisions.is_empty() {
        context.ui.print(&format!("{} old revisions of the history", waste.revisions.len()));
    }
    let bytes = table::bytes(waste.bytes());
    context.ui.say(format_args!("{bytes} at most: layers that other images share stay"));
}

/// Whether it may be done: told so, or asked on a terminal. Elsewhere it is only shown.
fn agree(context: &Context, yes: bool) -> Outcome<bool> {
    if yes {
        return Ok(true);
    }
    if context.ui.json || !stdin().is_terminal() {
        context.ui.say("nothing was removed; --yes removes it");
        return Ok(false);
    }
    context.ui.say("remove it? [y/N]");
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(|error| Failure::failed("asking").because(&error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn prune_registry(context: &Context, config: &Config, args: &PruneArgs) -> Outcome<()> {
    let in_use = registry::observe_targets(config).await;
    for (name, failure) in &in_use.unreachable {
        context.ui.warn(printable(&format!("{name} cannot be asked what it runs: {failure}")));
    }
    if let Some((name, _)) = in_use.unreachable.first().filter(|_| !args.ignore_unreachable) {
        return Err(Failure::new(FailureKind::Unreachable, "looking for releases that nothing runs")
            .since(format!("what {name} runs is not known"))
            .hint("make it reachable, or say --ignore-unreachable"));
    }
    let depot = Depot::open(config).await?;
    let keep = usize::try_from(args.keep.unwrap_or(10)).unwrap_or(usize::MAX);
    let superfluous = registry::observe(&depot, keep, &in_use.releases).await?;
    for warning in &superfluous.warnings {
        context.ui.warn(printable(warning));
    }
    let tags: Vec<&str> = superfluous.releases.iter().map(|record| record.tag.as_str()).collect();
    if !context.ui.json {
        show_releases(context, &superfluous, keep);
    }
    let agreed = !tags.is_empty() && agree(context, args.yes)?;
    let deleted = if agreed { Some(registry::apply(&depot, &superfluous).await?) } else { None };
    if context.ui.json {
        context.ui.data(&serde_json::json!({ "ok": true, "releases": tags, "removed": deleted }));
    } else if let Some(deleted) = deleted {
        context.ui.done(format_args!("deleted {} releases, {} images", deleted.releases, deleted.images));
        if deleted.tags_left > 0 {
            context.ui.say(format_args!(
                "{} of their tags stay: they name images that newer releases share, and the registry deletes no single tags",
                deleted.tags_left
            ));
        }
        context.ui.say("the registry frees the space when it collects its garbage");
    }
    Ok(())
}

fn show_releases(context: &Context, superfluous: &Superfluous, keep: usize) {
    if superfluous.releases.is_empty() {
        context.ui.say(format_args!("all releases are needed, or among the newest {keep}"));
        return;
    }
    let rows: Vec<_> = superfluous
        .releases
        .iter()
        .map(|record| vec![record.tag.clone(), record.created.strftime("%Y-%m-%d %H:%M").to_string()])
        .collect();
    context.ui.print(&table::render(&["RELEASE", "MADE (UTC)"], &rows));
}
