//! The rounds that keep all logs in shape, called by the broker's timers: retention, flush, checkpoints,
//! removal of what was deleted; and the last one, closing.
//!
//! Each takes a log's lock only for as long as that log needs it; files are removed and synced outside.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use nyala_coordinator::ids::TopicPartition;
use parking_lot::Mutex;

use super::log_dir::{Checkpoints, LogDir};
use super::log_dirs::{LogDirs, Placed};
use super::{AppendError, StorageError, durable};

/// After a crash no more than about so much has to be scanned: checkpoint rounds sync the logs with the
/// most unsynced bytes until no more than this is left in all.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;
/// Threads that close logs: closing waits for the disk.
const CLOSE_THREADS: usize = 8;

/// What a round (retention, flush, checkpoint) did and what failed; the caller logs it.
#[derive(Debug, Default)]
pub struct RoundReport {
    /// Segments (retention) or logs (flush) handled.
    pub done: usize,
    /// Failures, each once.
    pub failed: Vec<(PathBuf, StorageError)>,
}

impl RoundReport {
    fn fail(&mut self, path: PathBuf, error: StorageError) {
        self.failed.push((path, error));
    }
}

impl LogDirs {
    pub(crate) fn placed(&self) -> Vec<(TopicPartition, Placed)> {
        let logs = self.logs.read();
        logs.iter()
            .map(|(partition, placed)| (partition.clone(), placed.clone()))
            .collect()
    }

    /// Retention by time, size and log start, producers' expiry, idle windows: every
    /// `log.retention.check.interval.ms`.
    pub fn retain(&self, now_ms: i64) -> RoundReport {
        let mut report = RoundReport::default();
        for (_, placed) in self.placed() {
            let mut log = placed.log.lock();
            if log.failure().is_some() {
                continue;
            }
            let path = log.dir().to_path_buf();
            let retained = log.maintain(now_ms).and_then(|()| log.retain(now_ms));
            drop(log);
            match retained {
                Ok(removed) => {
                    for file in removed {
                        report.done += 1;
                        if let Err(error) = durable::remove(&file) {
                            report.fail(file, error);
                        }
                    }
                }
                // The disk is full; retention of other logs may free some.
                Err(AppendError::NoSpace(_)) => {}
                Err(AppendError::Storage(error)) => report.fail(path, error),
                Err(_) => {}
            }
        }
        report
    }

    /// Syncs the logs whose `flush.ms` is over: every `log.flush.scheduler.interval.ms`, or at most a
    /// second where some topic has a `flush.ms`. The sync thread does the work.
    pub fn flush_round(&self, now_ms: i64) -> RoundReport {
        let mut report = RoundReport::default();
        for (_, placed) in self.placed() {
            let mut log = placed.log.lock();
            if log.is_flush_due(now_ms) {
                log.syncer.request();
                report.done += 1;
            }
        }
        report
    }

    /// Bounds what a crash would make us scan, then writes the checkpoints (recovery point, high
    /// watermark, log start): every `log.flush.offset.checkpoint.interval.ms`. Blocks on the disk.
    pub fn checkpoint_round(&self, _now_ms: i64) -> RoundReport {
        let mut report = RoundReport::default();
        let mut unsynced: Vec<(u64, Placed)> = self
            .placed()
            .into_iter()
            .map(|(_, placed)| {
                let bytes = placed.log.lock().unsynced_bytes();
                (bytes, placed)
            })
            .collect();
        unsynced.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let mut total: u64 = unsynced.iter().map(|(bytes, _)| bytes).sum();
        for (bytes, placed) in unsynced {
            if total <= UNSYNCED_BYTES_MAX || bytes == 0 {
                break;
            }
            total -= bytes;
            let (syncer, path, prepared) = {
                let mut log = placed.log.lock();
                let prepared = log.prepare_checkpoint();
                (Arc::clone(&log.syncer), log.dir().to_path_buf(), prepared)
            };
            // The sync itself runs without the log's lock.
            match prepared.and_then(|()| syncer.sync()) {
                Ok(()) => report.done += 1,
                Err(StorageError::Offline { .. } | StorageError::Closed { .. }) => {}
                Err(error) if error.is_no_space() => {}
                Err(error) => report.fail(path, error),
            }
        }
        self.write_checkpoints(&mut report);
        report
    }

