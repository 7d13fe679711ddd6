//! ListPartitionReassignments (key 46): which partitions are moving, and from where to where.

use std::collections::{BTreeMap, BTreeSet};

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use nyala_coordinator::ids::BrokerId;

use super::{Context, Operation, Resource};

/// Answers one request.
#[expect(
    clippy::unused_async,
    reason = "every row of the table has the same form"
)]
pub(super) async fn handle(
    cx: &Context,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    if !cx.authorize(Operation::Describe, Resource::Cluster) {
        return refused(ErrorCode::ClusterAuthorizationFailed, None);
    }
    let moving = match cx.services.cluster.reassignments() {
        Ok(moving) => moving,
        Err(error) => return refused((&error).into(), Some(error.to_string())),
    };
    let asked: Option<BTreeSet<(String, i32)>> = request.topics.map(|topics| {
        let topics = topics.into_iter();
        topics
            .flat_map(|t| {
                t.partition_indexes
                    .into_iter()
                    .map(move |p| (t.name.clone(), p))
            })
            .collect()
    });
    let numbers = |brokers: &[BrokerId]| brokers.iter().map(|b| b.0).collect::<Vec<_>>();
    let mut topics: BTreeMap<String, Vec<OngoingPartitionReassignment>> = BTreeMap::new();
    for (tp, info) in moving {
        let place = (tp.topic.to_string(), tp.partition.0);
        if asked.as_ref().is_none_or(|asked| asked.contains(&place)) {
            let partitions = topics.entry(place.0).or_default();
            partitions.push(OngoingPartitionReassignment {
                partition_index: place.1,
                replicas: numbers(&info.replicas),
                adding_replicas: numbers(&info.adding_replicas),
                removing_replicas: numbers(&info.removing_replicas),
            });
        }
    }
    let topics = topics.into_iter();
    ListPartitionReassignmentsResponse {
        topics: topics
            .map(|(name, partitions)| OngoingTopicReassignment { name, partitions })
            .collect(),
        ..ListPartitionReassignmentsResponse::default()
    }
}

fn refused(error: ErrorCode, message: Option<String>) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse {
        error_code: error.code(),
        error_message: message,
        ..ListPartitionReassignmentsResponse::default()
    }
}
