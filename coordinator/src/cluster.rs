//! The whole cluster as one immutable snapshot, kept current: brokers, topics, leaders, controller.
//!
//! One recursive watch below `/brokers` says which nodes to read again; a new connection reads all
//! of them. Reads are pipelined, so thousands of partitions cost a few round trips. A node that cannot
//! be read (an operator's edit) leaves its entry as it was, or out, and is logged; it never stops the
//! rest. Every partition count, leader and epoch in a snapshot was read, none is guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use crate::ids::{
    BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, PartitionIndex, TopicId, TopicName,
    TopicPartition,
};
use crate::registry::paths::{self, BrokersPath};
use crate::registry::payloads::{self, BrokerRegistration, TopicAssignment};
use crate::registry::{Registry, RegistryError};
use crate::session::{Node, Session, TreeEvent, TreeWatch, Watch, ZkError};

pub use crate::registry::payloads::Endpoint;

/// Pause after a read that failed.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// Keeps a [`ClusterSnapshot`] current until it is dropped.
#[derive(Debug)]
pub struct ClusterView {
    current: watch::Receiver<Arc<ClusterSnapshot>>,
    _task: AbortOnDropHandle<()>,
}

/// The cluster as it was read at one time. Immutable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterSnapshot {
    /// `/cluster/id`.
    pub cluster_id: Option<String>,
    /// Who is controller.
    pub controller: Option<BrokerId>,
    /// Registered brokers.
    pub brokers: BTreeMap<BrokerId, BrokerInfo>,
    /// Topics.
    pub topics: BTreeMap<TopicName, Arc<TopicInfo>>,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerInfo {
    /// Its id.
    pub id: BrokerId,
    /// Epoch of this incarnation.
    pub epoch: BrokerEpoch,
    /// Its addresses, at least one.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicInfo {
    /// `None` for a topic from before KIP-516.
    pub id: Option<TopicId>,
    /// Its partitions.
    pub partitions: BTreeMap<PartitionIndex, PartitionInfo>,
}

/// A partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Where it lives; the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Replicas that a reassignment adds.
    pub adding_replicas: Vec<BrokerId>,
    /// Replicas that a reassignment removes.
    pub removing_replicas: Vec<BrokerId>,
    /// `None` until the controller has written it.
    pub state: Option<PartitionState>,
}

/// Who leads a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// `None` while no replica can lead.
    pub leader: Option<BrokerId>,
    /// Epoch of the leader.
    pub leader_epoch: LeaderEpoch,
    /// In-sync replicas.
    pub isr: Vec<BrokerId>,
    /// Epoch of the controller that wrote it.
    pub controller_epoch: ControllerEpoch,
    /// Version of its node; the partition epoch.
    pub version: i32,
    /// Transaction that wrote it: a broker whose epoch is greater has registered since.
    pub written: i64,
}

impl ClusterSnapshot {
    /// A partition.
    #[must_use]
    pub fn partition(&self, tp: &TopicPartition) -> Option<&PartitionInfo> {
        self.topics.get(&tp.topic)?.partitions.get(&tp.partition)
    }

    /// The broker that leads a partition, if it is registered.
    #[must_use]
    pub fn leader(&self, tp: &TopicPartition) -> Option<&BrokerInfo> {
        let leader = self.partition(tp)?.state.as_ref()?.leader?;
        self.brokers.get(&leader)
    }
}

impl ClusterView {
    /// Reads everything once, then follows.
    pub async fn start(session: Session) -> Result<Self, RegistryError> {
        let registry = Registry::new(session);
        let mut follower = Follower::read_all(registry.clone()).await?;
        let (publish, current) = watch::channel(Arc::new(follower.snapshot.clone()));
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    followed = follower.follow() => if let Err(e) = followed {
                        debug!("reading the cluster again: {e}");
                        follower = Follower::read_all_at_last(&registry, follower.snapshot).await;
                    },
                    () = publish.closed() => return,
                }
                publish.send_if_modified(|old| {
                    let changed = **old != follower.snapshot;
                    if changed {
                        *old = Arc::new(follower.snapshot.clone());
                    }
                    changed
                });
            }
        });
        Ok(Self {
            current,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// The snapshot now and all later ones.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<ClusterSnapshot>> {
        self.current.clone()
    }

    /// The snapshot now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<ClusterSnapshot> {
        Arc::clone(&self.current.borrow())
    }
}

