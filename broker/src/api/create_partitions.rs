//! CreatePartitions (key 37): more partitions for topics that are there.

use std::collections::HashMap;

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};

use super::admin_timeout::admin_timeout;
use super::brief::brief;
use super::{Context, Operation, Resource};
use crate::cluster::NewPartitions;

/// Answers one request.
pub(super) async fn handle(
    cx: &Context,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut times: HashMap<String, usize> = HashMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    let mut results = Vec::new();
    let mut wanted = Vec::new();
    for topic in request.topics {
        let Some(times) = times.remove(&topic.name) else {
            continue;
        };
        if times > 1 {
            let message = "Duplicate topic in request.".to_owned();
            results.push(result(
                topic.name,
                Some((ErrorCode::InvalidRequest, message)),
            ));
        } else if !cx.authorize(Operation::Alter, Resource::Topic(&topic.name)) {
            let message = "The topic authorization is failed.".to_owned();
            let error = (ErrorCode::TopicAuthorizationFailed, message);
            results.push(result(topic.name, Some(error)));
        } else {
            wanted.push(new_partitions(topic));
        }
    }
    let names: Vec<_> = wanted.iter().map(|topic| topic.topic.clone()).collect();
    let timeout = admin_timeout(request.timeout_ms);
    let cluster = &cx.services.cluster;
    let outcomes = cluster
        .create_partitions(wanted, request.validate_only, timeout)
        .await;
    for (name, outcome) in names.into_iter().zip(outcomes) {
        let error = outcome
            .err()
            .map(|error| (ErrorCode::from(&error), brief(&error)));
        results.push(result(name, error));
    }
    CreatePartitionsResponse {
        throttle_time_ms: 0,
        results,
    }
}

fn new_partitions(topic: CreatePartitionsTopic) -> NewPartitions {
    let by_hand = topic
        .assignments
        .map(|list| list.into_iter().map(|a| a.broker_ids).collect());
    NewPartitions {
        topic: topic.name,
        count: topic.count,
        assignments: by_hand,
    }
}

fn result(name: String, error: Option<(ErrorCode, String)>) -> CreatePartitionsTopicResult {
    let (code, message) = match error {
        Some((code, message)) => (code, Some(message)),
        None => (ErrorCode::None, None),
    };
    CreatePartitionsTopicResult {
        name,
        error_code: code.code(),
        error_message: message,
    }
}
