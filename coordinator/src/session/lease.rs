//! Until when the session is certainly alive: the self-fencing clock.
//!
//! The leader of an ensemble ends a session one timeout after it last heard of it. We note when each heartbeat that
//! the leader answered was *sent*, and trust the session for two thirds of the timeout from there: after a
//! pause of the process, a frozen network or a stalled server, [`Lease::holds`] turns false on every
//! thread by itself, well before anyone else can have been given what we held. The leader hears of a session
//! from the client's server every half tick, which is a quarter of the shortest timeout at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;

/// Cheap handle; reading it is one atomic load and one look at the clock.
#[derive(Clone, Debug)]
pub struct Lease {
    start: Instant,
    /// Microseconds since `start`; 0 is "no".
    until: Arc<AtomicU64>,
    /// Generation of the session that it is of.
    generation: Arc<AtomicU64>,
}

impl Lease {
    pub(super) fn new() -> Self {
        Self {
            start: clock::now(),
            until: Arc::new(AtomicU64::new(0)),
            generation: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Whether the session is certainly alive, so that what it holds may be acted upon.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.holds_at(clock::now())
    }

    fn holds_at(&self, now: Instant) -> bool {
        self.since_start(now) < self.until.load(Ordering::Acquire)
    }

    /// When it ends unless renewed; in the past if it has ended.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.start + Duration::from_micros(self.until.load(Ordering::Acquire))
    }

    /// Generation of the session that it is of: what an earlier one held is not covered.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// From now on it is of this session. To be called before the first [`Self::renew`].
    pub(super) fn begin(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    /// A heartbeat sent at `sent` was answered.
    pub(super) fn renew(&self, sent: Instant, session_timeout: Duration) {
        let until = self.since_start(sent + session_timeout * 2 / 3);
        self.until.fetch_max(until, Ordering::AcqRel);
    }

    /// The session is gone.
    pub(super) fn revoke(&self) {
        self.until.store(0, Ordering::Release);
    }

    fn since_start(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start).as_micros();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_counts_from_when_the_heartbeat_was_sent() {
        let lease = Lease::new();
        let sent = lease.start + Duration::from_secs(1);
        assert!(!lease.holds_at(sent));
        lease.renew(sent, Duration::from_secs(3));
        assert!(lease.holds_at(sent + Duration::from_millis(1999)));
        assert!(!lease.holds_at(sent + Duration::from_millis(2001)));
        // An older answer that arrives late does not shorten it.
        lease.renew(lease.start, Duration::from_secs(3));
        assert_eq!(lease.until(), sent + Duration::from_secs(2));
        lease.revoke();
        assert!(!lease.holds_at(sent));
    }
}
