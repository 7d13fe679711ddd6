//! Bytes of the records in `__consumer_offsets`, exactly as Kafka 3.9 writes and reads them.
//!
//! ```text
//! key    version (2) = 1   group (string)  topic (string)  partition (4)        an offset
//! key    version (2) = 2   group (string)                                       a group
//! value  version (2) = 3   offset (8)  leader epoch (4)  metadata (string)  commit time (8)
//! value  version (2) = 1   offset (8)  metadata (string)  commit time (8)  expire time (8)
//! value  version (2) = 3   protocol type, generation (4), protocol, leader, state time (8),
//!                          members: id, instance, client id, client host, rebalance (4) and
//!                          session timeout (4), subscription (bytes), assignment (bytes)
//! ```
//! No value is a tombstone. Read is what Kafka 3.9 reads (values 0 to 4, 4 is flexible). Pure.

use std::sync::Arc;

use bytes::Bytes;
use nyala_client::wire::{DecodeError, EncodeError, Reader, Writer};

use super::member::{Client, Member, MemberId, Protocol, Terms};

const OFFSET_KEY_VERSION: i16 = 1;
const GROUP_KEY_VERSION: i16 = 2;
const VALUE_VERSION: i16 = 3;
const VALUE_VERSION_WITH_EXPIRY: i16 = 1;
const VALUE_VERSION_MAX: i16 = 4;
const FIRST_FLEXIBLE_VALUE_VERSION: i16 = 4;

/// A member takes at least this much in any version: bounds what a count may reserve.
const MEMBER_BYTES_MIN: usize = 8;

/// Why a record of the log is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    /// The bytes do not fit the version.
    #[error("malformed group record: {0}")]
    Malformed(#[from] DecodeError),
    /// A value of a version that Kafka 3.9 does not know.
    #[error("value version {0} of a group record is outside of 0 to {VALUE_VERSION_MAX}")]
    Version(i16),
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// An offset of a group.
    Offset {
        /// Group id.
        group: String,
        /// Topic.
        topic: String,
        /// Partition of the topic.
        partition: i32,
    },
    /// A group's members.
    Group {
        /// Group id.
        group: String,
    },
    /// A kind of record that a later version writes (such as KIP-848's): to be skipped.
    Unknown {
        /// Version of the key.
        version: i16,
    },
}

/// A committed offset, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetRecord {
    /// Offset of the next record to read.
    pub(crate) offset: i64,
    /// Leader epoch of the last record read; -1 if the client did not tell.
    pub(crate) leader_epoch: i32,
    /// The client's own words.
    pub(crate) metadata: Arc<str>,
    /// When it was committed (wall time).
    pub(crate) commit_ms: i64,
    /// When it expires, if the client chose that (OffsetCommit 2 to 4); -1 if not.
    pub(crate) expire_ms: i64,
}

/// A group, as stored when a generation is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupRecord {
    /// Protocol type, empty if none.
    pub(crate) protocol_type: Arc<str>,
    /// Generation.
    pub(crate) generation: i32,
    /// Protocol of the generation; none without members.
    pub(crate) protocol: Option<Arc<str>>,
    /// Leader; none without members.
    pub(crate) leader: Option<Arc<str>>,
    /// Since when the group is in its state (wall time); -1 if not known.
    pub(crate) state_since_ms: i64,
    /// Members with their shares.
    pub(crate) members: Vec<MemberRecord>,
}

/// A member, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberRecord {
    /// Member id.
    pub(crate) id: Arc<str>,
    /// Static identity.
    pub(crate) instance: Option<Arc<str>>,
    /// Where it runs.
    pub(crate) client: Client,
    /// Rebalance timeout.
    pub(crate) rebalance_timeout_ms: i32,
    /// Session timeout.
    pub(crate) session_timeout_ms: i32,
    /// What it said for the group's protocol.
    pub(crate) subscription: Bytes,
    /// Its share.
    pub(crate) assignment: Bytes,
}

impl MemberRecord {
    /// `member` with its metadata for `protocol` and this share.
    pub(crate) fn of(member: &Member, protocol: &str, assignment: Bytes) -> Self {
        Self {
            id: member.id.as_str().into(),
            instance: member.instance.clone(),
            client: member.client.clone(),
            rebalance_timeout_ms: member.terms.rebalance_timeout_ms,
            session_timeout_ms: member.terms.session_timeout_ms,
            subscription: member.metadata(protocol).cloned().unwrap_or_default(),
            assignment,
        }
    }

    /// The member in memory: it supports the group's protocol and no other, as far as is known.
    pub(crate) fn into_member(self, protocol: Option<&Arc<str>>, deadline_ms: u64) -> Member {
        let name = protocol.cloned().unwrap_or_else(|| "".into());
        let metadata = self.subscription;
        Member {
            id: MemberId::from(&*self.id),
            instance: self.instance,
            client: self.client,
            terms: Terms {
                protocols: vec![Protocol { name, metadata }],
                session_timeout_ms: self.session_timeout_ms,
                rebalance_timeout_ms: self.rebalance_timeout_ms,
            },
            assignment: self.assignment,
            is_new: false,
            deadline_ms,
            sync: None,
            join: None,
        }
    }
}

