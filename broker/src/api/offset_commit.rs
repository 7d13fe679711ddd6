//! OffsetCommit (key 8): where a group goes on reading. Every partition has its own answer.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use nyala_coordinator::ids::TopicName;

use super::error_code::code_of;
use super::{Context, Operation, Resource};
use crate::groups::{Commit, NewOffset};

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let group = request.group_id;
    let may = cx.authorize(Operation::Read, Resource::Group(&group));
    let mut answer = OffsetCommitResponse::default();
    let mut offsets = Vec::new();
    for topic in request.topics {
        let refused = match may {
            true => collect(cx, &topic, &mut offsets),
            false => vec![Some(ErrorCode::GroupAuthorizationFailed); topic.partitions.len()],
        };
        let partitions = topic.partitions.iter().zip(refused);
        let partition = |(partition, refused): (&_, Option<ErrorCode>)| {
            let asked: &nyala_client::wire::messages::offset_commit::OffsetCommitRequestPartition =
                partition;
            OffsetCommitResponsePartition {
                partition_index: asked.partition_index,
                error_code: refused.map_or(TO_BE_COMMITTED, ErrorCode::code),
            }
        };
        let partitions = partitions.map(partition).collect();
        let name = topic.name;
        answer
            .topics
            .push(OffsetCommitResponseTopic { name, partitions });
    }
    if offsets.is_empty() {
        return answer;
    }
    let commit = Commit {
        member: request.member_id,
        instance: request.group_instance_id,
        generation: request.generation_id_or_member_epoch,
        retention_ms: request.retention_time_ms,
        offsets,
    };
    let results = cx.services.groups.commit(&group, commit).await;
    let partitions = answer
        .topics
        .iter_mut()
        .flat_map(|t| t.partitions.iter_mut());
    let open = partitions.filter(|p| p.error_code == TO_BE_COMMITTED);
    for (partition, result) in open.zip(&results) {
        partition.error_code = code_of(result);
    }
    answer
}

/// Stands in an answer for a partition whose commit is still to be tried; no error has it.
const TO_BE_COMMITTED: i16 = i16::MIN;

/// Adds the partitions that exist to `offsets`; for the others gives the reason, in their order.
fn collect(
    cx: &Context,
    topic: &OffsetCommitRequestTopic,
    offsets: &mut Vec<NewOffset>,
) -> Vec<Option<ErrorCode>> {
    let refused = |error| vec![Some(error); topic.partitions.len()];
    if !cx.authorize(Operation::Read, Resource::Topic(&topic.name)) {
        return refused(ErrorCode::TopicAuthorizationFailed);
    }
    let Ok(name) = TopicName::new(&topic.name) else {
        return refused(ErrorCode::UnknownTopicOrPartition);
    };
    let exists = cx.services.partitions_of(&name);
    let mut reasons = Vec::with_capacity(topic.partitions.len());
    for partition in &topic.partitions {
        if !exists(partition.partition_index) {
            reasons.push(Some(ErrorCode::UnknownTopicOrPartition));
            continue;
        }
        offsets.push(NewOffset {
            place: (name.clone(), partition.partition_index),
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: partition.committed_metadata.clone().unwrap_or_default(),
        });
        reasons.push(None);
    }
    reasons
}
