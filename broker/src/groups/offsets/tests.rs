//! Commits that overtake each other; expiry by KIP-211.

use super::*;
use crate::groups::event::Now;
use crate::groups::records::GroupRecord;
use crate::groups::state::Rules;

const RULES: Rules = Rules {
    members_max: 10,
    initial_rebalance_delay_ms: 0,
};

fn place(topic: &str, partition: i32) -> Place {
    (TopicName::new(topic).unwrap(), partition)
}

fn committed(offset: i64, written_at: i64) -> Committed {
    Committed {
        record: OffsetRecord {
            offset,
            leader_epoch: -1,
            metadata: "".into(),
            commit_ms: 1000,
            expire_ms: -1,
        },
        written_at,
    }
}

fn now(wall_ms: i64) -> Now {
    Now {
        ticks_ms: 0,
        wall_ms,
    }
}

fn empty_group(protocol_type: &str, since_ms: i64) -> Group {
    let record = GroupRecord {
        protocol_type: protocol_type.into(),
        generation: 3,
        protocol: None,
        leader: None,
        state_since_ms: since_ms,
        members: Vec::new(),
    };
    Group::load(record, RULES, now(0))
}

#[test]
fn the_later_commit_in_the_log_counts() {
    let mut offsets = Offsets::default();
    let p = place("t", 0);
    offsets.begin(&p);
    offsets.begin(&p);
    assert!(offsets.is_unstable("t", 0));
    assert_eq!(offsets.get("t", 0), None);
    offsets.end(&p, Some(committed(7, 11)));
    assert!(offsets.is_unstable("t", 0));
    offsets.end(&p, Some(committed(5, 10)));
    assert!(!offsets.is_unstable("t", 0));
    assert_eq!(offsets.get("t", 0).unwrap().offset, 7);
    // A commit may go back, if it is later in the log.
    offsets.put(&p, committed(1, 12));
    assert_eq!(offsets.get("t", 0).unwrap().offset, 1);
}

#[test]
fn a_failed_first_commit_leaves_nothing() {
    let mut offsets = Offsets::default();
    offsets.begin(&place("t", 0));
    assert!(!offsets.is_empty());
    offsets.end(&place("t", 0), None);
    assert!(offsets.is_empty());
    assert_eq!(offsets.topics().count(), 0);
}

#[test]
fn a_deleted_offset_does_not_come_back_with_its_commit() {
    let mut offsets = Offsets::default();
    offsets.begin(&place("t", 0));
    offsets.remove(&place("t", 0));
    offsets.end(&place("t", 0), Some(committed(5, 10)));
    assert!(offsets.is_empty());
}

#[test]
fn offsets_of_simple_consumers_expire_by_their_commit() {
    let group = Group::new(RULES, now(0));
    let mut offsets = Offsets::default();
    offsets.put(&place("t", 0), committed(5, 0));
    assert!(offsets.expired(&group, 500, 1499).is_empty());
    assert_eq!(offsets.expired(&group, 500, 1500), [place("t", 0)]);
    // One that is about to change is kept.
    offsets.begin(&place("t", 0));
    assert!(offsets.expired(&group, 500, 1500).is_empty());
}

#[test]
fn offsets_of_an_empty_group_expire_by_the_moment_it_became_empty() {
    let mut offsets = Offsets::default();
    offsets.put(&place("t", 0), committed(5, 0));
    let group = empty_group("consumer", 9000);
    assert!(offsets.expired(&group, 500, 9499).is_empty());
    assert_eq!(offsets.expired(&group, 500, 9500), [place("t", 0)]);
    // Records of old versions do not tell the moment: then the commit counts.
    let group = empty_group("consumer", -1);
    assert_eq!(offsets.expired(&group, 500, 1500), [place("t", 0)]);
}

#[test]
fn an_expiry_of_the_clients_own_counts_alone() {
    let mut offsets = Offsets::default();
    let mut own = committed(5, 0);
    own.record.expire_ms = 3000;
    offsets.put(&place("t", 0), own);
    let group = Group::new(RULES, now(0));
    assert!(offsets.expired(&group, 1, 2999).is_empty());
    assert_eq!(offsets.expired(&group, i64::MAX, 3000), [place("t", 0)]);
}

#[test]
fn while_members_subscribe_only_other_topics_expire() {
    let mut subscription = vec![0, 0, 0, 0, 0, 1, 0, 4];
    subscription.extend(b"read");
    let member = crate::groups::records::MemberRecord {
        id: "m".into(),
        instance: None,
        client: crate::groups::member::Client {
            id: "c".into(),
            host: "/h".into(),
        },
        rebalance_timeout_ms: 1,
        session_timeout_ms: 1,
        subscription: subscription.into(),
        assignment: bytes::Bytes::new(),
    };
    let record = GroupRecord {
        protocol_type: "consumer".into(),
        generation: 3,
        protocol: Some("range".into()),
        leader: Some("m".into()),
        state_since_ms: 0,
        members: vec![member],
    };
    let mut offsets = Offsets::default();
    offsets.put(&place("read", 0), committed(5, 0));
    offsets.put(&place("left", 1), committed(5, 0));
    let group = Group::load(record.clone(), RULES, now(0));
    assert_eq!(offsets.expired(&group, 500, 1500), [place("left", 1)]);
    // Other kinds of groups: nothing is known, nothing goes.
    let connect = GroupRecord {
        protocol_type: "connect".into(),
        ..record
    };
    let group = Group::load(connect, RULES, now(0));
    assert!(offsets.expired(&group, 500, 1500).is_empty());
}
