//! All groups of this broker: finds the group, locks it, applies the event, carries the effects
//! out. `driver/` holds the operations: membership, commits, administration, and the background
//! task that wakes groups, loads partitions and ends the waits for replication.
//!
//! A group's changes go into the log under the group's lock. Nobody is answered before the
//! record is replicated, but the lock is not held meanwhile.

mod admin;
mod background;
mod commit;
mod follow;
mod membership;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use nyala_client::wire::EncodeError;
use nyala_client::wire::batch::{BatchBuilder, BatchError, BatchOptions};
use nyala_coordinator::clock;
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) use admin::{FetchedOffset, Overview};
pub(crate) use background::Background;
pub(crate) use commit::{Commit, NewOffset};
pub(crate) use membership::{JoinRequest, shares};

use self::background::Work;
use super::alarm::Alarms;
use super::error::GroupError;
use super::event::{Effect, Event, Now, WriteId};
use super::log::{Led, OffsetsLog, WriteError, Written};
use super::offsets::{Offsets, Place};
use super::partition_log::PartitionLog;
use super::records::{GroupRecord, group_key, offset_key};
use super::settings::GroupSettings;
use super::shard::{Cell, Inner, Shard, Status};
use super::state::Group;
use crate::config::Settings;
use crate::replication::{Acks, Table};

/// Tombstones go into the log in batches of about this size, so that they always fit.
const TOMBSTONES_BYTES: usize = 256 * 1024;

/// Longest string of a record: lengths take two bytes.
const STRING_BYTES_MAX: usize = 32_767;

/// The groups whose partitions this broker leads. One a broker, shared by all connections.
#[derive(Debug)]
pub(crate) struct Groups {
    settings: GroupSettings,
    log: Arc<dyn OffsetsLog>,
    shards: RwLock<HashMap<i32, Arc<Shard>>>,
    partitions: AtomicI32,
    /// Members of all groups that were told to come back with an id.
    pending: AtomicUsize,
    alarms: Alarms,
    work: mpsc::UnboundedSender<Work>,
    started: Instant,
}

impl Groups {
    /// No groups yet; the task has to run for the groups to come to life.
    pub(crate) fn new(
        settings: GroupSettings,
        log: Arc<dyn OffsetsLog>,
    ) -> (Arc<Self>, Background) {
        // Bounded by its senders: one for each request in flight and each partition.
        let (work, inbox) = mpsc::unbounded_channel();
        let groups = Arc::new(Self {
            partitions: AtomicI32::new(settings.offsets_partitions),
            settings,
            log,
            shards: RwLock::default(),
            pending: AtomicUsize::new(0),
            alarms: Alarms::default(),
            work,
            started: Instant::now(),
        });
        let background = Background::new(Arc::clone(&groups), inbox);
        (groups, background)
    }

    /// The groups in the partitions of `table`, by the broker's settings.
    pub(crate) fn open(settings: &Settings, table: Arc<Table>) -> (Arc<Self>, Background) {
        let timeout = u64::try_from(settings.offsets_commit_timeout_ms).unwrap_or(0);
        let acks = match settings.offsets_commit_required_acks {
            -1 => Acks::All,
            0 => Acks::None,
            _ => Acks::Leader,
        };
        let log = PartitionLog::new(table, acks, Duration::from_millis(timeout));
        Self::new(GroupSettings::of(settings), Arc::new(log))
    }

    /// Leads no partition and never will: for tests of what has nothing to do with groups.
    #[cfg(test)]
    pub(crate) fn leading_nothing() -> Arc<Self> {
        let log = super::log::memory::MemoryLog::new();
        Self::new(tests::settings(), Arc::new(log)).0
    }

    /// Gives up every partition: everyone who waits is answered. For shutdown.
    pub(crate) fn close(&self) {
        let led: Vec<i32> = self.shards.read().keys().copied().collect();
        for partition in led {
            self.on_resign(partition);
        }
    }

    /// How many partitions `__consumer_offsets` has: fixed when the topic is created.
    pub(crate) fn set_partition_count(&self, count: i32) {
        self.partitions.store(count.max(1), Ordering::Release);
    }

    /// Partition of `__consumer_offsets` that holds the group.
    pub(crate) fn partition_for(&self, group: &str) -> i32 {
        partition_of(group, self.partitions.load(Ordering::Acquire))
    }

