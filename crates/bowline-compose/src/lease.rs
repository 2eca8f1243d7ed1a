//! One writer per target: a lease that runs out, and the right that comes with it.
//!
//! The lease of a project is the document with the highest number. Whoever creates the next number, and then sees no
//! higher one, has it: creating is atomic, and the highest number is never deleted, so that numbers only rise. Renewing
//! creates the next number; releasing creates one that says so. The number is a fencing token.
//!
//! Neither engine nor Compose would check that token. So a writer stops itself: [`Authority::check`] comes before every
//! change, and fails for good once half the lease has passed without a confirmed renewal, on a clock that also counts
//! while the machine is suspended. A process that was stopped and goes on finds its right gone.

use std::sync::Arc;
use std::time::Duration;

use bowline_core::lease::{HELD_HINT, RENEWAL};
use bowline_lease::since_boot;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::document::{Creation, Document, DocumentError, Documents, Kind, number_of};
use crate::engine::EngineError;

pub use bowline_core::lease::{AuthorityError, Holder, Status, TTL};
pub use bowline_lease::{Authority, is_dead, this_process};

/// How far the engine's clock may be behind a document's own time before it is not believed.
const DOUBT: SignedDuration = SignedDuration::from_secs(2);

/// What a lease says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    state: State,
    holder: Holder,
    ttl_seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Held,
    Released,
}

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
    /// The lease cannot be read: a newer Bowline wrote it.
    #[error("cannot read who holds {project}: {reason}")]
    Unreadable {
        /// The project.
        project: String,
        /// Why.
        reason: String,
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
            Self::Unreadable { .. } => Some("a newer bowline may have written it: update this one".into()),
            Self::Document(error) => error.hint(),
        }
    }
}

impl From<EngineError> for LeaseError {
    fn from(error: EngineError) -> Self {
        Self::Document(error.into())
    }
}

/// The lease, renewed in the background until it is released or dropped. Dropped without release, it runs out.
pub struct Lease {
    documents: Documents,
    holder: Holder,
    authority: Authority,
    renewal: JoinHandle<()>,
    /// Lower numbers that were there when it was taken: they go when it is given back.
    older: Vec<u64>,
}

/// What was found of the lease: the highest number, and what it says if it can be read.
struct Latest {
    number: u64,
    document: Option<Document>,
    older: Vec<u64>,
}

