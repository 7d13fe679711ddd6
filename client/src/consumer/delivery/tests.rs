//! Who may have what, when: handing out, handling, leaving.

use nyala_coordinator::ids::{PartitionIndex, TopicName};

use super::*;
use crate::wire::batch::{BatchBuilder, BatchOptions};

fn target(partition: i32) -> TopicPartition {
    TopicPartition {
        topic: TopicName::new("t").expect("legal"),
        partition: PartitionIndex(partition),
    }
}

fn batch(base_offset: i64, records: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset,
        leader_epoch: 4,
        ..BatchOptions::default()
    });
    for _ in 0..records {
        builder.append(0, None, Some(b"v"), &[]).expect("room");
    }
    builder.build().expect("small")
}

fn fetched(base_offset: i64, records: usize, next_offset: i64) -> Fetched {
    Fetched {
        batches: batch(base_offset, records),
        next_offset,
        epoch: 4,
    }
}

#[test]
fn truncation_takes_back_what_waits_but_not_what_was_handed_out_before_it() {
    let delivery = Delivery::new(1 << 20, None);
    delivery.assign(target(0), 0, None);
    fill(&delivery, 0, 10);
    assert_eq!(offsets(&delivery, 2).len(), 2);
    let need = delivery.needs().remove(0);
    assert_eq!((need.offset, need.last_epoch), (10, 4));
    delivery.truncated(&need, 5);
    assert_eq!(offsets(&delivery, 9), [], "from 2 on it is fetched anew");
    let again = delivery.needs().remove(0);
    assert_eq!((again.offset, again.last_epoch), (2, -1));
    delivery.truncated(&need, 1);
    let now = delivery.needs().remove(0);
    assert_eq!(now, again, "an answer of before");
    delivery.truncated(&again, 1);
    assert_eq!(
        delivery.needs().remove(0).offset,
        1,
        "what was read is gone, too"
    );
}

fn fill(delivery: &Delivery, partition: i32, records: usize) {
    let needs = delivery.needs();
    let need = needs.iter().find(|n| n.target == target(partition));
    let need = need.expect("hungry");
    let count = i64::try_from(records).expect("small");
    delivery.push(need, fetched(need.offset, records, need.offset + count));
}

fn offsets(delivery: &Delivery, max: usize) -> Vec<(i32, i64)> {
    let records = delivery.take(max).expect("no error");
    records.iter().map(|r| (r.partition.0, r.offset)).collect()
}

#[test]
fn partitions_take_turns() {
    let delivery = Delivery::new(1 << 20, None);
    for p in 0..2 {
        delivery.assign(target(p), 10, None);
        fill(&delivery, p, 2);
    }
    assert_eq!(offsets(&delivery, 1), [(0, 10)]);
    assert_eq!(offsets(&delivery, 1), [(1, 10)]);
    assert_eq!(offsets(&delivery, 9), [(0, 11)]);
    assert_eq!(offsets(&delivery, 9), [(1, 11)]);
    assert_eq!(offsets(&delivery, 9), []);
}

#[test]
fn records_are_handled_when_more_is_asked_for() {
    let delivery = Delivery::new(1 << 20, None);
    delivery.assign(target(0), 0, None);
    fill(&delivery, 0, 3);
    assert_eq!(offsets(&delivery, 2).len(), 2);
    assert!(delivery.uncommitted().is_empty());
    delivery.handled();
    let progress = delivery.uncommitted();
    assert_eq!(progress[0].offset, 2);
    delivery.committed(&progress[0]);
    assert!(delivery.uncommitted().is_empty());
}

#[test]
fn a_partition_is_left_only_after_its_records_are_handled() {
    let delivery = Delivery::new(1 << 20, None);
    delivery.assign(target(0), 0, None);
    fill(&delivery, 0, 3);
    assert_eq!(offsets(&delivery, 2).len(), 2);
    let mut gone = delivery.leave(&target(0));
    assert!(gone.try_recv() == Err(oneshot::error::TryRecvError::Empty));
    assert_eq!(offsets(&delivery, 9), [], "nothing more is handed out");
    delivery.handled();
    assert!(gone.try_recv() == Err(oneshot::error::TryRecvError::Empty));
    delivery.let_go();
    assert!(gone.try_recv().is_ok());
    let progress = delivery.remove(&target(0)).expect("uncommitted");
    assert_eq!(progress.offset, 2);
}

