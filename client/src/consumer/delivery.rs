//! What is fetched and not yet handed out, and what is handed out and not yet handled.
//!
//! The one place where the three tasks of a consumer meet: the fetcher fills, the application
//! takes, the group's driver gives and takes away partitions. A record counts as *handled* once the
//! application asks for more. Per partition:
//!
//! ```text
//!   committed <= handled <= delivered <= (offset of what waits) <= fetch_offset
//! ```
//! Every assignment of a partition has its own number, so that nothing fetched or committed for an
//! earlier one is taken for the present one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use nyala_coordinator::clock;
use nyala_coordinator::ids::TopicPartition;
use nyala_coordinator::session::{Session, SessionState};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::rebalance::FencingToken;
use super::record::{ConsumerRecord, Cursor};
use crate::error::ConsumerError;
pub(crate) use progress::Progress;

/// Errors that wait for the application; the oldest go first.
const ERRORS_MAX: usize = 16;
/// A partition whose bytes did not decode is fetched again after this.
const CORRUPT_PAUSE: Duration = Duration::from_secs(1);

/// Number of one assignment of a partition to this consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AssignmentId(u64);

/// By what a member of a ZooKeeper group holds a partition, and may commit its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) token: FencingToken,
    /// Number of the fence in `offsets.rs`: what belongs to an earlier one is not written any more.
    pub(crate) fence: u64,
}

/// One partition that this consumer reads.
#[derive(Debug)]
struct Share {
    id: AssignmentId,
    claim: Option<Claim>,
    fetch_offset: i64,
    /// Leader epoch of the last batch that was fetched, or -1.
    fetch_epoch: i32,
    /// Fetched bytes with their size as fetched.
    waiting: VecDeque<(Cursor, usize)>,
    waiting_bytes: usize,
    /// Offset after the last record that was taken out of `waiting`.
    delivered: i64,
    /// Leader epoch of its batch, or -1.
    delivered_epoch: i32,
    handled: i64,
    committed: i64,
    resume_at: Option<Instant>,
    /// Nothing more is handed out.
    leaving: bool,
    /// Somebody waits for the application to let go.
    left: Option<oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
struct State {
    shares: BTreeMap<TopicPartition, Share>,
    /// Shares in doubt.
    parked: BTreeMap<TopicPartition, Share>,
    /// What was handed out of these was not committed, and is another's by now.
    lost: BTreeSet<TopicPartition>,
    errors: VecDeque<ConsumerError>,
    next_id: u64,
    /// Partition that was served last: the next one goes first.
    served: Option<TopicPartition>,
    last_poll: Option<Instant>,
    /// The session that the shares were claimed under.
    generation: u64,
    closed: bool,
}

/// Shared by the consumer's handle, its fetcher and its driver. The lock is short: never held
/// across an await.
#[derive(Debug)]
pub(crate) struct Delivery {
    state: Mutex<State>,
    /// What the partitions are held by, in a ZooKeeper group.
    session: Option<Session>,
    /// Most bytes that wait, over all partitions.
    waiting_bytes_max: usize,
    /// Something to hand out has arrived.
    pub(crate) arrived: Notify,
    /// There is room, or something new, to fetch.
    pub(crate) hungry: Notify,
}

/// A partition to be fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) target: TopicPartition,
    pub(crate) id: AssignmentId,
    pub(crate) offset: i64,
    /// Leader epoch of the batch before `offset`, or -1: a leader that knows better says so.
    pub(crate) last_epoch: i32,
}

/// What was fetched for a need: whole batches.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) batches: Bytes,
    /// Offset after the last of them.
    pub(crate) next_offset: i64,
    /// Leader epoch of the last of them.
    pub(crate) epoch: i32,
}

impl Delivery {
    pub(crate) fn new(waiting_bytes_max: usize, session: Option<Session>) -> Self {
        Self {
            state: Mutex::new(State::default()),
            session,
            waiting_bytes_max,
            arrived: Notify::new(),
            hungry: Notify::new(),
        }
    }

