//! Hostile requests over raw sockets: framing, headers, bodies, and what the admin requests may
//! not do. Each case: the stated answer, the process lives on, other connections are served.

use std::time::Duration;

use bytes::Bytes;
use harness::cluster::Dev;
use harness::raw::{Answer, Raw, is_alive};
use nyala_client::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use nyala_client::wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use nyala_client::wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use nyala_client::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use nyala_client::wire::messages::describe_groups::DescribeGroupsRequest;
use nyala_client::wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use nyala_client::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use nyala_client::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic,
};
use nyala_client::wire::{ErrorCode, Request, frame};

/// Far more than an answer takes here, so that a failure is one and not a slow machine.
const SOON: Duration = Duration::from_secs(60);

/// What the process may hold in memory after any of this.
const RESIDENT_BYTES_MAX: u64 = 512 << 20;

fn lives_on(dev: &Dev, what: &str) {
    assert!(is_alive(&dev.ready().brokers[0]), "not served after {what}");
    let kib = memory_kib(dev, "VmRSS:");
    assert!(kib << 10 <= RESIDENT_BYTES_MAX, "{kib} KiB after {what}");
}

/// A line of the process's status: `VmRSS:` is what it holds, `VmHWM:` the most it ever held.
fn memory_kib(dev: &Dev, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", dev.pid()));
    let status = status.expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse().ok())
        .expect("a number of KiB")
}

/// Sends `bytes` on a connection of its own, which must then be closed.
fn closes(dev: &Dev, what: &str, bytes: &[u8]) {
    let mut raw = Raw::connect(&dev.ready().brokers[0]);
    // The peer may close before everything is sent.
    let _ = raw.send(bytes);
    assert!(raw.closes_within(SOON), "still open after {what}");
    lives_on(dev, what);
}

/// A frame around `content`.
fn framed(content: &[u8]) -> Vec<u8> {
    let length = i32::try_from(content.len()).expect("a small frame");
    [&length.to_be_bytes(), content].concat()
}

/// A header up to the client id, which is null.
fn header(key: i16, version: i16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(7_i32.to_be_bytes());
    bytes.extend((-1_i16).to_be_bytes());
    bytes
}

fn ask<R: Request>(raw: &mut Raw, version: i16, request: &R) -> R::Response {
    let bytes = frame::encode_request(version, 7, Some("hostile"), request).expect("legal");
    raw.send(&bytes).expect("an open connection");
    match raw.answer(SOON) {
        Answer::Frame(answer) => {
            let answer = Bytes::from(answer);
            let (id, body) = frame::decode_response(&answer, version).expect("a legal answer");
            assert_eq!(id, 7);
            body
        }
        other => panic!("{}: {other:?}", R::KEY.name()),
    }
}

fn connect(dev: &Dev) -> Raw {
    Raw::connect(&dev.ready().brokers[0])
}

#[test]
fn frame_lengths_that_no_request_has_close_at_once() {
    let dev = Dev::start();
    for length in [-1, i32::MIN, i32::MAX, 104_857_601, 0] {
        closes(&dev, &format!("length {length}"), &length.to_be_bytes());
    }
    for length in 1..8 {
        let what = format!("a header of {length} bytes");
        closes(&dev, &what, &framed(&header(3, 0)[..length]));
    }
}

