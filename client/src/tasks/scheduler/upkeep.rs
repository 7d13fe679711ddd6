//! What a scheduler does beside scheduling: checkpoints, trimming, dead letters. Runs beside the term and
//! is dropped with it.
//!
//! A checkpoint is one when all its records are in the log and the group's offset of `Q.events` points at
//! the first, written only while the term's own member znode is there: so it is never a replaced
//! scheduler's. A letter (`letter.rs`) is in `Q.dead` before its `dead` is among the events.

use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use nyala_coordinator::clock;
use nyala_coordinator::registry::paths;
use nyala_coordinator::session::{Op, ZkError};

use super::super::checkpoint::Anchor;
use super::super::error::TaskError;
use super::super::event::{Event, Fence};
use super::super::queue::Parts;
use super::super::state::{Decision, State};
use super::super::task::LANES;
use super::super::topics::{Topics, trim};
use super::at;
use super::letter::write_letter;
use crate::consumer::positions::{OffsetSpec, lookup};

/// A checkpoint is worth its size: this many events for each open task lie between two.
const EVENTS_PER_TASK: usize = 4;

/// What came of a task of the upkeep.
enum Done {
    Checkpoint(Anchor),
    Buried,
    Trimmed,
}

type Work = BoxFuture<'static, Result<Done, TaskError>>;

pub(super) struct Upkeep {
    parts: Parts,
    me: String,
    fence: Fence,
    /// The group has an offset already.
    pointed: bool,
    work: FuturesUnordered<Work>,
    /// Events since the last checkpoint.
    events: usize,
    writing: bool,
    anchor: Option<Anchor>,
    /// Lowest offsets that were needed when last looked at.
    needed: [i64; LANES],
}

impl Upkeep {
    pub(super) fn new(parts: Parts, me: &str, fence: Fence, pointed: bool) -> Self {
        Self {
            parts,
            me: me.to_owned(),
            fence,
            pointed,
            work: FuturesUnordered::new(),
            events: 0,
            writing: false,
            anchor: None,
            needed: [0; LANES],
        }
    }

    pub(super) fn set_anchor(&mut self, anchor: Option<Anchor>) {
        self.anchor = anchor;
    }

    /// So many more events were applied.
    pub(super) fn count(&mut self, events: usize) {
        self.events += events;
    }

    /// Waits for the end of some work; the first failure is the term's.
    pub(super) async fn next(&mut self) -> Result<(), TaskError> {
        let Some(done) = self.work.next().await else {
            return std::future::pending().await;
        };
        if let Done::Checkpoint(written) = done? {
            self.writing = false;
            self.pointed = true;
            self.move_anchor(written);
        }
        Ok(())
    }

    /// Begins a checkpoint when one is due; all events below `applied` are applied to `state`.
    pub(super) async fn look_after(
        &mut self,
        state: &State,
        applied: i64,
    ) -> Result<(), TaskError> {
        let least = self.parts.config.checkpoint_events;
        let due = least.max(state.open_count().saturating_mul(EVENTS_PER_TASK));
        if self.writing || self.events < due {
            return Ok(());
        }
        self.events = 0;
        self.writing = true;
        self.needed = state.needed();
        let mut acks = Vec::new();
        for part in state.checkpoint(applied, self.anchor.as_ref()) {
            // In the order of decisions: whatever the state holds is in the log before it.
            let event = Event::Checkpoint(self.fence, part);
            acks.push(self.parts.append(event).await?);
        }
        let anchor = Anchor {
            from: applied,
            at_ms: clock::wall_ms(),
            positions: self.needed,
        };
        let (parts, me, pointed) = (self.parts.clone(), self.me.clone(), self.pointed);
        let written = async move {
            let mut first = None;
            for ack in acks {
                let placed = ack.await?;
                first = first.or(placed.offset);
            }
            // Without an offset nothing points at it: the checkpoint before stays the last.
            if let Some(offset) = first {
                point_at(&parts, &me, offset, pointed).await?;
            }
            Ok(Done::Checkpoint(anchor))
        };
        self.work.push(written.boxed());
        Ok(())
    }

    /// The oldest checkpoint that the history begins with moves on once it is old enough.
    fn move_anchor(&mut self, written: Anchor) {
        let Some(anchor) = &self.anchor else {
            self.anchor = Some(written);
            return;
        };
        let age = written.at_ms.saturating_sub(anchor.at_ms);
        if u128::try_from(age).unwrap_or(0) < self.parts.config.history.as_millis() {
            return;
        }
        let old = self.anchor.replace(written).unwrap_or_default();
        let (parts, needed) = (self.parts.clone(), self.needed);
        let trimmed = async move {
            if let Err(error) = trim_before(&parts, &old, &needed).await {
                tracing::warn!(queue = parts.topics.queue, %error, "old records were not trimmed");
            }
            Ok(Done::Trimmed)
        };
        self.work.push(trimmed.boxed());
    }

    /// Puts a task in the dead letters, then says so.
    pub(super) fn bury(&mut self, decision: Decision) {
        let (parts, fence) = (self.parts.clone(), self.fence);
        let buried = async move {
            write_letter(&parts, &decision).await?;
            parts.append(decision.event(fence)).await?.await?;
            Ok(Done::Buried)
        };
        self.work.push(buried.boxed());
    }
}

async fn point_at(parts: &Parts, me: &str, offset: i64, exists: bool) -> Result<(), TaskError> {
    let (group, events) = (parts.topics.group(), Topics::log(&parts.topics.events));
    let (path, session) = (paths::group_offset(&group, &events), parts.session());
    let data = offset.to_string().into_bytes();
    if !exists {
        let parent = paths::group_topic_offsets(&group, &events.topic);
        session.ensure_path(&parent).await.map_err(at(&parent))?;
    }
    let check = Op::Check {
        path: paths::group_member(&group, me),
        version: -1,
    };
    let write = match exists {
        true => Op::Set {
            path: path.clone(),
            data,
            version: None,
        },
        false => Op::create(path.clone(), data),
    };
    let done = session.multi(vec![check, write]).await;
    done.map(drop).map_err(|e| at(&path)(ZkError::from(e)))
}

async fn trim_before(
    parts: &Parts,
    anchor: &Anchor,
    needed: &[i64; LANES],
) -> Result<(), TaskError> {
    let (cluster, topics) = (&parts.cluster, &parts.topics);
    // Submissions first: those whose events are gone would look as if they were never begun.
    for (lane, (kept, needed)) in anchor.positions.iter().zip(needed).enumerate() {
        let below = *kept.min(needed);
        if below > 0 {
            trim(cluster, &topics.lane(lane), below).await?;
        }
    }
    let results = Topics::log(&topics.results);
    let kept = lookup(cluster, &results, OffsetSpec::Timestamp(anchor.at_ms)).await?;
    if kept > 0 {
        trim(cluster, &results, kept).await?;
    }
    trim(cluster, &Topics::log(&topics.events), anchor.from).await?;
    Ok(())
}
