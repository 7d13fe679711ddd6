//! DeleteRecords (key 21): moves the start of logs up; what lies below is gone for readers.

use std::sync::Arc;
use std::time::Duration;

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};

use tokio::time::Instant;

use super::{Context, Operation, Resource};
use crate::replication::{Partition, WaitSet};

/// Longest wait for followers, whatever the request says.
const TIMEOUT_MS_MAX: i32 = 300_000;
/// Asks for everything below the high watermark.
const UP_TO_HIGH_WATERMARK: i64 = -1;

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let timeout_ms = request.timeout_ms.clamp(0, TIMEOUT_MS_MAX).unsigned_abs();
    let deadline = Instant::now() + Duration::from_millis(timeout_ms.into());
    let mut deleted = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            partitions.push(delete(cx, &topic.name, asked.partition_index, asked.offset).await);
        }
        deleted.push(partitions);
    }
    let mut topics = Vec::with_capacity(request.topics.len());
    for (topic, deleted) in request.topics.into_iter().zip(deleted) {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (asked, deleted) in topic.partitions.iter().zip(deleted) {
            let low_watermark = match deleted {
                Ok((partition, start)) => follow(cx, &partition, start, deadline).await,
                Err(error) => Err(error),
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark: low_watermark.unwrap_or(-1),
                error_code: low_watermark.err().unwrap_or(ErrorCode::None).code(),
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

/// Waits until the followers that are alive have deleted up to `start` too.
async fn follow(
    cx: &Context,
    partition: &Arc<Partition>,
    start: i64,
    deadline: Instant,
) -> Result<i64, ErrorCode> {
    let mut waits = WaitSet::new();
    waits.add(partition);
    let mut snapshots = cx.services.cluster.subscribe();
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let low = partition.low_watermark(&|id| snapshot.brokers.contains_key(&id));
        match low {
            None => return Err(ErrorCode::NotLeaderOrFollower),
            Some(low) if low >= start => return Ok(low),
            Some(_) => {}
        }
        tokio::select! {
            () = waits.moved() => {}
            changed = snapshots.changed() => changed.map_err(|_| ErrorCode::RequestTimedOut)?,
            () = tokio::time::sleep_until(deadline) => return Err(ErrorCode::RequestTimedOut),
        }
    }
}

/// Deletes here; gives the new start of the log.
async fn delete(
    cx: &Context,
    topic: &str,
    index: i32,
    offset: i64,
) -> Result<(Arc<Partition>, i64), ErrorCode> {
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
    let deleting = Arc::clone(&partition);
    let deleted = tokio::task::spawn_blocking(move || delete_before(&deleting, offset));
    let start = deleted
        .await
        .unwrap_or(Err(ErrorCode::UnknownServerError))?;
    Ok((partition, start))
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