#[test]
fn other_protocols_are_closed() {
    let dev = Dev::start();
    closes(&dev, "HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let hello = [
        0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    closes(&dev, "a TLS hello", &hello);
}

#[test]
fn half_a_request_is_closed_when_its_time_is_over() {
    let dev = Dev::start_with_overrides(&["connections.max.partial.request.ms=500"]);
    let mut raw = connect(&dev);
    let bytes = [&1_000_000_i32.to_be_bytes()[..], &header(3, 9)].concat();
    raw.send(&bytes).expect("an open connection");
    assert!(raw.closes_within(SOON), "the slow request is still open");
    lives_on(&dev, "half a request");
}

#[test]
fn keys_and_versions_that_are_not_served_close() {
    let dev = Dev::start();
    for key in [-1, 17, 36, 89, 999, i16::MAX] {
        closes(&dev, &format!("key {key}"), &framed(&header(key, 0)));
    }
    for (key, version) in [(3, 14), (3, -1), (1, 3), (1, 18), (19, 1), (19, i16::MAX)] {
        let what = format!("key {key} version {version}");
        closes(&dev, &what, &framed(&header(key, version)));
    }
}

#[test]
fn a_version_of_api_versions_from_the_future_is_answered_and_the_connection_stays() {
    let dev = Dev::start();
    let mut raw = connect(&dev);
    for version in [5, 99, i16::MAX, -1] {
        let mut bytes = header(18, version);
        bytes.extend([0, 1, 1, 0]);
        raw.send(&framed(&bytes)).expect("an open connection");
        let Answer::Frame(answer) = raw.answer(SOON) else {
            panic!("no answer to version {version}");
        };
        // Correlation id, error 35, one range: key 18, versions 0 to 4.
        let expected = [0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];
        assert_eq!(answer, expected, "version {version}");
    }
    raw.send(&framed(&header(18, 0)))
        .expect("an open connection");
    let Answer::Frame(answer) = raw.answer(SOON) else {
        panic!("no answer to version 0");
    };
    assert_eq!(answer[..6], [0, 0, 0, 7, 0, 0]);
}

#[test]
fn malformed_headers_close() {
    let dev = Dev::start();
    let plain = |client: &[u8]| {
        let mut bytes = header(3, 1);
        bytes.truncate(8);
        bytes.extend(client);
        framed(&bytes)
    };
    closes(&dev, "client id length -2", &plain(&[0xff, 0xfe]));
    closes(
        &dev,
        "client id longer than the frame",
        &plain(&[0x7f, 0xff, b'a']),
    );
    closes(
        &dev,
        "client id not UTF-8",
        &plain(&[0, 2, 0xc3, 0x28, 0, 0, 0, 0]),
    );
    let tagged = |tags: &[u8]| framed(&[&header(3, 9), tags].concat());
    let most = [0xff, 0xff, 0xff, 0xff, 0x0f];
    closes(&dev, "2^32 - 1 tagged fields", &tagged(&most));
    closes(&dev, "a tag twice", &tagged(&[2, 5, 0, 5, 0, 1, 0, 0, 0]));
    closes(
        &dev,
        "tags that descend",
        &tagged(&[2, 5, 0, 4, 0, 1, 0, 0, 0]),
    );
    closes(
        &dev,
        "a tagged field beyond the frame",
        &tagged(&[1, 5, 100, 1]),
    );
    closes(
        &dev,
        "a varint of six bytes",
        &tagged(&[0x80, 0x80, 0x80, 0x80, 0x80, 1]),
    );
}

#[test]
fn malformed_bodies_close_without_reserving_what_they_announce() {
    let dev = Dev::start();
    let body = |version, body: &[u8]| framed(&[&header(3, version), body].concat());
    for count in [i32::MAX, -2, 1_000_000, i32::MIN] {
        let mut bytes = count.to_be_bytes().to_vec();
        bytes.resize(100, 0);
        closes(
            &dev,
            &format!("{count} topics in 100 bytes"),
            &body(1, &bytes),
        );
    }
    closes(&dev, "null where version 0 has none", &body(0, &[0xff; 4]));
    let null_name = [0, 0, 0, 1, 0xff, 0xff];
    closes(&dev, "a topic without name", &body(1, &null_name));
    closes(
        &dev,
        "a body that stops",
        &body(1, &[0, 0, 0, 1, 0, 5, b'a']),
    );
}

/// Kafka ignores such bytes, and librdkafka counts on it: asking for all topics in Metadata 9 or
/// later, it leaves three bytes behind.
#[test]
fn bytes_after_the_body_are_ignored() {
    let dev = Dev::start();
    let mut raw = connect(&dev);
    for (version, body) in [(1, &[0, 0, 0, 0, 9][..]), (13, &[0, 0, 0, 0, 0, 1, 0, 0])] {
        let tags = if version >= 9 { &[0][..] } else { &[] };
        let frame = framed(&[&header(3, version), tags, body].concat());
        raw.send(&frame).expect("an open connection");
        let Answer::Frame(answer) = raw.answer(SOON) else {
            panic!("no answer to version {version}");
        };
        assert_eq!(answer[..4], 7_i32.to_be_bytes());
    }
}

#[test]
fn nested_arrays_cost_what_their_bytes_cost() {
    let dev = Dev::start();
    // OffsetForLeaderEpoch 2: 60,000 topics of one letter, each with an empty list of partitions,
    // and one list that announces more than is there.
    let mut bytes = header(23, 2);
    bytes.extend(60_001_i32.to_be_bytes());
    for _ in 0..60_000 {
        bytes.extend([0, 1, b'a', 0, 0, 0, 0]);
    }
    bytes.extend([0, 1, b'a', 0x7f, 0xff, 0xff, 0xff]);
    // Well within the time that closing may take.
    closes(&dev, "nested arrays", &framed(&bytes));
}

/// A request whose body is `front` and an array of `count` elements, each of these bytes.
fn many(key: i16, version: i16, front: &[u8], count: usize, element: &[u8]) -> Vec<u8> {
    let number = i32::try_from(count).expect("a count").to_be_bytes();
    let head = header(key, version);
    framed(&[&head, front, &number, &element.repeat(count)].concat())
}

/// Before there was a bound, four of the large ones together took from 0.8 to 2.5 GB.
#[test]
fn tiny_elements_cost_a_bounded_amount_of_memory_however_many_ask_at_once() {
    const LARGE: usize = 4_000_000;
    let dev = Dev::start();
    let group = [0, 1, b'g'];
    let one_topic = [0, 0, 0, 1, 0, 1, b't'];
    let wait_for_much = [&[0xff; 4][..], &[0, 0, 0x10, 0], &[0x7f; 8], &[0]].concat();
    let fetch = [&wait_for_much[..], &one_topic].concat();
    let produce = [&[0xff; 4][..], &[0, 0, 0x10, 0], &one_topic].concat();
    let null_records = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    let large = [
        many(9, 1, &group, LARGE, &[0; 6]),
        many(3, 1, &[], LARGE, &[0, 1, b'a']),
        many(1, 4, &fetch, LARGE, &[0; 16]),
        many(0, 7, &produce, LARGE, &null_records),
    ];
    let small = many(9, 1, &group, 250_000, &[0; 6]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut raw = connect(&dev);
                raw.send(&small).expect("an open connection");
                let Answer::Frame(answer) = raw.answer(SOON) else {
                    panic!("a quarter of a million topics are not answered");
                };
                assert_eq!(answer.len(), 8 + 6 * 250_000);
            });
        }
        for large in &large {
            for _ in 0..2 {
                scope.spawn(|| closes(&dev, "four million elements", large));
            }
        }
    });
    lives_on(&dev, "many tiny elements");
    let peak = memory_kib(&dev, "VmHWM:") << 10;
    assert!(peak <= RESIDENT_BYTES_MAX, "held {peak} bytes");
}

