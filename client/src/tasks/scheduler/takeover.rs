//! How a scheduler comes by its state: the last checkpoint, the events since, and the submissions that
//! they speak of.
//!
//! First `elected` is appended, then the log is read up to there; what is behind it is this scheduler's
//! word or a worker's. If the log has as great a fence before (on another ZooKeeper czxids begin anew), the
//! owner appends `elected` again with a greater one, and reads on. So a fence is its scheduler's whose
//! `elected` first raised the log to it, and nobody decides before it has read that this is its own: no
//! two share a fence, the log alone orders them, and a replaced one's later writes are void. Submissions go
//! in before the events that concern them: so no event is about a task that is not known yet.

use std::collections::{BTreeMap, VecDeque};

use nyala_coordinator::clock;
use nyala_coordinator::ids::PartitionIndex;
use nyala_coordinator::registry::paths;

use super::super::checkpoint::{Gathering, Part};
use super::super::error::TaskError;
use super::super::event::{Event, Fence};
use super::super::queue::Parts;
use super::super::state::State;
use super::super::tail::{Following, Tail, read_range};
use super::super::task::{LANES, Submitted};
use super::super::topics::Topics;
use super::upkeep::Upkeep;
use super::{Backlog, Term, at, claim, lives};
use crate::consumer::positions::{OffsetSpec, lookup, lookup_all};

pub(super) async fn take_over(
    parts: &Parts,
    me: &str,
    fence: Fence,
    generation: u64,
) -> Result<Term, TaskError> {
    let (cluster, topics) = (&parts.cluster, &parts.topics);
    topics.ensure(cluster).await?;
    let events = Topics::log(&topics.events);
    let pointer = pointer(parts).await?;
    let (mut fence, mut elected) = (fence, elect(parts, fence).await?);
    let earliest = lookup(cluster, &events, OffsetSpec::Earliest).await?;
    let (mut state, checkpoint) = restore_or_begin(parts, pointer, earliest, elected).await?;
    if !state.set_topic(topics.tasks_id(cluster)) {
        tracing::warn!(
            topic = %topics.tasks,
            open = state.open_count(),
            "the topic was deleted and made anew: its open tasks are gone, and it is read from its beginning"
        );
        state.start_over();
    }
    let mut from = checkpoint.as_ref().map_or(earliest, |part| part.from);
    let mut count = 0;
    let ends = loop {
        let history = read_events(parts, from, elected).await?;
        count += history.len();
        let ends = read_submissions(parts, &mut state, &history).await?;
        let now_ms = clock::wall_ms();
        for event in history {
            state.apply(event, now_ms);
        }
        if state.fence() < fence {
            break ends;
        }
        from = elected;
        fence = greater_fence(parts, me, &state, fence, generation).await?;
        elected = elect(parts, fence).await?;
    };
    state.apply(Event::Elected(fence), 0);
    let end = elected.saturating_add(1);
    let follow = |target, offset| Following::start(Tail::new(cluster, target, offset));
    let lanes = 0..LANES;
    let lanes = lanes.map(|lane| follow(topics.lane(lane), state.position(lane)));
    let mut upkeep = Upkeep::new(parts.clone(), me, fence, pointer.is_some());
    upkeep.count(count);
    upkeep.set_anchor(checkpoint.and_then(|part| part.anchor));
    Ok(Term {
        events: follow(events, end),
        applied: end,
        lanes: lanes.collect(),
        backlog: Some(Backlog::of(ends, clock::now())),
        acks: VecDeque::new(),
        parts: parts.clone(),
        fence,
        generation,
        state,
        upkeep,
    })
}

/// Appends `elected`; gives its offset.
async fn elect(parts: &Parts, fence: Fence) -> Result<i64, TaskError> {
    let elected = parts.append(Event::Elected(fence)).await?.await?;
    match elected.offset {
        Some(offset) => Ok(offset),
        // The broker only knew that it has it already: below its end, so it is read as another's, and
        // this scheduler goes above it.
        None => {
            let events = Topics::log(&parts.topics.events);
            Ok(lookup(&parts.cluster, &events, OffsetSpec::Latest).await?)
        }
    }
}

/// A fence above all that the log knows, for who owns the queue although `fence` is none.
async fn greater_fence(
    parts: &Parts,
    me: &str,
    state: &State,
    fence: Fence,
    generation: u64,
) -> Result<Fence, TaskError> {
    let known = state.fence();
    let fenced = || TaskError::Fenced {
        ours: fence.0,
        theirs: known.0,
    };
    // Else the greater one may be that of a scheduler that replaced this one.
    lives(parts, generation)?;
    let owned = claim(parts, me).await?.ok_or_else(fenced)?;
    let greater = known.next().ok_or_else(fenced)?.max(owned);
    // The same: a term of its own that ended while its session lived on.
    if known > fence {
        tracing::warn!(
            queue = parts.topics.queue,
            known = known.0,
            fence = fence.0,
            greater = greater.0,
            "the log knows a later scheduler than ZooKeeper: the owner goes on above it"
        );
    }
    Ok(greater)
}

