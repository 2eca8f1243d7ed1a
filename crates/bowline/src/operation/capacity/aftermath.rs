//! What a release changed in what the services take, seen a few minutes after it.

use std::time::{Duration, Instant};

use bowline_core::capacity::comparison::{Comparison, compare};
use bowline_core::capacity::profile::{Profile, START};
use bowline_core::event::{EventKind, Phase, Summary};
use bowline_measurement::interval::Interval;
use bowline_measurement::rollup::Step;

use super::measurement::{Asked, of_host, service_of};
use crate::clock;
use crate::error::Outcome;
use crate::operation::Cancel;
use crate::operation::cluster::{Site, usage};
use crate::operation::host::Host;
use crate::record::Recorder;
use crate::ui::table::bytes;

/// With how much of the time before a deploy it is compared on a host, which remembers it, in milliseconds.
const BEFORE: i64 = 3_600_000;
/// How long a cluster is looked at before a deploy: its kubelets look every ten seconds.
const LOOK: Duration = Duration::from_secs(30);
/// And at least after it: what kubelets say is up to twenty seconds old, and of a new container they have to have looked twice.
const LEAST: Duration = Duration::from_secs(60);

/// Adds to a summary what the release changed, where it changed a service: waits for the comparison, and tells it as a phase
/// of the run. Nothing where somebody asks to stop, or where nothing was measured: the deploy has succeeded, whatever comes
/// of this.
pub async fn add(
    summary: &mut Summary,
    recorder: &Recorder,
    cancel: &Cancel,
    comparing: impl Future<Output = Outcome<Comparison>>,
) {
    if !summary.services.values().any(|service| service.changed) {
        return;
    }
    cancel.answer("the release stays; what it changed is not measured");
    recorder.emit(EventKind::PhaseStarted { phase: Phase::Measure });
    let started = Instant::now();
    let compared = tokio::select! {
        compared = comparing => Some(compared),
        () = cancel.asked() => None,
    };
    match compared {
        Some(Ok(comparison)) => {
            let seconds = started.elapsed().as_secs_f64();
            let note = note(&comparison);
            recorder.emit(EventKind::PhaseFinished { phase: Phase::Measure, seconds, bytes: 0, note });
            summary.capacity = Some(comparison);
        }
        Some(Err(failure)) => {
            recorder.emit(EventKind::Warning {
                text: format!("what the release changed is not known: {failure}"),
            });
        }
        None => {}
    }
    (summary.phases, summary.seconds) = (recorder.phases(), recorder.seconds());
}

/// Compares the hour before a deploy that began then with what comes after now.
///
/// # Errors
/// When nothing measures the host, or it does not answer.
pub async fn on_host(host: &Host, began: i64, wait: Duration) -> Outcome<Comparison> {
    let settled = settled(wait);
    // Where nothing is measured nobody needs to wait to hear of it.
    let now = Asked { since: clock::now().as_millisecond(), until: None, step: Step::Sample };
    of_host(host, now).await?;
    tokio::time::sleep(wait).await;
    let before = Asked { since: began.saturating_sub(BEFORE), until: Some(began), step: Step::Sample };
    let after = Asked { since: settled, until: None, step: Step::Sample };
    let (before, after) = tokio::try_join!(of_host(host, before), of_host(host, after))?;
    let service = service_of(&host.project);
    Ok(compare(&Profile::new(&before.rows, &service), &Profile::new(&after.rows, &service)))
}

/// A cluster as it is before a deploy. What cannot be seen is not known later.
pub async fn look(site: &Site) -> Vec<Interval> {
    let mut seen = Vec::new();
    let keep = |_, interval: Option<Interval>| {
        seen.extend(interval);
        Ok(())
    };
    // Whoever compares says why nothing could be seen.
    let _ = usage::watch(site, LOOK, keep).await;
    seen
}

/// Compares what a cluster was like before a deploy with what comes after now.
///
/// # Errors
/// When the cluster does not answer, or lets nobody ask its nodes.
pub async fn on_cluster(site: &Site, before: &[Interval], wait: Duration) -> Outcome<Comparison> {
    let wait = wait.max(LEAST);
    let settled = settled(wait);
    let mut after = Vec::new();
    let keep = |_, interval: Option<Interval>| {
        after.extend(interval);
        Ok(())
    };
    usage::watch(site, wait, keep).await?;
    // What kubelets say is some seconds old: of a short wait the last look may be all that there is.
    let first = after.iter().position(|interval: &Interval| interval.to > settled);
    let after = after.split_off(first.unwrap_or(after.len().saturating_sub(1)));
    let workload = usage::workload_of(&site.namespace);
    Ok(compare(&Profile::new(before, &workload), &Profile::new(&after, &workload)))
}

/// From when on it counts, in milliseconds since 1970: what still starts is left out, as far as the time allows.
fn settled(wait: Duration) -> i64 {
    let starting = i64::try_from(START.min(wait / 2).as_millis()).unwrap_or(0);
    clock::now().as_millisecond().saturating_add(starting)
}

/// The machine as a whole, in a few words.
fn note(comparison: &Comparison) -> String {
    let Some(machine) = comparison.changes.first() else { return String::new() };
    let [cpu, cpu_then, _, memory, memory_then, _] = machine.cells("?", bytes);
    format!("CPU {cpu}, then {cpu_then}; memory {memory}, then {memory_then}")
}
