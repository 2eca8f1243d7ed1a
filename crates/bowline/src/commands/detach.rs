//! `bowline detach`: gives a target back to plain Compose or kubectl.

use clap::Args;

use crate::cli::Context;
use crate::config::Config;
use crate::error::Outcome;
use crate::operation::cluster;
use crate::operation::detach::{Detached, detach};
use crate::operation::host::compose_target;
use crate::operation::target::Connected;
use crate::ui::printable;

/// What `detach` takes.
#[derive(Debug, Args)]
pub struct DetachArgs {
    /// The target's name in bowline.toml
    target: String,
}

/// Forgets what Bowline keeps on a target, and says what to type there from now on. No container is changed.
///
/// # Errors
/// When the target cannot be reached, is locked, or a run has not ended.
pub async fn run(context: &Context, args: DetachArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    match Connected::open(&config, &args.target).await? {
        Connected::Host(host) => {
            let detached = detach(&host, compose_target(&config, &args.target)?).await?;
            if context.ui.json {
                context.ui.data(&serde_json::json!({ "ok": true, "detached": detached }));
            } else {
                show(context, &detached);
            }
        }
        Connected::Cluster(site) => {
            let detached = cluster::detach::detach(&site, &config).await?;
            if context.ui.json {
                context.ui.data(&serde_json::json!({ "ok": true, "detached": detached }));
            } else {
                show_cluster(context, &detached);
            }
        }
    }
    Ok(())
}

fn show_cluster(context: &Context, detached: &cluster::detach::Detached) {
    let ui = &context.ui;
    ui.done(printable(&format!(
        "{}: the objects in {} are kubectl's again ({} handed over)",
        detached.target, detached.namespace, detached.handed_over
    )));
    ui.print(&printable(&detached.command));
    if detached.would_change.is_empty() && detached.notes.is_empty() {
        ui.say("this changes nothing now");
    }
    for change in &detached.would_change {
        ui.warn(printable(&format!("this would change something: {change}")));
    }
    for object in &detached.left {
        ui.warn(printable(&format!("{object} changes too fast: its fields are still under Bowline's name")));
    }
    detached.notes.iter().for_each(|note| ui.warn(printable(note)));
}

fn show(context: &Context, detached: &Detached) {
    let ui = &context.ui;
    ui.done(printable(&format!("{}: {} is plain Compose's again", detached.target, detached.project)));
    ui.print(&printable(&detached.command));
    if detached.would_change.is_empty() {
        ui.say("this changes nothing now");
    }
    for change in &detached.would_change {
        ui.warn(printable(&format!("this would change something: {change}")));
    }
    if !detached.images_left.is_empty() {
        ui.say(printable(&format!(
            "images of earlier releases stay; they go with: docker image rm {}",
            detached.images_left.join(" ")
        )));
    }
    for remains in &detached.remains {
        ui.say(printable(&format!("stays: {remains}")));
    }
}
