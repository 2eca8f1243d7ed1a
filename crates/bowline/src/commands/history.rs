//! `bowline history`: what ran on a target before.

use clap::Args;
use jiff::Timestamp;

use crate::cli::Context;
use crate::config::Config;
use crate::error::Outcome;
use crate::operation::history::{Entry, observe};
use crate::operation::target::Connected;
use crate::ui::event::elapsed;
use crate::ui::{table, width};

/// What `history` takes.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The target's name in bowline.toml
    target: String,
    /// How many entries to show at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// Shows a target's revisions and setbacks, newest first.
///
/// # Errors
/// When the target cannot be reached.
pub async fn run(context: &Context, args: HistoryArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let target = Connected::open(&config, &args.target).await?;
    let entries = observe(&target).await?;
    let shown = entries.len().min(args.limit);
    let entries: Vec<&Entry> = entries.iter().take(args.limit).collect();
    if context.ui.json {
        context.ui.data(&serde_json::json!({ "target": target.name(), "entries": entries }));
        return Ok(());
    }
    if shown == 0 {
        context.ui.say(format_args!("nothing was deployed to {} yet", target.name()));
        return Ok(());
    }
    let rows: Vec<_> = entries.iter().map(|entry| row(entry)).collect();
    let header = ["#", "RELEASE", "WHEN (UTC)", "BY", "HOW", "TOOK", "CHANGED"];
    context.ui.print(&table::render_within(&header, &rows, width::of_stdout()));
    Ok(())
}

fn row(entry: &Entry) -> Vec<String> {
    let release = |release: &Option<String>| release.clone().unwrap_or_else(|| "-".into());
    let when = |at: &Timestamp| at.strftime("%Y-%m-%d %H:%M").to_string();
    match entry {
        Entry::Revision { number, release: tag, at, by, verb, seconds, changed, .. } => vec![
            number.to_string(),
            release(tag),
            when(at),
            by.clone(),
            verb.clone(),
            elapsed(*seconds),
            summarise(changed),
        ],
        Entry::Setback { release: tag, at, subject, cause, base, .. } => {
            let back = base.map(|base| format!("; went back to {base}")).unwrap_or_default();
            vec![
                "-".into(),
                release(tag),
                when(at),
                String::new(),
                "failed".into(),
                String::new(),
                format!("{subject}: {cause}{back}"),
            ]
        }
    }
}

/// What a revision changed, in a few words: the services of a first one have `(first)` said once.
fn summarise(changed: &[String]) -> String {
    let first: Option<Vec<&str>> = changed.iter().map(|name| name.strip_suffix(" (first)")).collect();
    match first {
        _ if changed.is_empty() => "nothing".into(),
        Some(names) if names.len() > 1 => format!("first: {}", names.join(", ")),
        _ => changed.join(", "),
    }
}
