//! What clients did and were told, as a list of operations, and whether all of it can be true.
//!
//! Operations have a begin and an end, and one of three outcomes: done, refused, or unknown (a
//! timeout says nothing). Values are unique over a history, so that a loss, a change of order or a
//! double shows itself. [`History::check`] is pure: it names what it finds in the words of
//! [`Kind`] and is itself tested by histories into which each anomaly was put.

mod anomaly;
mod groups;
pub mod liveness;
mod order;
mod recorder;
mod replicas;
pub mod synthetic;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use anomaly::{Anomaly, Kind};
pub use recorder::Recorder;
pub use replicas::{Batch, ReplicaLog};

/// One partition of one topic.
pub type Partition = (Arc<str>, i32);

/// A value that was sent: unique over a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u64);

impl Value {
    /// The value of client `client`'s send number `number`; its payload is [`Self::payload`].
    #[must_use]
    pub const fn new(client: u32, number: u64) -> Self {
        Self(((client as u64 & 0x7f_ffff) << 40) | (number & 0xff_ffff_ffff))
    }

    /// The value of a payload: `client.number`, perhaps with a space and filler behind, or any
    /// bytes, told apart by their hash.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        let text = payload.split(|b| *b == b' ').next().unwrap_or(payload);
        let numbered = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.split_once('.'));
        if let Some((client, number)) = numbered
            && let (Ok(client), Ok(number)) = (client.parse(), number.parse())
        {
            return Self::new(client, number);
        }
        // FNV-1a; the top bit keeps hashes away from numbered values.
        let hash = payload.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash | (1 << 63))
    }

    /// The payload of a numbered value.
    #[must_use]
    pub fn payload(self) -> String {
        format!("{self}")
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 >> 63 == 1 {
            write!(f, "#{:016x}", self.0)
        } else {
            write!(f, "{}.{}", self.0 >> 40, self.0 & 0xff_ffff_ffff)
        }
    }
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, at this offset.
    Acked(i64),
    /// Acknowledged as a repetition of what is in the log already; where it is there is not told
    /// (an idempotent producer's retry that came after the next requests).
    InLog,
    /// Refused for certain: it is nowhere.
    Refused,
    /// It may have happened.
    Unknown,
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which client.
    pub client: u32,
    /// When it began, from the start of the history.
    pub begun: Duration,
    /// When its answer came.
    pub ended: Duration,
    /// What it was.
    pub what: What,
}

/// Kinds of operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A record was sent. `number` is its place among this client's sends.
    Send {
        /// Where to.
        at: Partition,
        /// What.
        value: Value,
        /// Its place among the client's sends.
        number: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// Records came: offset and value, in the order in which they came.
    Poll {
        /// Where from.
        at: Partition,
        /// What came.
        records: Vec<(i64, Value)>,
    },
    /// The client's position in a partition was set: what comes next need not follow on.
    Seek {
        /// Where.
        at: Partition,
    },
    /// An offset was committed; `done`: the commit was acknowledged.
    Commit {
        /// Whose.
        group: Arc<str>,
        /// Of which partition.
        at: Partition,
        /// Next offset to read.
        offset: i64,
        /// Whether that was acknowledged.
        done: bool,
    },
    /// A committed offset was read.
    Committed {
        /// Whose.
        group: Arc<str>,
        /// Of which partition.
        at: Partition,
        /// What was answered; none: nothing is committed.
        offset: Option<i64>,
    },
    /// The client owned a partition of a group from the begin to the end of this operation.
    Owns {
        /// The group.
        group: Arc<str>,
        /// The partition.
        at: Partition,
        /// Generation of the group; none where ownership is a lock and counts by time.
        generation: Option<i32>,
    },
    /// The end that consumers may see was asked for.
    Watermark {
        /// Where.
        at: Partition,
        /// The answer.
        high: i64,
    },
    /// Some broker named the leader of an epoch.
    Leader {
        /// Where.
        at: Partition,
        /// Leader epoch.
        epoch: i32,
        /// Who leads in it.
        broker: i32,
    },
    /// Something was broken from the begin to the end of this operation.
    Fault {
        /// Its kind.
        kind: String,
    },
}

/// The operations of one test, and what was found at its end.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What clients did, in any order.
    pub operations: Vec<Operation>,
    /// Whole reads of partitions after the last fault, from their start: (offset, value).
    pub logs: BTreeMap<Partition, Vec<(i64, Value)>>,
    /// The logs of replicas as they lie on their disks, after the last fault.
    pub replicas: BTreeMap<Partition, Vec<ReplicaLog>>,
    /// When the last fault was over; none: nothing is asked of what came later.
    pub healed: Option<Duration>,
}

impl History {
    /// Notes that the broker acknowledged `value` at `offset`, with no regard to time.
    pub fn acked(&mut self, topic: &str, partition: i32, offset: i64, value: &[u8]) {
        self.note(topic, partition, value, Outcome::Acked(offset));
    }

    /// Notes a send to `topic` that may or may not have happened.
    pub fn unknown(&mut self, topic: &str, partition: i32, value: &[u8]) {
        self.note(topic, partition, value, Outcome::Unknown);
    }

    fn note(&mut self, topic: &str, partition: i32, value: &[u8], outcome: Outcome) {
        let number = self.operations.len() as u64;
        self.operations.push(Operation {
            client: 0,
            begun: Duration::ZERO,
            ended: Duration::ZERO,
            what: What::Send {
                at: (topic.into(), partition),
                value: Value::of(value),
                number,
                outcome,
            },
        });
    }

    /// Number of acknowledged sends.
    #[must_use]
    pub fn acked_count(&self) -> usize {
        let acked = |operation: &&Operation| {
            matches!(
                operation.what,
                What::Send {
                    outcome: Outcome::Acked(_),
                    ..
                }
            )
        };
        self.operations.iter().filter(acked).count()
    }

    /// Compares with a whole read of one partition, from its start: (offset, value) as they came.
    /// Acknowledged records are all there, at their offsets; offsets are dense; every value was
    /// sent; none came twice. Times and order are not looked at.
    #[must_use]
    pub fn check_read(&self, topic: &str, partition: i32, read: &[(i64, Vec<u8>)]) -> Vec<Anomaly> {
        let at: Partition = (topic.into(), partition);
        let of_here = |operation: &&Operation| matches!(&operation.what, What::Send { at: place, .. } if *place == at);
        let read = read
            .iter()
            .map(|(offset, value)| (*offset, Value::of(value)));
        let here = Self {
            operations: self.operations.iter().filter(of_here).cloned().collect(),
            logs: [(at.clone(), read.collect())].into(),
            ..Self::default()
        };
        values::check(&here)
    }

    /// Everything that cannot be true of a right cluster, each finding with its kind.
    #[must_use]
    pub fn check(&self) -> Vec<Anomaly> {
        let mut found = values::check(self);
        found.extend(order::check(self));
        found.extend(groups::check(self));
        found.extend(replicas::check(self));
        found.extend(liveness::check(self));
        found
    }

    /// Work that has not succeeded again since the last fault was over.
    #[must_use]
    pub fn check_liveness(&self) -> Vec<Anomaly> {
        liveness::check(self)
    }

    /// Operations sorted by their begin: what each check that goes by time starts from.
    fn by_begin(&self) -> Vec<&Operation> {
        let mut sorted: Vec<&Operation> = self.operations.iter().collect();
        sorted.sort_by_key(|operation| operation.begun);
        sorted
    }
}
