//! `bowline capacity plan`.

use bowline_core::capacity::fleet::Fleet;
use bowline_core::capacity::forecast::{Forecast, Ground, cheapest};
use bowline_core::capacity::profile::Profile;
use bowline_measurement::rollup::Step;
use clap::{Args, ValueEnum};

use super::{parse_back, target_name};
use crate::cli::Context;
use crate::clock;
use crate::config::{Config, Target};
use crate::error::{Failure, Outcome};
use crate::operation::capacity::demand::{Demand, own_fleet, parse_fleet};
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
    let named = args.nodes.iter().map(|text| parse_fleet(text, &machines));
    let mut fleets = named.collect::<Outcome<Vec<Fleet>>>()?;
    let measured = measure(context, &config, &args, name, target).await?;
    let found = find(&config, target, measured.profile.as_ref()).await?;
    warn(context, &found, measured.profile.as_ref());
    if found.needs.is_empty() {
        return Err(Failure::failed(format!("planning for {name}"))
            .since("nothing is known of what its services need")
            .hint(format!(
                "measure them (bowline capacity start {name}), or declare limits in the compose file"
            )));
    }
    if fleets.is_empty() {
        let instance = measured.instance.as_deref();
        fleets.extend(own_fleet(target.machines(), instance, &machines)?);
        if let Some(instance) = instance.filter(|_| fleets.is_empty()) {
            context.ui.warn(printable(&format!("{name} says that it is {instance}, which no table has")));
        }
    }
    let demand = Demand {
        needs: found.needs,
        growth: args.grow,
        ground: found.ground,
        asked: args.ground.map(Ground::from),
    };
    let forecasts: Vec<Forecast> = fleets.iter().map(|fleet| demand.forecast(fleet)).collect();
    let others = args.nodes.is_empty().then(|| demand.alternatives(&machines));
    show(context, &machines, &forecasts, others);
    Ok(())
}

/// Shows what becomes of the services on the machines that are meant, and on others where they were looked for.
fn show(context: &Context, machines: &Machines, forecasts: &[Forecast], others: Option<Vec<Forecast>>) {
    let (ui, columns) = (&context.ui, width::of_stdout());
    let searched = others.is_some();
    let others = others.unwrap_or_default();
    if ui.json {
        let best = cheapest(forecasts);
        for (place, forecast) in forecasts.iter().chain(&others).enumerate() {
            ui.data(&encode(forecast, machines, best == Some(place)));
        }
        return;
    }
    for forecast in forecasts {
        ui.print(&render(forecast, machines, columns));
        ui.print("");
    }
    let listed = if others.is_empty() { forecasts } else { &others };
    if listed.len() > 1 || !others.is_empty() {
        ui.print(&render_alternatives(listed, machines, columns));
    } else if searched {
        ui.say("no machines of the table would do, up to six of a type");
    }
    ui.say(format!("prices: {}", machines.source));
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

/// What was measured.
#[derive(Debug, Default)]
struct Measured {
    /// What services were like.
    profile: Option<Profile>,
    /// The type of machine that the target's own host says that it is. Another host says nothing of this one.
    instance: Option<String>,
}

/// What was measured, where something was. That nothing was is no failure: then what is declared counts.
async fn measure(
    context: &Context,
    config: &Config,
    args: &PlanArgs,
    name: &str,
    target: &Target,
) -> Outcome<Measured> {
    let (host, asked_for) = match (&args.measured, target) {
        _ if args.declared => return Ok(Measured::default()),
        (Some(name), _) => (compose_target(config, name)?, true),
        (None, Target::Compose(target)) => (target, false),
        (None, Target::Kubernetes(_)) => return Ok(Measured::default()),
    };
    let look = async {
        let host = Host::connect(config, host).await?;
        let since = clock::now().as_millisecond() - args.since;
        let series = of_host(&host, Asked { since, until: None, step: Step::Minute }).await?;
        let profile = Some(Profile::new(&series.rows, service_of(&host.project)));
        let instance = series.facts.and_then(|facts| facts.instance).filter(|_| host.target == name);
        Ok(Measured { profile, instance })
    };
    match look.await {
        Ok(measured) => Ok(measured),
        Err(failure) if asked_for => Err(failure),
        Err(failure) => {
            context.ui.warn(printable(&format!("by what is declared alone: {failure}")));
            Ok(Measured::default())
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
