//! Replication throttles (KIP-73): how many bytes a second throttled replicas may send or fetch.
//!
//! A topic's `leader.replication.throttled.replicas` and `follower.replication.throttled.replicas` say
//! which replicas are throttled, `*.replication.throttled.rate` of the broker how much. A replica that
//! is in sync is never held back: the throttle is for reassignments.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nyala_coordinator::clock;
use nyala_coordinator::ids::{BrokerId, PartitionIndex};
use parking_lot::Mutex;

use super::Partition;
use crate::config::{Live, Settings};

/// Replicas that a topic's configuration throttles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ThrottledReplicas {
    /// None.
    #[default]
    None,
    /// These.
    Some(Vec<(PartitionIndex, BrokerId)>),
    /// All of the topic.
    All,
}

impl ThrottledReplicas {
    /// Reads the items of the topic key: `*`, or `partition:broker` each. They were checked before.
    #[must_use]
    pub fn parse(items: &[String]) -> Self {
        if items.iter().any(|item| item.trim() == "*") {
            return Self::All;
        }
        let pair = |item: &String| {
            let (partition, broker) = item.split_once(':')?;
            let partition = PartitionIndex(partition.trim().parse().ok()?);
            Some((partition, BrokerId(broker.trim().parse().ok()?)))
        };
        match items.iter().filter_map(pair).collect::<Vec<_>>() {
            found if found.is_empty() => Self::None,
            found => Self::Some(found),
        }
    }

    /// Whether the replica of `partition` on `broker` is throttled.
    #[must_use]
    pub fn contains(&self, partition: PartitionIndex, broker: BrokerId) -> bool {
        match self {
            Self::None => false,
            Self::Some(replicas) => replicas.contains(&(partition, broker)),
            Self::All => true,
        }
    }
}

/// Which end of replication is throttled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What this broker's leaders send.
    Leader,
    /// What this broker's followers fetch.
    Follower,
}

/// One side's throttle; one per broker and side, shared by `Arc`.
#[derive(Debug)]
pub struct Throttle {
    side: Side,
    this: BrokerId,
    live: Arc<Live>,
    windows: Mutex<Windows>,
}

impl Throttle {
    /// Nothing was sent yet.
    #[must_use]
    pub fn new(side: Side, this: BrokerId, live: Arc<Live>) -> Arc<Self> {
        let settings = live.get();
        let seconds = u64::try_from(settings.replication_quota_window_size_seconds).unwrap_or(1);
        let windows = Windows {
            length: Duration::from_secs(seconds.max(1)),
            count: usize::try_from(settings.replication_quota_window_num)
                .unwrap_or(1)
                .max(1),
            recent: VecDeque::new(),
        };
        Arc::new(Self {
            side,
            this,
            live,
            windows: Mutex::new(windows),
        })
    }

    /// Whether this broker's replica of `partition` is throttled on this side.
    #[must_use]
    pub fn applies_to(&self, partition: &Partition) -> bool {
        let config = partition.config();
        let replicas = match self.side {
            Side::Leader => &config.leader_throttled,
            Side::Follower => &config.follower_throttled,
        };
        replicas.contains(partition.id().partition, self.this)
    }

    /// Whether throttled replicas have to wait.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        let Some(limit) = rate(&self.live.get(), self.side) else {
            return false;
        };
        self.windows.lock().rate(clock::now()) > limit
    }

    /// Counts bytes of throttled replicas.
    pub fn record(&self, bytes: usize) {
        self.windows.lock().record(bytes, clock::now());
    }
}

/// `*.replication.throttled.rate`, if there is one.
fn rate(settings: &Settings, side: Side) -> Option<f64> {
    let rate = match side {
        Side::Leader => settings.leader_replication_throttled_rate,
        Side::Follower => settings.follower_replication_throttled_rate,
    };
    // Rates far beyond 2^53 bytes a second need not be exact.
    #[expect(clippy::cast_precision_loss, reason = "a limit, not a count")]
    rate.map(|rate| rate as f64)
}

/// Bytes of the last windows, as Kafka's `SimpleRate`: their sum over the time since the oldest began.
#[derive(Debug)]
struct Windows {
    length: Duration,
    count: usize,
    recent: VecDeque<(Instant, u64)>,
}

impl Windows {
    fn record(&mut self, bytes: usize, now: Instant) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        match self.recent.back_mut() {
            Some((began, sum)) if now < *began + self.length => *sum = sum.saturating_add(bytes),
            _ => self.recent.push_back((now, bytes)),
        }
        while self.recent.len() > self.count {
            self.recent.pop_front();
        }
    }

    /// Bytes a second.
    fn rate(&mut self, now: Instant) -> f64 {
        let span = self
            .length
            .saturating_mul(u32::try_from(self.count).unwrap_or(u32::MAX));
        while (self.recent.front()).is_some_and(|(began, _)| now.duration_since(*began) >= span) {
            self.recent.pop_front();
        }
        let Some((oldest, _)) = self.recent.front() else {
            return 0.0;
        };
        let elapsed = now.duration_since(*oldest).max(self.length);
        let bytes: u64 = self.recent.iter().map(|(_, bytes)| bytes).sum();
        #[expect(clippy::cast_precision_loss, reason = "a measurement")]
        let bytes = bytes as f64;
        bytes / elapsed.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_listed_or_all_or_none() {
        let parse = |items: &[&str]| {
            let items: Vec<String> = items.iter().map(|i| (*i).to_owned()).collect();
            ThrottledReplicas::parse(&items)
        };
        assert_eq!(parse(&[]), ThrottledReplicas::None);
        assert_eq!(parse(&["*"]), ThrottledReplicas::All);
        let some = parse(&["0:101", "1:102"]);
        assert!(some.contains(PartitionIndex(1), BrokerId(102)));
        assert!(!some.contains(PartitionIndex(1), BrokerId(101)));
    }

    #[test]
    fn a_rate_is_over_the_last_windows_and_fades() {
        let mut windows = Windows {
            length: Duration::from_secs(1),
            count: 3,
            recent: VecDeque::new(),
        };
        let began = clock::now();
        let at = |ms| began + Duration::from_millis(ms);
        windows.record(1000, at(0));
        let near = |rate: f64, expected: f64| assert!((rate - expected).abs() < 0.1, "{rate}");
        near(windows.rate(at(10)), 1000.0);
        near(windows.rate(at(2000)), 500.0);
        windows.record(1000, at(2000));
        near(windows.rate(at(2000)), 1000.0);
        near(windows.rate(at(3500)), 1000.0 / 1.5);
        near(windows.rate(at(9000)), 0.0);
    }
}