#[test]
fn a_partition_with_nothing_out_is_left_at_once() {
    let delivery = Delivery::new(1 << 20, None);
    delivery.assign(target(0), 0, None);
    fill(&delivery, 0, 3);
    let mut gone = delivery.leave(&target(0));
    assert!(gone.try_recv() == Err(oneshot::error::TryRecvError::Closed));
    assert_eq!(delivery.remove(&target(0)), None);
}

#[test]
fn what_an_earlier_assignment_fetched_is_dropped() {
    let delivery = Delivery::new(1 << 20, None);
    delivery.assign(target(0), 0, None);
    let old = delivery.needs().remove(0);
    delivery.remove(&target(0));
    delivery.assign(target(0), 0, None);
    delivery.push(&old, fetched(0, 3, 3));
    assert_eq!(offsets(&delivery, 9), []);
    delivery.committed(&Progress {
        target: target(0),
        id: old.id,
        claim: None,
        offset: 3,
    });
    fill(&delivery, 0, 1);
    assert_eq!(offsets(&delivery, 9), [(0, 0)]);
}

#[test]
fn what_waits_is_bounded() {
    let delivery = Delivery::new(300, None);
    delivery.assign(target(0), 0, None);
    fill(&delivery, 0, 1);
    assert_eq!(delivery.needs().len(), 1, "less than half is waiting");
    fill(&delivery, 0, 20);
    assert!(delivery.needs().is_empty());
    assert_eq!(offsets(&delivery, 99).len(), 21);
    assert_eq!(delivery.needs()[0].offset, 21);
}

#[test]
fn a_corrupt_batch_is_an_error_and_is_fetched_again() {
    let delivery = Delivery::new(1 << 20, None);
    delivery.assign(target(0), 0, None);
    let need = delivery.needs().remove(0);
    let mut bad = batch(0, 2).to_vec();
    bad[65] ^= 1;
    let mut bytes = batch(0, 1).to_vec();
    bad[7] = 1;
    bytes.extend(bad);
    let bad = Fetched {
        batches: bytes.into(),
        next_offset: 3,
        epoch: -1,
    };
    delivery.push(&need, bad);
    assert_eq!(offsets(&delivery, 9), [(0, 0)], "what is good comes first");
    assert!(delivery.needs().is_empty(), "it pauses");
    assert!(delivery.next_resume().is_some());
    let need = Need { offset: 1, ..need };
    let mut bad = batch(1, 2).to_vec();
    bad[65] ^= 1;
    let bad = Fetched {
        batches: bad.into(),
        next_offset: 3,
        epoch: -1,
    };
    delivery.push(&need, bad);
    let error = delivery.take(9).expect_err("nothing but the corrupt batch");
    assert!(matches!(error, ConsumerError::Corrupt { offset: 1, .. }));
}

#[test]
fn a_seek_forgets_what_was_fetched() {
    let delivery = Delivery::new(1 << 20, None);
    delivery.assign(target(0), 5, None);
    fill(&delivery, 0, 3);
    assert!(delivery.seek(&target(0), 1));
    assert_eq!(offsets(&delivery, 9), []);
    fill(&delivery, 0, 1);
    assert_eq!(offsets(&delivery, 9), [(0, 1)]);
    assert!(!delivery.seek(&target(7), 1));
}

