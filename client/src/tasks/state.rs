//! The scheduler's state of a queue: submissions, events and members in; decisions out (`decide.rs`).
//! Pure: no log, no ZooKeeper, no clock.
//!
//! ```text
//!             assigned                    done
//!   Ready ---------------> Running -----------------> (gone)      duplicate: Ready -> (gone)
//!     ^  ^ lost, returned     |  failed
//!     |  +--------------------+---------> Failed -------> (gone)  dead
//!     |           due                       | retry
//!     +---------------------- Waiting <-----+
//! ```
//! Every change is an event; a decision is applied when it is made and again when it is read back, and
//! the attempt that it names makes the second time (or a replay from an earlier checkpoint) change
//! nothing. *Invariant*: a place is in exactly one of `ready`, `waiting`, `failed`, one worker's share, or it
//! is `Dying` (lost too often, or out of tries) and in none.
//! In a priority's lane what was never assigned is a tail of it: so a checkpoint holds only the rest.

mod decide;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use nyala_coordinator::ids::TopicId;

use super::event::{Event, Fence, INLINE_BYTES_MAX, Report, Verdict, WorkerId, may_follow};
use super::task::{LANES, LATER, Options, PRIORITY_MAX, Place, Submitted, TaskId};

pub(crate) use decide::Decision;

/// Tasks of a lane that wait in memory, never assigned; the rest waits in the log.
const FRESH_MAX: usize = 10_000;
/// Bytes of their payloads, over all lanes; every lane may have a few regardless.
const FRESH_BYTES_MAX: usize = 32 << 20;
/// As few that a lane is read on, whatever the bytes.
const FRESH_MIN: usize = 16;
/// Ids of the submitters' choice that are remembered after their task is done.
const RECENT_MAX: usize = 100_000;

/// An open task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) id: TaskId,
    pub(crate) options: Options,
    /// `None`: too large, or dropped while it waited; the worker reads it from its place.
    pub(crate) payload: Option<Bytes>,
    /// Number of the last assignment; 0: never given to anyone.
    pub(crate) attempt: u32,
    pub(crate) failures: u32,
    pub(crate) losses: u32,
    pub(crate) phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Ready(Turn),
    Waiting {
        due_ms: i64,
    },
    Running {
        worker: WorkerId,
        /// Known once the worker has said that it began.
        until_ms: Option<i64>,
    },
    /// To be tried again or given up.
    Failed {
        error: Bytes,
        fatal: bool,
    },
    /// Given up, and on its way to the dead letters.
    Dying {
        error: Bytes,
    },
}

/// The order of the ready: priority, then those handed back, then as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    rank: u8,
    fresh: bool,
    sequence: u64,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(super) open: HashMap<Place, Open>,
    ready: BTreeMap<Turn, Place>,
    waiting: BTreeSet<(i64, Place)>,
    leases: BTreeSet<(i64, Place)>,
    failed: BTreeSet<Place>,
    /// Live workers and how much each takes.
    members: BTreeMap<WorkerId, usize>,
    leaving: HashSet<WorkerId>,
    shares: BTreeMap<WorkerId, BTreeSet<Place>>,
    /// Never assigned, by lane; not those that wait for their time.
    pub(super) fresh: [BTreeSet<i64>; LANES],
    fresh_bytes: usize,
    /// Next offset to read of each lane of `Q.tasks`.
    pub(super) positions: [i64; LANES],
    /// Id of `Q.tasks`, where known: all places are of this one.
    pub(super) topic: Option<TopicId>,
    unique: HashMap<TaskId, Place>,
    recent: HashSet<TaskId>,
    pub(super) recent_order: VecDeque<TaskId>,
    /// The last scheduler that the log knows.
    fence: Fence,
    sequence: u64,
}

impl State {
    pub(crate) fn fence(&self) -> Fence {
        self.fence
    }

    pub(crate) fn position(&self, lane: usize) -> i64 {
        self.positions.get(lane).copied().unwrap_or(0)
    }

    /// Where to go on in a lane that begins at `start` by now.
    pub(crate) fn raise_position(&mut self, lane: usize, start: i64) {
        if let Some(position) = self.positions.get_mut(lane) {
            *position = start.max(*position);
        }
    }

    /// `Q.tasks` has this id now; `false`: it is another topic than the places are of.
    #[must_use]
    pub(crate) fn set_topic(&mut self, topic: Option<TopicId>) -> bool {
        let known = self.topic.zip(topic);
        self.topic = topic.or(self.topic);
        known.is_none_or(|(known, topic)| known == topic)
    }

