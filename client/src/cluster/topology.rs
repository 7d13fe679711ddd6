//! One snapshot of the cluster. Pure data; never changed once it is published.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use nyala_coordinator::ids::{
    BrokerId, LeaderEpoch, PartitionIndex, TopicId, TopicName, TopicPartition,
};
use nyala_coordinator::recipes::balance::Slot;

use crate::wire::ErrorCode;

/// Brokers and partitions at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Id of the cluster, where known.
    pub cluster_id: Option<String>,
    /// The controller, where known.
    pub controller: Option<BrokerId>,
    /// Live brokers.
    pub brokers: BTreeMap<BrokerId, BrokerAddress>,
    /// Topics: all of them through ZooKeeper, those of interest through a broker.
    pub topics: BTreeMap<TopicName, Arc<TopicTopology>>,
    /// Topics of interest that a broker would not describe, and why.
    pub refusals: BTreeMap<TopicName, ErrorCode>,
}

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `broker.rack`.
    pub rack: Option<String>,
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') && !self.host.starts_with('[') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One topic. Invariant: `slots` are sorted, and name partitions of `partitions` only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicTopology {
    /// Topic id, where known.
    pub id: Option<TopicId>,
    /// All partitions.
    pub partitions: BTreeMap<PartitionIndex, PartitionTopology>,
    /// Partitions with a live leader, ordered by (broker id, partition): the round of a producer.
    pub slots: Vec<Slot>,
}

/// One partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionTopology {
    /// Leader; `None` while there is none alive.
    pub leader: Option<BrokerId>,
    /// Its epoch, where known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Replicas, in order of preference.
    pub replicas: Vec<BrokerId>,
    /// Replicas in sync.
    pub isr: Vec<BrokerId>,
}

impl TopicTopology {
    /// Puts the partitions in order.
    #[must_use]
    pub fn new(
        id: Option<TopicId>,
        partitions: BTreeMap<PartitionIndex, PartitionTopology>,
    ) -> Self {
        let slot = |(partition, p): (&PartitionIndex, &PartitionTopology)| {
            Some(Slot {
                broker: p.leader?,
                partition: *partition,
            })
        };
        let mut slots: Vec<Slot> = partitions.iter().filter_map(slot).collect();
        slots.sort_unstable();
        Self {
            id,
            partitions,
            slots,
        }
    }
}

impl Topology {
    /// Leader of a partition, if it is alive and its address known.
    #[must_use]
    pub fn leader(&self, topic: &TopicName, partition: PartitionIndex) -> Option<BrokerId> {
        let leader = self.topics.get(topic)?.partitions.get(&partition)?.leader?;
        self.brokers.contains_key(&leader).then_some(leader)
    }

    /// Epoch of a partition's leader, if it is known.
    #[must_use]
    pub fn leader_epoch(&self, target: &TopicPartition) -> Option<LeaderEpoch> {
        let topic = self.topics.get(&target.topic)?;
        topic.partitions.get(&target.partition)?.leader_epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_ordered_by_broker_then_partition() {
        let led = |broker: Option<i32>| PartitionTopology {
            leader: broker.map(BrokerId),
            ..PartitionTopology::default()
        };
        let leaders = [Some(2), Some(0), None, Some(0), Some(1)];
        let partitions = (0..).map(PartitionIndex).zip(leaders.map(led)).collect();
        let topic = TopicTopology::new(None, partitions);
        let order: Vec<(i32, i32)> = topic
            .slots
            .iter()
            .map(|s| (s.broker.0, s.partition.0))
            .collect();
        assert_eq!(order, [(0, 1), (0, 3), (1, 4), (2, 0)]);
    }

    #[test]
    fn ipv6_addresses_get_brackets() {
        let address = |host: &str| BrokerAddress {
            host: host.to_owned(),
            port: 9,
            rack: None,
        };
        assert_eq!(address("::1").to_string(), "[::1]:9");
        assert_eq!(address("h").to_string(), "h:9");
    }
}
