//! Topics as clients ask for them: create, delete, more partitions.
//!
//! Everything that can be refused is refused before anything is written. A call answers when the
//! change is seen here (and led here, where this broker leads), or when its time is out.

use std::collections::HashMap;
use std::time::Duration;

use nyala_coordinator::cluster::{ClusterSnapshot, TopicInfo};
use nyala_coordinator::ids::{TopicId, TopicName, TopicPartition};
use nyala_coordinator::registry::CreateTopicError;

use super::checks::{Checked, OFFSETS_TOPIC, check_more, check_new, offsets_topic};
use super::new_topic::{CreatedTopic, NewPartitions, NewTopic, TopicRef};
use super::{Cluster, Leading, TopicError};

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
        let mut times: HashMap<&str, usize> = HashMap::new();
        for topic in &topics {
            *times.entry(&topic.name).or_default() += 1;
        }
        for topic in &topics {
            let answer = if times.get(topic.name.as_str()) > Some(&1) {
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
        let Ok(topic) = TopicName::new(name) else {
            return false;
        };
        info.partitions.iter().all(|(index, p)| {
            let leader = p.state.as_ref().and_then(|s| s.leader);
            let here = TopicPartition {
                topic: topic.clone(),
                partition: *index,
            };
            leader.is_some() && (leader != Some(self.this) || leading.contains_key(&here))
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
                .all(|(name, id)| self.is_gone(name, *id, snapshot, leading))
        };
        let all_gone = self.wait_until(timeout, gone).await;
        let snapshot = self.view.snapshot();
        let leading = self.leading();
        answers
            .into_iter()
            .map(|answer| match answer {
                Ok((name, id)) => {
                    if all_gone || self.is_gone(&name, id, &snapshot, &leading.borrow()) {
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

    /// Gone for clients: not led here, and not in the cluster; or there under a new id; or for as long as a broker is
    /// down only, and shown to nobody. With all brokers there it is waited for, so that it can be made anew at once.
    fn is_gone(
        &self,
        name: &TopicName,
        id: Option<TopicId>,
        snapshot: &ClusterSnapshot,
        leading: &Leading,
    ) -> bool {
        let led = || leading.keys().any(|tp| tp.topic == *name);
        match snapshot.topics.get(name) {
            Some(now) if now.id == id => {
                self.visible.is_marked(name, id) && waits_for_a_broker(now, snapshot) && !led()
            }
            Some(_) => true,
            None => !led(),
        }
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
        let more = check_more(wanted, &stored.assignment, &self.view.snapshot())?;
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

/// Whether a replica's broker is down: the topic goes when it is back, however long that takes.
fn waits_for_a_broker(info: &TopicInfo, snapshot: &ClusterSnapshot) -> bool {
    let mut partitions = info.partitions.values();
    partitions.any(|p| !p.replicas.iter().all(|b| snapshot.brokers.contains_key(b)))
}
