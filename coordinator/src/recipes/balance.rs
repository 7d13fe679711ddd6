//! Load balancing as the native client does it, for everybody: who sends where, and who reads what.
//!
//! ```text
//!   producers:  (broker 0, partition 1) (0, 3) (1, 0) (2, 2) (0, 1) ...      round robin over the slots
//!   consumers:  t-0 -> a   t-1 -> b   t-2 -> a                               one consumer a partition
//! ```
//!
//! **Guarantee.** All is pure and deterministic: whoever computes from the same lists gets the same, so
//! no leader is needed. Each partition has exactly one consumer (if any wants its topic); consumers
//! that are left over stay idle until someone goes. **On session loss** there is nothing to lose: the
//! lists come from [`Members`](super::membership::Members) or the cluster's own snapshot.
//!
//! ```no_run
//! use nyala_coordinator::recipes::balance::{Partitions, Subscriptions, assign};
//! # fn example(members: &Subscriptions, partitions: &Partitions) {
//!
//! let shares = assign(members, partitions);
//! let mine = shares.iter().filter(|(_, member)| *member == "me").map(|(partition, _)| partition);
//! # }
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{BrokerId, PartitionIndex, TopicName, TopicPartition};

/// What each member of a group asks for.
pub type Subscriptions = BTreeMap<String, BTreeSet<TopicName>>;
/// The partitions of each topic.
pub type Partitions = BTreeMap<TopicName, BTreeSet<PartitionIndex>>;
/// The shares: every partition with the member that owns it.
pub type Shares = BTreeMap<TopicPartition, String>;

/// One step of the round: a partition and the broker that leads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// Leader of the partition.
    pub broker: BrokerId,
    /// The partition.
    pub partition: PartitionIndex,
}

/// Where the round stands for one topic.
#[derive(Debug)]
pub struct RoundRobin {
    start: usize,
    at: Option<Slot>,
    used: bool,
}

impl RoundRobin {
    /// Starts at the `start`-th slot (modulo their number), so that many producers spread out.
    #[must_use]
    pub fn new(start: usize) -> Self {
        Self {
            start,
            at: None,
            used: false,
        }
    }

    /// The slot for the next record out of `slots`, which are sorted and may have changed since.
    ///
    /// `room` says whether the open batch of a partition takes the record.
    pub fn choose(
        &mut self,
        slots: &[Slot],
        room: impl Fn(PartitionIndex) -> bool,
    ) -> Option<PartitionIndex> {
        let slot = match self.at {
            None => *slots.get(self.start.checked_rem(slots.len())?)?,
            Some(at) if self.used && !room(at.partition) => Self::after(slots, at)?,
            Some(at) if slots.binary_search(&at).is_err() => Self::after(slots, at)?,
            Some(at) => at,
        };
        self.at = Some(slot);
        self.used = true;
        Some(slot.partition)
    }

    fn after(slots: &[Slot], at: Slot) -> Option<Slot> {
        let next = slots.partition_point(|s| *s <= at);
        slots.get(next).or_else(|| slots.first()).copied()
    }
}

/// Gives each partition to the member with the smallest share among those that want its topic;
/// ties go to the first by name. Topics that few members want go first: their partitions have
/// the least choice, and what comes later evens the load out.
#[must_use]
pub fn assign(members: &Subscriptions, topics: &Partitions) -> Shares {
    let mut order: Vec<(usize, &TopicName, Vec<usize>)> = Vec::new();
    let names: Vec<&String> = members.keys().collect();
    for topic in topics.keys() {
        let wanting: Vec<usize> = members
            .values()
            .enumerate()
            .filter(|(_, wants)| wants.contains(topic))
            .map(|(i, _)| i)
            .collect();
        order.push((wanting.len(), topic, wanting));
    }
    order.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));

    let mut load = vec![0_usize; names.len()];
    let mut shares = Shares::new();
    for (_, topic, wanting) in order {
        for partition in topics.get(topic).into_iter().flatten() {
            let least = wanting
                .iter()
                .copied()
                .min_by_key(|i| (load.get(*i).copied().unwrap_or(usize::MAX), *i));
            let Some(member) = least else { continue };
            let (Some(load), Some(name)) = (load.get_mut(member), names.get(member)) else {
                continue;
            };
            *load += 1;
            let tp = TopicPartition {
                topic: topic.clone(),
                partition: *partition,
            };
            shares.insert(tp, (*name).clone());
        }
    }
    shares
}

