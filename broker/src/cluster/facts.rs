//! What a controller tells this broker in its requests, in the cluster's own types, and why it may
//! be refused.
//!
//! The same facts stand in ZooKeeper; a request only brings them sooner, and its answer says that they
//! are applied. Knows nothing of the wire.

use std::collections::BTreeSet;

use nyala_coordinator::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, TopicId, TopicPartition,
};

/// Who gives an order, and to which incarnation of this broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlHead {
    /// The broker that takes itself for the controller.
    pub controller: BrokerId,
    /// Its epoch.
    pub controller_epoch: ControllerEpoch,
    /// Epoch of this broker as the controller knows it; `None`: it does not say (KIP-380).
    pub broker_epoch: Option<BrokerEpoch>,
}

/// Why a whole order is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Another controller has been elected since.
    #[error("controller epoch {asked} is older than {current}")]
    StaleController {
        /// Epoch in the request.
        asked: ControllerEpoch,
        /// Newest that this broker has heard of.
        current: ControllerEpoch,
    },
    /// Meant for an earlier incarnation of this broker.
    #[error("broker epoch {asked} is older than {current}")]
    StaleBroker {
        /// Epoch in the request.
        asked: BrokerEpoch,
        /// Ours.
        current: BrokerEpoch,
    },
    /// This broker is going down.
    #[error("this broker is stopping")]
    Stopping,
}

/// What LeaderAndIsr says about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFacts {
    /// Which.
    pub partition: TopicPartition,
    /// Id of its topic; `None` for one from before KIP-516.
    pub topic_id: Option<TopicId>,
    /// Who leads it.
    pub leader: Option<BrokerId>,
    /// Since which epoch.
    pub leader_epoch: LeaderEpoch,
    /// Version of its state's node.
    pub partition_epoch: i32,
    /// In-sync replicas.
    pub isr: Vec<BrokerId>,
    /// Where it lives, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Replicas that a reassignment adds.
    pub adding: Vec<BrokerId>,
    /// Replicas that a reassignment removes.
    pub removing: Vec<BrokerId>,
    /// Whether the partition has just been made.
    pub is_new: bool,
}

/// More replicas than any partition has. Much of what a leader decides looks at each for each.
const REPLICAS_MAX: usize = 1000;

impl PartitionFacts {
    /// Whether there can be such a partition, whoever says so.
    pub(super) fn check(&self) -> Result<(), FactError> {
        let impossible = |reason| FactError::Impossible {
            partition: self.partition.clone(),
            reason,
        };
        if self.partition.partition.0 < 0 {
            return Err(impossible("the partition's number is negative"));
        }
        for brokers in [&self.isr, &self.replicas, &self.adding, &self.removing] {
            if brokers.len() > REPLICAS_MAX {
                return Err(impossible("more replicas than a partition may have"));
            }
            let distinct: BTreeSet<&BrokerId> = brokers.iter().collect();
            if distinct.len() < brokers.len() {
                return Err(impossible("a broker is named twice"));
            }
        }
        Ok(())
    }
}

/// Why one partition's facts were not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactError {
    /// This broker knows newer ones.
    #[error("{0}: newer facts are known here")]
    Stale(TopicPartition),
    /// The facts do not name this broker as a replica.
    #[error("{0} has no replica on this broker")]
    NotReplica(TopicPartition),
    /// No cluster has a partition like this.
    #[error("{partition}: {reason}")]
    Impossible {
        /// Which.
        partition: TopicPartition,
        /// What is wrong.
        reason: &'static str,
    },
    /// The partition that is here belongs to a topic of the same name with another id.
    #[error(
        "{partition} is here under another topic id, {} and not {}", shown(*here), shown(*asked)
    )]
    OtherTopic {
        /// Which.
        partition: TopicPartition,
        /// Id of the topic that is here.
        here: Option<TopicId>,
        /// Id of the topic that was meant.
        asked: Option<TopicId>,
    },
    /// This broker is to lead in an epoch that is over.
    #[error(
        "{partition}: the log here has epoch {here}; ZooKeeper has lost that, or somebody has set it back: \
         the partition waits until its epoch is above {here}"
    )]
    SetBack {
        /// Which.
        partition: TopicPartition,
        /// Latest epoch of the log.
        here: LeaderEpoch,
    },
    /// Its records should be here and are not, or the disk fails.
    #[error("{partition}: {reason}")]
    Storage {
        /// Which.
        partition: TopicPartition,
        /// What is wrong.
        reason: String,
    },
}

/// What StopReplica says about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopFacts {
    /// Which.
    pub partition: TopicPartition,
    /// Until when it may serve.
    pub until: StopEpoch,
    /// Whether its data goes too.
    pub delete: bool,
}

/// The epoch of a StopReplica (KIP-570).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopEpoch {
    /// A partition that is in a later epoch here stays.
    Leader(LeaderEpoch),
    /// The topic is being deleted (-2): all epochs end.
    Deletion,
    /// The controller does not say (-1): whatever is here is meant.
    Unknown,
}

/// Why one partition was not stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// It is in a later epoch here.
    #[error("{partition} is in epoch {here} here, {asked} was to end")]
    Fenced {
        /// Which.
        partition: TopicPartition,
        /// Epoch here.
        here: LeaderEpoch,
        /// Epoch in the request.
        asked: LeaderEpoch,
    },
    /// Its data cannot be deleted.
    #[error("{partition}: {reason}")]
    Storage {
        /// Which.
        partition: TopicPartition,
        /// What is wrong.
        reason: String,
    },
}

fn shown(id: Option<TopicId>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

#[cfg(test)]
mod tests {
    use nyala_coordinator::ids::{PartitionIndex, TopicName};

    use super::*;

    fn facts(partition: i32, isr: Vec<i32>, replicas: Vec<i32>) -> PartitionFacts {
        let ids = |ids: Vec<i32>| ids.into_iter().map(BrokerId).collect();
        PartitionFacts {
            partition: TopicPartition {
                topic: TopicName::new("t").expect("legal"),
                partition: PartitionIndex(partition),
            },
            topic_id: None,
            leader: Some(BrokerId(1)),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            isr: ids(isr),
            replicas: ids(replicas),
            adding: Vec::new(),
            removing: Vec::new(),
            is_new: true,
        }
    }

    #[test]
    fn what_no_cluster_has_is_refused() {
        assert_eq!(facts(0, vec![1, 2], vec![1, 2, 3]).check(), Ok(()));
        let many: Vec<i32> = (0..1001).collect();
        assert_eq!(facts(0, vec![1], many[..1000].to_vec()).check(), Ok(()));
        let impossible = [
            facts(-1, vec![1], vec![1]),
            facts(0, vec![1], many),
            facts(0, vec![1, 1], vec![1, 2]),
            facts(0, vec![1], vec![1, 2, 2]),
            PartitionFacts {
                adding: vec![BrokerId(4), BrokerId(4)],
                ..facts(0, vec![1], vec![1])
            },
        ];
        for facts in impossible {
            let refused = facts.check();
            assert!(
                matches!(refused, Err(FactError::Impossible { .. })),
                "{refused:?}"
            );
        }
    }
}
