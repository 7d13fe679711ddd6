//! A consumer without a group: all partitions of its topics, also those that come later.
//!
//! Where a partition begins is asked of its leader, which may be away for a while: meanwhile the
//! other partitions are read, and the application may close.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use nyala_coordinator::ids::TopicPartition;

use super::{Command, Parts, positions};
use crate::cluster::Topology;
use crate::config::OffsetReset;
use crate::error::ConsumerError;
use nyala_coordinator::recipes::balance::Partitions;

/// Pause before a partition whose begin is not known is asked for again.
const RETRY: Duration = Duration::from_millis(500);

/// A partition whose begin is asked for. The number tells it from itself, should it go and come back.
#[derive(Clone, Debug)]
struct Wanted {
    target: TopicPartition,
    number: u64,
    reset: OffsetReset,
}

type Begin = (Wanted, Result<i64, ConsumerError>);

/// The partitions, from wanted to read.
struct Reading {
    parts: Parts,
    known: BTreeMap<TopicPartition, u64>,
    next_number: u64,
    begins: FuturesUnordered<BoxFuture<'static, Begin>>,
}

/// The driver's task.
pub(super) async fn run(parts: Parts) {
    let mut snapshots = parts.cluster.subscribe();
    let mut reading = Reading {
        parts,
        known: BTreeMap::new(),
        next_number: 0,
        begins: FuturesUnordered::new(),
    };
    let mut first = true;
    loop {
        let topology = snapshots.borrow_and_update().clone();
        // A partition that came while we read is read from its first record on.
        let reset = match first {
            true => reading.parts.config.offset_reset,
            false => OffsetReset::Earliest,
        };
        reading.follow(&topology, reset);
        first &= reading.known.is_empty();
        tokio::select! {
            Ok(()) = snapshots.changed() => {}
            Some((wanted, begin)) = reading.begins.next() => reading.begun(wanted, begin),
            command = reading.parts.requests.recv() => match command {
                Some(Command::Commit(reply)) => {
                    let _ = reply.send(Err(ConsumerError::NoGroup));
                }
                Some(Command::Close(reply)) => {
                    reading.parts.delivery.remove_all();
                    let _ = reply.send(Ok(()));
                    return;
                }
                None => return,
            },
        }
    }
}

impl Reading {
    fn follow(&mut self, topology: &Topology, reset: OffsetReset) {
        let wanted = partitions(topology, &self.parts.config.topics);
        self.known.retain(|target, _| {
            let stays = wanted.contains(target);
            if !stays {
                self.parts.delivery.remove(target);
            }
            stays
        });
        for target in wanted {
            if self.known.contains_key(&target) {
                continue;
            }
            let number = self.next_number;
            self.next_number += 1;
            self.known.insert(target.clone(), number);
            let wanted = Wanted {
                target,
                number,
                reset,
            };
            self.begin(wanted, Duration::ZERO);
        }
    }

    fn begin(&self, wanted: Wanted, pause: Duration) {
        let cluster = self.parts.cluster.clone();
        self.begins.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            let begin = positions::reset(&cluster, &wanted.target, wanted.reset).await;
            (wanted, begin)
        }));
    }

    fn begun(&self, wanted: Wanted, begin: Result<i64, ConsumerError>) {
        if self.known.get(&wanted.target) != Some(&wanted.number) {
            return;
        }
        match begin {
            Ok(offset) => self.parts.delivery.assign(wanted.target, offset, None),
            Err(error) => {
                self.parts.delivery.report(error);
                self.begin(wanted, RETRY);
            }
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
