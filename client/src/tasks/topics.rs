//! The four topics of a queue: their names, and how they are made and trimmed.
//!
//! Nothing in them ages by itself, or an open task could: what is old goes by the scheduler's word. Only
//! the dead letters are kept for a month.

use std::time::Duration;

use nyala_coordinator::ids::{PartitionIndex, TopicId, TopicName, TopicPartition};
use tokio::time::Instant;

use super::error::TaskError;
use super::task::LANES;
use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::wire::ErrorCode;
use crate::wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};

/// How long a broker may take; shorter than a request may, so that it is the broker who says that it was too long.
const TIMEOUT_MS: i32 = 10_000;
/// How long a cluster may be without controller, or a new topic without leaders.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(200);
/// `retention.ms` of the dead letters.
const DEAD_RETENTION_MS: &str = "2592000000";

/// The topics of the queue `Q`.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    pub(crate) queue: String,
    /// `Q.tasks`: submissions, a partition for each priority and one for those not due yet.
    pub(crate) tasks: TopicName,
    /// `Q.events`: what happened, in one order.
    pub(crate) events: TopicName,
    /// `Q.results`: large results.
    pub(crate) results: TopicName,
    /// `Q.dead`: what was given up.
    pub(crate) dead: TopicName,
}

impl Topics {
    pub(crate) fn new(queue: &str) -> Result<Self, TaskError> {
        let name = |suffix: &str| {
            TopicName::new(&format!("{queue}.{suffix}")).map_err(|error| TaskError::Name {
                queue: queue.to_owned(),
                error,
            })
        };
        Ok(Self {
            queue: queue.to_owned(),
            tasks: name("tasks")?,
            events: name("events")?,
            results: name("results")?,
            dead: name("dead")?,
        })
    }

    /// The group in ZooKeeper where workers and schedulers meet.
    pub(crate) fn group(&self) -> String {
        format!("tasks.{}", self.queue)
    }

    pub(crate) fn lane(&self, lane: usize) -> TopicPartition {
        TopicPartition {
            topic: self.tasks.clone(),
            partition: PartitionIndex(i32::try_from(lane).unwrap_or(i32::MAX)),
        }
    }

    pub(crate) fn log(topic: &TopicName) -> TopicPartition {
        TopicPartition {
            topic: topic.clone(),
            partition: PartitionIndex(0),
        }
    }

    fn all(&self) -> [(&TopicName, i32); 4] {
        let lanes = i32::try_from(LANES).unwrap_or(i32::MAX);
        [
            (&self.tasks, lanes),
            (&self.events, 1),
            (&self.results, 1),
            (&self.dead, 1),
        ]
    }

    /// Whether the queue was ever made.
    pub(crate) async fn exist(&self, cluster: &Cluster) -> bool {
        // The snapshot of ZooKeeper holds all topics, but may be a moment old.
        let patience = Duration::from_millis(500);
        cluster.await_topic(&self.events, patience).await.is_ok()
    }

    /// Makes what is missing and waits until all have leaders.
    pub(crate) async fn ensure(&self, cluster: &Cluster) -> Result<(), TaskError> {
        let known = cluster.topology();
        let missing = |(topic, _): &(&TopicName, i32)| !known.topics.contains_key(*topic);
        let missing: Vec<(&TopicName, i32)> = self.all().into_iter().filter(missing).collect();
        if !missing.is_empty() {
            let topics = missing.iter().map(|(topic, n)| self.creatable(topic, *n));
            create(cluster, topics.collect()).await?;
        }
        for (topic, _) in self.all() {
            cluster.await_topic(topic, PATIENCE).await?;
        }
        Ok(())
    }

    /// Id of `Q.tasks`, where the cluster knows it: another one once that topic was made anew.
    pub(crate) fn tasks_id(&self, cluster: &Cluster) -> Option<TopicId> {
        cluster.topology().topics.get(&self.tasks)?.id
    }

