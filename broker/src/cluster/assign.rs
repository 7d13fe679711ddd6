//! Where the replicas of new partitions go: Kafka's `AdminUtils.assignReplicasToBrokers`.
//!
//! Pure: brokers, counts and two random starts in, an assignment out. First replicas go round the
//! brokers from a start; the others follow at a shift that grows with every round, so that the
//! replicas of one broker's partitions are spread over all others. With racks, the brokers are
//! first put in an order that alternates racks, and a rack is used twice only when all have been.

use std::collections::{BTreeMap, BTreeSet};

use nyala_coordinator::ids::{BrokerId, PartitionIndex};

/// A broker that replicas may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: BrokerId,
    pub(super) rack: Option<String>,
}

/// How many replicas of which partitions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) partitions: i32,
    pub(super) replication_factor: usize,
    /// First partition: not 0 when partitions are added.
    pub(super) first_partition: i32,
}

/// Where to begin: random, except when partitions are added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Starts {
    pub(super) broker: usize,
    pub(super) shift: usize,
}

/// Why nothing can be assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CannotAssign {
    /// Fewer brokers than replicas.
    TooFewBrokers,
    /// Some brokers name a rack and some do not.
    SomeRacks,
}

pub(super) type Assignment = BTreeMap<PartitionIndex, Vec<BrokerId>>;

/// Assigns `wanted` to `brokers`.
pub(super) fn assign(
    brokers: &[Candidate],
    wanted: Wanted,
    starts: Starts,
) -> Result<Assignment, CannotAssign> {
    if wanted.replication_factor == 0 || wanted.replication_factor > brokers.len() {
        return Err(CannotAssign::TooFewBrokers);
    }
    let racks: BTreeMap<BrokerId, &str> = brokers
        .iter()
        .filter_map(|b| Some((b.id, b.rack.as_deref()?)))
        .collect();
    if racks.is_empty() {
        let mut ids: Vec<BrokerId> = brokers.iter().map(|b| b.id).collect();
        ids.sort_unstable();
        Ok(without_racks(&ids, wanted, starts))
    } else if racks.len() == brokers.len() {
        Ok(with_racks(&racks, wanted, starts))
    } else {
        Err(CannotAssign::SomeRacks)
    }
}

/// The k-th broker behind the first one, never the first one itself.
fn behind(first: usize, shift: usize, k: usize, count: usize) -> usize {
    if count < 2 {
        return first;
    }
    (first + 1 + (shift + k) % (count - 1)) % count
}

fn at(ids: &[BrokerId], index: usize) -> BrokerId {
    ids.get(index % ids.len().max(1))
        .copied()
        .unwrap_or(BrokerId(-1))
}

fn rounds(
    wanted: Wanted,
    starts: Starts,
    count: usize,
) -> impl Iterator<Item = (i32, usize, usize)> {
    let mut shift = starts.shift;
    let first = wanted.first_partition.max(0);
    (0..wanted.partitions.max(0)).map(move |i| {
        let partition = first.saturating_add(i);
        let number = usize::try_from(partition).unwrap_or(0);
        if number > 0 && number.is_multiple_of(count) {
            shift += 1;
        }
        (partition, number + starts.broker, shift)
    })
}

fn without_racks(ids: &[BrokerId], wanted: Wanted, starts: Starts) -> Assignment {
    rounds(wanted, starts, ids.len())
        .map(|(partition, start, shift)| {
            let first = start % ids.len();
            let others = (0..wanted.replication_factor - 1)
                .map(|k| at(ids, behind(first, shift, k, ids.len())));
            let replicas = std::iter::once(at(ids, first)).chain(others).collect();
            (PartitionIndex(partition), replicas)
        })
        .collect()
}

/// Brokers so that neighbours are on different racks: 0, 3, 1, 5, 4, 2 for racks {0,1,2}, {3,4,5} ...
fn alternating(racks: &BTreeMap<BrokerId, &str>) -> Vec<BrokerId> {
    let mut by_rack: BTreeMap<&str, std::collections::VecDeque<BrokerId>> = BTreeMap::new();
    for (id, rack) in racks {
        by_rack.entry(rack).or_default().push_back(*id);
    }
    let mut order = Vec::with_capacity(racks.len());
    while order.len() < racks.len() {
        for queue in by_rack.values_mut() {
            order.extend(queue.pop_front());
        }
    }
    order
}

fn with_racks(racks: &BTreeMap<BrokerId, &str>, wanted: Wanted, starts: Starts) -> Assignment {
    let ids = alternating(racks);
    let count = ids.len();
    let rack_count = racks.values().collect::<BTreeSet<_>>().len();
    rounds(wanted, starts, count)
        .map(|(partition, start, shift)| {
            let first = start % count;
            let mut replicas = vec![at(&ids, first)];
            let mut used: BTreeSet<&str> = BTreeSet::new();
            used.extend(racks.get(&at(&ids, first)).copied());
            let mut k = 0;
            while replicas.len() < wanted.replication_factor {
                // Kafka multiplies by the number of racks, so that a shift keeps the alternation.
                let index = behind(first, shift * rack_count, k, count);
                k += 1;
                let broker = at(&ids, index);
                let rack = racks.get(&broker).copied().unwrap_or_default();
                let fresh_rack = !used.contains(rack) || used.len() == rack_count;
                let all_brokers = replicas.len() >= count;
                if fresh_rack && (!replicas.contains(&broker) || all_brokers) {
                    replicas.push(broker);
                    used.insert(rack);
                }
            }
            (PartitionIndex(partition), replicas)
        })
        .collect()
}

#[cfg(test)]
mod tests;
