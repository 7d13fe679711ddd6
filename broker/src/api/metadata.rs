//! Metadata (key 3): brokers, topics and leaders, from one snapshot; creates topics when asked to.
//!
//! What was asked for is worked out first, then missing topics are created, then one snapshot is
//! shown. Nothing but the snapshot decides what a client sees.

mod asked;
mod shown;

use std::collections::HashMap;

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponseTopic,
};
use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::TopicName;

use self::asked::Asked;
use self::shown::View;
use super::{Context, Operation, Resource, auto_create, endpoints, operations};

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: MetadataRequest) -> MetadataResponse {
    let may_create = request.allow_auto_topic_creation || cx.version < 4;
    let asked = asked::read(request.topics.as_deref(), cx.version);
    let mut snapshot = cx.services.cluster.snapshot();
    let mut refused = HashMap::new();
    if let Asked::Names(names) = &asked
        && may_create
        && cx.services.cluster.live().get().auto_create_topics_enable
    {
        let missing = missing(cx, names, &snapshot);
        refused = auto_create::create(cx, &missing).await;
        snapshot = cx.services.cluster.snapshot();
    }
    let view = View {
        snapshot: &snapshot,
        listener: &cx.listener_name,
        version: cx.version,
    };
    let mut topics = topics(cx, &asked, view);
    for topic in &mut topics {
        let name = topic.name.as_deref().unwrap_or_default();
        if let Some(error) = refused.get(name)
            && topic.error_code == ErrorCode::UnknownTopicOrPartition.code()
        {
            topic.error_code = error.code();
        }
        let hidden = ErrorCode::TopicAuthorizationFailed.code();
        topic.topic_authorized_operations = match &topic.name {
            Some(name) if topic.error_code != hidden => {
                let asked = request.include_topic_authorized_operations;
                operations::authorized(cx, Resource::Topic(name), asked)
            }
            _ => operations::NOT_ASKED,
        };
    }
    answer(cx, &request, &snapshot, topics)
}

/// Names that could be topics, are none yet, and may be created.
fn missing(cx: &Context, names: &[String], snapshot: &ClusterSnapshot) -> Vec<TopicName> {
    let legal = names.iter().filter_map(|name| TopicName::new(name).ok());
    let absent = legal.filter(|name| !snapshot.topics.contains_key(name));
    absent
        .filter(|name| {
            let topic = Resource::Topic(name.as_str());
            cx.authorize(Operation::Describe, topic)
                && (cx.authorize(Operation::Create, Resource::Cluster)
                    || cx.authorize(Operation::Create, topic))
        })
        .collect()
}

fn topics(cx: &Context, asked: &Asked, view: View<'_>) -> Vec<MetadataResponseTopic> {
    let visible = |name: &str| cx.authorize(Operation::Describe, Resource::Topic(name));
    match asked {
        Asked::All => {
            let topics = view.snapshot.topics.iter();
            let topics = topics.filter(|(name, _)| visible(name.as_str()));
            topics.map(|(name, info)| view.topic(name, info)).collect()
        }
        Asked::Names(names) => names
            .iter()
            .map(|name| match visible(name) {
                true => view.by_name(name),
                false => shown::error(Some(name.clone()), ErrorCode::TopicAuthorizationFailed),
            })
            .collect(),
        Asked::Ids(ids) => view.by_ids(ids, visible),
        Asked::Refused(topics) => topics.clone(),
    }
}

fn answer(
    cx: &Context,
    request: &MetadataRequest,
    snapshot: &ClusterSnapshot,
    topics: Vec<MetadataResponseTopic>,
) -> MetadataResponse {
    let brokers = endpoints::reachable(snapshot, &cx.listener_name);
    MetadataResponse {
        brokers: brokers
            .map(|(broker, endpoint)| MetadataResponseBroker {
                node_id: broker.id.0,
                host: endpoint.host.clone(),
                port: endpoint.port.into(),
                rack: broker.rack.clone(),
            })
            .collect(),
        cluster_id: snapshot.cluster_id.clone(),
        controller_id: snapshot.controller.map_or(-1, |id| id.0),
        topics,
        cluster_authorized_operations: operations::authorized(
            cx,
            Resource::Cluster,
            request.include_cluster_authorized_operations,
        ),
        ..MetadataResponse::default()
    }
}