#[test]
fn a_partition_that_was_held_all_the_time_goes_on_where_the_application_is() {
    let delivery = Delivery::new(1 << 20, None);
    let claim = |token, fence| Claim {
        token: FencingToken(token),
        fence,
    };
    let (held, another) = (claim(7, 1), claim(8, 2));
    delivery.assign(target(0), 10, Some(held));
    fill(&delivery, 0, 5);
    assert_eq!(offsets(&delivery, 3).len(), 3);
    delivery.park(&target(0));
    assert_eq!(offsets(&delivery, 9), [], "it may be another's");
    assert!(delivery.positions().is_empty() && delivery.needs().is_empty());
    delivery.handled();
    assert!(delivery.resume(&target(0), held));
    assert_eq!(delivery.uncommitted()[0].offset, 13);
    let need = delivery.needs().remove(0);
    assert_eq!((need.offset, need.last_epoch), (13, 4), "of its batch");
    fill(&delivery, 0, 1);
    assert_eq!(offsets(&delivery, 9), [(0, 13)]);
    assert!(!delivery.resume(&target(0), held), "it was not in doubt");

    delivery.park(&target(0));
    assert!(!delivery.resume(&target(0), another), "another had it");
    delivery.assign(target(0), 11, Some(another));
    fill(&delivery, 0, 1);
    assert_eq!(offsets(&delivery, 9), [(0, 11)]);
    assert_eq!(delivery.take_lost(), Some(target(0)), "10 to 13");
    assert_eq!(delivery.take_lost(), None, "told once");
}

#[test]
fn what_is_in_doubt_may_be_committed_and_what_is_lost_is_told() {
    let delivery = Delivery::new(1 << 20, None);
    for p in 0..2 {
        delivery.assign(target(p), 0, None);
        fill(&delivery, p, 2);
    }
    assert_eq!(offsets(&delivery, 9).len(), 2);
    delivery.park(&target(0));
    delivery.handled();
    let progress = delivery.uncommitted().remove(0);
    assert_eq!(progress.target, target(0));
    delivery.committed(&progress);
    assert!(delivery.uncommitted().is_empty());
    delivery.lose_all();
    assert_eq!(delivery.take_lost(), None, "all was committed");
    delivery.assign(target(1), 0, None);
    fill(&delivery, 1, 2);
    assert_eq!(offsets(&delivery, 1).len(), 1);
    delivery.lose_all();
    assert_eq!(delivery.take_lost(), Some(target(1)));
}

#[test]
fn after_a_reset_everything_from_there_on_is_handed_out() {
    let delivery = Delivery::new(1 << 20, None);
    delivery.assign(target(0), 1000, None);
    let need = delivery.needs().remove(0);
    delivery.reset(&need, 0);
    delivery.push(&need, fetched(0, 3, 3));
    assert_eq!(offsets(&delivery, 9), [], "fetched before");
    fill(&delivery, 0, 3);
    assert_eq!(offsets(&delivery, 9), [(0, 0), (0, 1), (0, 2)]);
    delivery.handled();
    assert_eq!(delivery.uncommitted()[0].offset, 3);
}

#[test]
fn what_is_given_up_in_doubt_waits_for_the_application() {
    let delivery = Delivery::new(1 << 20, None);
    delivery.assign(target(0), 0, None);
    fill(&delivery, 0, 2);
    assert_eq!(offsets(&delivery, 9).len(), 2);
    delivery.park(&target(0));
    let mut gone = delivery.leave(&target(0));
    assert!(gone.try_recv() == Err(oneshot::error::TryRecvError::Empty));
    delivery.let_go();
    assert!(gone.try_recv().is_ok());
    assert_eq!(delivery.progress(&target(0)).expect("open").offset, 2);
    assert_eq!(delivery.remove(&target(0)).expect("open").offset, 2);
    assert_eq!(delivery.take_lost(), Some(target(0)), "not committed");
}

#[test]
fn the_end_of_a_commit_handles_nothing_that_was_handed_out_since() {
    let delivery = Delivery::new(1 << 20, None);
    for p in 0..2 {
        delivery.assign(target(p), 0, None);
        fill(&delivery, p, 2);
    }
    assert_eq!(offsets(&delivery, 2), [(0, 0), (0, 1)]);
    delivery.handled();
    let mut gone = delivery.leave(&target(0));
    assert!(gone.try_recv().is_err(), "all is handled: it goes at once");
    assert_eq!(offsets(&delivery, 2), [(1, 0), (1, 1)]);
    let mut held = delivery.leave(&target(1));
    delivery.let_go_handled();
    let out = oneshot::error::TryRecvError::Empty;
    assert!(held.try_recv() == Err(out), "the application has two of it");
    assert_eq!(delivery.progress(&target(1)), None, "not handled");
    delivery.handled();
    delivery.let_go_handled();
    assert!(held.try_recv().is_ok());
}
