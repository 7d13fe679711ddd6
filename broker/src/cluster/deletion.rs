//! Deletion of topics, as the controller keeps account of it: which replicas have confirmed that their
//! data is gone.
//!
//! Pure. A topic's nodes go when every replica has confirmed; one whose broker is away is waited for.
//! A new controller starts over: to delete what is deleted is confirmed at once.

use std::collections::{BTreeMap, BTreeSet};

use nyala_coordinator::cluster::{ClusterSnapshot, TopicInfo};
use nyala_coordinator::ids::{BrokerId, PartitionIndex, TopicId, TopicName, TopicPartition};

/// Confirmations by topic.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    topics: BTreeMap<TopicName, Confirmed>,
}

#[derive(Debug, Default)]
struct Confirmed {
    id: Option<TopicId>,
    replicas: BTreeSet<(PartitionIndex, BrokerId)>,
}

impl Deletions {
    /// Topics that are marked and there; all others are forgotten, as is what was confirmed of a
    /// topic that had the name before.
    pub(super) fn keep(&mut self, marked: &[TopicName], snapshot: &ClusterSnapshot) {
        self.topics.retain(|topic, _| marked.contains(topic));
        for topic in marked {
            match snapshot.topics.get(topic) {
                None => drop(self.topics.remove(topic)),
                Some(info) => {
                    let known = self.topics.entry(topic.clone()).or_default();
                    if known.id != info.id {
                        *known = Confirmed {
                            id: info.id,
                            ..Confirmed::default()
                        };
                    }
                }
            }
        }
    }

    /// Topics on their way out, with their ids.
    pub(super) fn under_way(&self) -> BTreeMap<TopicName, Option<TopicId>> {
        let ids = self.topics.iter();
        ids.map(|(topic, c)| (topic.clone(), c.id)).collect()
    }

    /// `broker` has no data of the partition any more.
    pub(super) fn confirm(&mut self, broker: BrokerId, tp: &TopicPartition, id: Option<TopicId>) {
        if let Some(known) = self.topics.get_mut(&tp.topic)
            && known.id == id
        {
            known.replicas.insert((tp.partition, broker));
        }
    }

    /// Topics of which no replica has data any more, with their ids.
    pub(super) fn finished(&self, snapshot: &ClusterSnapshot) -> Vec<(TopicName, Option<TopicId>)> {
        let gone = |topic: &TopicName, confirmed: &Confirmed| {
            let info = snapshot.topics.get(topic);
            info.is_some_and(|info| info.id == confirmed.id && all_gone(info, &confirmed.replicas))
        };
        let topics = self.topics.iter().filter(|(topic, c)| gone(topic, c));
        topics.map(|(topic, c)| (topic.clone(), c.id)).collect()
    }
}

fn all_gone(info: &TopicInfo, confirmed: &BTreeSet<(PartitionIndex, BrokerId)>) -> bool {
    info.partitions.iter().all(|(index, partition)| {
        let replicas = partition.replicas.iter();
        replicas
            .copied()
            .all(|broker| confirmed.contains(&(*index, broker)))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nyala_coordinator::cluster::PartitionInfo;

    use super::*;

    #[test]
    fn a_topic_is_gone_when_every_replica_says_so() {
        let topic = TopicName::new("t").expect("legal");
        let id = Some(TopicId([1; 16]));
        let mut snapshot = ClusterSnapshot::default();
        let two = PartitionInfo {
            replicas: vec![BrokerId(1), BrokerId(2)],
            ..PartitionInfo::default()
        };
        let mut info = TopicInfo {
            id,
            partitions: BTreeMap::from([(PartitionIndex(0), two)]),
        };
        snapshot
            .topics
            .insert(topic.clone(), Arc::new(info.clone()));
        let tp = TopicPartition {
            topic: topic.clone(),
            partition: PartitionIndex(0),
        };
        let mut deletions = Deletions::default();
        deletions.confirm(BrokerId(1), &tp, id);
        deletions.keep(std::slice::from_ref(&topic), &snapshot);
        assert_eq!(deletions.under_way(), BTreeMap::from([(topic.clone(), id)]));
        deletions.confirm(BrokerId(2), &tp, id);
        assert!(
            deletions.finished(&snapshot).is_empty(),
            "not marked when 1 confirmed"
        );
        deletions.confirm(BrokerId(1), &tp, Some(TopicId([2; 16])));
        assert!(
            deletions.finished(&snapshot).is_empty(),
            "another topic's data"
        );
        deletions.confirm(BrokerId(1), &tp, id);
        assert_eq!(deletions.finished(&snapshot), [(topic.clone(), id)]);
        // Made anew under the name: nothing is confirmed of the new one.
        info.id = Some(TopicId([3; 16]));
        snapshot.topics.insert(topic.clone(), Arc::new(info));
        deletions.keep(std::slice::from_ref(&topic), &snapshot);
        assert!(deletions.finished(&snapshot).is_empty());
        deletions.keep(&[], &snapshot);
        assert!(deletions.under_way().is_empty());
    }
}
