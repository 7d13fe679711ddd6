//! CreateTopics (key 19). The checks of one topic are the cluster's; those of the request are here.

use std::collections::{BTreeMap, HashMap};

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse,
};
use nyala_coordinator::ids::TopicId;

use super::admin_timeout::admin_timeout;
use super::brief::brief;
use super::{Context, Operation, Resource};
use crate::cluster::{CreatedTopic, NewTopic, TopicError};
use crate::config::{Faults, topic_key};

/// Partitions that one request may create, as in Kafka's KRaft controller.
const PARTITIONS_MAX: usize = 10_000;

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut times: HashMap<String, usize> = HashMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    let mut partitions_left = PARTITIONS_MAX;
    // In the order of the request: a result, or the place of the topic in `wanted`.
    let mut answers = Vec::new();
    let mut wanted = Vec::new();
    for topic in request.topics {
        let times = times.get(&topic.name).copied().unwrap_or_default();
        match check(cx, &topic, times, &mut partitions_left) {
            Ok(()) => {
                answers.push((topic.name.clone(), Ok(wanted.len())));
                wanted.push(new_topic(topic));
            }
            Err(refusal) => answers.push((topic.name, Err(refusal))),
        }
    }
    let timeout = admin_timeout(request.timeout_ms);
    let cluster = &cx.services.cluster;
    let created = cluster
        .create_topics(wanted, request.validate_only, timeout)
        .await;
    let topics = answers.into_iter().map(|(name, answer)| match answer {
        Ok(at) => match created.get(at) {
            Some(Ok(created)) => success(cx, name, created),
            Some(Err(error)) => failure(name, error.into(), &words(error)),
            None => failure(name, ErrorCode::UnknownServerError, &"no answer"),
        },
        Err((error, message)) => failure(name, error, &message),
    });
    CreateTopicsResponse {
        throttle_time_ms: 0,
        topics: topics.collect(),
    }
}

/// What the request as a whole forbids for this topic.
fn check(
    cx: &Context,
    topic: &CreatableTopic,
    times: usize,
    partitions_left: &mut usize,
) -> Result<(), (ErrorCode, String)> {
    let resource = Resource::Topic(&topic.name);
    if !cx.authorize(Operation::Create, Resource::Cluster)
        && !cx.authorize(Operation::Create, resource)
    {
        let error = ErrorCode::TopicAuthorizationFailed;
        return Err((error, "Authorization failed.".to_owned()));
    }
    if times > 1 {
        let message = "Found multiple entries for this topic.";
        return Err((ErrorCode::InvalidRequest, message.to_owned()));
    }
    let null = topic.configs.iter().filter(|config| config.value.is_none());
    let null: Vec<_> = null.map(|config| config.name.as_str()).collect();
    if !null.is_empty() {
        let message = format!(
            "Null value not supported for topic configs: {}",
            null.join(",")
        );
        return Err((ErrorCode::InvalidConfig, message));
    }
    // A count that no topic may have is refused for what it is, later.
    let count = match usize::try_from(topic.num_partitions) {
        Ok(count) if count <= PARTITIONS_MAX => count,
        _ => topic.assignments.len().max(1),
    };
    match partitions_left.checked_sub(count) {
        Some(left) => *partitions_left = left,
        None => {
            let message = "Excessively large number of partitions per request.";
            return Err((ErrorCode::PolicyViolation, message.to_owned()));
        }
    }
    Ok(())
}

fn new_topic(topic: CreatableTopic) -> NewTopic {
    let assignment = topic.assignments.into_iter();
    let configs = topic.configs.into_iter();
    NewTopic {
        name: topic.name,
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignment: assignment
            .map(|a| (a.partition_index, a.broker_ids))
            .collect::<BTreeMap<_, _>>(),
        configs: configs
            .map(|c| (c.name, c.value.unwrap_or_default()))
            .collect(),
    }
}

fn success(cx: &Context, name: String, created: &CreatedTopic) -> CreatableTopicResult {
    let shown = cx.authorize(Operation::DescribeConfigs, Resource::Topic(&name));
    let settings = cx.services.cluster.live().get();
    let configs = shown.then(|| {
        let described = created.config.describe(&settings).into_iter();
        let configs = described.map(|config| CreatableTopicConfigs {
            name: config.name.to_owned(),
            value: config.value,
            read_only: config.read_only,
            config_source: config.source as i8,
            is_sensitive: false,
        });
        configs.collect()
    });
    let hidden = ErrorCode::TopicAuthorizationFailed.code();
    CreatableTopicResult {
        name,
        topic_id: created.id,
        error_code: ErrorCode::None.code(),
        error_message: None,
        topic_config_error_code: if shown { 0 } else { hidden },
        num_partitions: if shown { created.partitions } else { -1 },
        replication_factor: if shown {
            created.replication_factor
        } else {
            -1
        },
        configs,
    }
}

/// Kafka names an unknown key before it looks at any value.
fn words(error: &TopicError) -> String {
    if let TopicError::InvalidConfig(Faults(faults)) = error
        && let Some(fault) = faults.iter().find(|fault| topic_key(&fault.key).is_none())
    {
        return format!("Unknown topic config name: {}", fault.key);
    }
    error.to_string()
}

fn failure(name: String, error: ErrorCode, message: &impl ToString) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        topic_id: TopicId::ZERO,
        error_code: error.code(),
        error_message: Some(brief(message)),
        configs: Some(Vec::new()),
        ..CreatableTopicResult::default()
    }
}
