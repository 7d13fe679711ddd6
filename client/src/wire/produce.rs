//! Produce by hand: the request is walked in place, the reply written front to back.
//!
//! [`ProduceView`] allocates nothing and hands out the records as slices of the frame. The whole
//! body is checked before the first partition comes out: a request is taken whole or not at all.

use bytes::Bytes;

use crate::wire::api::ApiKey;
use crate::wire::codec::{DecodeError, Elements, EncodeError, Reader, elements};
use crate::wire::error_code::ErrorCode;
use crate::wire::reply::{LeaderHint, NodeEndpoint, Topics};

/// Least bytes of a topic: name and count, in compact form, and tags.
const TOPIC_BYTES_MIN: usize = 3;
/// Least bytes of a partition: index and length.
const PARTITION_BYTES_MIN: usize = 5;

/// The body of a Produce request of version 3 to 11, in place.
#[derive(Clone, Debug)]
pub struct ProduceView<'a> {
    /// Id of a transactional producer.
    pub transactional_id: Option<&'a str>,
    /// 0, 1 or -1; not checked.
    pub acks: i16,
    /// How long to wait for replicas; not checked.
    pub timeout_ms: i32,
    topics: Elements<'a, ProduceTopic<'a>>,
}

/// One topic of the request.
#[derive(Clone, Debug)]
pub struct ProduceTopic<'a> {
    /// Name as sent.
    pub name: &'a str,
    partitions: Elements<'a, ProducePartition<'a>>,
}

/// One partition of the request.
#[derive(Clone, Copy, Debug)]
pub struct ProducePartition<'a> {
    /// Partition as sent.
    pub index: i32,
    /// Record batches as sent.
    pub records: Option<&'a [u8]>,
}

impl<'a> ProduceView<'a> {
    /// Walks over `body`, which is what follows the header.
    pub fn parse(body: &'a [u8], version: i16) -> Result<Self, DecodeError> {
        let key = ApiKey::Produce;
        if !key.versions().contains(&version) {
            return Err(DecodeError::Version { key, version });
        }
        let mut reader = elements::reader(body);
        reader.set_flexible(key.is_flexible(version));
        let reader = &mut reader;
        let view = Self {
            transactional_id: reader.str_or_null(true),
            acks: reader.i16(),
            timeout_ms: reader.i32(),
            topics: Elements::walk(reader, version, TOPIC_BYTES_MIN, topic),
        };
        reader.skip_tags();
        // As in Kafka, what follows a request is ignored.
        reader.check()?;
        Ok(view)
    }

    /// The topics in the order of the request.
    #[must_use]
    pub fn topics(&self) -> Elements<'a, ProduceTopic<'a>> {
        self.topics.clone()
    }
}

impl<'a> ProduceTopic<'a> {
    /// The partitions in the order of the request.
    #[must_use]
    pub fn partitions(&self) -> Elements<'a, ProducePartition<'a>> {
        self.partitions.clone()
    }
}

fn topic<'a>(reader: &mut Reader<'a>, version: i16) -> ProduceTopic<'a> {
    let topic = ProduceTopic {
        name: reader.str(),
        partitions: Elements::walk(reader, version, PARTITION_BYTES_MIN, partition),
    };
    reader.skip_tags();
    topic
}

fn partition<'a>(reader: &mut Reader<'a>, _: i16) -> ProducePartition<'a> {
    let partition = ProducePartition {
        index: reader.i32(),
        records: reader.slice_or_null(true),
    };
    reader.skip_tags();
    partition
}

/// What is answered for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducePartitionReply<'a> {
    /// Partition.
    pub index: i32,
    /// Outcome.
    pub error: ErrorCode,
    /// Offset of the first record, or -1.
    pub base_offset: i64,
    /// Time that the broker gave the records, or -1.
    pub log_append_time_ms: i64,
    /// First offset of the log, or -1.
    pub log_start_offset: i64,
    /// Records that are at fault, by position in the batch (version 8).
    pub record_errors: &'a [(i32, Option<&'a str>)],
    /// What is wrong, in words (version 8).
    pub error_message: Option<&'a str>,
    /// Where the leader is now (version 10).
    pub current_leader: Option<LeaderHint>,
}

impl Default for ProducePartitionReply<'_> {
    fn default() -> Self {
        Self {
            index: 0,
            error: ErrorCode::None,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: &[],
            error_message: None,
            current_leader: None,
        }
    }
}

/// Writes the reply frame. Topics and partitions must come as often as announced.
#[derive(Debug)]
pub struct ProduceReply(Topics);

impl ProduceReply {
    /// Starts the frame of a reply with `topics` topics.
    #[must_use]
    pub fn start(version: i16, correlation_id: i32, topics: usize) -> Self {
        let mut frame = Topics::start(ApiKey::Produce, version, correlation_id, 128);
        frame.writer.count(topics);
        Self(frame)
    }

    /// Bytes so far: an answer that is not certain yet is corrected in the finished frame.
    #[must_use]
    pub fn position(&self) -> usize {
        self.0.writer.len()
    }

    /// Starts a topic of `partitions` partitions.
    pub fn topic(&mut self, name: &str, partitions: usize) {
        self.0.writer.string(name);
        self.0.partitions(partitions);
    }

    /// Appends one partition of the current topic.
    pub fn partition(&mut self, reply: &ProducePartitionReply<'_>) {
        let frame = &mut self.0;
        let (version, writer) = (frame.version, &mut frame.writer);
        writer.i32(reply.index);
        writer.i16(reply.error.code());
        writer.i64(reply.base_offset);
        writer.i64(reply.log_append_time_ms);
        if version >= 5 {
            writer.i64(reply.log_start_offset);
        }
        if version >= 8 {
            writer.count(reply.record_errors.len());
            for (at, message) in reply.record_errors {
                writer.i32(*at);
                writer.string_or_null(*message, true);
                writer.no_tags();
            }
            writer.string_or_null(reply.error_message, true);
        }
        let leader = reply.current_leader.filter(|_| version >= 10);
        writer.tag_count(&[leader.is_some()]);
        if let Some(leader) = leader {
            frame.leader(0, leader);
        }
        frame.partition_end();
    }

    /// The whole frame, length included.
    pub fn finish(
        mut self,
        throttle_time_ms: i32,
        endpoints: &[NodeEndpoint<'_>],
    ) -> Result<Bytes, EncodeError> {
        self.0.writer.i32(throttle_time_ms);
        self.0.endpoints(endpoints, 10);
        self.0.finish(0)
    }
}

#[cfg(test)]
mod tests;
