//! Where values are: every acknowledged one in the log at its offset, none twice, none from nowhere.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Anomaly, History, Kind, Outcome, Partition, Value, What};

/// Findings of this kind that are told at most: one fault may cost thousands of records.
const TOLD_MAX: usize = 20;

/// All that is known of one partition's values.
#[derive(Default)]
struct Known<'a> {
    /// Who says that this value is at this offset, in the words of a report.
    holds: BTreeMap<i64, BTreeMap<Value, &'static str>>,
    acked: Vec<(i64, Value)>,
    /// Acknowledged without an offset.
    in_log: Vec<Value>,
    polled: BTreeSet<(i64, Value)>,
    log: Option<&'a [(i64, Value)]>,
}

impl Known<'_> {
    fn note(&mut self, offset: i64, value: Value, by: &'static str) {
        self.holds.entry(offset).or_default().insert(value, by);
    }
}

/// Checks the values of all partitions.
pub(super) fn check(history: &History) -> Vec<Anomaly> {
    let mut known: BTreeMap<&Partition, Known<'_>> = BTreeMap::new();
    // Values by what became of them: sent at all, and refused for certain.
    let mut sent: HashMap<Value, Outcome> = HashMap::new();
    for operation in &history.operations {
        match &operation.what {
            What::Send {
                at, value, outcome, ..
            } => {
                sent.insert(*value, *outcome);
                let here = known.entry(at).or_default();
                match outcome {
                    Outcome::Acked(offset) => {
                        here.note(*offset, *value, "acknowledged");
                        here.acked.push((*offset, *value));
                    }
                    Outcome::InLog => here.in_log.push(*value),
                    Outcome::Refused | Outcome::Unknown => {}
                }
            }
            What::Poll { at, records } => {
                let here = known.entry(at).or_default();
                for (offset, value) in records {
                    here.note(*offset, *value, "read");
                    here.polled.insert((*offset, *value));
                }
            }
            _ => {}
        }
    }
    for (at, log) in &history.logs {
        let here = known.entry(at).or_default();
        for (offset, value) in log {
            here.note(*offset, *value, "in the log");
        }
        here.log = Some(log);
    }
    let mut found = Vec::new();
    for (at, here) in &known {
        let mut told = Told::new(at, &mut found);
        disagreements(here, &mut told);
        sources(here, &sent, &mut told);
        if let Some(log) = here.log {
            against_the_log(here, log, &mut told);
        }
    }
    found
}

/// Findings of one partition, at most [`TOLD_MAX`] of a kind.
struct Told<'a> {
    at: &'a Partition,
    counts: BTreeMap<Kind, usize>,
    found: &'a mut Vec<Anomaly>,
}

impl<'a> Told<'a> {
    const fn new(at: &'a Partition, found: &'a mut Vec<Anomaly>) -> Self {
        Self {
            at,
            counts: BTreeMap::new(),
            found,
        }
    }

    fn tell(&mut self, kind: Kind, detail: &str) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= TOLD_MAX {
            let (topic, partition) = self.at;
            let detail = format!("{topic}-{partition}: {detail}");
            self.found.push(Anomaly::new(kind, detail));
        }
    }
}

/// One offset with two values, one value with two offsets.
fn disagreements(here: &Known<'_>, told: &mut Told<'_>) {
    let mut first: HashMap<Value, i64> = HashMap::new();
    for (offset, values) in &here.holds {
        if values.len() > 1 {
            let values: Vec<String> = values.iter().map(|(v, by)| format!("{v} ({by})")).collect();
            let detail = format!("offset {offset} holds {}", values.join(" and "));
            told.tell(Kind::InconsistentOffsets, &detail);
        }
        for value in values.keys() {
            if let Some(other) = first.insert(*value, *offset) {
                told.tell(
                    Kind::Duplicate,
                    &format!("{value} is at {other} and at {offset}"),
                );
            }
        }
    }
    // The log may hold a value twice at offsets that nobody else saw: covered above, as the log
    // notes its offsets too.
}

/// Values that nobody sent, or that were refused.
fn sources(here: &Known<'_>, sent: &HashMap<Value, Outcome>, told: &mut Told<'_>) {
    for (offset, values) in &here.holds {
        for value in values.keys() {
            match sent.get(value) {
                None => told.tell(Kind::NeverSent, &format!("{value} at {offset}")),
                Some(Outcome::Refused) => {
                    told.tell(Kind::RefusedYetThere, &format!("{value} at {offset}"));
                }
                Some(_) => {}
            }
        }
    }
}

/// Acknowledged and read values against the whole log.
fn against_the_log(here: &Known<'_>, log: &[(i64, Value)], told: &mut Told<'_>) {
    let by_offset: BTreeMap<i64, Value> = log.iter().copied().collect();
    let start = by_offset.first_key_value().map_or(0, |(offset, _)| *offset);
    let end = by_offset
        .last_key_value()
        .map_or(start, |(offset, _)| offset + 1);
    for (offset, value) in &here.acked {
        if *offset >= end {
            let detail = format!("{value} was acknowledged at {offset}, the log ends at {end}");
            told.tell(Kind::Unseen, &detail);
        } else if *offset >= start && by_offset.get(offset) != Some(value) {
            let instead = by_offset
                .get(offset)
                .map_or_else(|| "nothing".to_owned(), ToString::to_string);
            let detail = format!("{value} was acknowledged at {offset}, which holds {instead}");
            told.tell(Kind::LostWrite, &detail);
        }
    }
    let values: HashSet<Value> = by_offset.values().copied().collect();
    for value in &here.in_log {
        if start == 0 && !values.contains(value) {
            let detail = format!("{value} was acknowledged as being in the log, and is not there");
            told.tell(Kind::LostWrite, &detail);
        }
    }
    for (offset, value) in &here.polled {
        if *offset >= start && by_offset.get(offset) != Some(value) {
            let detail = format!("{value} was read at {offset} and is not there any more");
            told.tell(Kind::Phantom, &detail);
        }
    }
    for pair in log.windows(2) {
        if pair[1].0 != pair[0].0 + 1 {
            let detail = format!("{} follows {}", pair[1].0, pair[0].0);
            told.tell(Kind::GapUnexplained, &detail);
        }
    }
}
