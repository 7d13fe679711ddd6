//! Topics that come into being because somebody asked for them (`auto.create.topics.enable`).
//!
//! Kafka answers at once and lets the client ask again. Here a leader is a few milliseconds away,
//! so the answer waits for it a little, and the client need not come back.

use std::collections::HashMap;
use std::time::Duration;

use nyala_client::wire::ErrorCode;
use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{TopicName, TopicPartition};
use tokio::time::{Instant, timeout_at};

use super::Context;
use crate::cluster::{Cluster, Leading, TopicError};

/// Topics that one request may create in passing; whoever wants more says so with CreateTopics.
const TOPICS_MAX: usize = 100;
/// How long an answer waits for leaders; without one it says LEADER_NOT_AVAILABLE.
const LEADER_WAIT: Duration = Duration::from_secs(1);

/// How long an answer waits for ZooKeeper. Answers leave a connection in order, so a longer wait
/// would hold up the fetches behind it.
const CREATE_WAIT: Duration = Duration::from_secs(2);

/// Creates topics; says which ones were not, and why.
pub(super) async fn create(cx: &Context, missing: &[TopicName]) -> HashMap<TopicName, ErrorCode> {
    let cluster = &cx.services.cluster;
    let (wanted, beyond) = missing.split_at(missing.len().min(TOPICS_MAX));
    let over = |name: &TopicName| (name.clone(), ErrorCode::PolicyViolation);
    let mut refused: HashMap<_, _> = beyond.iter().map(over).collect();
    let mut made = Vec::new();
    let connected = cluster.registry().session().state().is_connected();
    let deadline = Instant::now()
        + if connected {
            CREATE_WAIT
        } else {
            Duration::ZERO
        };
    for name in wanted {
        match timeout_at(deadline, cluster.auto_create(name.as_str())).await {
            // Somebody else was faster.
            Ok(Ok(_) | Err(TopicError::Exists(_))) => made.push(name),
            // It may come into being yet, or when the old one has gone; the client asks again.
            Ok(Err(TopicError::BeingDeleted(_))) | Err(_) => {
                refused.insert(name.clone(), ErrorCode::LeaderNotAvailable);
            }
            Ok(Err(error)) => drop(refused.insert(name.clone(), ErrorCode::from(&error))),
        }
    }
    if !made.is_empty() {
        // Out of time is no error: what is there by then is answered.
        let _ = tokio::time::timeout(LEADER_WAIT, until_led(cluster, &made)).await;
    }
    refused
}

/// Waits until every partition has a leader, and those of this broker are open for use.
async fn until_led(cluster: &Cluster, topics: &[&TopicName]) {
    let mut snapshots = cluster.subscribe();
    let mut leading = cluster.leading();
    loop {
        let done = {
            let (snapshot, here) = (snapshots.borrow_and_update(), leading.borrow_and_update());
            topics
                .iter()
                .all(|topic| is_led(cluster, topic, &snapshot, &here))
        };
        if done {
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
}

fn is_led(
    cluster: &Cluster,
    topic: &TopicName,
    snapshot: &ClusterSnapshot,
    here: &Leading,
) -> bool {
    let Some(info) = snapshot.topics.get(topic) else {
        return false;
    };
    info.partitions.iter().all(|(index, partition)| {
        let leader = partition.state.as_ref().and_then(|state| state.leader);
        let partition = TopicPartition {
            topic: topic.clone(),
            partition: *index,
        };
        match leader {
            Some(leader) if leader == cluster.this_broker() => here.contains_key(&partition),
            other => other.is_some(),
        }
    })
}
