//! A queue, one-to-one: each item goes to exactly one consumer.
//!
//! ```text
//!   PATH/entries/entry-<priority, 3 digits>-<10 digits>   persistent, the item     } as kazoo's
//!   PATH/taken/<name of the entry>                        ephemeral, the lease     } LockingQueue
//!   PATH/sessions/<guid>                                  ephemeral, of a handle that puts or takes
//! ```
//!
//! **Guarantee.** Items of one priority come out in the order they went in, those of a lower number
//! before those of a higher one. A taken item is leased: only its holder can [`ack`](Taken::ack) it, and
//! it is gone then. A put that returns `Ok` happened once, whatever became of the connection.
//! **On session loss** the holder's leases go with the session and their items are taken by others; an
//! `ack` that comes too late is refused with [`AckError::Lost`]. Waiting goes on under the next session.
//! An item that may be lost with its consumer costs half the writes: [`pop`](Queue::pop) takes it for good. A
//! put of which the answer may be lost is a little faster: [`push`](Queue::push).
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use nyala_coordinator::recipes::queue::{Priority, Queue, QueueOptions};
//!
//! let queue = Queue::open(session, "/jobs", QueueOptions::default()).await?;
//! queue.put(b"resize 17.png", Priority::default()).await?;
//! if let Some(item) = queue.take(Some(Duration::from_secs(5))).await? {
//!     work(item.data());
//!     item.ack().await?;
//! }
//! # Ok(()) }
//! # fn work(_: &[u8]) {}
//! ```

mod ack;
mod give_back;
mod lease;
mod listing;
mod pop;

use std::sync::Arc;
use std::time::Duration;

use super::error::RecipeError;
use super::inlet::{BATCH_MAX, Inlet, PutError};
use super::own::child;
use super::path::usable;
use super::patience::{Patience, until_connected};
use super::presence::Presence;
use crate::session::{Session, ZkError};

pub use ack::{AckError, AckErrors};
pub use lease::Taken;
use listing::Listing;

/// Urgency of an item, 0 (first) to 999 (last); 100 unless told otherwise, as kazoo's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u16);

impl Priority {
    /// `None` above 999.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        (number <= 999).then_some(Self(number))
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(100)
    }
}

/// Settings of a [`Queue`].
#[derive(Clone, Debug, Default)]
pub struct QueueOptions {
    /// Most items, leased ones included. Kept by whoever puts with the same limit.
    pub items_max: Option<usize>,
}

/// Why a queue cannot do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The path cannot be used.
    #[error(transparent)]
    Path(#[from] RecipeError),
    /// Not all items were put.
    #[error(transparent)]
    Put(#[from] PutError),
    /// Items were to leave the queue as they were taken; the session ended, or ZooKeeper stayed away, before
    /// the answer came.
    #[error(
        "queue {path}: no answer while items were taken for good: they are still there, another's, or lost"
    )]
    Unknown {
        /// The queue.
        path: String,
    },
    /// ZooKeeper refused, or could not be reached.
    #[error("queue {path}: {source}")]
    Zk {
        /// The queue.
        path: String,
        /// What went wrong.
        source: ZkError,
    },
}

/// A queue. Cheap to clone; clones share what they know and wait for each other while they talk.
#[derive(Clone, Debug)]
pub struct Queue {
    shared: Arc<Shared>,
}

/// Why items were not taken.
enum TakeError {
    /// These are leased by others, or gone.
    NotFree(Vec<String>),
    /// One was rewritten meanwhile: try again.
    Changed,
    /// This one has nodes below it, which keep it from being deleted.
    Burdened(String),
    /// They may be taken: no answer came.
    Unknown,
    Zk(ZkError),
}

/// What the handles and the leases of a queue share.
#[derive(Debug)]
struct Shared {
    session: Session,
    path: String,
    entries: String,
    taken: String,
    inlet: Inlet,
    /// Takes go with this mark, and acknowledgements check it: it is the leases' session.
    consumer: Presence,
    listing: tokio::sync::Mutex<Listing>,
}

impl Shared {
    fn zk(&self, source: ZkError) -> QueueError {
        QueueError::Zk {
            path: self.path.clone(),
            source,
        }
    }
}

