//! Who may change a target: looked at, and taken away in an emergency.

use std::time::Duration;

use bowline_compose::lease::{self, Holder, Lease, LeaseError, Status};
use bowline_core::event::RunId;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::cluster;
use super::host::Host;
use super::target::Connected;
use crate::clock;
use crate::error::{Failure, FailureKind, Outcome};

/// Somebody's lock on a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lock {
    /// `user@machine`.
    pub by: String,
    /// The process there.
    pub process: u32,
    /// What it does.
    pub verb: String,
    /// Its run.
    pub run: String,
    /// When that run began, by its own clock.
    pub since: Option<Timestamp>,
    /// Seconds since it was renewed; a holder that works renews it every 5 s.
    pub renewed_seconds_ago: u64,
    /// Whether it stops nobody any more: not renewed in time, or its process has surely ended.
    pub over: bool,
}

impl Lock {
    fn new(holder: &Holder, renewed: Duration, over: bool) -> Self {
        Self {
            by: format!("{}@{}", holder.user, holder.host),
            process: holder.pid,
            verb: holder.verb.clone(),
            run: holder.run.clone(),
            since: started(&holder.run),
            renewed_seconds_ago: renewed.as_secs(),
            over,
        }
    }
}

/// When a run began: its name begins with that.
fn started(run: &str) -> Option<Timestamp> {
    let (time, _) = run.split_once('-')?;
    let time = DateTime::strptime("%Y%m%dT%H%M%S", time).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// Who holds the lock of a target. Changes nothing.
///
/// # Errors
/// When the target does not answer, or a newer Bowline wrote the lock.
pub async fn observe(target: &Connected) -> Outcome<Option<Lock>> {
    match target {
        Connected::Host(host) => of_host(host).await,
        Connected::Cluster(site) => cluster::lock::observe(site).await,
    }
}

/// As [`observe`], of a host.
pub(super) async fn of_host(host: &Host) -> Outcome<Option<Lock>> {
    Ok(read(lease::status(&host.documents).await.map_err(|error| failure(host, &error))?))
}

/// What the lease says.
pub(super) fn read(status: Status) -> Option<Lock> {
    match status {
        Status::Free => None,
        Status::Held { holder, age } => Some(Lock::new(&holder, age, lease::is_dead(&holder))),
        Status::Expired { holder, age } => Some(Lock::new(&holder, age, true)),
    }
}

/// Takes the lock away from whoever holds it, and says who that was.
///
/// # Errors
/// When the target does not answer, or somebody else takes the lock at this moment.
pub async fn release(target: &Connected) -> Outcome<Option<Lock>> {
    let before = observe(target).await?;
    let run = RunId::new(clock::now(), rand::random()).to_string();
    let broken = match target {
        Connected::Host(host) => {
            lease::force_release(&host.documents, &run).await.map_err(|error| failure(host, &error))?
        }
        Connected::Cluster(site) => cluster::lock::force_release(site, &run).await?,
    };
    Ok(broken.map(|holder| match before {
        Some(before) if before.run == holder.run => before,
        _ => Lock::new(&holder, Duration::ZERO, false),
    }))
}

/// Takes the lock for a verb that does not wait for others.
///
/// # Errors
/// Kind `Locked`: somebody else has it.
pub(super) async fn take(host: &Host, verb: &str) -> Outcome<Lease> {
    let run = RunId::new(clock::now(), rand::random());
    host.take_lease(&run, verb, Duration::ZERO, |_| {}).await
}

fn failure(host: &Host, error: &LeaseError) -> Failure {
    let unreachable = matches!(error, LeaseError::Document(error) if error.is_unreachable());
    let failure = host.explain("asking for the lock of", error, unreachable, error.hint());
    match error {
        LeaseError::Held { .. } => Failure { kind: FailureKind::Locked, ..failure },
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_says_when_it_began() {
        let at: Timestamp = "2026-11-22T10:15:00Z".parse().unwrap();
        assert_eq!(started(&RunId::new(at, 7).to_string()), Some(at));
        assert_eq!(started("run-3"), None);
    }
}
