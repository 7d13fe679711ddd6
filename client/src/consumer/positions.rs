//! Where a partition begins and ends: ListOffsets, asked of the leader.

use std::collections::BTreeMap;
use std::time::Duration;

use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::config::OffsetReset;
use crate::error::{ClusterError, ConsumerError};
use crate::wire::ErrorCode;
use crate::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};

/// `default.api.timeout.ms`: how long a partition's leader may be away. A failover takes a ZooKeeper
/// session, which is seconds.
const LEADER_WAIT: Duration = Duration::from_secs(60);
/// A partition that nobody knows is waited for no longer than that.
const UNKNOWN_WAIT: Duration = Duration::from_secs(5);
/// Pause between two questions.
const RETRY: Duration = Duration::from_millis(100);
/// Versions above only add timestamps of their own meaning.
const LIST_OFFSETS_VERSION_MAX: i16 = 7;

/// What to look an offset up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first offset that is still there.
    Earliest,
    /// The offset after the last record.
    Latest,
    /// The first record at or after this time, in milliseconds since 1970.
    Timestamp(i64),
}

impl OffsetSpec {
    fn code(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest => -1,
            Self::Timestamp(ms) => ms.max(0),
        }
    }
}

/// Looks up one partition, through changes of its leader. -1: no such record.
pub async fn lookup(
    cluster: &Cluster,
    target: &TopicPartition,
    spec: OffsetSpec,
) -> Result<i64, ConsumerError> {
    let begun = Instant::now();
    loop {
        let (failure, patience) = match once(cluster, target, spec).await {
            Ok((ErrorCode::None, offset)) => return Ok(offset),
            Ok((code, _)) => {
                let patience = match code {
                    ErrorCode::UnknownTopicOrPartition => UNKNOWN_WAIT,
                    code if code.retriable() => LEADER_WAIT,
                    _ => Duration::ZERO,
                };
                let target = target.clone();
                (ConsumerError::Refused { target, code }, patience)
            }
            Err(error) => (error.into(), LEADER_WAIT),
        };
        if begun.elapsed() >= patience {
            return Err(failure);
        }
        cluster.refresh();
        tokio::time::sleep(RETRY).await;
    }
}

async fn once(
    cluster: &Cluster,
    target: &TopicPartition,
    spec: OffsetSpec,
) -> Result<(ErrorCode, i64), ClusterError> {
    let topology = cluster.topology();
    let Some(leader) = topology.leader(&target.topic, target.partition) else {
        let topic = topology.topics.get(&target.topic);
        let known = topic.is_some_and(|t| t.partitions.contains_key(&target.partition));
        let code = match known {
            true => ErrorCode::LeaderNotAvailable,
            false => ErrorCode::UnknownTopicOrPartition,
        };
        return Ok((code, -1));
    };
    let epoch = topology.leader_epoch(target);
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: target.topic.as_str().to_owned(),
            partitions: vec![ListOffsetsPartition {
                partition_index: target.partition.0,
                timestamp: spec.code(),
                current_leader_epoch: epoch.map_or(-1, |e| e.0),
            }],
        }],
        ..ListOffsetsRequest::default()
    };
    let connection = cluster.connection(leader).await?;
    let answer = connection
        .call_up_to(&request, LIST_OFFSETS_VERSION_MAX)
        .await?;
    let partitions = answer.topics.iter().flat_map(|t| &t.partitions);
    let mut found = partitions.filter(|p| p.partition_index == target.partition.0);
    Ok(match found.next() {
        Some(p) => (ErrorCode::from(p.error_code), p.offset),
        None => (ErrorCode::LeaderNotAvailable, -1),
    })
}

/// Looks up all `partitions` of a topic.
pub async fn lookup_all(
    cluster: &Cluster,
    topic: &TopicName,
    partitions: impl IntoIterator<Item = PartitionIndex>,
    spec: OffsetSpec,
) -> Result<BTreeMap<PartitionIndex, i64>, ConsumerError> {
    let each = partitions.into_iter().map(|partition| async move {
        let topic = topic.clone();
        let offset = lookup(cluster, &TopicPartition { topic, partition }, spec).await?;
        Ok::<_, ConsumerError>((partition, offset))
    });
    let found = futures::future::try_join_all(each).await?;
    Ok(found.into_iter().collect())
}

/// The offset that `auto.offset.reset` means for a partition.
pub(crate) async fn reset(
    cluster: &Cluster,
    target: &TopicPartition,
    reset: OffsetReset,
) -> Result<i64, ConsumerError> {
    let spec = match reset {
        OffsetReset::Earliest => OffsetSpec::Earliest,
        OffsetReset::Latest => OffsetSpec::Latest,
        OffsetReset::None => {
            return Err(ConsumerError::NoOffset {
                target: target.clone(),
            });
        }
    };
    lookup(cluster, target, spec).await
}
