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
        written: i64::MAX,
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

/// Who is in which trouble.
#[derive(Default)]
struct Trouble<'a> {
    bounced: &'a [i32],
    stopping: &'a [i32],
    offline: &'a [i32],
    /// In sync by name only, in epoch 4.
    suspects: &'a [i32],
    proven: bool,
    deleting: &'a [&'a str],
    unclean: bool,
}

/// `leader epoch [isr] version` of the one state planned, or `-`.
fn planned(snapshot: &ClusterSnapshot, trouble: &Trouble<'_>) -> String {
    let set = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
    let tp = TopicPartition {
        topic: topic("t"),
        partition: PartitionIndex(0),
    };
    let offline = trouble.offline.iter();
    let suspects = Suspects {
        epoch: LeaderEpoch(4),
        brokers: trouble.suspects.iter().copied().map(BrokerId).collect(),
        proven: trouble.proven,
    };
    let mut all = BTreeMap::new();
    if !suspects.brokers.is_empty() {
        all.insert(tp.clone(), suspects);
    }
    let situation = Situation {
        epoch: ControllerEpoch(9),
        deleting: &trouble.deleting.iter().map(|t| topic(t)).collect(),
        bounced: &set(trouble.bounced),
        stopping: &set(trouble.stopping),
        offline: &offline.map(|b| (BrokerId(*b), tp.clone())).collect(),
        suspects: &all,
        led: &BTreeMap::new(),
        unclean: &|_| trouble.unclean,
    };
    let plan = plan_states(snapshot, &situation);
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
            planned(&s, &Trouble::default()),
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
    assert_eq!(
        planned(
            &s,
            &Trouble {
                bounced: &[1],
                ..Trouble::default()
            }
        ),
        "1 4 [1] Some(7)"
    );
    incarnations.settle(&s);
    assert_eq!(incarnations.bounced(&s), BTreeSet::new());
}

#[test]
fn a_topic_on_its_way_out_gets_no_leader() {
    let mut s = snapshot(&[1]);
    add(&mut s, "t", &[1], None);
    let deleting = Trouble {
        deleting: &["t"],
        ..Trouble::default()
    };
    assert_eq!(planned(&s, &deleting), "-");
}

