//! Follows the cluster: which partitions of `__consumer_offsets` this broker leads, how many there
//! are in all, and which topics are gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{LeaderEpoch, TopicId, TopicName, TopicPartition};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Groups;
use crate::groups::OFFSETS_TOPIC;

/// What this broker leads, and in which epoch.
type Leading = Arc<BTreeMap<TopicPartition, LeaderEpoch>>;

type Topics = BTreeMap<TopicName, Option<TopicId>>;

impl Groups {
    /// Runs until `stop`, or until nobody tells about the cluster any more.
    pub(crate) async fn follow(
        self: Arc<Self>,
        mut leading: watch::Receiver<Leading>,
        mut cluster: watch::Receiver<Arc<ClusterSnapshot>>,
        stop: CancellationToken,
    ) {
        let mut topics = Topics::new();
        loop {
            // The number of partitions first: it says which group is in which of them.
            let snapshot = Arc::clone(&cluster.borrow_and_update());
            self.follow_topics(&snapshot, &mut topics);
            let led = Arc::clone(&leading.borrow_and_update());
            self.follow_leading(&led);
            tokio::select! {
                () = stop.cancelled() => return,
                changed = leading.changed() => if changed.is_err() { return },
                changed = cluster.changed() => if changed.is_err() { return },
            }
        }
    }

    fn follow_topics(&self, snapshot: &ClusterSnapshot, before: &mut Topics) {
        if let Some(offsets) = snapshot.topics.get(OFFSETS_TOPIC) {
            let count = i32::try_from(offsets.partitions.len()).unwrap_or(i32::MAX);
            self.set_partition_count(count);
        }
        let now = snapshot.topics.iter();
        let now: Topics = now.map(|(name, info)| (name.clone(), info.id)).collect();
        for (name, id) in before.iter() {
            // A topic that was made again under its name is another one.
            let gone = match now.get(name) {
                None => true,
                Some(other) => id.is_some() && other.is_some() && id != other,
            };
            if gone {
                self.forget_topic(name);
            }
        }
        *before = now;
    }

    fn follow_leading(&self, led: &BTreeMap<TopicPartition, LeaderEpoch>) {
        let offsets = led
            .iter()
            .filter(|(tp, _)| tp.topic.as_str() == OFFSETS_TOPIC);
        let offsets: BTreeMap<i32, i32> = offsets.map(|(tp, e)| (tp.partition.0, e.0)).collect();
        let before: Vec<i32> = self.shards.read().keys().copied().collect();
        for partition in before {
            if !offsets.contains_key(&partition) {
                self.on_resign(partition);
            }
        }
        for (partition, epoch) in offsets {
            self.on_lead(partition, epoch);
        }
    }
}
