//! Topics as clients ask for them: create, delete, more partitions. Kafka's checks, in its words.
//!
//! Everything that can be refused is refused before anything is written. A call answers when the
//! change is seen here (and led here, where this broker leads), or when its time is out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nyala_coordinator::cluster::{ClusterSnapshot, TopicInfo};
use nyala_coordinator::ids::{BrokerId, PartitionIndex, TopicId, TopicName, TopicNameError};
use nyala_coordinator::registry::{CreateTopicError, TopicAssignment};

use super::assign::{Assignment, Candidate, CannotAssign, Starts, Wanted, assign};
use super::{Cluster, Leading, TopicError};
use crate::config::{CompressionType, Settings, TopicConfig, Values};

/// Most partitions of one topic: its node and its states must fit ZooKeeper's packets with room.
const PARTITIONS_MAX: i32 = 10_000;

/// The group coordinator's topic.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// A topic to be made.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    /// Its name, unchecked.
    pub name: String,
    /// Number of partitions; -1: `num.partitions`.
    pub partitions: i32,
    /// Replicas of each; -1: `default.replication.factor`.
    pub replication_factor: i16,
    /// Replicas by hand, instead of the two numbers; empty: none.
    pub assignment: BTreeMap<i32, Vec<i32>>,
    /// Overrides.
    pub configs: Values,
}

/// A topic that was made, or would be.
#[derive(Clone, Debug)]
pub struct CreatedTopic {
    /// Its id; zero when it was only validated.
    pub id: TopicId,
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas of each.
    pub replication_factor: i16,
    /// Its configuration.
    pub config: std::sync::Arc<TopicConfig>,
}

/// A topic by name or by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicRef {
    /// By name, unchecked.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// More partitions for a topic.
#[derive(Clone, Debug, Default)]
pub struct NewPartitions {
    /// Name of the topic, unchecked.
    pub topic: String,
    /// How many it shall have in all.
    pub count: i32,
    /// Replicas of the new ones by hand, in order; `None`: placed automatically.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// A topic that passed all checks.
struct Checked {
    name: TopicName,
    assignment: TopicAssignment,
    configs: Values,
    answer: CreatedTopic,
}

impl Cluster {
    /// Makes topics; one answer each, in order.
    pub async fn create_topics(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
        timeout: Duration,
    ) -> Vec<Result<CreatedTopic, TopicError>> {
        let mut answers = Vec::with_capacity(topics.len());
        let mut made = Vec::new();
        for topic in &topics {
            let twice = topics.iter().filter(|t| t.name == topic.name).count() > 1;
            let answer = if twice {
                let text = "Found multiple entries for this topic.".to_owned();
                Err(TopicError::InvalidRequest(text))
            } else {
                self.create_one(topic, validate_only).await
            };
            if let (Ok(created), false) = (&answer, validate_only) {
                made.push((answers.len(), topic.name.clone(), created.id));
            }
            answers.push(answer);
        }
        let ready = |snapshot: &ClusterSnapshot, leading: &Leading| {
            let is_led = |(_, name, id): &(usize, String, TopicId)| {
                let info = snapshot.topics.get(name.as_str());
                info.is_some_and(|i| i.id == Some(*id) && self.is_led(name, i, leading))
            };
            made.iter().all(is_led)
        };
        if !made.is_empty() && !self.wait_until(timeout, ready).await {
            let snapshot = self.snapshot();
            let leading = self.leading();
            for (index, name, _) in &made {
                let info = snapshot.topics.get(name.as_str());
                let late = info.is_none_or(|i| !self.is_led(name, i, &leading.borrow()));
                if let (true, Some(answer)) = (late, answers.get_mut(*index)) {
                    *answer = Err(TopicError::TimedOut(timeout));
                }
            }
        }
        answers
    }