/// Twenty thousand times the same group in 80 KB were answered with 400 MB before.
#[test]
fn what_is_asked_for_many_times_is_answered_once() {
    let dev = Dev::start();
    let mut raw = connect(&dev);
    assert_eq!(create(&mut raw, topic("t")), 0);
    let resource = DescribeConfigsResource {
        resource_type: 2,
        resource_name: "t".to_owned(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource; 1001],
        ..DescribeConfigsRequest::default()
    };
    assert_eq!(ask(&mut raw, 3, &request).results.len(), 1);
    let request = DescribeGroupsRequest {
        groups: vec!["g".to_owned(); 1001],
        ..DescribeGroupsRequest::default()
    };
    assert_eq!(ask(&mut raw, 5, &request).groups.len(), 1);
    let group = OffsetFetchRequestGroup {
        group_id: "g".to_owned(),
        ..OffsetFetchRequestGroup::default()
    };
    let request = OffsetFetchRequest {
        groups: vec![group; 1001],
        ..OffsetFetchRequest::default()
    };
    assert_eq!(ask(&mut raw, 8, &request).groups.len(), 1);
    let twice = OffsetFetchRequestTopic {
        name: "t".to_owned(),
        partition_indexes: vec![0; 1001],
    };
    let request = OffsetFetchRequest {
        group_id: "g".to_owned(),
        topics: Some(vec![twice; 2]),
        ..OffsetFetchRequest::default()
    };
    let answer = ask(&mut raw, 1, &request);
    let partitions = answer.topics.iter().map(|topic| topic.partitions.len());
    assert_eq!(partitions.sum::<usize>(), 1);
}

