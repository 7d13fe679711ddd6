//! All partitions that this broker has, by topic and index.
//!
//! Looked up once a partition in every produce and fetch: no allocation, one short read lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nyala_coordinator::clock;
use nyala_coordinator::ids::{PartitionIndex, TopicId, TopicName, TopicPartition};
use parking_lot::{Mutex, RwLock};

use super::lease::Verdict;
use super::{Partition, ReplicaSettings};

/// How long it is believed that this broker is cut off, or not, while its lease does not hold: many may ask, and all
/// partitions are looked at.
const BELIEVED: Duration = Duration::from_millis(20);

/// Table of partitions.
#[derive(Debug, Default)]
pub struct Table {
    inner: RwLock<Inner>,
    settings: Arc<ReplicaSettings>,
    /// When it was last looked whether this broker is cut off, and what was seen.
    cut_off: Mutex<Option<(Instant, bool)>>,
}

#[derive(Debug, Default)]
struct Inner {
    topics: HashMap<TopicName, Topic>,
    names: HashMap<TopicId, TopicName>,
}

#[derive(Debug, Default)]
struct Topic {
    id: Option<TopicId>,
    partitions: HashMap<i32, Arc<Partition>>,
}

/// What is known of a partition that was asked for.
#[derive(Debug)]
pub enum Lookup {
    /// This broker has it.
    Here(Arc<Partition>),
    /// This broker has the topic, under another id.
    OtherId,
    /// This broker has no such partition.
    Absent,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty table whose partitions replicate by `settings`.
    #[must_use]
    pub fn with_settings(settings: ReplicaSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            ..Self::default()
        }
    }

    /// What its partitions replicate by.
    #[must_use]
    pub fn settings(&self) -> &Arc<ReplicaSettings> {
        &self.settings
    }

    /// The partition, if this broker has it.
    #[must_use]
    pub fn get(&self, topic: &str, partition: i32) -> Option<Arc<Partition>> {
        let inner = self.inner.read();
        let found = inner.topics.get(topic)?.partitions.get(&partition)?;
        Some(Arc::clone(found))
    }

    /// As [`get`](Self::get), by newtypes.
    #[must_use]
    pub fn find(&self, partition: &TopicPartition) -> Option<Arc<Partition>> {
        self.get(partition.topic.as_str(), partition.partition.0)
    }

    /// As [`get`](Self::get), for one who also knows the topic's id: a topic that was deleted and
    /// made again under its old name is another topic (KIP-516).
    #[must_use]
    pub fn lookup(&self, topic: &str, id: Option<TopicId>, partition: i32) -> Lookup {
        let inner = self.inner.read();
        match inner.topics.get(topic) {
            Some(found) if id.is_some() && found.id.is_some() && found.id != id => Lookup::OtherId,
            Some(found) => found
                .partitions
                .get(&partition)
                .map_or(Lookup::Absent, |p| Lookup::Here(Arc::clone(p))),
            None => Lookup::Absent,
        }
    }

    /// Name of the topic with this id, if this broker has partitions of it.
    #[must_use]
    pub fn name_of(&self, id: TopicId) -> Option<TopicName> {
        self.inner.read().names.get(&id).cloned()
    }

    /// The name as this table keeps it, if this broker has partitions of the topic.
    #[must_use]
    pub fn name(&self, topic: &str) -> Option<TopicName> {
        let inner = self.inner.read();
        inner
            .topics
            .get_key_value(topic)
            .map(|(name, _)| name.clone())
    }

    /// Id of the topic, if this broker has partitions of it and knows it.
    #[must_use]
    pub fn id_of(&self, topic: &str) -> Option<TopicId> {
        self.inner.read().topics.get(topic)?.id
    }

    /// Adds a partition; returns the one that it replaces.
    pub fn insert(&self, partition: Arc<Partition>) -> Option<Arc<Partition>> {
        partition.replicate_by(&self.settings);
        let mut inner = self.inner.write();
        let (id, name) = (partition.topic_id(), partition.id().topic.clone());
        if let Some(id) = id {
            inner.names.insert(id, name.clone());
        }
        let topic = inner.topics.entry(name).or_default();
        topic.id = id.or(topic.id);
        let index = partition.id().partition.0;
        topic.partitions.insert(index, partition)
    }

    /// Takes a partition out. The caller makes it [resign](Partition::resign).
    pub fn remove(&self, partition: &TopicPartition) -> Option<Arc<Partition>> {
        let mut inner = self.inner.write();
        let topic = inner.topics.get_mut(&partition.topic)?;
        let removed = topic.partitions.remove(&partition.partition.0);
        if topic.partitions.is_empty() {
            let id = topic.id;
            inner.topics.remove(&partition.topic);
            if let Some(id) = id {
                inner.names.remove(&id);
            }
        }
        removed
    }

    /// Whether this broker has lost touch with the cluster: its lease does not hold (`lease.rs`: ZooKeeper is silent, or
    /// the session is new and nothing was proven in it), and of the partitions it led with others, none is followed any more. Where ZooKeeper
    /// is down for everybody, followers go on to fetch.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        if self.settings.lease.verdict() == Verdict::Holds {
            return false;
        }
        let now = clock::now();
        let seen = *self.cut_off.lock();
        if let Some((at, cut_off)) = seen
            && now < at + BELIEVED
        {
            return cut_off;
        }
        let cut_off = self.is_followed_by_none();
        *self.cut_off.lock() = Some((now, cut_off));
        cut_off
    }

    /// Whether it leads partitions with others, none of whom fetches any more.
    fn is_followed_by_none(&self) -> bool {
        let inner = self.inner.read();
        let partitions = inner.topics.values().flat_map(|t| t.partitions.values());
        let mut led = partitions.filter_map(|p| p.is_followed()).peekable();
        led.peek().is_some() && !led.any(|followed| followed)
    }

    /// All partitions, in order.
    #[must_use]
    pub fn all(&self) -> BTreeMap<TopicPartition, Arc<Partition>> {
        let inner = self.inner.read();
        let partitions = inner.topics.values().flat_map(|t| t.partitions.values());
        partitions
            .map(|p| (p.id().clone(), Arc::clone(p)))
            .collect()
    }

    /// All partitions of one topic, in order.
    #[must_use]
    pub fn of_topic(&self, topic: &str) -> BTreeMap<PartitionIndex, Arc<Partition>> {
        let inner = self.inner.read();
        let partitions = inner
            .topics
            .get(topic)
            .into_iter()
            .flat_map(|t| &t.partitions);
        partitions
            .map(|(&index, p)| (PartitionIndex(index), Arc::clone(p)))
            .collect()
    }
}
