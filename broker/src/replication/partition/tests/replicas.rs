//! A leader and its followers, without a network between: what each tells the other, step by step.

use super::*;
use crate::replication::{FollowerFetch, IsrAnswer, LeaderOffsets, Role, WaitError};
use crate::storage::EpochEnd;

const LEADER: BrokerId = BrokerId(1);
const SECOND: BrokerId = BrokerId(2);
const THIRD: BrokerId = BrokerId(3);

/// Facts with `leader` in epoch `epoch`, and these replicas in sync of three.
fn facts(leader: BrokerId, epoch: i32, partition_epoch: i32, isr: &[BrokerId]) -> ReplicaState {
    ReplicaState {
        leader: Some(leader),
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch,
        isr: isr.to_vec(),
        replicas: vec![LEADER, SECOND, THIRD],
        adding: Vec::new(),
        removing: Vec::new(),
    }
}

fn place(this: BrokerId, state: &ReplicaState) -> Fixture {
    let fixture = fixture(PartitionConfig {
        min_insync_replicas: 1,
        ..PartitionConfig::default()
    });
    fixture.partition.apply(this, state).unwrap();
    fixture
}

fn fetch(broker: BrokerId, offset: i64) -> FollowerFetch {
    FollowerFetch {
        broker,
        broker_epoch: 7,
        offset,
        log_start: 0,
        leader_epoch: None,
        last_epoch: None,
        now: Instant::now(),
    }
}

/// What a follower's fetch does: the leader notes it, the follower takes what comes.
fn copy(leader: &Partition, follower: &Partition, broker: BrokerId) {
    let position = follower.fetch_position().unwrap();
    let asked = FollowerFetch {
        last_epoch: position.last_epoch,
        leader_epoch: Some(position.leader_epoch.0),
        ..fetch(broker, position.offset)
    };
    let view = leader.note_fetch(&asked).unwrap();
    if let Some(diverging) = view.diverging {
        follower
            .truncate_for(position.leader_epoch, diverging)
            .unwrap();
        return;
    }
    let request = ReadRequest {
        isolation: Isolation::LogEnd,
        ..read(position.offset, Some(position.leader_epoch.0))
    };
    let found = leader.read(&request).unwrap();
    let bytes = found.slice.read_all().unwrap();
    let offsets = LeaderOffsets {
        high_watermark: found.high_watermark,
        log_start: found.log_start,
    };
    follower
        .append_fetched(position.leader_epoch, &bytes, offsets, 0)
        .unwrap();
}

fn ends(partition: &Partition) -> (i64, i64) {
    let log = partition.log().lock();
    (log.high_watermark(), log.next_offset())
}

fn alive(_: BrokerId) -> Option<i64> {
    Some(7)
}

#[test]
fn an_append_is_replicated_when_all_in_sync_have_fetched_behind_it() {
    let leader = place(LEADER, &facts(LEADER, 0, 0, &[LEADER, SECOND, THIRD]));
    let leader = &leader.partition;
    assert!(!append(leader, Acks::All).unwrap().replicated);
    assert_eq!(ends(leader), (0, 1));
    leader.note_fetch(&fetch(SECOND, 1)).unwrap();
    assert_eq!(ends(leader), (0, 1), "the third is in sync too");
    leader.note_fetch(&fetch(THIRD, 1)).unwrap();
    assert_eq!(ends(leader), (1, 1));
    // A follower that starts anew does not pull it back.
    leader.note_fetch(&fetch(THIRD, 0)).unwrap();
    assert_eq!(ends(leader), (1, 1));
}

#[test]
fn consumers_see_up_to_the_high_watermark_and_followers_all() {
    let leader = place(LEADER, &facts(LEADER, 0, 0, &[LEADER, SECOND]));
    append(&leader.partition, Acks::Leader).unwrap();
    assert_eq!(leader.partition.read(&read(0, None)).unwrap().slice.len, 0);
    let all = ReadRequest {
        isolation: Isolation::LogEnd,
        ..read(0, None)
    };
    let found = leader.partition.read(&all).unwrap();
    assert_eq!(found.slice.len, batch().len());
}

