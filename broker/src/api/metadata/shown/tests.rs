//! One snapshot as clients of several versions and listeners see it, and what they may ask.

use std::sync::Arc;

use nyala_client::wire::messages::metadata::MetadataRequestTopic;
use nyala_coordinator::cluster::{BrokerInfo, Endpoint, PartitionState};
use nyala_coordinator::ids::{BrokerEpoch, ControllerEpoch, LeaderEpoch};

use super::super::asked::{Asked, read};
use super::*;

const ID: TopicId = TopicId([9; 16]);

fn broker(id: i32, listener: &str) -> (BrokerId, BrokerInfo) {
    let info = BrokerInfo {
        id: BrokerId(id),
        epoch: BrokerEpoch(1),
        endpoints: vec![Endpoint {
            listener_name: listener.to_owned(),
            security_protocol: "PLAINTEXT".to_owned(),
            host: "h".to_owned(),
            port: 9092,
        }],
        rack: None,
    };
    (BrokerId(id), info)
}

fn led_by(leader: Option<i32>) -> PartitionInfo {
    PartitionInfo {
        replicas: vec![BrokerId(1), BrokerId(2), BrokerId(3)],
        state: Some(PartitionState {
            leader: leader.map(BrokerId),
            leader_epoch: LeaderEpoch(4),
            isr: vec![BrokerId(1)],
            controller_epoch: ControllerEpoch(1),
            version: 0,
            written: i64::MAX,
        }),
        ..PartitionInfo::default()
    }
}

fn snapshot() -> ClusterSnapshot {
    let partitions = [
        led_by(Some(1)),
        led_by(Some(2)),
        led_by(None),
        PartitionInfo::default(),
    ];
    let partitions = (0..).map(PartitionIndex).zip(partitions).collect();
    let info = TopicInfo {
        id: Some(ID),
        partitions,
    };
    ClusterSnapshot {
        brokers: [broker(1, "A"), broker(2, "B")].into(),
        topics: [(TopicName::new("t").expect("legal"), Arc::new(info))].into(),
        ..ClusterSnapshot::default()
    }
}

#[test]
fn leaders_are_shown_through_the_clients_listener() {
    let snapshot = snapshot();
    for (version, other_listener) in [(5, 5), (6, 72), (13, 72)] {
        let view = View {
            snapshot: &snapshot,
            listener: "A",
            version,
        };
        let topic = view.by_name("t");
        assert_eq!((topic.error_code, topic.topic_id), (0, ID));
        let seen: Vec<_> = topic
            .partitions
            .iter()
            .map(|p| (p.error_code, p.leader_id))
            .collect();
        assert_eq!(seen, [(0, 1), (other_listener, -1), (5, -1), (5, -1)]);
        let first = &topic.partitions[0];
        assert_eq!((first.leader_epoch, &first.isr_nodes[..]), (4, &[1][..]));
        assert_eq!(first.replica_nodes, [1, 2, 3]);
        assert_eq!(first.offline_replicas, [2, 3]);
        assert_eq!(topic.partitions[3].leader_epoch, -1);
    }
}

#[test]
fn unknown_names_and_ids_say_so() {
    let snapshot = snapshot();
    let view = View {
        snapshot: &snapshot,
        listener: "A",
        version: 12,
    };
    assert_eq!(view.by_name("u").error_code, 3);
    for bad in ["", ".", "..", "a/b", "../x", "\0", &"x".repeat(250)] {
        assert_eq!(view.by_name(bad).error_code, 17, "{bad:?}");
    }
    let both = view.by_ids(&[ID, TopicId([1; 16])], |_| true);
    assert_eq!(both[0].name.as_deref(), Some("t"));
    assert_eq!((both[1].error_code, &both[1].name), (100, &None));
    assert_eq!(view.by_ids(&[ID], |_| false)[0].error_code, 100);
}

#[test]
fn what_is_asked_for_depends_on_the_version() {
    let name = |name: &str| MetadataRequestTopic {
        name: Some(name.to_owned()),
        ..MetadataRequestTopic::default()
    };
    let id = MetadataRequestTopic {
        topic_id: ID,
        name: None,
    };
    assert_eq!(read(None, 1), Asked::All);
    assert_eq!(read(Some(&[]), 0), Asked::All);
    assert_eq!(read(Some(&[]), 1), Asked::Names(Vec::new()));
    let twice = [name("b"), name("a"), name("b")];
    assert_eq!(
        read(Some(&twice), 9),
        Asked::Names(vec!["b".to_owned(), "a".to_owned()])
    );
    assert_eq!(
        read(Some(std::slice::from_ref(&id)), 12),
        Asked::Ids(vec![ID])
    );
    let Asked::Refused(topics) = read(Some(&[id]), 11) else {
        panic!("version 11 has no look-up by id");
    };
    assert_eq!(topics[0].error_code, 42);
}
