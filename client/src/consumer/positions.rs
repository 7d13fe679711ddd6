//! Where a partition begins and ends: ListOffsets, asked of the leader.

use std::collections::BTreeMap;
use std::time::Duration;

use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};

use crate::cluster::Cluster;
use crate::config::OffsetReset;
use crate::error::{ClusterError, ConsumerError};
use crate::wire::ErrorCode;
use crate::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};

/// Tries before a partition's leader counts as silent.
const TRIES: u32 = 50;
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
    let mut last = ConsumerError::NoOffset {
        target: target.clone(),
    };
    for _ in 0..TRIES {
        match once(cluster, target, spec).await {
            Ok((ErrorCode::None, offset)) => return Ok(offset),
            Ok((code, _)) => {
                let target = target.clone();
                last = ConsumerError::Refused { target, code };
                if !code.retriable() {
                    return Err(last);
                }
            }
            Err(error) => last = error.into(),
        }
        cluster.refresh();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(last)
}

async fn once(
    cluster: &Cluster,
    target: &TopicPartition,
    spec: OffsetSpec,
) -> Result<(ErrorCode, i64), ClusterError> {
    let leader = cluster.topology().leader(&target.topic, target.partition);
    let Some(leader) = leader else {
        return Ok((ErrorCode::LeaderNotAvailable, -1));
    };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: target.topic.as_str().to_owned(),
            partitions: vec![ListOffsetsPartition {
                partition_index: target.partition.0,
                timestamp: spec.code(),
                ..ListOffsetsPartition::default()
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
