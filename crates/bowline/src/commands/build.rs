//! `bowline build`: artifacts and images into the local cache.

use std::collections::BTreeMap;

use bowline_core::change::{Changed, Reason};
use bowline_core::event::{EventKind, ServiceSummary, Summary};
use bowline_core::placeholder::Placeholders;
use bowline_core::service::ServiceName;
use bowline_core::tag::Tag;
use clap::Args;

use crate::build::image::BuiltImage;
use crate::cli::Context;
use crate::config::Config;
use crate::error::{Failure, Outcome};
use crate::operation::build;
use crate::record::Recorder;

/// What to build, and as which version.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Build this service only; may be given several times
    #[arg(long = "service", short = 's', value_name = "SERVICE")]
    services: Vec<String>,
    /// Build as this version (v1.2.3-0a1b2c3) rather than as 0.0.0-local
    #[arg(long, value_name = "TAG")]
    version_tag: Option<Tag>,
    /// Write a Dockerfile next to each service that has none, for the team to adopt; nothing is overwritten
    #[arg(long)]
    write_dockerfiles: bool,
}

/// Builds, and prints a table of what was built.
///
/// # Errors
/// When the configuration is wrong, a command fails, an artifact is missing or an image cannot be made.
pub async fn run(context: &Context, args: BuildArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let changed = asked(&config, &args.services)?;
    let values = Placeholders::new(args.version_tag.as_ref().map_or("0.0.0-local".into(), Tag::number));
    let recorder = Recorder::start(&context.ui)?;
    recorder.emit(EventKind::RunStarted { verb: "build".into(), target: None });
    if args.write_dockerfiles {
        return write(context, &recorder, &config, &values, &changed).await;
    }
    let images = build::build(context, &recorder, &config, &values, &changed).await?;
    let summary = Summary {
        tag: args.version_tag.map(|tag| tag.to_string()),
        services: images.iter().map(|(name, image)| (name.to_string(), summarise(image))).collect(),
        ..recorder.summary()
    };
    recorder.emit(EventKind::RunFinished { summary: summary.clone() });
    if context.ui.json {
        context.ui.data(&summary);
    } else {
        context.ui.print(&table(&images));
    }
    Ok(())
}

fn asked(config: &Config, services: &[String]) -> Outcome<BTreeMap<ServiceName, Changed>> {
    if config.services.is_empty() {
        return Err(Failure::invalid("there is nothing to build")
            .since("bowline.toml names no services")
            .hint("add [services.X] for what this repository builds; `bowline init` proposes it"));
    }
    let mut wanted = Vec::new();
    for name in services {
        wanted.push(config.service(name)?.name.clone());
    }
    let all = config.services.keys();
    let changed = |name: &ServiceName| {
        if wanted.is_empty() || wanted.contains(name) { Changed::Yes(Reason::Asked) } else { Changed::No }
    };
    Ok(all.map(|name| (name.clone(), changed(name))).collect())
}

fn summarise(image: &BuiltImage) -> ServiceSummary {
    ServiceSummary { changed: true, digest: Some(image.id.manifest.to_string()), state: "built".into() }
}

fn table(images: &BTreeMap<ServiceName, BuiltImage>) -> String {
    let width = images.keys().map(|name| name.as_str().len()).max().unwrap_or(0).max("SERVICE".len());
    let mut lines = vec![format!("{:<width$}  {:<12}  {:<13}  HOW", "SERVICE", "IMAGE", "PLATFORM")];
    lines.extend(images.iter().map(|(name, image)| {
        let platform = image.id.platform.to_string();
        format!("{name:<width$}  {}  {platform:<13}  {}", image.id.manifest.short(), image.how)
    }));
    lines.join("\n")
}

async fn write(
    context: &Context,
    recorder: &Recorder,
    config: &Config,
    values: &Placeholders,
    changed: &BTreeMap<ServiceName, Changed>,
) -> Outcome<()> {
    let written = build::write_dockerfiles(context, recorder, config, values, changed).await?;
    if context.ui.json {
        let lines = written.iter().map(|(name, written)| {
            serde_json::json!({ "service": name, "path": written.path, "setting": written.setting })
        });
        context.ui.data(&serde_json::json!({ "ok": true, "dockerfiles": lines.collect::<Vec<_>>() }));
        return Ok(());
    }
    for (name, written) in &written {
        let setting = written.setting.as_ref().map(|line| format!("  (add to [services.{name}]: {line})"));
        context.ui.print(&format!("{}{}", written.path, setting.unwrap_or_default()));
    }
    if written.is_empty() {
        context.ui.say("every service has a Dockerfile already");
    }
    Ok(())
}
