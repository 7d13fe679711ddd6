//! Opening a log: from the checkpoints alone after a clean stop, else through recovery.

use std::path::Path;
use std::sync::Arc;

use nyala_coordinator::ids::TopicId;

use super::boundaries::Boundaries;
use super::epochs::Epochs;
use super::flush::Syncer;
use super::log::{Log, LogRuntime};
use super::log_config::LogConfig;
use super::producers::{Producers, Transactions};
use super::recovery::RecoveryReport;
use super::roll::jitter_ms;
use super::segment::Segment;
use super::{StorageError, checkpoint, durable, names, properties, snapshot};

/// What the log dir's checkpoints say of a log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hints {
    /// The log dir was closed clean: the recovery point is the log's end.
    pub(crate) clean: bool,
    pub(crate) recovery_point: i64,
    pub(crate) log_start: i64,
    pub(crate) high_watermark: i64,
}

/// Everything that opening needs.
#[derive(Clone, Debug)]
pub(crate) struct OpenLog {
    pub(crate) dir: Arc<Path>,
    pub(crate) config: Arc<LogConfig>,
    pub(crate) runtime: LogRuntime,
    pub(crate) hints: Hints,
    pub(crate) now_ms: i64,
}

impl Log {
    /// Opens the log in an existing folder. `buffer` is what recovery reads through.
    pub(crate) fn open(
        open: OpenLog,
        buffer: &mut Vec<u8>,
    ) -> Result<(Self, RecoveryReport), StorageError> {
        let hints = open.hints;
        let (mut segments, aborted) = list_segments(&open.dir, open.now_ms)?;
        if segments.is_empty() {
            let base_offset = hints.log_start.max(0);
            segments.push(Segment::create(
                Arc::clone(&open.dir),
                base_offset,
                open.now_ms,
            )?);
        }
        let mut log = Self::assemble(open, segments)?;
        let mut report = RecoveryReport::default();
        if log.is_clean(&hints) {
            log.next_offset = hints.recovery_point;
        } else {
            report = log.recover(hints.recovery_point, buffer)?;
            log.unsettled = true;
            log.unsynced_bytes = report.bytes_scanned;
        }
        log.settle_offsets(&hints)?;
        if aborted {
            log.producers.saw(Transactions::Aborted);
        }
        log.load_fences()?;
        Ok((log, report))
    }

    fn assemble(open: OpenLog, segments: Vec<Segment>) -> Result<Self, StorageError> {
        let epochs = checkpoint::read_epochs(&open.dir.join(names::LEADER_EPOCH_CHECKPOINT))?;
        let topic_id: Option<TopicId> = properties::read_topic_id(&open.dir)?;
        let first = segments.first().map_or(0, |s| s.base_offset);
        let workers = open.runtime.workers.clone();
        let synced = open.hints.recovery_point.max(0);
        Ok(Self {
            syncer: Syncer::new(open.dir.to_path_buf(), synced, workers),
            jitter_ms: jitter_ms(&open.config, &open.dir.join(first.to_string())),
            dir: open.dir,
            config: open.config,
            topic_id,
            runtime: open.runtime,
            segments,
            tail: None,
            log_start: first,
            next_offset: first,
            high_watermark: first,
            epochs: Epochs::new(epochs.unwrap_or_default()),
            producers: Producers::default(),
            fences: None,
            boundaries: Boundaries::new(),
            last_append_ms: open.now_ms,
            unsynced_since_ms: None,
            unsynced_bytes: 0,
            unsettled: false,
            snapshot_offset: None,
        })
    }

    /// Whether the recovery point can be taken as the log's end without reading it.
    fn is_clean(&self, hints: &Hints) -> bool {
        let active = self.active();
        let is_empty = active.size == 0;
        hints.clean
            && hints.recovery_point >= active.base_offset
            && is_empty == (hints.recovery_point == active.base_offset)
    }

    /// Start, high watermark, epochs and producers, once the end is known.
    fn settle_offsets(&mut self, hints: &Hints) -> Result<(), StorageError> {
        if hints.log_start > self.next_offset {
            // All of it was deleted, or the disk lost what came behind the start.
            let now_ms = self.last_append_ms;
            self.log_start = self.next_offset;
            self.high_watermark = self.next_offset;
            self.restart_at(hints.log_start, now_ms)?;
        }
        self.log_start = self.log_start.max(hints.log_start);
        self.high_watermark = hints.high_watermark.clamp(self.log_start, self.next_offset);
        self.syncer.reset(self.next_offset);
        let cut = self.epochs.truncate_from_end(self.next_offset.max(1));
        let raised = self.epochs.truncate_from_start(self.log_start);
        if cut || raised {
            // In memory it is right already; on a full disk the file follows later.
            match self.write_epochs() {
                Err(error) if !error.is_no_space() => return Err(error),
                _ => {}
            }
        }
        self.load_producers()
    }

    /// From the snapshot of the log's end where there is one, else by replay.
    fn load_producers(&mut self) -> Result<(), StorageError> {
        if self.next_offset == 0 {
            return Ok(());
        }
        let path = names::segment_file(&self.dir, self.next_offset, names::SNAPSHOT);
        if let Some(producers) = snapshot::read(&path)? {
            self.producers = producers;
            self.snapshot_offset = Some(self.next_offset);
            return Ok(());
        }
        self.rebuild_producers()
    }
}

/// The segments of a folder, oldest first, and whether Kafka noted aborted transactions in it. Removes
/// what a crash left half-way.
fn list_segments(dir: &Arc<Path>, now_ms: i64) -> Result<(Vec<Segment>, bool), StorageError> {
    let list = |e| StorageError::io("list", dir, e);
    let mut segments = Vec::new();
    let mut aborted = false;
    for entry in std::fs::read_dir(dir).map_err(list)? {
        let entry = entry.map_err(list)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_leftover = name.ends_with(names::DELETED_SUFFIX)
            || name.ends_with(".tmp")
            || name.ends_with(".cleaned");
        if is_leftover {
            durable::remove(&entry.path())?;
            continue;
        }
        match names::parse_segment_file(name) {
            Some((base_offset, names::LOG)) => {
                let size = entry.metadata().map_err(list)?.len();
                segments.push(Segment::new(Arc::clone(dir), base_offset, size, now_ms));
            }
            Some((_, names::TXN_INDEX)) => {
                aborted |= entry.metadata().map_err(list)?.len() > 0;
            }
            Some((_, extension)) if extension.ends_with(".swap") => {
                return Err(StorageError::Corrupt {
                    path: entry.path(),
                    position: 0,
                    what: "a compaction was not finished: start the broker that began it once more",
                });
            }
            _ => {}
        }
    }
    segments.sort_unstable_by_key(|segment| segment.base_offset);
    Ok((segments, aborted))
}
