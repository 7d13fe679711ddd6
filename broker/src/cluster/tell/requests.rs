//! Orders as requests: LeaderAndIsr, UpdateMetadata, StopReplica, in the versions of the cluster.

use std::collections::BTreeMap;

use nyala_client::wire::messages::leader_and_isr::{
    LeaderAndIsrLiveLeader, LeaderAndIsrPartitionState, LeaderAndIsrRequest, LeaderAndIsrTopicState,
};
use nyala_client::wire::messages::stop_replica::{
    StopReplicaPartitionState, StopReplicaRequest, StopReplicaTopicState, StopReplicaTopicV1,
};
use nyala_client::wire::messages::update_metadata::{
    UpdateMetadataBroker, UpdateMetadataEndpoint, UpdateMetadataPartitionState,
    UpdateMetadataRequest, UpdateMetadataTopicState,
};
use nyala_coordinator::cluster::{BrokerInfo, ClusterSnapshot};
use nyala_coordinator::ids::{BrokerEpoch, BrokerId, TopicId};

use super::orders::{Lead, Orders, Show, Stop};

/// Kafka's leader of a partition whose topic is being deleted.
const LEADER_DURING_DELETE: i32 = -2;
/// Kafka's leader epoch that ends all others.
const EPOCH_DURING_DELETE: i32 = -2;

/// Who tells whom.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) controller: BrokerId,
    pub(super) broker_epoch: BrokerEpoch,
    /// Listener that the brokers use.
    pub(super) listener: String,
}

fn numbers(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|b| b.0).collect()
}

fn leader(id: Option<BrokerId>) -> i32 {
    id.map_or(-1, |b| b.0)
}

/// LeaderAndIsr about `leads`.
pub(super) fn leader_and_isr(head: &Head, orders: &Orders, leads: &[Lead]) -> LeaderAndIsrRequest {
    let mut topics: BTreeMap<&str, LeaderAndIsrTopicState> = BTreeMap::new();
    let mut leaders: BTreeMap<BrokerId, &BrokerInfo> = BTreeMap::new();
    for lead in leads {
        let name = lead.partition.topic.as_str();
        let topic = topics
            .entry(name)
            .or_insert_with(|| LeaderAndIsrTopicState {
                topic_name: name.to_owned(),
                topic_id: lead.topic_id.unwrap_or(TopicId::ZERO),
                ..LeaderAndIsrTopicState::default()
            });
        topic.partition_states.push(LeaderAndIsrPartitionState {
            partition_index: lead.partition.partition.0,
            controller_epoch: lead.state.controller_epoch.0,
            leader: leader(lead.state.leader),
            leader_epoch: lead.state.leader_epoch.0,
            isr: numbers(&lead.state.isr),
            partition_epoch: lead.state.version,
            replicas: numbers(&lead.info.replicas),
            adding_replicas: numbers(&lead.info.adding_replicas),
            removing_replicas: numbers(&lead.info.removing_replicas),
            is_new: lead.is_new,
            ..LeaderAndIsrPartitionState::default()
        });
        let leader = lead.state.leader;
        let known = leader.and_then(|id| Some((id, orders.snapshot.brokers.get(&id)?)));
        leaders.extend(known);
    }
    let live = leaders.into_iter().filter_map(|(id, broker)| {
        let endpoint = broker
            .endpoints
            .iter()
            .find(|e| e.listener_name == head.listener)?;
        Some(LeaderAndIsrLiveLeader {
            broker_id: id.0,
            host_name: endpoint.host.clone(),
            port: endpoint.port.into(),
        })
    });
    LeaderAndIsrRequest {
        controller_id: head.controller.0,
        controller_epoch: orders.epoch.0,
        broker_epoch: head.broker_epoch.0,
        live_leaders: live.collect(),
        topic_states: topics.into_values().collect(),
        ..LeaderAndIsrRequest::default()
    }
}

