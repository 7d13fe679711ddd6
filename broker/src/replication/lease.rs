//! How long a leader may believe that it still leads when it hears nothing.
//!
//! ZooKeeper's answers are the proof that this broker's session lives, so that nobody else was given
//! its place. Without them for a whole session timeout, followers that fetch in the current epoch
//! are the next best: ZooKeeper may be down as a whole, and leaders go on. Such a fetch counts as of the one
//! before it (`progress.rs`): a network that is whole again delivers fetches of before. With neither, a leader
//! stops serving. A process that stood still trusts only ZooKeeper when it wakes: the fetches that
//! waited in its sockets are of the time before.
//!
//! A new session proves nothing about what was held under the one before: others may have led since.
//! The lease is over from its first heartbeat until this broker has registered in it and has gone
//! through all that the cluster says of it ([`Lease::prove`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nyala_coordinator::clock;
use nyala_coordinator::session;
use tokio_util::sync::CancellationToken;

/// What the lease says at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Serve.
    Holds,
    /// Serve if enough followers in sync have fetched within the period.
    AskFollowers {
        /// The session timeout.
        period: Duration,
    },
    /// Do not serve.
    Over,
}

/// The lease of one broker; clones share it. The default one always holds.
#[derive(Clone, Debug, Default)]
pub struct Lease(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    session: session::Lease,
    timeout: Duration,
    start: Instant,
    /// Generation of the session in which the roles of this broker were looked at.
    proven: AtomicU64,
    /// Milliseconds from `start` to the latest sign that this process runs.
    ticked_ms: AtomicU64,
    /// It stood still, and ZooKeeper has not answered since.
    stalled: AtomicBool,
}

impl Lease {
    /// A lease that follows the heartbeats of a session with this timeout. [`Self::run`] must run.
    #[must_use]
    pub fn new(session: session::Lease, timeout: Duration) -> Self {
        Self(Some(Arc::new(Inner {
            session,
            timeout,
            start: clock::now(),
            proven: AtomicU64::new(0),
            ticked_ms: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
        })))
    }

    /// Notes that the process runs, until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let Some(inner) = self.0 else {
            return;
        };
        let mut ticks = tokio::time::interval(inner.timeout / 8);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => inner.tick(clock::now()),
            }
        }
    }

    /// The roles of this broker are those that the cluster gave it in the session of `generation`.
    pub(crate) fn prove(&self, generation: u64) {
        if let Some(inner) = &self.0 {
            inner.proven.store(generation, Ordering::Release);
        }
    }

    /// Whether to serve, now.
    pub(crate) fn verdict(&self) -> Verdict {
        match &self.0 {
            None => Verdict::Holds,
            Some(inner) => inner.verdict(clock::now()),
        }
    }
}

impl Inner {
    fn tick(&self, now: Instant) {
        self.notice_stall(now);
        self.ticked_ms
            .store(self.since_start(now), Ordering::Release);
    }

    fn verdict(&self, now: Instant) -> Verdict {
        self.notice_stall(now);
        let stalled = self.stalled.load(Ordering::Acquire);
        if self.session.generation() != self.proven.load(Ordering::Acquire) {
            return Verdict::Over;
        }
        decide(now, self.session.until(), self.timeout, stalled)
    }

    fn notice_stall(&self, now: Instant) {
        let ticked = Duration::from_millis(self.ticked_ms.load(Ordering::Acquire));
        let stood = Duration::from_millis(self.since_start(now)).saturating_sub(ticked);
        if stood > self.timeout / 2 {
            self.stalled.store(true, Ordering::Release);
        } else if now < self.session.until() && self.stalled.load(Ordering::Acquire) {
            self.stalled.store(false, Ordering::Release);
        }
    }

    fn since_start(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

/// `until` is two thirds of the timeout behind the latest heartbeat that was answered.
fn decide(now: Instant, until: Instant, timeout: Duration, stalled: bool) -> Verdict {
    if now < until || (!stalled && now < until + timeout / 3) {
        Verdict::Holds
    } else if stalled {
        Verdict::Over
    } else {
        Verdict::AskFollowers { period: timeout }
    }
}

/// Followers that must have fetched: so many that no acknowledgement of all is possible without
/// them, and at least one; none where nobody else is in sync and could lead.
pub(crate) fn followers_needed(in_sync: usize, minimum: usize) -> usize {
    match in_sync {
        0 | 1 => 0,
        _ => minimum.saturating_sub(1).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(6);

    #[test]
    fn it_holds_for_a_session_timeout_after_the_latest_heartbeat() {
        let heard = clock::now();
        let until = heard + TIMEOUT * 2 / 3;
        let at = |after| decide(heard + after, until, TIMEOUT, false);
        assert_eq!(at(Duration::ZERO), Verdict::Holds);
        assert_eq!(at(TIMEOUT - Duration::from_millis(1)), Verdict::Holds);
        let period = TIMEOUT;
        assert_eq!(at(TIMEOUT), Verdict::AskFollowers { period });
    }

    #[test]
    fn one_that_stood_still_trusts_only_zookeeper() {
        let heard = clock::now();
        let until = heard + TIMEOUT * 2 / 3;
        assert_eq!(decide(until, until, TIMEOUT, true), Verdict::Over);
        assert_eq!(decide(heard, until, TIMEOUT, true), Verdict::Holds);
    }

    #[test]
    fn where_nobody_else_could_lead_nobody_is_needed() {
        assert_eq!(followers_needed(1, 2), 0);
        assert_eq!(followers_needed(2, 1), 1);
        assert_eq!(followers_needed(3, 2), 1);
        assert_eq!(followers_needed(3, 3), 2);
    }
}
