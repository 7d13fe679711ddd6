//! Fetch (key 1): the hot way out. A plan of reads, then heads and file ranges.
//!
//! Record bytes never come up here: the log names a range of a file and `net` sends it. With too
//! little to answer, the request waits on its partitions until `min_bytes` or `max_wait_ms`.

use std::sync::Arc;
use std::time::Duration;

use nyala_client::wire::fetch::{
    self as wire_fetch, FetchOutcome, FetchPartitionReply, FetchReply, FetchView,
};
use nyala_client::wire::frame::RequestHeader;
use nyala_client::wire::{ApiKey, EncodeError, ErrorCode};
use nyala_coordinator::ids::TopicName;
use tokio::time::Instant;

use super::dispatch::{Peer, malformed, unanswerable};
use super::fetch_session::{Asked, Session, SessionRequest, Told, TopicKey};
use super::reply::{CloseReason, Later, LaterKind, Payload, Reply};
use super::{Operation, Resource, Services};
use crate::replication::{Isolation, Lookup, Partition, ReadRequest, ReadSlice, Table, WaitSet};

/// Longest wait, whatever the request says.
const MAX_WAIT_MS_MAX: i32 = 300_000;

/// Everything that answering takes, once the request is read: owned, so that it can wait.
struct Fetch {
    version: i16,
    correlation: i32,
    session: Session,
    isolation: Isolation,
    min_bytes: usize,
    max_bytes: usize,
    entries: Vec<Entry>,
}

/// One partition, what was asked of it, and what is known so far.
struct Entry {
    asked: Asked,
    target: Result<Arc<Partition>, ErrorCode>,
    read: Result<ReadSlice, ErrorCode>,
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
    let unanswerable = move |error| unanswerable(ApiKey::Fetch, version, &error);
    let services = peer.services();
    let view = FetchView::parse(body, version)
        .map_err(|error| malformed(ApiKey::Fetch, version, &error))?;
    let wait_ms = view.max_wait_ms;
    let mut fetch = match Fetch::new(peer, header, now_ms, &view) {
        Ok(fetch) => fetch,
        Err(error) => {
            fail(header, error, out).map_err(unanswerable)?;
            return Ok(Reply::Now);
        }
    };
    fetch.read();
    if wait_ms <= 0 || fetch.is_satisfied() {
        fetch.answer(services, out).map_err(unanswerable)?;
        return Ok(Reply::Now);
    }
    let wait = Duration::from_millis(wait_ms.min(MAX_WAIT_MS_MAX).unsigned_abs().into());
    let (services, deadline) = (Arc::clone(services), Instant::now() + wait);
    Ok(Reply::Later(Later {
        answer: Box::pin(async move {
            fetch.wait(deadline).await;
            let mut out = Payload::default();
            fetch.answer(&services, &mut out).map_err(unanswerable)?;
            Ok(out)
        }),
        kind: LaterKind::Reading,
    }))
}

