//! The checker of histories, checked: right histories are found right, and each anomaly that is put
//! into one is found, under its name.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::history::synthetic::clean;
use harness::history::{History, Kind, Operation, Outcome, Partition, Value, What};
use harness::seed::Seed;

/// Enough for every kind of operation to happen several times.
const STEPS: usize = 600;

#[test]
fn a_thousand_right_histories_raise_no_alarm() {
    for seed in 0..1000 {
        let found = clean(seed, 200).check();
        assert!(found.is_empty(), "seed {seed}: {found:#?}");
    }
}

/// Something wrong: what must be found, and how it is put in.
type Wrong = (&'static str, Kind, fn(&mut History, &mut Seed));

#[test]
fn every_anomaly_is_found_under_its_name() {
    let mut missed = Vec::new();
    let mut kinds = BTreeSet::new();
    for (name, kind, put) in WRONGS {
        kinds.insert(*kind);
        for number in 0..20 {
            let mut history = clean(number, STEPS);
            put(&mut history, &mut Seed::new(number));
            let found = history.check();
            if !found.iter().any(|anomaly| anomaly.kind == *kind) {
                missed.push(format!("{name}, seed {number}: found only {found:?}"));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    let all: BTreeSet<Kind> = Kind::ALL.into();
    let untried: Vec<&Kind> = all.difference(&kinds).collect();
    assert!(untried.is_empty(), "no test puts in {untried:?}");
    assert!(WRONGS.len() >= 25, "only {}", WRONGS.len());
}

#[test]
fn values_go_to_bytes_and_back() {
    let value = Value::new(7, 123_456);
    assert_eq!(value.payload(), "7.123456");
    assert_eq!(Value::of(b"7.123456"), value);
    assert_eq!(Value::of(b"7.123456 and filler"), value);
    assert_ne!(Value::of(b"value 1"), Value::of(b"value 2"));
}

const WRONGS: &[Wrong] = &[
    (
        "the ack names another offset",
        Kind::Duplicate,
        shift_an_ack,
    ),
    (
        "an ack for another's offset",
        Kind::InconsistentOffsets,
        steal_an_offset,
    ),
    (
        "a reader saw another value",
        Kind::InconsistentOffsets,
        misread,
    ),
    ("a replay", Kind::Duplicate, replay),
    (
        "a record in the middle is gone",
        Kind::LostWrite,
        lose_in_the_middle,
    ),
    (
        "a record in the middle is another's",
        Kind::LostWrite,
        overwrite,
    ),
    ("a repetition of nothing", Kind::LostWrite, repeat_nothing),
    ("the end is cut off", Kind::Unseen, cut_the_end),
    (
        "a whole log is cut to nothing",
        Kind::Unseen,
        cut_everything,
    ),
    (
        "a reader saw what was truncated",
        Kind::Phantom,
        see_what_goes,
    ),
    ("a value from nowhere", Kind::NeverSent, invent),
    (
        "a value from nowhere, seen by a reader",
        Kind::NeverSent,
        invent_for_a_reader,
    ),
    (
        "a refused value is there",
        Kind::RefusedYetThere,
        refuse_in_hindsight,
    ),
    (
        "an offset that nobody wrote",
        Kind::GapUnexplained,
        leave_a_hole,
    ),
    (
        "a poll passes over records",
        Kind::PollSkip,
        skip_between_polls,
    ),
    (
        "a poll leaves one out",
        Kind::IntPollSkip,
        skip_within_a_poll,
    ),
    ("a poll starts again", Kind::NonmonotonicPoll, read_again),
    (
        "a poll turns round",
        Kind::IntNonmonotonicPoll,
        turn_a_poll_round,
    ),
    (
        "later sends get lower offsets",
        Kind::NonmonotonicSend,
        swap_in_time,
    ),
    (
        "another client overtakes",
        Kind::NonmonotonicSend,
        swap_between_clients,
    ),
    (
        "pipelined sends change places",
        Kind::IntNonmonotonicSend,
        swap_under_way,
    ),
    (
        "the visible end goes back",
        Kind::HwRegress,
        take_back_the_end,
    ),
    ("a commit is forgotten", Kind::CommitRegress, forget_commits),
    (
        "a commit goes back",
        Kind::CommitRegress,
        answer_an_older_commit,
    ),
    (
        "a commit that nobody made",
        Kind::CommitPhantom,
        invent_a_commit,
    ),
    ("two owners in a generation", Kind::DoubleOwner, own_twice),
    ("two owners at one time", Kind::DoubleOwner, claim_too_early),
    ("two leaders in an epoch", Kind::EpochTwoLeaders, elect_two),
    (
        "an old leader appends late",
        Kind::EpochRegress,
        append_with_an_old_epoch,
    ),
    (
        "a replica holds another batch",
        Kind::ReplicaDiverge,
        change_a_batch,
    ),
    (
        "a replica is short",
        Kind::ReplicaDiverge,
        shorten_a_replica,
    ),
    (
        "a replica lost one in the middle",
        Kind::ReplicaDiverge,
        hollow_a_replica,
    ),
    ("nothing is sent any more", Kind::Stuck, stop_sends),
    ("nothing is read any more", Kind::Stuck, stop_polls),
    ("no commit succeeds any more", Kind::Stuck, stop_commits),
];

/// Positions of the operations for which `wanted` is true; at least one.
fn all(history: &History, wanted: impl Fn(&Operation) -> bool) -> Vec<usize> {
    let found: Vec<usize> = (0..history.operations.len())
        .filter(|at| wanted(&history.operations[*at]))
        .collect();
    assert!(!found.is_empty(), "no such operation");
    found
}

fn acked(operation: &Operation) -> Option<(&Partition, i64, Value)> {
    match &operation.what {
        What::Send {
            at,
            value,
            outcome: Outcome::Acked(offset),
            ..
        } => Some((at, *offset, *value)),
        _ => None,
    }
}

fn some_acked(history: &History, seed: &mut Seed) -> (Partition, i64, Value) {
    let choices = all(history, |o| acked(o).is_some());
    let (at, offset, value) = acked(&history.operations[*seed.one_of(&choices)]).expect("acked");
    (at.clone(), offset, value)
}

fn set_offset(operation: &mut Operation, to: i64) {
    if let What::Send { outcome, .. } = &mut operation.what {
        *outcome = Outcome::Acked(to);
    }
}

fn shift_an_ack(history: &mut History, seed: &mut Seed) {
    let choices = all(history, |o| acked(o).is_some());
    let operation = &mut history.operations[*seed.one_of(&choices)];
    let offset = acked(operation).expect("acked").1;
    set_offset(operation, offset + 1);
}

fn steal_an_offset(history: &mut History, seed: &mut Seed) {
    let (at, offset, value) = some_acked(history, seed);
    let other = all(history, |o| {
        acked(o).is_some_and(|(place, _, other)| *place == at && other != value)
    });
    set_offset(&mut history.operations[*seed.one_of(&other)], offset);
}

/// What was acknowledged as being in the log already is not there.
fn repeat_nothing(history: &mut History, seed: &mut Seed) {
    let (_, offset, value) = some_acked(history, seed);
    for operation in &mut history.operations {
        if let What::Send {
            value: sent,
            outcome,
            ..
        } = &mut operation.what
            && *sent == value
        {
            *outcome = Outcome::InLog;
        }
    }
    for log in history.logs.values_mut() {
        log.retain(|(at, other)| *other != value || *at != offset);
    }
}

/// A poll with at least `count` records.
fn some_poll(history: &History, seed: &mut Seed, count: usize) -> usize {
    let choices = all(
        history,
        |o| matches!(&o.what, What::Poll { records, .. } if records.len() >= count),
    );
    *seed.one_of(&choices)
}

fn records(history: &mut History, at: usize) -> &mut Vec<(i64, Value)> {
    match &mut history.operations[at].what {
        What::Poll { records, .. } => records,
        other => panic!("{other:?}"),
    }
}

fn misread(history: &mut History, seed: &mut Seed) {
    let at = some_poll(history, seed, 2);
    let records = records(history, at);
    records[0].1 = records[1].1;
}

fn log(history: &mut History) -> &mut Vec<(i64, Value)> {
    history.logs.values_mut().next().expect("a log")
}

fn replay(history: &mut History, seed: &mut Seed) {
    let log = log(history);
    let (_, value) = *seed.one_of(log);
    let end = log.last().expect("not empty").0 + 1;
    log.push((end, value));
}

/// An acknowledged record that is not its log's last.
fn lost(history: &History, seed: &mut Seed) -> (Partition, usize) {
    loop {
        let (at, offset, _) = some_acked(history, seed);
        let position = usize::try_from(offset).expect("from 0");
        if position > 0 && position + 1 < history.logs[&at].len() {
            return (at, position);
        }
    }
}

fn lose_in_the_middle(history: &mut History, seed: &mut Seed) {
    let (at, position) = lost(history, seed);
    history.logs.get_mut(&at).expect("its log").remove(position);
}

fn overwrite(history: &mut History, seed: &mut Seed) {
    let (at, position) = lost(history, seed);
    let log = history.logs.get_mut(&at).expect("its log");
    log[position].1 = log[position + 1].1;
}

fn cut_the_end(history: &mut History, seed: &mut Seed) {
    let (at, offset, _) = some_acked(history, seed);
    let position = usize::try_from(offset).expect("from 0");
    history
        .logs
        .get_mut(&at)
        .expect("its log")
        .truncate(position);
}

fn cut_everything(history: &mut History, _seed: &mut Seed) {
    log(history).clear();
}

fn see_what_goes(history: &mut History, seed: &mut Seed) {
    let at = some_poll(history, seed, 1);
    let What::Poll { at: place, records } = &history.operations[at].what else {
        unreachable!("a poll");
    };
    let (place, offset) = (place.clone(), records[0].0);
    let position = usize::try_from(offset).expect("from 0");
    history
        .logs
        .get_mut(&place)
        .expect("a log")
        .truncate(position.max(1));
    if position == 0 {
        history.logs.get_mut(&place).expect("a log")[0].1 = Value::new(99, 1);
    }
}

fn invent(history: &mut History, _seed: &mut Seed) {
    let log = log(history);
    let end = log.last().expect("not empty").0 + 1;
    log.push((end, Value::new(99, 1)));
}

fn invent_for_a_reader(history: &mut History, seed: &mut Seed) {
    let at = some_poll(history, seed, 1);
    records(history, at)[0].1 = Value::new(99, 1);
}

fn refuse_in_hindsight(history: &mut History, seed: &mut Seed) {
    let choices = all(history, |o| acked(o).is_some());
    if let What::Send { outcome, .. } = &mut history.operations[*seed.one_of(&choices)].what {
        *outcome = Outcome::Refused;
    }
}

fn leave_a_hole(history: &mut History, _seed: &mut Seed) {
    let log = log(history);
    let last = log.last_mut().expect("not empty");
    last.0 += 1;
}

/// A poll that is followed by another of the same reader and partition, both with records and no
/// seek between.
fn followed(history: &History) -> (usize, usize) {
    let polls = all(
        history,
        |o| matches!(&o.what, What::Poll { records, .. } if !records.is_empty()),
    );
    for (index, &first) in polls.iter().enumerate() {
        let What::Poll { at, .. } = &history.operations[first].what else {
            continue;
        };
        let client = history.operations[first].client;
        let same = |other: &usize| {
            let o = &history.operations[*other];
            o.client == client && matches!(&o.what, What::Poll { at: place, .. } if place == at)
        };
        let Some(&second) = polls[index + 1..].iter().find(|other| same(other)) else {
            continue;
        };
        let sought = history.operations[first..second].iter().any(|o| {
            o.client == client && matches!(&o.what, What::Seek { at: place } if place == at)
        });
        if !sought {
            return (first, second);
        }
    }
    panic!("no two polls in a row");
}

fn skip_between_polls(history: &mut History, _seed: &mut Seed) {
    let (first, _) = followed(history);
    // The reader forgets the last record of the first poll, and comes back behind it; with one
    // more that it had before.
    let records = records(history, first);
    let (offset, value) = records[0];
    if records.len() > 1 {
        records.pop();
    } else {
        records[0] = (offset - 1, value);
    }
}

fn skip_within_a_poll(history: &mut History, seed: &mut Seed) {
    let at = some_poll(history, seed, 3);
    records(history, at).remove(1);
}

fn read_again(history: &mut History, _seed: &mut Seed) {
    let (first, second) = followed(history);
    let again = records(history, first).clone();
    *records(history, second) = again;
}

fn turn_a_poll_round(history: &mut History, seed: &mut Seed) {
    let at = some_poll(history, seed, 2);
    records(history, at).reverse();
}

/// Two acknowledged sends to one partition for which `wanted` is true.
fn two(history: &History, wanted: impl Fn(&Operation, &Operation) -> bool) -> (usize, usize) {
    let sends = all(history, |o| acked(o).is_some());
    for &a in &sends {
        for &b in &sends {
            let (first, second) = (&history.operations[a], &history.operations[b]);
            let places = (acked(first).map(|s| s.0), acked(second).map(|s| s.0));
            if a != b && places.0 == places.1 && wanted(first, second) {
                return (a, b);
            }
        }
    }
    panic!("no two such sends");
}

/// Swaps the offsets of two sends, everywhere.
fn swap(history: &mut History, (a, b): (usize, usize)) {
    let first = acked(&history.operations[a]).expect("acked");
    let second = acked(&history.operations[b]).expect("acked");
    let (at, first, second) = (first.0.clone(), (first.1, first.2), (second.1, second.2));
    set_offset(&mut history.operations[a], second.0);
    set_offset(&mut history.operations[b], first.0);
    for (offset, value) in history.logs.get_mut(&at).expect("its log") {
        if *offset == first.0 {
            *value = second.1;
        } else if *offset == second.0 {
            *value = first.1;
        }
    }
}

fn swap_in_time(history: &mut History, _seed: &mut Seed) {
    let pair = two(history, |a, b| a.client == b.client && a.ended < b.begun);
    swap(history, pair);
}

fn swap_between_clients(history: &mut History, _seed: &mut Seed) {
    let pair = two(history, |a, b| a.client != b.client && a.ended < b.begun);
    swap(history, pair);
}

fn number(operation: &Operation) -> u64 {
    match operation.what {
        What::Send { number, .. } => number,
        _ => 0,
    }
}

fn swap_under_way(history: &mut History, _seed: &mut Seed) {
    let sends: Vec<Operation> = history.operations.clone();
    let pair = two(history, |a, b| {
        let next = |c: &Operation| {
            c.client == a.client
                && acked(c).map(|s| s.0) == acked(a).map(|s| s.0)
                && (number(a) + 1..number(b)).contains(&number(c))
        };
        let together = b.begun < a.ended && number(a) < number(b);
        a.client == b.client && together && !sends.iter().any(|c| acked(c).is_some() && next(c))
    });
    swap(history, pair);
}

fn take_back_the_end(history: &mut History, _seed: &mut Seed) {
    let answers = all(
        history,
        |o| matches!(o.what, What::Watermark { high, .. } if high > 0),
    );
    let last = *answers.last().expect("some");
    let mut again = history.operations[last].clone();
    again.begun = again.ended + Duration::from_millis(1);
    again.ended = again.begun;
    if let What::Watermark { high, .. } = &mut again.what {
        *high -= 1;
    }
    history.operations.push(again);
}

/// A read of a commit at the very end, with another answer.
fn read_commit(history: &mut History, change: impl Fn(Option<i64>) -> Option<i64>) {
    let reads = all(history, |o| {
        matches!(
            o.what,
            What::Committed {
                offset: Some(_),
                ..
            }
        )
    });
    let last = *reads.last().expect("some");
    if let What::Committed { offset, .. } = &mut history.operations[last].what {
        *offset = change(*offset);
    }
}

fn forget_commits(history: &mut History, _seed: &mut Seed) {
    read_commit(history, |_| None);
}

fn answer_an_older_commit(history: &mut History, _seed: &mut Seed) {
    // Where none is unknown, none can come late.
    for operation in &mut history.operations {
        if let What::Commit { done, .. } = &mut operation.what {
            *done = true;
        }
    }
    read_commit(history, |offset| offset.map(|offset| offset - 3));
}

fn invent_a_commit(history: &mut History, _seed: &mut Seed) {
    read_commit(history, |offset| offset.map(|offset| offset + 1000));
}

fn owns(history: &History, by_lock: bool) -> usize {
    let owned = all(
        history,
        |o| matches!(&o.what, What::Owns { generation, .. } if generation.is_none() == by_lock),
    );
    owned[0]
}

fn own_twice(history: &mut History, _seed: &mut Seed) {
    let mut second = history.operations[owns(history, false)].clone();
    second.client = 77;
    history.operations.push(second);
}

fn claim_too_early(history: &mut History, _seed: &mut Seed) {
    let mut second = history.operations[owns(history, true)].clone();
    second.client = 77;
    second.begun = second
        .ended
        .saturating_sub(Duration::from_millis(1))
        .max(second.begun);
    second.ended += Duration::from_millis(1);
    let first = owns(history, true);
    history.operations[first].ended = second.begun + Duration::from_micros(500);
    history.operations.push(second);
}

fn elect_two(history: &mut History, seed: &mut Seed) {
    let led = all(history, |o| matches!(o.what, What::Leader { .. }));
    let mut second = history.operations[*seed.one_of(&led)].clone();
    if let What::Leader { broker, .. } = &mut second.what {
        *broker += 1;
    }
    history.operations.push(second);
}

fn append_with_an_old_epoch(history: &mut History, _seed: &mut Seed) {
    for replica in history.replicas.values_mut().next().expect("some") {
        replica.batches.last_mut().expect("not empty").epoch = -1;
    }
}

fn replica(history: &mut History) -> &mut harness::history::ReplicaLog {
    let replicas = history.replicas.values_mut().next().expect("some");
    &mut replicas[1]
}

fn change_a_batch(history: &mut History, seed: &mut Seed) {
    let batches = &mut replica(history).batches;
    let at = seed.below(batches.len());
    batches[at].sum.1 ^= 1;
}

fn shorten_a_replica(history: &mut History, _seed: &mut Seed) {
    replica(history).batches.pop();
}

fn hollow_a_replica(history: &mut History, _seed: &mut Seed) {
    replica(history).batches.remove(1);
}

/// Removes what `wanted` names from after the last fault.
fn stop(history: &mut History, wanted: impl Fn(&What) -> bool) {
    let healed = history.healed.expect("a fault");
    history
        .operations
        .retain(|o| o.ended < healed || !wanted(&o.what));
}

fn stop_sends(history: &mut History, _seed: &mut Seed) {
    stop(history, |what| matches!(what, What::Send { .. }));
}

fn stop_polls(history: &mut History, _seed: &mut Seed) {
    stop(history, |what| matches!(what, What::Poll { .. }));
}

fn stop_commits(history: &mut History, _seed: &mut Seed) {
    let healed = history.healed.expect("a fault");
    for operation in &mut history.operations {
        if let What::Commit { done, .. } = &mut operation.what
            && operation.ended >= healed
        {
            *done = false;
        }
    }
}
