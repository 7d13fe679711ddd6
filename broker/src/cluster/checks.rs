//! What a request about topics must be: Kafka's checks, in its words, and where partitions go.
//!
//! Pure but for the random starts of a placement. Nothing is written by then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{BrokerId, PartitionIndex, TopicId, TopicName, TopicNameError};
use nyala_coordinator::registry::TopicAssignment;

use super::TopicError;
use super::assign::{Assignment, Candidate, CannotAssign, Starts, Wanted, assign};
use super::new_topic::{CreatedTopic, NewPartitions, NewTopic};
use crate::config::{CompressionType, Settings, TopicConfig, Values};

/// Most partitions of one topic: its node and its states must fit ZooKeeper's packets with room.
const PARTITIONS_MAX: i32 = 10_000;

/// The group coordinator's topic.
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// A topic that passed all checks.
pub(super) struct Checked {
    pub(super) name: TopicName,
    pub(super) assignment: TopicAssignment,
    pub(super) configs: Values,
    pub(super) answer: CreatedTopic,
}

/// `__consumer_offsets` as Kafka makes it.
pub(super) fn offsets_topic(settings: &Settings) -> NewTopic {
    let producer = CompressionType::Producer.as_str().to_owned();
    let bytes = settings.offsets_topic_segment_bytes.to_string();
    NewTopic {
        name: OFFSETS_TOPIC.to_owned(),
        partitions: settings.offsets_topic_num_partitions,
        replication_factor: settings.offsets_topic_replication_factor,
        assignment: BTreeMap::new(),
        configs: Values::from([
            ("compression.type".to_owned(), producer),
            ("cleanup.policy".to_owned(), "compact".to_owned()),
            ("segment.bytes".to_owned(), bytes),
        ]),
    }
}

pub(super) fn check_new(
    topic: &NewTopic,
    snapshot: &ClusterSnapshot,
    settings: &Settings,
) -> Result<Checked, TopicError> {
    let name = TopicName::new(&topic.name).map_err(|e| invalid_name(&topic.name, &e))?;
    if snapshot.topics.contains_key(&name) {
        return Err(TopicError::Exists(name));
    }
    let by_hand = !topic.assignment.is_empty();
    if by_hand && (topic.partitions != -1 || topic.replication_factor != -1) {
        return Err(TopicError::InvalidRequest(
            "Both numPartitions or replicationFactor and replicasAssignments were set. \
             Both cannot be used at the same time."
                .to_owned(),
        ));
    }
    let replicas = if by_hand {
        check_assignment(&topic.assignment, snapshot)?
    } else {
        place(topic, snapshot, settings)?
    };
    check_collision(&name, snapshot)?;
    let config =
        TopicConfig::resolve(settings, &topic.configs).map_err(TopicError::InvalidConfig)?;
    let factor = replicas.values().next().map_or(0, Vec::len);
    let answer = CreatedTopic {
        id: TopicId::random(),
        partitions: i32::try_from(replicas.len()).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(factor).unwrap_or(i16::MAX),
        config: Arc::new(config),
    };
    Ok(Checked {
        name,
        assignment: TopicAssignment {
            id: Some(answer.id),
            replicas,
            ..TopicAssignment::default()
        },
        configs: topic.configs.clone(),
        answer,
    })
}

/// Kafka's `Topic.validate`.
pub(crate) fn invalid_name(name: &str, e: &TopicNameError) -> TopicError {
    let reason = match e {
        TopicNameError::Empty => "the empty string is not allowed".to_owned(),
        TopicNameError::Dots => format!("'{name}' is not allowed"),
        TopicNameError::TooLong(_) => format!(
            "the length of '{name}' is longer than the max allowed length {}",
            nyala_coordinator::ids::TOPIC_NAME_BYTES_MAX
        ),
        TopicNameError::Character(_) => format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ),
    };
    TopicError::InvalidName(format!("Topic name is invalid: {reason}"))
}

/// Metric names turn '.' into '_', so two topics must not differ in that alone.
fn check_collision(name: &TopicName, snapshot: &ClusterSnapshot) -> Result<(), TopicError> {
    let plain = |t: &TopicName| t.as_str().replace('.', "_");
    let collides = |other: &&TopicName| *other != name && plain(other) == plain(name);
    let others: Vec<&str> = snapshot
        .topics
        .keys()
        .filter(collides)
        .map(TopicName::as_str)
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    let others = others.join(", ");
    Err(TopicError::InvalidName(format!(
        "Topic '{name}' collides with existing topics: {others}"
    )))
}

fn check_count(count: i32) -> Result<(), TopicError> {
    if count <= 0 {
        let text = "Number of partitions must be larger than 0.".to_owned();
        return Err(TopicError::InvalidPartitions(text));
    }
    if count > PARTITIONS_MAX {
        return Err(TopicError::InvalidPartitions(format!(
            "Number of partitions is {count}, at most {PARTITIONS_MAX} are allowed for one topic."
        )));
    }
    Ok(())
}

fn place(
    topic: &NewTopic,
    snapshot: &ClusterSnapshot,
    settings: &Settings,
) -> Result<Assignment, TopicError> {
    let count = match topic.partitions {
        -1 => settings.num_partitions,
        n => n,
    };
    let factor = match topic.replication_factor {
        -1 => settings.default_replication_factor,
        n => i32::from(n),
    };
    check_count(count)?;
    let factor = match usize::try_from(factor) {
        Ok(factor) if factor > 0 => factor,
        _ => {
            let text = "Replication factor must be larger than 0.".to_owned();
            return Err(TopicError::InvalidReplicationFactor(text));
        }
    };
    let starts = Starts {
        broker: rand::random_range(0..1 << 16),
        shift: rand::random_range(0..1 << 16),
    };
    let wanted = Wanted {
        partitions: count,
        replication_factor: factor,
        first_partition: 0,
    };
    place_on(snapshot, wanted, starts)
}

