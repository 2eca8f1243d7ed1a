//! `bowline capacity`: what a target's machines carry.

mod advise;
mod compare;
mod load;
mod measure;
mod plan;
mod show;

use bowline_core::quantity::parse_duration;
use clap::{Args, Subcommand};

use crate::cli::Context;
use crate::config::Config;
use crate::error::{Failure, Outcome};
use crate::operation::host::Host;
use crate::operation::target::Connected;

/// What `capacity` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CapacityArgs {
    /// What to do with it
    #[command(subcommand)]
    verb: Option<CapacityVerb>,
    /// What to show
    #[command(flatten)]
    show: show::ShowArgs,
}

#[derive(Debug, Subcommand)]
enum CapacityVerb {
    /// Begin to measure a Docker host: one small container beside the services
    Start(measure::StartArgs),
    /// Stop measuring a Docker host; what was measured stays
    Stop(measure::StopArgs),
    /// Say what each service should be given, and why
    Advise(advise::AdviseArgs),
    /// Say whether and for how long it fits on which machines, and what that costs
    Plan(plan::PlanArgs),
    /// Load a URL at rising rates until it fails, and say how it scales
    Load(load::LoadArgs),
}

/// Does what is asked.
///
/// # Errors
/// When the target cannot be reached, or nothing was measured there.
pub async fn run(context: &Context, args: CapacityArgs) -> Outcome<()> {
    match args.verb {
        None => show::run(context, args.show).await,
        Some(CapacityVerb::Start(args)) => measure::start(context, args).await,
        Some(CapacityVerb::Stop(args)) => measure::stop(context, args).await,
        Some(CapacityVerb::Advise(args)) => advise::run(context, args).await,
        Some(CapacityVerb::Plan(args)) => plan::run(context, args).await,
        Some(CapacityVerb::Load(args)) => load::run(context, args).await,
    }
}

/// The target that is meant: the one that is named, or the only one there is.
fn target_name<'a>(config: &'a Config, named: Option<&'a str>) -> Outcome<&'a str> {
    if let Some(name) = named {
        return Ok(name);
    }
    let mut names = config.targets.keys();
    match (names.next(), names.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Failure::invalid("the configuration has no targets").hint("add one: [targets.box]")),
        _ => {
            let known: Vec<&str> = config.targets.keys().map(String::as_str).collect();
            Err(Failure::invalid("which target?").hint(format!("name one of {}", known.join(", "))))
        }
    }
}

/// The Docker host that is meant.
async fn connect(config: &Config, named: Option<&str>) -> Outcome<Connected> {
    Connected::open(config, target_name(config, named)?).await
}

/// Only Docker hosts are measured by a program of ours.
fn host(target: &Connected) -> Outcome<&Host> {
    match target {
        Connected::Host(host) => Ok(host),
        Connected::Cluster(site) => Err(Failure::invalid(format!("{} is a cluster", site.target.name))
            .since("only Docker hosts are measured by this version of Bowline")),
    }
}

/// How far back, in milliseconds.
fn parse_back(text: &str) -> Result<i64, String> {
    // Days and weeks are what people mean here.
    let hours = |number: &str, each: u64| {
        number.parse::<u64>().ok().and_then(|count| count.checked_mul(each)).map(|hours| format!("{hours}h"))
    };
    let text = match (text.strip_suffix('d'), text.strip_suffix('w')) {
        (Some(days), _) => hours(days, 24),
        (_, Some(weeks)) => hours(weeks, 168),
        _ => Some(text.to_owned()),
    };
    let text = text.ok_or("write a whole number with a unit, such as 90m, 24h, 7d or 2w")?;
    let back = parse_duration(&text).map_err(|error| error.to_string())?;
    i64::try_from(back.as_millis()).map_err(|_| "that is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_weeks_are_understood() {
        let hour = 3_600_000;
        for (text, back) in
            [("90m", hour * 3 / 2), ("24h", 24 * hour), ("7d", 168 * hour), ("2w", 336 * hour)]
        {
            assert_eq!(parse_back(text), Ok(back), "{text}");
        }
        for text in ["", "d", "7", "1.5d", "99999999999d"] {
            assert!(parse_back(text).is_err(), "{text}");
        }
    }
}
