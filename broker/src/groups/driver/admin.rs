//! Looking at groups and removing them or their offsets; expiry.

use std::sync::Arc;

use nyala_coordinator::ids::TopicName;

use super::{EmptyId, Groups};
use crate::groups::error::GroupError;
use crate::groups::log::WriteError;
use crate::groups::offsets::Place;
use crate::groups::records::OffsetRecord;
use crate::groups::shard::{Cell, Inner, Status};
use crate::groups::state::{State, Summary};

/// A group as ListGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overview {
    /// Group id.
    pub(crate) group: Arc<str>,
    /// Protocol type, empty if none.
    pub(crate) protocol_type: String,
    /// Kafka's name of the state.
    pub(crate) state: &'static str,
}

/// A partition as OffsetFetch shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FetchedOffset {
    /// Partition.
    pub(crate) partition: i32,
    /// What is committed, if anything is.
    pub(crate) committed: Result<Option<OffsetRecord>, GroupError>,
}

/// The one type of group of the classic protocol (KIP-848 has others).
const CLASSIC: &str = "classic";

impl Groups {
    /// ListGroups, with filters that are empty or name states and types in any case. The error
    /// comes along with the groups of the partitions that are loaded.
    pub(crate) fn list(
        &self,
        states: &[String],
        types: &[String],
    ) -> (Option<GroupError>, Vec<Overview>) {
        let wanted = |name: &str, of: &[String]| {
            of.is_empty() || of.iter().any(|w| w.eq_ignore_ascii_case(name))
        };
        let shards: Vec<_> = self.shards.read().values().cloned().collect();
        let loading = |s: &Arc<_>| {
            let shard: &crate::groups::shard::Shard = s;
            shard.state.lock().status == Status::Loading
        };
        let error = shards
            .iter()
            .any(loading)
            .then_some(GroupError::CoordinatorLoadInProgress);
        if !wanted(CLASSIC, types) {
            return (error, Vec::new());
        }
        let mut listed = Vec::new();
        for cell in shards.iter().flat_map(|s| s.cells()) {
            let inner = cell.inner.lock();
            let state = inner.group.state();
            if state != State::Dead && wanted(state.name(), states) {
                listed.push(Overview {
                    group: Arc::clone(&cell.id),
                    protocol_type: inner.group.protocol_type().unwrap_or("").to_owned(),
                    state: state.name(),
                });
            }
        }
        (error, listed)
    }

    /// DescribeGroups; `None` if there is no such group.
    pub(crate) fn describe(&self, group: &str) -> Result<Option<Summary>, GroupError> {
        let cell = self.find(group, EmptyId::Taken)?;
        Ok(cell.map(|cell| cell.inner.lock().group.summary()))
    }

    /// OffsetFetch of some partitions of a topic.
    pub(crate) fn fetch_offsets(
        &self,
        group: &str,
        wanted: &[(String, Vec<i32>)],
        require_stable: bool,
    ) -> Result<Vec<Vec<FetchedOffset>>, GroupError> {
        let cell = self.find(group, EmptyId::Taken)?;
        let inner = cell.as_ref().map(|cell| cell.inner.lock());
        let of_topic = |(topic, partitions): &(String, Vec<i32>)| {
            let one =
                |partition: &i32| fetched(inner.as_deref(), topic, *partition, require_stable);
            partitions.iter().map(one).collect()
        };
        Ok(wanted.iter().map(of_topic).collect())
    }

    /// OffsetFetch of all partitions that have an offset.
    pub(crate) fn fetch_all_offsets(
        &self,
        group: &str,
        require_stable: bool,
    ) -> Result<Vec<(TopicName, Vec<FetchedOffset>)>, GroupError> {
        let Some(cell) = self.find(group, EmptyId::Taken)? else {
            return Ok(Vec::new());
        };
        let inner = cell.inner.lock();
        let of_topic = |(topic, partitions): (&TopicName, Vec<i32>)| {
            let name = topic.as_str();
            let one = |p: i32| fetched(Some(&inner), name, p, require_stable);
            (topic.clone(), partitions.into_iter().map(one).collect())
        };
        Ok(inner.offsets.topics().map(of_topic).collect())
    }

