//! AlterPartition as a request of many wishes, and its answer as an outcome of each. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse, AlterPartitionResponsePartition, BrokerState,
    PartitionData, TopicData,
};
use nyala_coordinator::ids::{
    BrokerEpoch, BrokerId, LeaderEpoch, PartitionIndex, TopicId, TopicName, TopicPartition,
};

use super::{IsrAnswer, IsrWish, Partition};

/// Highest version: what Kafka's brokers speak in ZooKeeper mode.
const VERSION_MAX: i16 = 3;
/// Highest version that names topics by name.
const VERSION_OF_NAMES: i16 = 1;

/// A wish and whose it is.
pub(super) struct Sent {
    pub(super) partition: Arc<Partition>,
    pub(super) wish: IsrWish,
}

impl Sent {
    /// Whether the partition still waits for the answer.
    pub(super) fn is_current(&self) -> bool {
        self.partition.state().is_some_and(|state| {
            self.partition.leading() == Some(self.wish.leader_epoch)
                && state.partition_epoch == self.wish.partition_epoch
        })
    }
}

/// What to do about a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Ask again: nobody knows.
    Retry,
    /// Tell the partition.
    Answered(IsrAnswer),
}

/// The request, and the highest version that can say it.
pub(super) fn build<'a>(
    this: BrokerId,
    epoch: BrokerEpoch,
    wishes: impl Iterator<Item = &'a Sent>,
) -> (AlterPartitionRequest, i16) {
    let mut topics: BTreeMap<&TopicName, TopicData> = BTreeMap::new();
    let mut version = VERSION_MAX;
    for Sent { partition, wish } in wishes {
        let (name, id) = (&partition.id().topic, partition.topic_id());
        if id.is_none() {
            version = VERSION_OF_NAMES;
        }
        let topic = topics.entry(name).or_insert_with(|| TopicData {
            topic_name: name.as_str().to_owned(),
            topic_id: id.unwrap_or(TopicId::ZERO),
            partitions: Vec::new(),
        });
        let state = |&(id, broker_epoch): &(BrokerId, i64)| BrokerState {
            broker_id: id.0,
            broker_epoch,
        };
        // Which of the two ways to say it is written is up to the version.
        topic.partitions.push(PartitionData {
            partition_index: partition.id().partition.0,
            leader_epoch: wish.leader_epoch.0,
            new_isr: wish.isr.iter().map(|(id, _)| id.0).collect(),
            new_isr_with_epochs: wish.isr.iter().map(state).collect(),
            leader_recovery_state: 0,
            partition_epoch: wish.partition_epoch,
        });
    }
    let request = AlterPartitionRequest {
        broker_id: this.0,
        broker_epoch: epoch.0,
        topics: topics.into_values().collect(),
    };
    (request, version)
}

/// What the answer says about each wish that was sent.
pub(super) fn outcomes<'a>(
    response: &AlterPartitionResponse,
    wishes: impl Iterator<Item = &'a Sent>,
) -> Vec<(TopicPartition, Outcome)> {
    let whole = ErrorCode::from(response.error_code);
    let outcome = |sent: &Sent| {
        let answered = match whole.is_error() {
            true => None,
            false => find(response, &sent.partition),
        };
        answered.map_or(Outcome::Retry, decide)
    };
    wishes
        .map(|sent| (sent.partition.id().clone(), outcome(sent)))
        .collect()
}

fn find<'a>(
    response: &'a AlterPartitionResponse,
    partition: &Partition,
) -> Option<&'a AlterPartitionResponsePartition> {
    let TopicPartition {
        topic,
        partition: PartitionIndex(index),
    } = partition.id();
    let named = response.topics.iter().filter(|answered| {
        answered.topic_name == topic.as_str()
            || (answered.topic_id != TopicId::ZERO
                && Some(answered.topic_id) == partition.topic_id())
    });
    named
        .flat_map(|topic| &topic.partitions)
        .find(|answered| answered.partition_index == *index)
}

/// What a partition's answer means.
///
/// `INELIGIBLE_REPLICA` and `OPERATION_NOT_ATTEMPTED` say that the state is as the leader knows it
/// and was not changed. Other refusals may come after the change was made, by a request whose answer
/// was lost: only newer facts tell.
fn decide(answered: &AlterPartitionResponsePartition) -> Outcome {
    match ErrorCode::from(answered.error_code) {
        ErrorCode::None => Outcome::Answered(IsrAnswer::Changed {
            leader_epoch: LeaderEpoch(answered.leader_epoch),
            partition_epoch: answered.partition_epoch,
            isr: answered.isr.iter().map(|id| BrokerId(*id)).collect(),
        }),
        ErrorCode::IneligibleReplica | ErrorCode::OperationNotAttempted => {
            Outcome::Answered(IsrAnswer::NotApplied)
        }
        ErrorCode::InvalidUpdateVersion
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::InvalidRequest
        | ErrorCode::NewLeaderElected => Outcome::Answered(IsrAnswer::Outdated),
        // A controller that has not heard of the topic yet among them.
        _ => Outcome::Retry,
    }
}
