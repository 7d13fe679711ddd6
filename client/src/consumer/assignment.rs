//! Which member of a group reads which partition. Pure and deterministic.
//!
//! Every member computes the same shares from the same sorted lists, so no leader is needed.
//! Each partition has exactly one member (if any member wants its topic); members that are
//! left over stay idle until someone goes.

use std::collections::{BTreeMap, BTreeSet};

use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};

/// What each member of a group asks for.
pub(crate) type Subscriptions = BTreeMap<String, BTreeSet<TopicName>>;
/// The partitions of each topic.
pub(crate) type Partitions = BTreeMap<TopicName, BTreeSet<PartitionIndex>>;
/// The shares: every partition with the member that owns it.
pub(crate) type Shares = BTreeMap<TopicPartition, String>;

/// Gives each partition to the member with the smallest share among those that want its topic;
/// ties go to the first by name. Topics that few members want go first: their partitions have
/// the least choice, and what comes later evens the load out.
pub(crate) fn assign(members: &Subscriptions, topics: &Partitions) -> Shares {
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
pub(crate) fn assign_range(members: &Subscriptions, topics: &Partitions) -> Shares {
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
}