impl Queue {
    /// Opens the queue at `path`, making it if need be.
    pub async fn open(
        session: Session,
        path: &str,
        options: QueueOptions,
    ) -> Result<Self, QueueError> {
        let queue = Self::at(session, path, options)?;
        let shared = &queue.shared;
        for node in [&shared.entries, &shared.taken] {
            let made = shared.session.ensure_path(node).await;
            made.map_err(|e| shared.zk(e))?;
        }
        Ok(queue)
    }

    /// The queue at `path`, if somebody makes it; this handle does not. Until then takes find nothing.
    pub fn existing(session: Session, path: &str) -> Result<Self, QueueError> {
        Self::at(session, path, QueueOptions::default())
    }

    fn at(session: Session, path: &str, options: QueueOptions) -> Result<Self, QueueError> {
        let path = usable(path)?;
        let (entries, sessions) = (child(&path, "entries"), child(&path, "sessions"));
        let shared = Shared {
            inlet: Inlet::new(&session, &entries, &sessions, options.items_max),
            entries,
            taken: child(&path, "taken"),
            consumer: Presence::new(session.clone(), sessions),
            listing: tokio::sync::Mutex::default(),
            session,
            path,
        };
        let shared = Arc::new(shared);
        Ok(Self { shared })
    }

    /// Whether somebody has made it.
    pub async fn exists(&self) -> Result<bool, QueueError> {
        let q = &self.shared;
        let stat = q.session.exists(&q.entries).await;
        Ok(stat.map_err(|e| q.zk(e))?.is_some())
    }

    /// Puts one item at the end of its priority.
    pub async fn put(&self, item: &[u8], priority: Priority) -> Result<(), QueueError> {
        self.put_all(&[item], priority).await
    }

    /// As [`put`](Self::put), at most once: when the connection is lost before the answer, nobody knows whether
    /// the item is in, and the error is [`ZkError::Unknown`]. In return it is a plain create; `put` is a transaction that
    /// can be looked up afterwards.
    pub async fn push(&self, item: &[u8], priority: Priority) -> Result<(), QueueError> {
        let prefix = format!("entry-{:03}-", priority.0);
        Ok(self.shared.inlet.push(&prefix, item).await?)
    }

    /// Puts items in their order, as many as fit one transaction at a time.
    ///
    /// Dropping the future leaves whole batches behind, or none.
    pub async fn put_all(&self, items: &[&[u8]], priority: Priority) -> Result<(), QueueError> {
        let prefix = format!("entry-{:03}-", priority.0);
        Ok(self.shared.inlet.put_all(&prefix, items).await?)
    }

