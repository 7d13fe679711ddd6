//! One partition: who leads it, its log, its high watermark, and who waits for it.
//!
//! The log's lock is the partition's lock: role and log change under it together, it is held for
//! the length of one append or read and never across an await. What else is kept of the role has a
//! lock of its own, taken behind the log's; an append to a partition without other replicas needs
//! only the first. `lead.rs` is the leader's way, `follow.rs` the follower's, `serve.rs` the reader's,
//! `acknowledge.rs` what an acknowledgement needs.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use nyala_coordinator::ids::{BrokerId, LeaderEpoch, TopicId, TopicPartition};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::{PartitionConfig, ReplicaSettings, TimestampType};
use super::error::AppendError;
use super::leadership::{Leadership, Moment, is_reassigned};
use super::state::{Applied, News, ReplicaState, Role, decide_news};
use super::terms::{Acks, Receipt};
use super::waits::Waits;
use crate::storage::{
    self, AppendAs, Appended, FenceMark, Log, Origin, Reservation, SharedLog, StorageError,
    Transactions, fence_marks,
};

mod acknowledge;
mod follow;
mod lead;
mod serve;

/// One partition of this broker. Shared by `Arc`; every method may be called from any thread.
///
/// `log_start ≤ last_stable ≤ high_watermark ≤ next_offset`.
#[derive(Debug)]
pub struct Partition {
    id: TopicPartition,
    topic_id: Option<TopicId>,
    log: SharedLog,
    /// Epoch in which this broker leads; [`NOT_LEADING`] otherwise. Changes under the log's lock.
    epoch: AtomicI32,
    /// It leads and is the only replica: what is appended is replicated.
    alone: AtomicBool,
    /// Sizes of the committed ISR and of the assignment while it leads.
    in_sync: AtomicUsize,
    replicas: AtomicUsize,
    /// Counts how often it stopped leading.
    resignations: AtomicUsize,
    /// Changes under the log's lock and its own.
    standing: Mutex<Standing>,
    config: ArcSwap<PartitionConfig>,
    settings: OnceLock<Arc<ReplicaSettings>>,
    /// Who waits for the high watermark, and who for the log's end; both for the role.
    waits: Waits,
    end_waits: Waits,
}

/// What this broker is to the partition, as of the facts that were applied last.
#[derive(Debug)]
struct Standing {
    role: Role,
    state: Option<Arc<ReplicaState>>,
    /// There is one exactly while the role is leader.
    lead: Option<Leadership>,
    /// What the operator was told of transactions in the log.
    told: Transactions,
}

const NOT_LEADING: i32 = -1;

impl Partition {
    /// A partition that nobody leads yet.
    #[must_use]
    pub fn new(
        id: TopicPartition,
        topic_id: Option<TopicId>,
        log: SharedLog,
        config: Arc<PartitionConfig>,
    ) -> Self {
        Self {
            id,
            topic_id,
            log,
            epoch: AtomicI32::new(NOT_LEADING),
            alone: AtomicBool::new(false),
            in_sync: AtomicUsize::new(0),
            replicas: AtomicUsize::new(0),
            resignations: AtomicUsize::new(0),
            standing: Mutex::new(Standing {
                role: Role::Idle,
                state: None,
                lead: None,
                told: Transactions::None,
            }),
            config: ArcSwap::new(config),
            settings: OnceLock::new(),
            waits: Waits::default(),
            end_waits: Waits::default(),
        }
    }

    /// Topic and index.
    #[must_use]
    pub fn id(&self) -> &TopicPartition {
        &self.id
    }

    /// Id of the topic.
    #[must_use]
    pub fn topic_id(&self) -> Option<TopicId> {
        self.topic_id
    }

    /// The log, under the partition's lock.
    #[must_use]
    pub fn log(&self) -> &SharedLog {
        &self.log
    }

    /// Current configuration.
    #[must_use]
    pub fn config(&self) -> arc_swap::Guard<Arc<PartitionConfig>> {
        self.config.load()
    }

    /// Changes the configuration.
    pub fn set_config(&self, config: Arc<PartitionConfig>) {
        self.config.store(config);
    }

    /// Epoch in which this broker leads, if it does.
    #[must_use]
    pub fn leading(&self) -> Option<LeaderEpoch> {
        let epoch = self.epoch.load(Ordering::Acquire);
        (epoch != NOT_LEADING).then_some(LeaderEpoch(epoch))
    }

    /// What this broker is to the partition.
    #[must_use]
    pub fn role(&self) -> Role {
        self.standing.lock().role
    }

