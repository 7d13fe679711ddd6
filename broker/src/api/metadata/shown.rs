//! How the cluster looks to one client: through its listener, in its version. Pure.

use std::collections::HashMap;

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::metadata::{MetadataResponsePartition, MetadataResponseTopic};
use nyala_coordinator::cluster::{ClusterSnapshot, PartitionInfo, TopicInfo};
use nyala_coordinator::ids::{BrokerId, PartitionIndex, TopicId, TopicName};

use super::super::{endpoints, is_internal};

/// One client's view of one snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) snapshot: &'a ClusterSnapshot,
    /// Listener that the client came through.
    pub(super) listener: &'a str,
    /// Version of the request.
    pub(super) version: i16,
}

/// A topic that is not shown, and why.
pub(super) fn error(name: Option<String>, error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: error.code(),
        is_internal: name.as_deref().is_some_and(is_internal),
        name,
        ..MetadataResponseTopic::default()
    }
}

impl View<'_> {
    /// The topic of this name, or why there is none.
    pub(super) fn by_name(&self, name: &str) -> MetadataResponseTopic {
        let Ok(topic) = TopicName::new(name) else {
            return error(Some(name.to_owned()), ErrorCode::InvalidTopicException);
        };
        match self.snapshot.topics.get(&topic) {
            Some(info) => self.topic(&topic, info),
            None => error(Some(name.to_owned()), ErrorCode::UnknownTopicOrPartition),
        }
    }

    /// The topics of these ids, or why there are none; an invisible one does not exist.
    pub(super) fn by_ids(
        &self,
        ids: &[TopicId],
        visible: impl Fn(&str) -> bool,
    ) -> Vec<MetadataResponseTopic> {
        let topics = self.snapshot.topics.iter();
        let topics = topics.filter_map(|(name, info)| Some((info.id?, (name, info))));
        let topics: HashMap<_, _> = topics.collect();
        let show = |id: &TopicId| match topics.get(id) {
            Some((name, info)) if visible(name.as_str()) => self.topic(name, info),
            _ => MetadataResponseTopic {
                topic_id: *id,
                ..error(None, ErrorCode::UnknownTopicId)
            },
        };
        ids.iter().map(show).collect()
    }

    /// A topic with its partitions.
    pub(super) fn topic(&self, name: &TopicName, info: &TopicInfo) -> MetadataResponseTopic {
        let partitions = info.partitions.iter();
        MetadataResponseTopic {
            error_code: ErrorCode::None.code(),
            topic_id: info.id.unwrap_or_default(),
            is_internal: is_internal(name.as_str()),
            partitions: partitions
                .map(|(index, info)| self.partition(*index, info))
                .collect(),
            name: Some(name.to_string()),
            ..MetadataResponseTopic::default()
        }
    }

    fn partition(&self, index: PartitionIndex, info: &PartitionInfo) -> MetadataResponsePartition {
        let (leader, leader_epoch, isr) = match &info.state {
            Some(state) => (state.leader, state.leader_epoch.0, state.isr.as_slice()),
            None => (None, -1, &[][..]),
        };
        let there = |id: &BrokerId| endpoints::is_reachable(self.snapshot, *id, self.listener);
        let numbers = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
        let offline: Vec<_> = info
            .replicas
            .iter()
            .copied()
            .filter(|id| !there(id))
            .collect();
        let (error, leader) = match leader {
            Some(leader) if there(&leader) => (ErrorCode::None, Some(leader)),
            // The leader lives, but not at the client's listener (KIP-103).
            Some(leader) if self.version >= 6 && self.snapshot.brokers.contains_key(&leader) => {
                (ErrorCode::ListenerNotFound, None)
            }
            _ => (ErrorCode::LeaderNotAvailable, None),
        };
        MetadataResponsePartition {
            error_code: error.code(),
            partition_index: index.0,
            leader_id: leader.map_or(-1, |id| id.0),
            leader_epoch,
            replica_nodes: numbers(&info.replicas),
            isr_nodes: numbers(isr),
            offline_replicas: numbers(&offline),
        }
    }
}

#[cfg(test)]
mod tests;
