//! One writer per target: a lease that runs out, and the right that comes with it.
//!
//! The lease of a project's target is a `Lease` of the cluster's own. It is written with the resource version it was
//! read with: of all that want it, the API server lets one have it. Its `leaseTransitions` rise with every holder: they
//! are the fencing number.
//!
//! The API server does not check that number where objects are applied. So a writer stops itself: [`Authority::check`]
//! comes before every change, and fails for good once half the lease has passed without a confirmed renewal, on a clock
//! that also counts while the machine is suspended. A process that was stopped and goes on finds its right gone.
//!
//! How old a lease is, is told by the API server's clock alone: it notes in `managedFields` when an object was changed,
//! and says what time it is in every answer.

mod record;

use std::time::Duration;

use bowline_core::lease::{HELD_HINT, RENEWAL};
use bowline_lease::since_boot;
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;

use crate::document::{DocumentError, Documents};
use crate::error::KubeError;
use record::{Reading, Record, Written};

pub use bowline_core::lease::{AuthorityError, Holder, Status, TTL};
pub use bowline_lease::{Authority, is_dead, this_process};

/// How far the API server's clock may be behind a lease's own time before it is not believed.
const DOUBT: SignedDuration = SignedDuration::from_secs(2);
/// After a renewal that failed: there is time for several more until half the lease is over.
const RETRY: Duration = Duration::from_secs(1);

/// Why the lease was not given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Somebody else has it.
    #[error("{project} is being changed by {holder}, renewed {} s ago", .age.as_secs())]
    Held {
        /// The project.
        project: String,
        /// Who.
        holder: Box<Holder>,
        /// How long ago it was renewed.
        age: Duration,
    },
    /// The lease cannot be read: a newer Bowline, or somebody else, wrote it.
    #[error("cannot read who holds {project}: {reason}")]
    Unreadable {
        /// The project.
        project: String,
        /// Why.
        reason: String,
        /// What takes it away.
        remedy: String,
    },
    /// It could not be asked for.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

impl LeaseError {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Held { .. } => Some(HELD_HINT.into()),
            Self::Unreadable { remedy, .. } => Some(format!(
                "a newer bowline may have written it: update this one; where nothing is running: {remedy}"
            )),
            Self::Document(error) => error.hint(),
        }
    }
}

impl From<KubeError> for LeaseError {
    fn from(error: KubeError) -> Self {
        Self::Document(error.into())
    }
}

/// The lease, renewed in the background until it is released or dropped. Dropped without release, it runs out.
pub struct Lease {
    documents: Documents,
    holder: Holder,
    authority: Authority,
    renewal: JoinHandle<()>,
}

impl Lease {
    /// Takes the lease if it is free, ran out, or was held by a process of this machine that is dead. Two round trips.
    /// The namespace is made where it is missing: the lease comes before everything else.
    ///
    /// # Errors
    /// [`LeaseError::Held`] when somebody has it, or was faster.
    pub async fn take(documents: &Documents, run: &str, verb: &str) -> Result<Self, LeaseError> {
        let holder = this_process(run, verb);
        let reading = Reading::of(documents).await?;
        match judge(documents, &reading).await? {
            Status::Free | Status::Expired { .. } => {}
            Status::Held { holder, .. } if is_dead(&holder) => {}
            Status::Held { holder, age } => return Err(held(documents, holder, age)),
        }
        let asked = since_boot();
        let wanted = Record::taken(documents, reading.record.as_ref(), &holder);
        let record = match wanted.write(documents).await? {
            Written::Done(record) => record,
            Written::Conflict => return Err(overtaken(documents).await),
        };
        let authority = Authority::new(record.number(), asked, TTL);
        let renewal = tokio::spawn(renew(documents.clone(), record, holder.clone(), authority.clone()));
        Ok(Self { documents: documents.clone(), holder, authority, renewal })
    }

    /// As [`Lease::take`], waiting for whoever has it, at most so long. Lets `waiting` know whom it waits for.
    pub async fn wait(
        documents: &Documents,
        run: &str,
        verb: &str,
        patience: Duration,
        mut waiting: impl FnMut(&Holder),
    ) -> Result<Self, LeaseError> {
        let deadline = since_boot() + patience;
        loop {
            match Self::take(documents, run, verb).await {
                Err(LeaseError::Held { holder, .. }) if since_boot() < deadline => waiting(&holder),
                other => return other,
            }
            let pause = Duration::from_millis(rand::random_range(500..2000));
            tokio::time::sleep(pause.min(deadline.saturating_sub(since_boot()))).await;
        }
    }