impl Lease {
    /// Takes the lease if it is free, ran out, or was held by a process of this machine that is dead. Two or three
    /// round trips.
    ///
    /// # Errors
    /// [`LeaseError::Held`] when somebody has it, or was faster.
    pub async fn take(documents: &Documents, run: &str, verb: &str) -> Result<Self, LeaseError> {
        let holder = this_process(run, verb);
        let latest = look(documents).await?;
        match judge(documents, &latest).await? {
            Status::Free | Status::Expired { .. } => {}
            Status::Held { holder, .. } if is_dead(&holder) => {}
            Status::Held { holder, age } => return Err(held(documents, holder, age)),
        }
        let content = Content { state: State::Held, holder: holder.clone(), ttl_seconds: TTL.as_secs() };
        let asked = since_boot();
        let number = latest.number + 1;
        let older = claim(documents, number, &content).await?;
        let authority = Authority::new(number, asked, TTL);
        let renewal = tokio::spawn(renew(documents.clone(), content, authority.clone()));
        Ok(Self { documents: documents.clone(), holder, authority, renewal, older })
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

    /// Gives the lease back: the next one need not wait. Two round trips.
    pub async fn release(self) -> Result<(), LeaseError> {
        self.renewal.abort();
        let (valid, asked) = (self.authority.check().is_ok(), since_boot());
        let number = self.authority.retire();
        if !valid {
            return Ok(());
        }
        let content = Content { state: State::Released, holder: self.holder.clone(), ttl_seconds: 0 };
        // A renewal that was under way when it was aborted may have taken the next number.
        for next in [number + 1, number + 2] {
            match create(&self.documents, next, &content).await {
                // Within this time nobody could take it: ours is the highest.
                Ok(()) if since_boot().saturating_sub(asked) < TTL / 4 => {
                    clear(&self.documents, self.older.iter().copied().chain(number..next)).await;
                    return Ok(());
                }
                Ok(()) => return verify(&self.documents, next).await.map(drop),
                Err(LeaseError::Held { holder, .. }) if *holder == self.holder => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
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
    judge(documents, &look(documents).await?).await
}

/// Takes the lease away from whoever has it: for emergencies. Its holder notices at its next renewal; gives who it was.
pub async fn force_release(documents: &Documents, run: &str) -> Result<Option<Holder>, LeaseError> {
    let latest = look(documents).await?;
    let holder = match judge(documents, &latest).await? {
        Status::Free => return Ok(None),
        Status::Held { holder, .. } | Status::Expired { holder, .. } => holder,
    };
    let by = this_process(run, "lock release");
    let content = Content { state: State::Released, holder: by, ttl_seconds: 0 };
    let older = claim(documents, latest.number + 1, &content).await?;
    clear(documents, older).await;
    Ok(Some(holder))
}

/// Finds the highest lease. One whose labels are not there yet is looked at again for a moment.
async fn look(documents: &Documents) -> Result<Latest, LeaseError> {
    let mut latest = look_once(documents).await?;
    for _ in 0..20 {
        if latest.number == 0 || latest.document.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        latest = look_once(documents).await?;
    }
    Ok(latest)
}

async fn look_once(documents: &Documents) -> Result<Latest, LeaseError> {
    let found = documents.list_kind(Kind::Lease).await?;
    // A volume that is just being made has a name and no labels yet: its number counts.
    let mut numbers: Vec<u64> = found.unreadable.keys().filter_map(|name| number_of(name)).collect();
    numbers.extend(found.documents.iter().filter_map(|document| document.key.parse::<u64>().ok()));
    numbers.sort_unstable();
    let number = numbers.pop().unwrap_or(0);
    let document = found.documents.into_iter().find(|document| document.key == number.to_string());
    Ok(Latest { number, document, older: numbers })
}

async fn judge(documents: &Documents, latest: &Latest) -> Result<Status, LeaseError> {
    if latest.number == 0 {
        return Ok(Status::Free);
    }
    let unreadable = |reason: String| LeaseError::Unreadable { project: documents.project().into(), reason };
    let Some(document) = &latest.document else {
        return Err(unreadable(format!("lease {} is being written or broken", latest.number)));
    };
    let content: Content = document.read().map_err(|error| unreadable(error.to_string()))?;
    if content.state == State::Released {
        return Ok(Status::Free);
    }
    let holder = content.holder;
    let machine = documents.engine().machine_without_disk().await?;
    let granted = document.created_at.unwrap_or(Timestamp::UNIX_EPOCH);
    let age = machine.time.duration_since(granted);
    if age < -DOUBT {
        // The engine's clock was set back: only watching tells.
        return watch_silence(documents, latest.number, holder).await;
    }
    let lived = Duration::try_from(age).unwrap_or_default();
    Ok(Status::at(holder, lived, Duration::from_secs(content.ttl_seconds)))
}

/// Watches a lease by our own clock: one that is not renewed for its whole time has run out.
async fn watch_silence(documents: &Documents, number: u64, holder: Holder) -> Result<Status, LeaseError> {
    let begin = since_boot();
    while since_boot().saturating_sub(begin) <= TTL {
        tokio::time::sleep(RENEWAL / 2).await;
        if look(documents).await?.number != number {
            return Ok(Status::Held { holder, age: Duration::ZERO });
        }
    }
    Ok(Status::Expired { holder, age: TTL })
}

/// Creates the lease of this number, and makes sure that it is the highest; gives the lower ones.
async fn claim(documents: &Documents, number: u64, content: &Content) -> Result<Vec<u64>, LeaseError> {
    create(documents, number, content).await?;
    verify(documents, number).await
}

async fn create(documents: &Documents, number: u64, content: &Content) -> Result<(), LeaseError> {
    match documents.create(Kind::Lease, &number.to_string(), content).await? {
        Creation::Created(_) => Ok(()),
        Creation::Exists(document) => Err(taken(documents, &document)),
    }
}

/// Makes sure that our number is the highest; gives the lower ones.
async fn verify(documents: &Documents, number: u64) -> Result<Vec<u64>, LeaseError> {
    let latest = look(documents).await?;
    if latest.number == number {
        return Ok(latest.older);
    }
    // We were slow: others took this number, went on and cleared it away, and ours came back from the dead.
    documents.delete(Kind::Lease, &number.to_string()).await?;
    Err(match &latest.document {
        Some(document) => taken(documents, document),
        None => LeaseError::Unreadable {
            project: documents.project().into(),
            reason: format!("lease {} is being written", latest.number),
        },
    })
}

/// Clears lower numbers away. That is tidiness; the highest alone counts.
async fn clear(documents: &Documents, numbers: impl IntoIterator<Item = u64>) {
    let delete = async |number: u64| drop(documents.delete(Kind::Lease, &number.to_string()).await);
    futures_util::future::join_all(numbers.into_iter().map(delete)).await;
}

fn taken(documents: &Documents, document: &Document) -> LeaseError {
    match document.read::<Content>() {
        Ok(content) => held(documents, content.holder, Duration::ZERO),
        Err(error) => {
            LeaseError::Unreadable { project: documents.project().into(), reason: error.to_string() }
        }
    }
}

fn held(documents: &Documents, holder: Holder, age: Duration) -> LeaseError {
    LeaseError::Held { project: documents.project().into(), holder: Box::new(holder), age }
}

/// Renews until the lease is lost or the task is aborted. Trouble on the way is no reason to stop trying: the right
/// itself ends by the clock.
async fn renew(documents: Documents, content: Content, authority: Authority) {
    let content = Arc::new(content);
    loop {
        tokio::time::sleep(RENEWAL).await;
        if authority.check().is_err() {
            return;
        }
        let number = authority.number();
        let asked = since_boot();
        let renewal = claim(&documents, number + 1, &content);
        match tokio::time::timeout(TTL / 2, renewal).await {
            Ok(Ok(older)) => {
                authority.confirm(number + 1, asked);
                let _ = tokio::time::timeout(RENEWAL, clear(&documents, older)).await;
            }
            // Our own: the answer to an earlier attempt was lost. The next number will tell.
            Ok(Err(LeaseError::Held { holder, .. })) if *holder == content.holder => {
                authority.advance(number + 1);
            }
            Ok(Err(LeaseError::Held { holder, .. })) => {
                authority.revoke(&holder);
                return;
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}
