//! What clients were told and what they saw, and whether the two agree.
//!
//! Values are unique over a history, so that a loss, a change of order or a double shows itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One partition of one topic.
pub type Partition = (String, i32);

/// Operations of one test.
#[derive(Debug, Default)]
pub struct History {
    /// Acknowledged sends: where, and which value.
    acked: BTreeMap<Partition, BTreeMap<i64, Vec<u8>>>,
    /// Values whose fate is unknown: sent, not acknowledged.
    maybe: BTreeSet<Vec<u8>>,
}

/// What is wrong, each finding a sentence.
pub type Findings = Vec<String>;

impl History {
    /// Notes that the broker acknowledged `value` at `offset`.
    pub fn acked(&mut self, topic: &str, partition: i32, offset: i64, value: &[u8]) {
        self.acked
            .entry((topic.to_owned(), partition))
            .or_default()
            .insert(offset, value.to_vec());
    }

    /// Notes a send that may or may not have happened.
    pub fn unknown(&mut self, value: &[u8]) {
        self.maybe.insert(value.to_vec());
    }

    /// Number of acknowledged sends.
    #[must_use]
    pub fn acked_count(&self) -> usize {
        self.acked.values().map(BTreeMap::len).sum()
    }

    /// Compares with a whole read of one partition, from its start: (offset, value) as they came.
    ///
    /// Acknowledged records are all there, at their offsets; offsets are dense; every value was
    /// sent; none came twice (the producer is idempotent).
    #[must_use]
    pub fn check(&self, topic: &str, partition: i32, read: &[(i64, Vec<u8>)]) -> Findings {
        let mut findings = Findings::new();
        let none = BTreeMap::new();
        let acked = self
            .acked
            .get(&(topic.to_owned(), partition))
            .unwrap_or(&none);
        let by_offset: BTreeMap<i64, &[u8]> =
            read.iter().map(|(o, v)| (*o, v.as_slice())).collect();
        for (offset, value) in acked {
            match by_offset.get(offset) {
                None => findings.push(format!("acked offset {offset} is lost")),
                Some(found) if *found != value.as_slice() => findings.push(format!(
                    "acked offset {offset} holds {:?}, not {:?}",
                    String::from_utf8_lossy(found),
                    String::from_utf8_lossy(value)
                )),
                Some(_) => {}
            }
        }
        for pair in read.windows(2) {
            if pair[1].0 != pair[0].0 + 1 {
                findings.push(format!("offset {} follows {}", pair[1].0, pair[0].0));
            }
        }
        let mut seen: HashMap<&[u8], i64> = HashMap::new();
        for (offset, value) in read {
            if let Some(first) = seen.insert(value, *offset) {
                findings.push(format!(
                    "{:?} is at {first} and at {offset}",
                    String::from_utf8_lossy(value)
                ));
            }
            let was_sent = acked.get(offset) == Some(value) || self.maybe.contains(value);
            if !was_sent {
                findings.push(format!(
                    "{:?} at {offset} was never sent",
                    String::from_utf8_lossy(value)
                ));
            }
        }
        findings.truncate(20);
        findings
    }
}