    /// From here on shares are claimed under this session; there must be none left of another.
    pub(crate) fn set_generation(&self, generation: u64) {
        let mut state = self.state.lock();
        debug_assert!(state.generation == generation || state.shares.is_empty());
        state.generation = generation;
    }

    /// Whether what was claimed under `generation` is certainly still held. While the connection is
    /// away nothing is handed out, although the lease may hold: a session can be ended early, from
    /// the server's side. The lease is read first: once a later session has renewed it, the state
    /// cannot be that of this one any more.
    fn holds(&self, generation: u64) -> bool {
        let Some(session) = &self.session else {
            return true;
        };
        let lease = session.lease().holds();
        let state = session.state();
        lease
            && matches!(state, SessionState::Connected { generation: now, .. } if now == generation)
    }

    /// Starts to read a partition at `offset`.
    pub(crate) fn assign(&self, target: TopicPartition, offset: i64, claim: Option<Claim>) {
        let mut state = self.state.lock();
        state.next_id += 1;
        let share = Share {
            id: AssignmentId(state.next_id),
            claim,
            fetch_offset: offset,
            fetch_epoch: -1,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            delivered: offset,
            delivered_epoch: -1,
            handled: offset,
            committed: offset,
            resume_at: None,
            leaving: false,
            left: None,
        };
        if let Some(parked) = state.parked.remove(&target)
            && parked.delivered > parked.committed
        {
            state.lost.insert(target.clone());
        }
        state.shares.insert(target, share);
        drop(state);
        self.hungry.notify_one();
    }

    /// Hands out nothing more of a partition; resolves once all that was handed out is handled.
    pub(crate) fn leave(&self, target: &TopicPartition) -> oneshot::Receiver<()> {
        let (left, gone) = oneshot::channel();
        let mut state = self.state.lock();
        if let Some(share) = state.held_mut(target) {
            share.leaving = true;
            share.waiting.clear();
            share.waiting_bytes = 0;
            // With nothing out the sender ends here, and that is the answer.
            share.left = Some(left).filter(|_| share.handled < share.delivered);
        }
        drop(state);
        self.hungry.notify_one();
        gone
    }

    /// Takes a partition away and says how far it was handled.
    pub(crate) fn remove(&self, target: &TopicPartition) -> Option<Progress> {
        let mut state = self.state.lock();
        let parked = state.parked.remove(target);
        let share = state.shares.remove(target).or(parked)?;
        if share.delivered > share.committed {
            state.lost.insert(target.clone());
        }
        drop(state);
        self.hungry.notify_one();
        share.progress(target)
    }

    /// Takes everything away.
    pub(crate) fn remove_all(&self) {
        let mut state = self.state.lock();
        state.shares.clear();
        state.parked.clear();
        state.lost.clear();
    }

    /// The partitions that are read now, with the offset of what comes next and the token.
    pub(crate) fn positions(&self) -> BTreeMap<TopicPartition, (i64, Option<FencingToken>)> {
        let state = self.state.lock();
        let all = state.shares.iter().filter(|(_, s)| !s.leaving);
        all.map(|(target, s)| (target.clone(), (s.delivered, s.claim.map(|c| c.token))))
            .collect()
    }

    /// When the application last asked for records, or was given some.
    pub(crate) fn last_poll(&self) -> Option<Instant> {
        self.state.lock().last_poll
    }

