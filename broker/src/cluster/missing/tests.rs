//! Who may lead after a disk is gone.

use std::sync::Arc;

use nyala_coordinator::cluster::{PartitionState, TopicInfo};
use nyala_coordinator::ids::{ControllerEpoch, LeaderEpoch};

use super::*;

const ME: BrokerId = BrokerId(1);
const OTHER: BrokerId = BrokerId(2);
const WELL: Folders = Folders {
    offline: false,
    replaced: false,
};

fn tp() -> TopicPartition {
    TopicPartition {
        topic: TopicName::new("t").expect("legal"),
        partition: PartitionIndex(0),
    }
}

fn cluster(replicas: &[BrokerId], isr: &[BrokerId]) -> ClusterSnapshot {
    let partition = PartitionInfo {
        replicas: replicas.to_vec(),
        state: Some(PartitionState {
            leader: isr.first().copied(),
            leader_epoch: LeaderEpoch(4),
            isr: isr.to_vec(),
            controller_epoch: ControllerEpoch(1),
            version: 9,
            written: i64::MAX,
        }),
        ..PartitionInfo::default()
    };
    let info = TopicInfo {
        id: None,
        partitions: BTreeMap::from([(PartitionIndex(0), partition)]),
    };
    ClusterSnapshot {
        topics: BTreeMap::from([(tp().topic, Arc::new(info))]),
        ..ClusterSnapshot::default()
    }
}

fn facts(leader: BrokerId, isr: &[BrokerId]) -> Vec<PartitionFacts> {
    vec![PartitionFacts {
        partition: tp(),
        topic_id: None,
        leader: Some(leader),
        leader_epoch: LeaderEpoch(5),
        partition_epoch: 10,
        isr: isr.to_vec(),
        replicas: vec![ME, OTHER],
        adding: Vec::new(),
        removing: Vec::new(),
        is_new: false,
    }]
}

fn may(missing: &mut Missing, facts: Vec<PartitionFacts>) -> bool {
    let (allowed, refused) = missing.sift(ME, facts);
    assert_eq!(allowed.len() + refused.len(), 1);
    !allowed.is_empty()
}

fn find(before: &ClusterSnapshot, folders: Folders) -> Missing {
    Missing::decide(ME, before, &BTreeSet::new(), folders, &BTreeSet::new())
}

#[test]
fn an_empty_disk_does_not_lead_until_it_was_out_of_sync() {
    let replaced = Folders {
        replaced: true,
        ..WELL
    };
    let mut missing = find(&cluster(&[ME, OTHER], &[ME, OTHER]), replaced);
    assert!(!may(&mut missing, facts(ME, &[ME, OTHER])));
    assert!(!may(&mut missing, facts(ME, &[ME])), "the last one neither");
    assert!(may(&mut missing, facts(OTHER, &[OTHER, ME])), "it follows");
    assert!(
        !may(&mut missing, facts(ME, &[ME, OTHER])),
        "and is not trusted yet"
    );
    assert!(may(&mut missing, facts(OTHER, &[OTHER])), "it is out");
    assert!(
        may(&mut missing, facts(ME, &[ME, OTHER])),
        "it was put back"
    );
}

#[test]
fn what_was_not_trusted_or_has_no_copy_or_is_here_is_not_lost() {
    let replaced = Folders {
        replaced: true,
        ..WELL
    };
    let lead = || facts(ME, &[ME]);
    let out = cluster(&[ME, OTHER], &[OTHER]);
    assert!(may(&mut find(&out, replaced), lead()));
    let alone = cluster(&[ME], &[ME]);
    assert!(may(&mut find(&alone, replaced), lead()));
    let both = cluster(&[ME, OTHER], &[ME, OTHER]);
    assert!(
        may(&mut find(&both, WELL), lead()),
        "made, but not opened yet"
    );
    let here = BTreeSet::from([tp()]);
    let nothing = BTreeSet::new();
    let mut missing = Missing::decide(ME, &both, &here, replaced, &nothing);
    assert!(may(&mut missing, lead()));
}

#[test]
fn what_an_earlier_start_noted_stays_lost_until_it_was_out_of_sync() {
    let noted = BTreeSet::from([tp()]);
    // An empty log was made meanwhile, and the folder is no new one.
    let again = |isr: &[BrokerId]| {
        let before = cluster(&[ME, OTHER], isr);
        Missing::decide(ME, &before, &noted, WELL, &noted)
    };
    let mut missing = again(&[ME]);
    assert_eq!(missing.lost(), &noted);
    assert!(!may(&mut missing, facts(ME, &[ME])));
    assert_eq!(missing.changed(), None);
    assert!(may(&mut missing, facts(OTHER, &[OTHER])), "it is out");
    assert_eq!(missing.changed(), Some(BTreeSet::new()), "to be noted");
    assert_eq!(missing.changed(), None);
    assert!(may(&mut again(&[OTHER]), facts(ME, &[ME, OTHER])));
}

#[test]
fn nothing_is_made_in_place_of_what_is_offline() {
    let offline = Folders {
        offline: true,
        ..WELL
    };
    let mut missing = find(&cluster(&[ME, OTHER], &[OTHER]), offline);
    assert!(!may(&mut missing, facts(OTHER, &[OTHER])));
    missing.forget(&tp());
    assert!(may(&mut missing, facts(OTHER, &[OTHER])));
}
