//! Time that also passes while the machine sleeps.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since this machine was started, suspension included: a laptop that was closed for a minute must not believe
/// that its lease is a second old.
pub fn since_boot() -> Duration {
    // Elsewhere than on Linux, the monotonic clock itself counts suspension.
    #[cfg(target_os = "linux")]
    let now = clock_gettime(ClockId::Boottime);
    #[cfg(not(target_os = "linux"))]
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}
