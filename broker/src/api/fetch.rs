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

use super::fetch_reader::{Greeting, Reader};
use super::fetch_session::{Asked, Session, SessionRequest, Told, TopicKey};
use super::leader_hint::Hints;
use super::peer::Peer;
use super::reply::{CloseReason, Later, LaterKind, Payload, Reply};
use super::{Operation, Resource, Services};
use crate::replication::{Isolation, Lookup, Partition, ReadRequest, Table, WaitSet};
use crate::storage::FileSlice;

/// Version from which a refusal names the leader (KIP-951).
const LEADER_HINT_FROM: i16 = 16;
/// Longest wait, whatever the request says.
const MAX_WAIT_MS_MAX: i32 = 300_000;

/// Wait of a fetch for which there is no memory to wait longer.
const SHORT_WAIT: Duration = Duration::from_millis(100);

/// Everything that answering takes, once the request is read: owned, so that it can wait.
struct Fetch {
    version: i16,
    correlation: i32,
    session: Session,
    reader: Reader,
    listener: Arc<str>,
    min_bytes: usize,
    max_bytes: usize,
    entries: Vec<Entry>,
}

/// One partition, what was asked of it, and what is known so far.
struct Entry {
    asked: Asked,
    target: Result<Arc<Partition>, ErrorCode>,
    greeting: Greeting,
    read: Result<Found, ErrorCode>,
}

/// What is there to be answered.
struct Found {
    slice: Option<FileSlice>,
    high_watermark: i64,
    last_stable: i64,
    log_start: i64,
}

