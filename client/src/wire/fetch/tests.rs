//! The walk and the reply by hand agree with the generated messages, in every version.

use super::*;
use crate::wire::Writer;
use crate::wire::frame;
use crate::wire::messages::fetch as messages;

const ID: TopicId = TopicId([3; 16]);

fn request(version: i16) -> messages::FetchRequest {
    messages::FetchRequest {
        cluster_id: Some("c".to_owned()),
        replica_id: 5,
        replica_state: messages::ReplicaState {
            replica_id: 5,
            replica_epoch: 88,
        },
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation_level: 1,
        session_id: 44,
        session_epoch: 2,
        topics: vec![messages::FetchTopic {
            topic: "t".to_owned(),
            topic_id: ID,
            partitions: vec![
                messages::FetchPartition {
                    partition: 9,
                    current_leader_epoch: 3,
                    fetch_offset: 1000,
                    last_fetched_epoch: 2,
                    log_start_offset: 7,
                    partition_max_bytes: 4096,
                    replica_directory_id: [1; 16],
                },
                messages::FetchPartition::default(),
            ],
        }],
        forgotten_topics_data: match version {
            7.. => vec![messages::ForgottenTopic {
                topic: "f".to_owned(),
                topic_id: ID,
                partitions: vec![1, 2, 3],
            }],
            _ => Vec::new(),
        },
        rack_id: "r".to_owned(),
    }
}

#[test]
fn the_walk_sees_what_the_message_holds() {
    for version in ApiKey::Fetch.versions() {
        let mut writer = Writer::new();
        request(version).encode(&mut writer, version);
        let body = writer.finish().unwrap();
        let view = FetchView::parse(&body, version).unwrap();
        assert_eq!(view.replica_id, 5);
        assert_eq!(view.replica_epoch, if version >= 15 { 88 } else { -1 });
        assert_eq!(
            (view.max_wait_ms, view.min_bytes, view.max_bytes),
            (500, 1, 1 << 20)
        );
        assert_eq!(view.isolation_level, 1);
        let session = if version >= 7 { (44, 2) } else { (0, -1) };
        assert_eq!((view.session_id, view.session_epoch), session);
        assert_eq!(view.rack_id, if version >= 11 { "r" } else { "" });
        assert_eq!(view.cluster_id, (version >= 12).then_some("c"));
        let name = |name| {
            if version >= 13 {
                TopicKey::Id(ID)
            } else {
                TopicKey::Name(name)
            }
        };
        let topics: Vec<_> = view.topics().collect();
        assert_eq!(topics.len(), 1);
        assert_eq!(topics[0].topic, name("t"));
        let partitions: Vec<_> = topics[0].partitions().collect();
        assert_eq!(partitions.len(), 2);
        let expected = FetchPartition {
            partition: 9,
            current_leader_epoch: if version >= 9 { 3 } else { -1 },
            fetch_offset: 1000,
            last_fetched_epoch: if version >= 12 { 2 } else { -1 },
            log_start_offset: if version >= 5 { 7 } else { -1 },
            max_bytes: 4096,
        };
        assert_eq!(partitions[0], expected);
        let forgotten: Vec<_> = view.forgotten().collect();
        assert_eq!(forgotten.len(), usize::from(version >= 7));
        for topic in forgotten {
            assert_eq!(topic.topic, name("f"));
            assert!(topic.partitions().eq([1, 2, 3]));
        }
        for length in 0..body.len() {
            assert!(FetchView::parse(&body[..length], version).is_err());
        }
    }
}

#[test]
fn the_reply_with_its_gaps_filled_reads_as_the_message() {
    let endpoint = NodeEndpoint {
        node_id: 4,
        host: "h",
        port: 9092,
        rack: Some("r"),
    };
    for version in ApiKey::Fetch.versions() {
        let outcome = FetchOutcome {
            throttle_time_ms: 1,
            error: ErrorCode::None,
            session_id: 99,
        };
        let mut reply = FetchReply::start(version, 5, outcome, 2);
        reply.topic("t", ID, 3);
        let partition = FetchPartitionReply {
            index: 1,
            high_watermark: 10,
            aborted: Some(&[(7, 8)]),
            ..FetchPartitionReply::default()
        };
        reply.partition(&partition, 300);
        let partition = FetchPartitionReply {
            index: 2,
            diverging_epoch: Some((3, 33)),
            current_leader: Some(LeaderHint {
                leader_id: 4,
                leader_epoch: 6,
            }),
            ..FetchPartitionReply::default()
        };
        reply.partition(&partition, 0);
        reply.partition(&FetchPartitionReply::default(), 5);
        reply.topic("u", ID, 0);
        let frame = reply.finish(&[endpoint]).unwrap();

        let mut bytes = Vec::new();
        let mut from = 0;
        for gap in &frame.gaps {
            bytes.extend_from_slice(&frame.heads[from..gap.position]);
            bytes.extend(std::iter::repeat_n(b'x', gap.bytes));
            from = gap.position;
        }
        bytes.extend_from_slice(&frame.heads[from..]);
        assert_eq!(frame.gaps.len(), 2);
        let bytes = Bytes::from(bytes);
        assert_eq!(frame::length(&bytes, 4, 1 << 20), Ok(Some(bytes.len() - 4)));
        let (id, message) = frame::decode_response(&bytes.slice(4..), version).unwrap();
        let message: messages::FetchResponse = message;
        assert_eq!((id, message.throttle_time_ms), (5, 1));
        let partitions = &message.responses[0].partitions;
        assert_eq!(partitions[0].records.as_ref().map(Bytes::len), Some(300));
        let aborted = partitions[0].aborted_transactions.as_ref().unwrap();
        assert_eq!((aborted[0].producer_id, aborted[0].first_offset), (7, 8));
        assert_eq!(partitions[1].records.as_ref().map(Bytes::len), Some(0));
        if version >= 12 {
            assert_eq!(partitions[1].diverging_epoch.end_offset, 33);
            assert_eq!(partitions[1].current_leader.leader_epoch, 6);
        }
        assert_eq!(partitions[2].records.as_deref(), Some(&b"xxxxx"[..]));
        assert_eq!(message.responses.len(), 2);
        assert_eq!(message.node_endpoints.len(), usize::from(version >= 16));
    }
}