#[test]
fn names_that_are_no_topics_are_refused_and_create_nothing() {
    let dev = Dev::start();
    let mut raw = connect(&dev);
    let long = "x".repeat(250);
    let bad = [
        "",
        ".",
        "..",
        "a/b",
        "/",
        "\0",
        "../x",
        "a b",
        "é",
        long.as_str(),
    ];
    let topics = bad.iter().map(|name| MetadataRequestTopic {
        name: Some((*name).to_owned()),
        ..MetadataRequestTopic::default()
    });
    let request = MetadataRequest {
        topics: Some(topics.collect()),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    let answer = ask(&mut raw, 9, &request);
    assert_eq!(answer.topics.len(), bad.len());
    for topic in &answer.topics {
        assert_eq!(topic.error_code, 17, "{:?}", topic.name);
    }
    for name in bad {
        let answer = create(&mut raw, topic(name));
        assert_eq!(answer, ErrorCode::InvalidTopicException.code(), "{name:?}");
    }
    assert_eq!(all_topics(&mut raw), [""; 0]);
    lives_on(&dev, "names");
}

#[test]
fn metadata_of_many_unknown_topics_creates_few_of_them() {
    let dev = Dev::start();
    let mut raw = connect(&dev);
    let topics = (0..20_000).map(|i| MetadataRequestTopic {
        name: Some(format!("flood-{i}")),
        ..MetadataRequestTopic::default()
    });
    let request = MetadataRequest {
        topics: Some(topics.collect()),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    let answer = ask(&mut raw, 4, &request);
    assert_eq!(answer.topics.len(), 20_000);
    let over = ErrorCode::PolicyViolation.code();
    let refused = answer
        .topics
        .iter()
        .filter(|topic| topic.error_code == over);
    assert_eq!(refused.count(), 19_900);
    let made = all_topics(&mut raw);
    assert!(made.len() <= 100, "{} topics", made.len());
    lives_on(&dev, "a flood of topics");
}

#[test]
fn the_same_topic_twice_is_answered_once_or_refused() {
    let dev = Dev::start();
    let mut raw = connect(&dev);
    let twice = ["a", "a"].map(|name| MetadataRequestTopic {
        name: Some(name.to_owned()),
        ..MetadataRequestTopic::default()
    });
    let request = MetadataRequest {
        topics: Some(twice.into()),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    assert_eq!(ask(&mut raw, 9, &request).topics.len(), 1);
    let request = CreateTopicsRequest {
        topics: vec![topic("b"), topic("b")],
        ..CreateTopicsRequest::default()
    };
    let answer = ask(&mut raw, 5, &request);
    let codes: Vec<_> = answer.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [ErrorCode::InvalidRequest.code(); 2]);
    assert_eq!(all_topics(&mut raw), [""; 0]);
}

fn topic(name: &str) -> CreatableTopic {
    CreatableTopic {
        name: name.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    }
}

fn assigned(partitions: &[&[i32]]) -> CreatableTopic {
    let assignments =
        (0..)
            .zip(partitions)
            .map(|(partition_index, brokers)| CreatableReplicaAssignment {
                partition_index,
                broker_ids: brokers.to_vec(),
            });
    CreatableTopic {
        num_partitions: -1,
        replication_factor: -1,
        assignments: assignments.collect(),
        ..topic("t")
    }
}

/// Error code of the only topic.
fn create(raw: &mut Raw, topic: CreatableTopic) -> i16 {
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: 10_000,
        validate_only: false,
    };
    let answer = ask(raw, 7, &request);
    assert_eq!(answer.topics.len(), 1);
    answer.topics[0].error_code
}

fn all_topics(raw: &mut Raw) -> Vec<String> {
    let answer = ask(raw, 9, &MetadataRequest::default());
    answer
        .topics
        .into_iter()
        .filter_map(|topic| topic.name)
        .collect()
}

#[test]
fn topics_that_cannot_be_are_refused_before_anything_is_written() {
    let dev = Dev::start();
    let mut raw = connect(&dev);
    let sized = |num_partitions, replication_factor| CreatableTopic {
        num_partitions,
        replication_factor,
        ..topic("t")
    };
    let both = CreatableTopic {
        num_partitions: 1,
        ..assigned(&[&[0]])
    };
    let config = |name: &str, value: Option<&str>| CreatableTopic {
        configs: vec![CreatableTopicConfig {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        }],
        ..topic("t")
    };
    let cases = [
        ("2^31 - 1 partitions", sized(i32::MAX, 1), 37),
        ("no partitions", sized(0, 1), 37),
        ("-5 partitions", sized(-5, 1), 37),
        ("more replicas than brokers", sized(1, 1000), 38),
        ("no replicas", sized(1, 0), 38),
        ("a broker twice", assigned(&[&[0, 0]]), 39),
        ("unknown brokers", assigned(&[&[77]]), 39),
        ("no brokers", assigned(&[&[]]), 39),
        ("number and assignment", both, 42),
        ("a name of 32 KB", topic(&"n".repeat(32_000)), 17),
        ("an unknown key", config("no.such.key", Some("1")), 40),
        ("a bad value", config("retention.ms", Some("soon")), 40),
    ];
    for (what, topic, code) in cases {
        assert_eq!(create(&mut raw, topic), code, "{what}");
    }
    assert_eq!(create(&mut raw, config("retention.ms", None)), 40);
    assert_eq!(all_topics(&mut raw), [""; 0]);
    lives_on(&dev, "topics that cannot be");
}

#[test]
fn partitions_that_cannot_be_added_are_refused() {
    let dev = Dev::start();
    let mut raw = connect(&dev);
    assert_eq!(create(&mut raw, topic("t")), 0);
    for (name, count, code) in [("t", i32::MAX, 37), ("t", 1, 37), ("t", 0, 37), ("u", 2, 3)] {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: name.to_owned(),
                count,
                assignments: None,
            }],
            timeout_ms: 10_000,
            validate_only: false,
        };
        let answer = ask(&mut raw, 3, &request);
        assert_eq!(answer.results[0].error_code, code, "{name} to {count}");
    }
    lives_on(&dev, "partitions that cannot be");
}

