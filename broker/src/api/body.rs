//! From the bytes of a request to the request, within bounds of memory.
//!
//! Decoded and answered, a request of many tiny elements takes tens of times its bytes: one frame
//! of 100 MB could be gigabytes. So one request may not cost more than a fixed size, and all that are
//! in work take what they cost from a budget and wait for it. The frame itself stays on the budget of
//! frames until it is decoded.
//!
//! A request waits for another one's share only where that one ends by itself. So what brokers ask
//! each other has a budget of its own (creating a topic waits for it), and members that wait for
//! their group take no share: theirs is the group's by then. Small requests have one, too, but for those that
//! wait: a deletion of topics waits for its time-out while there is no controller, and nothing usual is to wait for that.

use std::sync::Arc;

use bytes::Bytes;
use nyala_client::wire::{ApiKey, Message, Reader};

use super::is_between_brokers;
use super::memory::{Grant, RequestMemory};
use super::{CloseReason, Context};

/// Bodies up to this size are not counted: most requests by far.
const UNCOUNTED_BYTES: usize = 512;
/// Bodies up to this size do not wait for larger ones.
const SMALL_BYTES: usize = 16 << 10;
/// What small ones may cost together.
const SMALL_BUDGET: usize = 32 << 20;

/// What requests may cost, in bytes of memory.
#[derive(Debug, Clone, Copy)]
struct Costs {
    /// One of them.
    request: usize,
    /// What is answered for one element of it.
    answer: usize,
}

/// Of clients: half a million partitions in one request, whichever it is. Produce and Fetch are walked in place and
/// have a bound of their own (`client/src/wire/codec/elements.rs`).
const OF_CLIENTS: Costs = Costs {
    request: 128 << 20,
    answer: 128,
};
/// Of brokers, which answer less: the state of 200,000 partitions of three replicas and more.
const OF_BROKERS: Costs = Costs {
    request: 256 << 20,
    answer: 32,
};

/// One request as it came, without its length.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    /// In its connection's buffer.
    Lent(&'a [u8]),
    /// Large: in memory of its own, for which it has this grant.
    Own(Bytes, Grant),
}

impl Frame<'_> {
    /// All of it.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Own(bytes, _) => bytes,
        }
    }

    /// What follows the header of `header_bytes`.
    pub(super) fn into_body(self, header_bytes: usize) -> Body {
        match self {
            Self::Lent(frame) => Body {
                bytes: Bytes::copy_from_slice(frame.get(header_bytes..).unwrap_or_default()),
                _grant: None,
            },
            Self::Own(mut frame, grant) => Body {
                bytes: frame.split_off(header_bytes.min(frame.len())),
                _grant: Some(grant),
            },
        }
    }
}

/// Bytes of a request behind its header.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Bytes,
    _grant: Option<Grant>,
}

/// Partitions of a fetch that may always wait for records.
const UNCOUNTED_PARTITIONS: usize = 64;
/// What a partition costs while its fetch waits.
const WAITING_PARTITION_BYTES: usize = 512;

/// What all requests in work may take together.
#[derive(Debug)]
pub struct WorkMemory {
    of_small: Arc<RequestMemory>,
    of_clients: Arc<RequestMemory>,
    of_brokers: Arc<RequestMemory>,
    waiting_fetches: Arc<RequestMemory>,
}

impl Default for WorkMemory {
    fn default() -> Self {
        Self {
            of_small: RequestMemory::new(SMALL_BUDGET),
            of_clients: RequestMemory::new(OF_CLIENTS.request),
            of_brokers: RequestMemory::new(OF_BROKERS.request),
            waiting_fetches: RequestMemory::new(OF_CLIENTS.request),
        }
    }
}

impl WorkMemory {
    /// What a request with a body of so many bytes waits for; `None`: for nothing.
    fn of_request(&self, key: ApiKey, bytes: usize) -> Option<&Arc<RequestMemory>> {
        match (bytes, is_between_brokers(key)) {
            (..=UNCOUNTED_BYTES, _) => None,
            (_, true) => Some(&self.of_brokers),
            (..=SMALL_BYTES, false) if !waits_for_the_cluster(key) => Some(&self.of_small),
            (_, false) => Some(&self.of_clients),
        }
    }

    /// Room for a fetch of so many partitions that waits for records; `Err` when too many wait already, and
    /// it should be answered soon.
    pub(super) fn of_waiting_fetch(&self, partitions: usize) -> Result<Option<Grant>, Full> {
        match partitions {
            ..=UNCOUNTED_PARTITIONS => Ok(None),
            _ => {
                let bytes = partitions.saturating_mul(WAITING_PARTITION_BYTES);
                self.waiting_fetches.try_take(bytes).map(Some).ok_or(Full)
            }
        }
    }
}

/// There is no room.
#[derive(Debug)]
pub(super) struct Full;

