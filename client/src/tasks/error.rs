//! What can go wrong with a task queue.

use nyala_coordinator::ids::{TopicName, TopicNameError};
use nyala_coordinator::registry::RegistryError;

use super::task::TaskId;
use crate::error::{ClusterError, ConsumerError, ProducerError, SendError};
use crate::wire::ErrorCode;

/// Why an operation on a task queue failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TaskError {
    /// The queue's name gives no legal topic names.
    #[error("{queue:?} cannot name a queue: {error}")]
    Name {
        /// As given.
        queue: String,
        /// The fault.
        error: TopicNameError,
    },
    /// A text is no task id.
    #[error("{0:?} is no task id: expected 1 to {max} printable ASCII characters without spaces", max = super::task::ID_BYTES_MAX)]
    Id(String),
    /// The queue has no topics.
    #[error("there is no queue {0}")]
    NoQueue(String),
    /// The queue knows no such task.
    #[error("queue {queue} has no task {id}")]
    NoTask {
        /// The queue.
        queue: String,
        /// What was asked for.
        id: TaskId,
    },
    /// The cluster was entered through a broker, but queues are coordinated by ZooKeeper.
    #[error("a task queue needs a cluster that was entered through ZooKeeper")]
    NoZooKeeper,
    /// A topic of the queue could not be made.
    #[error("topic {topic}: {code}: {message}")]
    Topic {
        /// The topic.
        topic: TopicName,
        /// Kafka's code.
        code: ErrorCode,
        /// The broker's words, or Kafka's for the code.
        message: String,
    },
    /// The cluster cannot be reached.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The producer could not be made, or did not settle in time.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// A record was refused.
    #[error(transparent)]
    Send(#[from] SendError),
    /// A record could not be read.
    #[error(transparent)]
    Read(#[from] ConsumerError),
    /// ZooKeeper refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A record that a task or a result refers to is gone from its topic.
    #[error("{topic} has no record at offset {offset} any more")]
    Gone {
        /// The topic.
        topic: TopicName,
        /// Where it was.
        offset: i64,
    },
    /// The checkpoint that the queue's state starts from is not whole.
    #[error("{topic} has no whole checkpoint at offset {offset}")]
    Checkpoint {
        /// The topic.
        topic: TopicName,
        /// Where it should begin.
        offset: i64,
    },
    /// A later scheduler is at work: this one has lost the queue.
    #[error("scheduler {ours} was replaced by {theirs}")]
    Fenced {
        /// Fence of this one.
        ours: i64,
        /// Fence of the later one.
        theirs: i64,
    },
    /// The topic was deleted and made anew under this scheduler.
    #[error("{topic} is another topic by now: it was deleted and made anew")]
    Remade {
        /// The topic.
        topic: TopicName,
    },
    /// The session with ZooKeeper does not certainly hold any more.
    #[error("the session with ZooKeeper is not certain any more")]
    SessionLost,
    /// A worker that closes could not say what became of its tasks.
    #[error(
        "the cluster is away and has not heard the last of this worker: what it holds may run again elsewhere"
    )]
    Unheard,
    /// The worker was closed.
    #[error("the worker is closed")]
    Closed,
}
