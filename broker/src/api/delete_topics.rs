//! DeleteTopics (key 20): by name, from version 6 on also by id.

use std::collections::HashMap;

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use nyala_coordinator::ids::TopicId;

use super::admin_timeout::admin_timeout;
use super::brief::brief;
use super::{Context, Operation, Resource};
use crate::cluster::TopicRef;

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = |name: String| DeleteTopicState {
        name: Some(name),
        topic_id: TopicId::ZERO,
    };
    let names = request.topic_names.into_iter().map(by_name);
    let asked: Vec<_> = request.topics.into_iter().chain(names).collect();
    if asked
        .iter()
        .any(|topic| topic.name.is_some() && topic.topic_id != TopicId::ZERO)
    {
        let message = "You may not specify both topic name and topic id.";
        let refuse = |topic| answer(topic, Some((ErrorCode::InvalidRequest, message.to_owned())));
        return DeleteTopicsResponse {
            throttle_time_ms: 0,
            responses: asked.into_iter().map(refuse).collect(),
        };
    }
    // A topic that is named twice is deleted once and answered twice: places in `refs`.
    let mut places: HashMap<DeleteKey, usize> = HashMap::new();
    let mut refs = Vec::new();
    let mut answers = Vec::new();
    for topic in asked {
        let topic = named(cx, topic);
        let place = match refusal(cx, &topic) {
            Some(error) => Err((error, error.message().to_owned())),
            None => Ok(*places
                .entry((topic.name.clone(), topic.topic_id))
                .or_insert_with(|| {
                    refs.push(match &topic.name {
                        Some(name) => TopicRef::Name(name.clone()),
                        None => TopicRef::Id(topic.topic_id),
                    });
                    refs.len() - 1
                })),
        };
        answers.push((topic, place));
    }
    let timeout = admin_timeout(request.timeout_ms);
    let outcomes = cx.services.cluster.delete_topics(refs, timeout).await;
    let responses = answers.into_iter().map(|(topic, place)| {
        let error = match place.map(|at| outcomes.get(at)) {
            Ok(Some(Err(error))) => Some((in_version(cx, error.into()), brief(error))),
            Ok(_) => None,
            Err(refused) => Some(refused),
        };
        answer(topic, error)
    });
    DeleteTopicsResponse {
        throttle_time_ms: 0,
        responses: responses.collect(),
    }
}

/// What a topic is named by.
type DeleteKey = (Option<String>, TopicId);

/// The same with the name to an id, if there is one: the answer tells both.
fn named(cx: &Context, topic: DeleteTopicState) -> DeleteTopicState {
    let name = match topic.name {
        None => cx
            .services
            .cluster
            .topic_name(topic.topic_id)
            .map(|name| name.to_string()),
        name => name,
    };
    DeleteTopicState { name, ..topic }
}

/// Who may not see a topic is not told that its id exists.
fn refusal(cx: &Context, topic: &DeleteTopicState) -> Option<ErrorCode> {
    let name = topic.name.as_deref()?;
    let resource = Resource::Topic(name);
    if cx.authorize(Operation::Delete, resource) {
        return None;
    }
    let hidden = topic.topic_id != TopicId::ZERO && !cx.authorize(Operation::Describe, resource);
    Some(match hidden {
        true => ErrorCode::UnknownTopicId,
        false => ErrorCode::TopicAuthorizationFailed,
    })
}

/// Before version 3 there was no word for deletion being switched off.
fn in_version(cx: &Context, error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::TopicDeletionDisabled if cx.version < 3 => ErrorCode::InvalidRequest,
        error => error,
    }
}

fn answer(topic: DeleteTopicState, error: Option<(ErrorCode, String)>) -> DeletableTopicResult {
    let (code, message) = match error {
        Some((code, message)) => (code, Some(message)),
        None => (ErrorCode::None, None),
    };
    DeletableTopicResult {
        name: topic.name,
        topic_id: topic.topic_id,
        error_code: code.code(),
        error_message: message,
    }
}
