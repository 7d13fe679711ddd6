//! When the operator hears of a broker that cannot be told anything: at once, now and then while it
//! lasts, and when it is over. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Between two warnings of one outage: a broker is tried several times a second.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The failures in a row of one request.
#[derive(Debug, Default)]
pub(super) struct Outage {
    since: Option<Instant>,
    warned: Option<Instant>,
}

impl Outage {
    /// Another attempt has failed; whether to warn of it.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.since.get_or_insert(now);
        let is_due = self.warned.is_none_or(|last| now >= last + WARN_EVERY);
        if is_due {
            self.warned = Some(now);
        }
        is_due
    }

    /// An attempt has succeeded; how long none did, if any failed.
    pub(super) fn over(self, now: Instant) -> Option<Duration> {
        self.since.map(|since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_at_once_and_now_and_then() {
        let start = Instant::now();
        let mut outage = Outage::default();
        let failures = (0..250).map(|n| n * 100).filter(|ms| {
            let now = start + Duration::from_millis(*ms);
            outage.failed(now)
        });
        assert_eq!(failures.collect::<Vec<u64>>(), [0, 10_000, 20_000]);
        let end = start + Duration::from_secs(25);
        assert_eq!(outage.over(end), Some(Duration::from_secs(25)));
        assert_eq!(Outage::default().over(end), None);
    }
}
