//! The one task behind all groups: wakes them, ends their waits for replication, loads
//! partitions, and has old offsets removed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use nyala_client::wire::batch::Batches;
use nyala_coordinator::clock;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Groups;
use super::commit::Pending;
use crate::groups::event::{Event, WriteId};
use crate::groups::log::{LoadError, Replicated, WriteError};
use crate::groups::replay::{Replay, Replayed};
use crate::groups::shard::{Cell, Shard, Status};
use crate::groups::state::Group;

/// A partition that could not be read is tried again after this long.
const LOAD_RETRY: Duration = Duration::from_secs(1);

/// Pause between two looks at a partition whose records are not replicated yet.
const SETTLE_RETRY: Duration = Duration::from_millis(100);

/// At most so many partitions are read at once: each takes a buffer and a thread.
const LOADS_MAX: usize = 2;

/// What the operations leave to the task.
pub(super) enum Work {
    /// Read a partition as soon as all that is in it is replicated.
    Load(Arc<Shard>),
    /// Read it now.
    Read(Arc<Shard>),
    /// A group's record is in the log: tell the group when it is replicated.
    Group(Arc<Cell>, WriteId, Replicated),
    /// Offsets are in the log: note them and tell the request when they are replicated.
    Offsets(
        Arc<Cell>,
        Pending,
        Replicated,
        oneshot::Sender<Result<(), WriteError>>,
    ),
}

type Waiting = FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// The task: run it once, until shutdown.
#[derive(Debug)]
pub(crate) struct Background {
    groups: Arc<Groups>,
    inbox: mpsc::UnboundedReceiver<Work>,
}

