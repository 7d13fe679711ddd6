//! The groups of one partition of `__consumer_offsets`, and the lock around each of them.
//!
//! Lock order: a group's lock, then the shard's; never two groups' locks at once. Appending to
//! the partition happens under the group's lock, so that the log has the order of the changes.

use std::collections::HashMap;
use std::sync::Arc;

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
    /// Partition, and leader epoch in which it was loaded.
    pub(super) led: Led,
    pub(super) state: Mutex<ShardState>,
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
    pub(super) led: Led,
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
            led,
            state: Mutex::new(ShardState {
                status: Status::Loading,
                cells: HashMap::new(),
            }),
        }
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
    pub(super) fn new(id: Arc<str>, led: Led, group: Group, offsets: Offsets) -> Self {
        Self {
            id,
            led,
            inner: Mutex::new(Inner {
                group,
                offsets,
                alarm: None,
                waiting: HashMap::new(),
                next_request: 0,
            }),
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
