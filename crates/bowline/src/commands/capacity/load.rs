//! `bowline capacity load`.

use std::time::Duration;

use bowline_core::capacity::scaling::fit;
use bowline_core::quantity::parse_duration;
use clap::Args;
use reqwest::Url;
use serde_json::json;

use crate::cli::Context;
use crate::error::{Failure, Outcome};
use crate::operation::capacity::load::{End, Slope, Step, raise};
use crate::ui::{printable, table};

/// What `capacity load` takes.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// What to ask for, again and again: http://host/path. Only what is yours
    url: Url,
    /// Requests in a second to begin with
    #[arg(long, value_name = "RATE", default_value_t = 10.0, value_parser = parse_rate)]
    from: f64,
    /// The most requests in a second
    #[arg(long, value_name = "RATE", default_value_t = 2_000.0, value_parser = parse_rate)]
    to: f64,
    /// How long each step lasts
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_step)]
    step: Duration,
    /// Stop when more of a hundred fail
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = parse_percent)]
    errors: f64,
    /// On how many machines it runs: what is reached is told for each
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    nodes: u32,
}

/// Each step is so much more than the one before.
const FACTOR: f64 = 1.4;
/// Longer than this nobody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.1..=50_000.0).contains(rate));
    rate.ok_or_else(|| "a number from 0.1 to 50000".to_owned())
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent = text.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "a number from 0 to 100".to_owned())
}

fn parse_step(text: &str) -> Result<Duration, String> {
    let step = parse_duration(text).map_err(|error| error.to_string())?;
    let sensible = (1..=600).contains(&step.as_secs());
    if sensible { Ok(step) } else { Err("from 1s to 10m".to_owned()) }
}

/// Loads a URL at rising rates, and says how it scales.
///
/// # Errors
/// When the URL is none that can be loaded, or does not answer at all.
pub(super) async fn run(context: &Context, args: LoadArgs) -> Outcome<()> {
    if !matches!(args.url.scheme(), "http" | "https") {
        return Err(
            Failure::invalid(format!("loading {}", args.url)).since("only http and https can be loaded")
        );
    }
    let client = crate::http::client_without_redirects()?;
    let slope = Slope {
        from: args.from.min(args.to),
        to: args.to,
        factor: FACTOR,
        step: args.step,
        patience: PATIENCE,
        errors: args.errors / 100.0,
    };
    let ui = &context.ui;
    let mut noted = false;
    let told = |step: &Step| {
        if let Some(to) = step.redirected.as_deref().filter(|_| !noted) {
            noted = true;
            ui.warn(printable(&format!(
                "{} sends whoever asks to {to}: that counts as answered, and nothing is loaded there; to load it, name it",
                args.url
            )));
        }
        if ui.json {
            ui.data(&json!({ "event": "step", "step": step }));
        } else {
            ui.say(format!(
                "{:.0}/s sent, {:.0}/s answered, {} failed",
                step.offered, step.answered, step.failed
            ));
        }
    };
    let (steps, end) = raise(&client, &args.url, &slope, told).await;
    if steps.first().is_some_and(|first| first.latency.is_none()) {
        return Err(Failure::failed(format!("loading {}", args.url))
            .since("not one request was answered well")
            .hint("look at it with curl first"));
    }
    let points: Vec<_> = steps.iter().map(Step::point).collect();
    let fitted = fit(&points);
    let reached = steps.iter().map(|step| step.answered).fold(0.0, f64::max);
    let each = |rate: f64| rate / f64::from(args.nodes);
    if ui.json {
        let law = fitted.as_ref().ok().map(|fit| {
            json!({
                "alone": fit.law.alone, "contention": fit.law.contention, "coherence": fit.law.coherence,
                "error": fit.error, "peak": fit.peak.0, "peak_low": fit.peak.1, "peak_high": fit.peak.2,
            })
        });
        ui.data(&json!({
            "url": args.url.as_str(), "end": end, "steps": steps, "law": law, "reached": reached, "per_node": each(reached),
        }));
        return Ok(());
    }
    show(context, &steps);
    ui.print(&format!("\n{}", end_in_words(end)));
    ui.print(&format!("{:.0} requests/s were reached, {:.0} for each machine", reached, each(reached)));
    match fitted {
        Ok(fit) => {
            let (peak, low, high) = fit.peak;
            ui.print(&format!(
                "as it grows, the most is {:.0} requests/s for each machine ({:.0} to {:.0}, from {} steps that lie {:.1} % off the law)",
                each(peak), each(low), each(high), fit.points, fit.error * 100.0
            ));
            if let Some(summit) = fit.law.summit() {
                ui.print(&format!("that is with {summit:.0} requests under way; beyond it gets slower"));
            }
        }
        Err(why) => ui.say(format!("nothing is said about more than that: {why}")),
    }
    Ok(())
}

fn end_in_words(end: End) -> &'static str {
    match end {
        End::Reached => "the highest rate that was asked for was reached: more was not tried (--to)",
        End::Errors => "stopped, as too many requests failed",
        End::Saturated => "stopped, as fewer requests were answered than sent: it is saturated",
    }
}

fn show(context: &Context, steps: &[Step]) {
    let row = |step: &Step| {
        let time = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.0} ms"));
        let latency = step.latency;
        vec![
            format!("{:.0}/s", step.offered),
            format!("{:.0}/s", step.answered),
            step.failed.to_string(),
            time(latency.map(|(half, ..)| half)),
            time(latency.map(|(_, most, _)| most)),
            time(latency.map(|(.., nearly)| nearly)),
            format!("{:.1}", step.concurrency),
        ]
    };
    let rows: Vec<Vec<String>> = steps.iter().map(row).collect();
    let header = ["SENT", "ANSWERED", "FAILED", "50 %", "95 %", "99 %", "UNDER WAY"];
    context.ui.print(&table::render(&header, &rows));
}
