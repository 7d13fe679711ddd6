//! A budget of memory that requests share: of their frames (`queued.max.request.bytes`), and of what
//! they are decoded to (`body.rs`).
//!
//! A connection takes a grant for a whole frame before it reads on, so two half-read frames never
//! wait for each other; memory itself grows only as bytes arrive. Small frames fit the buffer that
//! every connection has anyway and take no grant.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The budget, shared by all connections.
#[derive(Debug)]
pub(crate) struct RequestMemory {
    limit: usize,
    used: AtomicUsize,
    /// Who waits for a grant now.
    waiting: AtomicUsize,
    freed: Notify,
}

/// Part of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Grant {
    memory: Arc<RequestMemory>,
    bytes: usize,
}

impl RequestMemory {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    /// Takes `bytes`, if anything of the budget is left.
    ///
    /// As with Kafka's pool the last grant may exceed the budget, so that one frame larger than all
    /// of it can still be served, alone.
    pub(crate) fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Grant> {
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                (used < self.limit).then(|| used.saturating_add(bytes))
            })
            .ok()
            .map(|_| Grant {
                memory: Arc::clone(self),
                bytes,
            })
    }

    /// Whether somebody waits for what others have.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Waits for a grant of `bytes`.
    pub(crate) async fn take(self: &Arc<Self>, bytes: usize) -> Grant {
        if let Some(grant) = self.try_take(bytes) {
            return grant;
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(self);
        loop {
            // Registered before the attempt: what is freed in between wakes us.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(grant) = self.try_take(bytes) {
                return grant;
            }
            freed.await;
        }
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        self.freed.notify_waiters();
    }
}

/// Counts one who waits, until it has what it wants or gives up.
struct Waiting<'a>(&'a RequestMemory);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Grant {
    /// Gives back all but `bytes` of it.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.memory.give_back(less);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.memory.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_exceeded_by_one_grant_at_most() {
        let memory = RequestMemory::new(100);
        let first = memory.try_take(90).expect("within the budget");
        let second = memory.try_take(1000).expect("ten bytes were left");
        assert!(memory.try_take(1).is_none());
        drop(second);
        let third = memory.try_take(1).expect("ten bytes are left again");
        drop(third);
        let mut last = memory.try_take(1000).expect("ten bytes are left again");
        last.shrink_to(9);
        last.shrink_to(500);
        let fourth = memory.try_take(1).expect("one byte is left");
        assert!(memory.try_take(1).is_none());
        drop((first, last, fourth));
        assert_eq!(memory.used.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn a_waiter_gets_what_is_given_back() {
        let memory = RequestMemory::new(10);
        let all = memory.try_take(10).expect("free");
        let other = Arc::clone(&memory);
        let waiter = tokio::spawn(async move { other.take(5).await.bytes });
        tokio::task::yield_now().await;
        drop(all);
        assert_eq!(waiter.await.expect("waiter ends"), 5);
    }
}