    /// Items that are in it, leased ones included.
    pub async fn len(&self) -> Result<usize, QueueError> {
        let q = &self.shared;
        let stat = q.session.exists(&q.entries).await.map_err(|e| q.zk(e))?;
        let count = stat.map_or(0, |s| s.num_children);
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Whether nothing is in it, leased items included.
    pub async fn is_empty(&self) -> Result<bool, QueueError> {
        Ok(self.len().await? == 0)
    }

    /// Takes the first item that nobody holds, if there is one now.
    pub async fn poll(&self) -> Result<Option<Taken>, QueueError> {
        Ok(self.poll_many(1).await?.pop())
    }

    /// Takes up to `max` items that nobody holds now, in their order; at most 128 at a time.
    pub async fn poll_many(&self, max: usize) -> Result<Vec<Taken>, QueueError> {
        let lease = |names| lease::take(&self.shared, names);
        self.first_free(max.min(BATCH_MAX), lease).await
    }

    /// Gives the first `max` items that nobody holds now to `take`, which takes all of them or none.
    async fn first_free<T, F>(
        &self,
        max: usize,
        take: impl Fn(Arc<[String]>) -> F,
    ) -> Result<Vec<T>, QueueError>
    where
        F: Future<Output = Result<Vec<T>, TakeError>>,
    {
        let q = &self.shared;
        let mut listing = q.listing.lock().await;
        loop {
            listing.refresh(q).await.map_err(|e| q.zk(e))?;
            let names: Arc<[String]> = listing.first(max).into();
            if names.is_empty() {
                return Ok(Vec::new());
            }
            match take(Arc::clone(&names)).await {
                Ok(taken) => {
                    listing.forget(&names);
                    return Ok(taken);
                }
                // Whoever makes the queue makes it node by node.
                Err(TakeError::Zk(ZkError::NoNode)) => {
                    let made = q.session.ensure_path(&q.taken).await;
                    made.map_err(|e| q.zk(e))?;
                }
                Err(TakeError::NotFree(names)) => listing.forget(&names),
                Err(TakeError::Changed) => {}
                Err(TakeError::Burdened(name)) => {
                    self.unburden(&name).await?;
                    // It comes back with the lease.
                    listing.forget(&[name]);
                }
                Err(TakeError::Unknown) => {
                    listing.forget_all();
                    let path = q.path.clone();
                    return Err(QueueError::Unknown { path });
                }
                Err(TakeError::Zk(e)) => return Err(q.zk(e)),
            }
        }
    }

    /// Removes what somebody has put below an item; under a lease, so that it is not taken from a holder.
    async fn unburden(&self, name: &str) -> Result<(), QueueError> {
        let q = &self.shared;
        match lease::take(q, Arc::new([name.to_owned()])).await {
            // The lease goes in the background when it is dropped.
            Ok(_leased) => ack::clear(q, name).await.map_err(|e| q.zk(e)),
            Err(TakeError::Zk(e)) => Err(q.zk(e)),
            Err(_) => Ok(()),
        }
    }

    /// Waits for an item that nobody holds; `None` when the time is over. A `timeout` of `None`: however
    /// long it takes.
    pub async fn take(&self, timeout: Option<Duration>) -> Result<Option<Taken>, QueueError> {
        Ok(self.take_many(1, timeout).await?.pop())
    }

    /// Waits until there is an item, then takes up to `max`, at most 128; empty when the time is over. A
    /// `timeout` of `None`: however long it takes.
    ///
    /// Goes on waiting while ZooKeeper is away and under the next session. Dropping the future gives
    /// back what it may just have taken.
    pub async fn take_many(
        &self,
        max: usize,
        timeout: Option<Duration>,
    ) -> Result<Vec<Taken>, QueueError> {
        self.wait(max, timeout, || self.poll_many(max)).await
    }

    /// Waits for an item that nobody holds and takes it out of the queue for good; `None` when the time is
    /// over. A `timeout` of `None`: however long it takes.
    ///
    /// At most once: a consumer that dies has lost the item. With [`QueueError::Unknown`], or when the future
    /// is dropped, it may be lost, too: give a `timeout` rather than drop it. In return it is one write instead
    /// of [`take`](Self::take)'s and [`ack`](Taken::ack)'s two. Nodes that somebody has put below an item go.
    pub async fn pop(&self, timeout: Option<Duration>) -> Result<Option<Vec<u8>>, QueueError> {
        Ok(self.pop_many(1, timeout).await?.pop())
    }

    /// As [`pop`](Self::pop), up to `max` items that are there, at most 64, all in one write.
    pub async fn pop_many(
        &self,
        max: usize,
        timeout: Option<Duration>,
    ) -> Result<Vec<Vec<u8>>, QueueError> {
        let pop = |names| pop::pop(&self.shared, names);
        let max = max.min(BATCH_MAX / 2);
        self.wait(max, timeout, || self.first_free(max, pop)).await
    }

    /// Polls until something comes, or the time is over; at once if nothing is wanted.
    async fn wait<T, F>(
        &self,
        max: usize,
        timeout: Option<Duration>,
        poll: impl Fn() -> F,
    ) -> Result<Vec<T>, QueueError>
    where
        F: Future<Output = Result<Vec<T>, QueueError>>,
    {
        let q = &self.shared;
        let patience = Patience::new(timeout);
        if max == 0 {
            return Ok(Vec::new());
        }
        loop {
            match poll().await {
                Ok(taken) if taken.is_empty() => {}
                Err(QueueError::Zk { source, .. }) if source.is_transient() => {
                    if patience.of(until_connected(&q.session)).await.is_none() {
                        return Ok(Vec::new());
                    }
                    continue;
                }
                done => return done,
            }
            let changed = q.listing.lock().await.changed();
            if patience.of(changed).await.is_none() {
                return Ok(Vec::new());
            }
        }
    }
}

#[cfg(test)]
mod tests;
