//! The right to change a target, shared by everything that does.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bowline_core::lease::{AuthorityError, Right};

use crate::clock::since_boot;

/// The right to change a target. Clones share it. Asked before every change.
#[derive(Clone)]
pub struct Authority {
    right: Arc<Mutex<Right>>,
}

impl Authority {
    /// The right that comes with the lease of this number, asked for at `asked` by [`since_boot`].
    pub fn new(number: u64, asked: Duration, ttl: Duration) -> Self {
        Self { right: Arc::new(Mutex::new(Right::new(number, asked, ttl))) }
    }

    /// Whether the target may be changed now. Once it may not, it never may again.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(&self) -> Result<(), AuthorityError> {
        self.lock().check(since_boot())
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

    /// The lease's number: it never falls, and rises with every holder.
    pub fn number(&self) -> u64 {
        self.lock().number()
    }

    /// Takes in that a renewal that was asked for at `asked` was confirmed.
    pub fn confirm(&self, number: u64, asked: Duration) {
        self.lock().confirm(number, asked);
    }

    /// Takes in that the number is ours, though the answer that confirms it was lost.
    pub fn advance(&self, number: u64) {
        self.lock().advance(number);
    }

    /// Ends the right: somebody else has the lease.
    pub fn revoke(&self, by: impl Display) {
        self.lock().revoke(by);
    }

    /// Ends the right, and gives the last number.
    pub fn retire(&self) -> u64 {
        let mut right = self.lock();
        right.retire();
        right.number()
    }

    fn lock(&self) -> MutexGuard<'_, Right> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
