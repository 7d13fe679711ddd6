//! Produce (key 0): the hot way in. The body is walked in place and nothing of it is allocated.
//!
//! The answer is written while the partitions are appended. Only where some append waits - for
//! replicas, or for the disk under `flush.before.ack` - the finished answer is held back, and what
//! failed meanwhile is corrected in it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nyala_client::wire::batch::BatchHead;
use nyala_client::wire::compression::Codec;
use nyala_client::wire::frame::RequestHeader;
use nyala_client::wire::produce::{ProducePartitionReply, ProduceReply, ProduceView};
use nyala_client::wire::{ApiKey, ErrorCode, LeaderHint};
use nyala_coordinator::ids::TopicName;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

use super::leader_hint::Hints;
use super::peer::Peer;
use super::record_check::{BatchRefusal, check};
use super::reply::{CloseReason, Later, LaterKind, Payload, Reply};
use super::{Operation, Resource, is_internal};
use crate::replication::{Acks, AppendError, Partition, Receipt, WaitError};
use crate::storage::Origin;

/// Lowest version that is served; lower ones are advertised for the sake of old librdkafka, which
/// looks for version 0 before it compresses (KAFKA-18659).
pub(super) const SERVED_FROM: i16 = 3;
/// Version from which a refusal names the leader (KIP-951).
const LEADER_HINT_FROM: i16 = 10;
/// Compressed batches up to this size are checked on the spot: well below a millisecond.
const COMPRESSED_BYTES_QUICK: usize = 32 * 1024;
/// Longest wait for replicas, whatever the request says.
const TIMEOUT_MS_MAX: i32 = 300_000;

/// What every partition of one request shares.
struct Request<'a> {
    peer: &'a Peer,
    version: i16,
    acks: Acks,
    now_ms: i64,
}

/// Result of one partition, as the answer carries it.
pub(super) struct Outcome {
    error: ErrorCode,
    message: Option<String>,
    record: Option<i32>,
    base_offset: i64,
    append_time_ms: i64,
    log_start: i64,
}

/// An append that may not be acknowledged yet.
pub(super) struct Pending {
    pub(super) partition: Arc<Partition>,
    pub(super) receipt: Receipt,
    /// Where its error code stands in the answer.
    pub(super) error_at: usize,
}

/// Handles one request whose header was read.
pub(super) fn handle(
    peer: &Peer,
    header: &RequestHeader<'_>,
    body: &[u8],
    now_ms: i64,
    out: &mut Payload,
) -> Result<Reply, CloseReason> {
    let version = header.version;
    if version < SERVED_FROM {
        return super::produce_refused::handle(header, body, out);
    }
    let view = ProduceView::parse(body, version)
        .map_err(|error| CloseReason::malformed(ApiKey::Produce, version, &error))?;
    let (acks, refused) = match view.acks {
        0 => (Acks::None, None),
        1 => (Acks::Leader, None),
        -1 => (Acks::All, None),
        _ => (Acks::Leader, Some(ErrorCode::InvalidRequiredAcks)),
    };
    let request = Request {
        peer,
        version,
        acks,
        now_ms,
    };
    if acks == Acks::None {
        return request.run_unacked(&view);
    }
    let mut reply = ProduceReply::start(version, header.correlation_id, view.topics().len());
    let wanted = version >= LEADER_HINT_FROM;
    let mut hints = Hints::new(peer.services(), peer.listener_name(), wanted);
    let pending = request.run(&view, &mut reply, refused, &mut hints);
    let frame = reply
        .finish(0, &hints.endpoints())
        .map_err(|error| CloseReason::unanswerable(ApiKey::Produce, version, &error))?;
    Ok(answer(frame, pending, view.timeout_ms, out))
}

/// Gives the finished answer away, or keeps it back until nothing is left to wait for.
pub(super) fn answer(
    frame: Bytes,
    pending: Vec<Pending>,
    timeout_ms: i32,
    out: &mut Payload,
) -> Reply {
    if pending.is_empty() {
        out.push_bytes(&frame);
        return Reply::Now;
    }
    let timeout_ms = timeout_ms.clamp(0, TIMEOUT_MS_MAX).unsigned_abs();
    let deadline = Instant::now() + Duration::from_millis(timeout_ms.into());
    Reply::Later(hold_back(frame.into(), pending, deadline))
}

