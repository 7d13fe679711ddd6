//! The diff: what is here against what should be.

use nyala_coordinator::ids::{ControllerEpoch, PartitionIndex};

use super::*;

const ME: BrokerId = BrokerId(1);
const OTHER: BrokerId = BrokerId(2);

fn id(n: u8) -> Option<TopicId> {
    Some(TopicId([n; 16]))
}

fn tp() -> TopicPartition {
    TopicPartition {
        topic: TopicName::new("t").expect("legal"),
        partition: PartitionIndex(0),
    }
}

/// The partition on `replicas`, led by the first number in the epoch that is the second.
fn on(replicas: &[BrokerId], state: Option<(i32, i32)>) -> ClusterSnapshot {
    let state = state.map(|(leader, epoch)| PartitionState {
        leader: (leader >= 0).then_some(BrokerId(leader)),
        leader_epoch: LeaderEpoch(epoch),
        isr: vec![ME],
        controller_epoch: ControllerEpoch(1),
        version: 0,
        written: i64::MAX,
    });
    let partition = PartitionInfo {
        replicas: replicas.to_vec(),
        state,
        ..PartitionInfo::default()
    };
    let info = TopicInfo {
        id: id(1),
        partitions: BTreeMap::from([(PartitionIndex(0), partition)]),
    };
    ClusterSnapshot {
        topics: BTreeMap::from([(tp().topic, Arc::new(info))]),
        ..ClusterSnapshot::default()
    }
}

fn alone(state: Option<(i32, i32)>) -> ClusterSnapshot {
    on(&[ME], state)
}

fn local(topic_id: Option<TopicId>, leads: bool, epoch: i32) -> BTreeMap<TopicPartition, Local> {
    local_on(&[ME], topic_id, leads, epoch)
}

fn local_on(
    replicas: &[BrokerId],
    topic_id: Option<TopicId>,
    leads: bool,
    epoch: i32,
) -> BTreeMap<TopicPartition, Local> {
    let state = ReplicaState {
        replicas: replicas.to_vec(),
        ..ReplicaState::alone(ME, LeaderEpoch(epoch))
    };
    let here = Local {
        topic_id,
        state: Some(Arc::new(state)),
        leading: leads.then_some(LeaderEpoch(epoch)),
    };
    BTreeMap::from([(tp(), here)])
}

/// What is to do, in short: the leader and its epoch of what is applied.
fn todo(
    s: &ClusterSnapshot,
    memory: &Memory,
    here: &BTreeMap<TopicPartition, Local>,
) -> Vec<String> {
    let say = |action| match action {
        Action::Apply(f) => format!("{:?} {}", f.leader.map(|b| b.0), f.leader_epoch),
        Action::Idle(_) => "idle".to_owned(),
    };
    diff(ME, s, memory, here).into_iter().map(say).collect()
}

#[test]
fn what_is_newer_is_applied_and_nothing_twice() {
    let s = alone(Some((1, 3)));
    let memory = Memory::default();
    assert_eq!(todo(&s, &memory, &BTreeMap::new()), ["Some(1) 3"]);
    assert_eq!(todo(&s, &memory, &local(id(1), true, 2)), ["Some(1) 3"]);
    assert!(todo(&s, &memory, &local(id(1), true, 3)).is_empty());
    assert!(todo(&s, &memory, &local(id(1), true, 4)).is_empty());
    // A log from before topic ids is the topic's.
    assert!(todo(&s, &memory, &local(None, true, 3)).is_empty());
    let failed = Memory {
        failed: BTreeMap::from([(tp(), (LeaderEpoch(3), 0))]),
        ..Memory::default()
    };
    assert!(todo(&s, &failed, &BTreeMap::new()).is_empty());
}

#[test]
fn what_others_lead_is_followed_and_what_nobody_leads_is_known() {
    let memory = Memory::default();
    let others = on(&[OTHER, ME], Some((2, 4)));
    assert_eq!(todo(&others, &memory, &BTreeMap::new()), ["Some(2) 4"]);
    assert_eq!(
        todo(&others, &memory, &local(id(1), true, 3)),
        ["Some(2) 4"]
    );
    let nobody = alone(Some((-1, 4)));
    assert_eq!(todo(&nobody, &memory, &local(id(1), true, 3)), ["None 4"]);
    assert!(todo(&nobody, &memory, &BTreeMap::new()).is_empty());
    assert!(todo(&alone(None), &memory, &local(id(1), true, 3)).is_empty());
}

