//! Tells the groups which partitions of `__consumer_offsets` this broker leads.
//!
//! Level-triggered: compares what is led now with what was told before.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::groups::{Groups, OFFSETS_TOPIC};

/// Runs until `stop`.
pub(super) async fn run(cluster: Arc<Cluster>, groups: Arc<Groups>, stop: CancellationToken) {
    let mut leading = cluster.leading();
    let mut snapshots = cluster.subscribe();
    let mut told: BTreeMap<i32, i32> = BTreeMap::new();
    loop {
        let led: BTreeMap<i32, i32> = leading
            .borrow_and_update()
            .iter()
            .filter(|(partition, _)| partition.topic.as_str() == OFFSETS_TOPIC)
            .map(|(partition, epoch)| (partition.partition.0, epoch.0))
            .collect();
        let count = {
            let snapshot = snapshots.borrow_and_update();
            let topic = snapshot.topics.get(OFFSETS_TOPIC);
            topic.and_then(|topic| i32::try_from(topic.partitions.len()).ok())
        };
        if let Some(count) = count {
            groups.set_partition_count(count);
        }
        if led != told {
            for partition in told.keys().filter(|p| !led.contains_key(p)) {
                groups.on_resign(*partition);
            }
            for (partition, epoch) in &led {
                if told.get(partition) != Some(epoch) {
                    groups.on_lead(*partition, *epoch);
                }
            }
            told = led;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = leading.changed() => if changed.is_err() { return },
            changed = snapshots.changed() => if changed.is_err() { return },
        }
    }
}