    /// Makes a topic that a client asked for without creating it (`auto.create.topics.enable`), or
    /// one of the broker's own, with the settings that belong to it. Does not wait for leaders.
    pub async fn auto_create(&self, topic: &str) -> Result<CreatedTopic, TopicError> {
        let settings = self.live().get();
        let new = if topic == OFFSETS_TOPIC {
            offsets_topic(&settings)
        } else {
            NewTopic {
                name: topic.to_owned(),
                partitions: -1,
                replication_factor: -1,
                ..NewTopic::default()
            }
        };
        self.create_one(&new, false).await
    }

    async fn create_one(
        &self,
        topic: &NewTopic,
        validate_only: bool,
    ) -> Result<CreatedTopic, TopicError> {
        let settings = self.live().get();
        let mut checked = check_new(topic, &self.snapshot(), &settings)?;
        let (marked, _) = self.registry.topics_to_delete().await?;
        if marked.contains(&checked.name) {
            return Err(TopicError::BeingDeleted(checked.name));
        }
        if validate_only {
            checked.answer.id = TopicId::ZERO;
            return Ok(checked.answer);
        }
        let Checked {
            name,
            assignment,
            configs,
            answer,
        } = checked;
        match self
            .registry
            .create_topic(&name, &assignment, &configs)
            .await
        {
            Ok(()) => Ok(answer),
            Err(CreateTopicError::Exists(name)) => Err(TopicError::Exists(name)),
            Err(CreateTopicError::Registry(e)) => Err(e.into()),
        }
    }

    /// Whether every partition has a leader, and those that this broker leads are led already.
    fn is_led(&self, name: &str, info: &TopicInfo, leading: &Leading) -> bool {
        info.partitions.iter().all(|(index, p)| {
            let leader = p.state.as_ref().and_then(|s| s.leader);
            let led = leading
                .iter()
                .any(|(tp, _)| tp.partition == *index && tp.topic.as_str() == name);
            leader.is_some() && (leader != Some(self.this) || led)
        })
    }

    /// Deletes topics; one answer each, in order: the name of the topic.
    pub async fn delete_topics(
        &self,
        topics: Vec<TopicRef>,
        timeout: Duration,
    ) -> Vec<Result<TopicName, TopicError>> {
        let mut answers = Vec::with_capacity(topics.len());
        for topic in topics {
            answers.push(self.delete_one(topic).await);
        }
        let gone = |snapshot: &ClusterSnapshot, leading: &Leading| {
            answers
                .iter()
                .flatten()
                .all(|(name, id)| is_gone(name, *id, snapshot, leading))
        };
        let all_gone = self.wait_until(timeout, gone).await;
        let snapshot = self.snapshot();
        let leading = self.leading();
        answers
            .into_iter()
            .map(|answer| match answer {
                Ok((name, id)) => {
                    if all_gone || is_gone(&name, id, &snapshot, &leading.borrow()) {
                        Ok(name)
                    } else {
                        Err(TopicError::TimedOut(timeout))
                    }
                }
                Err(e) => Err(e),
            })
            .collect()
    }

    async fn delete_one(
        &self,
        topic: TopicRef,
    ) -> Result<(TopicName, Option<TopicId>), TopicError> {
        if !self.live().get().delete_topic_enable {
            return Err(TopicError::DeletionDisabled);
        }
        let name = match topic {
            TopicRef::Id(id) => self.topic_name(id).ok_or(TopicError::UnknownId(id))?,
            TopicRef::Name(text) => {
                TopicName::new(&text).map_err(|_| TopicError::Unknown(text.clone()))?
            }
        };
        let Some(stored) = self.registry.topic(&name).await? else {
            return Err(TopicError::Unknown(name.to_string()));
        };
        // Marked already: wait with the others for it to go.
        self.registry.mark_for_deletion(&name).await?;
        Ok((name, stored.assignment.id))
    }