#[test]
fn other_replicas_are_news_without_a_new_epoch() {
    let memory = Memory::default();
    let s = on(&[ME, OTHER], Some((1, 3)));
    assert_eq!(todo(&s, &memory, &local(id(1), true, 3)), ["Some(1) 3"]);
    assert!(todo(&s, &memory, &local_on(&[ME, OTHER], id(1), true, 3)).is_empty());
    assert!(
        todo(&s, &memory, &local(id(1), true, 4)).is_empty(),
        "old news"
    );
}

#[test]
fn a_replica_that_was_taken_away_is_served_no_more() {
    let memory = Memory::default();
    let away = on(&[OTHER], Some((2, 4)));
    assert_eq!(todo(&away, &memory, &local(id(1), false, 3)), ["idle"]);
    // An order was quicker than the snapshot.
    assert!(todo(&away, &memory, &local(id(1), false, 5)).is_empty());
}

#[test]
fn a_topic_that_is_merely_gone_keeps_its_files() {
    let gone = ClusterSnapshot::default();
    assert_eq!(
        todo(&gone, &Memory::default(), &local(id(1), true, 3)),
        ["idle"]
    );
    let idle = BTreeMap::from([(
        tp(),
        Local {
            topic_id: id(1),
            state: None,
            leading: None,
        },
    )]);
    assert!(todo(&gone, &Memory::default(), &idle).is_empty());
    let ahead = Memory {
        ahead: BTreeMap::from([(tp().topic, id(1))]),
        ..Memory::default()
    };
    assert!(todo(&gone, &ahead, &local(id(1), true, 0)).is_empty());
}

#[test]
fn a_marked_topic_is_not_served_and_not_started() {
    let memory = Memory {
        marked: BTreeMap::from([(tp().topic, id(1))]),
        ..Memory::default()
    };
    let s = alone(Some((1, 3)));
    assert_eq!(todo(&s, &memory, &local(id(1), true, 3)), ["idle"]);
    assert!(todo(&s, &memory, &BTreeMap::new()).is_empty());
    let old = Memory {
        marked: BTreeMap::from([(tp().topic, id(9))]),
        ..Memory::default()
    };
    assert_eq!(
        todo(&s, &old, &BTreeMap::new()),
        ["Some(1) 3"],
        "another topic"
    );
}

#[test]
fn a_stopped_replica_starts_in_a_later_epoch_only() {
    let stopped = |until: Option<i32>| Memory {
        stopped: BTreeMap::from([(
            tp(),
            Stopped {
                topic_id: id(1),
                until: until.map(LeaderEpoch),
            },
        )]),
        ..Memory::default()
    };
    let s = on(&[OTHER, ME], Some((2, 4)));
    assert!(todo(&s, &stopped(None), &BTreeMap::new()).is_empty());
    assert!(todo(&s, &stopped(Some(4)), &BTreeMap::new()).is_empty());
    assert_eq!(todo(&s, &stopped(Some(3)), &BTreeMap::new()), ["Some(2) 4"]);
}

#[test]
fn an_epoch_from_before_is_led_again_only_where_nobody_else_has_a_copy() {
    let memory = Memory {
        before: BTreeMap::from([(tp(), LeaderEpoch(3))]),
        ..Memory::default()
    };
    let none = BTreeMap::new();
    assert_eq!(todo(&alone(Some((1, 3))), &memory, &none), ["Some(1) 3"]);
    let shared = |leader, epoch| on(&[ME, OTHER], Some((leader, epoch)));
    assert!(todo(&shared(1, 3), &memory, &none).is_empty());
    assert_eq!(todo(&shared(1, 4), &memory, &none), ["Some(1) 4"]);
    assert_eq!(todo(&shared(2, 3), &memory, &none), ["Some(2) 3"]);
}

#[test]
fn a_leaving_broker_gives_up_and_takes_nothing() {
    let memory = Memory {
        leaving: true,
        ..Memory::default()
    };
    let moved = on(&[ME, OTHER], Some((2, 4)));
    assert_eq!(todo(&moved, &memory, &local(id(1), true, 3)), ["idle"]);
    assert!(todo(&moved, &memory, &local(id(1), false, 3)).is_empty());
    assert!(todo(&moved, &memory, &BTreeMap::new()).is_empty());
}
