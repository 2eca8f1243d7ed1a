//! How Bowline talks: stdout is data, stderr is for people.

pub mod capacity;
pub mod cluster;
pub mod event;
pub mod forecast;
pub mod phase;
pub mod plan;
pub mod table;
pub mod terminal;
pub mod width;

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::error::Failure;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const DONE: Style = AnsiColor::Green.on_default().bold();
const FAINT: Style = Style::new().dimmed();

/// The two output channels and how much is said on them. Cheap to clone; safe to share between tasks.
#[derive(Clone)]
pub struct Ui {
    /// Whether stdout carries JSON lines.
    pub json: bool,
    quiet: bool,
    /// Whether a person watches: progress bars are drawn.
    live: bool,
    bars: Arc<MultiProgress>,
    phase: Arc<phase::Watched>,
}

impl Ui {
    /// Colour is decided by the terminal and `NO_COLOR` (anstream); bars by stderr being a terminal outside CI.
    pub fn new(json: bool, quiet: bool) -> Self {
        let live = !quiet
            && std::io::stderr().is_terminal()
            && std::env::var_os("CI").is_none()
            && std::env::var("TERM").as_deref() != Ok("dumb");
        let bars = MultiProgress::new();
        if !live {
            bars.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        Self { json, quiet, live, bars: Arc::new(bars), phase: Arc::default() }
    }

    /// Data for whoever called: one line of JSON on stdout.
    pub fn data(&self, value: &impl Serialize) {
        if let Ok(text) = serde_json::to_string(value) {
            self.print(&text);
        }
    }

    /// Data for people who asked for it: text on stdout.
    pub fn print(&self, text: &str) {
        let mut out = anstream::stdout().lock();
        // A closed pipe (`| head`) is no failure.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// A line about what is going on. Silent with `--quiet`.
    pub fn say(&self, text: impl Display) {
        if !self.quiet {
            self.line(&format!("{text}"));
        }
    }

    /// Whether a person watches what is going on.
    pub fn live(&self) -> bool {
        self.live
    }

    /// A line that matters less than the others.
    pub fn faint(&self, text: impl Display) {
        self.say(format_args!("{FAINT}{text}{FAINT:#}"));
    }

    /// Something was finished.
    pub fn done(&self, text: impl Display) {
        self.say(format_args!("{DONE}✓{DONE:#} {text}"));
    }

    /// Something deserves attention but stops nothing. Said even with `--quiet`.
    pub fn warn(&self, text: impl Display) {
        self.line(&format!("{WARNING}warning:{WARNING:#} {text}"));
    }

    /// Something works and proves little. Silent with `--quiet`, which promises what went wrong and nothing else.
    pub fn weakness(&self, text: impl Display) {
        if !self.quiet {
            self.warn(text);
        }
    }

    /// Why it ended, once, at the end.
    pub fn fail(&self, failure: &Failure) {
        self.phase.end();
        let mut text = format!("{ERROR}error:{ERROR:#} {}", printable(&failure.message));
        for cause in &failure.causes {
            text.push_str(&format!("\n  because {}", printable(cause)));
        }
        for line in &failure.detail {
            text.push_str(&format!("\n  {}", printable(line)));
        }
        if let Some(excerpt) = &failure.excerpt {
            // It begins with an `error:` of its own.
            text.push_str(&format!("\n\n{excerpt}\n"));
        }
        if let Some(hint) = &failure.hint {
            text.push_str(&format!("\n{HINT}next:{HINT:#} {hint}"));
        }
        self.line(&text);
        if self.json {
            let excerpt =
                failure.excerpt.as_deref().map(|text| anstream::adapter::strip_str(text).to_string());
            self.data(&serde_json::json!({
                "ok": false, "error": failure.message, "causes": failure.causes, "detail": failure.detail, "excerpt": excerpt,
                "hint": failure.hint, "exit": failure.kind.code(),
            }));
        }
    }

    /// A bar for something whose length in bytes is known. Invisible unless a person watches.
    pub fn bytes_bar(&self, label: &str, total: u64) -> ProgressBar {
        self.bar(label, ProgressBar::new(total), "{prefix:>14} [{bar:24}] {bytes}/{total_bytes} {msg}")
    }

    /// A spinner for something whose length is not known.
    pub fn spinner(&self, label: &str) -> ProgressBar {
        let bar = self.bar(label, ProgressBar::new_spinner(), "{prefix:>14} {spinner} {wide_msg}");
        if self.live {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        bar
    }

    /// A row of a table: what something that is waited for is at, and for how long.
    fn row(&self, label: &str) -> ProgressBar {
        let row = self.bar(label, ProgressBar::new_spinner(), "  {elapsed:>4}  {prefix} {wide_msg}");
        row.enable_steady_tick(Duration::from_secs(1));
        row
    }

    fn bar(&self, label: &str, bar: ProgressBar, template: &str) -> ProgressBar {
        let bar = self.bars.add(bar);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(label.to_owned());
        bar
    }

    fn line(&self, text: &str) {
        self.bars.suspend(|| {
            let mut err = anstream::stderr().lock();
            let _ = writeln!(err, "{text}");
        });
    }
}

/// A directory in words: where one is has no name.
pub fn place(directory: &Path) -> String {
    if directory == Path::new(".") { "this directory".into() } else { directory.display().to_string() }
}

/// So many things: `1 target`, `2 targets`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Text from elsewhere, made safe to show: control characters (ANSI escapes among them) become visible.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => "    ".to_owned(),
            '\n' => '\n'.to_string(),
            c if c.is_control() => c.escape_default().to_string(),
            // Bidirectional overrides can make a line read differently from what it says (CVE-2021-42574).
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => c.escape_unicode().to_string(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_strangers_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\tc\u{202e}"), "a\\u{1b}[31mb    c\\u{202e}");
    }
}
