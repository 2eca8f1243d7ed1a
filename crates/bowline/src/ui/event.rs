//! Events as people and machines see them.

use bowline_core::event::{Event, EventKind};

use super::width::{self, fold};
use super::{Ui, capacity, printable};

/// Shows one event: as a JSON line on stdout with `--json`, and as words on stderr.
pub fn show(ui: &Ui, event: &Event) {
    if ui.json {
        // The last line of `--json` is the summary alone; the operation prints it.
        if !matches!(event.kind, EventKind::RunFinished { .. }) {
            ui.data(event);
        }
        return;
    }
    match &event.kind {
        EventKind::PhaseStarted { phase } => ui.phase.begin(ui, *phase),
        EventKind::PhaseFinished { phase, seconds, note, .. } => {
            ui.phase.end();
            let (phase, took) = (phase.to_string(), elapsed(*seconds));
            // The mark in front is not counted: two columns.
            ui.done(fold(&format!("{phase:<9}{took:>8}  {}", printable(note)), room(2), 21));
        }
        EventKind::Health { service, state, reason } => {
            let (service, reason) = (printable(service), printable(reason));
            let passing = matches!(state.as_str(), "starting" | "absent");
            if passing {
                ui.phase.wait_for(ui, &service, format!("{state} {reason}"));
            } else {
                ui.phase.let_go(&service);
            }
            // What passes is seen in the table, where there is one.
            let line = format!("  {service:<16} {state:<9} {reason}");
            if !(passing && ui.live) && ui.phase.is_news(&line) {
                ui.say(fold(&line, room(0), 29));
            }
        }
        EventKind::Evidence { service, cause, log, .. } => {
            let line = format!("{}: {}", service.as_deref().unwrap_or("release"), printable(cause));
            // "warning: " goes in front.
            ui.warn(fold(&line, room(9), 9));
            for line in runs(log) {
                ui.line(&format!("    │ {line}"));
            }
        }
        EventKind::Warning { text } => ui.warn(fold(&printable(text), room(9), 9)),
        EventKind::Findings { warnings } => super::plan::warn(ui, warnings, room(9)),
        EventKind::StepStarted { what, .. } => {
            let line = format!("  {}", printable(what));
            for line in fold(&line, room(0), 12).lines() {
                ui.faint(line);
            }
        }
        EventKind::RunFinished { summary } => {
            ui.phase.end();
            if let Some(comparison) = &summary.capacity {
                ui.say(format!("\n{}", capacity::show_comparison(comparison)));
            }
        }
        EventKind::RunStarted { .. }
        | EventKind::Tagged { .. }
        | EventKind::ImageReady { .. }
        | EventKind::StepFinished { .. } => {}
    }
}

/// The columns that are left beside `taken` ones.
fn room(taken: usize) -> Option<usize> {
    width::of_stderr().map(|columns| columns.saturating_sub(taken))
}

/// Lines of a log, made safe to show; equal ones that follow each other are counted.
fn runs(log: &[String]) -> Vec<String> {
    let mut runs: Vec<(String, usize)> = Vec::new();
    for line in log.iter().map(|line| printable(line)) {
        match runs.last_mut() {
            Some((last, times)) if *last == line => *times += 1,
            _ => runs.push((line, 1)),
        }
    }
    let counted = |(line, times)| if times == 1 { line } else { format!("{line} (×{times})") };
    runs.into_iter().map(counted).collect()
}

pub use bowline_core::timeline::elapsed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_says_the_same_at_every_start_says_it_once() {
        let log: Vec<String> = ["ready", "no database", "no database", "ready"].map(Into::into).into();
        assert_eq!(runs(&log), ["ready", "no database (×2)", "ready"]);
    }
}