impl Found {
    fn bytes(&self) -> usize {
        self.slice.as_ref().map_or(0, |slice| slice.len)
    }
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
    let unanswerable = move |error| CloseReason::unanswerable(ApiKey::Fetch, version, &error);
    let services = peer.services();
    let view = FetchView::parse(body, version)
        .map_err(|error| CloseReason::malformed(ApiKey::Fetch, version, &error))?;
    let wait_ms = view.max_wait_ms;
    let mut fetch = match Fetch::new(peer, header, now_ms, &view) {
        Ok(fetch) => fetch,
        Err(error) => {
            fail(header, error, out).map_err(unanswerable)?;
            return Ok(Reply::Now);
        }
    };
    fetch.greet(services);
    fetch.read();
    if wait_ms <= 0 || fetch.is_satisfied() {
        fetch.answer(services, out).map_err(unanswerable)?;
        return Ok(Reply::Now);
    }
    let wait = Duration::from_millis(wait_ms.min(MAX_WAIT_MS_MAX).unsigned_abs().into());
    // Followers are few, and acks=all waits for them.
    let partitions = match fetch.reader.follows() {
        true => 0,
        false => fetch.entries.len(),
    };
    let Ok(grant) = services.work_memory.of_waiting_fetch(partitions) else {
        // Only the answer is kept, and not for long; at once, its reader would ask on and on.
        let mut answer = Payload::default();
        fetch.answer(services, &mut answer).map_err(unanswerable)?;
        let wait = wait.min(SHORT_WAIT);
        return Ok(Reply::Later(Later {
            answer: Box::pin(async move {
                tokio::time::sleep(wait).await;
                Ok(answer)
            }),
            kind: LaterKind::Reading,
        }));
    };
    let (services, deadline) = (Arc::clone(services), Instant::now() + wait);
    Ok(Reply::Later(Later {
        answer: Box::pin(async move {
            let _grant = grant;
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
        let reader = Reader::of(request, header.version, services);
        let refused =
            reader.follows() && !peer.authorize(Operation::ClusterAction, Resource::Cluster);
        let resolve = |asked: Asked| Entry {
            target: match refused {
                true => Err(ErrorCode::TopicAuthorizationFailed),
                false => resolve(peer, &asked),
            },
            asked,
            greeting: Greeting::default(),
            read: Err(ErrorCode::UnknownServerError),
        };
        Ok(Self {
            version: header.version,
            correlation: header.correlation_id,
            session,
            reader,
            listener: Arc::clone(peer.listener_name()),
            min_bytes: usize::try_from(request.min_bytes)
                .unwrap_or(0)
                .min(max_bytes),
            max_bytes,
            entries: asked.into_iter().map(resolve).collect(),
        })
    }

    /// Tells every partition who reads.
    fn greet(&mut self, services: &Services) {
        for entry in &mut self.entries {
            if let Ok(partition) = &entry.target {
                match self.reader.greet(services, partition, &entry.asked) {
                    Ok(greeting) => entry.greeting = greeting,
                    Err(error) => entry.target = Err(error),
                }
            }
        }
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
            let free = self.reader.is_free(partition);
            entry.read = match free && entry.greeting == Greeting::default() {
                true => self.reader.read(partition, &entry.asked, left, nothing_yet),
                false => self.reader.look(partition, &entry.asked),
            };
            if let Ok(read) = &entry.read {
                left = left.saturating_sub(read.bytes());
                nothing_yet &= read.bytes() == 0;
            }
        }
    }

    /// Whether to answer now: enough bytes, nothing to wait for, or a failure to tell.
    fn is_satisfied(&self) -> bool {
        let mut bytes = 0_usize;
        for entry in &self.entries {
            match &entry.read {
                Ok(read) if entry.greeting == Greeting::default() => bytes += read.bytes(),
                _ => return true,
            }
        }
        bytes >= self.min_bytes || self.entries.is_empty()
    }

    async fn wait(&mut self, deadline: Instant) {
        let mut waits = WaitSet::new();
        for entry in &self.entries {
            match &entry.target {
                Ok(partition) if self.reader.follows() => waits.add_end(partition),
                Ok(partition) => waits.add(partition),
                Err(_) => {}
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
        let wanted = self.version >= LEADER_HINT_FROM && !self.reader.follows();
        let mut hints = Hints::new(services, &self.listener, wanted);
        for topic in topics {
            if let Some(first) = topic.first() {
                let (name, id) = first.asked.topic.parts();
                reply.topic(name, id, topic.len());
            }
            for entry in topic {
                entry.write(&mut reply, self.reader.isolation(), &mut hints);
            }
        }
        let frame = reply.finish(&hints.endpoints())?;
        let mut at = 0;
        let found = entries.iter().filter_map(|e| e.read.as_ref().ok());
        let slices = found.filter_map(|r| r.slice.as_ref()).filter(|s| s.len > 0);
        for entry in &entries {
            if let (Ok(partition), Ok(read)) = (&entry.target, &entry.read) {
                self.reader.count(partition, read.bytes());
            }
        }
        for (gap, slice) in frame.gaps.iter().zip(slices) {
            out.push_bytes(frame.heads.get(at..gap.position).unwrap_or_default());
            out.push_range(Arc::clone(&slice.file), slice.position, gap.bytes as u64);
            at = gap.position;
        }
        out.push_bytes(frame.heads.get(at..).unwrap_or_default());
        Ok(())
    }
}

impl Reader {
    /// Finds what to send, within what is left of the request's bytes.
    fn read(
        &self,
        partition: &Partition,
        asked: &Asked,
        left: usize,
        at_least_one: bool,
    ) -> Result<Found, ErrorCode> {
        let wanted = usize::try_from(asked.max_bytes).unwrap_or(0);
        let read = partition.read(&ReadRequest {
            offset: asked.offset,
            max_bytes: wanted.min(left),
            at_least_one,
            isolation: self.isolation(),
            leader_epoch: asked.known_epoch(),
            at_follower: self.at_follower(),
        });
        let read = read.map_err(|error| ErrorCode::from(&error))?;
        Ok(Found {
            slice: Some(read.slice),
            high_watermark: read.high_watermark,
            last_stable: read.last_stable,
            log_start: read.log_start,
        })
    }

    /// Finds only the offsets, for a reader that gets no records here.
    fn look(&self, partition: &Partition, asked: &Asked) -> Result<Found, ErrorCode> {
        let offsets = partition.offsets(asked.known_epoch());
        let offsets = offsets.map_err(|error| ErrorCode::from(&error))?;
        Ok(Found {
            slice: None,
            high_watermark: offsets.high_watermark,
            last_stable: offsets.last_stable,
            log_start: offsets.log_start,
        })
    }
}

impl Entry {
    fn told(&self) -> Told {
        match &self.read {
            Ok(read) => Told {
                high_watermark: read.high_watermark,
                log_start: read.log_start,
                // What sets the reader to work is told until it has done it.
                failed: self.greeting != Greeting::default(),
                has_records: read.bytes() > 0,
            },
            Err(_) => Told {
                high_watermark: -1,
                log_start: -1,
                failed: true,
                has_records: false,
            },
        }
    }

    fn write(&self, reply: &mut FetchReply, isolation: Isolation, hints: &mut Hints<'_>) {
        let index = self.asked.partition;
        // Only readers of committed records are told of aborted transactions; none are known here, though
        // logs that Kafka wrote may hold some (the leader warns of them).
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
                    diverging_epoch: self
                        .greeting
                        .diverging
                        .map(|end| (end.leader_epoch.0, end.end_offset)),
                    preferred_read_replica: self.greeting.nearest.map_or(-1, |id| id.0),
                    aborted,
                    ..FetchPartitionReply::default()
                };
                reply.partition(&answer, read.bytes());
            }
            Err(error) => {
                let answer = FetchPartitionReply {
                    index,
                    error: *error,
                    current_leader: hints.give_for(*error, &self.asked.topic, index),
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
                last_epoch: partition.last_fetched_epoch,
                log_start: partition.log_start_offset,
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