    /// `Q.tasks` was made anew: no task that was open is there any more. What was done stays done.
    pub(crate) fn start_over(&mut self) {
        let old = std::mem::take(self);
        *self = Self {
            members: old.members,
            leaving: old.leaving,
            topic: old.topic,
            recent: old.recent,
            recent_order: old.recent_order,
            fence: old.fence,
            ..Self::default()
        };
    }

    /// Whether an event about this id can be about what is at the place: not if it is of an earlier
    /// topic of the same name.
    fn is_at(&self, place: Place, id: &TaskId) -> bool {
        self.open.get(&place).is_none_or(|open| open.id == *id)
    }

    /// Whether there is room for more of a lane.
    pub(crate) fn has_room(&self, lane: usize) -> bool {
        let fresh = self.fresh.get(lane).map_or(0, BTreeSet::len);
        fresh < FRESH_MIN || (fresh < FRESH_MAX && self.fresh_bytes < FRESH_BYTES_MAX)
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// The next task of a lane. What was read before is known, and left as it is.
    pub(crate) fn submitted(&mut self, task: Submitted) {
        let place = task.place;
        let next = place.offset.saturating_add(1);
        self.raise_position(place.index(), next);
        if self.open.contains_key(&place) {
            return;
        }
        let due_ms = task.options.due_ms;
        let waits = place.lane == LATER;
        // What waits may be much, and for long: its payload stays in the log.
        let inline = !waits && task.payload.len() <= INLINE_BYTES_MAX;
        let open = Open {
            id: task.id,
            options: task.options,
            payload: inline.then(|| Bytes::copy_from_slice(&task.payload)),
            attempt: 0,
            failures: 0,
            losses: 0,
            phase: Phase::Waiting { due_ms },
        };
        if waits {
            return self.insert(place, open);
        }
        if let Some(fresh) = self.fresh.get_mut(place.index()) {
            fresh.insert(place.offset);
        }
        self.fresh_bytes += open.payload.as_ref().map_or(0, Bytes::len);
        let turn = self.turn(&open.options, true);
        let phase = Phase::Ready(turn);
        self.insert(place, Open { phase, ..open });
    }

    fn turn(&mut self, options: &Options, fresh: bool) -> Turn {
        self.sequence += 1;
        Turn {
            rank: PRIORITY_MAX.saturating_sub(options.priority),
            fresh,
            sequence: self.sequence,
        }
    }

    /// Puts a task of a checkpoint back.
    pub(super) fn restore(&mut self, place: Place, mut open: Open) {
        if let Phase::Ready(_) = open.phase {
            let fresh = open.attempt == 0;
            open.phase = Phase::Ready(self.turn(&open.options, fresh));
        }
        if open.options.unique && open.attempt > 0 {
            self.unique.insert(open.id.clone(), place);
        }
        self.insert(place, open);
    }

    fn insert(&mut self, place: Place, open: Open) {
        self.index(place, &open.phase);
        self.open.insert(place, open);
    }

    fn index(&mut self, place: Place, phase: &Phase) {
        match phase {
            Phase::Ready(turn) => {
                self.ready.insert(*turn, place);
            }
            Phase::Waiting { due_ms } => {
                self.waiting.insert((*due_ms, place));
            }
            Phase::Failed { .. } => {
                self.failed.insert(place);
            }
            Phase::Dying { .. } => {}
            Phase::Running { worker, until_ms } => {
                if let Some(until_ms) = until_ms {
                    self.leases.insert((*until_ms, place));
                }
                let share = self.shares.entry(worker.clone()).or_default();
                share.insert(place);
            }
        }
    }

    fn unindex(&mut self, place: Place, phase: &Phase) {
        match phase {
            Phase::Ready(turn) => {
                self.ready.remove(turn);
            }
            Phase::Waiting { due_ms } => {
                self.waiting.remove(&(*due_ms, place));
            }
            Phase::Failed { .. } => {
                self.failed.remove(&place);
            }
            Phase::Dying { .. } => {}
            Phase::Running { worker, until_ms } => {
                if let Some(until_ms) = until_ms {
                    self.leases.remove(&(*until_ms, place));
                }
                if let Some(share) = self.shares.get_mut(worker) {
                    share.remove(&place);
                    if share.is_empty() {
                        self.shares.remove(worker);
                    }
                }
            }
        }
    }

    /// Changes the phase of an open task.
    fn enter(&mut self, place: Place, phase: Phase) {
        let Some(open) = self.open.get_mut(&place) else {
            return;
        };
        let old = std::mem::replace(&mut open.phase, phase.clone());
        if matches!(phase, Phase::Waiting { .. } | Phase::Dying { .. }) {
            open.payload = None;
        }
        self.unindex(place, &old);
        self.index(place, &phase);
    }

    /// The task was given to someone, or is gone: it is fresh no more.
    fn touch(&mut self, place: Place) {
        let fresh = self.fresh.get_mut(place.index());
        if fresh.is_some_and(|fresh| fresh.remove(&place.offset)) {
            let payload = self.open.get(&place).and_then(|o| o.payload.as_ref());
            let bytes = payload.map_or(0, Bytes::len);
            self.fresh_bytes = self.fresh_bytes.saturating_sub(bytes);
        }
    }

    fn remove(&mut self, place: Place) -> Option<Open> {
        self.touch(place);
        let open = self.open.remove(&place)?;
        self.unindex(place, &open.phase);
        if open.options.unique && self.unique.get(&open.id) == Some(&place) {
            self.unique.remove(&open.id);
        }
        Some(open)
    }

    pub(super) fn remember(&mut self, id: TaskId) {
        if self.recent.insert(id.clone()) {
            self.recent_order.push_back(id);
        }
        if self.recent_order.len() > RECENT_MAX
            && let Some(oldest) = self.recent_order.pop_front()
        {
            self.recent.remove(&oldest);
        }
    }

    /// The live workers. What others held is given anew by the next decision.
    pub(crate) fn set_members(&mut self, members: BTreeMap<WorkerId, usize>) {
        self.leaving.retain(|worker| members.contains_key(worker));
        self.members = members;
    }

    /// The next event of the log, at `now_ms` of the scheduler's clock.
    pub(crate) fn apply(&mut self, event: Event, now_ms: i64) {
        match event {
            Event::Elected(fence) => self.fence = self.fence.max(fence),
            Event::Leaving(worker) => {
                self.leaving.insert(worker);
            }
            Event::Left(worker) => {
                // What was given to it just then; it never began.
                for place in self.shares.remove(&worker).unwrap_or_default() {
                    let attempt = self.open.get(&place).map_or(0, |open| open.attempt);
                    self.reported(place, attempt, Report::Returned, now_ms);
                }
            }
            Event::Checkpoint(..) => {}
            Event::Reported { place, ref id, .. } | Event::Decided { place, ref id, .. }
                if !self.is_at(place, id) => {}
            Event::Reported {
                place,
                attempt,
                report,
                ..
            } => self.reported(place, attempt, report, now_ms),
            // A scheduler that was replaced did not know it when it wrote this.
            Event::Decided { fence, .. } if fence < self.fence => {}
            Event::Decided {
                place,
                attempt,
                verdict,
                ..
            } => self.decided(place, attempt, verdict),
        }
    }

    fn reported(&mut self, place: Place, attempt: u32, report: Report, now_ms: i64) {
        let Some(open) = self.open.get_mut(&place) else {
            return;
        };
        if let Report::Done(_) = report {
            // Of whichever attempt: the first result is the result.
            if let Some(open) = self.remove(place)
                && open.options.unique
            {
                self.remember(open.id);
            }
            return;
        }
        let Phase::Running { worker, .. } = &open.phase else {
            return;
        };
        if open.attempt != attempt {
            return;
        }
        let phase = match report {
            Report::Started | Report::Progress(_) => Phase::Running {
                worker: worker.clone(),
                until_ms: Some(now_ms.saturating_add(open.options.lease_ms)),
            },
            Report::Failed { error, fatal } => {
                open.failures = open.failures.saturating_add(1);
                Phase::Failed { error, fatal }
            }
            Report::Returned | Report::Done(_) => {
                let options = open.options.clone();
                Phase::Ready(self.turn(&options, false))
            }
        };
        self.enter(place, phase);
    }

    fn decided(&mut self, place: Place, attempt: u32, verdict: Verdict) {
        let Some(open) = self.open.get_mut(&place) else {
            return;
        };
        match verdict {
            Verdict::Assigned { worker, .. } => {
                if !may_follow(attempt, open.attempt) {
                    return;
                }
                open.attempt = attempt;
                if open.options.unique {
                    self.unique.insert(open.id.clone(), place);
                }
                self.touch(place);
                let until_ms = None;
                self.enter(place, Phase::Running { worker, until_ms });
            }
            Verdict::Lost => {
                if open.attempt == attempt && matches!(open.phase, Phase::Running { .. }) {
                    open.losses = open.losses.saturating_add(1);
                    let options = open.options.clone();
                    let turn = self.turn(&options, false);
                    self.enter(place, Phase::Ready(turn));
                }
            }
            Verdict::Retry { due_ms } => {
                if open.attempt == attempt && matches!(open.phase, Phase::Failed { .. }) {
                    self.enter(place, Phase::Waiting { due_ms });
                }
            }
            Verdict::Dead { .. } | Verdict::Duplicate => {
                self.remove(place);
            }
        }
    }
}

#[cfg(test)]
mod tests;
