//! Reads one partition from an offset on, over a connection of its own: a long poll of one reader never
//! holds up another. Also single records, by their offset.

use std::time::Duration;

use bytes::Bytes;
use nyala_coordinator::ids::TopicPartition;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::error::TaskError;
use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::consumer::positions::{OffsetSpec, lookup};
use crate::consumer::{ConsumerRecord, Cursor, WholeBatches};
use crate::error::{ClusterError, ConsumerError};
use crate::wire::ErrorCode;
use crate::wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};

/// Above this, topics go by id and need a session of ids: names are enough here.
const FETCH_VERSION_MAX: i16 = 12;
/// A quiet partition is asked about this often.
const WAIT: Duration = Duration::from_secs(2);
/// Beyond the wait that the request asks for, a broker gets this long to answer.
const ANSWER_SLACK: Duration = Duration::from_secs(30);
const FETCH_BYTES: i32 = 512 << 10;
/// Pause before a failed fetch is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Where a reader is.
#[derive(Debug)]
pub(crate) struct Tail {
    cluster: Cluster,
    target: TopicPartition,
    /// Next offset to read.
    offset: i64,
    connection: Option<Connection>,
}

/// What one fetch came to.
enum Fetched {
    Records(Vec<ConsumerRecord>),
    /// The offset is gone, or is not there yet.
    OutOfRange,
    /// The leader has moved, or the connection is gone.
    Again,
}

impl Tail {
    pub(crate) fn new(cluster: &Cluster, target: TopicPartition, offset: i64) -> Self {
        Self {
            cluster: cluster.clone(),
            target,
            offset,
            connection: None,
        }
    }

    pub(crate) fn offset(&self) -> i64 {
        self.offset
    }

