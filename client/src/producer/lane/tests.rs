//! Order and numbers of a lane under every kind of failure.

use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};

use super::super::ack::AckSource;
use super::super::record::Record;
use super::*;

const BACKOFF: Duration = Duration::from_millis(100);

fn now() -> Instant {
    nyala_coordinator::clock::now()
}

fn batch(records: usize) -> Batch {
    let target = TopicPartition {
        topic: TopicName::new("t").expect("legal"),
        partition: PartitionIndex(0),
    };
    let (_, promise) = AckSource::new(target.clone());
    let record = Record::new(target.topic.clone(), "v");
    Batch {
        bytes: record.bytes() * records,
        records: vec![record; records],
        target,
        created: now(),
        promise,
    }
}

fn lane() -> Lane {
    let mut lane = Lane::new(true, 5);
    lane.set_stamp(Stamp {
        producer_id: 9,
        epoch: 0,
    });
    lane
}

fn epoch(n: &Numbered) -> i16 {
    n.stamp.expect("stamped").epoch
}

#[test]
fn nothing_goes_out_without_a_producer_id() {
    let mut lane = Lane::new(true, 5);
    assert!(lane.needs_stamp() && !lane.open(now()));
    assert!(Lane::new(false, 5).open(now()));
}

#[test]
fn plain_lanes_have_one_batch_in_flight() {
    let mut lane = Lane::new(false, 5);
    let first = lane.admit(batch(2));
    assert_eq!((first.stamp, first.sequence), (None, -1));
    assert!(!lane.open(now()));
    lane.succeeded(&first);
    assert!(lane.open(now()) && lane.in_flight.is_empty());
}

/// As [`lane`], after a first batch of one record was acknowledged.
fn proven() -> Lane {
    let mut lane = lane();
    let first = lane.admit(batch(1));
    lane.succeeded(&first);
    lane
}

#[test]
fn one_at_a_time_goes_out_until_the_leader_knows_the_id() {
    let (mut lane, now) = (lane(), now());
    let first = lane.admit(batch(1));
    assert!(!lane.open(now), "a second could be taken for the first");
    lane.succeeded(&first);
    let second = lane.admit(batch(1));
    assert!(lane.open(now));
    lane.succeeded(&second);
    lane.set_stamp(Stamp {
        producer_id: 10,
        epoch: 0,
    });
    let _third = lane.admit(batch(1));
    assert!(!lane.open(now), "another id, unknown again");
}

#[test]
fn five_are_in_flight_and_numbered_by_records() {
    let (mut lane, now) = (proven(), now());
    let sent: Vec<Numbered> = (1..=5)
        .map(|n| {
            assert!(lane.open(now));
            lane.admit(batch(n))
        })
        .collect();
    assert!(!lane.open(now));
    let sequences: Vec<i32> = sent.iter().map(|n| n.sequence).collect();
    assert_eq!(sequences, [1, 2, 4, 7, 11]);
}

#[test]
fn what_comes_back_goes_first_in_order_with_its_old_numbers() {
    let (mut lane, now) = (proven(), now());
    let [a, b, c] = [1, 1, 1].map(|n| lane.admit(batch(n)));
    lane.again(a, now, BACKOFF);
    assert!(!lane.open(now), "b and c are still out");
    let b_came = lane.out_of_order(b, now, BACKOFF);
    assert!(b_came.is_none(), "an echo of a");
    assert!(lane.out_of_order(c, now, BACKOFF).is_none());
    assert!(!lane.open(now), "it backs off");
    let later = now + BACKOFF;
    let mut again = Vec::new();
    while lane.open(later) {
        let Some(n) = lane.resend() else { break };
        again.push((n.sequence, epoch(&n), n.attempts));
    }
    assert_eq!(again, [(1, 0, 2), (2, 0, 2), (3, 0, 2)]);
}