/// Where the last checkpoint begins.
async fn pointer(parts: &Parts) -> Result<Option<i64>, TaskError> {
    let (group, events) = (parts.topics.group(), Topics::log(&parts.topics.events));
    let path = paths::group_topic_offsets(&group, &events.topic);
    // Another server may lag behind what the last scheduler wrote.
    let session = parts.session();
    session.sync(&path).await.map_err(at(&path))?;
    let partition = events.partition;
    let offsets = parts
        .registry
        .committed_offsets(&group, &events.topic, &[partition])
        .await?;
    Ok(offsets.get(&partition).copied())
}

/// The state that the log speaks of: of the checkpoint that is pointed at; else of the first one that a
/// trimmed log begins with, should an operator have set the offset back or deleted the group; else none.
async fn restore_or_begin(
    parts: &Parts,
    pointer: Option<i64>,
    earliest: i64,
    end: i64,
) -> Result<(State, Option<Part>), TaskError> {
    if let Some(offset) = pointer {
        if let Some(restored) = restore(parts, offset.max(earliest), end).await? {
            return Ok(restored);
        }
        tracing::warn!(queue = parts.topics.queue, offset, "no checkpoint is there");
    }
    if earliest == 0 {
        return Ok((State::default(), None));
    }
    let restored = restore(parts, earliest, end).await?;
    restored.ok_or_else(|| TaskError::Checkpoint {
        topic: parts.topics.events.clone(),
        offset: earliest,
    })
}

/// The first whole checkpoint at or after `offset`.
async fn restore(
    parts: &Parts,
    offset: i64,
    end: i64,
) -> Result<Option<(State, Option<Part>)>, TaskError> {
    let events = Topics::log(&parts.topics.events);
    let (mut gathering, mut whole) = (Gathering::default(), None);
    read_range(&parts.cluster, &events, offset, Some(end), |record| {
        if whole.is_none()
            && let Some(Event::Checkpoint(fence, part)) = Event::read(&record)
        {
            whole = gathering.add(fence, part).map(|parts| (fence, parts));
        }
    })
    .await?;
    let Some((fence, checkpoint)) = whole else {
        return Ok(None);
    };
    let mut state = State::from_checkpoint(&checkpoint);
    state.apply(Event::Elected(fence), 0);
    Ok(Some((state, checkpoint.into_iter().next())))
}

/// The events from `from` to `end`, without what only workers and those who ask need.
async fn read_events(parts: &Parts, from: i64, end: i64) -> Result<Vec<Event>, TaskError> {
    let target = Topics::log(&parts.topics.events);
    let mut events = Vec::new();
    read_range(&parts.cluster, &target, from, Some(end), |mut record| {
        let name = record.headers.first().map(|h| h.key.as_str());
        if matches!(name, Some("assigned" | "progress" | "done")) {
            record.value = None;
        }
        match Event::read(&record) {
            Some(Event::Checkpoint(..)) | None => {}
            Some(event) => events.push(event),
        }
    })
    .await?;
    Ok(events)
}

/// Reads each lane as far as the events speak of it; gives where each ends.
async fn read_submissions(
    parts: &Parts,
    state: &mut State,
    history: &[Event],
) -> Result<[i64; LANES], TaskError> {
    let (mut ends, mut lane_ends) = ([0_i64; LANES], [0_i64; LANES]);
    for event in history {
        let (Event::Decided { place, .. } | Event::Reported { place, .. }) = event else {
            continue;
        };
        if let Some(end) = ends.get_mut(place.index()) {
            *end = (*end).max(place.offset.saturating_add(1));
        }
    }
    let (cluster, topic) = (&parts.cluster, &parts.topics.tasks);
    let lanes = || (0..LANES).map(|lane| parts.topics.lane(lane).partition);
    let starts = lookup_all(cluster, topic, lanes(), OffsetSpec::Earliest).await?;
    let limits = lookup_all(cluster, topic, lanes(), OffsetSpec::Latest).await?;
    for ((lane, end), lane_end) in ends.into_iter().enumerate().zip(&mut lane_ends) {
        let target = parts.topics.lane(lane);
        let known = |offsets: &BTreeMap<PartitionIndex, i64>| {
            offsets.get(&target.partition).copied().unwrap_or(0)
        };
        // An event that names what is not there, whoever wrote it, must not be waited for.
        *lane_end = known(&limits);
        let end = end.min(*lane_end);
        state.raise_position(lane, known(&starts));
        let from = state.position(lane);
        if from >= end {
            continue;
        }
        read_range(&parts.cluster, &target, from, Some(end), |record| {
            if let Some(task) = Submitted::read(&record) {
                state.submitted(task);
            }
        })
        .await?;
        state.raise_position(lane, end);
    }
    Ok(lane_ends)
}