    /// The facts that were applied last.
    #[must_use]
    pub fn state(&self) -> Option<Arc<ReplicaState>> {
        self.standing.lock().state.clone()
    }

    /// Leads from now on, in `epoch`, without other replicas.
    #[cfg(test)]
    pub(crate) fn lead(&self, epoch: LeaderEpoch) -> Result<(), StorageError> {
        let this = BrokerId(-1);
        self.apply(this, &ReplicaState::alone(this, epoch))?;
        Ok(())
    }

    /// Takes the place that `state` gives to broker `this`. Older facts than those applied before are
    /// ignored; after an error everything is as before. Touches the disk when it becomes leader.
    pub fn apply(&self, this: BrokerId, state: &ReplicaState) -> Result<Applied, StorageError> {
        let mut log = self.log.lock();
        let mut standing = self.standing.lock();
        let before = standing.state.clone();
        let known = before.as_deref();
        let idle = standing.role == Role::Idle;
        let news = match decide_news(known, state) {
            News::Same | News::Replicas if idle => News::Epoch,
            news => news,
        };
        // Of facts of the same epochs only the assignment may be news: who is in sync has an epoch.
        let state = &match (news, known) {
            (News::Same, Some(known)) => known.assigned_as(state),
            _ => state.clone(),
        };
        let applied = match news {
            News::Stale => return Ok(Applied::Stale),
            News::Same => {
                if known.is_none_or(|known| !is_reassigned(known, state)) {
                    return Ok(Applied::Unchanged);
                }
                if let Some(lead) = &mut standing.lead {
                    lead.reassign(state, Instant::now());
                }
                Applied::Unchanged
            }
            News::Replicas => match (&mut standing.lead, known) {
                (Some(lead), Some(known)) => {
                    lead.update(known, state, Instant::now());
                    Applied::Leads
                }
                _ => Applied::Unchanged,
            },
            News::Epoch if state.leader == Some(this) => {
                log.start_epoch(state.leader_epoch)?;
                let end = log.next_offset();
                let lead = standing.lead.take();
                standing.lead = Some(Leadership::begin(this, state, lead, end, Instant::now()));
                standing.told = self.tell_transactions(&log, standing.told);
                standing.role = Role::Leader {
                    epoch: state.leader_epoch,
                };
                Applied::Leads
            }
            News::Epoch => {
                standing.lead = None;
                standing.role = Role::Follower {
                    leader: state.leader,
                    epoch: state.leader_epoch,
                };
                Applied::Follows
            }
        };
        standing.state = Some(Arc::new(state.clone()));
        self.publish(&standing);
        self.raise_watermark_in(&mut log, &standing);
        drop(standing);
        drop(log);
        self.wake_all();
        Ok(applied)
    }

    /// Leads and follows no more, until facts are applied again. Whoever waits is woken and finds out.
    pub fn resign(&self) {
        let log = self.log.lock();
        let mut standing = self.standing.lock();
        standing.role = Role::Idle;
        standing.lead = None;
        self.publish(&standing);
        drop(standing);
        drop(log);
        self.wake_all();
    }