#[test]
fn a_follower_takes_batches_as_they_are_and_the_leaders_watermark() {
    let state = facts(LEADER, 4, 0, &[LEADER, SECOND]);
    let (leader, follower) = (place(LEADER, &state), place(SECOND, &state));
    let (leader, follower) = (&leader.partition, &follower.partition);
    append(leader, Acks::Leader).unwrap();
    append(leader, Acks::Leader).unwrap();
    copy(leader, follower, SECOND);
    assert_eq!(ends(follower), (0, 2));
    copy(leader, follower, SECOND);
    assert_eq!((ends(leader), ends(follower)), ((2, 2), (2, 2)));
    let kept = |partition: &Partition| {
        let at_follower = ReadRequest {
            at_follower: true,
            ..read(0, Some(4))
        };
        let found = partition.read(&at_follower).unwrap();
        found.slice.read_all().unwrap()
    };
    assert_eq!(kept(leader), kept(follower));
    let refused = follower.read(&read(0, None));
    assert!(matches!(refused, Err(ReadError::NotLeader(_))));
}

#[test]
fn one_that_may_have_joined_holds_the_watermark_until_the_answer() {
    let leader = place(LEADER, &facts(LEADER, 0, 3, &[LEADER]));
    let leader = &leader.partition;
    append(leader, Acks::Leader).unwrap();
    assert_eq!(ends(leader), (1, 1));
    let view = leader.note_fetch(&fetch(SECOND, 1)).unwrap();
    assert!(view.may_join);
    let wish = leader.isr_wish(&alive).unwrap();
    assert_eq!(wish.partition_epoch, 3);
    assert_eq!(wish.isr, [(LEADER, 7), (SECOND, 7)]);
    assert_eq!(leader.isr_wish(&alive), None, "one at a time");
    // Long silent, but it may be in sync by now.
    append(leader, Acks::Leader).unwrap();
    leader.forget_follower(SECOND);
    assert_eq!(ends(leader), (1, 2));
    leader.isr_answered(&wish, &IsrAnswer::Outdated);
    assert_eq!(ends(leader), (1, 2), "nobody knows");
    leader.isr_answered(&wish, &IsrAnswer::NotApplied);
    leader.forget_follower(SECOND);
    assert_eq!(ends(leader), (2, 2), "certainly not in sync");
}

#[test]
fn the_answer_to_a_wish_is_the_state_from_then_on() {
    let leader = place(LEADER, &facts(LEADER, 0, 3, &[LEADER]));
    let leader = &leader.partition;
    leader.note_fetch(&fetch(SECOND, 0)).unwrap();
    let wish = leader.isr_wish(&alive).unwrap();
    let changed = IsrAnswer::Changed {
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 4,
        isr: vec![LEADER, SECOND],
    };
    leader.isr_answered(&wish, &changed);
    let state = leader.state().unwrap();
    assert_eq!(
        (state.partition_epoch, state.isr.as_slice()),
        (4, [LEADER, SECOND].as_slice())
    );
    // The same facts by another way change nothing; older ones neither.
    let again = leader.apply(LEADER, &facts(LEADER, 0, 4, &[LEADER, SECOND]));
    assert_eq!(again.unwrap(), Applied::Unchanged);
    let old = leader.apply(LEADER, &facts(LEADER, 0, 3, &[LEADER]));
    assert_eq!(old.unwrap(), Applied::Stale);
    assert_eq!(leader.state().unwrap().isr, [LEADER, SECOND]);
}

#[test]
fn newer_facts_overtake_a_wish() {
    let leader = place(LEADER, &facts(LEADER, 0, 3, &[LEADER, SECOND]));
    let leader = &leader.partition;
    leader.note_fetch(&fetch(SECOND, 0)).unwrap();
    leader.note_fetch(&fetch(THIRD, 0)).unwrap();
    let wish = leader.isr_wish(&alive).unwrap();
    leader
        .apply(LEADER, &facts(LEADER, 1, 4, &[LEADER]))
        .unwrap();
    let changed = IsrAnswer::Changed {
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 4,
        isr: vec![LEADER, SECOND, THIRD],
    };
    leader.isr_answered(&wish, &changed);
    assert_eq!(leader.state().unwrap().isr, [LEADER]);
}

#[test]
fn the_watermark_moves_when_the_last_follower_falls_out_of_sync() {
    // KAFKA-13091: nobody's fetch would move it.
    let leader = place(LEADER, &facts(LEADER, 0, 0, &[LEADER, SECOND]));
    append(&leader.partition, Acks::Leader).unwrap();
    assert_eq!(ends(&leader.partition), (0, 1));
    let applied = leader
        .partition
        .apply(LEADER, &facts(LEADER, 0, 1, &[LEADER]));
    assert_eq!(applied.unwrap(), Applied::Leads);
    assert_eq!(ends(&leader.partition), (1, 1));
}

