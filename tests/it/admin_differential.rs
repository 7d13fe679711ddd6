//! The same administrative requests against a real Kafka 3.9.1 and ours: same codes, same words,
//! same settings with the same sources. What differs on purpose is named here, with its reason.

mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use bytes::Bytes;
use harness::cluster::Dev;
use harness::folder::in_memory;
use harness::kafka::KafkaBroker;
use harness::raw::{Answer, Raw};
use harness::zookeeper::RealZooKeeper;
use nyala_client::wire::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use nyala_client::wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use nyala_client::wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use nyala_client::wire::messages::describe_cluster::DescribeClusterRequest;
use nyala_client::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use nyala_client::wire::{Request, frame};
use nyala_coordinator::ids::TopicId;

/// One side of the comparison: what was said so far, a line an answer.
struct Talk {
    raw: Raw,
    /// Number of the broker, which differs.
    broker: i32,
    /// By what was asked, with a number where that was asked before.
    said: BTreeMap<String, String>,
}

impl Talk {
    fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let bytes = frame::encode_request(version, 7, Some("differs"), request).expect("legal");
        self.raw.send(&bytes).expect("an open connection");
        match self.raw.answer(std::time::Duration::from_secs(30)) {
            Answer::Frame(answer) => {
                let answer = frame::decode_response(&Bytes::from(answer), version);
                answer.expect("a legal answer").1
            }
            other => panic!("{} {version}: {other:?}", R::KEY.name()),
        }
    }

    fn say(&mut self, what: &str, seen: impl Debug) {
        self.said(what, format!("{seen:?}"));
    }

    fn said(&mut self, what: &str, seen: String) {
        let key = |n| format!("{what} #{n}");
        let fresh = (1..).map(key).find(|key| !self.said.contains_key(key));
        self.said.insert(fresh.expect("numbers do not end"), seen);
    }

    /// Words about the broker without the difference.
    fn words(&self, text: Option<&str>) -> Option<String> {
        let own = format!("expected {}", self.broker);
        text.map(|text| text.replace(&own, "expected 0"))
    }

    /// A broker id without the difference: 0 for the broker itself.
    fn id(&self, id: i32) -> i32 {
        if id == self.broker { 0 } else { id }
    }
}

fn run(address: &str, broker: i32) -> BTreeMap<String, String> {
    let mut talk = Talk {
        raw: Raw::connect(address),
        broker,
        said: BTreeMap::new(),
    };
    create(&mut talk);
    partitions(&mut talk);
    metadata(&mut talk);
    settings::configs(&mut talk);
    settings::alter_whole(&mut talk);
    settings::alter_by_key(&mut talk);
    describe_cluster(&mut talk);
    delete(&mut talk);
    talk.said
}

