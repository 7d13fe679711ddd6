//! Who asks, and what a handler may use to answer.
//!
//! [`Services`] is built once by the composition root; a [`Context`] is made for every request.
//! Every handler passes [`Context::authorize`] before it reads or changes anything.

use std::net::IpAddr;
use std::sync::Arc;

use nyala_client::wire::{ApiKey, ErrorCode};
use nyala_coordinator::ids::{PartitionIndex, TopicId, TopicName};

use super::{FetchSessions, WorkMemory};
use crate::cluster::Cluster;
use crate::groups::Groups;
use crate::replication::{IsrChanges, Table, Throttle};
use crate::storage::LogDirs;
use crate::told::Told;

/// Everything that handlers use, shared by all connections.
#[derive(Debug)]
pub struct Services {
    /// Partitions that this broker has.
    pub partitions: Arc<Table>,
    /// The cluster: its topics, brokers and settings.
    pub cluster: Arc<Cluster>,
    /// Folders of the logs.
    pub log_dirs: Arc<LogDirs>,
    /// Incremental fetch sessions.
    pub fetch_sessions: FetchSessions,
    /// `fetch.max.bytes`: most bytes of one fetch answer, the first batch apart.
    pub fetch_bytes_max: usize,
    /// Room for requests in work.
    pub work_memory: WorkMemory,
    /// Names of the listeners that brokers and the controller use among themselves.
    pub cluster_listeners: Vec<String>,
    /// Told of followers that could join the replicas in sync.
    pub isr_changes: Arc<IsrChanges>,
    /// Of what this broker's leaders send to followers that are behind (KIP-73).
    pub leader_throttle: Arc<Throttle>,
    /// Whether consumers are sent to replicas in their rack (`replica.selector.class`, KIP-392).
    pub nearest_replica: bool,
    /// Groups that this broker leads.
    pub(crate) groups: Arc<Groups>,
    /// Why there is no topic for their offsets. Clients ask many times a second.
    pub(crate) no_offsets_topic: Told,
}

impl Services {
    /// Whether brokers use this listener among themselves.
    pub(crate) fn of_brokers(&self, listener: &str) -> bool {
        self.cluster_listeners.iter().any(|name| name == listener)
    }

    /// Why a partition that this broker does not have cannot be served.
    pub(crate) fn absent_partition(&self, topic: &str, partition: i32) -> ErrorCode {
        let snapshot = self.cluster.snapshot();
        let elsewhere = (snapshot.topics.get(topic))
            .is_some_and(|topic| topic.partitions.contains_key(&PartitionIndex(partition)));
        match elsewhere {
            true => ErrorCode::NotLeaderOrFollower,
            false => ErrorCode::UnknownTopicOrPartition,
        }
    }

    /// Tells of a partition of this topic whether the cluster has it.
    pub(crate) fn partitions_of(&self, topic: &TopicName) -> impl Fn(i32) -> bool + use<> {
        let (snapshot, topic) = (self.cluster.snapshot(), topic.clone());
        move |partition| {
            let known = snapshot.topics.get(&topic);
            known.is_some_and(|t| t.partitions.contains_key(&PartitionIndex(partition)))
        }
    }

    /// Name of the topic with this id.
    pub(crate) fn topic_name(&self, id: TopicId) -> Option<TopicName> {
        self.partitions
            .name_of(id)
            .or_else(|| self.cluster.topic_name(id))
    }
}

/// Who is at the other end of a connection, in Kafka's words: `User:alice`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Kind, `User` for all that Kafka itself makes.
    pub kind: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Principal {
    /// Principal of a connection that did not authenticate: `User:ANONYMOUS`.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            kind: "User".into(),
            name: "ANONYMOUS".into(),
        }
    }
}

/// What a request wants to do (Kafka's `AclOperation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "Kafka's words, each says what it is")]
pub enum Operation {
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
    ClusterAction,
    DescribeConfigs,
    AlterConfigs,
    IdempotentWrite,
}

/// What it wants to do that to (Kafka's `ResourceType` and name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource<'a> {
    /// A topic by name.
    Topic(&'a str),
    /// A consumer group by id.
    Group(&'a str),
    /// The cluster as a whole.
    Cluster,
    /// A transactional id.
    TransactionalId(&'a str),
}

/// One request's surroundings.
#[derive(Debug, Clone)]
pub struct Context {
    /// Everything that a handler may use.
    pub services: Arc<Services>,
    /// API of the request.
    pub key: ApiKey,
    /// Version of the request, within what the table says.
    pub version: i16,
    /// Who asks.
    pub principal: Principal,
    /// `client.id` as the request head gives it.
    pub client_id: Option<String>,
    /// Address of the peer.
    pub client_host: IpAddr,
    /// Name of the listener that the connection came in through.
    pub listener_name: Arc<str>,
}

impl Context {
    /// The one authorisation point: whether the principal may do `operation` to `resource`.
    #[must_use]
    pub fn authorize(&self, operation: Operation, resource: Resource<'_>) -> bool {
        let through_brokers_listener = self.services.of_brokers(&self.listener_name);
        authorize(
            &self.principal,
            through_brokers_listener,
            operation,
            resource,
        )
    }
}

/// Until access control arrives everybody may do everything, but for acting as a broker: that takes a
/// connection through a listener that brokers use among themselves (`through_brokers_listener`).
pub(crate) fn authorize(
    _principal: &Principal,
    through_brokers_listener: bool,
    operation: Operation,
    _resource: Resource<'_>,
) -> bool {
    operation != Operation::ClusterAction || through_brokers_listener
}