    /// The right to change the target, as long as the lease holds.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Gives the lease back: the next one need not wait.
    pub async fn release(self) -> Result<(), LeaseError> {
        self.renewal.abort();
        let valid = self.authority.check().is_ok();
        self.authority.retire();
        if !valid {
            return Ok(());
        }
        // A renewal that was under way when it was aborted may come in between.
        for _ in 0..3 {
            let Some(record) = record::read(&self.documents).await? else { return Ok(()) };
            if !record.is_held_by(&self.holder) {
                return Ok(());
            }
            if let Written::Done(_) = record.released(&self.holder).write(&self.documents).await? {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Lease {
    /// Gives the lease back and takes it away altogether: for a target that Bowline leaves. Somebody who has taken it
    /// meanwhile keeps it.
    pub async fn remove(self) -> Result<(), LeaseError> {
        let documents = self.documents.clone();
        self.release().await?;
        match record::read(&documents).await? {
            Some(record) if record.is_free() => Ok(record.remove(&documents).await?),
            _ => Ok(()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        self.authority.retire();
    }
}

/// Who has the lease. Changes nothing.
pub async fn status(documents: &Documents) -> Result<Status, LeaseError> {
    judge(documents, &Reading::of(documents).await?).await
}

/// Takes the lease away from whoever has it: for emergencies. Its holder notices at its next renewal; gives who it was.
pub async fn force_release(documents: &Documents, run: &str) -> Result<Option<Holder>, LeaseError> {
    let reading = Reading::of(documents).await?;
    let holder = match judge(documents, &reading).await? {
        Status::Free => return Ok(None),
        Status::Held { holder, .. } | Status::Expired { holder, .. } => holder,
    };
    let by = this_process(run, "lock release");
    let mut record = reading.record;
    // Its holder renews it all the time: what is broken is its lease, whichever renewal that is.
    while let Some(there) = record.filter(|record| record.is_held_by(&holder)) {
        match there.released(&by).write(documents).await? {
            Written::Done(_) => return Ok(Some(holder)),
            Written::Conflict => record = record::read(documents).await?,
        }
    }
    Err(overtaken(documents).await)
}

async fn judge(documents: &Documents, reading: &Reading) -> Result<Status, LeaseError> {
    let Some(record) = reading.record.as_ref().filter(|record| !record.is_free()) else {
        return Ok(Status::Free);
    };
    let holder = record.holder().map_err(|reason| LeaseError::Unreadable {
        project: documents.project().into(),
        reason,
        remedy: format!("kubectl -n {} delete lease {}", documents.namespace(), record.name()),
    })?;
    match (reading.time, record.renewed()) {
        (Some(now), Some(renewed)) if now.duration_since(renewed) >= -DOUBT => {
            let age = Duration::try_from(now.duration_since(renewed)).unwrap_or_default();
            Ok(Status::at(holder, age, record.ttl()))
        }
        // The server's clock was set back, or something on the way hides it: only watching tells.
        _ => watch_silence(documents, record, holder).await,
    }
}

/// Watches a lease by our own clock: one that is not renewed for its whole time has run out.
async fn watch_silence(documents: &Documents, before: &Record, holder: Holder) -> Result<Status, LeaseError> {
    let begin = since_boot();
    while since_boot().saturating_sub(begin) <= TTL {
        tokio::time::sleep(RENEWAL / 2).await;
        match record::read(documents).await? {
            Some(now) if now.is_free() => return Ok(Status::Free),
            Some(now) if now.version() == before.version() => {}
            Some(_) => return Ok(Status::Held { holder, age: Duration::ZERO }),
            None => return Ok(Status::Free),
        }
    }
    Ok(Status::Expired { holder, age: TTL })
}

/// The error for a lease that somebody else wrote while we did.
async fn overtaken(documents: &Documents) -> LeaseError {
    let faster = match record::read(documents).await {
        Ok(record) => record.filter(|record| !record.is_free()).map(|record| record.holder()),
        Err(error) => return error.into(),
    };
    match faster {
        Some(Ok(holder)) => held(documents, holder, Duration::ZERO),
        Some(Err(_)) | None => LeaseError::Unreadable {
            project: documents.project().into(),
            reason: "it changed while it was taken".into(),
            remedy: "try again".into(),
        },
    }
}

fn held(documents: &Documents, holder: Holder, age: Duration) -> LeaseError {
    LeaseError::Held { project: documents.project().into(), holder: Box::new(holder), age }
}

/// Renews until the lease is lost or the task is aborted. Trouble on the way is no reason to stop trying: the right
/// itself ends by the clock.
async fn renew(documents: Documents, mut record: Record, holder: Holder, authority: Authority) {
    let mut pause = RENEWAL;
    loop {
        tokio::time::sleep(pause).await;
        if authority.check().is_err() {
            return;
        }
        let asked = since_boot();
        pause = match tokio::time::timeout(TTL / 2, record.renewed_now().write(&documents)).await {
            Ok(Ok(Written::Done(renewed))) => {
                authority.confirm(renewed.number(), asked);
                record = renewed;
                RENEWAL
            }
            Ok(Ok(Written::Conflict)) => match record::read(&documents).await {
                // Somebody put a label on it, or the answer to an earlier renewal was lost.
                Ok(Some(there)) if there.is_held_by(&holder) => {
                    record = there;
                    Duration::ZERO
                }
                Ok(there) => {
                    authority.revoke(successor(there.as_ref()));
                    return;
                }
                Err(_) => RETRY,
            },
            Ok(Err(_)) | Err(_) => RETRY,
        };
    }
}

/// Whoever has the lease instead of us.
fn successor(record: Option<&Record>) -> String {
    match record {
        None => "nobody: it was deleted".into(),
        Some(record) => match record.holder() {
            Ok(holder) if record.is_free() => format!("nobody: broken by {holder}"),
            Ok(holder) => holder.to_string(),
            Err(_) => record.identity().unwrap_or("somebody").to_owned(),
        },
    }
}

/// The time that an API server tells; for the lease's age, and for whoever compares clocks.
///
/// # Errors
/// When it does not answer. None where it does not tell the time.
pub async fn server_time(documents: &Documents) -> Result<Option<Timestamp>, KubeError> {
    record::server_time(documents.cluster()).await
}