/// Reads what hints name and brings its snapshot up to date.
struct Follower {
    registry: Registry,
    snapshot: ClusterSnapshot,
    tree: TreeWatch,
    controller: Watch,
    events: Vec<TreeEvent>,
}

impl Follower {
    /// Arms the watches, then reads everything.
    async fn read_all(registry: Registry) -> Result<Self, RegistryError> {
        Self::read_all_after(&registry, &ClusterSnapshot::default()).await
    }

    async fn read_all_at_last(registry: &Registry, before: ClusterSnapshot) -> Self {
        loop {
            match Self::read_all_after(registry, &before).await {
                Ok(follower) => return follower,
                Err(e) => debug!("reading the cluster: {e}"),
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    /// `before` fills in for nodes that are there but cannot be read.
    async fn read_all_after(
        registry: &Registry,
        before: &ClusterSnapshot,
    ) -> Result<Self, RegistryError> {
        let tree = arm(registry.session()).await?;
        let (controller, controller_watch) = read_controller(registry).await?;
        let mut follower = Self {
            registry: registry.clone(),
            snapshot: ClusterSnapshot {
                cluster_id: registry.cluster_id().await?,
                controller,
                ..ClusterSnapshot::default()
            },
            tree,
            controller: controller_watch,
            events: Vec::new(),
        };
        let brokers = registry.broker_ids().await?;
        let topics = registry.topic_names().await?;
        let mut dirty: BTreeSet<BrokersPath> = BTreeSet::new();
        for id in brokers {
            if let Some(old) = before.brokers.get(&id) {
                follower.snapshot.brokers.insert(id, old.clone());
            }
            dirty.insert(BrokersPath::Broker(id));
        }
        for topic in topics {
            if let Some(old) = before.topics.get(&topic) {
                follower
                    .snapshot
                    .topics
                    .insert(topic.clone(), Arc::clone(old));
            }
            dirty.insert(BrokersPath::Topic(topic));
        }
        follower.read_again(dirty).await?;
        // States last: which there are is known only now.
        let states = follower.snapshot.topics.iter().flat_map(|(topic, info)| {
            info.partitions.keys().map(|partition| {
                BrokersPath::State(TopicPartition {
                    topic: topic.clone(),
                    partition: *partition,
                })
            })
        });
        let states = states.collect();
        follower.read_again(states).await?;
        Ok(follower)
    }

    /// Waits for hints and follows them. An error: start over with a new watch.
    async fn follow(&mut self) -> Result<(), RegistryError> {
        tokio::select! {
            armed = self.tree.next(&mut self.events) => {
                if !armed {
                    let path = paths::BROKERS.to_owned();
                    return Err(RegistryError::Zk { path, source: ZkError::Unknown });
                }
                let mut dirty = BTreeSet::new();
                for event in self.events.drain(..) {
                    dirty.extend(paths::parse_brokers_path(&event.path));
                }
                self.read_again(dirty).await?;
            }
            () = self.controller.wait() => {
                let (controller, watch) = read_controller(&self.registry).await?;
                self.controller = watch;
                self.snapshot.controller = controller;
                if self.snapshot.cluster_id.is_none() {
                    self.snapshot.cluster_id = self.registry.cluster_id().await?;
                }
            }
        }
        Ok(())
    }

    /// Reads the nodes of `dirty`, pipelined, and takes over what they say.
    async fn read_again(&mut self, mut dirty: BTreeSet<BrokersPath>) -> Result<(), RegistryError> {
        while !dirty.is_empty() {
            let batch: Vec<BrokersPath> = std::mem::take(&mut dirty).into_iter().collect();
            let nodes: Vec<String> = batch.iter().map(node_path).collect();
            let session = self.registry.session();
            let found = session
                .get_many(&nodes)
                .await
                .map_err(|source| RegistryError::Zk {
                    path: paths::BROKERS.to_owned(),
                    source,
                })?;
            for (what, node) in batch.into_iter().zip(found) {
                dirty.extend(self.snapshot.apply(&what, node.as_ref()));
            }
        }
        Ok(())
    }
}

impl ClusterSnapshot {
    /// Takes over what was read at `what`; gives what must be read because of it.
    fn apply(&mut self, what: &BrokersPath, node: Option<&Node>) -> Vec<BrokersPath> {
        match (what, node) {
            (BrokersPath::Broker(id), None) => drop(self.brokers.remove(id)),
            (BrokersPath::Broker(id), Some(node)) => match BrokerRegistration::decode(&node.data) {
                Ok(info) => {
                    let info = BrokerInfo {
                        id: *id,
                        epoch: BrokerEpoch(node.stat.czxid),
                        endpoints: info.endpoints,
                        rack: info.rack,
                    };
                    self.brokers.insert(*id, info);
                }
                Err(e) => warn!("{}: {e}", node_path(what)),
            },
            (BrokersPath::Topic(topic), None) => drop(self.topics.remove(topic)),
            (BrokersPath::Topic(topic), Some(node)) => match TopicAssignment::decode(&node.data) {
                Ok(assignment) => return self.apply_assignment(topic, assignment),
                Err(e) => warn!("{}: {e}", node_path(what)),
            },
            (BrokersPath::State(tp), node) => self.apply_state(tp, node),
        }
        Vec::new()
    }

    /// New partitions, and all of a topic that was made anew, have states to read.
    fn apply_assignment(
        &mut self,
        topic: &TopicName,
        mut assignment: TopicAssignment,
    ) -> Vec<BrokersPath> {
        let old = self.topics.get(topic);
        let same_topic = old.is_some_and(|old| old.id == assignment.id);
        let mut unread = Vec::new();
        let mut partitions = BTreeMap::new();
        for (index, replicas) in assignment.replicas {
            let state = match old
                .filter(|_| same_topic)
                .and_then(|o| o.partitions.get(&index))
            {
                Some(known) => known.state.clone(),
                None => {
                    unread.push(BrokersPath::State(TopicPartition {
                        topic: topic.clone(),
                        partition: index,
                    }));
                    None
                }
            };
            let info = PartitionInfo {
                replicas,
                adding_replicas: assignment
                    .adding_replicas
                    .remove(&index)
                    .unwrap_or_default(),
                removing_replicas: assignment
                    .removing_replicas
                    .remove(&index)
                    .unwrap_or_default(),
                state,
            };
            partitions.insert(index, info);
        }
        let info = TopicInfo {
            id: assignment.id,
            partitions,
        };
        self.topics.insert(topic.clone(), Arc::new(info));
        unread
    }

    fn apply_state(&mut self, tp: &TopicPartition, node: Option<&Node>) {
        let Some(topic) = self.topics.get_mut(&tp.topic) else {
            return;
        };
        let state = match node.map(|n| (n, payloads::PartitionState::decode(&n.data))) {
            None => None,
            Some((node, Ok(state))) => Some(PartitionState {
                leader: state.leader,
                leader_epoch: state.leader_epoch,
                isr: state.isr,
                controller_epoch: state.controller_epoch,
                version: node.stat.version,
                written: node.stat.mzxid,
            }),
            Some((_, Err(e))) => {
                warn!("{}: {e}", paths::partition_state(&tp.topic, tp.partition));
                return;
            }
        };
        let known = topic.partitions.get(&tp.partition);
        if known.is_some_and(|p| p.state != state)
            && let Some(info) = Arc::make_mut(topic).partitions.get_mut(&tp.partition)
        {
            info.state = state;
        }
    }
}

fn node_path(what: &BrokersPath) -> String {
    match what {
        BrokersPath::Broker(id) => paths::broker(*id),
        BrokersPath::Topic(topic) => paths::topic(topic),
        BrokersPath::State(tp) => paths::partition_state(&tp.topic, tp.partition),
    }
}

async fn arm(session: &Session) -> Result<TreeWatch, RegistryError> {
    // A cluster that no broker has started yet has no such node; the watch covers its creation.
    session
        .watch_tree(paths::BROKERS)
        .await
        .map_err(|source| RegistryError::Zk {
            path: paths::BROKERS.to_owned(),
            source,
        })
}

/// An operator's edit of `/controller` means "nobody" until it is right again.
async fn read_controller(registry: &Registry) -> Result<(Option<BrokerId>, Watch), RegistryError> {
    match registry.controller_watch().await {
        Err(RegistryError::Payload { path, source }) => {
            warn!("{path}: {source}");
            let session = registry.session();
            let (_, watch) = session
                .exists_watch(&path)
                .await
                .map_err(|source| RegistryError::Zk { path, source })?;
            Ok((None, watch))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
