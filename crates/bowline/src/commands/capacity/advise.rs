//! `bowline capacity advise`.

use bowline_core::capacity::advice::{Advice, advise};
use bowline_core::capacity::profile::Profile;
use bowline_core::capacity::recommendation::{Opinion, opinions};
use bowline_core::capacity::runtime::vitals::Vitals;
use bowline_measurement::rollup::Step;
use clap::Args;
use serde_json::{Value, json};

use super::{connect, host, parse_back};
use crate::cli::Context;
use crate::clock;
use crate::config::{Config, FILE};
use crate::error::{Failure, Outcome};
use crate::operation::capacity::measurement::{Asked, of_host, service_of};
use crate::operation::capacity::{configuration, facts};
use crate::ui::capacity::{amount, setting, show_advice, show_opinions};
use crate::ui::width;

/// What `capacity advise` takes.
#[derive(Debug, Args)]
pub(super) struct AdviseArgs {
    /// The target (else the only one there is)
    target: Option<String>,
    /// How far back: 24h, 7d, 2w
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = parse_back)]
    since: i64,
    /// Write the advice into bowline.toml, for the next plan
    #[arg(long)]
    write: bool,
}

/// Says what each service should be given.
///
/// # Errors
/// When the target cannot be reached, or nothing was measured there.
pub(super) async fn run(context: &Context, args: AdviseArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let target = connect(&config, args.target.as_deref()).await?;
    let host = host(&target)?;
    let asked = Asked { since: clock::now().as_millisecond() - args.since, until: None, step: Step::Minute };
    let (measured, known) = tokio::try_join!(of_host(host, asked), facts::of_host(host))?;
    let profile = Profile::new(&measured.rows, service_of(&host.project));
    if profile.services.is_empty() {
        return Err(Failure::failed(format!("advising on {}", host.target))
            .since("nothing of the project was measured yet")
            .hint("a first row is there after a minute"));
    }
    let all = advise(&profile, &known);
    let others = opinions(&measured.rows, clock::now().as_millisecond(), service_of(&host.project));
    if context.ui.json {
        let advice = all.iter().map(|advice| {
            let vitals = known.get(&advice.service).and_then(|facts| facts.vitals.as_ref());
            encode(advice, vitals, others.get(&advice.service))
        });
        let advice: Vec<Value> = advice.collect();
        context.ui.data(&json!({ "target": host.target, "advice": advice }));
    } else {
        context.ui.print(&show_advice(&all, width::of_stdout()));
        context.ui.print(&format!("\nby the rules of others:\n{}", show_opinions(&others)));
    }
    if args.write {
        let text = configuration::write(&config, &host.target, &all)?;
        if text == config.text {
            context.ui.done(format!("there is nothing to write into {FILE}"));
            return Ok(());
        }
        config.replace(&text)?;
        context.ui.done(format!("wrote it into {FILE}; commit it, and the next release brings it"));
    }
    Ok(())
}

fn encode(advice: &Advice, vitals: Option<&Vitals>, others: Option<&Opinion>) -> Value {
    let lines = advice.lines.iter().map(|line| {
        json!({
            "setting": setting(&line.setting), "now": line.now.as_ref().map(amount), "advised": amount(&line.advised),
            "why": line.why, "frees": line.frees,
        })
    });
    let doubts = advice.doubts.iter().map(|doubt| json!({ "seen": doubt.seen, "first": doubt.first }));
    let others = others.map(|opinion| {
        json!({
            "vpa": { "cpu": opinion.vpa.cpu, "memory": opinion.vpa.memory },
            "krr": { "cpu": opinion.krr_cpu, "memory": opinion.krr_memory },
        })
    });
    json!({
        "service": advice.service,
        "window": advice.window,
        "vitals": vitals,
        "lines": lines.collect::<Vec<_>>(), "doubts": doubts.collect::<Vec<_>>(),
        "others": others,
    })
}
