//! The right to change a target.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::since_boot;

use super::holder::Holder;

/// The right to change a target, shared by everything that does. Asked before every change.
#[derive(Clone)]
pub struct Authority {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    number: u64,
    /// When the last confirmed renewal was asked for.
    confirmed: Duration,
    ttl: Duration,
    lost: Option<AuthorityError>,
}

/// Why the target may no longer be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// No renewal was confirmed in time: this process, its machine or the connection stood still.
    #[error("stopped changing the target: its lock was not renewed for {} s", .silent.as_secs())]
    Stale {
        /// For how long.
        silent: Duration,
    },
    /// Somebody else has the lease.
    #[error("stopped changing the target: its lock is now held by {by}")]
    Taken {
        /// Who.
        by: String,
    },
    /// It was given back.
    #[error("stopped changing the target: its lock was given back")]
    Released,
}

impl Authority {
    pub(super) fn new(number: u64, confirmed: Duration, ttl: Duration) -> Self {
        Self { shared: Arc::new(Mutex::new(Shared { number, confirmed, ttl, lost: None })) }
    }

    /// Whether the target may be changed now. Once it may not, it never may again.
    pub fn check(&self) -> Result<(), AuthorityError> {
        self.check_at(since_boot())
    }

    fn check_at(&self, now: Duration) -> Result<(), AuthorityError> {
        let mut shared = self.lock();
        if let Some(lost) = &shared.lost {
            return Err(lost.clone());
        }
        let silent = now.saturating_sub(shared.confirmed);
        if silent > shared.ttl / 2 {
            let stale = AuthorityError::Stale { silent };
            shared.lost = Some(stale.clone());
            return Err(stale);
        }
        Ok(())
    }

    /// Waits until the target may no longer be changed; gives why. For changes that take long.
    pub async fn lost(&self) -> AuthorityError {
        loop {
            if let Err(lost) = self.check() {
                return lost;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// The lease's number: it rises with every renewal and every holder.
    pub fn number(&self) -> u64 {
        self.lock().number
    }

    pub(super) fn confirm(&self, number: u64, asked: Duration) {
        let mut shared = self.lock();
        shared.number = number;
        shared.confirmed = asked;
    }

    pub(super) fn advance(&self, number: u64) {
        self.lock().number = number;
    }

    pub(super) fn revoke(&self, by: &Holder) {
        self.lock().lost.get_or_insert(AuthorityError::Taken { by: by.to_string() });
    }

    /// Ends the right, and gives the last number.
    pub(super) fn retire(&self) -> u64 {
        let mut shared = self.lock();
        shared.lost.get_or_insert(AuthorityError::Released);
        shared.number
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_ends_at_half_the_lease_and_does_not_come_back() {
        let seconds = Duration::from_secs;
        let authority = Authority::new(1, seconds(100), seconds(30));
        assert_eq!(authority.check_at(seconds(115)), Ok(()));
        authority.confirm(2, seconds(110));
        assert_eq!(authority.check_at(seconds(125)), Ok(()));
        let stale = AuthorityError::Stale { silent: seconds(16) };
        assert_eq!(authority.check_at(seconds(126)), Err(stale.clone()));
        authority.confirm(3, seconds(126));
        assert_eq!(authority.check_at(seconds(126)), Err(stale));
    }
}
