//! StopReplica (key 5): the controller takes replicas from this broker, with or without their data.
//!
//! The only way in which a partition's data is deleted here. Kafka 3.9 sends version 4.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::stop_replica::{
    StopReplicaPartitionError, StopReplicaRequest, StopReplicaResponse,
};
use nyala_coordinator::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, PartitionIndex, TopicName, TopicPartition,
};

use super::{Context, Operation, Resource};
use crate::cluster::{ControlHead, StopEpoch, StopFacts};

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: StopReplicaRequest) -> StopReplicaResponse {
    if !cx.authorize(Operation::ClusterAction, Resource::Cluster) {
        return refused(ErrorCode::ClusterAuthorizationFailed);
    }
    let head = ControlHead {
        controller: BrokerId(request.controller_id),
        controller_epoch: ControllerEpoch(request.controller_epoch),
        broker_epoch: (request.broker_epoch >= 0).then_some(BrokerEpoch(request.broker_epoch)),
    };
    let mut facts = Vec::new();
    let mut asked = Vec::new();
    for (topic, index, epoch, delete) in partitions(&request) {
        let known = TopicName::new(&topic).ok().map(|topic| TopicPartition {
            topic,
            partition: PartitionIndex(index),
        });
        facts.extend(known.clone().map(|partition| StopFacts {
            partition,
            until: epoch_of(epoch),
            delete,
        }));
        asked.push((topic, index, known));
    }
    let failed = match cx.services.cluster.stop_replicas(head, facts).await {
        Err(error) => return refused((&error).into()),
        Ok(failed) => failed,
    };
    let answers = asked
        .into_iter()
        .map(|(topic_name, partition_index, known)| {
            let code = match known {
                Some(known) => failed.get(&known).map_or(ErrorCode::None, ErrorCode::from),
                None => ErrorCode::InvalidTopicException,
            };
            StopReplicaPartitionError {
                topic_name,
                partition_index,
                error_code: code.code(),
            }
        });
    StopReplicaResponse {
        error_code: ErrorCode::None.code(),
        partition_errors: answers.collect(),
    }
}

/// Topic, partition, epoch and whether to delete, in any version.
fn partitions(request: &StopReplicaRequest) -> Vec<(String, i32, i32, bool)> {
    let all = request.delete_partitions;
    let single = request.ungrouped_partitions.iter();
    let single = single.map(|p| (p.topic_name.clone(), p.partition_index, -1, all));
    let named = request.topics.iter().flat_map(|topic| {
        let each = topic.partition_indexes.iter();
        each.map(|index| (topic.name.clone(), *index, -1, all))
    });
    let states = request.topic_states.iter().flat_map(|topic| {
        let each = topic.partition_states.iter();
        each.map(|p| {
            let name = topic.topic_name.clone();
            (name, p.partition_index, p.leader_epoch, p.delete_partition)
        })
    });
    single.chain(named).chain(states).collect()
}

/// Kafka's two epochs that are none: -1 says nothing, -2 ends them all (KIP-570).
fn epoch_of(epoch: i32) -> StopEpoch {
    match epoch {
        -2 => StopEpoch::Deletion,
        0.. => StopEpoch::Leader(LeaderEpoch(epoch)),
        _ => StopEpoch::Unknown,
    }
}

fn refused(code: ErrorCode) -> StopReplicaResponse {
    StopReplicaResponse {
        error_code: code.code(),
        ..StopReplicaResponse::default()
    }
}
