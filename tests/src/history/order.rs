//! What must come in order: a client's sends, a reader's records, the visible end of a partition.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Anomaly, History, Kind, Outcome, Partition, Value, What};

/// Checks orders of all clients and partitions.
pub(super) fn check(history: &History) -> Vec<Anomaly> {
    let mut found = Vec::new();
    sends(history, &mut found);
    polls(history, &mut found);
    watermarks(history, &mut found);
    found
}

/// One acknowledged send.
#[derive(Clone, Copy)]
struct Acked {
    client: u32,
    number: u64,
    begun: Duration,
    ended: Duration,
    offset: i64,
    value: Value,
}

fn sends(history: &History, found: &mut Vec<Anomaly>) {
    let mut acked: BTreeMap<&Partition, Vec<Acked>> = BTreeMap::new();
    for operation in &history.operations {
        if let What::Send {
            at,
            value,
            number,
            outcome: Outcome::Acked(offset),
        } = &operation.what
        {
            acked.entry(at).or_default().push(Acked {
                client: operation.client,
                number: *number,
                begun: operation.begun,
                ended: operation.ended,
                offset: *offset,
                value: *value,
            });
        }
    }
    for (at, mut acked) in acked {
        within_clients(at, &mut acked, found);
        by_time(at, &acked, found);
    }
}

/// A client's sends have offsets in their order, also those under way together.
fn within_clients(at: &Partition, acked: &mut [Acked], found: &mut Vec<Anomaly>) {
    acked.sort_by_key(|send| (send.client, send.number));
    for pair in acked.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        // Those that did not overlap are found by time.
        if a.client == b.client && a.offset > b.offset && a.ended > b.begun {
            let detail = format!(
                "{}-{}: {} at {}, then {} at {}",
                at.0, at.1, a.value, a.offset, b.value, b.offset
            );
            found.push(Anomaly::new(Kind::IntNonmonotonicSend, detail));
        }
    }
}

/// A send that began after another's end has the higher offset, whoever sent them.
fn by_time(at: &Partition, acked: &[Acked], found: &mut Vec<Anomaly>) {
    let mut by_end: Vec<&Acked> = acked.iter().collect();
    by_end.sort_by_key(|send| send.ended);
    let mut by_begin: Vec<&Acked> = acked.iter().collect();
    by_begin.sort_by_key(|send| send.begun);
    let mut ended = by_end.into_iter().peekable();
    let mut highest: Option<&Acked> = None;
    for send in by_begin {
        while let Some(before) = ended.next_if(|before| before.ended < send.begun) {
            if highest.is_none_or(|highest| before.offset > highest.offset) {
                highest = Some(before);
            }
        }
        if let Some(before) = highest
            && before.offset > send.offset
        {
            let detail = format!(
                "{}-{}: {} was acknowledged at {}, later {} at {}",
                at.0, at.1, before.value, before.offset, send.value, send.offset
            );
            found.push(Anomaly::new(Kind::NonmonotonicSend, detail));
        }
    }
}

/// Where a reader is in a partition.
struct Reader {
    last: i64,
}

fn polls(history: &History, found: &mut Vec<Anomaly>) {
    let offsets: BTreeMap<&Partition, BTreeSet<i64>> = history
        .logs
        .iter()
        .map(|(at, log)| (at, log.iter().map(|(offset, _)| *offset).collect()))
        .collect();
    let none = BTreeSet::new();
    let mut readers: BTreeMap<(u32, &Partition), Reader> = BTreeMap::new();
    for operation in history.by_begin() {
        let (at, records) = match &operation.what {
            What::Seek { at } => {
                readers.remove(&(operation.client, at));
                continue;
            }
            What::Poll { at, records } => (at, records),
            _ => continue,
        };
        let log = offsets.get(at).unwrap_or(&none);
        for (position, (offset, value)) in records.iter().enumerate() {
            let reader = readers.entry((operation.client, at));
            let reader = reader.or_insert(Reader { last: offset - 1 });
            let (skip, back) = if position == 0 {
                (Kind::PollSkip, Kind::NonmonotonicPoll)
            } else {
                (Kind::IntPollSkip, Kind::IntNonmonotonicPoll)
            };
            let detail = || {
                format!(
                    "{}-{}: client {} got {value} at {offset} after {}",
                    at.0, at.1, operation.client, reader.last
                )
            };
            if *offset <= reader.last {
                found.push(Anomaly::new(back, detail()));
            } else if log.range(reader.last + 1..*offset).next().is_some() {
                found.push(Anomaly::new(skip, detail()));
            }
            reader.last = *offset;
        }
    }
}

/// What one client is told of the visible end never goes back.
fn watermarks(history: &History, found: &mut Vec<Anomaly>) {
    let mut seen: BTreeMap<(u32, &Partition), (Duration, i64)> = BTreeMap::new();
    for operation in history.by_begin() {
        let What::Watermark { at, high } = &operation.what else {
            continue;
        };
        let last = seen
            .entry((operation.client, at))
            .or_insert((operation.ended, *high));
        if last.0 < operation.begun && *high < last.1 {
            let detail = format!(
                "{}-{}: client {} was told {}, then {high}",
                at.0, at.1, operation.client, last.1
            );
            found.push(Anomaly::new(Kind::HwRegress, detail));
        }
        if *high > last.1 {
            *last = (operation.ended, *high);
        }
    }
}
