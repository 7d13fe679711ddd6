//! ListOffsets (key 2): first, last, newest, or the first offset at or after a time.
//!
//! Looking for a time reads indexes and a piece of the log, so it is done on the blocking pool.

use std::collections::HashSet;
use std::sync::Arc;

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use nyala_coordinator::ids::LeaderEpoch;

use super::{Context, Operation, Resource};
use crate::replication::{Isolation, Partition};
use crate::storage::ReadError;

/// What a timestamp below zero asks for.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// Older clients know only `LEADER_NOT_AVAILABLE` for an offset that is not known yet.
const OFFSET_NOT_AVAILABLE_FROM: i16 = 5;

/// One answer: timestamp, offset and leader epoch, each -1 where there is none.
type Found = (i64, i64, Option<LeaderEpoch>);
const NOTHING: Found = (-1, -1, None);

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let isolation = match (request.replica_id, request.isolation_level) {
        // A follower that looks for the ends of its leader's log.
        (0.., _) => Isolation::LogEnd,
        (_, 1) => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    };
    let mut seen = HashSet::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let twice = !seen.insert((topic.name.clone(), asked.partition_index));
            let found = match twice {
                true => Err(ErrorCode::InvalidRequest),
                false => find(cx, &topic.name, asked, isolation).await,
            };
            partitions.push(answer(asked.partition_index, found));
        }
        topics.push(ListOffsetsTopicResponse {
            name: topic.name,
            partitions,
        });
    }
    ListOffsetsResponse {
        throttle_time_ms: 0,
        topics,
    }
}

fn answer(partition_index: i32, found: Result<Found, ErrorCode>) -> ListOffsetsPartitionResponse {
    let (error, (timestamp, offset, epoch)) = match found {
        Ok(found) => (ErrorCode::None, found),
        Err(error) => (error, NOTHING),
    };
    ListOffsetsPartitionResponse {
        partition_index,
        error_code: error.code(),
        timestamp,
        offset,
        leader_epoch: epoch.map_or(-1, |epoch| epoch.0),
    }
}

async fn find(
    cx: &Context,
    topic: &str,
    asked: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<Found, ErrorCode> {
    if !cx.authorize(Operation::Describe, Resource::Topic(topic)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    // Each of the special timestamps came with a version of its own.
    let known_from = match asked.timestamp {
        0.. | LATEST | EARLIEST => 1,
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        _ => i16::MAX,
    };
    if cx.version < known_from {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let services = &cx.services;
    let partition = (services.partitions)
        .get(topic, asked.partition_index)
        .ok_or_else(|| services.absent_partition(topic, asked.partition_index))?;
    let known_epoch = (asked.current_leader_epoch >= 0).then_some(asked.current_leader_epoch);
    let offsets = partition
        .offsets(known_epoch)
        .map_err(|error| ErrorCode::from(&error))?;
    let end = match isolation {
        Isolation::ReadUncommitted => offsets.high_watermark,
        Isolation::ReadCommitted => offsets.last_stable,
        Isolation::LogEnd => offsets.next,
    };
    let log = Arc::clone(partition.log());
    // What a new leader says to clients must not be behind what its predecessor said (KIP-207).
    let known = match isolation {
        Isolation::LogEnd => Ok(()),
        _ => partition.check_watermark_known(),
    };
    let known = known.map_err(|error| match ErrorCode::from(&error) {
        ErrorCode::OffsetNotAvailable if cx.version < OFFSET_NOT_AVAILABLE_FROM => {
            ErrorCode::LeaderNotAvailable
        }
        code => code,
    });
    match asked.timestamp {
        LATEST => known.map(|()| (-1, end, partition.leading())),
        EARLIEST | EARLIEST_LOCAL => {
            let start = offsets.log_start;
            Ok((-1, start, log.lock().epoch_at(start)))
        }
        LATEST_TIERED => Ok(NOTHING),
        timestamp_ms => match search(partition, timestamp_ms, end).await? {
            NOTHING => known.map(|()| NOTHING),
            found => Ok(found),
        },
    }
}

/// Looks into the log.
async fn search(
    partition: Arc<Partition>,
    timestamp_ms: i64,
    end: i64,
) -> Result<Found, ErrorCode> {
    let searched = tokio::task::spawn_blocking(move || {
        let log = partition.log().lock();
        let found = match timestamp_ms {
            MAX_TIMESTAMP => log.offset_of_max_timestamp()?,
            timestamp_ms => log.offset_for_timestamp(timestamp_ms, end)?,
        };
        Ok::<_, ReadError>(found.filter(|found| found.offset < end))
    });
    match searched.await {
        Ok(Ok(found)) => Ok(found.map_or(NOTHING, |f| (f.timestamp_ms, f.offset, f.leader_epoch))),
        Ok(Err(error)) => Err(ErrorCode::from(&error)),
        Err(_) => Err(ErrorCode::UnknownServerError),
    }
}
