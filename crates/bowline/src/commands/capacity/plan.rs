//! `bowline capacity plan`.

use bowline_core::capacity::fleet::Fleet;
use bowline_core::capacity::forecast::{Forecast, Ground, Need, cheapest};
use bowline_core::capacity::profile::Profile;
use bowline_measurement::rollup::Step;
use clap::{Args, ValueEnum};

use super::{parse_back, target_name};
use crate::cli::Context;
use crate::clock;
use crate::config::{Config, Target};
use crate::error::{Failure, Outcome};
use crate::operation::capacity::machine::Machines;
use crate::operation::capacity::measurement::{Asked, of_host, service_of};
use crate::operation::capacity::need::{Needs, find};
use crate::operation::host::{Host, compose_target};
use crate::ui::forecast::{encode, render, render_alternatives};
use crate::ui::printable;
use crate::ui::width;

/// What `capacity plan` takes.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// The target whose services are placed (else the only one there is)
    target: Option<String>,
    /// Machines by number and type: `3xt2.medium`, `t3.large+2xm5.large`, `2x4cpu:16G`; several times for alternatives (else
    /// the target's own, and the cheapest that would do)
    #[arg(long, value_name = "MACHINES")]
    nodes: Vec<String>,
    /// With so much of the demand: 2x, 1.5x
    #[arg(long, value_name = "FACTOR", default_value = "1x", value_parser = parse_factor)]
    grow: u64,
    /// What the machines are to each other (else: of a Docker host single ones, of a cluster nodes that share its control
    /// plane's machine)
    #[arg(long, value_name = "GROUND")]
    ground: Option<GroundName>,
    /// By what is declared alone, without asking what was measured
    #[arg(long)]
    declared: bool,
    /// By what was measured of this Docker host (else of the target itself)
    #[arg(long, value_name = "TARGET", conflicts_with = "declared")]
    measured: Option<String>,
    /// How far back that is looked at: 24h, 7d, 2w
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = parse_back)]
    since: i64,
}

/// What machines are to each other.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum GroundName {
    /// Docker hosts, each for itself
    Hosts,
    /// A cluster whose first machine has the control plane and takes pods
    Shared,
    /// A cluster whose first machine has the control plane and takes no pods
    Apart,
    /// A cluster whose control plane is the provider's
    Managed,
}

/// How many machines of one type are tried where nobody says which.
const MOST: u32 = 6;
/// And how many of those that would do are shown.
const SHOWN: usize = 8;

fn parse_factor(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix(['x', '×']).unwrap_or(text).parse::<f64>().ok();
    let number = number.filter(|number| (0.1..=1_000.0).contains(number));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    number
        .map(|number| (number * 100.0).round() as u64)
        .ok_or_else(|| "a factor such as 2x or 1.5x".to_owned())
}

/// Says whether the services fit.
///
/// # Errors
/// When machines are named that nobody knows, or nothing is known of the services.
pub(super) async fn run(context: &Context, args: PlanArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let name = target_name(&config, args.target.as_deref())?;
    let target = config.target(name)?;
    let machines = Machines::read(&config)?;
    let named: Vec<Fleet> =
        args.nodes.iter().map(|text| parse(text, &machines)).collect::<Outcome<Vec<Fleet>>>()?;
    let profile = profile(context, &config, &args, target).await?;
    let found = find(&config, target, profile.as_ref()).await?;
    warn(context, &found, profile.as_ref());
    if found.needs.is_empty() {
        return Err(Failure::failed(format!("planning for {name}"))
            .since("nothing is known of what its services need")
            .hint(format!(
                "measure them (bowline capacity start {name}), or declare limits in the compose file"
            )));
    }
    let ground = |fleet: Option<&Fleet>| match (args.ground, found.ground) {
        (Some(ground), _) => Ground::from(ground),
        // A compose project runs on one host: on several machines it has to be a cluster.
        (None, Ground::Hosts) if fleet.is_some_and(|fleet| fleet.count() > 1) => Ground::Shared,
        (None, ground) => ground,
    };
    let needs = |ground| -> Vec<Need> {
        found.needs.iter().cloned().map(|need| need.grow(args.grow, ground)).collect()
    };
    let own = target.machines().filter(|_| named.is_empty());
    let mut fleets = named;
    fleets.extend(own.map(|text| parse(text, &machines)).transpose()?);
    let forecast = |fleet: &Fleet| {
        let ground = ground(Some(fleet));
        Forecast::new(fleet, ground, &needs(ground))
    };
    let forecasts: Vec<Forecast> = fleets.iter().map(forecast).collect();
    let others = match args.nodes.is_empty() {
        true => alternatives(&machines, ground(None), &needs(ground(None))),
        false => Vec::new(),
    };
    let best = cheapest(&forecasts);
    if context.ui.json {
        for (place, forecast) in forecasts.iter().chain(&others).enumerate() {
            context.ui.data(&encode(forecast, &machines, best == Some(place)));
        }
        return Ok(());
    }
    for forecast in &forecasts {
        context.ui.print(&render(forecast, &machines, width::of_stdout()));
        context.ui.print("");
    }
    let listed = if others.is_empty() { &forecasts } else { &others };
    if listed.len() > 1 || !others.is_empty() {
        context.ui.print(&render_alternatives(listed, &machines, width::of_stdout()));
    } else if args.nodes.is_empty() {
        context.ui.say("no machines of the table would do, up to six of a type");
    }
    context.ui.say(format!("prices: {}", machines.source));
    Ok(())
}

