//! Wishes of leaders, granted and not.

use std::collections::BTreeMap;
use std::sync::Arc;

use nyala_coordinator::cluster::{BrokerInfo, TopicInfo};
use nyala_coordinator::ids::{ControllerEpoch, PartitionIndex, TopicName};

use super::*;

fn brokers(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

fn tp() -> TopicPartition {
    TopicPartition {
        topic: TopicName::new("t").expect("legal"),
        partition: PartitionIndex(0),
    }
}

/// `t-0` on brokers 1, 2, 3, led by 1 in epoch 4, in sync 1 and 2, version 7; brokers 1 to 4 live,
/// each in incarnation ten times its number.
fn cluster() -> ClusterSnapshot {
    let info = PartitionInfo {
        replicas: brokers(&[1, 2, 3]),
        state: Some(PartitionState {
            leader: Some(BrokerId(1)),
            leader_epoch: LeaderEpoch(4),
            isr: brokers(&[1, 2]),
            controller_epoch: ControllerEpoch(1),
            version: 7,
            written: i64::MAX,
        }),
        ..PartitionInfo::default()
    };
    let broker = |id: BrokerId| BrokerInfo {
        id,
        epoch: BrokerEpoch(i64::from(id.0) * 10),
        endpoints: Vec::new(),
        rack: None,
    };
    let topic = TopicInfo {
        id: None,
        partitions: BTreeMap::from([(PartitionIndex(0), info)]),
    };
    let live = brokers(&[1, 2, 3, 4]).into_iter();
    ClusterSnapshot {
        brokers: live.map(|id| (id, broker(id))).collect(),
        topics: BTreeMap::from([(tp().topic, Arc::new(topic))]),
        ..ClusterSnapshot::default()
    }
}

fn wish(leader_epoch: i32, partition_epoch: i32, isr: &[(i32, Option<i64>)]) -> IsrRequest {
    let members = isr.iter();
    IsrRequest {
        partition: tp(),
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch,
        isr: members
            .map(|(id, epoch)| (BrokerId(*id), epoch.map(BrokerEpoch)))
            .collect(),
        recovering: false,
    }
}

fn decided(leader: i32, stopping: &[i32], request: &IsrRequest) -> String {
    let situation = Situation {
        epoch: ControllerEpoch(9),
        deleting: &BTreeSet::new(),
        bounced: &BTreeSet::new(),
        stopping: &brokers(stopping).into_iter().collect(),
        offline: &BTreeSet::new(),
        suspects: &BTreeMap::new(),
        led: &BTreeMap::new(),
        unclean: &|_| false,
    };
    match decide(&cluster(), &situation, BrokerId(leader), request) {
        Ok(Decision::Granted(state)) => format!("already {}", state.version),
        Ok(Decision::Write(new)) => {
            let isr: Vec<i32> = new.state.isr.iter().map(|b| b.0).collect();
            format!(
                "{isr:?} in {} after {:?}",
                new.state.leader_epoch, new.version
            )
        }
        Err(e) => format!("{e:?}"),
    }
}

#[test]
fn wishes_are_checked_as_kafka_checks_them() {
    let three: &[(i32, Option<i64>)] = &[(1, Some(10)), (2, Some(20)), (3, Some(30))];
    let plain: &[(i32, Option<i64>)] = &[(1, None), (2, None), (3, None)];
    let two: &[(i32, Option<i64>)] = &[(2, None), (1, None)];
    for (leader, stopping, request, expected) in [
        (
            1,
            &[][..],
            wish(4, 7, three),
            "[1, 2, 3] in 4 after Some(7)",
        ),
        (1, &[], wish(4, 7, plain), "[1, 2, 3] in 4 after Some(7)"),
        (1, &[], wish(4, 7, &[(1, None)]), "[1] in 4 after Some(7)"),
        (1, &[], wish(4, 8, plain), "NotController"),
        (1, &[], wish(5, 7, plain), "NotController"),
        (1, &[], wish(3, 7, plain), "FencedLeader"),
        (1, &[], wish(4, 6, plain), "OldVersion"),
        // So already: granted, whatever version the leader knows.
        (1, &[], wish(4, 6, two), "already 7"),
        // A broker that started again, is not there, or is shutting down.
        (
            1,
            &[],
            wish(4, 7, &[(1, Some(10)), (3, Some(29))]),
            "Ineligible",
        ),
        (1, &[3], wish(4, 7, plain), "Ineligible"),
        (1, &[2], wish(4, 7, &[(1, None)]), "[1] in 4 after Some(7)"),
        // Not a replica, not the leader, without the leader.
        (1, &[], wish(4, 7, &[(1, None), (4, None)]), "Invalid"),
        (2, &[], wish(4, 7, plain), "Invalid"),
        (1, &[], wish(4, 7, &[(2, None)]), "Invalid"),
    ] {
        assert_eq!(decided(leader, stopping, &request), expected, "{request:?}");
    }
    let elsewhere = IsrRequest {
        partition: TopicPartition {
            partition: PartitionIndex(1),
            ..tp()
        },
        ..wish(4, 7, plain)
    };
    assert_eq!(decided(1, &[], &elsewhere), "Unknown");
}
