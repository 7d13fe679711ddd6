//! Placement against the table in the documentation of Kafka's AdminUtils, and its promises.

use super::*;

fn brokers(racks: &[Option<&str>]) -> Vec<Candidate> {
    (0..)
        .zip(racks)
        .map(|(id, rack)| Candidate {
            id: BrokerId(id),
            rack: rack.map(str::to_owned),
        })
        .collect()
}

fn show(assignment: &Assignment) -> String {
    let lines = assignment.iter().map(|(p, ids)| {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        format!("{p}: {}", ids.join(" "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn wanted(partitions: i32, replication_factor: usize) -> Wanted {
    Wanted {
        partitions,
        replication_factor,
        first_partition: 0,
    }
}

const ZERO: Starts = Starts {
    broker: 0,
    shift: 0,
};

#[test]
fn replicas_are_shifted_with_every_round() {
    // The table in the documentation of AdminUtils.
    let assignment = assign(&brokers(&[None; 5]), wanted(10, 3), ZERO).expect("enough brokers");
    let table = "0: 0 1 2\n1: 1 2 3\n2: 2 3 4\n3: 3 4 0\n4: 4 0 1\n5: 0 2 3\n6: 1 3 4\n7: 2 4 0\n8: 3 0 1\n9: 4 1 2";
    assert_eq!(show(&assignment), table);
}

#[test]
fn racks_alternate() {
    let racks = [
        Some("a"),
        Some("b"),
        Some("b"),
        Some("c"),
        Some("c"),
        Some("a"),
    ];
    let order: BTreeMap<_, _> = (0..)
        .map(BrokerId)
        .zip(racks.iter().flatten().copied())
        .collect();
    let order: Vec<i32> = alternating(&order).into_iter().map(|b| b.0).collect();
    assert_eq!(order, [0, 1, 3, 5, 2, 4]);
    let assignment = assign(&brokers(&racks), wanted(7, 3), ZERO).expect("enough brokers");
    for (partition, replicas) in &assignment {
        let used: BTreeSet<_> = replicas
            .iter()
            .map(|b| racks[usize::try_from(b.0).expect("small")])
            .collect();
        assert_eq!(used.len(), 3, "partition {partition}: {replicas:?}");
    }
    let firsts: BTreeSet<_> = assignment.values().take(6).map(|r| r[0]).collect();
    assert_eq!(firsts.len(), 6);
}

#[test]
fn more_replicas_than_racks_use_each_broker_once() {
    let racks = [Some("a"), Some("a"), Some("b"), Some("b")];
    let assignment = assign(&brokers(&racks), wanted(8, 4), ZERO).expect("enough brokers");
    for replicas in assignment.values() {
        let distinct: BTreeSet<_> = replicas.iter().collect();
        assert_eq!(distinct.len(), 4);
    }
}

#[test]
fn one_broker_takes_all() {
    let assignment = assign(
        &brokers(&[None]),
        wanted(3, 1),
        Starts {
            broker: 5,
            shift: 9,
        },
    );
    assert_eq!(
        show(&assignment.expect("one is enough")),
        "0: 0\n1: 0\n2: 0"
    );
}

#[test]
fn added_partitions_go_on_where_the_first_left_off() {
    let all = assign(
        &brokers(&[None; 4]),
        wanted(9, 2),
        Starts {
            broker: 1,
            shift: 1,
        },
    );
    let all = all.expect("enough brokers");
    let more = Wanted {
        partitions: 2,
        replication_factor: 2,
        first_partition: 3,
    };
    let more = assign(
        &brokers(&[None; 4]),
        more,
        Starts {
            broker: 1,
            shift: 1,
        },
    );
    for (partition, replicas) in more.expect("enough brokers") {
        assert_eq!(all[&partition], replicas);
    }
}

#[test]
fn what_cannot_be_assigned() {
    let none = assign(&brokers(&[None, None]), wanted(1, 3), ZERO);
    assert_eq!(none, Err(CannotAssign::TooFewBrokers));
    let some = assign(&brokers(&[None, Some("a")]), wanted(1, 1), ZERO);
    assert_eq!(some, Err(CannotAssign::SomeRacks));
}
