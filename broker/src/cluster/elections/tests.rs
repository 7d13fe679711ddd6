//! Elections on demand, and the balance.

use std::collections::BTreeSet;
use std::sync::Arc;

use nyala_coordinator::cluster::{BrokerInfo, PartitionState, TopicInfo};
use nyala_coordinator::ids::{
    BrokerEpoch, ControllerEpoch, LeaderEpoch, PartitionIndex, TopicName,
};

use super::*;

fn brokers(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

/// Brokers, and the partitions of topic `t`: replicas, leader, in-sync replicas.
fn cluster(alive: &[i32], partitions: &[(&[i32], i32, &[i32])]) -> ClusterSnapshot {
    let broker = |id: BrokerId| BrokerInfo {
        id,
        epoch: BrokerEpoch(1),
        endpoints: Vec::new(),
        rack: None,
    };
    let partition = |(replicas, leader, isr): &(&[i32], i32, &[i32])| PartitionInfo {
        replicas: brokers(replicas),
        state: Some(PartitionState {
            leader: (*leader >= 0).then_some(BrokerId(*leader)),
            leader_epoch: LeaderEpoch(4),
            isr: brokers(isr),
            controller_epoch: ControllerEpoch(1),
            version: 7,
            written: i64::MAX,
        }),
        ..PartitionInfo::default()
    };
    let info = TopicInfo {
        id: None,
        partitions: (0..)
            .map(PartitionIndex)
            .zip(partitions.iter().map(partition))
            .collect(),
    };
    let name = TopicName::new("t").expect("legal");
    ClusterSnapshot {
        brokers: brokers(alive)
            .into_iter()
            .map(|id| (id, broker(id)))
            .collect(),
        topics: BTreeMap::from([(name, Arc::new(info))]),
        ..ClusterSnapshot::default()
    }
}

fn with_situation<T>(run: impl FnOnce(&Situation<'_>) -> T) -> T {
    run(&Situation {
        epoch: ControllerEpoch(9),
        deleting: &BTreeSet::new(),
        bounced: &BTreeSet::new(),
        stopping: &BTreeSet::new(),
        offline: &BTreeSet::new(),
        suspects: &BTreeMap::new(),
        led: &BTreeMap::new(),
        unclean: &|_| false,
    })
}

fn first() -> TopicPartition {
    TopicPartition {
        topic: TopicName::new("t").expect("legal"),
        partition: PartitionIndex(0),
    }
}

fn elected(kind: ElectionKind, alive: &[i32], partition: (&[i32], i32, &[i32])) -> String {
    let snapshot = cluster(alive, &[partition]);
    match with_situation(|situation| plan_election(&snapshot, situation, kind, &first())) {
        Ok(new) => {
            let isr: Vec<i32> = new.state.isr.iter().map(|b| b.0).collect();
            let leader = new.state.leader.map_or(-1, |b| b.0);
            format!("{leader} {} {isr:?}", new.state.leader_epoch)
        }
        Err(ElectionError::NotNeeded) => "not needed".to_owned(),
        Err(ElectionError::PreferredNotAvailable(_)) => "not preferred".to_owned(),
        Err(ElectionError::NoneEligible(_)) => "none".to_owned(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn the_first_replica_leads_again_when_it_is_in_sync() {
    use ElectionKind::Preferred;
    for (alive, partition, expected) in [
        (&[1, 2][..], (&[1, 2][..], 2, &[2, 1][..]), "1 5 [2, 1]"),
        (&[1, 2], (&[1, 2], 1, &[2, 1]), "not needed"),
        (&[1, 2], (&[1, 2], 2, &[2]), "not preferred"),
        (&[2], (&[1, 2], 2, &[2, 1]), "not preferred"),
    ] {
        assert_eq!(
            elected(Preferred, alive, partition),
            expected,
            "{partition:?}"
        );
    }
}

#[test]
fn an_unclean_leader_is_elected_only_where_nobody_leads() {
    use ElectionKind::Unclean;
    for (alive, partition, expected) in [
        (&[1, 2][..], (&[1, 2][..], 1, &[1][..]), "not needed"),
        (&[2], (&[1, 2], 1, &[1]), "2 5 [2]"),
        (&[2], (&[1, 2], -1, &[1]), "2 5 [2]"),
        (&[2, 3], (&[1, 2, 3], -1, &[1, 3]), "3 5 [3]"),
        (&[9], (&[1, 2], -1, &[1]), "none"),
    ] {
        assert_eq!(
            elected(Unclean, alive, partition),
            expected,
            "{partition:?}"
        );
    }
}

#[test]
fn leaders_go_home_when_too_many_are_away() {
    let home: (&[i32], i32, &[i32]) = (&[1, 2], 1, &[1, 2]);
    let away: (&[i32], i32, &[i32]) = (&[1, 2], 2, &[1, 2]);
    let lost: (&[i32], i32, &[i32]) = (&[1, 2], 2, &[2]);
    let planned = |partitions: &[(&[i32], i32, &[i32])], percent| {
        let snapshot = cluster(&[1, 2], partitions);
        let plan = with_situation(|situation| plan_balance(&snapshot, situation, percent));
        plan.iter()
            .map(|new| new.partition.partition.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(planned(&[home, away, away, lost], 10), [1, 2]);
    assert_eq!(
        planned(&[home, away], 50),
        [] as [i32; 0],
        "not more than half"
    );
    assert_eq!(planned(&[home, away], 49), [1]);
    assert_eq!(planned(&[home, home], 0), [] as [i32; 0]);
}
