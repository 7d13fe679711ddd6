//! DeleteRecords (key 21): moves the start of logs up; what lies below is gone for readers.

use std::sync::Arc;

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};

use super::{Context, Operation, Resource};
use crate::replication::Partition;

/// Asks for everything below the high watermark.
const UP_TO_HIGH_WATERMARK: i64 = -1;

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let deleted = delete(cx, &topic.name, asked.partition_index, asked.offset).await;
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark: deleted.unwrap_or(-1),
                error_code: deleted.err().unwrap_or(ErrorCode::None).code(),
            });
        }
        topics.push(DeleteRecordsTopicResult {
            name: topic.name,
            partitions,
        });
    }
    DeleteRecordsResponse {
        throttle_time_ms: 0,
        topics,
    }
}

async fn delete(cx: &Context, topic: &str, index: i32, offset: i64) -> Result<i64, ErrorCode> {
    if !cx.authorize(Operation::Delete, Resource::Topic(topic)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    if super::is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let services = &cx.services;
    let partition = (services.partitions)
        .get(topic, index)
        .ok_or_else(|| services.absent_partition(topic, index))?;
    let deleted = tokio::task::spawn_blocking(move || delete_before(&partition, offset));
    deleted.await.unwrap_or(Err(ErrorCode::UnknownServerError))
}

/// The new start of the log.
fn delete_before(partition: &Arc<Partition>, offset: i64) -> Result<i64, ErrorCode> {
    let mut log = partition.log().lock();
    partition
        .check_epoch(None)
        .map_err(|error| ErrorCode::from(&error))?;
    if !log.config().cleanup_delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let high_watermark = log.high_watermark();
    let offset = match offset {
        UP_TO_HIGH_WATERMARK => high_watermark,
        offset => offset,
    };
    if !(0..=high_watermark).contains(&offset) {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    if offset <= log.log_start() {
        return Ok(log.log_start());
    }
    log.delete_before(offset)
        .map_err(|error| ErrorCode::from(&error))
}
