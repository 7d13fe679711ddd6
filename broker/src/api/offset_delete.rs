//! OffsetDelete (key 47): removes offsets of topics that the group does not read (KIP-496).

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse,
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use nyala_coordinator::ids::TopicName;

use super::error_code::code_of;
use super::{Context, Operation, Resource};

type Places = Vec<(TopicName, i32)>;

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let refused = |error: ErrorCode| OffsetDeleteResponse {
        error_code: error.code(),
        ..OffsetDeleteResponse::default()
    };
    let group = &request.group_id;
    if !cx.authorize(Operation::Delete, Resource::Group(group)) {
        return refused(ErrorCode::GroupAuthorizationFailed);
    }
    let mut places = Places::new();
    let topics = request.topics.iter();
    let reasons: Vec<_> = topics.map(|t| collect(cx, t, &mut places)).collect();
    let results = match cx.services.groups.delete_offsets(group, &places) {
        Ok(results) => results,
        Err(error) => return refused(error.into()),
    };
    let mut results = results.iter();
    let mut answer = OffsetDeleteResponse::default();
    for (topic, reasons) in request.topics.into_iter().zip(reasons) {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (partition, reason) in topic.partitions.iter().zip(reasons) {
            let error_code = match reason {
                Some(error) => error.code(),
                None => results.next().map_or(0, code_of),
            };
            partitions.push(OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code,
            });
        }
        let name = topic.name;
        answer
            .topics
            .push(OffsetDeleteResponseTopic { name, partitions });
    }
    answer
}

/// Adds the partitions that exist to `places`; for the others gives the reason, in their order.
fn collect(
    cx: &Context,
    topic: &OffsetDeleteRequestTopic,
    places: &mut Places,
) -> Vec<Option<ErrorCode>> {
    let refused = |error| vec![Some(error); topic.partitions.len()];
    if !cx.authorize(Operation::Read, Resource::Topic(&topic.name)) {
        return refused(ErrorCode::TopicAuthorizationFailed);
    }
    let Ok(name) = TopicName::new(&topic.name) else {
        return refused(ErrorCode::UnknownTopicOrPartition);
    };
    let exists = cx.services.partitions_of(&name);
    let reason = |partition: i32| {
        if !exists(partition) {
            return Some(ErrorCode::UnknownTopicOrPartition);
        }
        places.push((name.clone(), partition));
        None
    };
    let partitions = topic.partitions.iter();
    partitions.map(|p| p.partition_index).map(reason).collect()
}
