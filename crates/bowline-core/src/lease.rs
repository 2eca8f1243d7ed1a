//! One writer per target: who holds the lease, for how long it is given, and when its holder may write no more.
//!
//! No target checks a fencing token. So a writer stops itself: its [`Right`] ends for good once half the lease has
//! passed without a confirmed renewal. Times are passed in, on a clock that also counts while the machine is suspended.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// For how long a lease is given. Renewed at a sixth of that ([`RENEWAL`]), stopped at half.
pub const TTL: Duration = Duration::from_secs(30);
/// How often a lease is renewed.
pub const RENEWAL: Duration = Duration::from_secs(5);

/// What to do when somebody else has the lease.
pub const HELD_HINT: &str = "wait for it; if that run is surely dead, its lock ends by itself after 30 s \
     (`bowline lock TARGET` shows it, `bowline lock release TARGET` breaks it)";

/// A process that has, or had, a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The name of its machine.
    pub host: String,
    /// The user's name there.
    pub user: String,
    /// Its process id.
    pub pid: u32,
    /// Which start of that machine: `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
    /// Which process namespace: process ids mean nothing in another container.
    pub namespace: String,
    /// When it was started, in ticks since that machine's start: a process id may be used again.
    pub started: u64,
    /// Its run.
    pub run: String,
    /// What it does: `deploy`, `rollback`, ….
    pub verb: String,
}

impl Holder {
    /// Whether it surely is no more, seen from a process `here`: a process of this very start of this machine, whose
    /// id is free or somebody else's. `started` tells when the process with its id was started here; none: there is
    /// none.
    pub fn is_gone(&self, here: &Self, started: Option<u64>) -> bool {
        !here.boot.is_empty()
            && !here.namespace.is_empty()
            && self.boot == here.boot
            && self.namespace == here.namespace
            && started != Some(self.started)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What another machine wrote is not to be trusted on a terminal.
        let clean = |text: &str| text.chars().filter(|c| !c.is_control()).take(80).collect::<String>();
        let (user, host, verb, run) =
            (clean(&self.user), clean(&self.host), clean(&self.verb), clean(&self.run));
        write!(f, "{user}@{host} (bowline {verb}, process {}, run {run})", self.pid)
    }
}

/// Who has the lease, as far as can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nobody ever had, or the last one gave it back.
    Free,
    /// Somebody has.
    Held {
        /// Who.
        holder: Holder,
        /// How long ago it was renewed, by the target's clock.
        age: Duration,
    },
    /// Somebody had, and did not renew it in time.
    Expired {
        /// Who.
        holder: Holder,
        /// How long ago it was renewed, by the target's clock.
        age: Duration,
    },
}

impl Status {
    /// What a lease is that was renewed `age` ago for `ttl`. The target tells both times to the second only: it may
    /// have been almost one second later, and a lease is never taken too early.
    pub fn at(holder: Holder, age: Duration, ttl: Duration) -> Self {
        if age > ttl + Duration::from_secs(1) {
            Self::Expired { holder, age }
        } else {
            Self::Held { holder, age }
        }
    }
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

/// The right to change a target: it ends at half the lease, unless a renewal is confirmed, and never comes back.
#[derive(Debug, Clone)]
pub struct Right {
    number: u64,
    /// When the last confirmed renewal was asked for.
    confirmed: Duration,
    ttl: Duration,
    lost: Option<AuthorityError>,
}

impl Right {
    /// The right that comes with the lease of this number, asked for at `asked`.
    pub fn new(number: u64, asked: Duration, ttl: Duration) -> Self {
        Self { number, confirmed: asked, ttl, lost: None }
    }

    /// Whether the target may be changed at `now`. Once it may not, it never may again.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(&mut self, now: Duration) -> Result<(), AuthorityError> {
        let silent = now.saturating_sub(self.confirmed);
        if self.lost.is_none() && silent > self.ttl / 2 {
            self.lost = Some(AuthorityError::Stale { silent });
        }
        self.lost.clone().map_or(Ok(()), Err)
    }

    /// The lease's number: it never falls, and rises with every holder.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Takes in that a renewal that was asked for at `asked` was confirmed.
    pub fn confirm(&mut self, number: u64, asked: Duration) {
        self.number = number;
        self.confirmed = asked;
    }

    /// Takes in that the number is ours, though the answer that confirms it was lost.
    pub fn advance(&mut self, number: u64) {
        self.number = number;
    }

    /// Ends the right: somebody else has the lease.
    pub fn revoke(&mut self, by: impl fmt::Display) {
        self.lost.get_or_insert_with(|| AuthorityError::Taken { by: by.to_string() });
    }

    /// Ends the right: the lease is given back.
    pub fn retire(&mut self) {
        self.lost.get_or_insert(AuthorityError::Released);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn holder() -> Holder {
        Holder {
            host: "box".into(),
            user: "me".into(),
            pid: 7,
            boot: "b1".into(),
            namespace: "pid:[1]".into(),
            started: 100,
            run: "r".into(),
            verb: "deploy".into(),
        }
    }

    #[test]
    fn the_right_ends_at_half_the_lease_and_does_not_come_back() {
        let mut right = Right::new(1, seconds(100), TTL);
        assert_eq!(right.check(seconds(115)), Ok(()));
        right.confirm(2, seconds(110));
        assert_eq!(right.check(seconds(125)), Ok(()));
        let stale = AuthorityError::Stale { silent: seconds(16) };
        assert_eq!(right.check(seconds(126)), Err(stale.clone()));
        right.confirm(3, seconds(126));
        right.revoke("somebody");
        assert_eq!(right.check(seconds(126)), Err(stale));
    }

    #[test]
    fn a_holder_is_gone_only_when_that_is_sure() {
        let there = holder();
        for (here, started, gone) in [
            (holder(), Some(100), false),
            (holder(), Some(200), true),
            (holder(), None, true),
            (Holder { boot: "b2".into(), ..holder() }, None, false),
            (Holder { namespace: "pid:[2]".into(), ..holder() }, None, false),
            (Holder { namespace: String::new(), ..holder() }, None, false),
        ] {
            assert_eq!(there.is_gone(&here, started), gone, "{here:?} {started:?}");
        }
    }

    #[test]
    fn a_lease_is_over_one_second_after_its_time() {
        assert!(matches!(Status::at(holder(), seconds(31), TTL), Status::Held { .. }));
        assert!(matches!(Status::at(holder(), seconds(32), TTL), Status::Expired { .. }));
    }
}
