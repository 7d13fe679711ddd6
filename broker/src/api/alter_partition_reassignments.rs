//! AlterPartitionReassignments (key 45): partitions move to other replicas, or stop moving (KIP-455).

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ReassignablePartitionResponse, ReassignableTopic, ReassignableTopicResponse,
};
use nyala_coordinator::ids::{BrokerId, PartitionIndex, TopicName, TopicPartition};

use super::{Context, Operation, Resource};
use crate::cluster::{Move, Moved, ReassignError};

/// Answers one request.
pub(super) async fn handle(
    cx: &Context,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    if !cx.authorize(Operation::Alter, Resource::Cluster) {
        return refused(ErrorCode::ClusterAuthorizationFailed, None);
    }
    let moves = request.topics.iter().flat_map(moves_of).collect();
    match cx.services.cluster.alter_reassignments(moves).await {
        Ok(moved) => {
            let topics = request.topics.into_iter();
            AlterPartitionReassignmentsResponse {
                responses: topics.map(|topic| answer(topic, &moved)).collect(),
                ..AlterPartitionReassignmentsResponse::default()
            }
        }
        Err(error) => refused((&error).into(), Some(error.to_string())),
    }
}

fn moves_of(topic: &ReassignableTopic) -> Vec<Move> {
    let Ok(name) = TopicName::new(&topic.name) else {
        return Vec::new();
    };
    let partitions = topic.partitions.iter().map(|partition| {
        let replicas = partition.replicas.as_ref();
        let tp = TopicPartition {
            topic: name.clone(),
            partition: PartitionIndex(partition.partition_index),
        };
        (
            tp,
            replicas.map(|ids| ids.iter().copied().map(BrokerId).collect()),
        )
    });
    partitions.collect()
}

fn answer(topic: ReassignableTopic, moved: &Moved) -> ReassignableTopicResponse {
    let name = TopicName::new(&topic.name).ok();
    let outcome = |index| {
        let topic = name.clone()?;
        let partition = PartitionIndex(index);
        moved.get(&TopicPartition { topic, partition })
    };
    let partitions = topic.partitions.into_iter().map(|partition| {
        let index = partition.partition_index;
        let error = match outcome(index) {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(error.clone()),
            None => Some(ReassignError::Unknown),
        };
        let code = error.as_ref().map_or(ErrorCode::None, ErrorCode::from);
        ReassignablePartitionResponse {
            partition_index: index,
            error_code: code.code(),
            error_message: error.map(|error| error.to_string()),
        }
    });
    ReassignableTopicResponse {
        partitions: partitions.collect(),
        name: topic.name,
    }
}

fn refused(error: ErrorCode, message: Option<String>) -> AlterPartitionReassignmentsResponse {
    AlterPartitionReassignmentsResponse {
        error_code: error.code(),
        error_message: message,
        ..AlterPartitionReassignmentsResponse::default()
    }
}
