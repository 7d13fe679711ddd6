//! Waiting for partitions to move: cheap when nobody waits, one wake-up for any of many partitions.
//!
//! A [`Waiter`] registers with every partition it cares for, *then* looks at them, then waits; a
//! partition that moved in between has left a permit. A partition nobody waits for pays one load
//! of an atomic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Partition;

/// One who waits; woken when any of its partitions moved.
#[derive(Debug, Default)]
pub struct Waiter {
    moved: Notify,
}

/// The waiters of one partition.
///
/// Invariant: `count` is the length of `list`; it is set before the waiter looks at the log, so an
/// append that the waiter did not see finds it there.
#[derive(Debug, Default)]
pub(super) struct Waits {
    count: AtomicUsize,
    list: Mutex<Vec<Waiting>>,
}

/// One waiter, and the watermark that must have passed before it is worth waking.
#[derive(Debug)]
struct Waiting {
    waiter: Arc<Waiter>,
    past: i64,
}

/// Woken by any move.
const ANY: i64 = -1;

impl Waits {
    /// Wakes everybody. To be called after the log's lock was released.
    pub(super) fn wake(&self) {
        self.wake_at(i64::MAX);
    }

    /// Wakes those for whom a watermark of `reached` is news.
    pub(super) fn wake_at(&self, reached: i64) {
        if self.count.load(Ordering::SeqCst) > 0 {
            for waiting in self.list.lock().iter() {
                if waiting.past < reached {
                    waiting.waiter.moved.notify_one();
                }
            }
        }
    }

    /// Whether nobody waits.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.list.lock().is_empty()
    }

    fn add(&self, waiter: &Arc<Waiter>, past: i64) {
        let mut list = self.list.lock();
        list.push(Waiting {
            waiter: Arc::clone(waiter),
            past,
        });
        self.count.store(list.len(), Ordering::SeqCst);
    }

    fn remove(&self, waiter: &Arc<Waiter>) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut list = self.list.lock();
        let is_it = |other: &Waiting| Arc::ptr_eq(&other.waiter, waiter);
        if let Some(at) = list.iter().position(is_it) {
            list.swap_remove(at);
        }
        self.count.store(list.len(), Ordering::SeqCst);
    }
}

/// A waiter and the partitions it is registered with; dropping it takes it off all of them.
#[derive(Debug, Default)]
pub struct WaitSet {
    waiter: Arc<Waiter>,
    partitions: Vec<Arc<Partition>>,
}

impl WaitSet {
    /// Waits for nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for `partition`'s high watermark and role too. Look at the partition after this, not
    /// before.
    pub fn add(&mut self, partition: &Arc<Partition>) {
        self.add_past(partition, ANY);
    }

    /// As [`add`](Self::add), but a high watermark up to `offset` is no news.
    pub fn add_past(&mut self, partition: &Arc<Partition>, offset: i64) {
        partition.waits().add(&self.waiter, offset);
        self.partitions.push(Arc::clone(partition));
    }

    /// Waits for the end of `partition`'s log and its role, as followers do.
    pub fn add_end(&mut self, partition: &Arc<Partition>) {
        partition.end_waits().add(&self.waiter, ANY);
        self.partitions.push(Arc::clone(partition));
    }

    /// Ends when some partition has moved since it was added, or since the last call ended.
    pub async fn moved(&self) {
        self.waiter.moved.notified().await;
    }
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        for partition in &self.partitions {
            partition.waits().remove(&self.waiter);
            partition.end_waits().remove(&self.waiter);
        }
    }
}
