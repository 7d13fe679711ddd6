//! The offsets that one group committed: what is in the log, what is on its way, what expired.
//! Pure: the driver appends and tells the outcome.

use std::collections::{BTreeMap, BTreeSet};

use nyala_coordinator::ids::TopicName;

use super::records::OffsetRecord;
use super::state::{Group, State};

/// One partition's offset within a group.
#[derive(Clone, Debug, Default)]
struct Slot {
    committed: Option<Committed>,
    /// Commits that are appended but not known to be replicated.
    pending: u32,
}

/// An offset with its place in the log: of two commits, the later one in the log counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// What was committed.
    pub(crate) record: OffsetRecord,
    /// Offset of the batch that says so.
    pub(crate) written_at: i64,
}

/// All offsets of one group, by topic and partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offsets {
    topics: BTreeMap<TopicName, BTreeMap<i32, Slot>>,
}

/// Names one offset of the group.
pub(crate) type Place = (TopicName, i32);

impl Offsets {
    /// True without any offset, committed or on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// How many partitions have one.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.topics.values().map(BTreeMap::len).sum()
    }

    /// The offset of a partition, if there is one.
    pub(crate) fn get(&self, topic: &str, partition: i32) -> Option<&OffsetRecord> {
        let slot = self.topics.get(topic)?.get(&partition)?;
        slot.committed.as_ref().map(|c| &c.record)
    }

    /// True while a commit of the partition is not known to be replicated (KIP-447).
    pub(crate) fn is_unstable(&self, topic: &str, partition: i32) -> bool {
        let slot = self.topics.get(topic).and_then(|t| t.get(&partition));
        slot.is_some_and(|s| s.pending > 0)
    }

    /// Topics and their partitions that have an offset.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&TopicName, Vec<i32>)> {
        let committed = |slots: &BTreeMap<i32, Slot>| {
            let with = slots.iter().filter(|(_, s)| s.committed.is_some());
            with.map(|(partition, _)| *partition).collect()
        };
        let topics = self
            .topics
            .iter()
            .map(move |(t, slots)| (t, committed(slots)));
        topics.filter(|(_, partitions): &(_, Vec<i32>)| !partitions.is_empty())
    }

    /// Every place that has an offset or waits for one.
    pub(crate) fn places(&self) -> Vec<Place> {
        let of = |(topic, slots): (&TopicName, &BTreeMap<i32, Slot>)| {
            let topic = topic.clone();
            let partitions: Vec<i32> = slots.keys().copied().collect();
            partitions.into_iter().map(move |p| (topic.clone(), p))
        };
        self.topics.iter().flat_map(of).collect()
    }

    /// Those of `places` that a tombstone has to be written for.
    pub(crate) fn present<'a>(&self, places: &'a [Place]) -> Vec<&'a Place> {
        let there = |p: &&Place| self.topics.get(&p.0).is_some_and(|t| t.contains_key(&p.1));
        places.iter().filter(there).collect()
    }

    /// A commit is on its way.
    pub(crate) fn begin(&mut self, place: &Place) {
        self.slot(place).pending += 1;
    }

    /// A commit that was on its way is replicated (with what it says) or failed.
    pub(crate) fn end(&mut self, place: &Place, committed: Option<Committed>) {
        let slots = self.topics.get_mut(&place.0);
        let Some(slot) = slots.and_then(|t| t.get_mut(&place.1)) else {
            // Deleted meanwhile: the tombstone is behind the commit in the log.
            return;
        };
        if slot.pending == 0 {
            return;
        }
        slot.pending -= 1;
        match committed {
            Some(committed) => slot.put(committed),
            None if slot.pending == 0 && slot.committed.is_none() => self.remove(place),
            None => {}
        }
    }

    /// A commit is in the log and replicated.
    pub(crate) fn put(&mut self, place: &Place, committed: Committed) {
        self.slot(place).put(committed);
    }

    /// Forgets the offset of a partition.
    pub(crate) fn remove(&mut self, place: &Place) {
        if let Some(slots) = self.topics.get_mut(&place.0) {
            slots.remove(&place.1);
            if slots.is_empty() {
                self.topics.remove(&place.0);
            }
        }
    }

    /// Offsets whose time is over, by KIP-211: with members, those of topics that nobody
    /// subscribes to, by their commit; without, all, by the moment the group became empty.
    pub(crate) fn expired(&self, group: &Group, retention_ms: i64, now_ms: i64) -> Vec<Place> {
        let nobody = BTreeSet::new();
        let (since_ms, kept) = match (group.protocol_type(), group.state()) {
            (None, _) => (None, &nobody),
            (Some(_), State::Empty) => (group.state_since_ms(), &nobody),
            (Some(_), State::Stable) if group.is_consumer_group() => {
                match group.subscribed_topics() {
                    Some(topics) => (None, topics),
                    None => return Vec::new(),
                }
            }
            (Some(_), _) => return Vec::new(),
        };
        let over = |slot: &Slot| match &slot.committed {
            Some(Committed { record, .. }) if slot.pending == 0 => match record.expire_ms {
                -1 => {
                    let since_ms = since_ms.unwrap_or(record.commit_ms);
                    now_ms.saturating_sub(since_ms) >= retention_ms
                }
                expire_ms => now_ms >= expire_ms,
            },
            _ => false,
        };
        let mut expired = Vec::new();
        for (topic, slots) in &self.topics {
            if !kept.contains(topic.as_str()) {
                let over = slots.iter().filter(|(_, slot)| over(slot));
                expired.extend(over.map(|(partition, _)| (topic.clone(), *partition)));
            }
        }
        expired
    }

    fn slot(&mut self, place: &Place) -> &mut Slot {
        let slots = self.topics.entry(place.0.clone()).or_default();
        slots.entry(place.1).or_default()
    }
}

impl Slot {
    fn put(&mut self, committed: Committed) {
        let newer = |c: &Committed| c.written_at <= committed.written_at;
        if self.committed.as_ref().is_none_or(newer) {
            self.committed = Some(committed);
        }
    }
}

#[cfg(test)]
mod tests;