impl Fetch {
    fn new(
        peer: &Peer,
        header: &RequestHeader<'_>,
        now_ms: i64,
        request: &FetchView<'_>,
    ) -> Result<Self, ErrorCode> {
        let services = peer.services();
        let (asked, forgotten) = owned(request, &services.partitions);
        let of_session = SessionRequest {
            id: request.session_id,
            epoch: request.session_epoch,
            principal: peer.principal(),
            now_ms,
        };
        let (session, asked) = services
            .fetch_sessions
            .open(of_session, asked, &forgotten)?;
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0);
        let max_bytes = max_bytes.min(services.fetch_bytes_max);
        let follows = request.replica_id >= 0;
        let refused = follows && !peer.authorize(Operation::ClusterAction, Resource::Cluster);
        let resolve = |asked: Asked| Entry {
            target: match refused {
                true => Err(ErrorCode::TopicAuthorizationFailed),
                false => resolve(peer, &asked),
            },
            asked,
            read: Err(ErrorCode::UnknownServerError),
        };
        Ok(Self {
            version: header.version,
            correlation: header.correlation_id,
            session,
            isolation: match request.isolation_level {
                1 => Isolation::ReadCommitted,
                _ => Isolation::ReadUncommitted,
            },
            min_bytes: usize::try_from(request.min_bytes)
                .unwrap_or(0)
                .min(max_bytes),
            max_bytes,
            entries: asked.into_iter().map(resolve).collect(),
        })
    }

    /// Plans all reads within the budget. The first batch is given whole, however large: a reader
    /// whose limits are too small must still get on (KIP-74).
    fn read(&mut self) {
        let mut left = self.max_bytes;
        let mut nothing_yet = true;
        for entry in &mut self.entries {
            let partition = match &entry.target {
                Ok(partition) => partition,
                Err(error) => {
                    entry.read = Err(*error);
                    continue;
                }
            };
            let asked = &entry.asked;
            let wanted = usize::try_from(asked.max_bytes).unwrap_or(0);
            let read = partition.read(&ReadRequest {
                offset: asked.offset,
                max_bytes: wanted.min(left),
                at_least_one: nothing_yet,
                isolation: self.isolation,
                leader_epoch: (asked.leader_epoch >= 0).then_some(asked.leader_epoch),
                at_follower: false,
            });
            if let Ok(read) = &read {
                left = left.saturating_sub(read.slice.len);
                nothing_yet &= read.slice.len == 0;
            }
            entry.read = read.map_err(|error| ErrorCode::from(&error));
        }
    }

    /// Whether to answer now: enough bytes, nothing to wait for, or a failure to tell.
    fn is_satisfied(&self) -> bool {
        let mut bytes = 0_usize;
        for entry in &self.entries {
            match &entry.read {
                Ok(read) => bytes += read.slice.len,
                Err(_) => return true,
            }
        }
        bytes >= self.min_bytes || self.entries.is_empty()
    }

    async fn wait(&mut self, deadline: Instant) {
        let mut waits = WaitSet::new();
        for entry in &self.entries {
            if let Ok(partition) = &entry.target {
                waits.add(partition);
            }
        }
        loop {
            self.read();
            if self.is_satisfied() {
                return;
            }
            if tokio::time::timeout_at(deadline, waits.moved())
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// Appends the answer.
    fn answer(self, services: &Services, out: &mut Payload) -> Result<(), EncodeError> {
        let told = self
            .entries
            .iter()
            .map(|e| (&e.asked.topic, e.asked.partition, e.told()));
        let news = match self.session {
            Session::None => None,
            session => Some(services.fetch_sessions.news(session, told)),
        };
        let tell = |at: &usize| {
            news.as_ref()
                .is_none_or(|n| n.get(*at).copied().unwrap_or(true))
        };
        let told: Vec<usize> = (0..self.entries.len()).filter(tell).collect();
        let entries: Vec<&Entry> = told.iter().filter_map(|&at| self.entries.get(at)).collect();
        let topics: Vec<&[&Entry]> = entries
            .chunk_by(|a, b| a.asked.topic == b.asked.topic)
            .collect();

        let outcome = FetchOutcome {
            session_id: match self.session {
                Session::None => 0,
                Session::New(id) | Session::Incremental(id) => id,
            },
            ..FetchOutcome::default()
        };
        let mut reply = FetchReply::start(self.version, self.correlation, outcome, topics.len());
        for topic in topics {
            if let Some(first) = topic.first() {
                let (name, id) = first.asked.topic.parts();
                reply.topic(name, id, topic.len());
            }
            for entry in topic {
                entry.write(&mut reply, self.isolation);
            }
        }
        let frame = reply.finish(&[])?;
        let mut at = 0;
        let slices = entries.iter().filter_map(|e| e.read.as_ref().ok());
        let slices = slices.map(|r| &r.slice).filter(|s| s.len > 0);
        for (gap, slice) in frame.gaps.iter().zip(slices) {
            out.push_bytes(frame.heads.get(at..gap.position).unwrap_or_default());
            out.push_range(Arc::clone(&slice.file), slice.position, gap.bytes as u64);
            at = gap.position;
        }
        out.push_bytes(frame.heads.get(at..).unwrap_or_default());
        Ok(())
    }
}

impl Entry {
    fn told(&self) -> Told {
        match &self.read {
            Ok(read) => Told {
                high_watermark: read.high_watermark,
                log_start: read.log_start,
                failed: false,
                has_records: read.slice.len > 0,
            },
            Err(_) => Told {
                high_watermark: -1,
                log_start: -1,
                failed: true,
                has_records: false,
            },
        }
    }

    fn write(&self, reply: &mut FetchReply, isolation: Isolation) {
        let index = self.asked.partition;
        // There are no aborted transactions, and only readers of committed records ask for them.
        let aborted: Option<&[(i64, i64)]> = match isolation {
            Isolation::ReadUncommitted | Isolation::LogEnd => None,
            Isolation::ReadCommitted => Some(&[]),
        };
        match &self.read {
            Ok(read) => {
                let answer = FetchPartitionReply {
                    index,
                    high_watermark: read.high_watermark,
                    last_stable_offset: read.last_stable,
                    log_start_offset: read.log_start,
                    aborted,
                    ..FetchPartitionReply::default()
                };
                reply.partition(&answer, read.slice.len);
            }
            Err(error) => {
                let answer = FetchPartitionReply {
                    index,
                    error: *error,
                    aborted,
                    ..FetchPartitionReply::default()
                };
                reply.partition(&answer, 0);
            }
        }
    }
}

/// What is to be read and what leaves the session, to be kept. Names come from `table` where it
/// knows them: that saves a copy.
fn owned(request: &FetchView<'_>, table: &Table) -> (Vec<Asked>, Vec<(TopicKey, i32)>) {
    let mut asked = Vec::new();
    for topic in request.topics() {
        let key = topic_key(topic.topic, table);
        for partition in topic.partitions() {
            asked.push(Asked {
                topic: key.clone(),
                partition: partition.partition,
                leader_epoch: partition.current_leader_epoch,
                offset: partition.fetch_offset,
                max_bytes: partition.max_bytes,
            });
        }
    }
    let mut forgotten = Vec::new();
    for topic in request.forgotten() {
        let key = topic_key(topic.topic, table);
        forgotten.extend(topic.partitions().map(|index| (key.clone(), index)));
    }
    (asked, forgotten)
}

fn topic_key(topic: wire_fetch::TopicKey<'_>, table: &Table) -> TopicKey {
    match topic {
        wire_fetch::TopicKey::Id(id) => TopicKey::Id(id),
        wire_fetch::TopicKey::Name(name) => match table.name(name) {
            Some(name) => TopicKey::Name(name),
            None => {
                TopicName::new(name).map_or_else(|_| TopicKey::Illegal(name.into()), TopicKey::Name)
            }
        },
    }
}

/// Finds the partition that is asked for, or why it cannot be read here.
fn resolve(peer: &Peer, asked: &Asked) -> Result<Arc<Partition>, ErrorCode> {
    let services = peer.services();
    let (name, id) = match &asked.topic {
        TopicKey::Illegal(_) => return Err(ErrorCode::InvalidTopicException),
        TopicKey::Name(name) => (name.clone(), None),
        TopicKey::Id(id) => {
            let name = services.topic_name(*id).ok_or(ErrorCode::UnknownTopicId)?;
            (name, Some(*id))
        }
    };
    if !peer.authorize(Operation::Read, Resource::Topic(name.as_str())) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    match services
        .partitions
        .lookup(name.as_str(), id, asked.partition)
    {
        Lookup::Here(partition) => Ok(partition),
        Lookup::OtherId => Err(ErrorCode::InconsistentTopicId),
        Lookup::Absent => Err(services.absent_partition(name.as_str(), asked.partition)),
    }
}

/// An answer without partitions: something is wrong with the session.
fn fail(
    header: &RequestHeader<'_>,
    error: ErrorCode,
    out: &mut Payload,
) -> Result<(), EncodeError> {
    let outcome = FetchOutcome {
        error,
        ..FetchOutcome::default()
    };
    let reply = FetchReply::start(header.version, header.correlation_id, outcome, 0);
    out.push_bytes(&reply.finish(&[])?.heads);
    Ok(())
}