#[test]
fn a_given_up_batch_leads_to_new_numbers_under_the_next_epoch() {
    let (mut lane, now) = (lane(), now());
    let [a, b, c] = [2, 3, 4].map(|n| lane.admit(batch(n)));
    lane.gave_up(&a);
    assert!(lane.out_of_order(b, now, BACKOFF).is_none());
    assert!(!lane.open(now + BACKOFF), "c is still out");
    assert!(lane.out_of_order(c, now, BACKOFF).is_none());
    let later = now + BACKOFF;
    assert!(lane.open(later));
    let b = lane.resend().expect("waits");
    assert_eq!((epoch(&b), b.sequence, b.batch.records.len()), (1, 0, 3));
    assert!(!lane.open(later), "the new numbers are not proven");
    lane.succeeded(&b);
    assert!(lane.open(later));
    let c = lane.resend().expect("waits");
    assert_eq!((epoch(&c), c.sequence), (1, 3));
    assert!(lane.open(later));
    assert_eq!(lane.admit(batch(1)).sequence, 7);
}

#[test]
fn an_unexplained_hole_never_doubles_a_batch_that_was_sent_before() {
    let (mut lane, now) = (lane(), now());
    let a = lane.admit(batch(1));
    lane.again(a, now, BACKOFF);
    assert!(lane.open(now + BACKOFF));
    let a = lane.resend().expect("waits");
    let a = lane.out_of_order(a, now, BACKOFF);
    assert!(a.is_some(), "it may be in the log");
    assert!(lane.open(now + 2 * BACKOFF));
    let b = lane.admit(batch(1));
    assert_eq!((epoch(&b), b.sequence), (1, 0));
}

#[test]
fn a_batch_too_large_goes_out_in_halves_with_the_same_numbers() {
    let (mut lane, now) = (lane(), now());
    let first = lane.admit(batch(1));
    lane.succeeded(&first);
    let large = lane.admit(batch(5));
    let whole = large.batch.bytes;
    assert!(lane.split(large).is_none());
    assert!(lane.open(now));
    let (a, b) = (lane.resend().expect("half"), lane.resend().expect("half"));
    assert_eq!((a.sequence, a.batch.records.len()), (1, 2));
    assert_eq!((b.sequence, b.batch.records.len()), (3, 3));
    assert_eq!(a.batch.bytes + b.batch.bytes, whole);
    lane.succeeded(&a);
    let b = lane.split(b);
    assert!(b.is_none(), "again in two");
    let single = lane.resend().expect("half");
    assert_eq!(single.batch.records.len(), 1);
    assert!(
        lane.split(single).is_some(),
        "a single record cannot be cut"
    );
}

#[test]
fn a_fenced_lane_asks_for_a_fresh_id_and_starts_at_zero() {
    let (mut lane, now) = (lane(), now());
    let a = lane.admit(batch(3));
    lane.again(a, now, BACKOFF);
    lane.fenced();
    assert!(lane.needs_stamp() && !lane.open(now + BACKOFF));
    lane.set_stamp(Stamp {
        producer_id: 10,
        epoch: 0,
    });
    assert!(lane.open(now + BACKOFF));
    let a = lane.resend().expect("waits");
    assert_eq!((a.stamp.expect("stamped").producer_id, a.sequence), (10, 0));
}

#[test]
fn the_last_epoch_asks_for_a_fresh_id() {
    let (mut lane, now) = (Lane::new(true, 5), now());
    lane.set_stamp(Stamp {
        producer_id: 1,
        epoch: i16::MAX - 1,
    });
    let a = lane.admit(batch(1));
    assert!(lane.out_of_order(a, now, BACKOFF).is_none());
    assert!(!lane.open(now + BACKOFF));
    assert!(lane.needs_stamp());
}

#[test]
fn what_is_too_old_comes_out_unless_it_is_in_flight() {
    let (mut lane, now) = (lane(), now());
    let a = lane.admit(batch(1));
    let b = lane.admit(batch(1));
    lane.again(b, now, BACKOFF);
    let horizon = now + Duration::from_secs(1);
    assert_eq!(lane.take_older(horizon).len(), 1);
    lane.succeeded(&a);
    assert!(lane.in_flight.is_empty() && !lane.has_waiting());
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(advance(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(advance(i32::MAX, 1), 0);
    assert_eq!(advance(i32::MAX - 2, 5), 2);
}
