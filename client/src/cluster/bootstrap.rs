//! Keeps the snapshot current by asking brokers for Metadata.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::clock;
use nyala_coordinator::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicId, TopicName};
use tokio::sync::watch;

use super::Interest;
use super::merge::Missing;
use super::topology::{BrokerAddress, PartitionTopology, TopicTopology, Topology};
use crate::config::ClusterConfig;
use crate::connection::Connection;
use crate::error::{ClusterError, ConnectionError};
use crate::wire::ErrorCode;
use crate::wire::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};

/// Version 12 has all that is used here.
const METADATA_VERSION_MAX: i16 = 12;

/// One broker gets this long to answer before the next is asked.
const BROKER_WAIT: Duration = Duration::from_secs(5);
/// Time of the next question when a topic seems to be gone.
const MISSING_RETRY: Duration = Duration::from_secs(1);

/// The task behind a snapshot that comes from brokers.
#[derive(Debug)]
pub(super) struct Keeper {
    bootstrap: Vec<String>,
    config: ClusterConfig,
    interest: Arc<Interest>,
    /// By address; those that do not answer are not kept.
    connections: BTreeMap<String, Connection>,
    missing: Missing,
    /// Which broker goes first: the same one as long as nobody doubts what it says.
    turn: usize,
}

impl Keeper {
    /// Asks the first of `addresses` that answers; within the connect timeout it goes on trying.
    pub(super) async fn connect(
        addresses: &[String],
        config: &ClusterConfig,
        interest: &Arc<Interest>,
    ) -> Result<(Self, Topology), ClusterError> {
        for address in addresses {
            let port = address
                .rsplit_once(':')
                .map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(1..))) {
                return Err(ClusterError::Address(address.clone()));
            }
        }
        let mut keeper = Self {
            bootstrap: addresses.to_vec(),
            config: config.clone(),
            interest: Arc::clone(interest),
            connections: BTreeMap::new(),
            missing: Missing::default(),
            turn: 0,
        };
        match keeper.fetch(&Topology::default()).await {
            Ok(first) => Ok((keeper, first)),
            Err(error) => Err(ClusterError::Unreachable {
                addresses: addresses.join(","),
                reason: error.to_string(),
            }),
        }
    }

    /// Publishes a new snapshot whenever one is asked for or the last is too old.
    pub(super) async fn run(mut self, publish: watch::Sender<Arc<Topology>>) {
        loop {
            let stale = self.interest.stale.notified();
            let age_max = match self.missing.is_any() {
                true => MISSING_RETRY.min(self.config.metadata_age_max),
                false => self.config.metadata_age_max,
            };
            let doubted = tokio::time::timeout(age_max, stale).await.is_ok();
            if doubted || self.missing.is_any() {
                // Something failed that this broker's word led to: another may know more, and one
                // that is cut off from the cluster would say the same for ever.
                self.turn = self.turn.wrapping_add(1);
            }
            let before = publish.borrow().clone();
            match self.fetch(&before).await {
                Ok(now) if now.brokers.is_empty() => {}
                Ok(now) => {
                    let now = self.missing.merge(&before, now, clock::now());
                    publish.send_if_modified(|published| {
                        let news = **published != now;
                        *published = Arc::new(now);
                        news
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "no broker describes the cluster");
                    self.interest.stale.notify_one();
                }
            }
            tokio::time::sleep(self.config.retry_backoff).await;
        }
    }

    async fn fetch(&mut self, before: &Topology) -> Result<Topology, ConnectionError> {
        let topics: Vec<TopicName> = self.interest.topics.lock().iter().cloned().collect();
        let request = MetadataRequest {
            topics: Some(topics.iter().map(wanted).collect()),
            allow_auto_topic_creation: self.config.auto_create_topics,
            ..MetadataRequest::default()
        };
        let mut failure = ConnectionError::Closed;
        let mut addresses: Vec<String> = before.brokers.values().map(ToString::to_string).collect();
        let first = self.turn.checked_rem(addresses.len()).unwrap_or(0);
        addresses.rotate_left(first);
        addresses.extend(self.bootstrap.iter().cloned());
        self.connections
            .retain(|address, _| addresses.contains(address));
        for address in addresses {
            match self.ask(address, &request).await {
                Ok(response) => return Ok(topology(response)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn ask(
        &mut self,
        address: String,
        request: &MetadataRequest,
    ) -> Result<MetadataResponse, ConnectionError> {
        let open = self
            .connections
            .remove(&address)
            .filter(Connection::is_open);
        let connection = match open {
            Some(open) => open,
            None => {
                let mut config = self.config.connection.clone();
                config.connect_timeout = config.connect_timeout.min(BROKER_WAIT);
                Connection::connect(&address, config).await?
            }
        };
        let version = connection.version::<MetadataRequest>(METADATA_VERSION_MAX)?;
        let waited = BROKER_WAIT.min(self.config.connection.request_timeout);
        let response = connection
            .send_within(request, version, waited)?
            .wait()
            .await?;
        self.connections.insert(address, connection);
        Ok(response)
    }
}

fn wanted(name: &TopicName) -> MetadataRequestTopic {
    MetadataRequestTopic {
        name: Some(name.as_str().to_owned()),
        ..MetadataRequestTopic::default()
    }
}

/// What a broker says, with everything left out that cannot be.
fn topology(response: MetadataResponse) -> Topology {
    let mut topology = Topology {
        cluster_id: response.cluster_id,
        controller: Some(BrokerId(response.controller_id)).filter(|id| id.0 >= 0),
        ..Topology::default()
    };
    for broker in response.brokers {
        if let Ok(port @ 1..) = u16::try_from(broker.port) {
            let address = BrokerAddress {
                host: broker.host,
                port,
                rack: broker.rack,
            };
            topology.brokers.insert(BrokerId(broker.node_id), address);
        }
    }
    for topic in response.topics {
        let name = topic.name.as_deref().and_then(|n| TopicName::new(n).ok());
        let Some(name) = name else { continue };
        let code = ErrorCode::from(topic.error_code);
        if code.is_error() {
            topology.refusals.insert(name, code);
        } else {
            let topic = partitions(topic, &topology.brokers);
            topology.topics.insert(name, Arc::new(topic));
        }
    }
    topology
}

fn partitions(
    topic: MetadataResponseTopic,
    brokers: &BTreeMap<BrokerId, BrokerAddress>,
) -> TopicTopology {
    let id = Some(topic.topic_id).filter(|id| *id != TopicId::ZERO);
    let mut partitions = BTreeMap::new();
    for p in topic
        .partitions
        .into_iter()
        .filter(|p| p.partition_index >= 0)
    {
        let leader = BrokerId(p.leader_id);
        let described = PartitionTopology {
            leader: brokers.contains_key(&leader).then_some(leader),
            leader_epoch: Some(LeaderEpoch(p.leader_epoch)).filter(|e| e.0 >= 0),
            replicas: p.replica_nodes.into_iter().map(BrokerId).collect(),
            isr: p.isr_nodes.into_iter().map(BrokerId).collect(),
        };
        partitions.insert(PartitionIndex(p.partition_index), described);
    }
    TopicTopology::new(id, partitions)
}
