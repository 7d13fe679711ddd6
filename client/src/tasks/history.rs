//! Reads a queue's topics for those who ask: all of them, or what concerns one task.

use std::collections::{BTreeMap, HashMap};

use nyala_coordinator::ids::{PartitionIndex, TopicPartition};

use super::error::TaskError;
use super::event::Event;
use super::queue::Parts;
use super::scheduler::{DEAD, dead_place, is_referred};
use super::tail::{read_at, read_range};
use super::task::{LANES, Options, Place, Submitted, TASK, Task, TaskId, header};
use super::topics::Topics;
use super::view::{TaskState, TaskStatus, View};
use crate::consumer::positions::{OffsetSpec, lookup, lookup_all};

/// Clocks of submitters and workers may differ by so much.
const CLOCKS_MS: i64 = 60 * 1000;

/// What became of `wanted`, or of all tasks.
pub(super) async fn read_view(
    parts: &Parts,
    wanted: Option<&TaskId>,
) -> Result<Vec<TaskStatus>, TaskError> {
    let (cluster, topics) = (&parts.cluster, &parts.topics);
    let events = Topics::log(&topics.events);
    let earliest = lookup(cluster, &events, OffsetSpec::Earliest).await?;
    // An id that was made here tells where its history begins.
    let since = wanted
        .and_then(TaskId::made_ms)
        .map(|ms| (ms - CLOCKS_MS).max(0));
    let from = match since {
        Some(ms) => begin(parts, &events, ms).await?,
        None => earliest,
    };
    let view = View::new(wanted.cloned(), from == earliest && earliest > 0);
    let mut view = view.of_topic(topics.tasks_id(cluster));
    let key = wanted.map(|id| id.as_str().as_bytes());
    read_range(cluster, &events, from, None, |record| {
        let other = key.is_some() && record.key.is_some() && record.key.as_deref() != key;
        if !other && let Some(event) = Event::read(&record) {
            view.event(event, record.timestamp_ms);
        }
    })
    .await?;
    for (lane, start) in lane_starts(parts, since).await? {
        let target = topics.lane(lane);
        read_range(cluster, &target, start, None, |record| {
            if key.is_none_or(|key| record.key.is_none() || record.key.as_deref() == Some(key))
                && let Some(task) = Submitted::read(&record)
            {
                view.submitted(task);
            }
        })
        .await?;
    }
    Ok(view.finish())
}

/// The first offset at or after a time.
async fn begin(parts: &Parts, target: &TopicPartition, ms: i64) -> Result<i64, TaskError> {
    let found = lookup(&parts.cluster, target, OffsetSpec::Timestamp(ms)).await?;
    if found >= 0 {
        return Ok(found);
    }
    Ok(lookup(&parts.cluster, target, OffsetSpec::Latest).await?)
}

async fn lane_starts(parts: &Parts, since: Option<i64>) -> Result<BTreeMap<usize, i64>, TaskError> {
    let topic = &parts.topics.tasks;
    let lanes = || (0..LANES).map(|lane| parts.topics.lane(lane).partition);
    let spec = since.map_or(OffsetSpec::Earliest, OffsetSpec::Timestamp);
    let mut starts = lookup_all(&parts.cluster, topic, lanes(), spec).await?;
    // Nothing that late in the lane: its end. A submission of this moment is never missed so.
    let missing: Vec<PartitionIndex> = lanes().filter(|p| starts.get(p) == Some(&-1)).collect();
    let ends = lookup_all(&parts.cluster, topic, missing, OffsetSpec::Latest).await?;
    starts.extend(ends);
    let index = |p: PartitionIndex| usize::try_from(p.0).unwrap_or(0);
    Ok(starts.into_iter().map(|(p, at)| (index(p), at)).collect())
}

/// The dead tasks that lie in the dead letters and were not submitted again, as new submissions.
pub(super) async fn dead_letters(parts: &Parts) -> Result<Vec<(TaskId, Task)>, TaskError> {
    let listed = read_view(parts, None).await?;
    let dead = listed.into_iter().filter(|t| t.state == TaskState::Dead);
    let mut dead: HashMap<Place, TaskId> = dead.map(|t| (t.place, t.id)).collect();
    let target = Topics::log(&parts.topics.dead);
    let earliest = lookup(&parts.cluster, &target, OffsetSpec::Earliest).await?;
    let mut found = Vec::new();
    read_range(&parts.cluster, &target, earliest, None, |record| {
        let letter = header(&record.headers, DEAD);
        let place = letter.and_then(dead_place);
        // A letter that was written twice counts once.
        let Some(place) = place else {
            return;
        };
        // Not the letter of an earlier topic's task at the same place.
        let named = |id: &TaskId| record.key.as_deref() == Some(id.as_str().as_bytes());
        let Some(id) = dead.get(&place).filter(|id| named(id)).cloned() else {
            return;
        };
        dead.remove(&place);
        let options = header(&record.headers, TASK).map(Options::read);
        let options = Options {
            due_ms: 0,
            unique: true,
            redriven: true,
            ..options.unwrap_or_default()
        };
        let task = Task {
            id: Some(id.clone()),
            payload: record.value.unwrap_or_default(),
            options,
        };
        let referred = letter.is_some_and(is_referred).then_some(place);
        found.push((id, task, referred));
    })
    .await?;
    let mut letters = Vec::with_capacity(found.len());
    for (id, mut task, referred) in found {
        if let Some(place) = referred {
            let target = parts.topics.lane(place.index());
            match read_at(&parts.cluster, &target, place.offset).await {
                Ok(record) => task.payload = record.value.unwrap_or_default(),
                Err(error @ TaskError::Gone { .. }) => {
                    tracing::warn!(%id, %error, "a dead task cannot be redriven");
                    continue;
                }
                Err(error) => return Err(error),
            }
        }
        letters.push((id, task));
    }
    Ok(letters)
}
