//! `bowline capacity`: the picture.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_core::capacity::picture::{Picture, paint};
use bowline_core::quantity::parse_duration;
use bowline_measurement::interval::Interval;
use bowline_measurement::rollup::Step;
use clap::Args;

use super::{connect, host, parse_back};
use crate::cli::Context;
use crate::clock;
use crate::config::Config;
use crate::error::{Attempt, Failure, Outcome};
use crate::operation::Cancel;
use crate::operation::capacity::machine::Machines;
use crate::operation::capacity::measurement::{Asked, deployments, of_host, service_of};
use crate::operation::capacity::recording::Recording;
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
    /// Keep what is seen of a cluster in this file, minute by minute, after what it holds already: for `advise --from`
    #[arg(long, value_name = "FILE", conflicts_with = "compare")]
    record: Option<PathBuf>,
    /// What a release changed: the time of one beside that of another
    #[arg(long, num_args = 2, value_names = ["RELEASE", "RELEASE"])]
    compare: Option<Vec<String>>,
}

pub(super) fn parse_span(text: &str) -> Result<Duration, String> {
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
    if args.record.is_some() && matches!(target, Connected::Host(_)) {
        return Err(Failure::invalid(format!("{} is a Docker host", target.name()))
            .since("it remembers by itself what was measured (capacity start): --record is for clusters"));
    }
    let machines = Machines::read(&config)?;
    loop {
        let picture = match &target {
            Connected::Host(_) => look(&config, &machines, &target, args.since).await?,
            Connected::Cluster(site) => look_at_cluster(context, site, &target, &args).await?,
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
    args: &ShowArgs,
) -> Outcome<Picture> {
    // Who goes on looking ends it as everything is ended.
    let cancel = match args.watch {
        true => Cancel::default(),
        false => Cancel::on_signals(&context.ui, "stopping; what was seen is shown"),
    };
    let seen = watch_cluster(context, site, args.time, args.record.as_deref(), &cancel);
    let (intervals, history) = tokio::try_join!(seen, history::observe(target))?;
    let title = format!("{}, all nodes together", site.target.name);
    let workload = usage::workload_of(&site.namespace);
    Ok(paint(&title, &intervals, None, deployments(&history), POINTS, workload))
}

/// Looks at a cluster for so long, and keeps what is seen in a file if one is named. Somebody who asks to stop has seen
/// enough.
pub(super) async fn watch_cluster(
    context: &Context,
    site: &Site,
    time: Duration,
    record: Option<&Path>,
    cancel: &Cancel,
) -> Outcome<Vec<Interval>> {
    let mut recording = record.map(Recording::open).transpose()?;
    context.ui.say(format!("looking at {} for {} s", site.target.name, time.as_secs()));
    let spinner = context.ui.spinner("measuring");
    let mut intervals = Vec::new();
    let each = |over: Duration, interval: Option<Interval>| {
        spinner.set_message(format!("{} of {} s", over.as_secs(), time.as_secs()));
        if let (Some(recording), Some(interval)) = (&mut recording, &interval) {
            recording.add(interval.clone())?;
        }
        intervals.extend(interval);
        Ok(())
    };
    let watched = tokio::select! {
        watched = usage::watch(site, time, each) => watched,
        () = cancel.asked() => Ok(BTreeSet::new()),
    };
    spinner.finish_and_clear();
    // What was seen before the cluster was lost is kept, too.
    recording.map_or(Ok(()), Recording::finish)?;
    for note in watched? {
        context.ui.warn(crate::ui::printable(&note));
    }
    Ok(intervals)
}