impl Background {
    pub(super) fn new(groups: Arc<Groups>, inbox: mpsc::UnboundedReceiver<Work>) -> Self {
        Self { groups, inbox }
    }

    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut waiting: Waiting = FuturesUnordered::new();
        let mut loads = JoinSet::new();
        let mut queue: Vec<Arc<Shard>> = Vec::new();
        let mut expiries = JoinSet::new();
        let mut retention = tokio::time::interval(self.groups.settings.retention_check);
        retention.set_missed_tick_behavior(MissedTickBehavior::Delay);
        retention.reset();
        loop {
            while loads.len() < LOADS_MAX
                && let Some(shard) = queue.pop()
            {
                let groups = Arc::clone(&self.groups);
                loads.spawn_blocking(move || groups.load(shard));
            }
            let alarm = self.groups.alarm_time();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(work) = self.inbox.recv() => match work {
                    Work::Read(shard) => queue.push(shard),
                    other => waiting.push(self.groups.wait_for(other)),
                },
                Some(()) = waiting.next() => {}
                Some(loaded) = loads.join_next() => {
                    if let Ok(Some(shard)) = loaded {
                        waiting.push(self.groups.retry_load(shard));
                    }
                }
                () = self.groups.alarms.earlier() => {}
                () = sleep_until(alarm) => self.groups.wake_due(),
                Some(_) = expiries.join_next() => {}
                _ = retention.tick() => if expiries.is_empty() {
                    let groups = Arc::clone(&self.groups);
                    expiries.spawn_blocking(move || groups.expire_offsets(clock::wall_ms()));
                },
            }
        }
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Groups {
    fn alarm_time(&self) -> Option<Instant> {
        self.alarms
            .next()
            .map(|ms| self.started + Duration::from_millis(ms))
    }

    fn wake_due(&self) {
        for (at, cell) in self.alarms.take_due(self.now().ticks_ms) {
            let Some(cell) = cell.upgrade() else { continue };
            let mut inner = cell.inner.lock();
            // Otherwise the group has asked for an earlier time since, and was woken then.
            if inner.alarm == Some(at) {
                inner.alarm = None;
                self.apply(&cell, &mut inner, Event::Tick);
                if inner.group.generation() == 0 {
                    self.drop_if_vacant(&cell, &mut inner);
                }
            }
        }
    }

    fn wait_for(self: &Arc<Self>, work: Work) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let groups = Arc::clone(self);
        Box::pin(async move {
            match work {
                Work::Load(shard) => groups.settle(shard).await,
                Work::Read(_) => {}
                Work::Group(cell, write, replicated) => {
                    let result = replicated.await.map_err(WriteError::of_group);
                    let mut inner = cell.inner.lock();
                    groups.apply(&cell, &mut inner, Event::Persisted(write, result));
                }
                Work::Offsets(cell, pending, replicated, sender) => {
                    let result = replicated.await;
                    Self::offsets_replicated(&cell, pending, result);
                    let _ = sender.send(result);
                }
            }
        })
    }

    fn retry_load(self: &Arc<Self>, shard: Arc<Shard>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let groups = Arc::clone(self);
        Box::pin(async move {
            tokio::time::sleep(LOAD_RETRY).await;
            groups.send(Work::Load(shard));
        })
    }

    /// Has the partition read once its records are replicated; meanwhile members hear that it loads.
    async fn settle(&self, shard: Arc<Shard>) {
        while !self.is_closed(&shard) {
            let replicated = match self.log.settled(shard.led()) {
                Ok(None) => true,
                Ok(Some(pending)) => pending.await.is_ok(),
                Err(_) => false,
            };
            if replicated {
                return self.send(Work::Read(shard));
            }
            // Replicas may be slow, or this broker leads no more: then the shard is closed soon.
            tokio::time::sleep(SETTLE_RETRY).await;
        }
    }

    /// Reads a partition and puts its groups in place; gives the shard back to try again.
    fn load(self: &Arc<Self>, shard: Arc<Shard>) -> Option<Arc<Shard>> {
        let partition = shard.led().partition;
        let begun = Instant::now();
        match self.replay(&shard) {
            Ok(Some(replay)) => {
                let (groups, skipped) = replay.finish();
                let count = groups.len();
                self.install(&shard, groups.into_iter());
                let took_ms = begun.elapsed().as_millis();
                tracing::info!(partition, groups = count, skipped, took_ms, "groups loaded");
                None
            }
            Ok(None) | Err(LoadError::NotLeader) if self.is_closed(&shard) => None,
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(partition, %error, "groups not loaded, trying again");
                Some(shard)
            }
        }
    }

    /// `None` if the partition was given up meanwhile.
    fn replay(&self, shard: &Shard) -> Result<Option<Replay>, LoadError> {
        let led = shard.led();
        let partition = led.partition;
        let mut replay = Replay::default();
        let mut offset = self.log.start(led)?;
        loop {
            if self.is_closed(shard) {
                return Ok(None);
            }
            let bytes = self.log.read(led, offset, self.settings.load_bytes)?;
            let before = offset;
            for batch in Batches::new(&bytes) {
                let batch = batch.map_err(|error| LoadError::Read(error.to_string()))?;
                if let Err(error) = replay.batch(&batch) {
                    let base_offset = batch.base_offset();
                    tracing::warn!(partition, base_offset, %error, "unreadable group records");
                }
                offset = offset.max(batch.next_offset());
            }
            if offset == before {
                return Ok(Some(replay));
            }
        }
    }

    fn is_closed(&self, shard: &Shard) -> bool {
        shard.state.lock().status == Status::Closed
    }

    fn install(&self, shard: &Shard, groups: impl Iterator<Item = (String, Replayed)>) {
        let now = self.now();
        let mut cells = Vec::new();
        for (id, replayed) in groups {
            let rules = self.settings.rules;
            let group = match replayed.group {
                Some(record) => Group::load(record, rules, now),
                None => Group::new(rules, now),
            };
            let cell = shard.cell(id.into(), group, replayed.offsets);
            self.set_alarm(&cell, &mut cell.inner.lock());
            cells.push(cell);
        }
        let mut state = shard.state.lock();
        if state.status == Status::Loading {
            state.status = Status::Active;
            state.cells = cells.into_iter().map(|c| (Arc::clone(&c.id), c)).collect();
        }
    }
}
