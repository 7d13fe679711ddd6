//! Decisions about the high watermark and the replicas in sync, one rule a test.

use super::*;
use crate::replication::state::FollowerFetch;

const LAG: Duration = Duration::from_secs(30);
const THIS: BrokerId = BrokerId(1);

/// A fetch at the start of the log, of broker epoch 7.
fn fetch(id: i32, now: Instant) -> FollowerFetch {
    FollowerFetch {
        broker: BrokerId(id),
        broker_epoch: 7,
        offset: 0,
        log_start: 0,
        leader_epoch: None,
        last_epoch: None,
        now,
    }
}

/// A follower whose only fetch, at `at`, was at `end`.
fn follower(id: i32, end: i64, leader_end: i64, at: Instant) -> Follower {
    let mut follower = Follower::new(BrokerId(id), false, at);
    let fetch = FollowerFetch {
        offset: end,
        ..fetch(id, at)
    };
    follower.note(&fetch, leader_end);
    follower
}

fn view<'a>(isr: &'a [BrokerId], followers: &'a [Follower], now: Instant) -> LeaderView<'a> {
    LeaderView {
        this: THIS,
        isr,
        followers,
        end: 10,
        high_watermark: 3,
        epoch_start: 2,
        lag_max: LAG,
        now,
    }
}

fn alive(_: BrokerId) -> Option<i64> {
    Some(7)
}

fn ids(wish: Option<Vec<(BrokerId, i64)>>) -> Option<Vec<i32>> {
    wish.map(|wish| wish.iter().map(|(id, _)| id.0).collect())
}

#[test]
fn the_slowest_replica_in_sync_decides() {
    let now = Instant::now();
    let followers = [follower(2, 7, 10, now), follower(3, 9, 10, now)];
    let all = [THIS, BrokerId(2), BrokerId(3)];
    assert_eq!(decide_high_watermark(&view(&all, &followers, now), None), 7);
    let two = [THIS, BrokerId(3)];
    assert_eq!(decide_high_watermark(&view(&two, &followers, now), None), 9);
    assert_eq!(decide_high_watermark(&view(&[THIS], &[], now), None), 10);
}

#[test]
fn the_high_watermark_never_goes_back() {
    let now = Instant::now();
    let followers = [follower(2, 1, 10, now)];
    let isr = [THIS, BrokerId(2)];
    assert_eq!(decide_high_watermark(&view(&isr, &followers, now), None), 3);
}

#[test]
fn one_in_sync_that_has_not_fetched_holds_everything_back() {
    // KAFKA-10301: the books of a new leader must not look as if nobody were in sync.
    let now = Instant::now();
    let followers = [Follower::new(BrokerId(2), true, now)];
    let isr = [THIS, BrokerId(2)];
    assert_eq!(decide_high_watermark(&view(&isr, &followers, now), None), 3);
}

#[test]
fn one_that_may_have_joined_counts() {
    let now = Instant::now();
    // Long silent, so only the pending change makes it count.
    let silent = follower(2, 5, 10, now);
    let later = now + LAG * 2;
    let isr = [THIS];
    let joining = [THIS, BrokerId(2)];
    let followers = [silent];
    let view = view(&isr, &followers, later);
    assert_eq!(decide_high_watermark(&view, None), 10);
    assert_eq!(decide_high_watermark(&view, Some(&joining)), 5);
}

#[test]
fn one_about_to_join_is_waited_for() {
    let now = Instant::now();
    let mut catching_up = follower(2, 4, 4, now);
    let at_six = FollowerFetch {
        offset: 6,
        ..fetch(2, now)
    };
    catching_up.note(&at_six, 10);
    let followers = [catching_up];
    assert_eq!(
        decide_high_watermark(&view(&[THIS], &followers, now), None),
        6
    );
}

#[test]
fn a_laggard_leaves_and_one_at_the_end_stays() {
    let start = Instant::now();
    let late = start + LAG * 2;
    let mut lagging = follower(2, 8, 8, start);
    let at_nine = FollowerFetch {
        offset: 9,
        ..fetch(2, start)
    };
    lagging.note(&at_nine, 10);
    let followers = [
        lagging,
        follower(3, 10, 10, start),
        Follower::new(BrokerId(4), true, start),
    ];
    let isr = [THIS, BrokerId(2), BrokerId(3), BrokerId(4)];
    // KAFKA-7152: 3 is silent, but has everything.
    let wish = ids(decide_isr(&view(&isr, &followers, late), &alive));
    assert_eq!(wish, Some(vec![1, 3]));
    let soon = start + LAG / 2;
    assert_eq!(decide_isr(&view(&isr, &followers, soon), &alive), None);
}

#[test]
fn one_joins_at_the_high_watermark_and_the_start_of_the_epoch() {
    let now = Instant::now();
    let wish = |end, epoch_start| {
        let followers = [follower(2, end, 10, now)];
        let mut view = view(&[THIS], &followers, now);
        view.epoch_start = epoch_start;
        ids(decide_isr(&view, &alive))
    };
    assert_eq!(wish(3, 2), Some(vec![1, 2]));
    assert_eq!(wish(2, 2), None, "below the high watermark");
    // Committed records of the last leader may lie between: it has to have them.
    assert_eq!(wish(3, 4), None, "below the start of the epoch");
    assert_eq!(wish(4, 4), Some(vec![1, 2]));
}

#[test]
fn only_a_broker_of_this_life_joins() {
    // KIP-903: the one that fetched may have been replaced by one with an empty disk.
    let now = Instant::now();
    let followers = [follower(2, 10, 10, now)];
    let view = view(&[THIS], &followers, now);
    assert_eq!(ids(decide_isr(&view, &|_| Some(7))), Some(vec![1, 2]));
    assert_eq!(decide_isr(&view, &|_| Some(8)), None, "another life");
    assert_eq!(decide_isr(&view, &|_| None), None, "not registered");
}

#[test]
fn one_outside_of_the_assignment_leaves() {
    // KAFKA-9672: whoever has no entry among the followers is no replica.
    let now = Instant::now();
    let followers = [follower(2, 10, 10, now)];
    let isr = [THIS, BrokerId(2), BrokerId(9)];
    let wish = ids(decide_isr(&view(&isr, &followers, now), &alive));
    assert_eq!(wish, Some(vec![1, 2]));
}

#[test]
fn no_more_replicas_are_asked_for_than_there_are() {
    assert_eq!(effective_minimum(2, 3), 2);
    assert_eq!(effective_minimum(2, 1), 1);
}
