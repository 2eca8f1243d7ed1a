//! What time it is, by the kernel's clocks.

use rustix::time::{ClockId, clock_gettime};

use crate::label::label;
use crate::reading::Moment;

/// This moment. `before` is the one that was measured last, so that labels stay in order.
pub fn read_moment(before: Option<Moment>) -> Moment {
    let boot = passed(ClockId::Boottime);
    Moment { label: label(before, wall(), boot), boot, awake: passed(ClockId::Monotonic) }
}

/// Milliseconds since 1970, as the machine believes.
pub fn wall() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000)
}

fn passed(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000)).unwrap_or(0)
}
