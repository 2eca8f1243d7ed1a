//! The only place that reads the wall clock.

use jiff::Timestamp;

/// Now, in UTC. `BOWLINE_TEST_NOW` (RFC 3339) stops the clock for tests whose output is compared.
pub fn now() -> Timestamp {
    std::env::var("BOWLINE_TEST_NOW").ok().and_then(|fixed| fixed.parse().ok()).unwrap_or_else(Timestamp::now)
}