#[test]
fn with_too_few_in_sync_the_watermark_stays() {
    let leader = place(LEADER, &facts(LEADER, 0, 0, &[LEADER]));
    leader.partition.set_config(Arc::new(PartitionConfig {
        min_insync_replicas: 2,
        ..PartitionConfig::default()
    }));
    append(&leader.partition, Acks::Leader).unwrap();
    assert_eq!(ends(&leader.partition), (0, 1));
    let refused = append(&leader.partition, Acks::All);
    assert!(matches!(
        refused,
        Err(AppendError::NotEnoughReplicas {
            in_sync: 1,
            needed: 2,
            ..
        })
    ));
}

#[test]
fn a_new_leader_knows_no_watermark_before_its_followers_fetch() {
    let state = facts(SECOND, 0, 0, &[LEADER, SECOND]);
    let (old, new) = (place(SECOND, &state), place(LEADER, &state));
    append(&old.partition, Acks::Leader).unwrap();
    copy(&old.partition, &new.partition, LEADER);
    assert_eq!(ends(&new.partition), (0, 1));
    let elected = facts(LEADER, 1, 1, &[LEADER, SECOND]);
    let applied = new.partition.apply(LEADER, &elected).unwrap();
    assert_eq!(applied, Applied::Leads);
    // KAFKA-10301: the books are new, the second is in sync all the same.
    assert_eq!(ends(&new.partition), (0, 1));
    let unknown = new.partition.check_watermark_known();
    assert!(matches!(unknown, Err(ReadError::OffsetNotAvailable(_))));
    assert_eq!(
        old.partition.apply(SECOND, &elected).unwrap(),
        Applied::Follows
    );
    copy(&new.partition, &old.partition, SECOND);
    assert_eq!(ends(&new.partition), (1, 1));
    assert!(new.partition.check_watermark_known().is_ok());
}

#[test]
fn a_deposed_leader_cuts_what_nobody_else_has() {
    // KIP-101: the watermark would not have told.
    let first = facts(LEADER, 0, 0, &[LEADER, SECOND]);
    let (one, two) = (place(LEADER, &first), place(SECOND, &first));
    let (one, two) = (&one.partition, &two.partition);
    append(one, Acks::Leader).unwrap();
    copy(one, two, SECOND);
    append(one, Acks::Leader).unwrap();
    append(one, Acks::Leader).unwrap();
    let second = facts(SECOND, 1, 1, &[LEADER, SECOND]);
    two.apply(SECOND, &second).unwrap();
    append(two, Acks::Leader).unwrap();
    one.apply(LEADER, &second).unwrap();
    assert_eq!(one.fetch_position().unwrap().offset, 3);
    let position = one.fetch_position().unwrap();
    let asked = FollowerFetch {
        last_epoch: position.last_epoch,
        ..fetch(LEADER, 3)
    };
    let parts = EpochEnd {
        leader_epoch: LeaderEpoch(0),
        end_offset: 1,
    };
    let view = two.note_fetch(&asked).unwrap();
    assert_eq!(view.diverging, Some(parts));
    assert_eq!(ends(two), (0, 2), "nothing is noted of a log that parts");
    copy(two, one, LEADER);
    assert_eq!(ends(one).1, 1);
    copy(two, one, LEADER);
    copy(two, one, LEADER);
    assert_eq!((ends(one), ends(two)), ((2, 2), (2, 2)));
}

#[test]
fn an_epoch_without_records_does_not_part_logs_for_ever() {
    // KAFKA-10706: a former leader noted an epoch in which it wrote nothing.
    let (one, two) = (
        place(LEADER, &facts(LEADER, 5, 0, &[LEADER, SECOND])),
        place(SECOND, &facts(SECOND, 4, 0, &[LEADER, SECOND])),
    );
    let elected = facts(SECOND, 6, 1, &[LEADER, SECOND]);
    two.partition.apply(SECOND, &elected).unwrap();
    one.partition.apply(LEADER, &elected).unwrap();
    append(&two.partition, Acks::Leader).unwrap();
    for _ in 0..3 {
        copy(&two.partition, &one.partition, LEADER);
    }
    assert_eq!(ends(&one.partition), (1, 1));
}

#[test]
fn what_was_fetched_in_another_epoch_is_refused() {
    let follower = place(SECOND, &facts(LEADER, 3, 0, &[LEADER, SECOND]));
    let follower = &follower.partition;
    let offsets = LeaderOffsets {
        high_watermark: 0,
        log_start: 0,
    };
    let late = follower.append_fetched(LeaderEpoch(2), &batch(), offsets, 0);
    assert!(late.is_err());
    let role = Role::Follower {
        leader: Some(LEADER),
        epoch: LeaderEpoch(3),
    };
    assert_eq!(follower.role(), role);
    follower.resign();
    let late = follower.append_fetched(LeaderEpoch(3), &batch(), offsets, 0);
    assert!(late.is_err());
    assert_eq!(follower.fetch_position(), None);
}

