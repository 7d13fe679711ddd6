//! A large produce request that is received into a buffer of its own size.
//!
//! Once the head of a batch of one partition is here, the log says whether it would take it at all: who
//! leads elsewhere, or has no space, refuses before megabytes have come. The rest is then received in
//! one piece, checked where it lies and written to the log, with no copy in between. Whatever is not
//! plain takes the ordinary way.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::BufMut;
use nyala_client::wire::batch::BatchHead;
use nyala_client::wire::compression::Codec;
use nyala_client::wire::frame::RequestHeader;
use nyala_client::wire::produce::ProduceReply;
use nyala_client::wire::{ApiKey, Reader};

use super::peer::Peer;
use super::produce::{Outcome, Pending, SERVED_FROM, answer, must_wait};
use super::record_check::check;
use super::reply::{CloseReason, Payload, Reply};
use super::{Operation, Resource, is_internal};
use crate::replication::{Acks, Partition, Receipt};
use crate::storage::{Origin, Reservation};

/// Less than this still to come is not worth the trouble.
const REMAINING_BYTES_MIN: usize = 32 * 1024;

/// One request that is received for a log which has said that it would take it.
#[derive(Debug)]
pub(crate) struct Direct {
    version: i16,
    correlation: i32,
    acks: Acks,
    timeout_ms: i32,
    partition: Arc<Partition>,
    reservation: Reservation,
    /// Bytes of the frame behind the records: tagged fields, if any.
    tail_bytes: usize,
}

/// What stands in front of the records.
struct Front<'a> {
    header: RequestHeader<'a>,
    acks: i16,
    timeout_ms: i32,
    topic: &'a str,
    index: i32,
    records_bytes: usize,
    records_at: usize,
}

/// Reads the front of a request for one partition; `None` when it is another or not all there.
fn front(received: &[u8]) -> Option<Front<'_>> {
    let mut reader = Reader::new(received);
    let header = RequestHeader::decode(&mut reader).ok()?;
    let served = SERVED_FROM..=ApiKey::Produce.max_version();
    if header.key != ApiKey::Produce || !served.contains(&header.version) {
        return None;
    }
    reader.set_flexible(ApiKey::Produce.is_flexible(header.version));
    let transactional_id = reader.str_or_null(true);
    let (acks, timeout_ms) = (reader.i16(), reader.i32());
    // Counts are not compared with the bytes left: most of them are still to come.
    let topics = reader.count_or_null(0, false)?;
    let topic = reader.str();
    let partitions = reader.count_or_null(0, false)?;
    let index = reader.i32();
    let records_bytes = reader.count_or_null(0, true)?;
    reader.check().ok()?;
    let plain = transactional_id.is_none() && topics == 1 && partitions == 1;
    plain.then_some(Front {
        header,
        acks,
        timeout_ms,
        topic,
        index,
        records_bytes,
        records_at: received.len() - reader.rest().len(),
    })
}

impl Direct {
    /// Begins, if the frame of `frame_bytes` that starts with `received` may go this way. All of
    /// `received` is taken then.
    pub(super) fn begin(peer: &Peer, frame_bytes: usize, received: &[u8]) -> Option<Self> {
        let front = front(received)?;
        let acks = match front.acks {
            1 => Acks::Leader,
            -1 => Acks::All,
            _ => return None,
        };
        let records = received.get(front.records_at..)?;
        let end = front.records_at.checked_add(front.records_bytes)?;
        let tail_bytes = frame_bytes.checked_sub(end)?;
        if records.len() + REMAINING_BYTES_MIN > front.records_bytes || is_internal(front.topic) {
            return None;
        }
        let head = BatchHead::parse(records).ok()?;
        let topic = Resource::Topic(front.topic);
        if head.size() != front.records_bytes
            || head.codec() != Ok(Codec::None)
            || !peer.authorize(Operation::Write, topic)
        {
            return None;
        }
        let partition = peer.services().partitions.get(front.topic, front.index)?;
        let config = partition.config();
        let recompressed = config.compression.is_some_and(|codec| codec != Codec::None);
        if recompressed || head.size() > config.max_message_bytes {
            return None;
        }
        let mut reservation = partition.reserve(head.size()).ok()?;
        reservation.fill(records);
        Some(Self {
            version: front.header.version,
            correlation: front.header.correlation_id,
            acks,
            timeout_ms: front.timeout_ms,
            partition: Arc::clone(&partition),
            reservation,
            tail_bytes,
        })
    }

    /// Bytes of records still to come.
    pub(crate) fn remaining(&self) -> usize {
        self.reservation.remaining()
    }

    /// Bytes of the frame behind the records.
    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// Room for the next records, at most `limit` bytes.
    pub(crate) fn room(&mut self, limit: usize) -> impl BufMut {
        self.reservation.room(limit)
    }

    /// Checks and commits what was received; `tail` is what followed the records.
    pub(crate) fn finish(self, tail: &[u8], now_ms: i64, out: &mut Payload) -> Reply {
        self.commit(tail, now_ms, out).unwrap_or_else(Reply::Close)
    }

    fn commit(self, tail: &[u8], now_ms: i64, out: &mut Payload) -> Result<Reply, CloseReason> {
        let Self {
            version,
            acks,
            timeout_ms,
            partition,
            ..
        } = self;
        let mut reader = Reader::new(tail);
        reader.set_flexible(ApiKey::Produce.is_flexible(version));
        // Those of the partition, of the topic and of the request.
        (0..3).for_each(|_| reader.skip_tags());
        reader
            .check()
            .map_err(|error| CloseReason::malformed(ApiKey::Produce, version, &error))?;

        let id = partition.id().clone();
        let mut reply = ProduceReply::start(version, self.correlation, 1);
        reply.topic(id.topic.as_str(), 1);
        let error_at = reply.position() + 4;
        let mut pending = Vec::new();
        let outcome = match append(&partition, &self.reservation, (version, acks), now_ms) {
            Ok(receipt) => {
                let outcome = Outcome::of(&receipt);
                if must_wait(acks, &receipt) {
                    pending.push(Pending {
                        partition,
                        receipt,
                        error_at,
                    });
                }
                outcome
            }
            Err(outcome) => outcome,
        };
        outcome.write(id.partition.0, None, &mut reply);
        let frame = reply
            .finish(0, &[])
            .map_err(|error| CloseReason::unanswerable(ApiKey::Produce, version, &error))?;
        Ok(answer(frame, pending, timeout_ms, out))
    }
}

fn append(
    partition: &Partition,
    reservation: &Reservation,
    (version, acks): (i16, Acks),
    now_ms: i64,
) -> Result<Receipt, Outcome> {
    let config = partition.config();
    let checked = check(reservation.filled(), version, &config, now_ms);
    let appended = match checked.map_err(|refusal| Outcome::refused(&refusal))? {
        Cow::Borrowed(_) => partition.commit(reservation, Origin::Client, acks, now_ms),
        Cow::Owned(corrected) => partition.append(&corrected, Origin::Client, acks, now_ms),
    };
    appended.map_err(|error| Outcome::of_append(&error))
}