    /// Brings what is read without the second lock into line with it.
    fn publish(&self, standing: &Standing) {
        let (in_sync, replicas) = match &standing.state {
            Some(state) => (state.isr.len(), state.replicas.len()),
            None => (0, 0),
        };
        self.in_sync.store(in_sync, Ordering::Relaxed);
        self.replicas.store(replicas, Ordering::Relaxed);
        let followers = standing.lead.as_ref().map(|lead| lead.followers().len());
        self.alone.store(followers == Some(0), Ordering::Relaxed);
        let epoch = match standing.role {
            Role::Leader { epoch } => epoch.0,
            Role::Follower { .. } | Role::Idle => NOT_LEADING,
        };
        let before = self.epoch.swap(epoch, Ordering::AcqRel);
        if before != NOT_LEADING && epoch == NOT_LEADING {
            self.resignations.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Appends one batch whose CRC and records are checked.
    pub fn append(
        &self,
        batch: &[u8],
        origin: Origin,
        acks: Acks,
        now_ms: i64,
    ) -> Result<Receipt, AppendError> {
        let fences = &self.fences_of(batch)?;
        self.append_by(origin, acks, now_ms, |log, how| {
            Ok(log.append(batch, &AppendAs { fences, ..*how })?)
        })
    }

    /// Appends a batch of a coordinator, who read the partition in `epoch`: in another epoch other
    /// brokers may have written what it does not know.
    pub fn append_in(
        &self,
        epoch: LeaderEpoch,
        batch: &[u8],
        acks: Acks,
        now_ms: i64,
    ) -> Result<Receipt, AppendError> {
        self.append_by(Origin::Coordinator, acks, now_ms, |log, how| {
            if how.leader_epoch != epoch {
                return Err(AppendError::NotLeader(self.id.clone()));
            }
            Ok(log.append(batch, how)?)
        })
    }

    /// Room for one batch of `len` bytes, to be filled outside of the lock.
    pub fn reserve(&self, len: usize) -> Result<Reservation, AppendError> {
        let log = self.log.lock();
        self.leading_or_error()?;
        self.check_lease()?;
        Ok(log.reserve(len)?)
    }

    /// Appends what was filled into a reservation.
    pub fn commit(
        &self,
        reservation: &Reservation,
        origin: Origin,
        acks: Acks,
        now_ms: i64,
    ) -> Result<Receipt, AppendError> {
        let fences = &self.fences_of(reservation.filled())?;
        self.append_by(origin, acks, now_ms, |log, how| {
            Ok(log.commit(reservation, &AppendAs { fences, ..*how })?)
        })
    }

    /// Fencing tokens of a batch, read outside of the lock; none without the produce guard.
    fn fences_of(&self, batch: &[u8]) -> Result<Vec<FenceMark>, AppendError> {
        if !self.config.load().fence_enable {
            return Ok(Vec::new());
        }
        let marks = fence_marks(batch).map_err(storage::AppendError::Fence);
        Ok(marks?)
    }

    fn append_by(
        &self,
        origin: Origin,
        acks: Acks,
        now_ms: i64,
        append: impl FnOnce(&mut Log, &AppendAs<'_>) -> Result<Appended, AppendError>,
    ) -> Result<Receipt, AppendError> {
        let config = self.config.load();
        let mut log = self.log.lock();
        let how = AppendAs {
            leader_epoch: self.leading_or_error()?,
            origin,
            now_ms,
            log_append_time: config.timestamp_type == TimestampType::LogAppendTime,
            fences: &[],
        };
        self.check_lease()?;
        if acks == Acks::All {
            self.check_in_sync(config.min_insync_replicas)?;
        }
        let appended = append(&mut log, &how)?;
        let end = log.next_offset();
        let before = log.high_watermark();
        let watermark = match self.alone.load(Ordering::Relaxed) {
            true => log.set_high_watermark(end),
            false => self.raise_watermark_in(&mut log, &self.standing.lock()),
        };
        let durable = log.config().flush_before_ack.then(|| log.durable(end));
        drop(log);
        self.end_waits.wake();
        if watermark > before {
            self.waits.wake_at(watermark);
        }
        Ok(Receipt {
            replicated: watermark > appended.last_offset,
            appended,
            durable,
        })
    }

    fn leading_or_error(&self) -> Result<LeaderEpoch, AppendError> {
        self.leading()
            .ok_or_else(|| AppendError::NotLeader(self.id.clone()))
    }

    /// Raises the high watermark as far as the replicas in sync have come; gives it.
    fn raise_watermark_in(&self, log: &mut Log, standing: &Standing) -> i64 {
        let (Some(lead), Some(state)) = (&standing.lead, &standing.state) else {
            return log.high_watermark();
        };
        let watermark = lead.high_watermark(state, &self.moment(log));
        log.set_high_watermark(watermark)
    }

    fn moment(&self, log: &Log) -> Moment {
        Moment {
            end: log.next_offset(),
            high_watermark: log.high_watermark(),
            min_insync_replicas: self.config.load().min_insync_replicas,
            lag_max: self.settings().lag_max,
            now: Instant::now(),
        }
    }

    /// Settings of the broker; the table gives them.
    pub(super) fn replicate_by(&self, settings: &Arc<ReplicaSettings>) {
        self.settings.get_or_init(|| Arc::clone(settings));
    }

    fn settings(&self) -> &ReplicaSettings {
        static DEFAULT: OnceLock<ReplicaSettings> = OnceLock::new();
        match self.settings.get() {
            Some(settings) => settings,
            None => DEFAULT.get_or_init(ReplicaSettings::default),
        }
    }

    fn wake_all(&self) {
        self.waits.wake();
        self.end_waits.wake();
    }

    pub(super) fn waits(&self) -> &Waits {
        &self.waits
    }

    pub(super) fn end_waits(&self) -> &Waits {
        &self.end_waits
    }
}

#[cfg(test)]
mod tests;
