//! The bytes that members of Kafka's classic groups exchange through the coordinator:
//! `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`. Pure.
//!
//! Other members may be any client in any version: what is read is bounded and checked, and what
//! follows the known fields is left alone.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};

use crate::wire::{DecodeError, EncodeError, Reader, Writer};

/// Name of the only assignor spoken here.
pub const RANGE: &str = "range";
/// Protocol type of consumers.
pub const CONSUMER: &str = "consumer";

/// A member's wish: its topics.
pub fn encode_subscription(topics: &BTreeSet<TopicName>) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(0);
    writer.count(topics.len());
    for topic in topics {
        writer.string(topic.as_str());
    }
    writer.bytes_or_null(None, true);
    writer.finish()
}

/// Reads a member's wish; topics that cannot exist are left out.
pub fn decode_subscription(bytes: &[u8]) -> Result<BTreeSet<TopicName>, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.i16();
    let count = reader.count_or_null(2, false).unwrap_or(0);
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        if let Ok(topic) = TopicName::new(reader.str()) {
            topics.insert(topic);
        }
        reader.check()?;
    }
    reader.check()?;
    Ok(topics)
}

/// A member's share, as the leader hands it to the coordinator.
pub fn encode_assignment(
    share: &BTreeMap<TopicName, Vec<PartitionIndex>>,
) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(0);
    writer.count(share.len());
    for (topic, partitions) in share {
        writer.string(topic.as_str());
        writer.count(partitions.len());
        for partition in partitions {
            writer.i32(partition.0);
        }
    }
    writer.bytes_or_null(None, true);
    writer.finish()
}

/// Reads a member's share. No bytes at all: nothing.
pub fn decode_assignment(bytes: &[u8]) -> Result<Vec<TopicPartition>, DecodeError> {
    let mut share = Vec::new();
    if bytes.is_empty() {
        return Ok(share);
    }
    let mut reader = Reader::new(bytes);
    reader.i16();
    let topics = reader.count_or_null(6, false).unwrap_or(0);
    for _ in 0..topics {
        let topic = TopicName::new(reader.str()).ok();
        let partitions = reader.count_or_null(4, false).unwrap_or(0);
        for _ in 0..partitions {
            let partition = PartitionIndex(reader.i32());
            if let Some(topic) = topic.clone().filter(|_| partition.0 >= 0) {
                share.push(TopicPartition { topic, partition });
            }
        }
        reader.check()?;
    }
    reader.check()?;
    Ok(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).expect("legal")
    }

    #[test]
    fn subscriptions_are_kafkas_bytes() {
        let topics: BTreeSet<TopicName> = [topic("ab")].into();
        let bytes = encode_subscription(&topics).expect("short");
        assert_eq!(&bytes[..], b"\0\0\0\0\0\x01\0\x02ab\xff\xff\xff\xff");
        assert_eq!(decode_subscription(&bytes), Ok(topics.clone()));
        // A later version adds fields behind.
        let mut later = b"\0\x03".to_vec();
        later.extend(&bytes[2..]);
        later.extend(b"\0\0\0\0\0\0\0\x01");
        assert_eq!(decode_subscription(&later), Ok(topics));
    }

    #[test]
    fn assignments_come_back() {
        let share = BTreeMap::from([(topic("t"), vec![PartitionIndex(2), PartitionIndex(0)])]);
        let bytes = encode_assignment(&share).expect("short");
        let read = decode_assignment(&bytes).expect("own bytes");
        let names: Vec<String> = read.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["t-2", "t-0"]);
        assert_eq!(decode_assignment(b""), Ok(Vec::new()));
    }

    #[test]
    fn hostile_bytes_are_errors() {
        for bytes in [&b"\0\0\x7f\xff\xff\xff"[..], b"\0\0\xff\xff\xff\xff", b"\0"] {
            assert!(decode_assignment(bytes).is_err(), "{bytes:?}");
            assert!(decode_subscription(bytes).is_err(), "{bytes:?}");
        }
    }
}
