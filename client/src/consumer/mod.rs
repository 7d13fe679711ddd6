//! The consumer: records out, in order per partition, alone or as a member of a group.
//!
//! ```text
//! driver (which partitions) -> delivery <- fetcher (bytes)      application <- poll / stream
//! ```
//! Through ZooKeeper a group meets in `/consumers/G`: members, owners and offsets are znodes, every
//! member computes the same assignment, and a partition has at most one live owner. Through brokers
//! it is Kafka's own (classic) group protocol. Delivery is at least once: a record counts as handled
//! when the application asks for more, and only then may its offset be committed.
//!
//! ```text
//! let mut consumer = Consumer::builder()
//!     .zookeeper("127.0.0.1:2181")
//!     .group("readers")
//!     .topics([topic])
//!     .offset_reset(OffsetReset::Earliest)
//!     .build()
//!     .await?;
//! while let Some(record) = consumer.stream().next().await {
//!     println!("{:?}", record?.value);
//! }
//! ```

mod alone;
mod classic;
mod config;
mod delivery;
mod fetcher;
mod native;
mod offsets;
pub mod positions;
pub mod protocol;
mod rebalance;
mod record;

pub use config::{ConsumerBuilder, ConsumerConfig};
pub(crate) use fetcher::WholeBatches;
pub use rebalance::FencingToken;
pub use record::ConsumerRecord;
pub(crate) use record::Cursor;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use nyala_coordinator::ids::TopicPartition;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::error::ConsumerError;
use delivery::Delivery;

/// Longest that leaving a group takes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest time without a look at what may be handed out.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What the handle asks of the driver.
#[derive(Debug)]
pub(crate) enum Command {
    /// Commit everything that is handled.
    Commit(oneshot::Sender<Result<(), ConsumerError>>),
    /// Leave the group.
    Close(oneshot::Sender<Result<(), ConsumerError>>),
}

/// Reads records. Dropping it leaves the group without a commit; [`Consumer::close`] commits first.
#[derive(Debug)]
pub struct Consumer {
    config: Arc<ConsumerConfig>,
    cluster: Cluster,
    delivery: Arc<Delivery>,
    commands: mpsc::Sender<Command>,
    driver: AbortHandle,
    fetcher: AbortHandle,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.driver.abort();
        self.fetcher.abort();
    }
}

impl Consumer {
    /// Settings first.
    #[must_use]
    pub fn builder() -> ConsumerBuilder {
        ConsumerBuilder::default()
    }

    fn start(config: ConsumerConfig, cluster: Cluster) -> Self {
        let config = Arc::new(config);
        for topic in &config.topics {
            cluster.want(topic);
        }
        let session = cluster.session().filter(|_| config.group.is_some());
        let held_by = session.cloned();
        let delivery = Arc::new(Delivery::new(config.waiting_bytes_max, held_by));
        let (commands, requests) = mpsc::channel(16);
        let parts = Parts {
            config: Arc::clone(&config),
            cluster: cluster.clone(),
            delivery: Arc::clone(&delivery),
            requests,
        };
        let driver = match (config.group.clone(), session.cloned()) {
            (Some(group), Some(session)) => {
                tokio::spawn(native::Driver::new(parts, group, session).run())
            }
            (Some(group), None) => tokio::spawn(classic::Driver::new(parts, group).run()),
            (None, _) => tokio::spawn(alone::run(parts)),
        };
        let fetcher =
            fetcher::Fetcher::new(Arc::clone(&delivery), cluster.clone(), Arc::clone(&config));
        Self {
            fetcher: tokio::spawn(fetcher.run()).abort_handle(),
            driver: driver.abort_handle(),
            config,
            cluster,
            delivery,
            commands,
        }
    }

    /// The cluster that the consumer reads from.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The next records, up to `max.poll.records`, all of one partition; none if none came within
    /// `timeout`. With this call everything that was handed out before counts as handled.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumerRecord>, ConsumerError> {
        self.poll_up_to(self.config.poll_records_max, timeout).await
    }

    /// As [`Self::poll`], with at most `max` records.
    pub async fn poll_up_to(
        &mut self,
        max: usize,
        timeout: Duration,
    ) -> Result<Vec<ConsumerRecord>, ConsumerError> {
        let deadline = Instant::now() + timeout;
        loop {
            self.delivery.let_go();
            let records = self.delivery.take(max)?;
            if !records.is_empty() {
                return Ok(records);
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Vec::new());
            }
            // A look now and then: a session that comes back makes no noise of its own.
            let arrived = self.delivery.arrived.notified();
            let _ = tokio::time::timeout_at(deadline.min(now + LOOK_INTERVAL), arrived).await;
        }
    }

    /// The records one by one. A record counts as handled when the next one is asked for.
    ///
    /// The stream ends only with [`ConsumerError::Closed`]; after any other error it goes on.
    pub fn stream(&mut self) -> impl Stream<Item = Result<ConsumerRecord, ConsumerError>> + '_ {
        let unbounded = Duration::from_secs(3600);
        futures::stream::unfold(self, move |consumer| async move {
            loop {
                match consumer.poll_up_to(1, unbounded).await {
                    Ok(mut records) => {
                        if let Some(record) = records.pop() {
                            return Some((Ok(record), consumer));
                        }
                    }
                    Err(ConsumerError::Closed) => return None,
                    Err(error) => return Some((Err(error), consumer)),
                }
            }
        })
    }

    /// The partitions that are read now: the offset of the next record, and in a ZooKeeper group
    /// the fencing token of the ownership.
    #[must_use]
    pub fn assignment(&self) -> BTreeMap<TopicPartition, (i64, Option<FencingToken>)> {
        self.delivery.positions()
    }

    /// Goes on at `offset`; `false` if the partition is not assigned now.
    #[must_use]
    pub fn seek(&mut self, target: &TopicPartition, offset: i64) -> bool {
        self.delivery.seek(target, offset)
    }

    /// Commits everything that was handed out: by this call the application says that it is handled.
    ///
    /// [`ConsumerError::Fenced`]: something of it is another's by now, which reads it again.
    pub async fn commit(&mut self) -> Result<(), ConsumerError> {
        if self.config.group.is_none() {
            return Err(ConsumerError::NoGroup);
        }
        match self.cluster.session().is_some() {
            // What is leaving goes when this is committed: the driver lets go of it.
            true => self.delivery.handled(),
            false => self.delivery.let_go(),
        }
        self.ask(Command::Commit).await
    }

    /// Leaves the group after a commit of all that was handed out (with `enable.auto.commit`).
    ///
    /// Waits 30 s at most; after [`ConsumerError::Interrupted`] it is not known whether that was committed, as where
    /// ZooKeeper is away. After [`ConsumerError::Fenced`] it was not: another reads it again. What a lost session has
    /// cost before is not told here: another has read it since, and the log said so.
    pub async fn close(self) -> Result<(), ConsumerError> {
        self.delivery.let_go();
        self.delivery.close();
        let left = tokio::time::timeout(CLOSE_TIMEOUT, self.ask(Command::Close)).await;
        left.unwrap_or(Err(ConsumerError::Interrupted))
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), ConsumerError>>) -> Command,
    ) -> Result<(), ConsumerError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.map_err(|_| ConsumerError::Closed)?;
        answer.await.unwrap_or(Err(ConsumerError::Interrupted))
    }
}

/// What every driver works with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: Arc<ConsumerConfig>,
    pub(crate) cluster: Cluster,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) requests: mpsc::Receiver<Command>,
}
