//! Who may change a cluster.

use std::time::Duration;

use bowline_core::event::RunId;
use bowline_kube::lease::{self, Holder, Lease, LeaseError};

use super::site::Site;
use crate::clock;
use crate::error::{Failure, FailureKind, Outcome};
use crate::operation::lock::{Lock, read};

/// Who holds the lock. Changes nothing.
pub(in crate::operation) async fn observe(site: &Site) -> Outcome<Option<Lock>> {
    Ok(read(lease::status(&site.documents).await.map_err(|error| failure(site, &error))?))
}

/// Takes the lock away from whoever holds it; gives who that was.
pub(in crate::operation) async fn force_release(site: &Site, run: &str) -> Outcome<Option<Holder>> {
    lease::force_release(&site.documents, run).await.map_err(|error| failure(site, &error))
}

/// Takes the lock for a verb that does not wait for others.
///
/// # Errors
/// Kind `Locked`: somebody else has it.
pub(super) async fn take(site: &Site, verb: &str) -> Outcome<Lease> {
    let run = RunId::new(clock::now(), rand::random());
    site.take_lease(&run, verb, Duration::ZERO, |_| {}).await
}

fn failure(site: &Site, error: &LeaseError) -> Failure {
    let unreachable = matches!(error, LeaseError::Document(error) if error.is_unreachable());
    let failure = site.explain_any("asking for the lock of", error, unreachable, error.hint());
    match error {
        LeaseError::Held { .. } => Failure { kind: FailureKind::Locked, ..failure },
        _ => failure,
    }
}
