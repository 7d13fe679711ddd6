//! What groups promise: a committed offset stays committed, and a partition has one owner.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Anomaly, History, Kind, Operation, Partition, What};

/// Checks all groups.
pub(super) fn check(history: &History) -> Vec<Anomaly> {
    let mut found = Vec::new();
    commits(history, &mut found);
    owners(history, &mut found);
    found
}

type Place<'a> = (&'a Arc<str>, &'a Partition);

/// One commit.
struct Commit {
    begun: Duration,
    ended: Duration,
    offset: i64,
    done: bool,
}

/// A committed offset is a register: a read sees the last commit that was done before it began, or
/// one that was under way since.
fn commits(history: &History, found: &mut Vec<Anomaly>) {
    let mut commits: BTreeMap<Place<'_>, Vec<Commit>> = BTreeMap::new();
    let mut reads: BTreeMap<Place<'_>, Vec<(&Operation, Option<i64>)>> = BTreeMap::new();
    for operation in history.by_begin() {
        match &operation.what {
            What::Commit {
                group,
                at,
                offset,
                done,
            } => commits.entry((group, at)).or_default().push(Commit {
                begun: operation.begun,
                ended: operation.ended,
                offset: *offset,
                done: *done,
            }),
            What::Committed { group, at, offset } => {
                reads
                    .entry((group, at))
                    .or_default()
                    .push((operation, *offset));
            }
            _ => {}
        }
    }
    for (place, reads) in reads {
        let commits = commits.get(&place).map_or(&[][..], Vec::as_slice);
        for (read, answer) in reads {
            if let Some(kind) = judge(commits, read, answer) {
                let (group, (topic, partition)) = place;
                let detail = format!(
                    "{group} {topic}-{partition}: {answer:?} was read at {:?}",
                    read.begun
                );
                found.push(Anomaly::new(kind, detail));
            }
        }
    }
}

/// What is wrong with an answer, given all commits by their begin.
fn judge(commits: &[Commit], read: &Operation, answer: Option<i64>) -> Option<Kind> {
    let begun = commits.partition_point(|commit| commit.begun <= read.ended);
    let latest_first = || commits[..begun].iter().rev();
    let last_done = latest_first().find(|commit| commit.done && commit.ended < read.begun);
    let floor = last_done.map_or(Duration::ZERO, |last| last.begun);
    // One whose outcome is unknown may take effect late.
    let mut possible = latest_first().filter(|commit| !commit.done || commit.ended >= floor);
    match (answer, last_done) {
        (None, None) => None,
        (None, Some(_)) => Some(Kind::CommitRegress),
        (Some(offset), _) if possible.any(|commit| commit.offset == offset) => None,
        (Some(offset), Some(last)) if offset < last.offset => Some(Kind::CommitRegress),
        (Some(_), _) => Some(Kind::CommitPhantom),
    }
}

fn owners(history: &History, found: &mut Vec<Anomaly>) {
    let mut owned: BTreeMap<(Place<'_>, Option<i32>), Vec<&Operation>> = BTreeMap::new();
    for operation in history.by_begin() {
        if let What::Owns {
            group,
            at,
            generation,
        } = &operation.what
        {
            owned
                .entry(((group, at), *generation))
                .or_default()
                .push(operation);
        }
    }
    for (((group, (topic, partition)), generation), operations) in owned {
        let mut last: Option<&Operation> = None;
        for operation in operations {
            if let Some(last) = last
                && last.client != operation.client
                // In one generation there is one owner; where the lock counts, one at a time.
                && (generation.is_some() || operation.begun < last.ended)
            {
                let detail = format!(
                    "{group} {topic}-{partition}, generation {generation:?}: clients {} ({:?} to {:?}) \
                     and {} ({:?} to {:?})",
                    last.client,
                    last.begun,
                    last.ended,
                    operation.client,
                    operation.begun,
                    operation.ended
                );
                found.push(Anomaly::new(Kind::DoubleOwner, detail));
            }
            if last.is_none_or(|last| operation.ended > last.ended) {
                last = Some(operation);
            }
        }
    }
}
