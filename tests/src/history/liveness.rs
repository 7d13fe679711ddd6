//! How long nothing succeeded: during each fault, as a figure; after the last, as an anomaly.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Anomaly, History, Kind, Operation, Outcome, Partition, What};

/// What succeeds within this time after the last fault is not stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(15);

/// What kind of work an operation is; none: it is none.
fn work(operation: &Operation) -> Option<(&'static str, &Partition)> {
    match &operation.what {
        What::Send { at, .. } => Some(("send", at)),
        What::Poll { at, .. } => Some(("poll", at)),
        What::Commit { at, .. } => Some(("commit", at)),
        _ => None,
    }
}

fn succeeded(operation: &Operation) -> bool {
    match &operation.what {
        What::Send { outcome, .. } => matches!(outcome, Outcome::Acked(_) | Outcome::InLog),
        What::Commit { done, .. } => *done,
        What::Poll { records, .. } => !records.is_empty(),
        _ => false,
    }
}

/// Work that was done before the last fault was over, and never succeeded soon after it.
pub(super) fn check(history: &History) -> Vec<Anomaly> {
    let Some(healed) = history.healed else {
        return Vec::new();
    };
    let mut wanted = BTreeSet::new();
    let mut alive = BTreeSet::new();
    for operation in &history.operations {
        let Some(work) = work(operation) else {
            continue;
        };
        if operation.begun < healed {
            wanted.insert(work);
        }
        if succeeded(operation) && (healed..=healed + STUCK_AFTER).contains(&operation.ended) {
            alive.insert(work);
        }
    }
    let stuck = wanted.difference(&alive);
    stuck
        .map(|(work, (topic, partition))| {
            let detail = format!("no {work} at {topic}-{partition} within {STUCK_AFTER:?}");
            Anomaly::new(Kind::Stuck, detail)
        })
        .collect()
}

/// Longest time without an acknowledged send, over partitions, of each fault, by the fault's kind.
///
/// A fault's time goes until the next one begins: what it costs may show after it is over.
#[must_use]
pub fn unavailability(history: &History) -> BTreeMap<String, Vec<Duration>> {
    let mut faults: Vec<(Duration, &str)> = history
        .operations
        .iter()
        .filter_map(|operation| match &operation.what {
            What::Fault { kind } => Some((operation.begun, kind.as_str())),
            _ => None,
        })
        .collect();
    faults.sort();
    let mut acks: BTreeMap<&Partition, Vec<Duration>> = BTreeMap::new();
    for operation in &history.operations {
        if let What::Send {
            at,
            outcome: Outcome::Acked(_),
            ..
        } = &operation.what
        {
            acks.entry(at).or_default().push(operation.ended);
        }
    }
    acks.values_mut().for_each(|times| times.sort());
    let end = history.operations.iter().map(|o| o.ended).max();
    let end = end.unwrap_or_default();
    let mut figures: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for (position, (begun, kind)) in faults.iter().enumerate() {
        let next = faults.get(position + 1).map_or(end, |(next, _)| *next);
        let longest = acks.values().map(|times| longest_gap(times, *begun, next));
        let longest = longest.max().unwrap_or_default();
        figures.entry((*kind).to_owned()).or_default().push(longest);
    }
    figures
}

/// Longest time between two of `times` within `from..to`.
#[must_use]
pub fn longest_gap(times: &[Duration], from: Duration, to: Duration) -> Duration {
    let mut longest = Duration::ZERO;
    let mut last = from;
    for time in times.iter().filter(|time| (from..to).contains(*time)) {
        longest = longest.max(time.saturating_sub(last));
        last = *time;
    }
    longest.max(to.saturating_sub(last))
}

/// The value at `quantile` (0 to 1) of a list, by rank.
#[must_use]
pub fn quantile(values: &[Duration], quantile: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank within a list"
    )]
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    let at = rank.saturating_sub(1).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