/// Kafka's range assignor: each topic on its own, contiguous shares, the first members get one
/// more. Used as the leader of a group of brokers' kind, next to members of other clients.
#[must_use]
pub fn assign_range(members: &Subscriptions, topics: &Partitions) -> Shares {
    let mut shares = Shares::new();
    for (topic, partitions) in topics {
        let wanting: Vec<&String> = members
            .iter()
            .filter(|(_, wants)| wants.contains(topic))
            .map(|(name, _)| name)
            .collect();
        let (Some(each), Some(extra)) = (
            partitions.len().checked_div(wanting.len()),
            partitions.len().checked_rem(wanting.len()),
        ) else {
            continue;
        };
        let mut left = partitions.iter();
        for (i, name) in wanting.into_iter().enumerate() {
            for partition in left.by_ref().take(each + usize::from(i < extra)) {
                let tp = TopicPartition {
                    topic: topic.clone(),
                    partition: *partition,
                };
                shares.insert(tp, name.clone());
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(list: &[(&str, &str)]) -> Subscriptions {
        list.iter()
            .map(|(name, topics)| {
                let topics = topics.split_whitespace();
                let topics = topics.map(|t| TopicName::new(t).expect("legal")).collect();
                ((*name).to_owned(), topics)
            })
            .collect()
    }

    fn topics(list: &[(&str, i32)]) -> Partitions {
        list.iter()
            .map(|(name, n)| {
                let all = (0..*n).map(PartitionIndex).collect();
                (TopicName::new(name).expect("legal"), all)
            })
            .collect()
    }

    fn text(shares: &Shares) -> String {
        let all: Vec<String> = shares.iter().map(|(tp, m)| format!("{tp}={m}")).collect();
        all.join(" ")
    }

    #[test]
    fn one_owner_a_partition_and_spare_members_idle() {
        let four = topics(&[("t", 4)]);
        let one = assign(&members(&[("a", "t")]), &four);
        assert_eq!(text(&one), "t-0=a t-1=a t-2=a t-3=a");
        let two = assign(&members(&[("a", "t"), ("b", "t")]), &four);
        assert_eq!(text(&two), "t-0=a t-1=b t-2=a t-3=b");
        let six: Vec<(&str, &str)> = ["a", "b", "c", "d", "e", "f"]
            .into_iter()
            .map(|m| (m, "t"))
            .collect();
        let six = assign(&members(&six), &four);
        assert_eq!(text(&six), "t-0=a t-1=b t-2=c t-3=d");
    }

    #[test]
    fn subscriptions_by_topic_are_kept_and_evened_out() {
        let shares = assign(
            &members(&[("a", "x y"), ("b", "x"), ("c", "z")]),
            &topics(&[("x", 2), ("y", 2), ("unwanted", 3)]),
        );
        assert_eq!(text(&shares), "x-0=b x-1=b y-0=a y-1=a");
    }

    #[test]
    fn shares_differ_by_one_at_most_and_cover_everything() {
        for n in 0..40 {
            for m in 1..9 {
                let names: Vec<String> = (0..m).map(|i| format!("m{i}")).collect();
                let list: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "t u")).collect();
                let shares = assign(&members(&list), &topics(&[("t", n), ("u", n / 3)]));
                assert_eq!(i32::try_from(shares.len()).expect("small"), n + n / 3);
                let counts: Vec<usize> = names
                    .iter()
                    .map(|name| shares.values().filter(|owner| *owner == name).count())
                    .collect();
                let (min, max) = (counts.iter().min(), counts.iter().max());
                assert!(max.expect("m > 0") - min.expect("m > 0") <= 1, "{counts:?}");
            }
        }
    }

    #[test]
    fn range_is_kafkas() {
        let shares = assign_range(
            &members(&[("a", "t u"), ("b", "t u"), ("c", "t")]),
            &topics(&[("t", 5), ("u", 3)]),
        );
        assert_eq!(
            text(&shares),
            "t-0=a t-1=a t-2=b t-3=b t-4=c u-0=a u-1=a u-2=b"
        );
        assert!(assign_range(&Subscriptions::new(), &topics(&[("t", 2)])).is_empty());
    }

    fn slots(list: &[(i32, i32)]) -> Vec<Slot> {
        let slot = |&(b, p): &(i32, i32)| Slot {
            broker: BrokerId(b),
            partition: PartitionIndex(p),
        };
        list.iter().map(slot).collect()
    }

    #[test]
    fn a_round_goes_by_broker_then_partition() {
        let list = slots(&[(0, 1), (0, 3), (1, 0), (2, 2)]);
        let mut round = RoundRobin::new(0);
        let full = |_| false;
        let seen: Vec<i32> = (0..6)
            .filter_map(|_| round.choose(&list, full))
            .map(|p| p.0)
            .collect();
        assert_eq!(seen, [1, 3, 0, 2, 1, 3]);
    }

    #[test]
    fn a_batch_with_room_keeps_its_partition() {
        let list = slots(&[(0, 0), (1, 1)]);
        let mut round = RoundRobin::new(1);
        for _ in 0..3 {
            assert_eq!(round.choose(&list, |_| true), Some(PartitionIndex(1)));
        }
        assert_eq!(round.choose(&list, |_| false), Some(PartitionIndex(0)));
    }

    #[test]
    fn a_changed_list_goes_on_after_the_vanished_slot() {
        let mut round = RoundRobin::new(0);
        let before = slots(&[(0, 0), (0, 1), (1, 2)]);
        round.choose(&before, |_| true);
        round.choose(&before, |_| false);
        let after = slots(&[(0, 0), (1, 2), (2, 1)]);
        assert_eq!(round.choose(&after, |_| true), Some(PartitionIndex(2)));
        assert_eq!(round.choose(&[], |_| false), None);
    }
}
