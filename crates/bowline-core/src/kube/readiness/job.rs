//! Jobs, which are up when they have ended well, and what starts them by the clock.

use serde_json::Value;

use super::Case;
use super::container::Life;
use super::creation::told_by_event;
use super::pod::{Standing, look};
use super::status::{condition, count, is_owned, is_terminating, is_true, name, text, time};
use super::trouble::{Trouble, Weight, most_telling};
use crate::health::{Cause, Health};

/// A Job is up when it is complete. A running one is not: others wait for what it does (kubernetes: pkg/controller/job;
/// kstatus calls a running one ready). It may try as often as its `backoffLimit` says, but an image that does not exist
/// or a command that is not there counts as no try, and would be waited for without end.
pub(super) fn judge(case: &Case<'_>) -> Health {
    let job = case.object;
    let is = |kind: &str| condition(job, kind).filter(|condition| condition.is_true());
    if is("Complete").is_some() {
        return Health::Ready("completed");
    }
    let troubles = find_troubles(case);
    // FailureTarget: it has failed, its pods are being ended (from 1.31).
    if let Some(failed) = is("Failed").or_else(|| is("FailureTarget")) {
        return Health::Failed(explain(&troubles, failed.words()));
    }
    if is("SuccessCriteriaMet").is_some() {
        return Health::Starting("it has done enough, its last pods are ending".into());
    }
    // Who applies a suspended Job does not expect it to run.
    if is_true(job, "/spec/suspend") {
        return Health::Ready("it is suspended and runs when somebody resumes it");
    }
    if let Some(trouble) = most_telling(troubles.iter().filter(|trouble| trouble.hopeless)) {
        return Health::Failed(trouble.cause());
    }
    if count(job, "/status/active") == 0
        && let Some(refusal) = told_by_event(case, false)
    {
        return match refusal.is_final {
            true => Health::Failed(Cause::new(refusal.words)),
            false => Health::Starting(refusal.words),
        };
    }
    Health::Starting(wait(job, &troubles))
}

fn wait(job: &Value, troubles: &[Trouble]) -> String {
    let failed = count(job, "/status/failed");
    let words = match failed {
        0 => "it has not completed yet".to_owned(),
        failed => {
            let tries =
                job.pointer("/spec/backoffLimit").and_then(Value::as_u64).unwrap_or(6).saturating_add(1);
            format!("{failed} of {tries} tries have failed")
        }
    };
    match most_telling(troubles.iter().filter(|trouble| trouble.weight != Weight::Waiting)) {
        Some(trouble) => format!("{words}; {}", trouble.sentence()),
        None => words,
    }
}

/// What is wrong with its pods. A pod that has failed is one try, and does not yet fail the Job.
pub(super) fn find_troubles(case: &Case<'_>) -> Vec<Trouble> {
    let uid = text(case.object, "/metadata/uid");
    let mut pods: Vec<_> =
        case.sight.pods.iter().copied().filter(|pod| is_owned(pod, uid) && !is_terminating(pod)).collect();
    pods.sort_by_key(|pod| (time(pod, "/metadata/creationTimestamp"), name(pod)));
    let troubles = pods.into_iter().filter_map(|pod| match look(case, pod, Life::Task) {
        Standing::Troubled(trouble) => {
            let is_try = matches!(trouble.weight, Weight::Exit | Weight::End | Weight::Memory);
            Some(Trouble { hopeless: trouble.hopeless && !is_try, ..trouble })
        }
        Standing::Proven | Standing::Settled | Standing::Completed => None,
    });
    troubles.collect()
}

fn explain(troubles: &[Trouble], words: String) -> Cause {
    match most_telling(troubles.iter()) {
        None => Cause::new(words),
        Some(trouble) => Cause { reason: format!("{words}; {}", trouble.sentence()), ..trouble.cause() },
    }
}

/// A CronJob is up when it exists: whether its next run ends well is not known before the clock says so.
pub(super) fn judge_cron(case: &Case<'_>) -> Health {
    match is_true(case.object, "/spec/suspend") {
        true => Health::Ready("it is suspended"),
        false => Health::Ready("it waits for its time"),
    }
}