fn place_on(
    snapshot: &ClusterSnapshot,
    wanted: Wanted,
    starts: Starts,
) -> Result<Assignment, TopicError> {
    let brokers: Vec<Candidate> = snapshot
        .brokers
        .values()
        .map(|b| Candidate {
            id: b.id,
            rack: b.rack.clone(),
        })
        .collect();
    assign(&brokers, wanted, starts).map_err(|e| match e {
        CannotAssign::TooFewBrokers => TopicError::InvalidReplicationFactor(format!(
            "Replication factor: {} larger than available brokers: {}.",
            wanted.replication_factor,
            brokers.len()
        )),
        CannotAssign::SomeRacks => TopicError::InvalidReplicationFactor(
            "Not all brokers have rack information for replica rack aware assignment.".to_owned(),
        ),
    })
}

/// An assignment by hand: partitions from 0 without gaps, equal factors, known and distinct brokers.
fn check_assignment(
    given: &BTreeMap<i32, Vec<i32>>,
    snapshot: &ClusterSnapshot,
) -> Result<Assignment, TopicError> {
    let bad = |text: String| Err(TopicError::InvalidAssignment(text));
    if !given.keys().copied().eq((0..).take(given.len())) {
        return bad("partitions should be a consecutive 0-based integer sequence".to_owned());
    }
    check_count(i32::try_from(given.len()).unwrap_or(i32::MAX))?;
    let factor = given.values().next().map_or(0, Vec::len);
    if given.values().any(|r| r.len() != factor || r.is_empty()) {
        return bad("All partitions should have the same number of replicas".to_owned());
    }
    let mut assignment = Assignment::new();
    for (partition, replicas) in given {
        let replicas = check_replicas(replicas, snapshot)?;
        assignment.insert(PartitionIndex(*partition), replicas);
    }
    Ok(assignment)
}

fn check_replicas(
    replicas: &[i32],
    snapshot: &ClusterSnapshot,
) -> Result<Vec<BrokerId>, TopicError> {
    let distinct: BTreeSet<_> = replicas.iter().collect();
    if distinct.len() != replicas.len() {
        return Err(TopicError::InvalidAssignment(format!(
            "Duplicate replica assignment found: {replicas:?}"
        )));
    }
    let ids: Vec<BrokerId> = replicas.iter().copied().map(BrokerId).collect();
    if let Some(unknown) = ids.iter().find(|b| !snapshot.brokers.contains_key(b)) {
        return Err(TopicError::InvalidAssignment(format!(
            "Unknown broker(s) in replica assignment: {unknown}."
        )));
    }
    Ok(ids)
}

/// The partitions to add, placed.
pub(super) fn check_more(
    wanted: &NewPartitions,
    stored: &TopicAssignment,
    snapshot: &ClusterSnapshot,
) -> Result<Assignment, TopicError> {
    if !stored.adding_replicas.is_empty() || !stored.removing_replicas.is_empty() {
        return Err(TopicError::Moving(wanted.topic.clone()));
    }
    let old = i32::try_from(stored.replicas.len()).unwrap_or(i32::MAX);
    let count = wanted.count;
    if count < old {
        return Err(TopicError::InvalidPartitions(format!(
            "Topic currently has {old} partitions, which is higher than the requested {count}."
        )));
    }
    if count == old {
        let text = format!("Topic already has {old} partitions.");
        return Err(TopicError::InvalidPartitions(text));
    }
    check_count(count)?;
    let first = stored
        .replicas
        .get(&PartitionIndex(0))
        .map_or(&[][..], Vec::as_slice);
    if let Some(by_hand) = &wanted.assignments {
        let more = check_more_by_hand(by_hand, old, count, snapshot)?;
        check_factors(&more, first.len())?;
        return Ok(more);
    }
    let leader = first.first().copied().unwrap_or(BrokerId(0));
    let start = snapshot
        .brokers
        .keys()
        .position(|b| *b >= leader)
        .unwrap_or(0);
    let more = Wanted {
        partitions: count - old,
        replication_factor: first.len(),
        first_partition: old,
    };
    let starts = Starts {
        broker: start,
        shift: start,
    };
    place_on(snapshot, more, starts)
}

fn check_more_by_hand(
    given: &[Vec<i32>],
    old: i32,
    count: i32,
    snapshot: &ClusterSnapshot,
) -> Result<Assignment, TopicError> {
    let increment = count - old;
    if i32::try_from(given.len()) != Ok(increment) {
        return Err(TopicError::InvalidAssignment(format!(
            "Increasing the number of partitions by {increment} but {} assignments provided.",
            given.len()
        )));
    }
    let mut assignment = Assignment::new();
    for (partition, replicas) in (old..count).zip(given) {
        let replicas = check_replicas(replicas, snapshot)?;
        assignment.insert(PartitionIndex(partition), replicas);
    }
    Ok(assignment)
}

/// Partitions of a topic have equally many replicas.
fn check_factors(more: &Assignment, factor: usize) -> Result<(), TopicError> {
    let other = more.iter().filter(|(_, replicas)| replicas.len() != factor);
    let (partitions, factors): (Vec<String>, Vec<String>) = other
        .map(|(partition, replicas)| (partition.to_string(), replicas.len().to_string()))
        .unzip();
    if partitions.is_empty() {
        return Ok(());
    }
    Err(TopicError::InvalidAssignment(format!(
        "Inconsistent replication factor between partitions, partition 0 has {factor} while \
         partitions [{}] have replication factors [{}], respectively.",
        partitions.join(", "),
        factors.join(", ")
    )))
}

#[cfg(test)]
mod tests;
