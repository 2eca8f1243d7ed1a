//! `bowline capacity advise`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bowline_core::capacity::advice::{Advice, Facts, Setting, advise};
use bowline_core::capacity::profile::Profile;
use bowline_core::capacity::recommendation::{Opinion, opinions};
use bowline_core::capacity::runtime::vitals::Vitals;
use bowline_measurement::interval::{Interval, fold_minutes};
use bowline_measurement::rollup::Step;
use clap::Args;
use serde_json::{Value, json};

use super::show::{parse_span, watch_cluster};
use super::{parse_back, target_name};
use crate::cli::Context;
use crate::clock;
use crate::config::{Config, FILE, KubernetesTarget, Target};
use crate::error::{Failure, Outcome};
use crate::operation::Cancel;
use crate::operation::capacity::container::{self, Declared};
use crate::operation::capacity::measurement::{Asked, of_host, service_of};
use crate::operation::capacity::{configuration, facts, recording};
use crate::operation::cluster::{Site, usage};
use crate::operation::host::{Host, compose_target};
use crate::operation::manifest::{rendered_file, write_resources};
use crate::ui::capacity::{amount, setting, show_advice, show_opinions};
use crate::ui::{printable, width};

/// What `capacity advise` takes.
#[derive(Debug, Args)]
pub(super) struct AdviseArgs {
    /// The target (else the only one there is)
    target: Option<String>,
    /// How far back: 24h, 7d, 2w
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = parse_back)]
    since: i64,
    /// How long a cluster is looked at, whose nodes remember nothing: 30s, 5m
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = parse_span)]
    time: Duration,
    /// By what was recorded of a cluster in this file (`capacity CLUSTER --record FILE`), instead of looking at it now
    #[arg(long, value_name = "FILE", conflicts_with = "time")]
    from: Option<PathBuf>,
    /// Write the advice into bowline.toml, or into a cluster's manifests, for the next plan
    #[arg(long)]
    write: bool,
}

/// What is advised, and what others would.
struct Advised {
    all: Vec<Advice>,
    vitals: BTreeMap<String, Vitals>,
    others: BTreeMap<String, Opinion>,
}

/// Says what each service should be given.
///
/// # Errors
/// When the target cannot be reached, or nothing was measured there.
pub(super) async fn run(context: &Context, args: AdviseArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let name = target_name(&config, args.target.as_deref())?;
    match config.target(name)? {
        Target::Compose(_) if args.from.is_some() => {
            Err(Failure::invalid(format!("{name} is a Docker host"))
                .since("it remembers by itself what was measured (capacity start): --from is for clusters"))
        }
        Target::Compose(_) => on_host(context, &config, name, &args).await,
        Target::Kubernetes(target) => on_cluster(context, &config, target, &args).await,
    }
}

async fn on_host(context: &Context, config: &Config, name: &str, args: &AdviseArgs) -> Outcome<()> {
    let host = Host::connect(config, compose_target(config, name)?).await?;
    let asked = Asked { since: clock::now().as_millisecond() - args.since, until: None, step: Step::Minute };
    let (measured, known) = tokio::try_join!(of_host(&host, asked), facts::of_host(&host))?;
    let advised = Advised::new(name, &measured.rows, &known, service_of(&host.project))?;
    advised.show(context, name);
    if args.write {
        let text = configuration::write(config, name, &advised.all)?;
        if text == config.text {
            context.ui.done(format!("there is nothing to write into {FILE}"));
            return Ok(());
        }
        config.replace(&text)?;
        context.ui.done(format!("wrote it into {FILE}; commit it, and the next release brings it"));
    }
    Ok(())
}

async fn on_cluster(
    context: &Context,
    config: &Config,
    target: &KubernetesTarget,
    args: &AdviseArgs,
) -> Outcome<()> {
    let declared = container::of_manifests(config, target).await?;
    let (namespace, rows) = match &args.from {
        Some(path) => {
            let back = clock::now().as_millisecond() - args.since;
            let mut rows = recording::read(path)?.rows;
            rows.retain(|row| row.to > back);
            // Whoever recorded it knew the namespace: it is the one that most of the target's workloads are in.
            (container::namespace_of(&rows, &declared).or_else(|| target.namespace.clone()), rows)
        }
        None => {
            let site = Site::connect(config, target).await?;
            let cancel = Cancel::on_signals(&context.ui, "stopping; what was seen is looked at");
            let rows = watch_cluster(context, &site, args.time, None, &cancel).await?;
            (Some(site.namespace), fold_minutes(&rows))
        }
    };
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let known = declared.iter().map(|(name, declared)| (name.clone(), declared.facts.clone())).collect();
    let mut advised = Advised::new(&target.name, &rows, &known, usage::container_of(&namespace))?;
    for advice in &mut advised.all {
        // Brokers of a cluster are on several machines.
        advice.lines.retain(|line| line.setting != Setting::Enabled);
    }
    let wanted = container::wanted(&declared, &advised.all);
    advised.rename(|name| declared.get(name).map(Declared::name));
    advised.show(context, &target.name);
    if args.write {
        let rendered = rendered_file(&target.name);
        let (made, wanted): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|wanted| wanted.object.file == rendered);
        if let Some(first) = made.first() {
            context.ui.warn(printable(&format!(
                "{} of them, {} first, are made by `render`: write it where they are made",
                made.len(),
                first.container
            )));
        }
        match write_resources(&config.directory, wanted)?.as_slice() {
            [] => context.ui.done("there is nothing to write into the manifests"),
            files => context.ui.done(printable(&format!(
                "wrote it into {}; commit it, and the next release brings it",
                files.join(", ")
            ))),
        }
    }
    Ok(())
}

impl Advised {
    fn new(
        target: &str,
        rows: &[Interval],
        known: &BTreeMap<String, Facts>,
        service: impl Fn(&str) -> Option<String>,
    ) -> Outcome<Self> {
        let profile = Profile::new(rows, &service);
        if profile.services.is_empty() {
            return Err(Failure::failed(format!("advising on {target}"))
                .since("nothing of the project was measured yet")
                .hint("a first row is there after a minute"));
        }
        let others = opinions(rows, clock::now().as_millisecond(), service);
        let vitals = known.iter().filter_map(|(name, facts)| Some((name.clone(), facts.vitals.clone()?)));
        Ok(Self { all: advise(&profile, known), vitals: vitals.collect(), others })
    }

    /// Calls services otherwise.
    fn rename(&mut self, name: impl Fn(&str) -> Option<String>) {
        for advice in &mut self.all {
            advice.service = name(&advice.service).unwrap_or_else(|| advice.service.clone());
        }
        let others = std::mem::take(&mut self.others).into_iter();
        self.others = others.map(|(service, one)| (name(&service).unwrap_or(service), one)).collect();
    }

    fn show(&self, context: &Context, target: &str) {
        if context.ui.json {
            let of = |advice: &Advice| {
                encode(advice, self.vitals.get(&advice.service), self.others.get(&advice.service))
            };
            let advice: Vec<Value> = self.all.iter().map(of).collect();
            context.ui.data(&json!({ "target": target, "advice": advice }));
        } else {
            context.ui.print(&show_advice(&self.all, width::of_stdout()));
            context.ui.print(&format!("\nby the rules of others:\n{}", show_opinions(&self.others)));
        }
    }
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
