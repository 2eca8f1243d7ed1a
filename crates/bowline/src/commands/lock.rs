//! `bowline lock`: who may change a target, and taking that away in an emergency.

use clap::{Args, Subcommand};

use crate::cli::Context;
use crate::config::Config;
use crate::error::{Failure, Outcome};
use crate::operation::lock::{self, Lock};
use crate::operation::target::Connected;
use crate::ui::{printable, table};

/// What `lock` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct LockArgs {
    /// The target's name in bowline.toml
    #[arg(required = true)]
    target: Option<String>,
    #[command(subcommand)]
    action: Option<LockAction>,
}

/// What to do about a lock.
#[derive(Debug, Subcommand)]
pub enum LockAction {
    /// Take the lock away from whoever holds it, for emergencies
    Release {
        /// The target's name in bowline.toml
        target: String,
    },
}

/// Shows who holds the lock of a target since when, or breaks it.
///
/// # Errors
/// When the target cannot be reached.
pub async fn run(context: &Context, args: LockArgs) -> Outcome<()> {
    let (name, release) = match (args.action, args.target) {
        (Some(LockAction::Release { target }), _) => (target, true),
        (None, Some(target)) => (target, false),
        (None, None) => return Err(Failure::invalid("which target's lock?")),
    };
    let config = Config::load(&context.directory)?;
    let target = Connected::open(&config, &name).await?;
    if release { break_lock(context, &target).await } else { show(context, &target).await }
}

async fn show(context: &Context, target: &Connected) -> Outcome<()> {
    let lock = lock::observe(target).await?;
    if context.ui.json {
        let held = lock.as_ref().is_some_and(|lock| !lock.over);
        context.ui.data(&serde_json::json!({ "target": target.name(), "held": held, "lock": lock }));
        return Ok(());
    }
    let text = match &lock {
        None => format!("{}: nobody holds the lock", target.name()),
        Some(lock) if lock.over => {
            let ended =
                format!("{}: the lock is free: {} left it without giving it back", target.name(), who(lock));
            format!("{ended} ({} ago)", table::span(seconds(lock.renewed_seconds_ago)))
        }
        Some(lock) => format!(
            "{}: held by {}{}, renewed {} ago",
            target.name(),
            who(lock),
            lock.since.map(|since| format!(" since {since}")).unwrap_or_default(),
            table::span(seconds(lock.renewed_seconds_ago))
        ),
    };
    context.ui.print(&printable(&text));
    Ok(())
}

async fn break_lock(context: &Context, target: &Connected) -> Outcome<()> {
    let broken = lock::release(target).await?;
    if context.ui.json {
        context.ui.data(
            &serde_json::json!({ "ok": true, "target": target.name(), "released": broken.is_some(), "lock": broken }),
        );
        return Ok(());
    }
    let Some(lock) = broken else {
        context.ui.say(format_args!("{}: nobody holds the lock", target.name()));
        return Ok(());
    };
    context.ui.done(printable(&format!("{}: taken away from {}", target.name(), who(&lock))));
    if !lock.over {
        context.ui.warn("if that run still works, it notices within 5 s and stops where it is, without putting anything back");
    }
    context.ui.say(format_args!(
        "what it left stays until the next deploy or rollback finishes or undoes it; `bowline status {}` shows it",
        target.name()
    ));
    Ok(())
}

fn who(lock: &Lock) -> String {
    format!("{} (bowline {}, process {}, run {})", lock.by, lock.verb, lock.process, lock.run)
}

fn seconds(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
