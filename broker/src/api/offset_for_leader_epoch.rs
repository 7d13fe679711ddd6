//! OffsetForLeaderEpoch (key 23): where an epoch ended, so that a reader finds out whether what it
//! read before a change of leader was cut off (KIP-101, KIP-320).

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use nyala_coordinator::ids::LeaderEpoch;

use super::{Context, Operation, Resource};

/// Answers one request.
pub(super) async fn handle(
    cx: &Context,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter();
        let partitions = partitions.map(|asked| answer(asked, find(cx, &topic.topic, asked)));
        OffsetForLeaderTopicResult {
            partitions: partitions.collect(),
            topic: topic.topic.clone(),
        }
    });
    OffsetForLeaderEpochResponse {
        throttle_time_ms: 0,
        topics: topics.collect(),
    }
}

fn answer(
    asked: &OffsetForLeaderPartition,
    found: Result<Option<(i32, i64)>, ErrorCode>,
) -> EpochEndOffset {
    let error = found.err().unwrap_or(ErrorCode::None);
    let (leader_epoch, end_offset) = found.ok().flatten().unwrap_or((-1, -1));
    EpochEndOffset {
        error_code: error.code(),
        partition: asked.partition,
        leader_epoch,
        end_offset,
    }
}

/// The largest epoch of the log that is not above the one asked for, and where it ended; nothing for
/// an epoch that the log does not know yet.
fn find(
    cx: &Context,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<(i32, i64)>, ErrorCode> {
    if !cx.authorize(Operation::Describe, Resource::Topic(topic)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let services = &cx.services;
    let partition = (services.partitions)
        .get(topic, asked.partition)
        .ok_or_else(|| services.absent_partition(topic, asked.partition))?;
    let known_epoch = (asked.current_leader_epoch >= 0).then_some(asked.current_leader_epoch);
    let end = partition
        .epoch_end(LeaderEpoch(asked.leader_epoch), known_epoch)
        .map_err(|error| ErrorCode::from(&error))?;
    Ok(end.map(|end| (end.leader_epoch.0, end.end_offset)))
}