impl Request<'_> {
    /// Appends everything and writes the answer. What must be waited for is returned.
    fn run(
        &self,
        view: &ProduceView<'_>,
        reply: &mut ProduceReply,
        refused: Option<ErrorCode>,
        hints: &mut Hints<'_>,
    ) -> Vec<Pending> {
        let mut pending = Vec::new();
        for topic in view.topics() {
            reply.topic(topic.name, topic.partitions().len());
            for asked in topic.partitions() {
                // The error code stands behind the four bytes of the index.
                let error_at = reply.position() + 4;
                let outcome = match refused {
                    Some(error) => Outcome::failed(error),
                    None => match self.append(topic.name, asked.index, asked.records) {
                        Ok((partition, receipt)) => {
                            let outcome = Outcome::of(&receipt);
                            if must_wait(self.acks, &receipt) {
                                pending.push(Pending {
                                    partition,
                                    receipt,
                                    error_at,
                                });
                            }
                            outcome
                        }
                        Err(outcome) => outcome,
                    },
                };
                let leader = hints.give(outcome.error, topic.name, asked.index);
                outcome.write(asked.index, leader, reply);
            }
        }
        pending
    }

    /// Appends everything; there is no answer, so any failure closes the connection, as in Kafka.
    fn run_unacked(&self, view: &ProduceView<'_>) -> Result<Reply, CloseReason> {
        let mut failed = None;
        for topic in view.topics() {
            for asked in topic.partitions() {
                if let Err(outcome) = self.append(topic.name, asked.index, asked.records) {
                    let (topic, index, error) = (topic.name, asked.index, outcome.error.name());
                    failed.get_or_insert_with(|| format!("{topic}-{index}: {error}"));
                }
            }
        }
        failed.map_or(Ok(Reply::None), |error| {
            Err(CloseReason::UnackedFailure(error))
        })
    }

    fn append(
        &self,
        topic: &str,
        index: i32,
        records: Option<&[u8]>,
    ) -> Result<(Arc<Partition>, Receipt), Outcome> {
        let records = records.unwrap_or_default();
        let services = self.peer.services();
        if !self
            .peer
            .authorize(Operation::Write, Resource::Topic(topic))
        {
            return Err(Outcome::failed(ErrorCode::TopicAuthorizationFailed));
        }
        let Some(partition) = services.partitions.get(topic, index) else {
            return Err(Outcome::failed(match TopicName::new(topic) {
                Ok(_) => services.absent_partition(topic, index),
                Err(_) => ErrorCode::InvalidTopicException,
            }));
        };
        if is_internal(topic) {
            return Err(Outcome::failed(ErrorCode::InvalidTopicException));
        }
        let config = partition.config();
        let batch = off_worker(records, || {
            check(records, self.version, &config, self.now_ms)
        })
        .map_err(|refusal| Outcome::refused(&refusal))?;
        match partition.append(&batch, Origin::Client, self.acks, self.now_ms) {
            Ok(receipt) => Ok((partition, receipt)),
            Err(error) => Err(Outcome::of_append(&error)),
        }
    }
}

/// Runs the check of a batch; where that means to decompress a lot, the other connections of this
/// thread go to another one first.
fn off_worker<T>(records: &[u8], check: impl FnOnce() -> T) -> T {
    let compressed = |head: BatchHead<'_>| head.codec() != Ok(Codec::None);
    let long = records.len() > COMPRESSED_BYTES_QUICK
        && BatchHead::parse(records).is_ok_and(compressed)
        && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    if long {
        tokio::task::block_in_place(check)
    } else {
        check()
    }
}

pub(super) fn must_wait(acks: Acks, receipt: &Receipt) -> bool {
    receipt.durable.is_some() || acks == Acks::All && !receipt.replicated
}

impl Outcome {
    fn failed(error: ErrorCode) -> Self {
        Self {
            error,
            message: None,
            record: None,
            base_offset: -1,
            append_time_ms: -1,
            log_start: -1,
        }
    }

    pub(super) fn of(receipt: &Receipt) -> Self {
        Self {
            base_offset: receipt.appended.base_offset,
            append_time_ms: receipt.appended.log_append_time_ms,
            log_start: receipt.appended.log_start,
            ..Self::failed(ErrorCode::None)
        }
    }

    /// A batch that is not let in.
    pub(super) fn refused(refusal: &BatchRefusal) -> Self {
        Self {
            message: Some(refusal.to_string()),
            record: refusal.record(),
            ..Self::failed(ErrorCode::from(refusal))
        }
    }

    pub(super) fn of_append(error: &AppendError) -> Self {
        let code = ErrorCode::from(error);
        if code == ErrorCode::KafkaStorageError || code == ErrorCode::UnknownServerError {
            tracing::debug!(%error, "append failed");
        }
        Self {
            message: Some(error.to_string()),
            record: error.record(),
            ..Self::failed(code)
        }
    }

    pub(super) fn write(
        &self,
        index: i32,
        current_leader: Option<LeaderHint>,
        reply: &mut ProduceReply,
    ) {
        let message = self.message.as_deref();
        let record = self.record.map(|record| (record, message));
        reply.partition(&ProducePartitionReply {
            index,
            error: self.error,
            base_offset: self.base_offset,
            log_append_time_ms: self.append_time_ms,
            log_start_offset: self.log_start,
            record_errors: record.as_slice(),
            error_message: message,
            current_leader,
        });
    }
}

/// Keeps the answer back until all it promises is true; what fails meanwhile is corrected in it.
fn hold_back(mut frame: BytesMut, pending: Vec<Pending>, deadline: Instant) -> Later {
    let answer = Box::pin(async move {
        for Pending {
            partition,
            receipt,
            error_at,
        } in pending
        {
            if let Err(error) = wait(&partition, receipt, deadline).await {
                let error = ErrorCode::from(&error).code().to_be_bytes();
                let no_offset = (-1_i64).to_be_bytes();
                let fields = error.into_iter().chain(no_offset);
                let places = frame.get_mut(error_at..).unwrap_or_default();
                places
                    .iter_mut()
                    .zip(fields)
                    .for_each(|(place, byte)| *place = byte);
            }
        }
        Ok(Payload::from(frame))
    });
    Later {
        answer,
        kind: LaterKind::Overlapping,
    }
}

async fn wait(
    partition: &Arc<Partition>,
    receipt: Receipt,
    deadline: Instant,
) -> Result<(), WaitError> {
    if !receipt.replicated {
        let last_offset = receipt.appended.last_offset;
        partition.wait_replicated(last_offset, deadline).await?;
    }
    if let Some(durable) = receipt.durable {
        match tokio::time::timeout_at(deadline, durable).await {
            Ok(synced) => synced?,
            Err(_) => return Err(WaitError::TimedOut),
        }
    }
    Ok(())
}