#[test]
fn replicas_in_trouble_neither_lead_nor_stay_in_sync() {
    let none = Trouble::default;
    type Case<'a> = (&'a [i32], (i32, i32, &'a [i32]), Trouble<'a>, &'a str);
    let cases: [Case<'_>; 13] = [
        // A dead follower must not hold up the others; the last one stays named.
        (&[1, 3], (1, 4, &[1, 2, 3]), none(), "1 5 [1, 3] Some(7)"),
        (&[], (1, 4, &[1, 2]), none(), "-1 5 [1, 2] Some(7)"),
        (&[2], (-1, 5, &[1, 2]), none(), "2 6 [2] Some(7)"),
        // Restarted: out of sync, and out of the lead, if anyone else can take it.
        (
            &[1, 2, 3],
            (1, 4, &[1, 2]),
            Trouble {
                bounced: &[1],
                ..none()
            },
            "2 5 [2] Some(7)",
        ),
        (
            &[1, 2, 3],
            (1, 4, &[1, 2]),
            Trouble {
                bounced: &[2],
                ..none()
            },
            "1 5 [1] Some(7)",
        ),
        (
            &[1, 2, 3],
            (1, 4, &[1, 2]),
            Trouble {
                bounced: &[1, 2],
                ..none()
            },
            "1 5 [1, 2] Some(7)",
        ),
        // Shutting down: hands over if it can.
        (
            &[1, 2, 3],
            (1, 4, &[1, 3]),
            Trouble {
                stopping: &[1],
                ..none()
            },
            "3 5 [3] Some(7)",
        ),
        (
            &[1, 2, 3],
            (1, 4, &[1]),
            Trouble {
                stopping: &[1],
                ..none()
            },
            "-",
        ),
        (
            &[1, 2, 3],
            (1, 4, &[1, 2]),
            Trouble {
                stopping: &[2],
                ..none()
            },
            "1 5 [1] Some(7)",
        ),
        // A failed log folder is as good as a dead broker.
        (
            &[1, 2, 3],
            (1, 4, &[1, 2]),
            Trouble {
                offline: &[1],
                ..none()
            },
            "2 5 [2] Some(7)",
        ),
        (
            &[1, 2, 3],
            (1, 4, &[1]),
            Trouble {
                offline: &[1],
                ..none()
            },
            "-1 5 [1] Some(7)",
        ),
        // Out of sync it leads only where that is wanted.
        (&[3], (1, 4, &[1]), none(), "-1 5 [1] Some(7)"),
        (
            &[3],
            (1, 4, &[1]),
            Trouble {
                unclean: true,
                ..none()
            },
            "3 5 [3] Some(7)",
        ),
    ];
    for (alive, state, trouble, expected) in cases {
        let mut s = snapshot(alive);
        add(&mut s, "t", &[1, 2, 3], Some(state));
        assert_eq!(planned(&s, &trouble), expected, "{alive:?} {state:?}");
    }
}

#[test]
fn in_sync_replicas_stay_named_until_a_restarted_leader_has_taken_over() {
    let none = Trouble::default;
    let registered_since = |alive: &[i32], leader| {
        let mut s = snapshot(alive);
        add(&mut s, "t", &[1, 2, 3], Some((leader, 4, &[1, 2, 3])));
        let info = Arc::make_mut(s.topics.get_mut(&topic("t")).expect("added"));
        let partition = info.partitions.get_mut(&PartitionIndex(0)).expect("added");
        partition.state.as_mut().expect("added").written = 101;
        s
    };
    // Brokers 2 and 3 have registered after the state was written, 1 has not.
    let s = registered_since(&[1, 2, 3], 2);
    assert_eq!(planned(&s, &none()), "1 5 [1] Some(7)");
    // Only they are there: one of them leads, the leader of before if it can, and all stay named.
    let s = registered_since(&[2, 3], 3);
    assert_eq!(planned(&s, &none()), "3 5 [1, 2, 3] Some(7)");
    // Elected again and again would not do: it is waited for, then the others leave.
    let mut s = snapshot(&[2, 3]);
    add(&mut s, "t", &[1, 2, 3], Some((3, 4, &[1, 2, 3])));
    let waiting = Trouble {
        suspects: &[1, 2],
        ..none()
    };
    assert_eq!(planned(&s, &waiting), "-");
    let proven = Trouble {
        proven: true,
        suspects: &[1, 2],
        ..none()
    };
    assert_eq!(planned(&s, &proven), "3 5 [3] Some(7)");
    // Its disk is gone: the next one, and when there is none, nobody.
    let refused = Trouble {
        offline: &[3],
        suspects: &[1, 2],
        ..none()
    };
    assert_eq!(planned(&s, &refused), "2 5 [1, 2, 3] Some(7)");
    let all_refused = Trouble {
        offline: &[2, 3],
        ..refused
    };
    assert_eq!(planned(&s, &all_refused), "-1 5 [1, 2, 3] Some(7)");
}

#[test]
fn a_broker_that_shuts_down_waits_only_for_those_who_could_lead() {
    for (alive, stopping, expected) in [
        (&[1, 2, 3][..], &[1][..], 1),
        // Not in sync, but it runs and will be.
        (&[1, 3], &[1], 1),
        (&[1, 2, 3], &[1, 2, 3], 0),
        (&[1, 3], &[1, 3], 0),
        (&[1, 4], &[1], 0),
    ] {
        let mut snapshot = snapshot(alive);
        add(&mut snapshot, "t", &[1, 2, 3], Some((1, 4, &[1, 2])));
        add(&mut snapshot, "theirs", &[2, 1, 3], Some((2, 4, &[1, 2])));
        add(&mut snapshot, "going", &[1, 2, 3], Some((1, 4, &[1, 2])));
        let situation = Situation {
            epoch: ControllerEpoch(9),
            deleting: &BTreeSet::from([topic("going")]),
            bounced: &BTreeSet::new(),
            stopping: &stopping.iter().copied().map(BrokerId).collect(),
            offline: &BTreeSet::new(),
            suspects: &BTreeMap::new(),
            led: &BTreeMap::new(),
            unclean: &|_| false,
        };
        let led = still_to_move(&snapshot, &situation, BrokerId(1));
        assert_eq!(led.len(), expected, "{alive:?} {stopping:?}");
    }
}