    /// The next records; none if none came for a while. Goes on through changes of the leader.
    pub(crate) async fn next(&mut self) -> Result<Vec<ConsumerRecord>, TaskError> {
        loop {
            match self.fetch(WAIT).await? {
                Fetched::Records(records) => return Ok(records),
                Fetched::OutOfRange => {
                    let start = lookup(&self.cluster, &self.target, OffsetSpec::Earliest).await?;
                    if start > self.offset {
                        tracing::warn!(target = %self.target, self.offset, start, "records are gone before they were read");
                        self.offset = start;
                    }
                }
                Fetched::Again => {}
            }
            self.connection = None;
            self.cluster.refresh();
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn connection(&mut self) -> Result<Connection, ClusterError> {
        if let Some(open) = self.connection.as_ref().filter(|c| c.is_open()) {
            return Ok(open.clone());
        }
        let topology = self.cluster.topology();
        let leader = topology.leader(&self.target.topic, self.target.partition);
        let leader = leader.ok_or(ClusterError::NoBrokers)?;
        let address = topology.brokers.get(&leader);
        let address = address.ok_or(ClusterError::NoBroker(leader))?.to_string();
        let config = self.cluster.config().connection.clone();
        let made = Connection::connect(&address, config).await?;
        self.connection = Some(made.clone());
        Ok(made)
    }

    async fn fetch(&mut self, wait: Duration) -> Result<Fetched, TaskError> {
        let again = |error: &dyn std::fmt::Display| -> Result<Fetched, TaskError> {
            tracing::debug!(%error, "a fetch failed");
            Ok(Fetched::Again)
        };
        let connection = match self.connection().await {
            Ok(connection) => connection,
            Err(error) => return again(&error),
        };
        let request = request(&self.target, self.offset, wait);
        let version = connection.version::<FetchRequest>(FETCH_VERSION_MAX);
        let version = version.map_err(ClusterError::from)?;
        let reply = connection.send_within(&request, version, wait + ANSWER_SLACK);
        let answer = match reply {
            Ok(reply) => {
                reply
                    .wait::<crate::wire::messages::fetch::FetchResponse>()
                    .await
            }
            Err(error) => Err(error),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return again(&error),
        };
        if ErrorCode::from(answer.error_code).is_error() {
            return again(&ErrorCode::from(answer.error_code));
        }
        let partitions = answer.responses.into_iter().flat_map(|t| t.partitions);
        match partitions.into_iter().next() {
            Some(partition) => self.take_in(&partition),
            None => Ok(Fetched::Again),
        }
    }

    fn take_in(&mut self, answer: &PartitionData) -> Result<Fetched, TaskError> {
        match ErrorCode::from(answer.error_code) {
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange => return Ok(Fetched::OutOfRange),
            code if code.retriable() => return Ok(Fetched::Again),
            code => {
                let target = self.target.clone();
                return Err(ConsumerError::Refused { target, code }.into());
            }
        }
        let bytes = answer.records.clone().unwrap_or_default();
        self.decode(&bytes).map(Fetched::Records)
    }

    fn decode(&mut self, bytes: &Bytes) -> Result<Vec<ConsumerRecord>, TaskError> {
        let corrupt = |offset, error| ConsumerError::Corrupt {
            target: self.target.clone(),
            offset,
            error,
        };
        let whole = WholeBatches::of(bytes, self.offset);
        let next = whole.next_offset;
        if let Some(error) = whole.fault.filter(|_| next <= self.offset) {
            return Err(corrupt(self.offset, error).into());
        }
        let mut cursor = Cursor::new(bytes.slice(..whole.bytes));
        let (mut position, mut records) = (self.offset, Vec::new());
        let read = cursor.read(&self.target, &mut position, usize::MAX, &mut records);
        read.map_err(|error| corrupt(position, error))?;
        self.offset = self.offset.max(next);
        Ok(records)
    }
}

fn request(target: &TopicPartition, offset: i64, wait: Duration) -> FetchRequest {
    FetchRequest {
        max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: 1,
        max_bytes: FETCH_BYTES,
        topics: vec![FetchTopic {
            topic: target.topic.as_str().to_owned(),
            partitions: vec![FetchPartition {
                partition: target.partition.0,
                fetch_offset: offset,
                partition_max_bytes: FETCH_BYTES,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

/// One record by its offset.
pub(crate) async fn read_at(
    cluster: &Cluster,
    target: &TopicPartition,
    offset: i64,
) -> Result<ConsumerRecord, TaskError> {
    let gone = || TaskError::Gone {
        topic: target.topic.clone(),
        offset,
    };
    let mut tail = Tail::new(cluster, target.clone(), offset);
    // It waits for nothing, so the connection that all share will do.
    let leader = cluster.topology().leader(&target.topic, target.partition);
    if let Some(leader) = leader {
        tail.connection = cluster.connection(leader).await.ok();
    }
    loop {
        match tail.fetch(Duration::ZERO).await? {
            Fetched::Records(records) => {
                let found = records.into_iter().find(|r| r.offset >= offset);
                return found.filter(|r| r.offset == offset).ok_or_else(gone);
            }
            Fetched::OutOfRange => return Err(gone()),
            Fetched::Again => {
                tail.connection = None;
                cluster.refresh();
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Reads `target` from `from` up to the end that it has now (or `to`), in order; gives that end.
pub(crate) async fn read_range(
    cluster: &Cluster,
    target: &TopicPartition,
    from: i64,
    to: Option<i64>,
    mut each: impl FnMut(ConsumerRecord),
) -> Result<i64, TaskError> {
    let end = match to {
        Some(end) => end,
        None => lookup(cluster, target, OffsetSpec::Latest).await?,
    };
    let mut tail = Tail::new(cluster, target.clone(), from);
    while tail.offset() < end {
        for record in tail.next().await? {
            if record.offset < end {
                each(record);
            }
        }
    }
    Ok(end)
}

/// Records of a reader that runs by itself, and where it went on after them.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) records: Vec<ConsumerRecord>,
    pub(crate) next_offset: i64,
}

/// A reader that runs by itself, a few batches ahead; it ends with this.
#[derive(Debug)]
pub(crate) struct Following {
    batches: mpsc::Receiver<Result<Batch, TaskError>>,
    _reader: AbortOnDropHandle<()>,
}

impl Following {
    pub(crate) fn start(mut tail: Tail) -> Self {
        let (sender, batches) = mpsc::channel(1);
        let reader = tokio::spawn(async move {
            loop {
                let batch = match tail.next().await {
                    Ok(records) if records.is_empty() => continue,
                    Ok(records) => Ok(Batch {
                        records,
                        next_offset: tail.offset(),
                    }),
                    Err(error) => Err(error),
                };
                let failed = batch.is_err();
                if sender.send(batch).await.is_err() || failed {
                    return;
                }
            }
        });
        Self {
            batches,
            _reader: AbortOnDropHandle::new(reader),
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Batch, TaskError> {
        self.batches.recv().await.unwrap_or(Err(TaskError::Closed))
    }

    /// For a select over many.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<Batch, TaskError>> {
        self.batches
            .poll_recv(cx)
            .map(|batch| batch.unwrap_or(Err(TaskError::Closed)))
    }
}