    /// DeleteGroups, for one group: only without members.
    pub(crate) fn delete(&self, group: &str) -> Result<(), GroupError> {
        let cell = self
            .find(group, EmptyId::Taken)?
            .ok_or(GroupError::GroupIdNotFound)?;
        let mut inner = cell.inner.lock();
        match inner.group.state() {
            State::Empty => {}
            State::Dead => return Err(GroupError::GroupIdNotFound),
            _ => return Err(GroupError::NonEmptyGroup),
        }
        // The log first: a group that is only forgotten would come back with the next leader.
        let written = inner.group.generation() > 0;
        let places = inner.offsets.places();
        let result = self.write_tombstones(&cell, &places, written);
        result.map_err(WriteError::of_group)?;
        for place in &places {
            inner.offsets.remove(place);
        }
        let pending = inner.group.pending_members();
        inner.group.delete()?;
        self.count_pending(pending, 0);
        self.forget(&cell);
        tracing::info!(group, offsets = places.len(), "group deleted");
        Ok(())
    }

    /// OffsetDelete: a result for each place, in their order. Topics that members of a consumer
    /// group subscribe to keep their offsets; other groups must be empty.
    pub(crate) fn delete_offsets(
        &self,
        group: &str,
        places: &[Place],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        let cell = self
            .find(group, EmptyId::Refused)?
            .ok_or(GroupError::GroupIdNotFound)?;
        let mut inner = cell.inner.lock();
        match inner.group.state() {
            State::Dead => return Err(GroupError::GroupIdNotFound),
            State::Empty => {}
            _ if inner.group.is_consumer_group() => {}
            _ => return Err(GroupError::NonEmptyGroup),
        }
        let empty = inner.group.state() == State::Empty;
        let subscribed = inner.group.subscribed_topics();
        let kept = |topic: &TopicName| match subscribed {
            _ if empty => false,
            Some(topics) => topics.contains(topic.as_str()),
            None => true,
        };
        let result = |(topic, _): &Place| match kept(topic) {
            true => Err(GroupError::GroupSubscribedToTopic),
            false => Ok(()),
        };
        let results: Vec<Result<(), GroupError>> = places.iter().map(result).collect();
        let going = places.iter().zip(&results).filter(|(_, r)| r.is_ok());
        let going: Vec<Place> = going.map(|(place, _)| place.clone()).collect();
        self.remove_offsets(&cell, &mut inner, &going)
            .map_err(WriteError::of_group)?;
        Ok(results)
    }

    /// A topic is gone: so are its offsets, in all groups.
    pub(crate) fn forget_topic(&self, topic: &TopicName) {
        for cell in self.all_cells() {
            let mut inner = cell.inner.lock();
            let places: Vec<Place> = inner
                .offsets
                .places()
                .into_iter()
                .filter(|(t, _)| t == topic)
                .collect();
            if let Err(error) = self.remove_offsets(&cell, &mut inner, &places) {
                tracing::warn!(group = &*cell.id, %topic, %error, "offsets of a deleted topic stay");
            }
        }
    }

    /// Removes the offsets whose time is over and the groups that have nothing left. Returns how
    /// many offsets went.
    pub(crate) fn expire_offsets(&self, now_ms: i64) -> usize {
        let mut count = 0;
        for cell in self.all_cells() {
            let mut inner = cell.inner.lock();
            let retention_ms = self.settings.retention_ms;
            let expired = inner.offsets.expired(&inner.group, retention_ms, now_ms);
            match self.remove_offsets(&cell, &mut inner, &expired) {
                Ok(()) => count += expired.len(),
                // They are still there for the next round.
                Err(error) => {
                    tracing::warn!(group = &*cell.id, %error, "expired offsets stay");
                }
            }
        }
        count
    }

    /// Offsets that are not there need no tombstone.
    fn remove_offsets(
        &self,
        cell: &Arc<Cell>,
        inner: &mut Inner,
        places: &[Place],
    ) -> Result<(), WriteError> {
        let present: Vec<Place> = inner.offsets.present(places).into_iter().cloned().collect();
        self.write_tombstones(cell, &present, false)?;
        for place in &present {
            inner.offsets.remove(place);
        }
        self.drop_if_vacant(cell, inner);
        Ok(())
    }

    fn all_cells(&self) -> Vec<Arc<Cell>> {
        let shards: Vec<_> = self.shards.read().values().cloned().collect();
        shards.iter().flat_map(|s| s.cells()).collect()
    }
}

fn fetched(
    inner: Option<&Inner>,
    topic: &str,
    partition: i32,
    require_stable: bool,
) -> FetchedOffset {
    let alive = inner.filter(|i| i.group.state() != State::Dead);
    let committed = match alive {
        None => Ok(None),
        Some(i) if require_stable && i.offsets.is_unstable(topic, partition) => {
            Err(GroupError::UnstableOffsetCommit)
        }
        Some(i) => Ok(i.offsets.get(topic, partition).cloned()),
    };
    FetchedOffset {
        partition,
        committed,
    }
}