    /// This broker leads a partition of `__consumer_offsets`: reads it, and answers that it
    /// loads until that is done. If it led before, but not in the epoch just before this one, another broker
    /// may have led in between, so the partition is read anew.
    pub(crate) fn on_lead(&self, partition: i32, epoch: i32) {
        let led = Led { partition, epoch };
        let before = self.shards.read().get(&partition).cloned();
        if before.is_some_and(|shard| shard.led() == led || shard.leads_on(epoch)) {
            return;
        }
        self.on_resign(partition);
        let shard = Arc::new(Shard::new(led));
        self.shards.write().insert(partition, Arc::clone(&shard));
        self.send(Work::Load(shard));
    }

    /// This broker leads the partition no more: drops its groups, tells everyone who waits.
    pub(crate) fn on_resign(&self, partition: i32) {
        let Some(shard) = self.shards.write().remove(&partition) else {
            return;
        };
        let cells = {
            let mut state = shard.state.lock();
            state.status = Status::Closed;
            std::mem::take(&mut state.cells)
        };
        tracing::info!(partition, groups = cells.len(), "no longer leading groups");
        for cell in cells.values() {
            self.apply(cell, &mut cell.inner.lock(), Event::Unload);
        }
    }

    /// Whether requests about the group are answered here, or will be once it is loaded.
    pub(crate) fn coordinates(&self, group: &str) -> bool {
        self.shard(group, EmptyId::Taken).is_ok()
    }

    /// The group, if there is one. Some operations take the empty id, for old clients' sake.
    fn find(&self, group: &str, empty_id: EmptyId) -> Result<Option<Arc<Cell>>, GroupError> {
        let shard = self.shard(group, empty_id)?;
        let state = shard.state.lock();
        match state.status {
            Status::Loading => Err(GroupError::CoordinatorLoadInProgress),
            Status::Closed => Err(GroupError::NotCoordinator),
            Status::Active => Ok(state.cells.get(group).cloned()),
        }
    }

    /// The group, new if there was none.
    fn find_or_create(&self, group: &str, empty_id: EmptyId) -> Result<Arc<Cell>, GroupError> {
        let shard = self.shard(group, empty_id)?;
        let mut state = shard.state.lock();
        match state.status {
            Status::Loading => return Err(GroupError::CoordinatorLoadInProgress),
            Status::Closed => return Err(GroupError::NotCoordinator),
            Status::Active => {}
        }
        if let Some(cell) = state.cells.get(group) {
            return Ok(Arc::clone(cell));
        }
        let id: Arc<str> = group.into();
        let empty = Group::new(self.settings.rules, self.now());
        let cell = shard.cell(Arc::clone(&id), empty, Offsets::default());
        state.cells.insert(id, Arc::clone(&cell));
        Ok(cell)
    }

    fn shard(&self, group: &str, empty_id: EmptyId) -> Result<Arc<Shard>, GroupError> {
        if group.len() > STRING_BYTES_MAX || (group.is_empty() && empty_id == EmptyId::Refused) {
            return Err(GroupError::InvalidGroupId);
        }
        let shards = self.shards.read();
        let shard = shards.get(&self.partition_for(group));
        // The partition knows first that another broker leads it: nothing is said in its name.
        let shard = shard.filter(|s| self.log.leads(s.led())).cloned();
        shard.ok_or(GroupError::NotCoordinator)
    }

    fn now(&self) -> Now {
        let ticks = self.started.elapsed().as_millis();
        Now {
            ticks_ms: u64::try_from(ticks).unwrap_or(u64::MAX),
            wall_ms: clock::wall_ms(),
        }
    }

