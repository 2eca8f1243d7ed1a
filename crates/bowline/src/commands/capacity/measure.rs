//! `bowline capacity start` and `stop`.

use std::net::SocketAddr;
use std::time::Duration;

use bowline_core::quantity::parse_duration;
use clap::Args;
use serde_json::json;

use super::{connect, host};
use crate::cli::Context;
use crate::config::Config;
use crate::error::Outcome;
use crate::operation::capacity::sampler::{self, Manner};

/// What `capacity start` takes.
#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// The target (else the only one there is)
    target: Option<String>,
    /// How often: 1s to 60s
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_every)]
    every: Duration,
    /// Answer Prometheus at this address of the host, such as 127.0.0.1:9101
    #[arg(long, value_name = "ADDRESS")]
    prometheus: Option<SocketAddr>,
}

/// What `capacity stop` takes.
#[derive(Debug, Args)]
pub(super) struct StopArgs {
    /// The target (else the only one there is)
    target: Option<String>,
    /// Delete what was measured, too
    #[arg(long)]
    forget: bool,
}

fn parse_every(text: &str) -> Result<Duration, String> {
    let every = parse_duration(text).map_err(|error| error.to_string())?;
    let whole = every.subsec_nanos() == 0 && (1..=60).contains(&every.as_secs());
    if whole { Ok(every) } else { Err("whole seconds from 1s to 60s".to_owned()) }
}

/// Begins to measure.
///
/// # Errors
/// When the target is no Docker host, or its engine refuses.
pub(super) async fn start(context: &Context, args: StartArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let target = connect(&config, args.target.as_deref()).await?;
    let host = host(&target)?;
    if let Some(address) = args.prometheus.filter(|address| !address.ip().is_loopback()) {
        context.ui.warn(format!(
            "whoever reaches {address} can read what is measured: nobody is asked for a password"
        ));
    }
    let begun = sampler::start(host, Manner { every: args.every, prometheus: args.prometheus }).await?;
    if context.ui.json {
        context.ui.data(&json!({ "target": host.target, "begun": begun }));
    } else if begun {
        context.ui.done(format!("{} is measured every {} s", host.target, args.every.as_secs()));
        context.ui.say(format!("look at it in a minute: bowline capacity {}", host.target));
    } else {
        context.ui.done(format!("{} is measured already", host.target));
    }
    Ok(())
}

/// Stops measuring.
///
/// # Errors
/// When the target is no Docker host, or its engine refuses.
pub(super) async fn stop(context: &Context, args: StopArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let target = connect(&config, args.target.as_deref()).await?;
    let host = host(&target)?;
    let stopped = host.engine.stop_sampler(args.forget).await;
    let stopped = stopped.map_err(|error| host.failure("stopping to measure", &error))?;
    if context.ui.json {
        context.ui.data(&json!({ "target": host.target, "stopped": stopped, "forgotten": args.forget }));
    } else if stopped {
        let kept = if args.forget { "what was measured is deleted" } else { "what was measured stays there" };
        context.ui.done(format!("{} is no longer measured; {kept}", host.target));
    } else {
        context.ui.done(format!("nothing measured {}", host.target));
    }
    Ok(())
}
