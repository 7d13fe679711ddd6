//! What the two hand-written replies, to Produce and to Fetch, have in common.

use bytes::Bytes;

use crate::wire::api::ApiKey;
use crate::wire::codec::{EncodeError, Writer};
use crate::wire::frame::{self, LENGTH_BYTES};

/// Where the leader of a partition is now, told with the error that says it is not here (KIP-951).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// Broker id of the leader, -1 when there is none.
    pub leader_id: i32,
    /// Its epoch.
    pub leader_epoch: i32,
}

/// Address of a broker that a [`LeaderHint`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeEndpoint<'a> {
    /// Broker id.
    pub node_id: i32,
    /// Host.
    pub host: &'a str,
    /// Port.
    pub port: i32,
    /// Rack, if known.
    pub rack: Option<&'a str>,
}

/// A reply frame of topics with partitions, written front to back.
#[derive(Debug)]
pub(super) struct Topics {
    pub(super) writer: Writer,
    pub(super) version: i16,
    /// Partitions of the current topic that are still to come.
    left: usize,
}

impl Topics {
    /// Length and header of the frame; the body is to follow.
    pub(super) fn start(key: ApiKey, version: i16, correlation_id: i32, capacity: usize) -> Self {
        let mut writer = Writer::with_capacity(capacity);
        writer.i32(0);
        frame::encode_response_header(&mut writer, key, version, correlation_id);
        writer.set_flexible(key.is_flexible(version));
        Self {
            writer,
            version,
            left: 0,
        }
    }

    /// Announces the partitions of the topic whose name was just written.
    pub(super) fn partitions(&mut self, count: usize) {
        self.writer.count(count);
        self.left = count;
        if count == 0 {
            self.writer.no_tags();
        }
    }

    /// Ends a partition, and with the last one its topic.
    pub(super) fn partition_end(&mut self) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.writer.no_tags();
        }
    }

    /// Tag `tag` with the position of the leader.
    pub(super) fn leader(&mut self, tag: u32, leader: LeaderHint) {
        self.writer.tagged(tag, |writer| {
            writer.i32(leader.leader_id);
            writer.i32(leader.leader_epoch);
            writer.no_tags();
        });
    }

    /// Tagged fields of the body: none, or the addresses of leaders, where the version has them.
    pub(super) fn endpoints(&mut self, endpoints: &[NodeEndpoint<'_>], since: i16) {
        let present = self.version >= since && !endpoints.is_empty();
        self.writer.tag_count(&[present]);
        if present {
            self.writer.tagged(0, |writer| {
                writer.count(endpoints.len());
                for endpoint in endpoints {
                    writer.i32(endpoint.node_id);
                    writer.string(endpoint.host);
                    writer.i32(endpoint.port);
                    writer.string_or_null(endpoint.rack, true);
                    writer.no_tags();
                }
            });
        }
    }

    /// The frame, whose length also counts `elsewhere` bytes that the caller sends in between.
    pub(super) fn finish(mut self, elsewhere: usize) -> Result<Bytes, EncodeError> {
        let length = (self.writer.len() - LENGTH_BYTES).saturating_add(elsewhere);
        let length = i32::try_from(length).map_err(|_| EncodeError::Length(length))?;
        self.writer.patch_i32(0, length);
        self.writer.finish()
    }
}