#[test]
fn answers_to_administration_are_kafkas() {
    let folder = in_memory();
    let zookeeper = RealZooKeeper::start(folder.path());
    let theirs = KafkaBroker::start(folder.path(), 1, &zookeeper.address, &[]);
    let ours = Dev::start();
    let ours = run(&ours.bootstrap(), 0);
    let theirs = run(&theirs.address, 1);
    let mut differences = String::new();
    let asked: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for what in asked {
        let (ours, theirs) = (ours.get(what), theirs.get(what));
        if ours != theirs {
            differences += &format!("{what}\n  ours:  {ours:?}\n  Kafka: {theirs:?}\n");
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.to_owned(),
        num_partitions,
        replication_factor,
        ..CreatableTopic::default()
    }
}

fn create(talk: &mut Talk) {
    let long = "x".repeat(250);
    let assigned = |name: &str, brokers: &[&[i32]]| CreatableTopic {
        assignments: (0..)
            .zip(brokers)
            .map(|(partition_index, brokers)| CreatableReplicaAssignment {
                partition_index,
                broker_ids: brokers.to_vec(),
            })
            .collect(),
        ..topic(name, -1, -1)
    };
    let with = |name: &str, key: &str, value: Option<&str>| CreatableTopic {
        configs: vec![CreatableTopicConfig {
            name: key.to_owned(),
            value: value.map(str::to_owned),
        }],
        ..topic(name, 1, 1)
    };
    let own = talk.broker;
    let topics = [
        topic("good", 3, 1),
        topic("good", 3, 1),
        topic("", 1, 1),
        topic(".", 1, 1),
        topic("a/b", 1, 1),
        topic(&long, 1, 1),
        topic("none", 0, 1),
        topic("less", -3, 1),
        topic("copies", 1, 0),
        topic("more", 1, 5),
        assigned("by-hand", &[&[own], &[own]]),
        assigned("twice", &[&[own, own]]),
        assigned("uneven", &[&[own], &[]]),
        CreatableTopic {
            num_partitions: 1,
            ..assigned("both", &[&[own]])
        },
        with("bad-value", "retention.ms", Some("soon")),
        with("bad-bound", "segment.bytes", Some("1")),
        with("bad-word", "cleanup.policy", Some("burn")),
        with("bad-key", "no.such.key", Some("1")),
        with("null", "retention.ms", None),
        with("set", "retention.ms", Some("5000")),
        topic("g.o", 1, 1),
        topic("g_o", 1, 1),
    ];
    for (version, validate_only) in [(7, true), (2, true), (7, false)] {
        for topic in &topics {
            let request = CreateTopicsRequest {
                topics: vec![topic.clone()],
                timeout_ms: 20_000,
                validate_only,
            };
            let answer = talk.ask(version, &request);
            let result = &answer.topics[0];
            let seen = (
                result.error_code,
                // What Kafka found it shows as Scala does.
                result
                    .error_message
                    .as_deref()
                    .map(|text| text.split("found:").next()),
                result.num_partitions,
                result.replication_factor,
                result.topic_id == TopicId::ZERO,
            );
            talk.say(
                &format!("create {version} {validate_only} {:?}", topic.name),
                seen,
            );
        }
    }
    let request = CreateTopicsRequest {
        topics: vec![topic("d", 1, 1), topic("e", 1, 1), topic("d", 1, 1)],
        timeout_ms: 20_000,
        validate_only: false,
    };
    let mut answer = talk.ask(5, &request);
    answer.topics.sort_by(|a, b| a.name.cmp(&b.name));
    let seen: Vec<_> = answer
        .topics
        .iter()
        .map(|t| (t.name.clone(), t.error_code, t.error_message.clone()))
        .collect();
    talk.say("create twice", seen);
}

/// Brokers of each new partition.
type ByHand = Option<Vec<Vec<i32>>>;

fn partitions(talk: &mut Talk) {
    let own = talk.broker;
    let cases: [(&str, i32, ByHand); 8] = [
        ("good", 5, None),
        ("good", 5, None),
        ("good", 2, None),
        ("good", -1, None),
        ("absent", 5, None),
        ("good", 6, Some(vec![vec![own], vec![own]])),
        ("good", 6, Some(vec![vec![77]])),
        ("good", 6, Some(vec![vec![own]])),
    ];
    for (name, count, by_hand) in cases {
        let assignments = by_hand.map(|list| {
            list.into_iter()
                .map(|broker_ids| CreatePartitionsAssignment { broker_ids })
                .collect()
        });
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: name.to_owned(),
                count,
                assignments,
            }],
            timeout_ms: 20_000,
            validate_only: false,
        };
        let answer = talk.ask(3, &request);
        let result = &answer.results[0];
        let seen = (result.error_code, result.error_message.clone());
        talk.say(&format!("partitions {name} {count}"), seen);
    }
}

