//! Fetch by hand: the request is walked in place, the reply written with gaps for the records.
//!
//! [`FetchView`] allocates nothing. [`FetchReply`] writes everything but the records: it notes at
//! which positions how many bytes are to be sent from elsewhere, such as ranges of log files.

use bytes::Bytes;
use nyala_coordinator::ids::TopicId;

use crate::wire::api::ApiKey;
use crate::wire::codec::{DecodeError, Elements, EncodeError, Reader, elements};
use crate::wire::error_code::ErrorCode;
use crate::wire::reply::{LeaderHint, NodeEndpoint, Topics};

/// Least bytes of a topic: name and count, in compact form, and tags.
const TOPIC_BYTES_MIN: usize = 3;
/// Least bytes of a partition: index, offset, bytes.
const PARTITION_BYTES_MIN: usize = 16;

/// The body of a Fetch request of version 4 to 17, in place.
#[derive(Clone, Debug)]
pub struct FetchView<'a> {
    /// Cluster that the reader believes to talk to.
    pub cluster_id: Option<&'a str>,
    /// Broker id of a follower, or -1; from whichever field the version has for it.
    pub replica_id: i32,
    /// Broker epoch of a follower, or -1.
    pub replica_epoch: i64,
    /// How long to wait for `min_bytes`; not checked.
    pub max_wait_ms: i32,
    /// Bytes to wait for; not checked.
    pub min_bytes: i32,
    /// Most bytes wanted over all partitions; not checked.
    pub max_bytes: i32,
    /// 0: all records, 1: committed ones only; not checked.
    pub isolation_level: i8,
    /// Fetch session, 0 for none or a new one (KIP-227).
    pub session_id: i32,
    /// Number of the request in its session, 0 to make one, -1 to end or not to have one.
    pub session_epoch: i32,
    /// Rack of the reader, empty when unknown.
    pub rack_id: &'a str,
    topics: Elements<'a, FetchTopic<'a>>,
    forgotten: Elements<'a, ForgottenTopic<'a>>,
}

/// How a request names a topic: up to version 12 by name, then by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicKey<'a> {
    /// By name, as sent.
    Name(&'a str),
    /// By id.
    Id(TopicId),
}

/// One topic to read.
#[derive(Clone, Debug)]
pub struct FetchTopic<'a> {
    /// Which topic.
    pub topic: TopicKey<'a>,
    partitions: Elements<'a, FetchPartition>,
}

/// One partition to read. Nothing in it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// Partition.
    pub partition: i32,
    /// Epoch that the reader knows its leader by, or -1.
    pub current_leader_epoch: i32,
    /// First offset wanted.
    pub fetch_offset: i64,
    /// Epoch of the last record that the reader has, or -1.
    pub last_fetched_epoch: i32,
    /// First offset of a follower's log, or -1.
    pub log_start_offset: i64,
    /// Most bytes wanted of this partition.
    pub max_bytes: i32,
}

/// One topic whose partitions leave the session.
#[derive(Clone, Debug)]
pub struct ForgottenTopic<'a> {
    /// Which topic.
    pub topic: TopicKey<'a>,
    partitions: Elements<'a, i32>,
}

impl<'a> FetchView<'a> {
    /// Walks over `body`, which is what follows the header.
    pub fn parse(body: &'a [u8], version: i16) -> Result<Self, DecodeError> {
        let key = ApiKey::Fetch;
        if !key.versions().contains(&version) {
            return Err(DecodeError::Version { key, version });
        }
        let mut reader = elements::reader(body);
        reader.set_flexible(key.is_flexible(version));
        let mut view = fields(&mut reader, version);
        let mut tags = reader.tags();
        while let Some(tag) = reader.next_tag(&mut tags) {
            match tag {
                0 => view.cluster_id = reader.str_or_null(true),
                1 if version >= 15 => {
                    (view.replica_id, view.replica_epoch) = (reader.i32(), reader.i64());
                    reader.skip_tags();
                }
                _ => reader.skip_tag(),
            }
            reader.end_tag(&tags);
        }
        // As in Kafka, what follows a request is ignored.
        reader.check()?;
        Ok(view)
    }

