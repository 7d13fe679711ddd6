//! How far one follower is, as its leader knows it from the follower's fetches. Pure.
//!
//! A fetch at an offset says that the follower has everything below. A follower is *caught up* as of
//! the last moment at which it had all that the leader had: of this fetch if it asks for the
//! leader's end, of the fetch before if it asks for what was the end then. So a follower of a busy
//! leader, never quite at its end, still counts.

use std::time::Duration;

use nyala_coordinator::ids::BrokerId;
use tokio::time::Instant;

use super::state::FollowerFetch;

/// One follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Follower {
    /// Its number.
    pub(crate) id: BrokerId,
    /// End of its log; unknown until it fetches.
    pub(crate) end: Option<i64>,
    /// First offset of its log, -1 while unknown.
    pub(crate) log_start: i64,
    /// Its latest fetch.
    pub(crate) fetched: Option<Instant>,
    /// The fetch before: it sent the latest one after it had our answer to that.
    vouched: Option<Instant>,
    /// Epoch of its registration as its latest fetch gave it.
    pub(crate) broker_epoch: Option<i64>,
    /// When it last had everything; `None`: not in this epoch.
    caught_up: Option<Instant>,
    /// The leader's end at its latest fetch.
    leader_end_then: i64,
}

impl Follower {
    /// One that has not fetched. In sync, it gets the time of a laggard before it is judged.
    pub(crate) fn new(id: BrokerId, in_sync: bool, now: Instant) -> Self {
        Self {
            id,
            end: None,
            log_start: -1,
            fetched: None,
            vouched: None,
            broker_epoch: None,
            caught_up: in_sync.then_some(now),
            leader_end_then: -1,
        }
    }

    /// The same leader starts a new epoch: progress stays, time starts anew. Who is not in sync has
    /// to fetch first.
    pub(crate) fn renew(&mut self, leader_end: i64, in_sync: bool, now: Instant) {
        self.leader_end_then = leader_end;
        self.fetched = Some(now);
        self.vouched = Some(now);
        self.caught_up = Some(now);
        if !in_sync {
            self.drop_behind();
        }
    }

    /// It left the replicas in sync, or its broker is gone: it has to fetch before anybody waits
    /// for it again.
    pub(crate) fn drop_behind(&mut self) {
        self.caught_up = None;
        self.fetched = None;
        self.vouched = None;
        self.end = None;
    }

    /// Whether a fetch comes from an earlier life of its broker (KIP-903).
    pub(crate) fn is_from_the_past(&self, broker_epoch: i64) -> bool {
        broker_epoch >= 0 && self.broker_epoch.is_some_and(|known| known > broker_epoch)
    }

    /// Takes in a fetch that was checked; `leader_end` is the leader's end when it came.
    pub(crate) fn note(&mut self, fetch: &FollowerFetch, leader_end: i64) {
        let reached = if fetch.offset >= leader_end {
            Some(fetch.now)
        } else if fetch.offset >= self.leader_end_then {
            self.fetched
        } else {
            None
        };
        self.caught_up = self.caught_up.max(reached);
        self.end = Some(fetch.offset);
        self.log_start = fetch.log_start;
        self.leader_end_then = leader_end.max(self.leader_end_then);
        self.vouched = self.fetched;
        self.fetched = Some(fetch.now);
        self.broker_epoch = Some(fetch.broker_epoch);
    }

    /// Whether it is at the leader's end (KAFKA-7152: then silence is no lag), or was within `lag_max`.
    pub(crate) fn is_caught_up(&self, leader_end: i64, now: Instant, lag_max: Duration) -> bool {
        let lately = |at: Instant| now.saturating_duration_since(at) <= lag_max;
        self.end == Some(leader_end) || self.caught_up.is_some_and(lately)
    }

    /// Whether it has certainly followed this leader within `period`. When its latest fetch was sent is not
    /// known: when a network is whole again, it delivers what was sent before it was cut. But that was
    /// after the fetch before had been answered.
    pub(crate) fn has_followed_within(&self, period: Duration, now: Instant) -> bool {
        self.vouched
            .is_some_and(|at| now.saturating_duration_since(at) < period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_secs(30);

    fn fetch(offset: i64, now: Instant) -> FollowerFetch {
        FollowerFetch {
            broker: BrokerId(2),
            broker_epoch: 7,
            offset,
            log_start: 0,
            leader_epoch: None,
            last_epoch: None,
            now,
        }
    }

    #[test]
    fn one_at_the_end_is_caught_up_however_long_it_is_silent() {
        let start = Instant::now();
        let mut follower = Follower::new(BrokerId(2), true, start);
        follower.note(&fetch(10, start), 10);
        let later = start + LAG * 10;
        assert!(follower.is_caught_up(10, later, LAG), "nothing new came");
        assert!(!follower.is_caught_up(11, later, LAG));
    }

    #[test]
    fn one_always_a_step_behind_a_busy_leader_is_caught_up() {
        let start = Instant::now();
        let mut follower = Follower::new(BrokerId(2), false, start);
        assert!(!follower.is_caught_up(10, start, LAG));
        for step in 0_i64..100 {
            let now = start + Duration::from_secs(1) * u32::try_from(step).unwrap();
            // It asks for what was the end at its last fetch; there is more by now.
            follower.note(&fetch(step * 10, now), step * 10 + 10);
        }
        assert!(follower.is_caught_up(1010, start + Duration::from_secs(100), LAG));
    }

    #[test]
    fn one_that_falls_back_is_caught_up_no_more_after_the_lag() {
        let start = Instant::now();
        let mut follower = Follower::new(BrokerId(2), true, start);
        follower.note(&fetch(0, start), 100);
        follower.note(&fetch(50, start + LAG), 200);
        assert!(
            follower.is_caught_up(200, start + LAG, LAG),
            "within the lag"
        );
        let late = start + LAG + Duration::from_millis(1);
        assert!(!follower.is_caught_up(200, late, LAG));
    }

    #[test]
    fn an_earlier_life_of_a_broker_is_known_by_its_epoch() {
        let mut follower = Follower::new(BrokerId(2), true, Instant::now());
        assert!(!follower.is_from_the_past(3));
        follower.note(&fetch(0, Instant::now()), 0);
        assert!(follower.is_from_the_past(6) && !follower.is_from_the_past(7));
        assert!(!follower.is_from_the_past(-1), "it does not say");
    }

    #[test]
    fn one_dropped_behind_is_not_waited_for() {
        let start = Instant::now();
        let mut follower = Follower::new(BrokerId(2), true, start);
        follower.note(&fetch(10, start), 10);
        follower.drop_behind();
        assert!(!follower.is_caught_up(10, start, LAG));
        assert!(!follower.has_followed_within(LAG, start));
    }

    #[test]
    fn a_fetch_that_was_long_on_its_way_proves_nothing() {
        let (start, step) = (Instant::now(), Duration::from_millis(500));
        let mut follower = Follower::new(BrokerId(2), true, start);
        follower.note(&fetch(10, start), 10);
        assert!(!follower.has_followed_within(LAG, start));
        follower.note(&fetch(10, start + step), 10);
        assert!(follower.has_followed_within(LAG, start + step));
        let healed = start + LAG * 2;
        follower.note(&fetch(10, healed), 10);
        assert!(!follower.has_followed_within(LAG, healed), "of before");
        follower.note(&fetch(10, healed + step), 10);
        assert!(follower.has_followed_within(LAG, healed + step));
    }
}