#[test]
fn damaged_batches_are_refused_and_a_torn_one_is_left() {
    let follower = place(SECOND, &facts(LEADER, 0, 0, &[LEADER, SECOND]));
    let offsets = LeaderOffsets {
        high_watermark: 0,
        log_start: 0,
    };
    let take = |bytes: &[u8]| {
        let follower = &follower.partition;
        follower.append_fetched(LeaderEpoch(0), bytes, offsets, 0)
    };
    let mut damaged = batch();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(take(&damaged).is_err());
    let mut torn = batch();
    torn.extend_from_slice(&batch()[..20]);
    assert_eq!(take(&torn).unwrap(), 1);
}

#[test]
fn only_replicas_of_this_life_are_noted() {
    let leader = place(LEADER, &facts(LEADER, 0, 0, &[LEADER, SECOND]));
    let leader = &leader.partition;
    let stranger = leader.note_fetch(&fetch(BrokerId(9), 0));
    assert!(matches!(stranger, Err(ReadError::NotReplica { .. })));
    leader.note_fetch(&fetch(SECOND, 0)).unwrap();
    let before = FollowerFetch {
        broker_epoch: 6,
        ..fetch(SECOND, 0)
    };
    let stale = leader.note_fetch(&before);
    assert!(matches!(stale, Err(ReadError::StaleBroker { .. })));
    let beyond = leader.note_fetch(&fetch(SECOND, 1));
    assert!(matches!(beyond, Err(ReadError::Log(_))));
}

#[tokio::test(start_paused = true)]
async fn a_wait_goes_on_through_epochs_of_the_same_leader() {
    let leader = place(LEADER, &facts(LEADER, 0, 0, &[LEADER, SECOND]));
    let leader = &leader.partition;
    append(leader, Acks::All).unwrap();
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut waiting = std::pin::pin!(leader.wait_replicated(0, deadline));
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    leader
        .apply(LEADER, &facts(LEADER, 1, 1, &[LEADER, SECOND]))
        .unwrap();
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    leader.note_fetch(&fetch(SECOND, 1)).unwrap();
    assert!(waiting.await.is_ok());

    append(leader, Acks::All).unwrap();
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut waiting = std::pin::pin!(leader.wait_replicated(1, deadline));
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    // Deposed and elected again in between: what was appended may be gone.
    leader
        .apply(LEADER, &facts(SECOND, 2, 2, &[LEADER, SECOND]))
        .unwrap();
    leader
        .apply(LEADER, &facts(LEADER, 3, 3, &[LEADER]))
        .unwrap();
    let ended = waiting.await;
    assert!(matches!(ended, Err(WaitError::NotLeader(_))), "{ended:?}");
}

#[test]
fn consumers_are_sent_to_an_in_sync_replica_that_holds_the_offset() {
    let leader = place(LEADER, &facts(LEADER, 0, 0, &[LEADER, SECOND]));
    let leader = &leader.partition;
    append(leader, Acks::Leader).unwrap();
    let near = |id: BrokerId| id != LEADER;
    assert_eq!(leader.nearest_replica(0, &near), None, "nobody fetched");
    leader.note_fetch(&fetch(THIRD, 1)).unwrap();
    assert_eq!(leader.nearest_replica(0, &near), None, "not in sync");
    leader.note_fetch(&fetch(SECOND, 0)).unwrap();
    assert_eq!(leader.nearest_replica(0, &near), Some(SECOND));
    assert_eq!(leader.nearest_replica(1, &near), None, "not there yet");
}

#[test]
fn facts_of_the_same_epochs_do_not_change_who_is_in_sync() {
    let state = facts(LEADER, 3, 5, &[LEADER, SECOND, THIRD]);
    let leader = place(LEADER, &state);
    let leader = &leader.partition;
    let shrunk = facts(LEADER, 3, 5, &[LEADER]);
    assert_eq!(leader.apply(LEADER, &shrunk).unwrap(), Applied::Unchanged);
    append(leader, Acks::All).unwrap();
    assert_eq!(ends(leader), (0, 1), "two others are waited for");
    let moving = ReplicaState {
        replicas: vec![LEADER, SECOND, THIRD, BrokerId(4)],
        adding: vec![BrokerId(4)],
        ..shrunk
    };
    leader.apply(LEADER, &moving).unwrap();
    leader.note_fetch(&fetch(SECOND, 1)).unwrap();
    assert_eq!(ends(leader), (0, 1), "the third is in sync still");
    leader.note_fetch(&fetch(THIRD, 1)).unwrap();
    assert_eq!(ends(leader), (1, 1));
}
