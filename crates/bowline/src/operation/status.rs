//! `status`: what runs on a target, who changes it, and what was left unfinished. It never changes anything.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::compose::status::fold;
use bowline_core::journal::{Intent, Setback};
use bowline_core::status::Status;
use jiff::Timestamp;
use serde::Serialize;

use super::cluster;
use super::host::Host;
use super::lock::{self, Lock};
use super::target::Connected;
use crate::error::Outcome;

/// One look at a target, in words.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What runs.
    #[serde(flatten)]
    pub status: Status,
    /// What is being done at this moment, in words.
    pub running: Option<String>,
    /// Who holds the lock.
    pub lock: Option<Lock>,
    /// What is no longer as the newest revision left it, where a look tells: `diff` says how.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drifted: Vec<String>,
    /// What Bowline keeps there and cannot read, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unreadable: BTreeMap<String, String>,
    /// The time there.
    #[serde(skip)]
    pub now: Timestamp,
}

/// Looks at a target.
///
/// # Errors
/// When the target does not answer.
pub async fn observe(target: &Connected) -> Outcome<Report> {
    match target {
        Connected::Host(host) => of_host(host).await,
        Connected::Cluster(site) => cluster::status::observe(site).await,
    }
}

/// As [`observe`], of a host.
pub(super) async fn of_host(host: &Host) -> Outcome<Report> {
    let nothing = BTreeSet::new();
    let (look, lock) = tokio::try_join!(host.look(&nothing), lock::of_host(host))?;
    let mut status = fold(&host.target, &look.observed);
    let (running, interrupted) = unfinished(&look.state.intents, &look.state.setbacks, lock.as_ref());
    status.interrupted = interrupted;
    let (unreadable, now) = (look.state.unreadable, look.machine.time);
    Ok(Report { status, running, lock, drifted: Vec::new(), unreadable, now })
}

/// What runs that have not ended are about: the one that holds the lock works, all others were interrupted.
pub(super) fn unfinished(
    intents: &[Intent],
    setbacks: &[Setback],
    lock: Option<&Lock>,
) -> (Option<String>, Option<String>) {
    let works = |intent: &&Intent| lock.is_some_and(|lock| !lock.over && lock.run == intent.run.to_string());
    let back = |intent: &Intent| setbacks.iter().find(|setback| setback.run == intent.run);
    let words = |intent: &Intent| {
        let to = intent.to.as_deref().map(|to| format!(" to {to}")).unwrap_or_default();
        let turned = back(intent).map(|setback| {
            format!(", going back because of {}: {}", setback.evidence.subject, setback.evidence.cause)
        });
        format!("{}{to} by {}, begun {}{}", intent.verb, intent.by, intent.at, turned.unwrap_or_default())
    };
    let running = intents.iter().find(works).map(words);
    let interrupted = intents.iter().find(|intent| !works(intent)).map(words);
    (running, interrupted)
}

#[cfg(test)]
mod tests {
    use bowline_core::event::RunId;

    use super::*;

    #[test]
    fn a_run_that_holds_the_lock_is_not_interrupted() {
        let intent = Intent {
            run: RunId::from("r1".to_owned()),
            verb: "deploy".into(),
            by: "ada@desk".into(),
            at: "2026-11-22T10:00:00Z".parse().unwrap(),
            base: Some(1),
            to: Some("v1.0.0".into()),
            traces: Default::default(),
        };
        let lock = Lock {
            by: "ada@desk".into(),
            process: 1,
            verb: "deploy".into(),
            run: "r1".into(),
            since: None,
            renewed_seconds_ago: 1,
            over: false,
        };
        let words = "deploy to v1.0.0 by ada@desk, begun 2026-11-22T10:00:00Z";
        let intents = [intent];
        assert_eq!(unfinished(&intents, &[], Some(&lock)), (Some(words.into()), None));
        assert_eq!(unfinished(&intents, &[], None), (None, Some(words.into())));
        let over = Lock { over: true, ..lock };
        assert_eq!(unfinished(&intents, &[], Some(&over)), (None, Some(words.into())));
    }
}
