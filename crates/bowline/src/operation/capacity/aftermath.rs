//! What a release changed in what the services take, seen a few minutes after it.

use std::time::Duration;

use bowline_core::capacity::comparison::{Comparison, compare};
use bowline_core::capacity::profile::{Profile, START};
use bowline_core::event::{EventKind, Phase};
use bowline_measurement::rollup::Step;

use super::measurement::{Asked, of_host, service_of};
use crate::clock;
use crate::error::Outcome;
use crate::operation::Cancel;
use crate::operation::host::Host;
use crate::record::Recorder;

/// With how much of the time before a deploy it is compared, in milliseconds.
const BEFORE: i64 = 3_600_000;

/// Waits, and compares the hour before a deploy with what came after it; what was still starting is left out as far as the
/// time allows. Nothing where somebody asks to stop, or where nothing was measured: the deploy has succeeded, whatever
/// comes of this.
pub async fn watch(
    host: &Host,
    recorder: &Recorder,
    cancel: &Cancel,
    began: i64,
    wait: Duration,
) -> Option<Comparison> {
    cancel.answer("the release stays; what it changed is not measured");
    recorder.emit(EventKind::PhaseStarted { phase: Phase::Measure });
    let (started, ended) = (std::time::Instant::now(), clock::now().as_millisecond());
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = cancel.asked() => return None,
    }
    let starting = i64::try_from(START.min(wait / 2).as_millis()).unwrap_or(0);
    match measure(host, began, ended.saturating_add(starting)).await {
        Ok(comparison) => {
            let seconds = started.elapsed().as_secs_f64();
            let note = note(&comparison);
            recorder.emit(EventKind::PhaseFinished { phase: Phase::Measure, seconds, bytes: 0, note });
            Some(comparison)
        }
        Err(failure) => {
            recorder.emit(EventKind::Warning {
                text: format!("what the release changed is not known: {failure}"),
            });
            None
        }
    }
}

async fn measure(host: &Host, before: i64, after: i64) -> Outcome<Comparison> {
    let before = Asked { since: before.saturating_sub(BEFORE), until: Some(before), step: Step::Sample };
    let after = Asked { since: after, until: None, step: Step::Sample };
    let (before, after) = tokio::try_join!(of_host(host, before), of_host(host, after))?;
    let service = service_of(&host.project);
    Ok(compare(&Profile::new(&before.rows, &service), &Profile::new(&after.rows, &service)))
}

/// The machine as a whole, in a few words.
fn note(comparison: &Comparison) -> String {
    let Some(machine) = comparison.changes.first() else { return String::new() };
    let cpu = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |value| format!("{value}m"));
    let memory = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), crate::ui::table::bytes);
    format!(
        "CPU {}, then {}; memory {}, then {}",
        cpu(machine.cpu.0),
        cpu(machine.cpu.1),
        memory(machine.memory.0),
        memory(machine.memory.1)
    )
}
