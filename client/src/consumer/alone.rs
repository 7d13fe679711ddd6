//! A consumer without a group: all partitions of its topics, also those that come later.

use std::collections::BTreeSet;
use std::time::Duration;

use nyala_coordinator::ids::TopicPartition;

use super::{Command, Parts, positions};
use crate::cluster::Topology;
use crate::config::OffsetReset;
use crate::error::ConsumerError;
use nyala_coordinator::recipes::balance::Partitions;

/// Pause before a partition whose begin is not known is asked for again.
const RETRY: Duration = Duration::from_millis(500);

/// The driver's task.
pub(super) async fn run(mut parts: Parts) {
    let mut known: BTreeSet<TopicPartition> = BTreeSet::new();
    let mut snapshots = parts.cluster.subscribe();
    let mut first = true;
    loop {
        let topology = snapshots.borrow_and_update().clone();
        let wanted = partitions(&topology, &parts.config.topics);
        let new: Vec<TopicPartition> = wanted.difference(&known).cloned().collect();
        let mut missing = false;
        for target in new {
            // A partition that came while we read is read from its first record on.
            let reset = if first {
                parts.config.offset_reset
            } else {
                OffsetReset::Earliest
            };
            match positions::reset(&parts.cluster, &target, reset).await {
                Ok(offset) => {
                    parts.delivery.assign(target.clone(), offset, None);
                    known.insert(target);
                }
                Err(error) => {
                    parts.delivery.report(error);
                    missing = true;
                }
            }
        }
        for gone in known.difference(&wanted).cloned().collect::<Vec<_>>() {
            parts.delivery.remove(&gone);
            known.remove(&gone);
        }
        first &= known.is_empty();
        tokio::select! {
            Ok(()) = snapshots.changed() => {}
            command = parts.requests.recv() => match command {
                Some(Command::Commit(reply)) => {
                    let _ = reply.send(Err(ConsumerError::NoGroup));
                }
                Some(Command::Close(reply)) => {
                    parts.delivery.remove_all();
                    let _ = reply.send(Ok(()));
                    return;
                }
                None => return,
            },
            () = tokio::time::sleep(RETRY), if missing => {}
        }
    }
}

fn partitions(
    topology: &Topology,
    topics: &BTreeSet<nyala_coordinator::ids::TopicName>,
) -> BTreeSet<TopicPartition> {
    let all = of_topics(topology, topics.iter());
    let pairs = all.into_iter().flat_map(|(topic, partitions)| {
        partitions.into_iter().map(move |partition| TopicPartition {
            topic: topic.clone(),
            partition,
        })
    });
    pairs.collect()
}

/// The partitions of `topics`, as far as they exist.
pub(super) fn of_topics<'a>(
    topology: &Topology,
    topics: impl Iterator<Item = &'a nyala_coordinator::ids::TopicName>,
) -> Partitions {
    let known = topics.filter_map(|name| Some((name.clone(), topology.topics.get(name)?)));
    known
        .map(|(name, topic)| (name, topic.partitions.keys().copied().collect()))
        .collect()
}