#[test]
fn records_beyond_the_high_watermark_are_not_deleted() {
    let dev = Dev::start();
    let mut raw = connect(&dev);
    assert_eq!(create(&mut raw, topic("t")), 0);
    for offset in [1, i64::MAX, -2] {
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: "t".to_owned(),
                partitions: vec![DeleteRecordsPartition {
                    partition_index: 0,
                    offset,
                }],
            }],
            timeout_ms: 10_000,
        };
        let answer = ask(&mut raw, 2, &request);
        assert_eq!(answer.topics[0].partitions[0].error_code, 1, "{offset}");
    }
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let dev = Dev::start();
    let mut raw = connect(&dev);
    assert_eq!(create(&mut raw, topic("t")), 0);
    // The longest text that a request can carry.
    let huge = "x".repeat(32_767);
    for (name, value) in [
        ("no.such.key", "1"),
        ("retention.ms", &huge),
        ("segment.bytes", "-1"),
    ] {
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: 2,
                resource_name: "t".to_owned(),
                configs: vec![AlterableConfig {
                    name: name.to_owned(),
                    config_operation: 0,
                    value: Some(value.to_owned()),
                }],
            }],
            validate_only: false,
        };
        let answer = ask(&mut raw, 1, &request);
        assert_eq!(answer.responses[0].error_code, 40, "{name}={value}");
    }
    lives_on(&dev, "settings that cannot be");
}
