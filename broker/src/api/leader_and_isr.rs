//! LeaderAndIsr (key 4): the controller says who leads the partitions that this broker keeps.
//!
//! Answered when it is applied. A real controller of Kafka 3.9 sends version 7 and asks for no versions
//! first; the answer names topics by id from version 5 on.

use std::collections::BTreeMap;

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::leader_and_isr::{
    LeaderAndIsrPartitionError, LeaderAndIsrPartitionState, LeaderAndIsrRequest,
    LeaderAndIsrResponse, LeaderAndIsrTopicError,
};
use nyala_coordinator::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, PartitionIndex, TopicId, TopicName,
    TopicPartition,
};

use super::{Context, Operation, Resource};
use crate::cluster::{ControlHead, FactError, PartitionFacts};

/// One partition of the request, in the order of the request.
struct Asked {
    topic: String,
    topic_id: TopicId,
    partition: i32,
    /// `None`: the name is no topic's.
    known: Option<TopicPartition>,
}

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: LeaderAndIsrRequest) -> LeaderAndIsrResponse {
    if !cx.authorize(Operation::ClusterAction, Resource::Cluster) {
        return refused(ErrorCode::ClusterAuthorizationFailed);
    }
    let head = ControlHead {
        controller: BrokerId(request.controller_id),
        controller_epoch: ControllerEpoch(request.controller_epoch),
        broker_epoch: (request.broker_epoch >= 0).then_some(BrokerEpoch(request.broker_epoch)),
    };
    let mut asked = Vec::new();
    let mut facts = Vec::new();
    for (topic, topic_id, state) in states(&request) {
        let known = TopicName::new(topic).ok().map(|topic| TopicPartition {
            topic,
            partition: PartitionIndex(state.partition_index),
        });
        facts.extend(known.clone().map(|known| facts_of(known, topic_id, state)));
        asked.push(Asked {
            topic: topic.to_owned(),
            topic_id,
            partition: state.partition_index,
            known,
        });
    }
    match cx.services.cluster.leader_and_isr(head, facts).await {
        Err(error) => refused((&error).into()),
        Ok(failed) => answer(cx.version, asked, &failed),
    }
}

/// All partitions: by topic from version 2 on, one by one before.
fn states(
    request: &LeaderAndIsrRequest,
) -> impl Iterator<Item = (&str, TopicId, &LeaderAndIsrPartitionState)> {
    let single = request.ungrouped_partition_states.iter();
    let single = single.map(|state| (state.topic_name.as_str(), TopicId::ZERO, state));
    let grouped = request.topic_states.iter().flat_map(|topic| {
        let each = topic.partition_states.iter();
        each.map(|state| (topic.topic_name.as_str(), topic.topic_id, state))
    });
    single.chain(grouped)
}

fn facts_of(
    partition: TopicPartition,
    topic_id: TopicId,
    state: &LeaderAndIsrPartitionState,
) -> PartitionFacts {
    let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    PartitionFacts {
        partition,
        topic_id: (topic_id != TopicId::ZERO).then_some(topic_id),
        leader: (state.leader >= 0).then_some(BrokerId(state.leader)),
        leader_epoch: LeaderEpoch(state.leader_epoch),
        partition_epoch: state.partition_epoch,
        isr: brokers(&state.isr),
        replicas: brokers(&state.replicas),
        adding: brokers(&state.adding_replicas),
        removing: brokers(&state.removing_replicas),
        is_new: state.is_new,
    }
}

fn refused(code: ErrorCode) -> LeaderAndIsrResponse {
    LeaderAndIsrResponse {
        error_code: code.code(),
        ..LeaderAndIsrResponse::default()
    }
}

fn answer(
    version: i16,
    asked: Vec<Asked>,
    failed: &BTreeMap<TopicPartition, FactError>,
) -> LeaderAndIsrResponse {
    let mut response = LeaderAndIsrResponse::default();
    let mut topics: BTreeMap<TopicId, Vec<LeaderAndIsrPartitionError>> = BTreeMap::new();
    for asked in asked {
        let code = match &asked.known {
            Some(known) => failed.get(known).map_or(ErrorCode::None, ErrorCode::from),
            None => ErrorCode::InvalidTopicException,
        };
        let error = LeaderAndIsrPartitionError {
            topic_name: asked.topic,
            partition_index: asked.partition,
            error_code: code.code(),
        };
        if version < 5 {
            response.partition_errors.push(error);
        } else {
            topics.entry(asked.topic_id).or_default().push(error);
        }
    }
    let topics = topics.into_iter();
    response.topics = topics
        .map(|(topic_id, partition_errors)| LeaderAndIsrTopicError {
            topic_id,
            partition_errors,
        })
        .collect();
    response
}
