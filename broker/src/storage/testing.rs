//! What the tests of this folder share: batches, a log in its own folder, chance from a seed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nyala_client::wire::batch::{BatchBuilder, BatchOptions};
use nyala_coordinator::ids::LeaderEpoch;

use super::log::{Log, LogRuntime};
use super::open::{Hints, OpenLog};
use super::space::DirSpace;
use super::workers::Workers;
use super::{AppendAs, LogConfig, Origin, RecoveryReport, StorageError};

/// xorshift64*: the same numbers for the same seed, everywhere.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    pub(crate) fn size(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("small")
    }

    pub(crate) fn offset(&mut self, from: i64, to: i64) -> i64 {
        from + i64::try_from(self.below(u64::try_from(to - from).expect("to >= from") + 1))
            .expect("small")
    }
}

/// A batch of `records` records whose values are `bytes` long; timestamps count up from `timestamp_ms`.
pub(crate) fn batch(records: usize, bytes: usize, timestamp_ms: i64) -> Vec<u8> {
    batch_with(records, bytes, timestamp_ms, BatchOptions::default())
}

pub(crate) fn batch_with(
    records: usize,
    bytes: usize,
    timestamp_ms: i64,
    options: BatchOptions,
) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for i in 0..records {
        let fill = u8::try_from((timestamp_ms + i as i64).rem_euclid(251)).expect("below 251");
        let value = vec![fill + 1; bytes];
        let at = timestamp_ms + i as i64;
        builder.append(at, None, Some(&value), &[]).expect("fits");
    }
    builder.build().expect("builds").to_vec()
}

pub(crate) fn as_producer(producer_id: i64, epoch: i16, sequence: i32) -> BatchOptions {
    BatchOptions {
        producer_id,
        producer_epoch: epoch,
        base_sequence: sequence,
        ..BatchOptions::default()
    }
}

pub(crate) fn as_leader(epoch: i32, now_ms: i64) -> AppendAs<'static> {
    AppendAs {
        leader_epoch: LeaderEpoch(epoch),
        origin: Origin::Client,
        now_ms,
        log_append_time: false,
        fences: &[],
    }
}

/// A folder for one log.
pub(crate) struct Bed {
    pub(crate) root: tempfile::TempDir,
    pub(crate) config: LogConfig,
    pub(crate) workers: Option<Arc<Workers>>,
    pub(crate) space: Arc<DirSpace>,
}

impl Bed {
    pub(crate) fn new(config: LogConfig) -> Self {
        let root = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(root.path().join("t-0")).expect("create");
        Self {
            root,
            config,
            workers: None,
            space: Arc::new(DirSpace::new(0)),
        }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join("t-0")
    }

    pub(crate) fn try_open(&self, hints: Hints) -> Result<(Log, RecoveryReport), StorageError> {
        let open = OpenLog {
            dir: Arc::from(self.dir()),
            config: Arc::new(self.config.clone()),
            runtime: LogRuntime {
                workers: self.workers.clone(),
                space: Arc::clone(&self.space),
            },
            hints,
            now_ms: 0,
        };
        Log::open(open, &mut Vec::new())
    }

    pub(crate) fn open(&self, hints: Hints) -> (Log, RecoveryReport) {
        self.try_open(hints).expect("opens")
    }

    pub(crate) fn fresh(&self) -> Log {
        self.open(Hints::default()).0
    }
}

/// Hints after a kill: what the last checkpoint round knew.
pub(crate) fn crashed(log: &Log) -> Hints {
    Hints {
        clean: false,
        recovery_point: log.recovery_point(),
        log_start: log.log_start(),
        high_watermark: log.high_watermark(),
    }
}

/// Hints after a clean stop.
pub(crate) fn stopped(log: &Log) -> Hints {
    Hints {
        clean: true,
        recovery_point: log.next_offset(),
        ..crashed(log)
    }
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("create");
    for entry in std::fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
    }
}
