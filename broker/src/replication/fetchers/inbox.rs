//! What a fetch loop is told from outside: follow this, leave that. Drained between two fetches.

use std::sync::Arc;

use nyala_coordinator::ids::TopicPartition;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Partition;

/// One thing to do.
#[derive(Debug)]
pub(super) enum Change {
    /// Follow this from now on, or anew: its leader epoch changed.
    Follow(Arc<Partition>),
    /// Follow it no more.
    Leave(TopicPartition),
}

/// Changes in their order; many tell, one loop listens.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    changes: Mutex<Vec<Change>>,
    more: Notify,
}

impl Inbox {
    /// Tells the loop.
    pub(super) fn put(&self, change: Change) {
        self.changes.lock().push(change);
        self.more.notify_one();
    }

    /// Everything that was told since the last call.
    pub(super) fn take(&self) -> Vec<Change> {
        std::mem::take(&mut self.changes.lock())
    }

    /// Ends when there is something to take.
    pub(super) async fn filled(&self) {
        while self.changes.lock().is_empty() {
            self.more.notified().await;
        }
    }

    /// Ends when there is something to follow that was not taken yet.
    pub(super) async fn urgent(&self) {
        let urgent = |change: &Change| matches!(change, Change::Follow(_));
        while !self.changes.lock().iter().any(urgent) {
            self.more.notified().await;
        }
    }
}
