//! What became of a queue's tasks, out of its topics alone: no scheduler and no worker is asked. Pure.
//!
//! First all events, then all submissions. Where old events are trimmed, the first checkpoint that is
//! left says which earlier submissions were still open; the others are history that is forgotten.

use std::collections::HashMap;

use bytes::Bytes;
use nyala_coordinator::ids::TopicId;

use super::checkpoint::{Gathering, Line, Part};
use super::event::{Event, Fence, Report, Stored, Verdict, may_follow};
use super::state::{Open, Phase};
use super::task::{LANES, Place, Submitted, TaskId};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// Waits for its time or for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// It has a result.
    Done,
    /// It failed, and waits for its next try.
    Failed,
    /// Given up: it lies in the dead letters.
    Dead,
}

impl TaskState {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }

    /// Whether nothing will happen to it any more, unless it is redriven.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Dead)
    }
}

/// All that is known about a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskStatus {
    /// Its id.
    pub id: TaskId,
    /// Where it stands.
    pub state: TaskState,
    /// How often it was given to a worker.
    pub attempts: u32,
    /// Who has it, or had it last.
    pub worker: Option<String>,
    /// What its worker said last about its progress.
    pub progress: Option<Bytes>,
    /// Why it failed last.
    pub error: Option<Bytes>,
    /// When it was submitted, in milliseconds since 1970.
    pub submitted_ms: i64,
    /// When its state changed last.
    pub changed_ms: i64,
    /// When it runs at the earliest, if it waits for its time.
    pub due_ms: Option<i64>,
    pub(crate) place: Place,
    pub(crate) result: Option<Stored>,
}

/// What the events say about a place.
#[derive(Clone, Debug)]
struct Seen {
    state: TaskState,
    duplicate: bool,
    attempt: u32,
    worker: Option<String>,
    progress: Option<Bytes>,
    error: Option<Bytes>,
    result: Option<Stored>,
    due_ms: Option<i64>,
    changed_ms: i64,
}

impl Seen {
    fn new(state: TaskState, attempt: u32, changed_ms: i64) -> Self {
        Self {
            state,
            duplicate: false,
            attempt,
            worker: None,
            progress: None,
            error: None,
            result: None,
            due_ms: None,
            changed_ms,
        }
    }

    fn of_open(open: Open, at_ms: i64) -> Self {
        let seen = |state| Self::new(state, open.attempt, at_ms);
        match open.phase {
            Phase::Ready(_) => seen(TaskState::Queued),
            Phase::Waiting { due_ms } => Self {
                due_ms: Some(due_ms),
                ..seen(match open.attempt {
                    0 => TaskState::Queued,
                    _ => TaskState::Failed,
                })
            },
            Phase::Running { worker, .. } => Self {
                worker: Some(worker.as_ref().to_owned()),
                ..seen(TaskState::Running)
            },
            Phase::Failed { error, .. } | Phase::Dying { error } => Self {
                error: Some(error),
                ..seen(TaskState::Failed)
            },
        }
    }

    fn is_over(&self) -> bool {
        self.state.is_final() || self.duplicate
    }
}

/// Gathers what is known.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Only this one, with its result.
    wanted: Option<TaskId>,
    /// The first events are gone, and no checkpoint has shown yet what was open then.
    trimmed: bool,
    first_checkpoint: Gathering,
    /// What came before it: whose word counts is known only then.
    early: Vec<(Event, i64)>,
    /// What lies before is finished unless it was seen.
    forgotten: [i64; LANES],
    fence: Fence,
    /// By the id too: a place of `Q.tasks` is another task's once that topic was made anew.
    seen: HashMap<(Place, TaskId), Seen>,
    /// Id of `Q.tasks`, where known.
    topic: Option<TopicId>,
    found: Vec<TaskStatus>,
}

impl View {
    pub(crate) fn new(wanted: Option<TaskId>, trimmed: bool) -> Self {
        Self {
            wanted,
            trimmed,
            ..Self::default()
        }
    }

    /// Of submissions to a topic of this id.
    pub(crate) fn of_topic(mut self, topic: Option<TopicId>) -> Self {
        self.topic = topic;
        self
    }

