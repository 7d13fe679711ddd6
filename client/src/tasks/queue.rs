//! [`TaskQueue`]: the handle of a queue. Submits, and asks what became of tasks; makes workers.
//!
//! Submitting and asking need brokers only; neither a worker nor a scheduler has to be there.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use nyala_coordinator::clock;
use nyala_coordinator::ids::PartitionIndex;
use nyala_coordinator::registry::Registry;
use nyala_coordinator::session::Session;
use tokio_util::task::AbortOnDropHandle;

use super::error::TaskError;
use super::event::{Event, Stored};
use super::fields::FieldsOut;
use super::history::{dead_letters, read_view};
use super::scheduler;
use super::tail::{Tail, read_at};
use super::task::{TASK, Task, TaskId};
use super::topics::Topics;
use super::view::TaskStatus;
use super::worker::{Worker, WorkerConfig};
use crate::cluster::Cluster;
use crate::config::{ClusterConfig, Entry};
use crate::consumer::positions::{OffsetSpec, lookup};
use crate::error::SendError;
use crate::producer::{Ack, Header, Producer, Record};

/// What a dead letter has beside its task, with the shorter of its errors; and what redriving adds.
const LETTER_BYTES: usize = 1 << 10;

/// How a queue is used.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Cluster, session and client id, where the queue makes its own connection.
    pub cluster: ClusterConfig,
    /// How long submissions wait for others to share a batch with.
    pub linger: Duration,
    /// Events between two checkpoints, at least; more when more tasks are open.
    pub checkpoint_events: usize,
    /// How long finished tasks and their results can be asked for, at least.
    pub history: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        let mut cluster = ClusterConfig {
            session_timeout: Duration::from_secs(6),
            ..ClusterConfig::default()
        };
        cluster.connection.client_id = "nyala-tasks".to_owned();
        Self {
            cluster,
            linger: Duration::from_millis(1),
            checkpoint_events: 20_000,
            history: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// What the parts of a queue work with.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) config: Arc<QueueConfig>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) cluster: Cluster,
    pub(crate) registry: Registry,
    pub(crate) producer: Producer,
}

impl Parts {
    pub(crate) fn session(&self) -> &Session {
        self.registry.session()
    }

    /// Appends an event; the ack tells when it is there.
    pub(crate) async fn append(&self, event: Event) -> Result<Ack, SendError> {
        let written = event.write();
        let record = Record {
            topic: self.topics.events.clone(),
            partition: Some(PartitionIndex(0)),
            key: written.key,
            value: written.value,
            headers: vec![written.header],
            timestamp_ms: None,
        };
        self.producer.send(record).await
    }
}

#[derive(Debug)]
struct Shared {
    parts: Parts,
    scheduler: OnceLock<AbortOnDropHandle<()>>,
}

/// A task queue. Cheap to clone; clones share connections and the session.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use nyala_client::TaskQueue;
/// use nyala_client::tasks::{QueueConfig, Task, WorkerConfig};
///
/// let queue = TaskQueue::open("127.0.0.1:2181", "words", QueueConfig::default()).await?;
/// let id = queue.submit(Task::new("one")).await?.wait().await?;   // it is in the log
///
/// let mut worker = queue.worker(WorkerConfig::default()).await?;  // elsewhere
/// let job = worker.next().await?;
/// let result = String::from_utf8_lossy(job.payload()).to_uppercase();
/// job.ack(result).await?;
///
/// let (status, result) = queue.result(&id).await?;
/// println!("{}: {result:?}", status.state.as_str());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct TaskQueue {
    shared: Arc<Shared>,
}

/// A task on its way into the queue.
#[derive(Debug)]
#[must_use = "a task that nobody waits for may not be in the queue"]
pub struct Submission {
    id: TaskId,
    ack: Ack,
}

impl Submission {
    /// The task's id.
    #[must_use]
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// Waits until the task is safe.
    pub async fn wait(self) -> Result<TaskId, TaskError> {
        self.ack.await?;
        Ok(self.id)
    }
}

impl TaskQueue {
    /// Opens the queue `name` through ZooKeeper (`host:port[,host:port...][/chroot]`), and makes it if it
    /// is not there.
    pub async fn open(zookeeper: &str, name: &str, config: QueueConfig) -> Result<Self, TaskError> {
        let queue = Self::enter(zookeeper, name, config).await?;
        queue.parts().topics.ensure(&queue.parts().cluster).await?;
        Ok(queue)
    }

    /// Opens the queue `name` only if it is there.
    pub async fn open_existing(
        zookeeper: &str,
        name: &str,
        config: QueueConfig,
    ) -> Result<Self, TaskError> {
        let queue = Self::enter(zookeeper, name, config).await?;
        if queue.parts().topics.exist(&queue.parts().cluster).await {
            return Ok(queue);
        }
        queue.close().await?;
        Err(TaskError::NoQueue(name.to_owned()))
    }