/// Key of an offset.
pub(crate) fn offset_key(group: &str, topic: &str, partition: i32) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(10 + group.len() + topic.len());
    writer.i16(OFFSET_KEY_VERSION);
    writer.string(group);
    writer.string(topic);
    writer.i32(partition);
    writer.finish()
}

/// Key of a group.
pub(crate) fn group_key(group: &str) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(4 + group.len());
    writer.i16(GROUP_KEY_VERSION);
    writer.string(group);
    writer.finish()
}

/// Reads any key.
pub(crate) fn read_key(bytes: &[u8]) -> Result<Key, RecordError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16();
    let key = match version {
        0 | OFFSET_KEY_VERSION => Key::Offset {
            group: reader.string(),
            topic: reader.string(),
            partition: reader.i32(),
        },
        GROUP_KEY_VERSION => Key::Group {
            group: reader.string(),
        },
        _ => Key::Unknown { version },
    };
    reader.check()?;
    Ok(key)
}

impl OffsetRecord {
    /// The value as Kafka 3.9 writes it.
    pub(crate) fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::with_capacity(36 + self.metadata.len());
        if self.expire_ms == -1 {
            writer.i16(VALUE_VERSION);
            writer.i64(self.offset);
            writer.i32(self.leader_epoch);
        } else {
            writer.i16(VALUE_VERSION_WITH_EXPIRY);
            writer.i64(self.offset);
        }
        writer.string(&self.metadata);
        writer.i64(self.commit_ms);
        if self.expire_ms != -1 {
            writer.i64(self.expire_ms);
        }
        writer.finish()
    }

    /// Reads a value of any version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (mut reader, version) = value_reader(bytes)?;
        let offset = reader.i64();
        let leader_epoch = if version >= 3 { reader.i32() } else { -1 };
        let metadata = reader.str().into();
        let commit_ms = reader.i64();
        let expire_ms = if version == 1 { reader.i64() } else { -1 };
        reader.skip_tags();
        reader.check()?;
        Ok(Self {
            offset,
            leader_epoch,
            metadata,
            commit_ms,
            expire_ms,
        })
    }
}

impl GroupRecord {
    /// The value as Kafka 3.9 writes it.
    pub(crate) fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::new();
        writer.i16(VALUE_VERSION);
        writer.string(&self.protocol_type);
        writer.i32(self.generation);
        writer.string_or_null(self.protocol.as_deref(), true);
        writer.string_or_null(self.leader.as_deref(), true);
        writer.i64(self.state_since_ms);
        writer.count(self.members.len());
        for member in &self.members {
            writer.string(&member.id);
            writer.string_or_null(member.instance.as_deref(), true);
            writer.string(&member.client.id);
            writer.string(&member.client.host);
            writer.i32(member.rebalance_timeout_ms);
            writer.i32(member.session_timeout_ms);
            writer.bytes(&member.subscription);
            writer.bytes(&member.assignment);
        }
        writer.finish()
    }

    /// Reads a value of any version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (mut reader, version) = value_reader(bytes)?;
        let protocol_type = reader.str().into();
        let generation = reader.i32();
        let protocol = reader.str_or_null(true).map(Arc::from);
        let leader = reader.str_or_null(true).map(Arc::from);
        let state_since_ms = if version >= 2 { reader.i64() } else { -1 };
        let count = reader.count_or_null(MEMBER_BYTES_MIN, false).unwrap_or(0);
        let mut members = Vec::new();
        for _ in 0..count {
            members.push(read_member(&mut reader, version));
            // A fault ends the input: what follows would be empty members.
            reader.check()?;
        }
        reader.skip_tags();
        reader.check()?;
        Ok(Self {
            protocol_type,
            generation,
            protocol,
            leader,
            state_since_ms,
            members,
        })
    }
}

fn read_member(reader: &mut Reader<'_>, version: i16) -> MemberRecord {
    let id = reader.str().into();
    let instance = match version {
        3.. => reader.str_or_null(true).map(Arc::from),
        _ => None,
    };
    let client = Client {
        id: reader.str().into(),
        host: reader.str().into(),
    };
    let rebalance_timeout_ms = if version >= 1 { reader.i32() } else { -1 };
    let session_timeout_ms = reader.i32();
    let member = MemberRecord {
        id,
        instance,
        client,
        rebalance_timeout_ms: match version {
            0 => session_timeout_ms,
            _ => rebalance_timeout_ms,
        },
        session_timeout_ms,
        subscription: reader.bytes(),
        assignment: reader.bytes(),
    };
    reader.skip_tags();
    member
}

fn value_reader(bytes: &[u8]) -> Result<(Reader<'_>, i16), RecordError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16();
    reader.check()?;
    if !(0..=VALUE_VERSION_MAX).contains(&version) {
        return Err(RecordError::Version(version));
    }
    reader.set_flexible(version >= FIRST_FLEXIBLE_VALUE_VERSION);
    Ok((reader, version))
}

#[cfg(test)]
mod tests;
