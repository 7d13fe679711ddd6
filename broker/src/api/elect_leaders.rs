//! ElectLeaders (key 43): preferred leaders, or unclean ones where nobody leads.

use std::collections::BTreeMap;

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
    TopicPartitions,
};
use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};

use super::admin_timeout::admin_timeout;
use super::{Context, Operation, Resource};
use crate::cluster::{ElectionError, ElectionKind};

type Outcome = (ErrorCode, Option<String>);
type Outcomes = BTreeMap<(String, i32), Outcome>;

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let asked = request.topic_partitions.as_deref();
    if !cx.authorize(Operation::Alter, Resource::Cluster) {
        let code = ErrorCode::ClusterAuthorizationFailed;
        return answer(code, all(asked, &(code, None)));
    }
    let kind = match request.election_type {
        0 => ElectionKind::Preferred,
        1 => ElectionKind::Unclean,
        _ => {
            let code = ErrorCode::InvalidRequest;
            return answer(code, all(asked, &(code, None)));
        }
    };
    let mut outcomes = Outcomes::new();
    let wanted = asked.map(|topics| known(topics, &mut outcomes));
    let timeout = admin_timeout(request.timeout_ms);
    match cx
        .services
        .cluster
        .elect_leaders(kind, wanted, timeout)
        .await
    {
        Ok(elected) => {
            for (tp, outcome) in elected {
                // Asked about all, only what was elected or should have been is told.
                if asked.is_some() || outcome != Err(ElectionError::NotNeeded) {
                    let place = (tp.topic.to_string(), tp.partition.0);
                    outcomes.insert(place, told(outcome));
                }
            }
            answer(ErrorCode::None, outcomes)
        }
        Err(error) => answer(ErrorCode::None, all(asked, &((&error).into(), None))),
    }
}

/// Partitions that can be asked about; names that are no topic's are answered at once.
fn known(topics: &[TopicPartitions], outcomes: &mut Outcomes) -> Vec<TopicPartition> {
    let mut known = Vec::new();
    for topic in topics {
        for partition in &topic.partitions {
            match TopicName::new(&topic.topic) {
                Ok(name) => known.push(TopicPartition {
                    topic: name,
                    partition: PartitionIndex(*partition),
                }),
                Err(_) => {
                    let place = (topic.topic.clone(), *partition);
                    outcomes.insert(place, told(Err(ElectionError::Unknown)));
                }
            }
        }
    }
    known
}

fn told(outcome: Result<(), ElectionError>) -> Outcome {
    match outcome {
        Ok(()) => (ErrorCode::None, None),
        Err(error) => ((&error).into(), Some(error.to_string())),
    }
}

fn all(asked: Option<&[TopicPartitions]>, outcome: &Outcome) -> Outcomes {
    let topics = asked.unwrap_or_default().iter();
    let places = topics.flat_map(|t| t.partitions.iter().map(|p| (t.topic.clone(), *p)));
    places.map(|place| (place, outcome.clone())).collect()
}

fn answer(error: ErrorCode, outcomes: Outcomes) -> ElectLeadersResponse {
    let mut topics: BTreeMap<String, Vec<PartitionResult>> = BTreeMap::new();
    for ((topic, partition_id), (code, error_message)) in outcomes {
        topics.entry(topic).or_default().push(PartitionResult {
            partition_id,
            error_code: code.code(),
            error_message,
        });
    }
    let topics = topics.into_iter();
    ElectLeadersResponse {
        throttle_time_ms: 0,
        error_code: error.code(),
        replica_election_results: topics
            .map(|(topic, partition_result)| ReplicaElectionResult {
                topic,
                partition_result,
            })
            .collect(),
    }
}
