//! What a follower names in its requests, from the first to the end of the session.

use nyala_coordinator::ids::{PartitionIndex, TopicName};

use super::*;

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: TopicName::new(topic).unwrap(),
        partition: PartitionIndex(partition),
    }
}

fn wish(id: u8, offset: i64) -> Wish {
    Wish {
        topic_id: TopicId([id; 16]),
        leader_epoch: 1,
        offset,
        last_epoch: 0,
        log_start: 0,
    }
}

/// A plan as text: session, partitions with offsets, what is forgotten.
fn show(plan: &Plan) -> String {
    let wanted: Vec<String> = (plan.wanted.iter())
        .map(|(tp, wish)| format!("{tp}@{}", wish.offset))
        .collect();
    let gone: Vec<String> = (plan.forgotten.iter())
        .map(|(tp, id)| format!("{tp}:{}", id.0[0]))
        .collect();
    format!(
        "{}/{} [{}] -[{}]",
        plan.session_id,
        plan.session_epoch,
        wanted.join(" "),
        gone.join(" ")
    )
}

#[test]
fn a_session_names_only_what_changed() {
    let mut session = Session::default();
    session.set(&tp("a", 0), wish(1, 5));
    session.set(&tp("b", 0), wish(2, 7));
    assert_eq!(show(&session.plan(true)), "0/0 [a-0@5 b-0@7] -[]");
    session.answered(ErrorCode::None, 44).unwrap();
    assert_eq!(show(&session.plan(true)), "44/1 [] -[]");
    session.answered(ErrorCode::None, 44).unwrap();

    session.set(&tp("a", 0), wish(1, 6));
    session.set(&tp("b", 0), wish(2, 7));
    session.set(&tp("c", 0), wish(3, 0));
    assert_eq!(show(&session.plan(true)), "44/2 [a-0@6 c-0@0] -[]");
    session.answered(ErrorCode::None, 44).unwrap();

    session.remove(&tp("b", 0));
    session.remove(&tp("a", 0));
    session.set(&tp("a", 0), wish(1, 6));
    assert_eq!(show(&session.plan(true)), "44/3 [a-0@6] -[b-0:2]");
    session.answered(ErrorCode::None, 44).unwrap();

    // Deleted and made again: the old one is forgotten by its id.
    session.set(&tp("a", 0), wish(9, 0));
    assert_eq!(show(&session.plan(true)), "44/4 [a-0@0] -[a-0:1]");
}

#[test]
fn a_lost_answer_or_session_begins_anew() {
    let mut session = Session::default();
    session.set(&tp("a", 0), wish(1, 5));
    let _ = session.plan(true);
    session.answered(ErrorCode::None, 44).unwrap();
    session.set(&tp("a", 0), wish(1, 6));
    let _ = session.plan(true);
    session.lost();
    // The old id, so that the leader drops that session.
    assert_eq!(show(&session.plan(true)), "44/0 [a-0@6] -[]");
    session.answered(ErrorCode::None, 45).unwrap();
    assert_eq!(show(&session.plan(true)), "45/1 [] -[]");
    let refused = session.answered(ErrorCode::FetchSessionIdNotFound, 0);
    assert_eq!(refused, Err(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(show(&session.plan(true)), "0/0 [a-0@6] -[]");
    session.answered(ErrorCode::None, 46).unwrap();
    let refused = session.answered(ErrorCode::InvalidFetchSessionEpoch, 0);
    assert!(refused.is_err());
    assert_eq!(show(&session.plan(true)), "46/0 [a-0@6] -[]");
}

#[test]
fn without_a_session_everything_is_asked_for_in_turn() {
    let mut session = Session::default();
    for topic in ["a", "b", "c"] {
        session.set(&tp(topic, 0), wish(1, 0));
    }
    let mut plans = Vec::new();
    for _ in 0..3 {
        plans.push(show(&session.plan(true)));
        session.answered(ErrorCode::None, 0).unwrap();
    }
    assert_eq!(
        plans,
        [
            "0/0 [a-0@0 b-0@0 c-0@0] -[]",
            "0/0 [b-0@0 c-0@0 a-0@0] -[]",
            "0/0 [c-0@0 a-0@0 b-0@0] -[]",
        ]
    );
}

#[test]
fn one_topic_without_an_id_makes_all_go_by_name() {
    let mut session = Session::default();
    session.set(&tp("a", 0), wish(1, 5));
    assert!(session.plan(true).by_id);
    session.answered(ErrorCode::None, 44).unwrap();
    session.set(&tp("old", 0), wish(0, 0));
    let plan = session.plan(true);
    assert!(!plan.by_id);
    assert_eq!(show(&plan), "44/0 [a-0@5 old-0@0] -[]");
    session.answered(ErrorCode::None, 45).unwrap();
    session.remove(&tp("old", 0));
    let plan = session.plan(true);
    assert!(plan.by_id);
    assert_eq!(show(&plan), "45/0 [a-0@5] -[]");
    assert!(!session.plan(false).by_id);
}
