//! A record on its way out, and where it ended up.

use bytes::Bytes;
use nyala_coordinator::ids::{PartitionIndex, TopicName};

/// One header of a record: a name and an optional value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name; may occur more than once.
    pub key: String,
    /// Value; `None` is Kafka's null.
    pub value: Option<Bytes>,
}

/// A record to send. Built with [`Record::new`] and the `with_*` calls:
///
/// ```text
/// let record = Record::new(topic, "value").with_key("key").with_header("trace", "42");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Topic.
    pub topic: TopicName,
    /// Partition; `None` leaves the choice to the partitioner.
    pub partition: Option<PartitionIndex>,
    /// Key; records with the same key go to the same partition, in order.
    pub key: Option<Bytes>,
    /// Value; `None` is a tombstone in a compacted topic.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// Milliseconds since 1970; `None`: the time of the call to `send`.
    pub timestamp_ms: Option<i64>,
}

impl Record {
    /// A record without key for `topic`.
    #[must_use]
    pub fn new(topic: TopicName, value: impl Into<Bytes>) -> Self {
        Self {
            topic,
            partition: None,
            key: None,
            value: Some(value.into()),
            headers: Vec::new(),
            timestamp_ms: None,
        }
    }

    /// With this key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// To exactly this partition.
    #[must_use]
    pub fn with_partition(mut self, partition: PartitionIndex) -> Self {
        self.partition = Some(partition);
        self
    }

    /// With one more header.
    #[must_use]
    pub fn with_header(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header {
            key: key.into(),
            value: Some(value.into()),
        });
        self
    }

    /// With this timestamp, in milliseconds since 1970.
    #[must_use]
    pub fn with_timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// Bytes of the record inside a batch, at most: its varints are counted at their widest use
    /// in a batch of the usual size.
    pub(crate) fn bytes(&self) -> usize {
        let field = |f: Option<&Bytes>| f.map_or(1, |f| varint_bytes(f.len()) + f.len());
        let headers: usize = self
            .headers
            .iter()
            .map(|h| varint_bytes(h.key.len()) + h.key.len() + field(h.value.as_ref()))
            .sum();
        // Attributes 1, timestamp delta 3, offset delta 3.
        let body = 7
            + field(self.key.as_ref())
            + field(self.value.as_ref())
            + varint_bytes(self.headers.len())
            + headers;
        varint_bytes(body) + body
    }
}

/// What a record costs in memory beside its bytes.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = size_of::<Record>();

/// Bytes of a zigzag varint that holds `n`.
fn varint_bytes(n: usize) -> usize {
    let bits = usize::BITS - n.leading_zeros() + 1;
    usize::try_from(bits.div_ceil(7).max(1)).unwrap_or(10)
}

/// Where the broker put a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Topic.
    pub topic: TopicName,
    /// Partition.
    pub partition: PartitionIndex,
    /// Offset; `None` with acks=0, and when the broker only knew that it has the record already.
    pub offset: Option<i64>,
    /// The record's timestamp: the broker's if the topic has `message.timestamp.type=LogAppendTime`.
    pub timestamp_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_counted_as_they_are_written() {
        for (n, bytes) in [(0, 1), (63, 1), (64, 2), (8191, 2), (8192, 3), (1 << 20, 4)] {
            assert_eq!(varint_bytes(n), bytes, "{n}");
        }
    }
}