    /// Adds partitions; one answer each, in order.
    pub async fn create_partitions(
        &self,
        topics: Vec<NewPartitions>,
        validate_only: bool,
        timeout: Duration,
    ) -> Vec<Result<(), TopicError>> {
        let mut answers = Vec::with_capacity(topics.len());
        for topic in &topics {
            answers.push(self.add_partitions(topic, validate_only).await);
        }
        let wanted: Vec<(&str, usize)> = topics
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| answer.is_ok() && !validate_only)
            .map(|(t, _)| (t.topic.as_str(), usize::try_from(t.count).unwrap_or(0)))
            .collect();
        let ready = |snapshot: &ClusterSnapshot, leading: &Leading| {
            wanted.iter().all(|(name, count)| {
                let info = snapshot.topics.get(*name);
                info.is_some_and(|i| i.partitions.len() >= *count && self.is_led(name, i, leading))
            })
        };
        if !wanted.is_empty() && !self.wait_until(timeout, ready).await {
            for answer in answers.iter_mut().filter(|a| a.is_ok()) {
                *answer = Err(TopicError::TimedOut(timeout));
            }
        }
        answers
    }

    async fn add_partitions(
        &self,
        wanted: &NewPartitions,
        validate_only: bool,
    ) -> Result<(), TopicError> {
        let unknown = || TopicError::Unknown(wanted.topic.clone());
        let name = TopicName::new(&wanted.topic).map_err(|_| unknown())?;
        let (marked, _) = self.registry.topics_to_delete().await?;
        if marked.contains(&name) {
            return Err(TopicError::BeingDeleted(name));
        }
        let Some(mut stored) = self.registry.topic(&name).await? else {
            return Err(unknown());
        };
        let more = check_more(wanted, &stored.assignment, &self.snapshot())?;
        if validate_only {
            return Ok(());
        }
        stored.assignment.replicas.extend(more);
        self.registry
            .set_topic(&name, &stored.assignment, stored.version)
            .await?;
        Ok(())
    }
}

/// Gone for clients: neither in the cluster nor led here, or there under a new id.
fn is_gone(
    name: &TopicName,
    id: Option<TopicId>,
    snapshot: &ClusterSnapshot,
    leading: &Leading,
) -> bool {
    match snapshot.topics.get(name) {
        Some(now) => now.id != id,
        None => !leading.keys().any(|tp| tp.topic == *name),
    }
}

/// `__consumer_offsets` as Kafka makes it.
fn offsets_topic(settings: &Settings) -> NewTopic {
    let producer = CompressionType::Producer.as_str().to_owned();
    let bytes = settings.offsets_topic_segment_bytes.to_string();
    NewTopic {
        name: OFFSETS_TOPIC.to_owned(),
        partitions: settings.offsets_topic_num_partitions,
        // One replica until there is replication, whatever the setting says.
        replication_factor: 1,
        assignment: BTreeMap::new(),
        configs: Values::from([
            ("compression.type".to_owned(), producer),
            ("cleanup.policy".to_owned(), "compact".to_owned()),
            ("segment.bytes".to_owned(), bytes),
        ]),
    }
}

fn check_new(
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
        config: std::sync::Arc::new(config),
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
fn invalid_name(name: &str, e: &TopicNameError) -> TopicError {
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

/// Only one replica until there is replication between brokers.
fn check_factor(factor: usize) -> Result<(), TopicError> {
    if factor == 1 {
        return Ok(());
    }
    Err(TopicError::InvalidReplicationFactor(format!(
        "Replication factor: {factor}. This version of Nyala keeps one replica of each partition: \
         only replication factor 1 is supported."
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
    let placed = place_on(snapshot, wanted, starts)?;
    check_factor(factor)?;
    Ok(placed)
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
    check_factor(factor)?;
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
fn check_more(
    wanted: &NewPartitions,
    stored: &TopicAssignment,
    snapshot: &ClusterSnapshot,
) -> Result<Assignment, TopicError> {
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
        return check_more_by_hand(by_hand, old, count, snapshot);
    }
    check_factor(first.len())?;
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
        check_factor(replicas.len())?;
        let replicas = check_replicas(replicas, snapshot)?;
        assignment.insert(PartitionIndex(partition), replicas);
    }
    Ok(assignment)
}

#[cfg(test)]
mod tests;
