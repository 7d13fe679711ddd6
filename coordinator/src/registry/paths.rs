//! Every znode path, written down once.
//!
//! Paths are relative to the chroot. Nothing else in the workspace spells one.

use crate::ids::{BrokerId, PartitionIndex, TopicName, TopicPartition};

/// All registrations and topics.
pub const BROKERS: &str = "/brokers";
/// Parent of the broker registrations.
pub const BROKER_IDS: &str = "/brokers/ids";
/// Its version gives generated broker ids.
pub const BROKER_SEQUENCE_ID: &str = "/brokers/seqid";
/// Parent of the topics.
pub const TOPICS: &str = "/brokers/topics";
/// Who is controller (ephemeral).
pub const CONTROLLER: &str = "/controller";
/// Counts controllers; its version fences their writes.
pub const CONTROLLER_EPOCH: &str = "/controller_epoch";
/// The cluster's id.
pub const CLUSTER_ID: &str = "/cluster/id";
/// Finalized features (KIP-584).
pub const FEATURE: &str = "/feature";
/// Parent of the overrides by entity type.
pub const CONFIG: &str = "/config";
/// Notices of changed overrides.
pub const CONFIG_CHANGES: &str = "/config/changes";
/// Topics that are to be deleted.
pub const DELETE_TOPICS: &str = "/admin/delete_topics";
/// Pending reassignment.
pub const REASSIGN_PARTITIONS: &str = "/admin/reassign_partitions";
/// Pending election of preferred leaders.
pub const PREFERRED_REPLICA_ELECTION: &str = "/admin/preferred_replica_election";
/// Notices of changed in-sync replicas.
pub const ISR_CHANGE_NOTIFICATION: &str = "/isr_change_notification";
/// Notices of failed log folders.
pub const LOG_DIR_EVENT_NOTIFICATION: &str = "/log_dir_event_notification";
/// The last block of producer ids handed out.
pub const PRODUCER_ID_BLOCK: &str = "/latest_producer_id_block";
/// Groups that live in ZooKeeper.
pub const CONSUMERS: &str = "/consumers";

/// Entity types that have overrides, in Kafka's order.
pub const CONFIG_TYPES: [&str; 5] = ["topics", "clients", "users", "brokers", "ips"];

/// Persistent nodes that every broker makes sure of when it starts; `/latest_producer_id_block` is
/// one more, which needs data.
pub const ROOTS: [&str; 8] = [
    CONSUMERS,
    BROKER_IDS,
    TOPICS,
    CONFIG_CHANGES,
    DELETE_TOPICS,
    BROKER_SEQUENCE_ID,
    ISR_CHANGE_NOTIFICATION,
    LOG_DIR_EVENT_NOTIFICATION,
];

/// A broker's registration.
#[must_use]
pub fn broker(id: BrokerId) -> String {
    format!("{BROKER_IDS}/{id}")
}

/// A topic's assignment.
#[must_use]
pub fn topic(topic: &TopicName) -> String {
    format!("{TOPICS}/{topic}")
}

/// Parent of a topic's partitions.
#[must_use]
pub fn topic_partitions(topic: &TopicName) -> String {
    format!("{TOPICS}/{topic}/partitions")
}

/// A partition.
#[must_use]
pub fn partition(topic: &TopicName, partition: PartitionIndex) -> String {
    format!("{TOPICS}/{topic}/partitions/{partition}")
}

/// A partition's leader and in-sync replicas.
#[must_use]
pub fn partition_state(topic: &TopicName, partition: PartitionIndex) -> String {
    format!("{TOPICS}/{topic}/partitions/{partition}/state")
}

/// The overrides of an entity.
#[must_use]
pub fn config(entity_type: &str, name: &str) -> String {
    format!("{CONFIG}/{entity_type}/{name}")
}

/// The parent of an entity type's overrides.
#[must_use]
pub fn config_type(entity_type: &str) -> String {
    format!("{CONFIG}/{entity_type}")
}

/// Prefix of the sequential change notices.
#[must_use]
pub fn config_change_prefix() -> String {
    format!("{CONFIG_CHANGES}/config_change_")
}

/// The mark that a topic is to be deleted.
#[must_use]
pub fn delete_topic(topic: &TopicName) -> String {
    format!("{DELETE_TOPICS}/{topic}")
}

/// A group.
#[must_use]
pub fn group(group: &str) -> String {
    format!("{CONSUMERS}/{group}")
}

