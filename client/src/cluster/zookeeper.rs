//! Keeps the snapshot current from ZooKeeper: brokers from `/brokers/ids`, partitions from
//! `/brokers/topics`, leaders from the partitions' state.

use std::collections::BTreeMap;
use std::sync::Arc;

use nyala_coordinator::cluster::{BrokerInfo, ClusterSnapshot, ClusterView, TopicInfo};
use nyala_coordinator::ids::{BrokerId, TopicName};
use nyala_coordinator::session::Session;
use tokio::sync::watch;

use super::Interest;
use super::topology::{BrokerAddress, PartitionTopology, TopicTopology, Topology};
use crate::config::ClusterConfig;
use crate::connection::Connection;
use crate::error::{ClusterError, ConnectionError};
use crate::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};

/// The task behind a snapshot that comes from ZooKeeper.
#[derive(Debug)]
pub(super) struct Keeper {
    view: ClusterView,
    config: ClusterConfig,
    interest: Arc<Interest>,
}

impl Keeper {
    pub(super) async fn start(
        session: &Session,
        config: &ClusterConfig,
        interest: &Arc<Interest>,
    ) -> Result<Self, ClusterError> {
        Ok(Self {
            view: ClusterView::start(session.clone()).await?,
            config: config.clone(),
            interest: Arc::clone(interest),
        })
    }

    /// Publishes what the watches see.
    pub(super) async fn run(self, publish: watch::Sender<Arc<Topology>>) {
        let mut snapshots = self.view.subscribe();
        loop {
            let seen = snapshots.borrow_and_update().clone();
            let before = publish.borrow().clone();
            let now = topology(&seen, &before);
            publish.send_if_modified(|published| {
                let news = **published != now;
                *published = Arc::new(now);
                news
            });
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                () = self.interest.stale.notified() => {
                    let current = publish.borrow().clone();
                    self.create_missing(&current).await;
                }
            }
        }
    }

    /// Asks a broker for the topics that somebody wants and ZooKeeper does not have: if it may, it
    /// creates them (`auto.create.topics.enable`), and the watches show them.
    async fn create_missing(&self, topology: &Topology) {
        if !self.config.auto_create_topics {
            return;
        }
        let wanted = self.interest.topics.lock().clone();
        let missing: Vec<TopicName> = wanted
            .into_iter()
            .filter(|t| !topology.topics.contains_key(t))
            .collect();
        if missing.is_empty() {
            return;
        }
        for broker in topology.brokers.values() {
            match self.ask(&broker.to_string(), &missing).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "cannot ask for missing topics"),
            }
        }
    }

    async fn ask(&self, address: &str, topics: &[TopicName]) -> Result<(), ConnectionError> {
        let connection = Connection::connect(address, self.config.connection.clone()).await?;
        let wanted = topics.iter().map(|name| MetadataRequestTopic {
            name: Some(name.as_str().to_owned()),
            ..MetadataRequestTopic::default()
        });
        let request = MetadataRequest {
            topics: Some(wanted.collect()),
            allow_auto_topic_creation: true,
            ..MetadataRequest::default()
        };
        connection.call_up_to(&request, 12).await.map(drop)
    }
}

fn topology(seen: &ClusterSnapshot, before: &Topology) -> Topology {
    let brokers: BTreeMap<BrokerId, BrokerAddress> = seen
        .brokers
        .iter()
        .filter_map(|(id, info)| Some((*id, address(info)?)))
        .collect();
    let topics = seen.topics.iter().map(|(name, info)| {
        let now = topic(info, &brokers);
        // An unchanged topic stays the same allocation: snapshots share what they have in common.
        let kept = before.topics.get(name).filter(|t| ***t == now);
        let topic = kept.cloned().unwrap_or_else(|| Arc::new(now));
        (name.clone(), topic)
    });
    Topology {
        cluster_id: seen.cluster_id.clone(),
        controller: seen.controller,
        topics: topics.collect(),
        refusals: BTreeMap::new(),
        brokers,
    }
}

/// The listener that a client without TLS or SASL can use.
fn address(info: &BrokerInfo) -> Option<BrokerAddress> {
    let plain = |p: &str| p.eq_ignore_ascii_case("PLAINTEXT");
    let listener = info
        .endpoints
        .iter()
        .find(|e| plain(&e.security_protocol.to_string()))?;
    Some(BrokerAddress {
        host: listener.host.clone(),
        port: listener.port,
        rack: info.rack.clone(),
    })
}

fn topic(info: &TopicInfo, brokers: &BTreeMap<BrokerId, BrokerAddress>) -> TopicTopology {
    let partitions = info.partitions.iter().map(|(index, p)| {
        let state = p.state.as_ref();
        let leader = state.and_then(|s| s.leader);
        let described = PartitionTopology {
            leader: leader.filter(|id| brokers.contains_key(id)),
            leader_epoch: state.map(|s| s.leader_epoch),
            replicas: p.replicas.clone(),
            isr: state.map(|s| s.isr.clone()).unwrap_or_default(),
        };
        (*index, described)
    });
    TopicTopology::new(info.id, partitions.collect())
}
