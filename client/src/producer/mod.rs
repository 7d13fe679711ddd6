//! The producer: records in, acknowledgements out.
//!
//! ```text
//! send -> partitioner (which partition) -> batcher (open batch) -> lane (order, numbers)
//!      -> sender (in flight per broker) -> wire ... -> ack
//! ```
//! [`Producer::send`] waits only for room in the buffer (`buffer.memory`) and, once a topic, for
//! its partitions; the returned [`Ack`] resolves when the broker has answered. Idempotent by
//! default: retries neither double nor reorder the records of a partition.
//!
//! ```text
//! let producer = Producer::builder().zookeeper("127.0.0.1:2181").build().await?;
//! let ack = producer.send(Record::new(topic, "hello").with_key("k")).await?;
//! let placed = ack.await?;
//! println!("{}-{} at {:?}", placed.topic, placed.partition, placed.offset);
//! producer.close().await?;
//! ```

mod ack;
mod batcher;
mod config;
mod lane;
mod partitioner;
mod record;
mod request;
mod sender;

pub use ack::Ack;
pub use config::{ProducerBuilder, ProducerConfig};
pub use nyala_coordinator::recipes::balance::Slot;
pub use partitioner::{murmur2, partition_for_key};
pub use record::{Header, Record, RecordMetadata};

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nyala_coordinator::clock;
use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use crate::cluster::{Cluster, TopicTopology};
use crate::error::{ClusterError, ProducerError, SendError};
use batcher::{BATCH_HEAD_BYTES, BatchLimits, Batcher};
use nyala_coordinator::recipes::balance::RoundRobin;
use record::RECORD_OVERHEAD_BYTES;

/// Sends records. Cheap to clone; clones share buffers, order and connections.
///
/// Dropping the last clone gives up what is not acknowledged yet: [`Producer::close`] waits.
#[derive(Clone, Debug)]
pub struct Producer {
    core: Arc<Core>,
}

#[derive(Debug)]
struct Core {
    shared: Arc<Shared>,
    sender: AbortHandle,
}

impl Drop for Core {
    fn drop(&mut self) {
        self.sender.abort();
        // Their promises break, which tells those who still wait for acks.
        drop(self.shared.gathering.lock().batcher.take_all());
    }
}

/// What callers of `send` and the sender have in common.
#[derive(Debug)]
struct Shared {
    config: ProducerConfig,
    cluster: Cluster,
    gathering: Mutex<Gathering>,
    /// Free bytes of `buffer.memory`.
    memory: Semaphore,
    /// Something new for the sender.
    wake: Notify,
    closed: AtomicBool,
    /// Why something did not go out, since the last batch that was acknowledged.
    obstacle: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Gathering {
    batcher: Batcher,
    rounds: HashMap<TopicName, RoundRobin>,
}

impl Producer {
    /// Settings first.
    #[must_use]
    pub fn builder() -> ProducerBuilder {
        ProducerBuilder::default()
    }

    fn start(config: ProducerConfig, cluster: Cluster) -> Self {
        let limits = BatchLimits {
            batch_bytes_max: config.batch_bytes,
            linger: config.linger,
        };
        let shared = Arc::new(Shared {
            memory: Semaphore::new(config.buffer_bytes),
            cluster,
            gathering: Mutex::new(Gathering {
                batcher: Batcher::new(limits),
                rounds: HashMap::new(),
            }),
            wake: Notify::new(),
            closed: AtomicBool::new(false),
            obstacle: Mutex::new(None),
            config,
        });
        let sender = tokio::spawn(sender::Sender::new(Arc::clone(&shared)).run());
        Self {
            core: Arc::new(Core {
                sender: sender.abort_handle(),
                shared,
            }),
        }
    }

    /// The cluster that the producer writes to.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.core.shared.cluster
    }

    /// Puts `record` in a batch, after waiting for room if the buffer is full.
    ///
    /// Records of one caller to one partition keep the order of the calls. The future may be
    /// dropped before it is ready; the record is then not sent.
    pub async fn send(&self, record: Record) -> Result<Ack, SendError> {
        self.core.shared.send(record).await
    }

    /// Why the last attempt came to nothing, if nothing was acknowledged since: for who waits long.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        self.core.shared.obstacle.lock().clone()
    }

    /// Size of the largest record that is taken, of [`Record::bytes`].
    pub(crate) fn record_bytes_max(&self) -> usize {
        let config = &self.core.shared.config;
        let limit = config.request_bytes.min(config.buffer_bytes);
        limit.saturating_sub(BATCH_HEAD_BYTES + RECORD_OVERHEAD_BYTES)
    }

    /// Sends all that is gathered, and waits until everything sent before is settled.
    ///
    /// Settled may mean refused: the acks tell.
    pub async fn flush(&self) -> Result<(), ProducerError> {
        self.core.shared.flush().await
    }

    /// Takes no more records and waits until all are settled.
    pub async fn close(self) -> Result<(), ProducerError> {
        self.core.shared.closed.store(true, Ordering::Release);
        self.core.shared.flush().await
    }
}

