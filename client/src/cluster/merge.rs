//! A newer answer of some broker, laid over what is known already. Pure.
//!
//! Brokers learn of changes one after the other, so an answer may be older than the one before it
//! (KIP-320 for clients): a partition never goes back to an earlier leader epoch, and a topic is gone
//! only when brokers have said so for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nyala_coordinator::ids::TopicName;

use super::topology::{TopicTopology, Topology};
use crate::wire::ErrorCode;

/// A topic that brokers knew and know no more is kept for so long.
const GONE_AFTER: Duration = Duration::from_secs(5);

/// Topics that are known here and that brokers disown, since when.
#[derive(Debug, Default)]
pub(super) struct Missing(BTreeMap<TopicName, Instant>);

impl Missing {
    /// Whether something waits to be believed: then it is worth asking again soon.
    pub(super) fn is_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// What to believe: `answer`, with what `before` knows better.
    pub(super) fn merge(&mut self, before: &Topology, answer: Topology, now: Instant) -> Topology {
        let mut merged = answer;
        for (name, topic) in &mut merged.topics {
            if let Some(known) = before.topics.get(name) {
                *topic = newer(known, topic);
            }
        }
        let topics = &merged.topics;
        self.0.retain(|name, _| !topics.contains_key(name));
        for (name, known) in &before.topics {
            let code = merged.refusals.get(name).copied();
            let disowned = matches!(
                code,
                Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::LeaderNotAvailable)
            );
            if !disowned {
                continue;
            }
            let since = *self.0.entry(name.clone()).or_insert(now);
            if now.saturating_duration_since(since) < GONE_AFTER {
                merged.refusals.remove(name);
                merged.topics.insert(name.clone(), Arc::clone(known));
            } else {
                self.0.remove(name);
            }
        }
        merged
    }
}

/// The answer's topic, but for partitions of which a later epoch is known. A topic that was made
/// again under its name starts anew.
fn newer(known: &Arc<TopicTopology>, answer: &Arc<TopicTopology>) -> Arc<TopicTopology> {
    if known == answer {
        return Arc::clone(known);
    }
    let same = known.id.is_some() && known.id == answer.id;
    let stale = |(index, p): &(&_, &super::PartitionTopology)| {
        let now = answer.partitions.get(*index);
        now.is_none_or(|now| now.leader_epoch < p.leader_epoch)
    };
    let kept: Vec<_> = known.partitions.iter().filter(stale).collect();
    if !same || kept.is_empty() {
        return Arc::clone(answer);
    }
    let mut partitions = answer.partitions.clone();
    for (index, partition) in kept {
        partitions.insert(*index, partition.clone());
    }
    Arc::new(TopicTopology::new(answer.id, partitions))
}

#[cfg(test)]
mod tests {
    use nyala_coordinator::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};

    use super::super::PartitionTopology;
    use super::*;

    fn name() -> TopicName {
        TopicName::new("t").expect("legal")
    }

    /// One topic: leader and epoch of each partition.
    fn topology(id: TopicId, partitions: &[(i32, i32)]) -> Topology {
        let each = partitions.iter().map(|(leader, epoch)| PartitionTopology {
            leader: Some(BrokerId(*leader)),
            leader_epoch: Some(LeaderEpoch(*epoch)),
            ..PartitionTopology::default()
        });
        let partitions = (0..).map(PartitionIndex).zip(each).collect();
        let mut topology = Topology::default();
        let topic = TopicTopology::new(Some(id), partitions);
        topology.topics.insert(name(), Arc::new(topic));
        topology
    }

    fn leaders(topology: &Topology) -> Vec<i32> {
        let topic = &topology.topics[&name()];
        let slots = topic.partitions.values();
        slots.filter_map(|p| Some(p.leader?.0)).collect()
    }

    #[test]
    fn a_broker_that_lags_takes_nothing_back() {
        let (id, now) = (TopicId::random(), nyala_coordinator::clock::now());
        let before = topology(id, &[(1, 5), (2, 3)]);
        let mut missing = Missing::default();
        let merged = missing.merge(&before, topology(id, &[(0, 4), (3, 4)]), now);
        assert_eq!(
            leaders(&merged),
            [1, 3],
            "the first is newer here, the second there"
        );
        let merged = missing.merge(&before, topology(id, &[(0, 6)]), now);
        assert_eq!(leaders(&merged), [0, 2], "partitions do not vanish");
        let again = missing.merge(&before, topology(TopicId::random(), &[(0, 0)]), now);
        assert_eq!(leaders(&again), [0], "another topic of that name");
    }

    #[test]
    fn a_topic_is_gone_when_brokers_say_so_for_a_while() {
        let now = nyala_coordinator::clock::now();
        let before = topology(TopicId::random(), &[(1, 5)]);
        let mut without = Topology::default();
        without
            .refusals
            .insert(name(), ErrorCode::UnknownTopicOrPartition);
        let mut missing = Missing::default();
        let merged = missing.merge(&before, without.clone(), now);
        assert!(merged.topics.contains_key(&name()) && missing.is_any());
        let merged = missing.merge(&merged, merged.clone(), now);
        assert!(!missing.is_any(), "it was there again");
        let merged = missing.merge(&merged, without.clone(), now);
        let merged = missing.merge(&merged, without, now + GONE_AFTER);
        assert!(merged.topics.is_empty() && merged.refusals.contains_key(&name()));
        assert!(!missing.is_any());
    }
}
