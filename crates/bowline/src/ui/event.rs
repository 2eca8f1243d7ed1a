//! Events as people and machines see them.

use bowline_core::event::{Event, EventKind};

use super::{Ui, printable};

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
        EventKind::PhaseFinished { phase, seconds, note, .. } => {
            ui.done(format_args!("{:<9} {} {}", phase.to_string(), printable(note), elapsed(*seconds)));
        }
        EventKind::Health { service, state, reason } => {
            ui.say(format_args!("  {:<20} {state:<9} {}", printable(service), printable(reason)));
        }
        EventKind::Evidence { service, cause, log, .. } => {
            ui.warn(format_args!("{}: {}", service.as_deref().unwrap_or("release"), printable(cause)));
            for line in log {
                ui.line(&format!("    │ {}", printable(line)));
            }
        }
        EventKind::Warning { text } => ui.warn(printable(text)),
        EventKind::StepStarted { what, .. } => ui.faint(format_args!("  {}", printable(what))),
        EventKind::RunStarted { .. }
        | EventKind::PhaseStarted { .. }
        | EventKind::Tagged { .. }
        | EventKind::ImageReady { .. }
        | EventKind::StepFinished { .. }
        | EventKind::RunFinished { .. } => {}
    }
}

/// A duration as people read it: `340 ms`, `2.1 s`, `1 m 12 s`.
pub fn elapsed(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.0} m {:02.0} s", (seconds / 60.0).floor(), seconds % 60.0)
    }
}