impl Shared {
    async fn send(&self, mut record: Record) -> Result<Ack, SendError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(SendError::Closed);
        }
        let bytes = record.bytes();
        let limit = self.config.request_bytes.min(self.config.buffer_bytes);
        if bytes + BATCH_HEAD_BYTES + RECORD_OVERHEAD_BYTES > limit {
            return Err(SendError::TooLarge { bytes, limit });
        }
        let topic = self.topic(&record.topic).await?;
        record.timestamp_ms.get_or_insert_with(clock::wall_ms);
        self.reserve(bytes + RECORD_OVERHEAD_BYTES).await?;
        let mut gathering = self.gathering.lock();
        let partition = match gathering.partition(&topic, &record, bytes) {
            Ok(partition) => partition,
            Err(error) => {
                self.memory.add_permits(bytes + RECORD_OVERHEAD_BYTES);
                return Err(error);
            }
        };
        let target = TopicPartition {
            topic: record.topic.clone(),
            partition,
        };
        let (ack, news) = gathering
            .batcher
            .append(&target, record, bytes, clock::now());
        drop(gathering);
        if news {
            self.wake.notify_one();
        }
        Ok(ack)
    }

    async fn topic(&self, name: &TopicName) -> Result<Arc<TopicTopology>, SendError> {
        let known = self.cluster.topology().topics.get(name).cloned();
        if let Some(topic) = known.filter(|t| !t.partitions.is_empty()) {
            self.cluster.want(name);
            return Ok(topic);
        }
        let waited = self.config.block_max;
        let found = self.cluster.await_partitions(name, waited).await;
        found.map_err(|error| SendError::UnknownTopic {
            topic: name.clone(),
            waited,
            code: match error {
                ClusterError::Refused { code, .. } => Some(code),
                _ => None,
            },
        })
    }

    async fn reserve(&self, bytes: usize) -> Result<(), SendError> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(room) = self.memory.try_acquire_many(permits) {
            room.forget();
            return Ok(());
        }
        let waited = self.config.block_max;
        // Full: what is gathered goes out now, so that room comes back.
        self.gathering.lock().batcher.begin_flush();
        self.wake.notify_one();
        let room = tokio::time::timeout(waited, self.memory.acquire_many(permits)).await;
        self.gathering.lock().batcher.end_flush();
        match room {
            Ok(Ok(room)) => {
                room.forget();
                Ok(())
            }
            Ok(Err(_)) => Err(SendError::Closed),
            Err(_) => Err(SendError::BufferFull {
                limit: self.config.buffer_bytes,
                waited,
            }),
        }
    }

    async fn flush(&self) -> Result<(), ProducerError> {
        let unsettled = self.gathering.lock().batcher.begin_flush();
        self.wake.notify_one();
        let _end = EndFlush(self);
        // The delivery timeout settles every batch; the rest is for the answer on its way.
        let waited = self.config.delivery_timeout + self.config.cluster.connection.request_timeout;
        let all = async {
            for settlement in unsettled.iter().cloned() {
                settlement.wait().await;
            }
        };
        if tokio::time::timeout(waited, all).await.is_ok() {
            return Ok(());
        }
        Err(ProducerError::Timeout {
            unsettled: unsettled.iter().filter(|s| !s.is_settled()).count(),
            waited,
        })
    }
}

/// Ends a flush also when its future is dropped.
struct EndFlush<'a>(&'a Shared);

impl Drop for EndFlush<'_> {
    fn drop(&mut self) {
        self.0.gathering.lock().batcher.end_flush();
    }
}

impl Gathering {
    fn partition(
        &mut self,
        topic: &TopicTopology,
        record: &Record,
        bytes: usize,
    ) -> Result<PartitionIndex, SendError> {
        let unknown = |partition| SendError::UnknownPartition {
            target: TopicPartition {
                topic: record.topic.clone(),
                partition,
            },
        };
        if let Some(asked) = record.partition {
            let known = topic.partitions.contains_key(&asked);
            return if known {
                Ok(asked)
            } else {
                Err(unknown(asked))
            };
        }
        let first = PartitionIndex(0);
        if let Some(key) = &record.key {
            let chosen = partition_for_key(key, topic.partitions.len());
            return chosen.ok_or_else(|| unknown(first));
        }
        if !self.rounds.contains_key(&record.topic) {
            let start = usize::try_from(rand::random::<u32>()).unwrap_or(0);
            self.rounds
                .insert(record.topic.clone(), RoundRobin::new(start));
        }
        let Self { batcher, rounds } = self;
        let round = rounds.get_mut(&record.topic);
        let room = |p| batcher.has_room(&record.topic, p, bytes);
        let chosen = round.and_then(|round| round.choose(&topic.slots, room));
        // Without any leader the batch waits for one, wherever it lies.
        let any = || topic.partitions.keys().next().copied();
        chosen.or_else(any).ok_or_else(|| unknown(first))
    }
}