fn metadata(talk: &mut Talk) {
    for version in 0..=12 {
        let names = ["good", "absent", "", ".", "a b", "g.o"];
        let topics = names.map(|name| MetadataRequestTopic {
            name: Some(name.to_owned()),
            ..MetadataRequestTopic::default()
        });
        // Before version 4 asking creates; that is another test.
        let topics = if version < 4 {
            topics[..1].to_vec()
        } else {
            topics.to_vec()
        };
        let request = MetadataRequest {
            topics: Some(topics),
            allow_auto_topic_creation: false,
            include_topic_authorized_operations: true,
            ..MetadataRequest::default()
        };
        show_metadata(talk, version, &request);
    }
    let ids = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            topic_id: TopicId([5; 16]),
            name: None,
        }]),
        ..MetadataRequest::default()
    };
    show_metadata(talk, 12, &ids);
    let none = MetadataRequest {
        topics: Some(Vec::new()),
        ..MetadataRequest::default()
    };
    show_metadata(talk, 1, &none);
    for version in [0, 1, 12] {
        let topics = if version == 0 { Some(Vec::new()) } else { None };
        let all = MetadataRequest {
            topics,
            ..MetadataRequest::default()
        };
        show_metadata(talk, version, &all);
    }
}

fn show_metadata(talk: &mut Talk, version: i16, request: &MetadataRequest) {
    let mut answer = talk.ask(version, request);
    answer.topics.sort_by(|a, b| a.name.cmp(&b.name));
    let controller = talk.id(answer.controller_id);
    let mut seen = format!("brokers {} controller {controller}", answer.brokers.len());
    seen += &format!(" cluster {}", answer.cluster_id.is_some());
    for topic in &mut answer.topics {
        topic.partitions.sort_by_key(|p| p.partition_index);
        let known = topic.topic_id != TopicId::ZERO;
        let head = (&topic.name, topic.error_code, known, topic.is_internal);
        seen += &format!("\n  {head:?} {:#x}", topic.topic_authorized_operations);
        for p in &topic.partitions {
            let lists = [&p.replica_nodes, &p.isr_nodes, &p.offline_replicas];
            let lists = lists.map(|list| list.iter().map(|id| talk.id(*id)).collect::<Vec<_>>());
            let head = (
                p.partition_index,
                p.error_code,
                talk.id(p.leader_id),
                p.leader_epoch,
            );
            seen += &format!("\n    {head:?} {lists:?}");
        }
    }
    talk.said(&format!("metadata {version}"), seen);
}

fn describe_cluster(talk: &mut Talk) {
    for endpoint_type in [1, 2, 3] {
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: false,
            endpoint_type,
        };
        let answer = talk.ask(1, &request);
        let controller = talk.id(answer.controller_id);
        let seen = (
            answer.error_code,
            answer.brokers.len(),
            controller,
            answer.error_message,
        );
        talk.say(&format!("cluster {endpoint_type}"), seen);
    }
}

fn delete(talk: &mut Talk) {
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    let request = DeleteTopicsRequest {
        topic_names: names(&["e", "e", "absent", "a/b"]),
        timeout_ms: 20_000,
        ..DeleteTopicsRequest::default()
    };
    let mut answer = talk.ask(5, &request);
    answer.responses.sort_by(|a, b| a.name.cmp(&b.name));
    let seen: Vec<_> = answer
        .responses
        .iter()
        .map(|r| (r.name.clone(), r.error_code))
        .collect();
    talk.say("delete", seen);
    let by_id = |name: Option<&str>, topic_id| DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: name.map(str::to_owned),
            topic_id,
        }],
        timeout_ms: 20_000,
        ..DeleteTopicsRequest::default()
    };
    for request in [
        by_id(None, TopicId([5; 16])),
        by_id(Some("g.o"), TopicId([5; 16])),
        by_id(Some("g.o"), TopicId::ZERO),
    ] {
        let answer = talk.ask(6, &request);
        let seen: Vec<_> = answer
            .responses
            .iter()
            .map(|r| (r.name.clone(), r.error_code))
            .collect();
        talk.say("delete 6", seen);
    }
    let late = CreateTopicsRequest {
        topics: vec![topic("late", 1, 1)],
        timeout_ms: 0,
        validate_only: false,
    };
    let answer = talk.ask(5, &late);
    talk.say("create without time", answer.topics[0].error_code);
}
