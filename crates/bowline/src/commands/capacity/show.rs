//! `bowline capacity`: the picture.

use std::path::PathBuf;
use std::time::Duration;

use bowline_core::capacity::picture::{Picture, paint};
use bowline_core::quantity::parse_duration;
use bowline_measurement::rollup::Step;
use clap::Args;

use super::{connect, host, parse_back};
use crate::cli::Context;
use crate::clock;
use crate::config::Config;
use crate::error::{Attempt, Outcome};
use crate::operation::capacity::machine::Machines;
use crate::operation::capacity::measurement::{Asked, deployments, of_host, service_of};
use crate::operation::cluster::{Site, usage};
use crate::operation::history;
use crate::operation::target::Connected;
use crate::ui::{capacity, width};

/// What to show.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The target (else the only one there is)
    target: Option<String>,
    /// How far back: 90m, 24h, 7d, 2w
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_back)]
    since: i64,
    /// How long a cluster is looked at, whose nodes remember nothing: 30s, 5m
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = parse_span)]
    time: Duration,
    /// Go on looking, every few seconds
    #[arg(short, long, conflicts_with_all = ["html", "compare"])]
    watch: bool,
    /// Write a page with charts, which needs nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "compare")]
    html: Option<PathBuf>,
    /// What a release changed: the time of one beside that of another
    #[arg(long, num_args = 2, value_names = ["RELEASE", "RELEASE"])]
    compare: Option<Vec<String>>,
}

fn parse_span(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).map_err(|error| error.to_string())?;
    if (20..=86_400).contains(&time.as_secs()) { Ok(time) } else { Err("from 20s to 24h".to_owned()) }
}

/// Points of a chart: more than pixels that a column of it has would not be seen.
const POINTS: usize = 720;
/// A day has so many milliseconds: longer windows are looked at by the minute, and those beyond a fortnight by the hour.
const DAY: i64 = 86_400_000;

/// Shows what was measured.
///
/// # Errors
/// When the target cannot be reached, or nothing measures it.
pub(super) async fn run(context: &Context, args: ShowArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let target = connect(&config, args.target.as_deref()).await?;
    if let Some([before, after]) = args.compare.as_deref() {
        return super::compare::run(context, &target, before, after).await;
    }
    let machines = Machines::read(&config)?;
    loop {
        let picture = match &target {
            Connected::Host(_) => look(&config, &machines, &target, args.since).await?,
            Connected::Cluster(site) => look_at_cluster(context, site, &target, args.time).await?,
        };
        if let Some(path) = &args.html {
            std::fs::write(path, capacity::page(&picture)?)
                .attempt(|| format!("writing {}", path.display()))?;
            context.ui.done(format!("wrote {}", path.display()));
            return Ok(());
        }
        if context.ui.json {
            context.ui.data(&picture);
        } else {
            let text = capacity::show(&picture, width::of_stdout());
            // A look that follows another takes its place.
            let home = if args.watch && context.ui.live() { "\u{1b}[H\u{1b}[2J" } else { "" };
            context.ui.print(&format!("{home}{text}"));
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

async fn look(config: &Config, machines: &Machines, target: &Connected, back: i64) -> Outcome<Picture> {
    let host = host(target)?;
    let step = match back {
        ..=DAY => Step::Sample,
        back if back <= 14 * DAY => Step::Minute,
        _ => Step::Hour,
    };
    let asked = Asked { since: clock::now().as_millisecond() - back, until: None, step };
    let (measured, history) = tokio::try_join!(of_host(host, asked), history::observe(target))?;
    let instance = measured.facts.as_ref().and_then(|facts| facts.instance.clone());
    let kind = config.target(target.name())?.machines().map(str::to_owned).or(instance);
    let machine = kind.as_deref().and_then(|name| machines.types.get(name));
    let title = match &kind {
        Some(kind) => format!("{}, {kind}", host.target),
        None => host.target.clone(),
    };
    let service = service_of(&host.project);
    Ok(paint(&title, &measured.rows, machine, deployments(&history), POINTS, service))
}

async fn look_at_cluster(
    context: &Context,
    site: &Site,
    target: &Connected,
    time: Duration,
) -> Outcome<Picture> {
    context.ui.say(format!("looking at {} for {} s", site.target.name, time.as_secs()));
    let spinner = context.ui.spinner("measuring");
    let told = |over: Duration| spinner.set_message(format!("{} of {} s", over.as_secs(), time.as_secs()));
    let watched = tokio::try_join!(usage::watch(site, time, told), history::observe(target));
    spinner.finish_and_clear();
    let (usage, history) = watched?;
    for note in &usage.notes {
        context.ui.warn(crate::ui::printable(note));
    }
    let workload = |container: &str| usage.workload_of(&site.namespace, container);
    let title = format!("{}, all nodes together", site.target.name);
    Ok(paint(&title, &usage.intervals, None, deployments(&history), POINTS, workload))
}
