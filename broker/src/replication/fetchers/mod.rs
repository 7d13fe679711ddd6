//! Followers: what other brokers lead is copied here, batch by batch, as it lies in their logs.
//!
//! One fetch loop for each leader and fetcher id (`num.replica.fetchers`), each with a connection and
//! a fetch session of its own. `cluster` says which partitions follow ([`Fetchers::assign`]); whom and
//! from where, the partition itself knows.
//!
//! ```text
//!  assign -> inbox -> fetcher: plan (session) -> request -> link -> verdict -> append | trouble
//! ```
//! `trouble` finds where a log parts from its leader's, by leader epochs, and has it truncated.
//! `request`, `session` and `verdict` are pure. Nothing here decodes a record.

mod cure;
mod fetcher;
mod followed;
mod inbox;
mod link;
mod request;
mod session;
mod settings;
mod trouble;
mod verdict;

use std::collections::HashMap;
use std::sync::Arc;

use nyala_coordinator::ids::{BrokerEpoch, BrokerId, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{FollowError, LeaderOffsets, Partition, Peers, Throttle};
use fetcher::Fetcher;
use inbox::{Change, Inbox};
pub use settings::FetcherSettings;

/// What followers need.
#[derive(Debug)]
pub struct FetcherParts {
    /// The other brokers.
    pub peers: Arc<Peers>,
    /// What to go by.
    pub settings: FetcherSettings,
    /// Epoch of this broker's registration, told to leaders (KIP-903).
    pub broker_epoch: watch::Receiver<Option<BrokerEpoch>>,
    /// Of followers.
    pub throttle: Arc<Throttle>,
}

/// All fetch loops of this broker. Shared by `Arc`.
#[derive(Debug)]
pub struct Fetchers {
    parts: Arc<FetcherParts>,
    loops: Mutex<Loops>,
}

/// Leader and number of a loop.
type Place = (BrokerId, u32);

#[derive(Debug, Default)]
struct Loops {
    running: HashMap<Place, Running>,
    places: HashMap<TopicPartition, Place>,
    /// Nothing new is followed.
    leaving: bool,
    closed: bool,
}

#[derive(Debug)]
struct Running {
    inbox: Arc<Inbox>,
    task: AbortOnDropHandle<()>,
}

impl Fetchers {
    /// Nothing is followed yet.
    #[must_use]
    pub fn new(parts: FetcherParts) -> Arc<Self> {
        Arc::new(Self {
            parts: Arc::new(parts),
            loops: Mutex::default(),
        })
    }

    /// Follows the leader that `partition` has by now; to be called after each change of its role or
    /// leader epoch. One that follows nobody is released. Cheap; needs a runtime.
    pub fn assign(&self, partition: &Arc<Partition>) {
        let id = partition.id();
        let Some(position) = partition.fetch_position() else {
            self.release(id);
            return;
        };
        let number = choose_fetcher(id, self.parts.settings.fetchers_per_leader);
        let place = (position.leader, number);
        let mut loops = self.loops.lock();
        if loops.closed {
            return;
        }
        if loops.leaving {
            drop(loops);
            self.release(id);
            return;
        }
        if let Some(before) = loops.places.insert(id.clone(), place)
            && before != place
        {
            loops.leave(before, id);
        }
        let running = loops.running.entry(place).or_insert_with(|| {
            let inbox = Arc::new(Inbox::default());
            let (leader, parts) = (position.leader, Arc::clone(&self.parts));
            let fetcher = Fetcher::new(leader, number, parts, Arc::clone(&inbox));
            let task = AbortOnDropHandle::new(tokio::spawn(fetcher.run()));
            Running { inbox, task }
        });
        running.inbox.put(Change::Follow(Arc::clone(partition)));
    }

    /// Follows `partition` no more. What is on its way to it is refused by the partition itself, if
    /// its role has changed.
    pub fn release(&self, partition: &TopicPartition) {
        let mut loops = self.loops.lock();
        if let Some(place) = loops.places.remove(partition) {
            loops.leave(place, partition);
        }
    }

    /// From now on nothing more is followed than is already: this broker is leaving. The next leader of what it
    /// led would take it into the replicas in sync, which Kafka's controller refuses, and wait for it.
    pub fn leave(&self) {
        self.loops.lock().leaving = true;
    }

    /// Ends all loops and waits for them: before the logs are closed.
    pub async fn close(&self) {
        let running = {
            let mut loops = self.loops.lock();
            loops.closed = true;
            loops.places.clear();
            std::mem::take(&mut loops.running)
        };
        for (_, Running { task, .. }) in running {
            task.abort();
            // An error is the end that was asked for.
            let _ = task.await;
        }
    }
}

impl Loops {
    fn leave(&self, place: Place, partition: &TopicPartition) {
        if let Some(running) = self.running.get(&place) {
            running.inbox.put(Change::Leave(partition.clone()));
        }
    }
}

/// The loop that a partition belongs to, spread as in Kafka.
fn choose_fetcher(partition: &TopicPartition, fetchers: u32) -> u32 {
    let characters = partition.topic.as_str().bytes();
    let hash = characters.fold(0_i32, |hash, c| {
        hash.wrapping_mul(31).wrapping_add(i32::from(c))
    });
    let hash = hash.wrapping_mul(31).wrapping_add(partition.partition.0);
    // Kafka's `Utils.abs`: the least number becomes 0.
    let hash = hash.checked_abs().unwrap_or(0);
    hash.unsigned_abs() % fetchers.max(1)
}

#[cfg(test)]
mod tests;