    /// The topics to read, in the order of the request.
    #[must_use]
    pub fn topics(&self) -> Elements<'a, FetchTopic<'a>> {
        self.topics.clone()
    }

    /// The topics that leave the session.
    #[must_use]
    pub fn forgotten(&self) -> Elements<'a, ForgottenTopic<'a>> {
        self.forgotten.clone()
    }
}

impl<'a> FetchTopic<'a> {
    /// The partitions in the order of the request.
    #[must_use]
    pub fn partitions(&self) -> Elements<'a, FetchPartition> {
        self.partitions.clone()
    }
}

impl<'a> ForgottenTopic<'a> {
    /// The partitions in the order of the request.
    #[must_use]
    pub fn partitions(&self) -> Elements<'a, i32> {
        self.partitions.clone()
    }
}

/// All fields in front of the tagged ones.
fn fields<'a>(reader: &mut Reader<'a>, version: i16) -> FetchView<'a> {
    let in_session = version >= 7;
    FetchView {
        cluster_id: None,
        replica_id: if version <= 14 { reader.i32() } else { -1 },
        replica_epoch: -1,
        max_wait_ms: reader.i32(),
        min_bytes: reader.i32(),
        max_bytes: reader.i32(),
        isolation_level: reader.i8(),
        session_id: if in_session { reader.i32() } else { 0 },
        session_epoch: if in_session { reader.i32() } else { -1 },
        topics: Elements::walk(reader, version, TOPIC_BYTES_MIN, topic),
        forgotten: match in_session {
            true => Elements::walk(reader, version, TOPIC_BYTES_MIN, forgotten),
            false => Elements::none(version, forgotten),
        },
        rack_id: if version >= 11 { reader.str() } else { "" },
    }
}

fn topic_key<'a>(reader: &mut Reader<'a>, version: i16) -> TopicKey<'a> {
    match version {
        ..=12 => TopicKey::Name(reader.str()),
        _ => TopicKey::Id(reader.topic_id()),
    }
}

fn topic<'a>(reader: &mut Reader<'a>, version: i16) -> FetchTopic<'a> {
    let topic = FetchTopic {
        topic: topic_key(reader, version),
        partitions: Elements::walk(reader, version, PARTITION_BYTES_MIN, partition),
    };
    reader.skip_tags();
    topic
}

fn partition(reader: &mut Reader<'_>, version: i16) -> FetchPartition {
    let partition = FetchPartition {
        partition: reader.i32(),
        current_leader_epoch: if version >= 9 { reader.i32() } else { -1 },
        fetch_offset: reader.i64(),
        last_fetched_epoch: if version >= 12 { reader.i32() } else { -1 },
        log_start_offset: if version >= 5 { reader.i64() } else { -1 },
        max_bytes: reader.i32(),
    };
    // Version 17 tags the follower's log directory, which only KRaft looks at.
    reader.skip_tags();
    partition
}

fn forgotten<'a>(reader: &mut Reader<'a>, version: i16) -> ForgottenTopic<'a> {
    let topic = ForgottenTopic {
        topic: topic_key(reader, version),
        partitions: Elements::walk(reader, version, 4, |reader, _| reader.i32()),
    };
    reader.skip_tags();
    topic
}

/// What is answered for one partition, but for its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartitionReply<'a> {
    /// Partition.
    pub index: i32,
    /// Outcome.
    pub error: ErrorCode,
    /// High watermark, or -1.
    pub high_watermark: i64,
    /// Last stable offset, or -1.
    pub last_stable_offset: i64,
    /// First offset of the log, or -1.
    pub log_start_offset: i64,
    /// Epoch and end offset where the reader's log leaves ours (version 12).
    pub diverging_epoch: Option<(i32, i64)>,
    /// Where the leader is now (version 12; clients look at it from 16 on).
    pub current_leader: Option<LeaderHint>,
    /// Producer id and first offset of aborted transactions; null to readers of all records.
    pub aborted: Option<&'a [(i64, i64)]>,
    /// Replica that the reader had better ask, or -1 (version 11).
    pub preferred_read_replica: i32,
}

