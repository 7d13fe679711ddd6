//! AlterPartition (key 56): a leader asks the controller for other in-sync replicas (KIP-497).
//!
//! From version 2 on topics go by id; from version 3 on each replica comes with the incarnation that
//! the leader has heard from (KIP-903).

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse, AlterPartitionResponsePartition,
    AlterPartitionResponseTopic, PartitionData,
};
use nyala_coordinator::cluster::PartitionState;
use nyala_coordinator::ids::{
    BrokerEpoch, BrokerId, LeaderEpoch, PartitionIndex, TopicName, TopicPartition,
};

use super::{Context, Operation, Resource};
use crate::cluster::{IsrError, IsrRequest};

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: AlterPartitionRequest) -> AlterPartitionResponse {
    if !cx.authorize(Operation::ClusterAction, Resource::Cluster) {
        return refused(ErrorCode::ClusterAuthorizationFailed);
    }
    let mut wishes = Vec::new();
    let mut topics = Vec::new();
    for topic in request.topics {
        let name = match cx.version {
            0 | 1 => TopicName::new(&topic.topic_name).ok(),
            _ => cx.services.cluster.topic_name(topic.topic_id),
        };
        let partitions = topic.partitions.iter().map(|data| match &name {
            Some(name) => {
                wishes.push(wish(name, data));
                (data.partition_index, Ok(wishes.len() - 1))
            }
            None if cx.version < 2 => (
                data.partition_index,
                Err(ErrorCode::UnknownTopicOrPartition),
            ),
            None => (data.partition_index, Err(ErrorCode::UnknownTopicId)),
        });
        let partitions: Vec<_> = partitions.collect();
        topics.push((topic.topic_name, topic.topic_id, partitions));
    }
    let cluster = &cx.services.cluster;
    let (leader, epoch) = (
        BrokerId(request.broker_id),
        BrokerEpoch(request.broker_epoch),
    );
    let answers = match cluster.alter_partition(leader, epoch, wishes).await {
        Ok(answers) => answers,
        Err(error) => return refused((&error).into()),
    };
    let topics = topics
        .into_iter()
        .map(|(topic_name, topic_id, partitions)| {
            let partitions = partitions.into_iter().map(|(index, place)| {
                match place.map(|at: usize| answers.get(at)) {
                    Ok(Some(Ok(state))) => granted(index, state),
                    Ok(Some(Err(error))) => not_granted(index, code(cx.version, error)),
                    Ok(None) => not_granted(index, ErrorCode::UnknownServerError),
                    Err(error) => not_granted(index, error),
                }
            });
            AlterPartitionResponseTopic {
                topic_name,
                topic_id,
                partitions: partitions.collect(),
            }
        });
    AlterPartitionResponse {
        topics: topics.collect(),
        ..AlterPartitionResponse::default()
    }
}

fn wish(topic: &TopicName, data: &PartitionData) -> IsrRequest {
    let plain = data.new_isr.iter().map(|id| (BrokerId(*id), None));
    let with_epochs = data.new_isr_with_epochs.iter().map(|broker| {
        let epoch = (broker.broker_epoch >= 0).then_some(BrokerEpoch(broker.broker_epoch));
        (BrokerId(broker.broker_id), epoch)
    });
    IsrRequest {
        partition: TopicPartition {
            topic: topic.clone(),
            partition: PartitionIndex(data.partition_index),
        },
        leader_epoch: LeaderEpoch(data.leader_epoch),
        partition_epoch: data.partition_epoch,
        isr: plain.chain(with_epochs).collect(),
        recovering: data.leader_recovery_state == 1,
    }
}

/// Before version 2 there was no word for a replica that may not be in sync (KIP-841).
fn code(version: i16, error: &IsrError) -> ErrorCode {
    match ErrorCode::from(error) {
        ErrorCode::IneligibleReplica if version < 2 => ErrorCode::OperationNotAttempted,
        code => code,
    }
}

fn granted(index: i32, state: &PartitionState) -> AlterPartitionResponsePartition {
    AlterPartitionResponsePartition {
        partition_index: index,
        leader_id: state.leader.map_or(-1, |b| b.0),
        leader_epoch: state.leader_epoch.0,
        isr: state.isr.iter().map(|b| b.0).collect(),
        partition_epoch: state.version,
        ..AlterPartitionResponsePartition::default()
    }
}

fn not_granted(index: i32, error: ErrorCode) -> AlterPartitionResponsePartition {
    AlterPartitionResponsePartition {
        partition_index: index,
        error_code: error.code(),
        ..AlterPartitionResponsePartition::default()
    }
}

fn refused(error: ErrorCode) -> AlterPartitionResponse {
    AlterPartitionResponse {
        error_code: error.code(),
        ..AlterPartitionResponse::default()
    }
}
