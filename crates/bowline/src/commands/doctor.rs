//! `bowline doctor`: whether everything is there that the other verbs need.

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Args;

use crate::cli::Context;
use crate::error::Outcome;
use crate::operation::doctor::{Finding, State, observe};
use crate::ui::printable;
use crate::ui::width::{fold, of_stdout};

/// What `doctor` takes.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Only this target (else all)
    target: Option<String>,
}

/// Looks at tools, configuration, registry and targets, and says what to do about what is wrong. Changes nothing.
///
/// # Errors
/// When there is no such target.
pub async fn run(context: &Context, args: DoctorArgs) -> Outcome<ExitCode> {
    let findings = observe(&context.directory, args.target.as_deref()).await?;
    let broken = findings.iter().filter(|finding| finding.state == State::Broken).count();
    if context.ui.json {
        context.ui.data(&serde_json::json!({ "ok": broken == 0, "findings": findings }));
    } else {
        let width = findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0);
        findings.iter().for_each(|finding| context.ui.print(&line(finding, width, of_stdout())));
        context.ui.say(match broken {
            0 => "nothing is broken".to_owned(),
            1 => "1 thing is broken".to_owned(),
            several => format!("{several} things are broken"),
        });
    }
    Ok(ExitCode::from(u8::from(broken > 0)))
}

fn line(finding: &Finding, width: usize, columns: Option<usize>) -> String {
    let (word, colour) = match finding.state {
        State::Ok => ("ok  ", AnsiColor::Green),
        State::Warning => ("warn", AnsiColor::Yellow),
        State::Broken => ("FAIL", AnsiColor::Red),
    };
    let style = Style::new().fg_color(Some(colour.into()));
    let indent = width + 8;
    let mut parts = printable(&finding.text);
    if let Some(remedy) = &finding.remedy {
        parts.push_str(&format!("\nnext: {}", printable(remedy)));
    }
    let margin = " ".repeat(indent);
    let columns = columns.map(|columns| columns.saturating_sub(indent).max(20));
    // Each line by itself: the excerpt of a configuration keeps its carets below what they point at.
    let lines: Vec<String> =
        parts.lines().map(|text| fold(text, columns, 0).replace('\n', &format!("\n{margin}"))).collect();
    let text = lines.join(&format!("\n{margin}"));
    format!("{style}{word}{style:#}  {:<width$}  {text}", printable(&finding.subject))
}
