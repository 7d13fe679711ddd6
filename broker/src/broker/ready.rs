//! Ready means: what the cluster says this broker leads is led, so that the first request finds it; and there
//! is a controller. librdkafka asks once who that is, and without one waits until its own time is over.

use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{BrokerId, TopicPartition};

use crate::cluster::{Cluster, Leading};

/// A partition that cannot be opened, or a controller that does not come, must not keep the rest from being served.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// Waits, for a limited time, until there is a controller and this broker leads all that it is named leader of.
pub(super) async fn is_ready(cluster: &Arc<Cluster>) {
    let mut snapshots = cluster.subscribe();
    let mut leading = cluster.leading();
    let this = cluster.this_broker();
    let is_ready = |leading: &Leading| {
        let snapshot = cluster.snapshot();
        snapshot.controller.is_some() && is_led(this, &snapshot, leading)
    };
    let ready = async {
        loop {
            snapshots.mark_unchanged();
            if is_ready(&leading.borrow_and_update()) {
                return;
            }
            let alive = tokio::select! {
                changed = snapshots.changed() => changed.is_ok(),
                changed = leading.changed() => changed.is_ok(),
            };
            if !alive {
                return;
            }
        }
    };
    if tokio::time::timeout(WAIT_MAX, ready).await.is_err() {
        match cluster.snapshot().controller {
            Some(_) => tracing::warn!("some partitions are not led yet; the others are served"),
            None => tracing::warn!(
                "there is no controller yet; topics are served, and not made or deleted"
            ),
        }
    }
}

fn is_led(this: BrokerId, snapshot: &ClusterSnapshot, leading: &Leading) -> bool {
    snapshot.topics.iter().all(|(topic, info)| {
        info.partitions.iter().all(|(index, partition)| {
            let leader = partition.state.as_ref().and_then(|state| state.leader);
            // With other replicas about, it leads when the controller has said so.
            partition.replicas != [this]
                || leader != Some(this)
                || leading.contains_key(&TopicPartition {
                    topic: topic.clone(),
                    partition: *index,
                })
        })
    })
}