/// UpdateMetadata about `shows`, with all live brokers.
pub(super) fn update_metadata(
    head: &Head,
    orders: &Orders,
    shows: &[Show],
) -> UpdateMetadataRequest {
    let mut topics: BTreeMap<&str, UpdateMetadataTopicState> = BTreeMap::new();
    for show in shows {
        let name = show.partition.topic.as_str();
        let topic = topics
            .entry(name)
            .or_insert_with(|| UpdateMetadataTopicState {
                topic_name: name.to_owned(),
                topic_id: show.topic_id.unwrap_or(TopicId::ZERO),
                ..UpdateMetadataTopicState::default()
            });
        topic.partition_states.push(UpdateMetadataPartitionState {
            partition_index: show.partition.partition.0,
            controller_epoch: show.state.controller_epoch.0,
            leader: match show.deleting {
                true => LEADER_DURING_DELETE,
                false => leader(show.state.leader),
            },
            leader_epoch: show.state.leader_epoch.0,
            isr: numbers(&show.state.isr),
            zk_version: show.state.version,
            replicas: numbers(&show.info.replicas),
            offline_replicas: numbers(&show.offline),
            ..UpdateMetadataPartitionState::default()
        });
    }
    UpdateMetadataRequest {
        controller_id: head.controller.0,
        controller_epoch: orders.epoch.0,
        broker_epoch: head.broker_epoch.0,
        topic_states: topics.into_values().collect(),
        live_brokers: live_brokers(&orders.snapshot),
        ..UpdateMetadataRequest::default()
    }
}

fn live_brokers(snapshot: &ClusterSnapshot) -> Vec<UpdateMetadataBroker> {
    let protocol = |name: &str| match name {
        "SSL" => 1,
        "SASL_PLAINTEXT" => 2,
        "SASL_SSL" => 3,
        _ => 0,
    };
    let brokers = snapshot
        .brokers
        .values()
        .map(|broker| UpdateMetadataBroker {
            id: broker.id.0,
            endpoints: broker
                .endpoints
                .iter()
                .map(|endpoint| UpdateMetadataEndpoint {
                    port: endpoint.port.into(),
                    host: endpoint.host.clone(),
                    listener: endpoint.listener_name.clone(),
                    security_protocol: protocol(&endpoint.security_protocol),
                })
                .collect(),
            rack: broker.rack.clone(),
            ..UpdateMetadataBroker::default()
        });
    brokers.collect()
}

/// Versions before 4 of UpdateMetadata and 2 of LeaderAndIsr are never sent; StopReplica before 3
/// has no epochs, and one answer to whether data goes: `stops` are alike in that.
pub(super) fn stop_replica(
    head: &Head,
    orders: &Orders,
    stops: &[Stop],
    version: i16,
) -> StopReplicaRequest {
    let mut request = StopReplicaRequest {
        controller_id: head.controller.0,
        controller_epoch: orders.epoch.0,
        broker_epoch: head.broker_epoch.0,
        ..StopReplicaRequest::default()
    };
    let mut topics: BTreeMap<&str, Vec<&Stop>> = BTreeMap::new();
    for stop in stops {
        topics
            .entry(stop.partition.topic.as_str())
            .or_default()
            .push(stop);
    }
    if version < 3 {
        request.delete_partitions = stops.first().is_some_and(|stop| stop.delete);
        request.topics = topics
            .into_iter()
            .map(|(name, stops)| StopReplicaTopicV1 {
                name: name.to_owned(),
                partition_indexes: stops.iter().map(|s| s.partition.partition.0).collect(),
            })
            .collect();
        return request;
    }
    request.topic_states = topics
        .into_iter()
        .map(|(name, stops)| StopReplicaTopicState {
            topic_name: name.to_owned(),
            partition_states: stops.into_iter().map(stopped).collect(),
        })
        .collect();
    request
}

fn stopped(stop: &Stop) -> StopReplicaPartitionState {
    StopReplicaPartitionState {
        partition_index: stop.partition.partition.0,
        leader_epoch: stop.epoch.map_or(EPOCH_DURING_DELETE, |epoch| epoch.0),
        delete_partition: stop.delete,
    }
}
