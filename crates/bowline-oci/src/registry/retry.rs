//! Trying again: full jitter, `Retry-After`, and a deadline instead of a number of tries.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(20);

/// One operation's patience.
#[derive(Debug)]
pub(crate) struct Retry {
    begun: Instant,
    deadline: Instant,
    attempt: u32,
}

impl Retry {
    pub(crate) fn within(patience: Duration) -> Self {
        let begun = Instant::now();
        Self { begun, deadline: begun + patience, attempt: 0 }
    }

    /// Shortens the patience, counted from the beginning.
    pub(crate) fn limit(&mut self, patience: Duration) {
        self.deadline = self.deadline.min(self.begun + patience);
    }

    /// Waits before the next try: a random time that grows, at least what the server asked for. `false`, at once,
    /// when the deadline would pass meanwhile.
    pub(crate) async fn pause(&mut self, asked: Option<Duration>) -> bool {
        let ceiling = FIRST.saturating_mul(1 << self.attempt.min(10)).min(LONGEST);
        self.attempt += 1;
        let wait = ceiling.mul_f64(rand::random::<f64>()).max(asked.unwrap_or_default());
        if Instant::now() + wait >= self.deadline {
            return false;
        }
        tokio::time::sleep(wait).await;
        true
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
pub(crate) fn after(headers: &reqwest::header::HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(then.as_second()).ok()?);
    Some(then.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 5);
        for (text, expected) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(5)),
            ("Wed, 06 Nov 1974 08:49:37 GMT", Some(0)),
            ("soon", None),
        ] {
            let mut headers = reqwest::header::HeaderMap::new();
            headers.insert("retry-after", text.parse().unwrap());
            assert_eq!(after(&headers, now), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_at_the_deadline() {
        let start = Instant::now();
        let mut retry = Retry::within(Duration::from_secs(60));
        let mut tries = 0;
        while retry.pause(None).await {
            tries += 1;
        }
        assert!(tries > 3 && start.elapsed() <= Duration::from_secs(60), "{tries}");
        let mut retry = Retry::within(Duration::from_secs(60));
        assert!(!retry.pause(Some(Duration::from_secs(61))).await);
        assert!(retry.pause(Some(Duration::from_secs(5))).await);
    }
}
