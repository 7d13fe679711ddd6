//! What is refused before anything is written, in Kafka's words.

use std::sync::Arc;

use nyala_coordinator::cluster::{BrokerInfo, TopicInfo};
use nyala_coordinator::ids::BrokerEpoch;

use super::*;
use crate::config::Properties;

fn settings() -> Settings {
    let properties = Properties::parse(b"zookeeper.connect=localhost:1\n").expect("one line");
    Settings::load(&properties)
        .expect("all defaults are legal")
        .0
}

fn snapshot(brokers: &[i32], topics: &[&str]) -> ClusterSnapshot {
    let broker = |id: &i32| {
        let info = BrokerInfo {
            id: BrokerId(*id),
            epoch: BrokerEpoch(1),
            endpoints: Vec::new(),
            rack: None,
        };
        (BrokerId(*id), info)
    };
    let topic = |name: &&str| {
        let name = TopicName::new(name).expect("legal");
        (name, Arc::new(TopicInfo::default()))
    };
    ClusterSnapshot {
        brokers: brokers.iter().map(broker).collect(),
        topics: topics.iter().map(topic).collect(),
        ..ClusterSnapshot::default()
    }
}

fn new(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor,
        ..NewTopic::default()
    }
}

fn by_hand(assignment: &[(i32, &[i32])]) -> NewTopic {
    NewTopic {
        assignment: assignment.iter().map(|(p, r)| (*p, r.to_vec())).collect(),
        ..new("t", -1, -1)
    }
}

fn refusal(topic: &NewTopic, brokers: &[i32], topics: &[&str]) -> String {
    match check_new(topic, &snapshot(brokers, topics), &settings()) {
        Ok(_) => "-".to_owned(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn topics_that_cannot_be() {
    for (topic, expected) in [
        (new("t", 3, 1), "-"),
        (new("t", -1, -1), "-"),
        (
            new("", 1, 1),
            "Topic name is invalid: the empty string is not allowed",
        ),
        (
            new("..", 1, 1),
            "Topic name is invalid: '..' is not allowed",
        ),
        (new("old", 1, 1), "Topic 'old' already exists."),
        (
            new("a_b", 1, 1),
            "Topic 'a_b' collides with existing topics: a.b",
        ),
        (
            new("t", 0, 1),
            "Number of partitions must be larger than 0.",
        ),
        (
            new("t", i32::MIN, 1),
            "Number of partitions must be larger than 0.",
        ),
        (
            new("t", i32::MAX, 1),
            "Number of partitions is 2147483647, at most 10000 are allowed for one topic.",
        ),
        (new("t", 1, 0), "Replication factor must be larger than 0."),
        (
            new("t", 1, 3),
            "Replication factor: 3 larger than available brokers: 2.",
        ),
        (new("t", 1, 2), "-"),
        (by_hand(&[(0, &[1]), (1, &[2])]), "-"),
        (by_hand(&[(0, &[1, 2]), (1, &[2, 1])]), "-"),
        (
            by_hand(&[(1, &[1])]),
            "partitions should be a consecutive 0-based integer sequence",
        ),
        (
            by_hand(&[(0, &[1]), (1, &[1, 2])]),
            "All partitions should have the same number of replicas",
        ),
        (
            by_hand(&[(0, &[])]),
            "All partitions should have the same number of replicas",
        ),
        (
            by_hand(&[(0, &[9])]),
            "Unknown broker(s) in replica assignment: 9.",
        ),
        (
            by_hand(&[(0, &[1, 1])]),
            "Duplicate replica assignment found: [1, 1]",
        ),
        (
            NewTopic {
                partitions: 2,
                ..by_hand(&[(0, &[1])])
            },
            "Both numPartitions or replicationFactor and replicasAssignments were set. \
             Both cannot be used at the same time.",
        ),
    ] {
        assert_eq!(
            refusal(&topic, &[1, 2], &["old", "a.b"]),
            expected,
            "{topic:?}"
        );
    }
    let no_broker = refusal(&new("t", 1, 1), &[], &[]);
    assert_eq!(
        no_broker,
        "Replication factor: 1 larger than available brokers: 0."
    );
    let mut wrong = new("t", 1, 1);
    wrong
        .configs
        .insert("retention.ms".to_owned(), "soon".to_owned());
    assert!(refusal(&wrong, &[1], &[]).contains("retention.ms"));
}

#[test]
fn partitions_that_cannot_be_added() {
    let stored = TopicAssignment {
        replicas: [
            (PartitionIndex(0), vec![BrokerId(2)]),
            (PartitionIndex(1), vec![BrokerId(1)]),
        ]
        .into(),
        ..TopicAssignment::default()
    };
    let more = |count, assignments: Option<&[&[i32]]>| {
        let wanted = NewPartitions {
            topic: "t".to_owned(),
            count,
            assignments: assignments.map(|a| a.iter().map(|r| r.to_vec()).collect()),
        };
        match check_more(&wanted, &stored, &snapshot(&[1, 2], &[])) {
            Ok(added) => format!("{added:?}"),
            Err(e) => e.to_string(),
        }
    };
    assert_eq!(
        more(4, None),
        "{PartitionIndex(2): [BrokerId(2)], PartitionIndex(3): [BrokerId(1)]}"
    );
    assert_eq!(more(3, Some(&[&[1]])), "{PartitionIndex(2): [BrokerId(1)]}");
    assert_eq!(more(2, None), "Topic already has 2 partitions.");
    assert_eq!(
        more(1, None),
        "Topic currently has 2 partitions, which is higher than the requested 1."
    );
    assert_eq!(
        more(4, Some(&[&[1]])),
        "Increasing the number of partitions by 2 but 1 assignments provided."
    );
    assert_eq!(
        more(3, Some(&[&[7]])),
        "Unknown broker(s) in replica assignment: 7."
    );
    assert_eq!(
        more(4, Some(&[&[1], &[2, 1]])),
        "Inconsistent replication factor between partitions, partition 0 has 1 while \
         partitions [3] have replication factors [2], respectively."
    );
}

#[test]
fn none_are_added_while_partitions_move() {
    let stored = TopicAssignment {
        replicas: [(PartitionIndex(0), vec![BrokerId(2), BrokerId(1)])].into(),
        adding_replicas: [(PartitionIndex(0), vec![BrokerId(2)])].into(),
        ..TopicAssignment::default()
    };
    let wanted = NewPartitions {
        topic: "t".to_owned(),
        count: 2,
        assignments: None,
    };
    let refused = check_more(&wanted, &stored, &snapshot(&[1, 2], &[]));
    assert!(matches!(refused, Err(TopicError::Moving(_))), "{refused:?}");
}

#[test]
fn the_offsets_topic_is_kafkas() {
    let topic = offsets_topic(&settings());
    assert_eq!((topic.partitions, topic.replication_factor), (50, 3));
    assert_eq!(topic.configs.len(), 3);
    assert_eq!(topic.configs["segment.bytes"], "104857600");
    assert_eq!(topic.configs["cleanup.policy"], "compact");
    assert_ne!(refusal(&topic, &[1], &[]), "-", "one broker is too few");
}