    /// What to fetch, if there is room.
    pub(crate) fn needs(&self) -> Vec<Need> {
        let state = self.state.lock();
        let waiting: usize = state.shares.values().map(|s| s.waiting_bytes).sum();
        if waiting >= self.waiting_bytes_max {
            return Vec::new();
        }
        let each = self.waiting_bytes_max / state.shares.len().max(1);
        let now = clock::now();
        let hungry = |s: &Share| {
            !s.leaving && s.waiting_bytes <= each / 2 && s.resume_at.is_none_or(|at| now >= at)
        };
        let all = state.shares.iter().filter(|(_, s)| hungry(s));
        all.map(|(target, s)| Need {
            target: target.clone(),
            id: s.id,
            offset: s.fetch_offset,
            last_epoch: s.fetch_epoch,
        })
        .collect()
    }

    /// Takes in what was fetched for `need`; the next fetch goes on behind it.
    pub(crate) fn push(&self, need: &Need, fetched: Fetched) {
        let mut state = self.state.lock();
        let Some(share) = state.shares.get_mut(&need.target) else {
            return;
        };
        let same = share.id == need.id && share.fetch_offset == need.offset;
        if !same || share.leaving {
            return;
        }
        share.resume_at = None;
        share.fetch_offset = fetched.next_offset;
        share.fetch_epoch = fetched.epoch;
        let bytes = fetched.batches.len();
        share.waiting_bytes += bytes;
        share
            .waiting
            .push_back((Cursor::new(fetched.batches), bytes));
        drop(state);
        self.arrived.notify_one();
    }

    /// Goes on at `offset`, whatever was to come: the old place is out of range.
    pub(crate) fn reset(&self, need: &Need, offset: i64) {
        let mut state = self.state.lock();
        state.next_id += 1;
        let id = AssignmentId(state.next_id);
        if let Some(share) = state.shares.get_mut(&need.target)
            && share.id == need.id
            && share.fetch_offset == need.offset
        {
            share.go_to(id, offset);
        }
        drop(state);
        self.hungry.notify_one();
    }

    /// What was fetched from `end` on is not in the log any more (KIP-320): goes back to it, or
    /// stays where the application is if that is before.
    pub(crate) fn truncated(&self, need: &Need, end: i64) {
        let mut state = self.state.lock();
        if let Some(share) = state.shares.get_mut(&need.target)
            && share.id == need.id
            && share.fetch_offset == need.offset
        {
            // Asked about no epoch, or the leader would say the same again.
            share.rewind(share.delivered.min(end), -1);
            share.handled = share.handled.min(share.delivered);
            share.committed = share.committed.min(share.delivered);
        }
        drop(state);
        self.hungry.notify_one();
    }

    /// Waits with the next fetch for `need` until `pause` has passed.
    pub(crate) fn pause(&self, need: &Need, pause: Duration) {
        if let Some(share) = self.state.lock().shares.get_mut(&need.target) {
            share.resume_at = Some(clock::now() + pause);
        }
    }

    /// When the first paused partition is to be fetched again.
    pub(crate) fn next_resume(&self) -> Option<Instant> {
        let now = clock::now();
        let state = self.state.lock();
        let paused = state.shares.values().filter_map(|s| s.resume_at);
        paused.filter(|at| *at > now).min()
    }

