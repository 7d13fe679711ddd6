//! Where the leader is, told to a client that asked the wrong broker (KIP-951): it need not ask for
//! metadata first. Produce from version 10, Fetch from version 16.

use std::collections::BTreeSet;
use std::sync::Arc;

use nyala_client::wire::{ErrorCode, LeaderHint, NodeEndpoint};
use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{BrokerId, PartitionIndex, TopicName, TopicPartition};

use super::fetch_session::TopicKey;
use super::{Services, endpoints};

/// The hints of one reply, and the brokers that they name. Allocates nothing unless one is given.
pub(super) struct Hints<'a> {
    services: &'a Services,
    listener: &'a str,
    wanted: bool,
    snapshot: Option<Arc<ClusterSnapshot>>,
    named: BTreeSet<BrokerId>,
}

impl<'a> Hints<'a> {
    /// None yet, for a client at this listener; `wanted`: whether the version has them.
    pub(super) fn new(services: &'a Services, listener: &'a str, wanted: bool) -> Self {
        Self {
            services,
            listener,
            wanted,
            snapshot: None,
            named: BTreeSet::new(),
        }
    }

    /// The hint that goes with `error`, if it is one about the leader and the leader is known.
    pub(super) fn give(
        &mut self,
        error: ErrorCode,
        topic: &str,
        partition: i32,
    ) -> Option<LeaderHint> {
        let about_leader = matches!(
            error,
            ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
        );
        if !about_leader || !self.wanted {
            return None;
        }
        let services = self.services;
        let snapshot = self
            .snapshot
            .get_or_insert_with(|| services.cluster.snapshot());
        let id = TopicPartition {
            topic: TopicName::new(topic).ok()?,
            partition: PartitionIndex(partition),
        };
        let told = services.partitions.find(&id).and_then(|p| p.state());
        let told = told.map(|state| (state.leader_epoch, state.leader));
        let seen = snapshot.partition(&id).and_then(|p| p.state.as_ref());
        let seen = seen.map(|state| (state.leader_epoch, state.leader));
        let (epoch, leader) = told.max(seen)?;
        // One who names itself has lost its lease and knows nothing better: a client that believes it
        // would come back for ever.
        let leader = leader.filter(|id| *id != services.cluster.this_broker())?;
        self.named.insert(leader);
        Some(LeaderHint {
            leader_id: leader.0,
            leader_epoch: epoch.0,
        })
    }

    /// As [`give`](Self::give), for a topic as a fetch names it.
    pub(super) fn give_for(
        &mut self,
        error: ErrorCode,
        topic: &TopicKey,
        partition: i32,
    ) -> Option<LeaderHint> {
        match topic {
            TopicKey::Name(name) => self.give(error, name.as_str(), partition),
            TopicKey::Id(id) => {
                let name = self.services.topic_name(*id)?;
                self.give(error, name.as_str(), partition)
            }
            TopicKey::Illegal(_) => None,
        }
    }

    /// Addresses of the brokers named, at the listener of the connection.
    pub(super) fn endpoints(&self) -> Vec<NodeEndpoint<'_>> {
        let Some(snapshot) = &self.snapshot else {
            return Vec::new();
        };
        let reachable = endpoints::reachable(snapshot, self.listener);
        let named = reachable.filter(|(broker, _)| self.named.contains(&broker.id));
        named
            .map(|(broker, endpoint)| NodeEndpoint {
                node_id: broker.id.0,
                host: &endpoint.host,
                port: endpoint.port.into(),
                rack: broker.rack.as_deref(),
            })
            .collect()
    }
}