    fn creatable(&self, topic: &TopicName, partitions: i32) -> CreatableTopic {
        let retention = match topic == &self.dead {
            true => DEAD_RETENTION_MS,
            false => "-1",
        };
        let config = |name: &str, value: &str| CreatableTopicConfig {
            name: name.to_owned(),
            value: Some(value.to_owned()),
        };
        CreatableTopic {
            name: topic.as_str().to_owned(),
            num_partitions: partitions,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: vec![
                config("cleanup.policy", "delete"),
                config("retention.ms", retention),
                config("retention.bytes", "-1"),
            ],
        }
    }
}

async fn create(cluster: &Cluster, topics: Vec<CreatableTopic>) -> Result<(), TaskError> {
    let request = CreateTopicsRequest {
        topics,
        timeout_ms: TIMEOUT_MS,
        validate_only: false,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = match cluster.ask_controller(&request).await {
            Ok(answer) => verdict(answer),
            Err(error) => Err(error.into()),
        };
        let again = answer.as_ref().is_err_and(may_pass);
        if !again || Instant::now() >= deadline {
            return answer;
        }
        cluster.refresh();
        tokio::time::sleep(RETRY).await;
    }
}

/// Whether asking again may help.
fn may_pass(error: &TaskError) -> bool {
    match error {
        // After a time-out the topic may be there: then the next answer says so, and who waits for its leader sees
        // whether that comes.
        TaskError::Topic { code, .. } => matches!(
            code,
            ErrorCode::NotController | ErrorCode::BrokerNotAvailable | ErrorCode::RequestTimedOut
        ),
        TaskError::Cluster(error) => matches!(
            error,
            ClusterError::NoBroker(_) | ClusterError::NoBrokers | ClusterError::Connection(_)
        ),
        _ => false,
    }
}

fn verdict(answer: CreateTopicsResponse) -> Result<(), TaskError> {
    for topic in answer.topics {
        let code = ErrorCode::from(topic.error_code);
        // Somebody else was faster.
        if !code.is_error() || code == ErrorCode::TopicAlreadyExists {
            continue;
        }
        let message = topic.error_message.filter(|m| !m.is_empty());
        return Err(TaskError::Topic {
            topic: TopicName::new(&topic.name).map_err(|error| TaskError::Name {
                queue: topic.name.clone(),
                error,
            })?,
            code,
            message: message.unwrap_or_else(|| code.message().to_owned()),
        });
    }
    Ok(())
}

/// Drops the records of a partition below `offset`.
pub(crate) async fn trim(
    cluster: &Cluster,
    target: &TopicPartition,
    offset: i64,
) -> Result<(), ClusterError> {
    let leader = cluster.topology().leader(&target.topic, target.partition);
    let leader = leader.ok_or(ClusterError::NoBrokers)?;
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: target.topic.as_str().to_owned(),
            partitions: vec![DeleteRecordsPartition {
                partition_index: target.partition.0,
                offset,
            }],
        }],
        timeout_ms: TIMEOUT_MS,
    };
    let answer = cluster.connection(leader).await?.call(&request).await?;
    let mut codes = answer.topics.iter().flat_map(|t| &t.partitions);
    match codes.next().map(|p| ErrorCode::from(p.error_code)) {
        Some(code) if code.is_error() => Err(ClusterError::refused(code, None)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::messages::create_topics::CreatableTopicResult;

    fn answered(code: ErrorCode) -> Result<(), TaskError> {
        let topic = CreatableTopicResult {
            name: "q.tasks".to_owned(),
            error_code: code.code(),
            ..CreatableTopicResult::default()
        };
        verdict(CreateTopicsResponse {
            topics: vec![topic],
            ..CreateTopicsResponse::default()
        })
    }

    #[test]
    fn a_topic_that_may_have_been_made_is_asked_for_again() {
        let passes = |code| answered(code).is_err_and(|error| may_pass(&error));
        assert!(passes(ErrorCode::RequestTimedOut));
        assert!(passes(ErrorCode::NotController));
        assert!(!passes(ErrorCode::InvalidReplicationFactor));
        assert!(answered(ErrorCode::TopicAlreadyExists).is_ok());
    }
}
