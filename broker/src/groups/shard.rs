//! The groups of one partition of `__consumer_offsets`, and the lock around each of them.
//!
//! Lock order: a group's lock, then the shard's; never two groups' locks at once. Appending to
//! the partition happens under the group's lock, so that the log has the order of the changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::error::GroupError;
use super::event::{Effect, JoinRefused, Joined, Synced};
use super::log::Led;
use super::member::RequestId;
use super::offsets::Offsets;
use super::state::Group;

/// One partition that this broker leads.
#[derive(Debug)]
pub(super) struct Shard {
    /// Shared with its groups.
    lead: Arc<Lead>,
    pub(super) state: Mutex<ShardState>,
}

/// A partition, and the epoch in which this broker leads it now.
#[derive(Debug)]
pub(super) struct Lead {
    partition: i32,
    epoch: AtomicI32,
}

#[derive(Debug)]
pub(super) struct ShardState {
    pub(super) status: Status,
    pub(super) cells: HashMap<Arc<str>, Arc<Cell>>,
}

/// Whether the groups can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// The partition is being read.
    Loading,
    /// All groups are there.
    Active,
    /// Another broker leads.
    Closed,
}

/// One group, behind its lock.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) id: Arc<str>,
    lead: Arc<Lead>,
    pub(super) inner: Mutex<Inner>,
}

/// What the lock protects.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) group: Group,
    pub(super) offsets: Offsets,
    /// When the group will be woken.
    pub(super) alarm: Option<u64>,
    waiting: HashMap<RequestId, Waiter>,
    next_request: u64,
}

/// Who waits for the answer to a request.
#[derive(Debug)]
pub(super) enum Waiter {
    Join(oneshot::Sender<Result<Joined, JoinRefused>>),
    Sync(oneshot::Sender<Result<Synced, GroupError>>),
    Leave(oneshot::Sender<Vec<Result<(), GroupError>>>),
}

impl Shard {
    pub(super) fn new(led: Led) -> Self {
        Self {
            lead: Arc::new(Lead {
                partition: led.partition,
                epoch: AtomicI32::new(led.epoch),
            }),
            state: Mutex::new(ShardState {
                status: Status::Loading,
                cells: HashMap::new(),
            }),
        }
    }

    /// Partition and epoch, now.
    pub(super) fn led(&self) -> Led {
        self.lead.now()
    }

    /// This broker leads on in the epoch that follows the one before, so nobody else has led in between: groups that
    /// are there stay as they are. Whether that is so here; otherwise the partition is to be read.
    pub(super) fn leads_on(&self, epoch: i32) -> bool {
        let state = self.state.lock();
        let follows = self.led().epoch.checked_add(1) == Some(epoch);
        let leads_on = follows && state.status == Status::Active;
        if leads_on {
            self.lead.epoch.store(epoch, Ordering::Release);
        }
        leads_on
    }

    /// A group of this partition.
    pub(super) fn cell(&self, id: Arc<str>, group: Group, offsets: Offsets) -> Arc<Cell> {
        Arc::new(Cell {
            id,
            lead: Arc::clone(&self.lead),
            inner: Mutex::new(Inner {
                group,
                offsets,
                alarm: None,
                waiting: HashMap::new(),
                next_request: 0,
            }),
        })
    }

    /// Takes a group that is dead out of the table.
    pub(super) fn forget(&self, cell: &Arc<Cell>) {
        let mut state = self.state.lock();
        if state
            .cells
            .get(&cell.id)
            .is_some_and(|c| Arc::ptr_eq(c, cell))
        {
            state.cells.remove(&cell.id);
        }
    }

    /// All groups, if they are loaded.
    pub(super) fn cells(&self) -> Vec<Arc<Cell>> {
        self.state.lock().cells.values().cloned().collect()
    }
}

impl Cell {
    /// Partition and epoch, now.
    pub(super) fn led(&self) -> Led {
        self.lead.now()
    }
}

impl Lead {
    fn now(&self) -> Led {
        Led {
            partition: self.partition,
            epoch: self.epoch.load(Ordering::Acquire),
        }
    }
}

impl Inner {
    /// Names a request whose answer goes to `waiter`.
    pub(super) fn request(&mut self, waiter: Waiter) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.waiting.insert(id, waiter);
        id
    }

    /// Hands an answer to the one who waits for it, if that one is still there.
    pub(super) fn answer(&mut self, effect: Effect) {
        match effect {
            Effect::Joined(request, answer) => {
                if let Some(Waiter::Join(sender)) = self.waiting.remove(&request) {
                    drop(sender.send(answer));
                }
            }
            Effect::Synced(request, answer) => {
                if let Some(Waiter::Sync(sender)) = self.waiting.remove(&request) {
                    drop(sender.send(answer));
                }
            }
            Effect::Left(request, answer) => {
                if let Some(Waiter::Leave(sender)) = self.waiting.remove(&request) {
                    drop(sender.send(answer));
                }
            }
            Effect::Persist(..) => debug_assert!(false, "the driver persists"),
        }
    }
}
