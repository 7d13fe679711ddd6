//! Leaders: for new partitions, over failures, and back.

use std::sync::Arc;

use nyala_coordinator::cluster::{self, BrokerInfo, TopicInfo};
use nyala_coordinator::ids::PartitionIndex;

use super::*;

fn snapshot(alive: &[i32]) -> ClusterSnapshot {
    let brokers = alive.iter().map(|id| {
        let info = BrokerInfo {
            id: BrokerId(*id),
            epoch: BrokerEpoch(i64::from(*id) + 100),
            endpoints: Vec::new(),
            rack: None,
        };
        (BrokerId(*id), info)
    });
    ClusterSnapshot {
        brokers: brokers.collect(),
        ..ClusterSnapshot::default()
    }
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("legal")
}

fn add(
    snapshot: &mut ClusterSnapshot,
    name: &str,
    replicas: &[i32],
    state: Option<(i32, i32, &[i32])>,
) {
    let state = state.map(|(leader, epoch, isr)| cluster::PartitionState {
        leader: (leader >= 0).then_some(BrokerId(leader)),
        leader_epoch: LeaderEpoch(epoch),
        isr: isr.iter().copied().map(BrokerId).collect(),
        controller_epoch: ControllerEpoch(1),
        version: 7,
    });
    let partition = cluster::PartitionInfo {
        replicas: replicas.iter().copied().map(BrokerId).collect(),
        state,
        ..cluster::PartitionInfo::default()
    };
    let info = TopicInfo {
        id: None,
        partitions: BTreeMap::from([(PartitionIndex(0), partition)]),
    };
    snapshot.topics.insert(topic(name), Arc::new(info));
}

/// `leader epoch [isr] version` of the one state planned, or `-`.
fn planned(snapshot: &ClusterSnapshot, bounced: &[i32], deleting: &[&str]) -> String {
    let facts = Facts {
        epoch: ControllerEpoch(9),
        deleting: &deleting.iter().map(|t| topic(t)).collect(),
        bounced: &bounced.iter().copied().map(BrokerId).collect(),
    };
    let plan = plan_states(snapshot, &facts);
    let lines = plan.iter().map(|n| {
        assert_eq!(n.state.controller_epoch, ControllerEpoch(9));
        let isr: Vec<i32> = n.state.isr.iter().map(|b| b.0).collect();
        let leader = n.state.leader.map_or(-1, |b| b.0);
        format!("{leader} {} {isr:?} {:?}", n.state.leader_epoch, n.version)
    });
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        "-".to_owned()
    } else {
        lines.join("; ")
    }
}

#[test]
fn states_follow_the_live_brokers() {
    for (alive, replicas, state, expected) in [
        (&[1, 2][..], &[1][..], None, "1 0 [1] None"),
        (&[2], &[1, 2], None, "2 0 [2] None"),
        (&[3], &[1, 2], None, "-"),
        (&[1], &[1], Some((1, 0, &[1][..])), "-"),
        // The only replica goes away: no leader, but it stays in sync, as in Kafka.
        (&[2], &[1], Some((1, 0, &[1])), "-1 1 [1] Some(7)"),
        (&[2], &[1], Some((-1, 1, &[1])), "-"),
        // And comes back.
        (&[1, 2], &[1], Some((-1, 1, &[1])), "1 2 [1] Some(7)"),
        // With replicas: the next in-sync one in order of the assignment.
        (
            &[2, 3],
            &[1, 3, 2],
            Some((1, 4, &[1, 2, 3])),
            "3 5 [2, 3] Some(7)",
        ),
        // A replica that is not in sync never leads.
        (&[2], &[1, 2], Some((1, 4, &[1])), "-1 5 [1] Some(7)"),
    ] {
        let mut s = snapshot(alive);
        add(&mut s, "t", replicas, state);
        assert_eq!(
            planned(&s, &[], &[]),
            expected,
            "{alive:?} {replicas:?} {state:?}"
        );
    }
}

#[test]
fn a_restarted_leader_gets_a_new_epoch() {
    let mut s = snapshot(&[1]);
    add(&mut s, "t", &[1], Some((1, 3, &[1])));
    let mut incarnations = Incarnations::default();
    assert_eq!(incarnations.bounced(&s), BTreeSet::new());
    incarnations.settle(&s);
    if let Some(broker) = s.brokers.get_mut(&BrokerId(1)) {
        broker.epoch = BrokerEpoch(999);
    }
    assert_eq!(incarnations.bounced(&s), BTreeSet::from([BrokerId(1)]));
    assert_eq!(planned(&s, &[1], &[]), "1 4 [1] Some(7)");
    incarnations.settle(&s);
    assert_eq!(incarnations.bounced(&s), BTreeSet::new());
}

#[test]
fn a_topic_on_its_way_out_gets_no_leader() {
    let mut s = snapshot(&[1]);
    add(&mut s, "t", &[1], None);
    assert_eq!(planned(&s, &[], &["t"]), "-");
}
