//! DescribeLogDirs (key 35): the log folders of this broker, what lies in them and what room is left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use nyala_coordinator::ids::TopicPartition;

use super::{Context, Operation, Resource};
use crate::storage::{DirState, LogDirs, SharedLog};

/// Answers one request.
pub(super) async fn handle(
    cx: &Context,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    if !cx.authorize(Operation::Describe, Resource::Cluster) {
        return DescribeLogDirsResponse {
            error_code: ErrorCode::ClusterAuthorizationFailed.code(),
            ..DescribeLogDirsResponse::default()
        };
    }
    let dirs = std::sync::Arc::clone(&cx.services.log_dirs);
    // Asks the file system for its free space.
    let results = tokio::task::spawn_blocking(move || describe(&dirs, request.topics.as_deref()));
    DescribeLogDirsResponse {
        results: results.await.unwrap_or_default(),
        ..DescribeLogDirsResponse::default()
    }
}

fn describe(
    dirs: &LogDirs,
    asked: Option<&[DescribableLogDirTopic]>,
) -> Vec<DescribeLogDirsResult> {
    let wanted: Option<BTreeSet<(&str, i32)>> = asked.map(|topics| {
        let each = |topic: &'_ DescribableLogDirTopic| topic.partitions.clone();
        let topics = topics
            .iter()
            .map(|topic| (topic.topic.as_str(), each(topic)));
        topics
            .flat_map(|(name, list)| list.into_iter().map(move |p| (name, p)))
            .collect()
    });
    let mut logs = dirs.logs();
    if let Some(wanted) = wanted {
        logs.retain(|tp, _| wanted.contains(&(tp.topic.as_str(), tp.partition.0)));
    }
    let states = dirs.states();
    states
        .into_iter()
        .map(|state| one_dir(&state, &logs))
        .collect()
}

fn one_dir(state: &DirState, logs: &BTreeMap<TopicPartition, SharedLog>) -> DescribeLogDirsResult {
    let log_dir = state.path.to_string_lossy().into_owned();
    if state.offline.is_some() {
        return DescribeLogDirsResult {
            error_code: ErrorCode::KafkaStorageError.code(),
            log_dir,
            ..DescribeLogDirsResult::default()
        };
    }
    let mut topics: Vec<DescribeLogDirsTopic> = Vec::new();
    for (tp, log) in logs {
        let Some(partition) = one_log(tp, log, &state.path) else {
            continue;
        };
        match topics.last_mut() {
            Some(last) if last.name == tp.topic.as_str() => last.partitions.push(partition),
            _ => topics.push(DescribeLogDirsTopic {
                name: tp.topic.to_string(),
                partitions: vec![partition],
            }),
        }
    }
    DescribeLogDirsResult {
        error_code: ErrorCode::None.code(),
        log_dir,
        topics,
        total_bytes: signed(state.total_bytes),
        usable_bytes: signed(state.usable_bytes),
    }
}

/// The log, if it lies in `dir`.
fn one_log(tp: &TopicPartition, log: &SharedLog, dir: &Path) -> Option<DescribeLogDirsPartition> {
    let log = log.lock();
    if log.dir().parent() != Some(dir) {
        return None;
    }
    Some(DescribeLogDirsPartition {
        partition_index: tp.partition.0,
        partition_size: signed(log.size_bytes()),
        offset_lag: (log.high_watermark() - log.next_offset()).max(0),
        is_future_key: false,
    })
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