    async fn enter(zookeeper: &str, name: &str, config: QueueConfig) -> Result<Self, TaskError> {
        let topics = Topics::new(name)?;
        let entry = Entry::ZooKeeper(zookeeper.to_owned());
        let cluster = Cluster::connect(&entry, config.cluster.clone()).await?;
        let session = cluster.session().cloned().ok_or(TaskError::NoZooKeeper)?;
        let linger = config.linger;
        let producer = Producer::builder()
            .configure(|producer| {
                producer.linger = linger;
                producer.batch_bytes = 128 << 10;
                producer.block_max = Duration::from_secs(120);
            })
            .build_in(cluster.clone())?;
        let parts = Parts {
            config: Arc::new(config),
            topics: Arc::new(topics),
            registry: Registry::new(session),
            cluster,
            producer,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                parts,
                scheduler: OnceLock::new(),
            }),
        })
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.shared.parts
    }

    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parts().topics.queue
    }

    /// The cluster that the queue lives on.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.parts().cluster
    }

    /// Puts a task into the queue; it is there for good once the submission was waited for.
    ///
    /// Refused if it is so large that it could not be put into the dead letters with a word why.
    pub async fn submit(&self, task: Task) -> Result<Submission, TaskError> {
        let lane = task.lane(clock::wall_ms());
        let id = task.id.unwrap_or_else(TaskId::generate);
        let fields = task.options.write(FieldsOut::default()).text();
        let record = Record {
            topic: self.parts().topics.tasks.clone(),
            partition: Some(lane),
            key: Some(Bytes::copy_from_slice(id.as_str().as_bytes())),
            value: Some(task.payload),
            headers: vec![Header {
                key: TASK.to_owned(),
                value: Some(fields.into()),
            }],
            timestamp_ms: None,
        };
        let producer = &self.parts().producer;
        let (bytes, max) = (record.bytes(), producer.record_bytes_max());
        let limit = max.saturating_sub(LETTER_BYTES);
        if bytes > limit {
            return Err(SendError::TooLarge { bytes, limit }.into());
        }
        let ack = producer.send(record).await?;
        Ok(Submission { id, ack })
    }

    /// Where a task stands.
    pub async fn status(&self, id: &TaskId) -> Result<TaskStatus, TaskError> {
        let found = read_view(self.parts(), Some(id)).await?;
        found.into_iter().next().ok_or_else(|| TaskError::NoTask {
            queue: self.name().to_owned(),
            id: id.clone(),
        })
    }

    /// As [`Self::status`], but waits up to `patience` for the task's end.
    pub async fn wait(&self, id: &TaskId, patience: Duration) -> Result<TaskStatus, TaskError> {
        let parts = self.parts();
        let events = Topics::log(&parts.topics.events);
        // From before the look on, so that no end falls between the two.
        let end = lookup(&parts.cluster, &events, OffsetSpec::Latest).await?;
        let status = self.status(id).await?;
        if status.state.is_final() || patience.is_zero() {
            return Ok(status);
        }
        let mut tail = Tail::new(&parts.cluster, events, end);
        let ended = async {
            loop {
                for record in tail.next().await? {
                    if record.key.as_deref() == Some(id.as_str().as_bytes())
                        && Event::read(&record).is_some_and(|event| event.is_end())
                    {
                        return Ok::<(), TaskError>(());
                    }
                }
            }
        };
        if let Ok(ended) = tokio::time::timeout(patience, ended).await {
            ended?;
        }
        self.status(id).await
    }

    /// Where a task stands, and its result if it is done.
    pub async fn result(&self, id: &TaskId) -> Result<(TaskStatus, Option<Bytes>), TaskError> {
        let status = self.status(id).await?;
        let result = match &status.result {
            None => None,
            Some(Stored::Inline(result)) => Some(result.clone()),
            Some(Stored::At(offset)) => {
                let results = Topics::log(&self.parts().topics.results);
                let record = read_at(&self.parts().cluster, &results, *offset).await?;
                Some(record.value.unwrap_or_default())
            }
        };
        Ok((status, result))
    }

    /// Every task that the queue remembers, in order of submission.
    pub async fn list(&self) -> Result<Vec<TaskStatus>, TaskError> {
        read_view(self.parts(), None).await
    }

    /// Submits dead tasks again under their ids: those of `ids`, or all if there are none.
    pub async fn redrive(&self, ids: &[TaskId]) -> Result<Vec<TaskId>, TaskError> {
        let mut redriven = Vec::new();
        for (id, task) in dead_letters(self.parts()).await? {
            if ids.is_empty() || ids.contains(&id) {
                redriven.push(self.submit(task).await?);
            }
        }
        let mut done = Vec::with_capacity(redriven.len());
        for submission in redriven {
            done.push(submission.wait().await?);
        }
        Ok(done)
    }

    /// Starts a worker, and in this process one scheduler that stands by for the queue.
    pub async fn worker(&self, config: WorkerConfig) -> Result<Worker, TaskError> {
        self.shared.scheduler.get_or_init(|| {
            let parts = self.parts().clone();
            AbortOnDropHandle::new(tokio::spawn(scheduler::run(parts)))
        });
        Worker::start(self.parts().clone(), config).await
    }

    /// Waits for what is on its way, and ends the session: another scheduler can take over at once.
    pub async fn close(self) -> Result<(), TaskError> {
        if let Some(scheduler) = self.shared.scheduler.get() {
            scheduler.abort();
        }
        let flushed = self.parts().producer.flush().await;
        self.parts().session().close().await;
        Ok(flushed?)
    }
}
