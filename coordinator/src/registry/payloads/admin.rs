//! Pending administrative work and notices to the controller. As `payloads.rs`, of which they are a
//! part.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{PayloadError, bad, encode, one, parse};
use crate::ids::{BrokerId, PartitionIndex, TopicName, TopicPartition};

/// Partitions with the replicas that they shall have.
pub type Reassignments = Vec<(TopicPartition, Vec<BrokerId>)>;

#[derive(Serialize, Deserialize)]
struct PartitionsJson {
    #[serde(default = "one")]
    version: i32,
    partitions: Vec<PartitionJson>,
}

#[derive(Serialize, Deserialize)]
struct PartitionJson {
    topic: String,
    partition: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replicas: Option<Vec<i32>>,
}

fn named(what: &'static str, json: &PartitionJson) -> Result<TopicPartition, PayloadError> {
    let topic = TopicName::new(&json.topic).map_err(|_| bad(what, "topic", &json.topic))?;
    if json.partition < 0 {
        return Err(bad(what, "partition", json.partition));
    }
    Ok(TopicPartition {
        topic,
        partition: PartitionIndex(json.partition),
    })
}

/// `/admin/reassign_partitions`, version 1.
#[must_use]
pub fn encode_reassignments(wanted: &[(TopicPartition, Vec<BrokerId>)]) -> Vec<u8> {
    let partitions = wanted.iter().map(|(tp, replicas)| PartitionJson {
        topic: tp.topic.to_string(),
        partition: tp.partition.0,
        replicas: Some(replicas.iter().map(|b| b.0).collect()),
    });
    encode(&PartitionsJson {
        version: 1,
        partitions: partitions.collect(),
    })
}

/// What `read` makes of the entries that name a partition. The others are told and left out, as Kafka's
/// controller does; an error when there is no other.
fn of_entries<T>(
    what: &'static str,
    data: &[u8],
    read: impl Fn(TopicPartition, PartitionJson) -> T,
) -> Result<Vec<T>, PayloadError> {
    let json: PartitionsJson = parse(what, data)?;
    let mut read_well = Vec::new();
    let mut refused = None;
    for entry in json.partitions {
        match named(what, &entry) {
            Ok(tp) => read_well.push(read(tp, entry)),
            Err(error) => {
                tracing::warn!("{error}: this entry is left out");
                refused.get_or_insert(error);
            }
        }
    }
    match refused {
        Some(error) if read_well.is_empty() => Err(error),
        _ => Ok(read_well),
    }
}

/// Reads `/admin/reassign_partitions`; the replicas are as they were written, good or not. Of several entries for a
/// partition the last one counts, as with Kafka.
pub fn decode_reassignments(data: &[u8]) -> Result<Reassignments, PayloadError> {
    let replicas = |entry: PartitionJson| entry.replicas.unwrap_or_default();
    let all: Reassignments = of_entries("pending reassignments", data, |tp, entry| {
        (tp, replicas(entry).into_iter().map(BrokerId).collect())
    })?;
    let (mut seen, mut wanted) = (BTreeSet::new(), Reassignments::new());
    for (tp, replicas) in all.into_iter().rev() {
        if seen.insert(tp.clone()) {
            wanted.push((tp, replicas));
        }
    }
    wanted.reverse();
    Ok(wanted)
}

/// `/admin/preferred_replica_election`, version 1.
#[must_use]
pub fn encode_preferred_election(wanted: &[TopicPartition]) -> Vec<u8> {
    let partitions = wanted.iter().map(|tp| PartitionJson {
        topic: tp.topic.to_string(),
        partition: tp.partition.0,
        replicas: None,
    });
    encode(&PartitionsJson {
        version: 1,
        partitions: partitions.collect(),
    })
}

/// Reads `/admin/preferred_replica_election`.
pub fn decode_preferred_election(data: &[u8]) -> Result<Vec<TopicPartition>, PayloadError> {
    of_entries("a pending election", data, |tp, _| tp)
}

#[derive(Serialize, Deserialize)]
struct LogDirEventJson {
    #[serde(default = "one")]
    version: i32,
    broker: i32,
    #[serde(default = "one")]
    event: i32,
}

/// A notice in `/log_dir_event_notification`: a log folder of `broker` has failed.
#[must_use]
pub fn encode_log_dir_event(broker: BrokerId) -> Vec<u8> {
    encode(&LogDirEventJson {
        version: 1,
        broker: broker.0,
        event: 1,
    })
}

/// Which broker a notice in `/log_dir_event_notification` is about.
pub fn decode_log_dir_event(data: &[u8]) -> Result<BrokerId, PayloadError> {
    parse::<LogDirEventJson>("a notice of a log folder", data).map(|json| BrokerId(json.broker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_names_no_partition_does_not_take_the_others_along() {
        let json = br#"{"partitions":[
            {"topic":"a/b","partition":0,"replicas":[1]},
            {"topic":"t","partition":-1,"replicas":[1]},
            {"topic":"t","partition":3,"replicas":[1]}]}"#;
        let good = TopicPartition {
            topic: TopicName::new("t").expect("legal"),
            partition: PartitionIndex(3),
        };
        let wanted = vec![(good.clone(), vec![BrokerId(1)])];
        assert_eq!(decode_reassignments(json), Ok(wanted));
        assert_eq!(decode_preferred_election(json), Ok(vec![good]));
    }

    #[test]
    fn pending_work_is_kafkas_json() {
        let tp = TopicPartition {
            topic: TopicName::new("t").expect("legal"),
            partition: PartitionIndex(3),
        };
        let wanted = vec![(tp.clone(), vec![BrokerId(2), BrokerId(1)])];
        let json = br#"{"version":1,"partitions":[{"topic":"t","partition":3,"replicas":[2,1]}]}"#;
        assert_eq!(encode_reassignments(&wanted), json);
        assert_eq!(decode_reassignments(json), Ok(wanted.clone()));
        let twice = br#"{"partitions":[{"topic":"t","partition":3,"replicas":[1]},{"topic":"t","partition":3,"replicas":[2,1]}]}"#;
        assert_eq!(decode_reassignments(twice), Ok(wanted));
        let json = br#"{"version":1,"partitions":[{"topic":"t","partition":3}]}"#;
        assert_eq!(encode_preferred_election(std::slice::from_ref(&tp)), json);
        assert_eq!(decode_preferred_election(json), Ok(vec![tp]));
        let json = br#"{"version":1,"broker":7,"event":1}"#;
        assert_eq!(encode_log_dir_event(BrokerId(7)), json);
        assert_eq!(decode_log_dir_event(json), Ok(BrokerId(7)));
        assert!(
            decode_reassignments(br#"{"partitions":[{"topic":"a/b","partition":0}]}"#).is_err()
        );
        assert_eq!(decode_reassignments(br#"{"partitions":[]}"#), Ok(vec![]));
        assert!(
            decode_preferred_election(br#"{"partitions":[{"topic":"a","partition":-1}]}"#).is_err()
        );
    }
}