impl From<GroundName> for Ground {
    fn from(name: GroundName) -> Self {
        match name {
            GroundName::Hosts => Self::Hosts,
            GroundName::Shared => Self::Shared,
            GroundName::Apart => Self::Apart,
            GroundName::Managed => Self::Managed,
        }
    }
}

fn parse(text: &str, machines: &Machines) -> Outcome<Fleet> {
    Fleet::parse(text, &machines.types).map_err(|error| {
        Failure::invalid(format!("reading the machines `{text}`"))
            .because(&error)
            .hint("a table of your own: `machines = \"FILE\"` under [capacity] in bowline.toml")
    })
}

/// What was measured, where something was. That nothing was is no failure: then what is declared counts.
async fn profile(
    context: &Context,
    config: &Config,
    args: &PlanArgs,
    target: &Target,
) -> Outcome<Option<Profile>> {
    let (host, asked_for) = match (&args.measured, target) {
        _ if args.declared => return Ok(None),
        (Some(name), _) => (compose_target(config, name)?, true),
        (None, Target::Compose(target)) => (target, false),
        (None, Target::Kubernetes(_)) => return Ok(None),
    };
    let look = async {
        let host = Host::connect(config, host).await?;
        let since = clock::now().as_millisecond() - args.since;
        let measured = of_host(&host, Asked { since, until: None, step: Step::Minute }).await?;
        Ok(Profile::new(&measured.rows, service_of(&host.project)))
    };
    match look.await {
        Ok(profile) => Ok(Some(profile)),
        Err(failure) if asked_for => Err(failure),
        Err(failure) => {
            context.ui.warn(printable(&format!("by what is declared alone: {failure}")));
            Ok(None)
        }
    }
}

/// On what the plan stands.
fn warn(context: &Context, found: &Needs, profile: Option<&Profile>) {
    if let Some(profile) = profile {
        let window = profile.machine.window;
        let seconds = i64::try_from(window.length().as_secs()).unwrap_or(i64::MAX);
        context.ui.say(format!(
            "measured over {}, {} samples, {} % seen",
            crate::ui::table::span(seconds),
            window.samples,
            window.coverage()
        ));
        if profile.machine.steal > 10 {
            context
                .ui
                .warn("the hypervisor kept processor time back: what is needed is more than was measured");
        }
    }
    let told = |names: &[String], text: &str| {
        if !names.is_empty() {
            context.ui.warn(printable(&format!("{text}: {}", names.join(", "))));
        }
    };
    told(&found.declared, "by what is declared, as nobody measured them");
    told(&found.doubtful, "what was measured may be less than what these need (`capacity advise` says why)");
    told(&found.passing, "run for a while only, not reckoned with");
    match found.ground {
        Ground::Hosts => told(&found.unknown, "not reckoned with, as nothing is declared or measured"),
        _ => told(&found.unknown, "these ask for nothing, so that they are placed anywhere, room or not"),
    }
}

/// The cheapest machines of the table that would do, of one type each.
fn alternatives(machines: &Machines, ground: Ground, needs: &[Need]) -> Vec<Forecast> {
    let counts = if ground == Ground::Hosts { 1..=1 } else { 1..=MOST };
    let mut fleets: Vec<Fleet> = machines
        .types
        .values()
        .flat_map(|machine| counts.clone().map(|count| Fleet::of(count, machine.clone())))
        .filter(|fleet| fleet.monthly().is_some())
        .collect();
    fleets.sort_by_key(|fleet| (fleet.monthly(), std::cmp::Reverse(fleet.count())));
    let forecasts = fleets.iter().map(|fleet| Forecast::new(fleet, ground, needs));
    let mut good: Vec<Forecast> =
        forecasts.filter(|forecast| forecast.fits() && forecast.lasts()).take(SHOWN).collect();
    good.sort_by_key(|forecast| (forecast.monthly(), std::cmp::Reverse(forecast.fleet.count())));
    good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_written_with_or_without_their_sign() {
        for (text, hundredths) in [("2x", 200), ("1.5x", 150), ("3", 300), ("0.5×", 50)] {
            assert_eq!(parse_factor(text), Ok(hundredths), "{text}");
        }
        for text in ["", "x", "-1x", "0x", "1e9x", "two"] {
            assert!(parse_factor(text).is_err(), "{text}");
        }
    }
}