/// Reads a body, when there is room for what it becomes; bytes that follow it are ignored, as in
/// Kafka. The grant is to be kept while the request is in work.
pub(super) async fn decode<M: Message>(
    cx: &Context,
    body: Body,
) -> Result<(M, Option<Grant>), CloseReason> {
    let costs = match is_between_brokers(M::KEY) {
        true => OF_BROKERS,
        false => OF_CLIENTS,
    };
    let mut reader = Reader::shared(&body.bytes).with_limits(costs.request, costs.answer);
    let memory = &cx.services.work_memory;
    let mut grant = match memory.of_request(M::KEY, body.bytes.len()) {
        Some(memory) => Some(memory.take(reader.budget()).await),
        None => None,
    };
    let before = reader.budget();
    let request = M::decode_front(&mut reader, cx.version)
        .map_err(|error| CloseReason::malformed(M::KEY, cx.version, &error))?;
    if let Some(grant) = &mut grant {
        grant.shrink_to(before - reader.budget());
    }
    Ok((request, grant.filter(|_| !waits_for_others(M::KEY))))
}

/// Whether a request of a client may wait for its time-out.
fn waits_for_the_cluster(key: ApiKey) -> bool {
    matches!(
        key,
        ApiKey::CreateTopics
            | ApiKey::DeleteTopics
            | ApiKey::CreatePartitions
            | ApiKey::DeleteRecords
            | ApiKey::ElectLeaders
            | ApiKey::AlterPartitionReassignments
    )
}

/// Whether a request waits until others of its kind have come.
fn waits_for_others(key: ApiKey) -> bool {
    matches!(key, ApiKey::JoinGroup | ApiKey::SyncGroup)
}

#[cfg(test)]
mod tests {
    use nyala_client::wire::Writer;
    use nyala_client::wire::messages::offset_commit::{
        OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    };
    use nyala_client::wire::messages::update_metadata::{
        UpdateMetadataPartitionState, UpdateMetadataRequest, UpdateMetadataTopicState,
    };

    use super::*;

    fn fits<M: Message>(request: &M, costs: Costs) -> bool {
        let mut writer = Writer::new();
        request.encode_body(&mut writer, M::MAX_VERSION);
        let bytes = writer.finish().expect("legal");
        let mut reader = Reader::shared(&bytes).with_limits(costs.request, costs.answer);
        M::decode_front(&mut reader, M::MAX_VERSION).is_ok()
    }

    #[test]
    fn what_the_largest_clusters_send_is_decoded() {
        let state = UpdateMetadataPartitionState {
            isr: vec![1, 2, 3],
            replicas: vec![1, 2, 3],
            ..UpdateMetadataPartitionState::default()
        };
        let states = |count| UpdateMetadataRequest {
            topic_states: vec![UpdateMetadataTopicState {
                topic_name: "t".to_owned(),
                partition_states: vec![state.clone(); count],
                ..UpdateMetadataTopicState::default()
            }],
            ..UpdateMetadataRequest::default()
        };
        assert!(fits(&states(200_000), OF_BROKERS));
        assert!(!fits(&states(2_000_000), OF_BROKERS));
        let commit = |count| OffsetCommitRequest {
            topics: vec![OffsetCommitRequestTopic {
                name: "t".to_owned(),
                partitions: vec![OffsetCommitRequestPartition::default(); count],
            }],
            ..OffsetCommitRequest::default()
        };
        assert!(fits(&commit(500_000), OF_CLIENTS));
        assert!(!fits(&commit(1_000_000), OF_CLIENTS));
    }

    #[test]
    fn large_fetches_wait_until_too_many_do_and_small_ones_always() {
        let memory = WorkMemory::default();
        let all = OF_CLIENTS.request / WAITING_PARTITION_BYTES;
        let first = memory.of_waiting_fetch(all - 1).expect("nobody waits yet");
        let second = memory
            .of_waiting_fetch(all)
            .expect("the last one may exceed it");
        assert!(memory.of_waiting_fetch(UNCOUNTED_PARTITIONS + 1).is_err());
        assert!(matches!(
            memory.of_waiting_fetch(UNCOUNTED_PARTITIONS),
            Ok(None)
        ));
        drop((first, second));
        assert!(memory.of_waiting_fetch(UNCOUNTED_PARTITIONS + 1).is_ok());
    }

    #[tokio::test]
    async fn small_requests_and_those_of_brokers_do_not_wait_for_large_ones() {
        let memory = WorkMemory::default();
        let of = |key, bytes| memory.of_request(key, bytes);
        let large = of(ApiKey::DeleteTopics, 20 << 20).expect("it is counted");
        let _all = large.take(OF_CLIENTS.request).await;
        for (key, bytes) in [(ApiKey::Metadata, 17 << 10), (ApiKey::DeleteTopics, 900)] {
            assert!(of(key, bytes).is_some_and(|m| m.try_take(1).is_none()));
        }
        assert!(of(ApiKey::Metadata, 100).is_none());
        let free = [(ApiKey::Metadata, 900), (ApiKey::UpdateMetadata, 20 << 20)];
        for (key, bytes) in free {
            assert!(of(key, bytes).is_some_and(|m| m.try_take(1).is_some()));
        }
    }

    #[test]
    fn a_large_frame_keeps_its_grant_and_loses_its_header() {
        let frames = RequestMemory::new(1);
        let grant = frames.try_take(5).expect("free");
        let body = Frame::Own(Bytes::from_static(b"headbody"), grant).into_body(4);
        assert_eq!(body.bytes, &b"body"[..]);
        assert!(frames.try_take(1).is_none());
        drop(body);
        assert!(frames.try_take(1).is_some());
    }
}