/// Parent of a group's members.
#[must_use]
pub fn group_ids(group: &str) -> String {
    format!("{CONSUMERS}/{group}/ids")
}

/// A member of a group.
#[must_use]
pub fn group_member(group: &str, member: &str) -> String {
    format!("{CONSUMERS}/{group}/ids/{member}")
}

/// Parent of a group's claims.
#[must_use]
pub fn group_owners(group: &str) -> String {
    format!("{CONSUMERS}/{group}/owners")
}

/// Parent of a group's claims on a topic.
#[must_use]
pub fn group_topic_owners(group: &str, topic: &TopicName) -> String {
    format!("{CONSUMERS}/{group}/owners/{topic}")
}

/// The claim on a partition.
#[must_use]
pub fn group_owner(group: &str, tp: &TopicPartition) -> String {
    format!("{CONSUMERS}/{group}/owners/{}/{}", tp.topic, tp.partition)
}

/// Parent of a group's offsets.
#[must_use]
pub fn group_offsets(group: &str) -> String {
    format!("{CONSUMERS}/{group}/offsets")
}

/// Parent of a group's offsets in a topic.
#[must_use]
pub fn group_topic_offsets(group: &str, topic: &TopicName) -> String {
    format!("{CONSUMERS}/{group}/offsets/{topic}")
}

/// A group's offset in a partition.
#[must_use]
pub fn group_offset(group: &str, tp: &TopicPartition) -> String {
    format!("{CONSUMERS}/{group}/offsets/{}/{}", tp.topic, tp.partition)
}

/// What a path below [`BROKERS`] is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BrokersPath {
    /// A registration.
    Broker(BrokerId),
    /// A topic's assignment.
    Topic(TopicName),
    /// A partition's state.
    State(TopicPartition),
}

/// Reads a path below [`BROKERS`]; `None` for all that carries no data of its own, and for names
/// that no broker would write.
#[must_use]
pub fn parse_brokers_path(path: &str) -> Option<BrokersPath> {
    let mut parts = path.strip_prefix(BROKERS)?.strip_prefix('/')?.split('/');
    let kind = (parts.next()?, parts.next());
    let rest = (parts.next(), parts.next(), parts.next(), parts.next());
    match (kind, rest) {
        (("ids", Some(id)), (None, ..)) => Some(BrokersPath::Broker(parse_broker(id)?)),
        (("topics", Some(topic)), (None, ..)) => {
            Some(BrokersPath::Topic(TopicName::new(topic).ok()?))
        }
        (("topics", Some(topic)), (Some("partitions"), Some(partition), Some("state"), None)) => {
            Some(BrokersPath::State(TopicPartition {
                topic: TopicName::new(topic).ok()?,
                partition: parse_partition(partition)?,
            }))
        }
        _ => None,
    }
}

/// Reads the name of a broker's node.
#[must_use]
pub fn parse_broker(name: &str) -> Option<BrokerId> {
    decimal(name).map(BrokerId)
}

/// Reads the name of a partition's node.
#[must_use]
pub fn parse_partition(name: &str) -> Option<PartitionIndex> {
    decimal(name).map(PartitionIndex)
}

/// Only what a broker writes: no sign, no leading zeros, so that one id has one path.
fn decimal(name: &str) -> Option<i32> {
    let canonical =
        name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    canonical.then(|| name.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_brokers() {
        let t = TopicName::new("a.b").expect("legal");
        let tp = TopicPartition {
            topic: t.clone(),
            partition: PartitionIndex(12),
        };
        for (path, meaning) in [
            ("/brokers/ids/7", Some(BrokersPath::Broker(BrokerId(7)))),
            ("/brokers/topics/a.b", Some(BrokersPath::Topic(t))),
            (
                "/brokers/topics/a.b/partitions/12/state",
                Some(BrokersPath::State(tp)),
            ),
            ("/brokers", None),
            ("/brokers/ids", None),
            ("/brokers/ids/-1", None),
            ("/brokers/ids/+1", None),
            ("/brokers/ids/01", None),
            ("/brokers/ids/99999999999", None),
            ("/brokers/ids/7/x", None),
            ("/brokers/topics/a b", None),
            ("/brokers/topics/a.b/partitions/12", None),
            ("/brokers/topics/a.b/partitions/12/state/x", None),
            ("/brokers/topics/a.b/partitions//state", None),
            ("/brokersx/ids/7", None),
        ] {
            assert_eq!(parse_brokers_path(path), meaning, "{path}");
        }
    }
}