    /// Applies an event to a group that is locked, and all that follows from it.
    fn apply(&self, cell: &Arc<Cell>, inner: &mut Inner, event: Event) {
        let now = self.now();
        let (before, pending) = (inner.group.state(), inner.group.pending_members());
        let mut effects = VecDeque::from(inner.group.apply(event, now));
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Persist(write, record) => {
                    if let Some(result) = self.persist(cell, write, &record) {
                        let event = Event::Persisted(write, result);
                        effects.extend(inner.group.apply(event, now));
                    }
                }
                answer => inner.answer(answer),
            }
        }
        self.count_pending(pending, inner.group.pending_members());
        let (group, after) = (&*cell.id, inner.group.state());
        if after != before {
            let generation = inner.group.generation();
            let (before, after) = (before.name(), after.name());
            tracing::debug!(
                group,
                generation,
                before,
                after,
                "the group's state changed"
            );
        }
        self.set_alarm(cell, inner);
    }

    /// `None`: the outcome comes later, through the background task.
    fn persist(
        &self,
        cell: &Arc<Cell>,
        write: WriteId,
        record: &GroupRecord,
    ) -> Option<Result<(), GroupError>> {
        let records = group_key(&cell.id).and_then(|key| Ok([(key, Some(record.encode()?))]));
        let written = records
            .map_err(unwritable)
            .and_then(|records| self.write(cell, &records));
        match written.map(|w| w.pending) {
            Ok(None) => Some(Ok(())),
            Ok(Some(replicated)) => {
                let cell = Arc::clone(cell);
                self.send(Work::Group(cell, write, replicated));
                None
            }
            Err(error) => {
                tracing::warn!(group = &*cell.id, %error, "a group's record was not stored");
                Some(Err(error.of_group()))
            }
        }
    }

    /// Appends one batch to the group's partition.
    fn write(
        &self,
        cell: &Cell,
        records: &[(Bytes, Option<Bytes>)],
    ) -> Result<Written, WriteError> {
        let now_ms = clock::wall_ms();
        let mut batch = BatchBuilder::new(BatchOptions {
            codec: self.settings.codec,
            ..BatchOptions::default()
        });
        for (key, value) in records {
            let appended = batch.append(now_ms, Some(key), value.as_deref(), &[]);
            appended.map_err(unbuildable)?;
        }
        let batch = batch.build().map_err(unbuildable)?;
        self.log.append(cell.led(), &batch, now_ms)
    }

    /// Writes the removal of offsets, and of the group itself. Nobody waits for replication: if
    /// it is lost, the next round of expiry writes it again.
    fn write_tombstones(
        &self,
        cell: &Cell,
        places: &[Place],
        and_group: bool,
    ) -> Result<(), WriteError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        for (topic, partition) in places {
            let key = offset_key(&cell.id, topic.as_str(), *partition).map_err(unwritable)?;
            bytes += BatchBuilder::record_size_max(Some(&key), None, &[]);
            records.push((key, None));
            if bytes >= TOMBSTONES_BYTES {
                self.write(cell, &records)?;
                records.clear();
                bytes = 0;
            }
        }
        if and_group {
            records.push((group_key(&cell.id).map_err(unwritable)?, None));
        }
        if !records.is_empty() {
            self.write(cell, &records)?;
        }
        Ok(())
    }

    /// Removes a group that has neither members nor offsets left.
    fn drop_if_vacant(&self, cell: &Arc<Cell>, inner: &mut Inner) {
        if !inner.group.is_vacant() || !inner.offsets.is_empty() {
            return;
        }
        // A group that never had a generation was never written.
        let written = inner.group.generation() > 0;
        if written && self.write_tombstones(cell, &[], true).is_err() {
            return;
        }
        if inner.group.delete().is_ok() {
            self.forget(cell);
        }
    }

    fn count_pending(&self, before: usize, after: usize) {
        if after > before {
            self.pending.fetch_add(after - before, Ordering::Relaxed);
        } else if after < before {
            self.pending.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    fn forget(&self, cell: &Arc<Cell>) {
        if let Some(shard) = self.shards.read().get(&cell.led().partition) {
            shard.forget(cell);
        }
    }

    fn set_alarm(&self, cell: &Arc<Cell>, inner: &mut Inner) {
        if let Some(deadline) = inner.group.next_deadline()
            && inner.alarm.is_none_or(|alarm| deadline < alarm)
        {
            inner.alarm = Some(deadline);
            self.alarms.set(deadline, Arc::downgrade(cell));
        }
    }

    fn send(&self, work: Work) {
        // Without the task the broker is shutting down, and nobody waits for the outcome.
        drop(self.work.send(work));
    }
}

/// Whether an operation takes the empty group id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EmptyId {
    Refused,
    Taken,
}

/// Java's `Math.abs(group.hashCode()) % count`, with 0 for the one value that has no opposite.
fn partition_of(group: &str, count: i32) -> i32 {
    let next = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let hash = group.encode_utf16().fold(0_i32, next);
    hash.checked_abs().unwrap_or(0) % count.max(1)
}

fn unwritable(_: EncodeError) -> WriteError {
    WriteError::Unwritable
}

fn unbuildable(_: BatchError) -> WriteError {
    WriteError::Unwritable
}

#[cfg(test)]
mod tests;
