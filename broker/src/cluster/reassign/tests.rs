//! Moves from start to end, as text.

use std::sync::Arc;

use nyala_coordinator::cluster::{BrokerInfo, PartitionState, TopicInfo};
use nyala_coordinator::ids::{BrokerEpoch, ControllerEpoch, LeaderEpoch};

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

/// Partition `t-0` in a cluster of brokers 1 to 5.
fn cluster(placement: [&[i32]; 3], leader: i32, isr: &[i32]) -> ClusterSnapshot {
    let info = PartitionInfo {
        replicas: brokers(placement[0]),
        adding_replicas: brokers(placement[1]),
        removing_replicas: brokers(placement[2]),
        state: Some(PartitionState {
            leader: Some(BrokerId(leader)),
            leader_epoch: LeaderEpoch(4),
            isr: brokers(isr),
            controller_epoch: ControllerEpoch(1),
            version: 7,
            written: i64::MAX,
        }),
    };
    let broker = |id: BrokerId| BrokerInfo {
        id,
        epoch: BrokerEpoch(1),
        endpoints: Vec::new(),
        rack: None,
    };
    let topic = TopicInfo {
        id: None,
        partitions: BTreeMap::from([(PartitionIndex(0), info)]),
    };
    let live = brokers(&[1, 2, 3, 4, 5]).into_iter();
    ClusterSnapshot {
        brokers: live.map(|id| (id, broker(id))).collect(),
        topics: BTreeMap::from([(tp().topic, Arc::new(topic))]),
        ..ClusterSnapshot::default()
    }
}

fn with_situation<T>(run: impl FnOnce(&Situation<'_>) -> T) -> T {
    with_leader_of(4, run)
}

/// Whose leader has taken over in that epoch.
fn with_leader_of<T>(epoch: i32, run: impl FnOnce(&Situation<'_>) -> T) -> T {
    run(&Situation {
        epoch: ControllerEpoch(9),
        deleting: &BTreeSet::new(),
        bounced: &BTreeSet::new(),
        stopping: &BTreeSet::new(),
        offline: &BTreeSet::new(),
        suspects: &BTreeMap::new(),
        led: &BTreeMap::from([(tp(), LeaderEpoch(epoch))]),
        unclean: &|_| false,
    })
}

fn shown(step: &Step) -> String {
    let ids =
        |brokers: &[BrokerId]| format!("{:?}", brokers.iter().map(|b| b.0).collect::<Vec<_>>());
    let Placement {
        replicas,
        adding,
        removing,
    } = &step.placement;
    let state = step.state.as_ref().map_or_else(String::new, |new| {
        let leader = new.state.leader.map_or(-1, |b| b.0);
        format!(
            " led by {leader} in {} with {}",
            new.state.leader_epoch,
            ids(&new.state.isr)
        )
    });
    format!(
        "{} +{} -{}{state}, dropped {}",
        ids(replicas),
        ids(adding),
        ids(removing),
        ids(&step.dropped)
    )
}

fn moved(snapshot: &ClusterSnapshot, wanted: Option<&[i32]>) -> String {
    let wanted = wanted.map(brokers);
    match with_situation(|situation| plan_move(snapshot, situation, &tp(), wanted.as_deref())) {
        Ok(step) => shown(&step),
        Err(e) => e.to_string(),
    }
}

fn ended(snapshot: &ClusterSnapshot) -> String {
    let steps = with_situation(|situation| plan_ends(snapshot, situation));
    steps.iter().map(shown).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_partition_lives_on_old_and_new_replicas_while_it_moves() {
    let still = cluster([&[1, 2], &[], &[]], 1, &[1, 2]);
    let expected = "[3, 2, 1] +[3] -[1] led by 1 in 5 with [1, 2], dropped []";
    assert_eq!(moved(&still, Some(&[3, 2])), expected);
    assert_eq!(ended(&still), "");
    // Not over before the new replica is in sync.
    assert_eq!(ended(&cluster([&[3, 2, 1], &[3], &[1]], 1, &[1, 2])), "");
    // Over: the leader leaves, the first of those who stay takes over, the others go.
    let arrived = cluster([&[3, 2, 1], &[3], &[1]], 1, &[1, 2, 3]);
    let expected = "[3, 2] +[] -[] led by 3 in 5 with [2, 3], dropped [1]";
    assert_eq!(ended(&arrived), expected);
    // Not before its leader has shown that it can lead: it may be in sync by name only.
    let (now, before) = (LeaderEpoch(4), LeaderEpoch(3));
    for (epoch, open) in [(now, false), (before, true)] {
        let (ends, waits) = with_leader_of(epoch.0, |situation| {
            (plan_ends(&arrived, situation), not_led(&arrived, situation))
        });
        assert_eq!((ends.is_empty(), waits == [tp()]), (open, open));
    }
    // A leader that stays keeps the lead.
    let arrived = cluster([&[3, 2, 1], &[3], &[1]], 2, &[1, 2, 3]);
    let expected = "[3, 2] +[] -[] led by 2 in 5 with [2, 3], dropped [1]";
    assert_eq!(ended(&arrived), expected);
    // Fewer replicas: over as soon as it is begun; another order: at once.
    let fewer = "[2, 1] +[] -[1] led by 1 in 5 with [1, 2], dropped []";
    assert_eq!(moved(&still, Some(&[2])), fewer);
    let order = "[2, 1] +[] -[] led by 1 in 5 with [1, 2], dropped []";
    assert_eq!(moved(&still, Some(&[2, 1])), order);
}

#[test]
fn a_move_can_be_changed_and_called_off() {
    let moving = cluster([&[3, 2, 1], &[3], &[1]], 1, &[1, 2]);
    let expected = "[4, 2, 1] +[4] -[1] led by 1 in 5 with [1, 2], dropped [3]";
    assert_eq!(moved(&moving, Some(&[4, 2])), expected);
    let expected = "[2, 1] +[] -[] led by 1 in 5 with [1, 2], dropped [3]";
    assert_eq!(moved(&moving, None), expected);
    // The leader was one of the new ones.
    let led = cluster([&[3, 2, 1], &[3], &[1]], 3, &[1, 2, 3]);
    let expected = "[2, 1] +[] -[] led by 2 in 5 with [1, 2], dropped [3]";
    assert_eq!(moved(&led, None), expected);
    let only = cluster([&[3, 2, 1], &[3], &[1]], 3, &[3]);
    assert_eq!(
        moved(&only, None),
        "None of the in-sync replicas of t-0 would be left."
    );
}

#[test]
fn moves_that_cannot_be_are_refused() {
    let still = cluster([&[1, 2], &[], &[]], 1, &[1, 2]);
    for (wanted, words) in [
        (None, "No partition reassignment is in progress."),
        (Some(&[][..]), "Empty replica list"),
        (Some(&[1, 1]), "Duplicate replica ids"),
        (Some(&[-1]), "Invalid broker id"),
        (
            Some(&[1, 9]),
            "Replica list: 9, live broker list: 1, 2, 3, 4, 5",
        ),
    ] {
        let refused = moved(&still, wanted);
        assert!(refused.contains(words), "{wanted:?}: {refused}");
    }
    let elsewhere = TopicPartition {
        partition: PartitionIndex(1),
        ..tp()
    };
    let refused =
        with_situation(|situation| plan_move(&still, situation, &elsewhere, Some(&[BrokerId(1)])));
    assert_eq!(refused, Err(ReassignError::Unknown));
}