    fn write_checkpoints(&self, report: &mut RoundReport) {
        for dir in self.dirs.iter().filter(|dir| dir.offline().is_none()) {
            if let Err(error) = self.checkpoint(dir) {
                self.handle(dir, error, report);
            }
        }
    }

    /// Writes the checkpoints of a folder: of the logs that lie in it now.
    pub(crate) fn checkpoint(&self, dir: &Arc<LogDir>) -> Result<(), StorageError> {
        dir.write_checkpoints(|| {
            let mut values = Checkpoints::default();
            for (partition, placed) in self.placed() {
                if !Arc::ptr_eq(&placed.dir, dir) {
                    continue;
                }
                let log = placed.log.lock();
                let name = || partition.clone();
                values.recovery_points.insert(name(), log.recovery_point());
                values.high_watermarks.insert(name(), log.high_watermark());
                if log.log_start() > log.first_base_offset() {
                    // As in Kafka only what the files' names do not say already.
                    values.log_starts.insert(name(), log.log_start());
                }
            }
            values
        })
    }

    /// A full disk passes; a broken one takes the folder offline.
    fn handle(&self, dir: &LogDir, error: StorageError, report: &mut RoundReport) {
        if !error.is_no_space() {
            dir.take_offline(error.clone());
        }
        report.fail(dir.path().to_path_buf(), error);
    }

    /// Removes folders whose delay is over. To be called every few seconds.
    pub fn remove_deleted(&self, now_ms: i64) -> RoundReport {
        let mut report = RoundReport::default();
        let due: Vec<PathBuf> = {
            let mut trash = self.trash.lock();
            let due = trash.extract_if(.., |(_, due_ms)| *due_ms <= now_ms);
            due.map(|(path, _)| path).collect()
        };
        for path in due {
            match std::fs::remove_dir_all(&path) {
                Ok(()) => report.done += 1,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => {
                    let error = StorageError::io("remove", &path, e);
                    report.fail(path, error);
                }
            }
        }
        report
    }

    /// Closes every log and marks each folder whose logs all closed clean. Later calls on logs fail.
    pub fn close(&self) -> RoundReport {
        let placed = self.placed();
        let offsets = self.final_offsets(&placed);
        let report = Mutex::new(RoundReport::default());
        let unclean = Mutex::new(Vec::new());
        let next = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..CLOSE_THREADS.min(placed.len()) {
                scope.spawn(|| {
                    while let Some((_, placed)) =
                        placed.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                    {
                        let mut log = placed.log.lock();
                        let already = log.failure().is_some();
                        match log.close() {
                            Ok(()) => report.lock().done += 1,
                            Err(error) => {
                                unclean.lock().push(Arc::clone(&placed.dir));
                                if !already {
                                    report.lock().fail(log.dir().to_path_buf(), error);
                                }
                            }
                        }
                    }
                });
            }
        });
        self.workers.stop();
        let mut report = report.into_inner();
        let unclean = unclean.into_inner();
        for (path, values) in offsets {
            let Some(dir) = self.dirs.iter().find(|d| d.path() == path) else {
                continue;
            };
            if dir.offline().is_some() {
                continue;
            }
            let is_clean = !dir.is_tainted() && !unclean.iter().any(|d| Arc::ptr_eq(d, dir));
            let marked = if is_clean {
                dir.write_checkpoints(|| values)
                    .and_then(|()| dir.mark_clean())
            } else {
                Ok(())
            };
            if let Err(error) = marked {
                self.handle(dir, error, &mut report);
            }
        }
        report
    }

    /// What the checkpoints will say once all logs are closed: no append comes any more.
    fn final_offsets(&self, placed: &[(TopicPartition, Placed)]) -> HashMap<PathBuf, Checkpoints> {
        let mut offsets: HashMap<PathBuf, Checkpoints> = HashMap::new();
        for dir in &self.dirs {
            offsets.insert(dir.path().to_path_buf(), Checkpoints::default());
        }
        for (partition, placed) in placed {
            let log = placed.log.lock();
            let Some(values) = offsets.get_mut(placed.dir.path()) else {
                continue;
            };
            let name = || partition.clone();
            values.recovery_points.insert(name(), log.next_offset());
            values.high_watermarks.insert(name(), log.high_watermark());
            if log.log_start() > log.first_base_offset() {
                values.log_starts.insert(name(), log.log_start());
            }
        }
        offsets
    }
}
