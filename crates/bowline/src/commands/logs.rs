//! `bowline logs`: what the services of a target write.

use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use bowline_core::quantity::parse_duration;
use clap::Args;
use jiff::Timestamp;

use crate::cli::Context;
use crate::clock;
use crate::config::Config;
use crate::error::{Failure, Outcome};
use crate::operation::logs::{ALL, Request, Written, read};
use crate::operation::target::Connected;
use crate::ui::printable;

/// What `logs` takes.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The target's name in bowline.toml
    target: String,
    /// Only these services of the compose file; of a cluster: services, or workloads by name or Kind/name
    services: Vec<String>,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// At most so many lines of each container (else 100, or all with --since)
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<usize>,
    /// Only since then: a time (2026-11-22T10:00:00Z) or a while ago (10m, 1h30m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// What containers wrote before they were last restarted (clusters)
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,
}

const COLOURS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Yellow,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
];

/// Shows logs in the order of time, each line behind the name of its service.
///
/// # Errors
/// When the target cannot be reached, or has no such service.
pub async fn run(context: &Context, args: LogsArgs) -> Outcome<()> {
    let config = Config::load(&context.directory)?;
    let since = args.since.as_deref().map(|text| parse_since(text, clock::now())).transpose()?;
    let request = Request {
        services: args.services.into_iter().collect(),
        tail: args.tail.unwrap_or(if since.is_some() { ALL } else { 100 }).min(ALL),
        since,
        follow: args.follow,
        previous: args.previous,
    };
    let target = Connected::open(&config, &args.target).await?;
    let mut names: Vec<String> = Vec::new();
    let json = context.ui.json;
    read(&target, &request, |written| {
        let text = if json { object(written) } else { line(&mut names, written) };
        // A closed pipe (`| head`) ends it.
        let mut out = anstream::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
    })
    .await
}

fn parse_since(text: &str, now: Timestamp) -> Outcome<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let ago = parse_duration(text).ok().and_then(|ago| now.checked_sub(ago).ok());
    ago.ok_or_else(|| {
        Failure::invalid(format!("`{}` is no time", printable(text)))
            .hint("write a time as 2026-11-22T10:00:00Z, or a while ago as 10m or 1h30m")
    })
}

fn object(written: &Written) -> String {
    serde_json::json!({
        "service": written.service, "container": written.container, "time": written.time,
        "stream": written.stream, "text": written.text,
    })
    .to_string()
}

/// Colours of the services' own are taken off: a line cannot be told from its prefix else.
fn line(names: &mut Vec<String>, written: &Written) -> String {
    let position = names.iter().position(|name| *name == written.label).unwrap_or_else(|| {
        names.push(written.label.clone());
        names.len() - 1
    });
    let colour = COLOURS.get(position % COLOURS.len()).copied().unwrap_or(AnsiColor::Cyan);
    let style = Style::new().fg_color(Some(colour.into()));
    let text = anstream::adapter::strip_str(&written.text).to_string();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    format!("{style}{:<width$} |{style:#} {}", printable(&written.label), printable(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_a_while_ago() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        for (text, time) in
            [("10m", "2026-11-22T09:50:00Z"), ("2026-11-21T00:00:00Z", "2026-11-21T00:00:00Z")]
        {
            assert_eq!(parse_since(text, now).unwrap().to_string(), time);
        }
        assert!(parse_since("yesterday", now).is_err());
    }
}