impl Default for FetchPartitionReply<'_> {
    fn default() -> Self {
        Self {
            index: 0,
            error: ErrorCode::None,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            aborted: None,
            preferred_read_replica: -1,
        }
    }
}

/// Records that are to be sent at a position of a [`FetchFrame`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many bytes of the frame's heads come before.
    pub position: usize,
    /// Bytes of records.
    pub bytes: usize,
}

/// A reply frame without its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchFrame {
    /// Everything else; the length in front counts the records too.
    pub heads: Bytes,
    /// Where records belong, ascending, in the order of the partitions; never empty ones.
    pub gaps: Vec<Gap>,
}

/// Writes the reply frame. Topics and partitions must come as often as announced.
#[derive(Debug)]
pub struct FetchReply {
    frame: Topics,
    gaps: Vec<Gap>,
    record_bytes: usize,
}

impl FetchReply {
    /// Starts the frame of a reply with `topics` topics and an outcome of the request as a whole.
    #[must_use]
    pub fn start(version: i16, correlation_id: i32, outcome: FetchOutcome, topics: usize) -> Self {
        let mut frame = Topics::start(ApiKey::Fetch, version, correlation_id, 256);
        frame.writer.i32(outcome.throttle_time_ms);
        if version >= 7 {
            frame.writer.i16(outcome.error.code());
            frame.writer.i32(outcome.session_id);
        }
        frame.writer.count(topics);
        Self {
            frame,
            gaps: Vec::new(),
            record_bytes: 0,
        }
    }

    /// Starts a topic of `partitions` partitions, named as the version wants it.
    pub fn topic(&mut self, name: &str, id: TopicId, partitions: usize) {
        match self.frame.version {
            ..=12 => self.frame.writer.string(name),
            _ => self.frame.writer.topic_id(id),
        }
        self.frame.partitions(partitions);
    }

    /// Appends one partition of the current topic, whose records have `bytes` bytes.
    pub fn partition(&mut self, reply: &FetchPartitionReply<'_>, bytes: usize) {
        let frame = &mut self.frame;
        let (version, writer) = (frame.version, &mut frame.writer);
        writer.i32(reply.index);
        writer.i16(reply.error.code());
        writer.i64(reply.high_watermark);
        writer.i64(reply.last_stable_offset);
        if version >= 5 {
            writer.i64(reply.log_start_offset);
        }
        writer.count_or_null(reply.aborted.map(<[_]>::len));
        for (producer_id, first_offset) in reply.aborted.unwrap_or_default() {
            writer.i64(*producer_id);
            writer.i64(*first_offset);
            writer.no_tags();
        }
        if version >= 11 {
            writer.i32(reply.preferred_read_replica);
        }
        // Bytes and counts announce themselves alike.
        writer.count(bytes);
        if bytes > 0 {
            let position = writer.len();
            self.gaps.push(Gap { position, bytes });
            self.record_bytes = self.record_bytes.saturating_add(bytes);
        }
        writer.tag_count(&[
            reply.diverging_epoch.is_some(),
            reply.current_leader.is_some(),
        ]);
        // Only flexible versions have tagged fields.
        if version >= 12 {
            if let Some((epoch, end_offset)) = reply.diverging_epoch {
                writer.tagged(0, |writer| {
                    writer.i32(epoch);
                    writer.i64(end_offset);
                    writer.no_tags();
                });
            }
            if let Some(leader) = reply.current_leader {
                frame.leader(1, leader);
            }
        }
        frame.partition_end();
    }

    /// The whole frame but for the records.
    pub fn finish(mut self, endpoints: &[NodeEndpoint<'_>]) -> Result<FetchFrame, EncodeError> {
        self.frame.endpoints(endpoints, 16);
        Ok(FetchFrame {
            heads: self.frame.finish(self.record_bytes)?,
            gaps: self.gaps,
        })
    }
}

/// What is answered for the request as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchOutcome {
    /// How long the reader was held back.
    pub throttle_time_ms: i32,
    /// Outcome; only faults of the session are told here (version 7).
    pub error: ErrorCode,
    /// Session that the reader is in from now on, or 0 (version 7).
    pub session_id: i32,
}

#[cfg(test)]
mod tests;