    /// Tells the application of `error`, with its next call.
    pub(crate) fn report(&self, error: ConsumerError) {
        let mut state = self.state.lock();
        if state.errors.len() < ERRORS_MAX {
            state.errors.push_back(error);
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Up to `max` records of one partition, the partitions taking turns.
    pub(crate) fn take(&self, max: usize) -> Result<Vec<ConsumerRecord>, ConsumerError> {
        let mut records = Vec::new();
        let mut state = self.state.lock();
        if let Some(error) = state.errors.pop_front() {
            return Err(error);
        }
        if state.closed {
            return Err(ConsumerError::Closed);
        }
        let State {
            shares,
            served,
            generation,
            last_poll,
            ..
        } = &mut *state;
        if !self.holds(*generation) {
            return Ok(Vec::new());
        }
        let order: Vec<TopicPartition> = turns(shares, served.as_ref());
        for target in order {
            let Some(share) = shares.get_mut(&target) else {
                continue;
            };
            let (offset, epoch) = (share.delivered, share.delivered_epoch);
            let read = share.read(&target, max, &mut records);
            // Looked at last, after all decoding: a process that was paused must not hand out
            // what may be another's by now.
            if !self.holds(*generation) {
                share.rewind(offset, epoch);
                return Ok(Vec::new());
            }
            if let Err(error) = read {
                share.rewind(share.delivered, share.delivered_epoch);
                share.resume_at = Some(clock::now() + CORRUPT_PAUSE);
                *served = Some(target.clone());
                if records.is_empty() {
                    return Err(ConsumerError::Corrupt {
                        offset: share.delivered,
                        target,
                        error,
                    });
                }
            }
            if !records.is_empty() {
                // A call may have waited long for them.
                *last_poll = Some(clock::now());
                *served = Some(target);
                break;
            }
        }
        drop(state);
        self.hungry.notify_one();
        Ok(records)
    }

    /// Goes on at `offset`; what waits is dropped.
    pub(crate) fn seek(&self, target: &TopicPartition, offset: i64) -> bool {
        let mut state = self.state.lock();
        state.next_id += 1;
        let id = AssignmentId(state.next_id);
        let Some(share) = state.shares.get_mut(target) else {
            return false;
        };
        share.go_to(id, offset);
        drop(state);
        self.hungry.notify_one();
        true
    }

    /// Hands out nothing more, for good.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_one();
    }
}

impl State {
    /// One that this consumer reads, or that is in doubt.
    fn held_mut(&mut self, target: &TopicPartition) -> Option<&mut Share> {
        match self.shares.get_mut(target) {
            Some(share) => Some(share),
            None => self.parked.get_mut(target),
        }
    }
}

impl Share {
    fn read(
        &mut self,
        target: &TopicPartition,
        max: usize,
        into: &mut Vec<ConsumerRecord>,
    ) -> Result<(), crate::wire::batch::BatchError> {
        if self.leaving {
            return Ok(());
        }
        while into.len() < max
            && let Some((cursor, bytes)) = self.waiting.front_mut()
        {
            let room = max - into.len();
            let read = cursor.read(target, &mut self.delivered, room, into);
            self.delivered_epoch = cursor.epoch().unwrap_or(self.delivered_epoch);
            read?;
            if cursor.is_done() {
                self.waiting_bytes -= *bytes;
                self.waiting.pop_front();
            }
        }
        Ok(())
    }

    /// Goes on at `offset`; what was fetched or committed of before is not of this.
    fn go_to(&mut self, id: AssignmentId, offset: i64) {
        self.id = id;
        self.rewind(offset, -1);
        self.handled = offset;
        self.committed = self.committed.min(offset);
    }

    /// Goes back to `offset`, with nothing waiting. `epoch` is that of the batch before it: the next fetch finds by
    /// it whether the leader's log is another one by now (KIP-320).
    fn rewind(&mut self, offset: i64, epoch: i32) {
        self.delivered = offset;
        self.delivered_epoch = epoch;
        self.fetch_offset = offset;
        self.fetch_epoch = epoch;
        self.waiting.clear();
        self.waiting_bytes = 0;
    }
}

/// The partitions in the order of their turns: those after `served` first.
fn turns(
    shares: &BTreeMap<TopicPartition, Share>,
    served: Option<&TopicPartition>,
) -> Vec<TopicPartition> {
    let waiting = |(_, s): &(&TopicPartition, &Share)| !s.waiting.is_empty();
    let after = |(t, _): &(&TopicPartition, &Share)| served.is_none_or(|served| *t > served);
    let (next, wrapped): (Vec<_>, Vec<_>) = shares.iter().filter(waiting).partition(after);
    let order = next.into_iter().chain(wrapped);
    order.map(|(target, _)| target.clone()).collect()
}

mod parked;
mod progress;
#[cfg(test)]
mod tests;
