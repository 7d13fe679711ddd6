//! The diff: what is here against what should be.

use std::sync::Arc;

use nyala_coordinator::cluster::{PartitionInfo, PartitionState, TopicInfo};
use nyala_coordinator::ids::{ControllerEpoch, PartitionIndex};

use super::*;

const ME: BrokerId = BrokerId(1);

fn id(n: u8) -> Option<TopicId> {
    Some(TopicId([n; 16]))
}

fn tp() -> TopicPartition {
    TopicPartition {
        topic: TopicName::new("t").expect("legal"),
        partition: PartitionIndex(0),
    }
}

fn snapshot(topic_id: Option<TopicId>, state: Option<(i32, i32)>) -> ClusterSnapshot {
    let state = state.map(|(leader, epoch)| PartitionState {
        leader: (leader >= 0).then_some(BrokerId(leader)),
        leader_epoch: LeaderEpoch(epoch),
        isr: vec![ME],
        controller_epoch: ControllerEpoch(1),
        version: 0,
    });
    let partition = PartitionInfo {
        replicas: vec![ME],
        state,
        ..PartitionInfo::default()
    };
    let info = TopicInfo {
        id: topic_id,
        partitions: BTreeMap::from([(PartitionIndex(0), partition)]),
    };
    ClusterSnapshot {
        topics: BTreeMap::from([(tp().topic, Arc::new(info))]),
        ..ClusterSnapshot::default()
    }
}

fn local(topic_id: Option<TopicId>, leading: Option<i32>) -> BTreeMap<TopicPartition, Local> {
    let leading = leading.map(LeaderEpoch);
    BTreeMap::from([(tp(), Local { topic_id, leading })])
}

fn lead(topic_id: Option<TopicId>, epoch: i32) -> Action {
    Action::Lead {
        partition: tp(),
        topic_id,
        epoch: LeaderEpoch(epoch),
    }
}

fn todo(
    s: &ClusterSnapshot,
    marked: &Marked,
    here: &BTreeMap<TopicPartition, Local>,
) -> Vec<Action> {
    diff(ME, s, marked, here, &BTreeSet::new())
}

#[test]
fn leads_what_names_it() {
    let s = snapshot(id(1), Some((1, 3)));
    let none = Marked::new();
    assert_eq!(todo(&s, &none, &BTreeMap::new()), [lead(id(1), 3)]);
    assert_eq!(todo(&s, &none, &local(id(1), None)), [lead(id(1), 3)]);
    assert_eq!(todo(&s, &none, &local(id(1), Some(2))), [lead(id(1), 3)]);
    assert_eq!(todo(&s, &none, &local(id(1), Some(3))), []);
    // A log from before topic ids is the topic's.
    assert_eq!(todo(&s, &none, &local(None, Some(3))), []);
    let failed = BTreeSet::from([(tp(), LeaderEpoch(3))]);
    assert_eq!(diff(ME, &s, &none, &BTreeMap::new(), &failed), []);
}

#[test]
fn resigns_what_names_another_or_nobody() {
    let none = Marked::new();
    let resign = [Action::Resign { partition: tp() }];
    assert_eq!(
        todo(
            &snapshot(id(1), Some((2, 4))),
            &none,
            &local(id(1), Some(3))
        ),
        resign
    );
    assert_eq!(
        todo(
            &snapshot(id(1), Some((-1, 4))),
            &none,
            &local(id(1), Some(3))
        ),
        resign
    );
    assert_eq!(
        todo(&snapshot(id(1), None), &none, &local(id(1), Some(3))),
        []
    );
}

#[test]
fn a_topic_that_is_merely_gone_keeps_its_files() {
    let gone = ClusterSnapshot::default();
    let none = Marked::new();
    let resign = [Action::Resign { partition: tp() }];
    assert_eq!(todo(&gone, &none, &local(id(1), Some(3))), resign);
    assert_eq!(todo(&gone, &none, &local(id(1), None)), []);
}

#[test]
fn a_marked_topic_is_deleted_whether_it_is_still_there_or_not() {
    let marked = Marked::from([(tp().topic, id(1))]);
    let delete = [Action::Delete { partition: tp() }];
    let s = snapshot(id(1), Some((1, 3)));
    assert_eq!(todo(&s, &marked, &local(id(1), Some(3))), delete);
    assert_eq!(todo(&s, &marked, &BTreeMap::new()), []);
    assert_eq!(
        todo(&ClusterSnapshot::default(), &marked, &local(id(1), None)),
        delete
    );
}

#[test]
fn a_topic_made_anew_does_not_inherit_the_mark() {
    let marked = Marked::from([(tp().topic, id(1))]);
    let s = snapshot(id(2), Some((1, 0)));
    let delete = Action::Delete { partition: tp() };
    assert_eq!(
        todo(&s, &marked, &local(id(1), Some(3))),
        [delete, lead(id(2), 0)]
    );
    assert_eq!(todo(&s, &marked, &local(id(2), Some(0))), []);
}
