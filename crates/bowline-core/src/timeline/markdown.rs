//! The timeline as Markdown, for GitHub's job summary. What strangers wrote (notes, causes, logs) stays text.

use std::fmt::Write as _;

use crate::capacity::comparison::Comparison;

use super::{Evidence, Stretch, Timeline, elapsed, size};

/// The longest summary in bytes: GitHub refuses more than a mebibyte for each step.
const LONGEST: usize = 512 * 1024;
/// How many lines of a log are shown.
const LOG_LINES: usize = 50;
/// How many characters of one line are shown.
const LINE_LENGTH: usize = 500;

/// Renders a heading, a table of the phases, a table of the services, and what went wrong.
pub fn render(timeline: &Timeline) -> String {
    let mut text = heading(timeline);
    if let Some(failure) = timeline.ending.as_ref().and_then(|ending| ending.failure.as_ref()) {
        let _ = write!(text, "\n**{}**\n", escape(failure));
    }
    phases(&mut text, timeline);
    services(&mut text, timeline);
    if let Some(comparison) = &timeline.capacity {
        capacity(&mut text, comparison);
    }
    timeline.evidence.iter().for_each(|evidence| cause(&mut text, evidence));
    if !timeline.warnings.is_empty() {
        text.push('\n');
        for warning in &timeline.warnings {
            let _ = writeln!(text, "- ⚠️ {}", escape(warning));
        }
    }
    cut(text)
}

fn heading(timeline: &Timeline) -> String {
    let subject = escape(&timeline.subject());
    match &timeline.ending {
        Some(ending) if ending.ok => {
            let again = if timeline.reused { ", which was made before" } else { "" };
            format!("### ✅ {subject}{again}\n\nDone in {}.\n", elapsed(ending.seconds))
        }
        Some(ending) => format!("### ❌ {subject}\n\nFailed after {}.\n", elapsed(ending.seconds)),
        None => format!("### ⏳ {subject}\n"),
    }
}

fn phases(text: &mut String, timeline: &Timeline) {
    if timeline.stretches.is_empty() {
        return;
    }
    text.push_str("\n| | Phase | Start | Took | Network | |\n|---|---|--:|--:|--:|---|\n");
    for stretch in &timeline.stretches {
        let Stretch { phase, start, seconds, bytes, note } = stretch;
        let (mark, took) = match (seconds, &timeline.ending) {
            (Some(seconds), _) => ("✅", elapsed(*seconds)),
            (None, Some(_)) => ("❌", String::new()),
            (None, None) => ("⏳", String::new()),
        };
        let bytes = if *bytes == 0 { String::new() } else { size(*bytes) };
        let _ = writeln!(
            text,
            "| {mark} | {phase} | +{} | {took} | {bytes} | {} |",
            elapsed(*start),
            escape(note)
        );
    }
    if let Some(ending) = &timeline.ending {
        let bytes = size(timeline.bytes());
        let _ = writeln!(text, "| | **total** | | **{}** | **{bytes}** | |", elapsed(ending.seconds));
    }
}

fn services(text: &mut String, timeline: &Timeline) {
    if timeline.services.is_empty() {
        return;
    }
    text.push_str("\n| Service | Changed | State | Image |\n|---|---|---|---|\n");
    for (name, service) in &timeline.services {
        let changed = if service.changed { "yes" } else { "no" };
        let digest = service.digest.as_deref().map(short).unwrap_or_default();
        let _ = writeln!(text, "| {} | {changed} | {} | {digest} |", escape(name), escape(&service.state));
    }
}

/// What the services take, before and after; what did not run has no figure.
fn capacity(text: &mut String, comparison: &Comparison) {
    text.push_str(
        "\n| Service | CPU before | after | | Memory before | after | |\n|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for change in &comparison.changes {
        let name = change.service.as_deref().map_or_else(|| "*the machine*".to_owned(), escape);
        let cells = change.cells("", |bytes| format!("{} MiB", bytes >> 20));
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    let _ = writeln!(text, "\n{}", comparison.basis());
}

/// The beginning of a digest as code, in which entities would be shown as they are.
fn short(digest: &str) -> String {
    let digest: String = digest.chars().filter(|c| c.is_ascii_alphanumeric() || *c == ':').take(19).collect();
    format!("`{digest}`")
}

fn cause(text: &mut String, evidence: &Evidence) {
    let Evidence { service, cause, exit_code, oom_killed, log } = evidence;
    let whose = service.as_deref().map(|name| format!("{}: ", escape(name))).unwrap_or_default();
    let _ = write!(text, "\n**{whose}{}**", escape(cause));
    if let Some(code) = exit_code {
        let _ = write!(text, " (exit code {code})");
    }
    if *oom_killed {
        text.push_str(" (killed for want of memory)");
    }
    text.push('\n');
    if log.is_empty() {
        return;
    }
    let skipped = log.len().saturating_sub(LOG_LINES);
    let lines: Vec<String> = log.iter().skip(skipped).map(|line| visible(line)).collect();
    let fence = fence(&lines);
    let _ = write!(text, "\n<details><summary>Last lines of its log</summary>\n\n{fence}text\n");
    lines.iter().for_each(|line| {
        let _ = writeln!(text, "{line}");
    });
    let _ = write!(text, "{fence}\n\n</details>\n");
}

/// A fence longer than any run of backticks in the lines (CommonMark 0.31, section 4.5).
fn fence(lines: &[String]) -> String {
    let run = |line: &String| line.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(lines.iter().map(run).max().unwrap_or(0).max(2) + 1)
}

/// One line without control characters or changes of the reading direction, of bounded length.
fn visible(line: &str) -> String {
    let mut text = String::new();
    for c in line.chars().take(LINE_LENGTH) {
        match c {
            '\t' => text.push_str("    "),
            c if c.is_control() => text.extend(c.escape_default()),
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                text.extend(c.escape_unicode());
            }
            c => text.push(c),
        }
    }
    if line.chars().nth(LINE_LENGTH).is_some() {
        text.push('…');
    }
    text
}

/// Text that Markdown and HTML leave alone, on one line, fit for a cell of a table: every mark that could begin
/// something is an entity (CommonMark 0.31, section 2.5: entities are never marks).
pub fn escape(text: &str) -> String {
    let mut safe = String::new();
    for c in visible(text).chars() {
        match c {
            '&' | '<' | '>' | '"' | '\'' | '`' | '*' | '_' | '~' | '|' | '[' | ']' | '(' | ')' | '!'
            | '\\' | '@' | '#' | '$' | '{' | '}' => {
                let _ = write!(safe, "&#{};", u32::from(c));
            }
            // `http://…`, `www.…` would become links by themselves.
            ':' => safe.push_str("&#58;"),
            c => safe.push(c),
        }
    }
    safe
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("\n…\n");
    }
    text
}
