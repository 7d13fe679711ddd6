//! The walk and the reply by hand agree with the generated messages, in every version.

use super::*;
use crate::wire::Writer;
use crate::wire::frame;
use crate::wire::messages::produce as messages;

fn request() -> messages::ProduceRequest {
    let partition = |index, records: Option<&'static [u8]>| messages::PartitionProduceData {
        index,
        records: records.map(Bytes::from_static),
    };
    messages::ProduceRequest {
        transactional_id: Some("tx".to_owned()),
        acks: -1,
        timeout_ms: 1500,
        topic_data: vec![
            messages::TopicProduceData {
                name: "a".to_owned(),
                partition_data: vec![partition(0, Some(b"xyz")), partition(7, None)],
            },
            messages::TopicProduceData::default(),
            messages::TopicProduceData {
                name: "b".to_owned(),
                partition_data: vec![partition(1, Some(b""))],
            },
        ],
    }
}

#[test]
fn the_walk_sees_what_the_message_holds() {
    for version in ApiKey::Produce.versions() {
        let mut writer = Writer::new();
        request().encode(&mut writer, version);
        let body = writer.finish().unwrap();
        let view = ProduceView::parse(&body, version).unwrap();
        assert_eq!(view.transactional_id, Some("tx"));
        assert_eq!((view.acks, view.timeout_ms), (-1, 1500));
        assert_eq!(view.topics().len(), 3);
        let seen: Vec<_> = view
            .topics()
            .flat_map(|topic| {
                topic
                    .partitions()
                    .map(move |p| (topic.name, p.index, p.records))
            })
            .collect();
        let expected = [
            ("a", 0, Some(&b"xyz"[..])),
            ("a", 7, None),
            ("b", 1, Some(&b""[..])),
        ];
        assert_eq!(seen, expected);
        for length in 0..body.len() {
            assert!(ProduceView::parse(&body[..length], version).is_err());
        }
        let longer = [&body[..], &[0]].concat();
        assert!(ProduceView::parse(&longer, version).is_ok());
    }
    assert!(ProduceView::parse(&[], 2).is_err());
    assert!(ProduceView::parse(&[], 12).is_err());
}

#[test]
fn the_reply_reads_as_the_message() {
    let leader = LeaderHint {
        leader_id: 4,
        leader_epoch: 9,
    };
    let endpoint = NodeEndpoint {
        node_id: 4,
        host: "h",
        port: 9092,
        rack: None,
    };
    for version in ApiKey::Produce.versions() {
        let mut reply = ProduceReply::start(version, 77, 3);
        reply.topic("a", 2);
        reply.partition(&ProducePartitionReply {
            index: 3,
            base_offset: 1000,
            log_start_offset: 5,
            ..ProducePartitionReply::default()
        });
        reply.partition(&ProducePartitionReply {
            index: 4,
            error: ErrorCode::NotLeaderOrFollower,
            record_errors: &[(2, Some("bad")), (3, None)],
            error_message: Some("no"),
            current_leader: Some(leader),
            ..ProducePartitionReply::default()
        });
        reply.topic("none", 0);
        reply.topic("b", 1);
        reply.partition(&ProducePartitionReply::default());
        let frame = reply.finish(12, &[endpoint]).unwrap();
        let length = frame::length(&frame, 4, 1 << 20).unwrap();
        assert_eq!(length, Some(frame.len() - 4));
        let (id, message) = frame::decode_response(&frame.slice(4..), version).unwrap();
        let message: messages::ProduceResponse = message;
        assert_eq!((id, message.throttle_time_ms), (77, 12));
        assert_eq!(message.responses.len(), 3);
        let first = &message.responses[0].partition_responses;
        assert_eq!((first[0].index, first[0].base_offset), (3, 1000));
        assert_eq!(first[0].log_start_offset, if version >= 5 { 5 } else { -1 });
        assert_eq!(first[1].error_code, 6);
        if version >= 8 {
            assert_eq!(first[1].error_message.as_deref(), Some("no"));
            assert_eq!(first[1].record_errors.len(), 2);
        }
        if version >= 10 {
            assert_eq!(first[1].current_leader.leader_epoch, 9);
            assert_eq!(message.node_endpoints[0].host, "h");
        }
        assert_eq!(message.responses[2].partition_responses.len(), 1);
    }
}