    fn wants(&self, id: &TaskId) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted == id)
    }

    /// The next event, with its time.
    pub(crate) fn event(&mut self, event: Event, at_ms: i64) {
        match event {
            Event::Checkpoint(fence, part) if self.trimmed => self.checkpoint(fence, part, at_ms),
            event if self.trimmed => self.early.push((event, at_ms)),
            event => self.apply(event, at_ms),
        }
    }

    fn apply(&mut self, event: Event, at_ms: i64) {
        match event {
            Event::Elected(fence) => self.fence = self.fence.max(fence),
            Event::Leaving(_) | Event::Checkpoint(..) => {}
            Event::Left(worker) => self.left(&worker, at_ms),
            Event::Reported { id, .. } | Event::Decided { id, .. } if !self.wants(&id) => {}
            Event::Decided { fence, .. } if fence < self.fence => {}
            Event::Reported {
                place,
                id,
                attempt,
                worker,
                report,
            } => {
                let keep = self.wanted.is_some();
                if let Some(seen) = self.seen((place, id), at_ms) {
                    report_to(seen, attempt, &worker, report, keep, at_ms);
                }
            }
            Event::Decided {
                place,
                id,
                attempt,
                verdict,
                ..
            } => {
                if let Some(seen) = self.seen((place, id), at_ms) {
                    decide_on(seen, attempt, verdict, at_ms);
                }
            }
        }
    }

    /// What the worker was given and did not settle waits again.
    fn left(&mut self, worker: &str, at_ms: i64) {
        for seen in self.seen.values_mut() {
            if seen.state == TaskState::Running && seen.worker.as_deref() == Some(worker) {
                seen.state = TaskState::Queued;
                seen.changed_ms = at_ms;
            }
        }
    }

    /// What is known of a place, unless it has come to its end: then whatever is said is void.
    fn seen(&mut self, task: (Place, TaskId), at_ms: i64) -> Option<&mut Seen> {
        if self.is_forgotten(task.0) && !self.seen.contains_key(&task) {
            return None;
        }
        let fresh = || Seen::new(TaskState::Queued, 0, at_ms);
        let seen = self.seen.entry(task).or_insert_with(fresh);
        (!seen.is_over()).then_some(seen)
    }

    fn is_forgotten(&self, place: Place) -> bool {
        let before = self.forgotten.get(place.index());
        before.is_some_and(|before| place.offset < *before)
    }

    fn checkpoint(&mut self, fence: Fence, part: Part, at_ms: i64) {
        let Some(parts) = self.first_checkpoint.add(fence, part) else {
            return;
        };
        self.fence = fence;
        for part in parts {
            let other = self.topic.zip(part.topic).is_some_and(|(a, b)| a != b);
            if other {
                continue;
            }
            self.forgotten = part.positions;
            for line in part.read_lines() {
                if let Line::Open(place, open) = line {
                    let task = (place, open.id.clone());
                    self.seen.insert(task, Seen::of_open(open, at_ms));
                }
            }
        }
        self.begin();
    }

    /// From here on events are applied as they come.
    fn begin(&mut self) {
        self.trimmed = false;
        for (event, at_ms) in std::mem::take(&mut self.early) {
            self.apply(event, at_ms);
        }
    }

    /// The next submission, once all events are in.
    pub(crate) fn submitted(&mut self, task: Submitted) {
        self.begin();
        if !self.wants(&task.id) {
            return;
        }
        let place = task.place;
        let known = self.seen.remove(&(place, task.id.clone()));
        let seen = match known {
            Some(seen) if seen.duplicate => return,
            Some(seen) => seen,
            None if self.is_forgotten(place) => return,
            None => Seen {
                due_ms: Some(task.options.due_ms).filter(|due| *due > 0),
                ..Seen::new(TaskState::Queued, 0, task.at_ms)
            },
        };
        self.found.push(TaskStatus {
            id: task.id,
            state: seen.state,
            attempts: seen.attempt,
            worker: seen.worker,
            progress: seen.progress,
            error: seen.error,
            submitted_ms: task.at_ms,
            changed_ms: seen.changed_ms,
            due_ms: seen.due_ms,
            place,
            result: seen.result,
        });
    }

    /// Each id once, in order of submission: its first task, or the last that began after that, or waits to after it died.
    /// What waits behind a done one is a duplicate, which the scheduler says when it comes to it.
    pub(crate) fn finish(mut self) -> Vec<TaskStatus> {
        self.found.sort_by_key(|t| (t.submitted_ms, t.place));
        let mut order: Vec<TaskStatus> = Vec::with_capacity(self.found.len());
        let mut known: HashMap<TaskId, usize> = HashMap::with_capacity(self.found.len());
        for task in self.found {
            let Some(at) = known.get(&task.id) else {
                known.insert(task.id.clone(), order.len());
                order.push(task);
                continue;
            };
            if let Some(earlier) = order.get_mut(*at)
                && (earlier.state == TaskState::Dead || task.attempts > 0)
            {
                *earlier = task;
            }
        }
        order
    }
}

fn report_to(
    seen: &mut Seen,
    attempt: u32,
    worker: &str,
    report: Report,
    keep_result: bool,
    at_ms: i64,
) {
    if let Report::Done(result) = report {
        seen.state = TaskState::Done;
        seen.attempt = seen.attempt.max(attempt);
        seen.worker = Some(worker.to_owned());
        seen.changed_ms = at_ms;
        seen.due_ms = None;
        seen.result = Some(result).filter(|_| keep_result);
        return;
    }
    if seen.state != TaskState::Running || seen.attempt != attempt {
        return;
    }
    match report {
        Report::Started | Report::Done(_) => {}
        Report::Progress(text) => seen.progress = Some(text),
        Report::Returned => seen.state = TaskState::Queued,
        Report::Failed { error, .. } => {
            seen.state = TaskState::Failed;
            seen.error = Some(error);
        }
    }
    seen.changed_ms = at_ms;
}

fn decide_on(seen: &mut Seen, attempt: u32, verdict: Verdict, at_ms: i64) {
    let current = seen.attempt == attempt;
    match verdict {
        Verdict::Assigned { worker, .. } if may_follow(attempt, seen.attempt) => {
            seen.state = TaskState::Running;
            seen.attempt = attempt;
            seen.worker = Some(worker.as_ref().to_owned());
            seen.progress = None;
            seen.due_ms = None;
        }
        Verdict::Lost if current => seen.state = TaskState::Queued,
        Verdict::Retry { due_ms } if current => {
            seen.state = TaskState::Failed;
            seen.due_ms = Some(due_ms);
        }
        Verdict::Dead { error } => {
            seen.state = TaskState::Dead;
            seen.error = Some(error);
            seen.due_ms = None;
        }
        Verdict::Duplicate => seen.duplicate = true,
        _ => return,
    }
    seen.changed_ms = at_ms;
}

#[cfg(test)]
mod tests;
