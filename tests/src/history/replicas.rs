//! What brokers hold and say: one leader an epoch, epochs that rise along a log, equal replicas.
//!
//! [`ReplicaLog::read`] takes the batches from a partition's folder, as they lie on the disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::{Anomaly, History, Kind, Partition, What};

/// One batch on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// First offset.
    pub first: i64,
    /// Last offset.
    pub last: i64,
    /// Leader epoch.
    pub epoch: i32,
    /// Checksum that the batch carries, and a hash of all its bytes.
    pub sum: (u32, u64),
}

/// All batches of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaLog {
    /// Whose disk.
    pub broker: i32,
    /// In the order of the files.
    pub batches: Vec<Batch>,
}

impl ReplicaLog {
    /// Reads the segments in the folder of a partition; zeros behind the last batch are its end.
    pub fn read(broker: i32, folder: &Path) -> io::Result<Self> {
        let mut files: Vec<_> = fs::read_dir(folder)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "log"))
            .collect();
        files.sort();
        let mut batches = Vec::new();
        for file in files {
            let bytes = fs::read(file)?;
            let mut rest = bytes.as_slice();
            while let Some((batch, after)) = batch(rest) {
                batches.push(batch);
                rest = after;
            }
        }
        Ok(Self { broker, batches })
    }

    /// First offset, and the offset behind the last.
    fn range(&self) -> (i64, i64) {
        let first = self.batches.first().map_or(0, |batch| batch.first);
        (first, self.batches.last().map_or(first, |b| b.last + 1))
    }
}

/// The first batch of `bytes` (record format 2) and what follows it.
fn batch(bytes: &[u8]) -> Option<(Batch, &[u8])> {
    let int = |at: usize| {
        let four = bytes.get(at..at + 4)?;
        Some(i32::from_be_bytes(four.try_into().ok()?))
    };
    let first = i64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    let length = usize::try_from(int(8)?).ok().filter(|length| *length > 0)?;
    let whole = bytes.get(..12 + length)?;
    let hash = whole.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let batch = Batch {
        first,
        last: first + i64::from(int(23)?),
        epoch: int(12)?,
        sum: (int(17)?.cast_unsigned(), hash),
    };
    Some((batch, bytes.get(12 + length..)?))
}

/// Checks leaders and replicas.
pub(super) fn check(history: &History) -> Vec<Anomaly> {
    let mut found = Vec::new();
    leaders(history, &mut found);
    for (at, replicas) in &history.replicas {
        for replica in replicas {
            epochs(at, replica, &mut found);
        }
        for pair in replicas.windows(2) {
            if let Some(difference) = difference(&pair[0], &pair[1]) {
                let detail = format!(
                    "{}-{} on {} and {}: {difference}",
                    at.0, at.1, pair[0].broker, pair[1].broker
                );
                found.push(Anomaly::new(Kind::ReplicaDiverge, detail));
            }
        }
    }
    found
}

fn leaders(history: &History, found: &mut Vec<Anomaly>) {
    let mut led: BTreeMap<(&Partition, i32), i32> = BTreeMap::new();
    for operation in &history.operations {
        let What::Leader { at, epoch, broker } = &operation.what else {
            continue;
        };
        let leader = led.entry((at, *epoch)).or_insert(*broker);
        if leader != broker {
            let detail = format!("{}-{}, epoch {epoch}: {leader} and {broker}", at.0, at.1);
            found.push(Anomaly::new(Kind::EpochTwoLeaders, detail));
        }
    }
}

fn epochs(at: &Partition, replica: &ReplicaLog, found: &mut Vec<Anomaly>) {
    for pair in replica.batches.windows(2) {
        if pair[1].epoch < pair[0].epoch {
            let detail = format!(
                "{}-{} on {}: epoch {} at {} after {}",
                at.0, at.1, replica.broker, pair[1].epoch, pair[1].first, pair[0].epoch
            );
            found.push(Anomaly::new(Kind::EpochRegress, detail));
        }
    }
}

/// What tells two replicas apart where both have records, and where they end.
fn difference(a: &ReplicaLog, b: &ReplicaLog) -> Option<String> {
    let ((start_a, end_a), (start_b, end_b)) = (a.range(), b.range());
    if end_a != end_b {
        return Some(format!("they end at {end_a} and {end_b}"));
    }
    let start = start_a.max(start_b);
    let from = |replica: &ReplicaLog| -> Vec<Batch> {
        let batches = replica.batches.iter().copied();
        batches.filter(|batch| batch.first >= start).collect()
    };
    let (a, b) = (from(a), from(b));
    let unequal = a.iter().zip(&b).find(|(a, b)| a != b);
    if let Some((a, b)) = unequal {
        return Some(format!("{a:?} and {b:?}"));
    }
    (a.len() != b.len()).then(|| format!("{} and {} batches", a.len(), b.len()))
}
