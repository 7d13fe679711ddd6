//! All folders of `log.dirs` and every log in them: opened in parallel, created, deleted, closed.
//!
//! A folder that fails goes offline with its reason and takes its logs along; the others go on. The rounds
//! that keep logs in shape are in `rounds.rs`.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nyala_coordinator::ids::{TopicId, TopicName, TopicPartition};
use parking_lot::{Mutex, RwLock};

use super::log::{Log, LogRuntime, SharedLog};
use super::log_config::LogConfig;
use super::log_dir::{Checkpoints, Contents, DirState, LogDir};
use super::open::{Hints, OpenLog};
use super::properties;
use super::workers::Workers;
use super::{LogDirsError, StorageError, durable, names};

/// Settings of all log dirs.
#[derive(Clone, Debug)]
pub struct LogDirsConfig {
    /// `log.dirs`.
    pub dirs: Vec<PathBuf>,
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads_per_dir: usize,
    /// `min.free.bytes` (ours): below it clients' appends are refused; 0: off.
    pub min_free_bytes: u64,
}

/// What opening found: for the start-up message.
#[derive(Debug, Default)]
pub struct OpenReport {
    /// Logs opened.
    pub logs: usize,
    /// Bytes of log read to recover after an unclean stop; 0 after a clean one.
    pub bytes_scanned: u64,
    /// Bytes cut because they were no whole batch.
    pub bytes_cut: u64,
    /// Logs that lost records below their recovery point: the disk lost what it had acknowledged.
    pub synced_lost: Vec<(PathBuf, i64)>,
    /// Folders (of partitions, or whole log dirs) that cannot be used, with their reason.
    pub offline: Vec<(PathBuf, StorageError)>,
}

/// Locks over all partitions.
const STRIPES: usize = 64;

/// All folders of `log.dirs`, and every log in them.
#[derive(Debug)]
pub struct LogDirs {
    pub(crate) dirs: Vec<Arc<LogDir>>,
    pub(crate) logs: RwLock<BTreeMap<TopicPartition, Placed>>,
    /// Deleted folders and when they are removed.
    pub(crate) trash: Mutex<Vec<(PathBuf, i64)>>,
    pub(crate) workers: Arc<Workers>,
    /// One creation or deletion of a partition at a time; those of others wait for the disk beside it.
    changing: [Mutex<()>; STRIPES],
    /// The folder of each log that is being made: as many as are made at a time.
    making: Mutex<Vec<Arc<LogDir>>>,
    /// A folder had no identity.
    pub(crate) has_other_dirs: AtomicBool,
}

/// A log and the folder that it lies in.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) log: SharedLog,
    pub(crate) dir: Arc<LogDir>,
}

/// The folder that a log is being made in; counts as one of its logs until dropped.
struct Place<'a> {
    dir: Arc<LogDir>,
    making: &'a Mutex<Vec<Arc<LogDir>>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut making = self.making.lock();
        if let Some(at) = making.iter().position(|d| Arc::ptr_eq(d, &self.dir)) {
            making.swap_remove(at);
        }
    }
}

/// Gives the settings of a topic.
pub type ConfigOf<'a> = &'a (dyn Fn(&TopicName) -> Arc<LogConfig> + Sync);

impl LogDirs {
    /// Locks and opens all folders and all logs in them (blocks; recovers after an unclean stop).
    /// `config_of` gives the settings of a topic.
    pub fn open(
        config: LogDirsConfig,
        config_of: ConfigOf<'_>,
        now_ms: i64,
    ) -> Result<(Arc<Self>, OpenReport), LogDirsError> {
        let mut dirs = Vec::new();
        for path in &config.dirs {
            dirs.push(Arc::new(LogDir::open(path, config.min_free_bytes)?));
        }
        let watched = dirs.clone();
        let workers = Workers::start(move || look_at_space(&watched)).map_err(|e| {
            let path = config.dirs.first().cloned().unwrap_or_default();
            let error = StorageError::io("start threads for", &path, e);
            LogDirsError::NoneUsable(vec![(path, error)])
        })?;
        let this = Arc::new(Self {
            dirs,
            logs: RwLock::default(),
            trash: Mutex::default(),
            workers,
            changing: std::array::from_fn(|_| Mutex::new(())),
            making: Mutex::default(),
            has_other_dirs: AtomicBool::new(false),
        });
        let report = this.load(&config, config_of, now_ms);
        match report {
            Ok(report) if this.dirs.iter().any(|d| d.offline().is_none()) => Ok((this, report)),
            Ok(report) => {
                this.workers.stop();
                Err(LogDirsError::NoneUsable(report.offline))
            }
            Err(error) => {
                this.workers.stop();
                Err(error)
            }
        }
    }

    fn load(
        &self,
        config: &LogDirsConfig,
        config_of: ConfigOf<'_>,
        now_ms: i64,
    ) -> Result<OpenReport, LogDirsError> {
        let loading = Mutex::new(OpenReport::default());
        let duplicate = Mutex::new(None);
        std::thread::scope(|scope| {
            for dir in &self.dirs {
                let load = || {
                    let outcome = self.load_dir(dir, config, config_of, now_ms, &loading);
                    if let Err(error) = outcome {
                        *duplicate.lock() = Some(error);
                    }
                };
                scope.spawn(load);
            }
        });
        if let Some(error) = duplicate.into_inner() {
            return Err(error);
        }
        let mut report = loading.into_inner();
        for dir in &self.dirs {
            if let Some(reason) = dir.offline() {
                let reason = reason.as_ref().clone();
                report.offline.push((dir.path().to_path_buf(), reason));
            }
        }
        Ok(report)
    }

    /// Opens the logs of one folder on `recovery_threads_per_dir` threads.
    fn load_dir(
        &self,
        dir: &Arc<LogDir>,
        config: &LogDirsConfig,
        config_of: ConfigOf<'_>,
        now_ms: i64,
        report: &Mutex<OpenReport>,
    ) -> Result<(), LogDirsError> {
        if dir.offline().is_some() {
            return Ok(());
        }
        let begun = dir
            .begin_loading()
            .and_then(|checkpoints| Ok((checkpoints, dir.contents()?)));
        let (checkpoints, contents) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                dir.take_offline(error);
                return Ok(());
            }
        };
        let Contents { logs, deleted } = contents;
        self.trash
            .lock()
            .extend(deleted.into_iter().map(|path| (path, now_ms)));
        let next = AtomicUsize::new(0);
        let first_error = Mutex::new(None);
        std::thread::scope(|scope| {
            let threads = config.recovery_threads_per_dir.clamp(1, logs.len().max(1));
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut buffer = Vec::new();
                    while let Some((partition, path)) =
                        logs.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        let open = OpenLog {
                            dir: Arc::from(path.as_path()),
                            config: config_of(&partition.topic),
                            runtime: self.runtime(dir),
                            hints: hints(&checkpoints, partition),
                            now_ms,
                        };
                        let opened = self.load_log(dir, partition, open, &mut buffer, report);
                        if let Err(error) = opened {
                            *first_error.lock() = Some(error);
                        }
                    }
                });
            }
        });
        first_error.into_inner().map_or(Ok(()), Err)
    }

    fn load_log(
        &self,
        dir: &Arc<LogDir>,
        partition: &TopicPartition,
        open: OpenLog,
        buffer: &mut Vec<u8>,
        report: &Mutex<OpenReport>,
    ) -> Result<(), LogDirsError> {
        let path = open.dir.to_path_buf();
        let (log, recovered) = match Log::open(open, buffer) {
            Ok(opened) => opened,
            Err(error) => {
                dir.taint();
                report.lock().offline.push((path, error));
                return Ok(());
            }
        };
        let mut report = report.lock();
        report.logs += 1;
        report.bytes_scanned += recovered.bytes_scanned;
        report.bytes_cut += recovered.bytes_cut;
        if recovered.synced_offsets_lost > 0 {
            let lost = recovered.synced_offsets_lost;
            report.synced_lost.push((path.clone(), lost));
        }
        let placed = Placed {
            log: Arc::new(Mutex::new(log)),
            dir: Arc::clone(dir),
        };
        if let Some(other) = self.logs.write().insert(partition.clone(), placed) {
            return Err(LogDirsError::DuplicateLog {
                name: partition.to_string(),
                first: other.log.lock().dir().to_path_buf(),
                second: path,
            });
        }
        Ok(())
    }

    fn changing_of(&self, partition: &TopicPartition) -> &Mutex<()> {
        let mut hasher = DefaultHasher::new();
        partition.hash(&mut hasher);
        let [first, ..] = hasher.finish().to_le_bytes();
        let stripe = self.changing.get(usize::from(first) % STRIPES);
        stripe.unwrap_or(&self.changing[0])
    }

    fn runtime(&self, dir: &LogDir) -> LogRuntime {
        LogRuntime {
            workers: Some(Arc::clone(&self.workers)),
            space: Arc::clone(dir.space()),
        }
    }

    /// The log of a partition, if this broker has it.
    #[must_use]
    pub fn log(&self, partition: &TopicPartition) -> Option<SharedLog> {
        let logs = self.logs.read();
        logs.get(partition).map(|placed| Arc::clone(&placed.log))
    }

    /// All logs.
    #[must_use]
    pub fn logs(&self) -> BTreeMap<TopicPartition, SharedLog> {
        let logs = self.logs.read();
        logs.iter()
            .map(|(partition, placed)| (partition.clone(), Arc::clone(&placed.log)))
            .collect()
    }

    /// Opens the partition's log, or makes it in the folder with the fewest partitions (blocks shortly).
    /// A log with another topic id is an old topic's: it is moved away first, and kept as `-stray`, as Kafka names
    /// what it finds and has no topic for.
    pub fn create(
        &self,
        partition: &TopicPartition,
        topic_id: Option<TopicId>,
        config: Arc<LogConfig>,
        now_ms: i64,
    ) -> Result<SharedLog, StorageError> {
        let _changing = self.changing_of(partition).lock();
        if let Some(log) = self.log(partition) {
            let mut known = log.lock();
            if known
                .topic_id
                .is_none_or(|id| topic_id.is_none_or(|t| t == id))
            {
                if let (None, Some(id)) = (known.topic_id, topic_id) {
                    properties::write_topic_id(known.dir(), id)?;
                    known.topic_id = Some(id);
                }
                known.set_config(config);
                drop(known);
                return Ok(log);
            }
            drop(known);
            if let Some(aside) = self.set_aside(partition, names::STRAY_DIR_SUFFIX)? {
                tracing::warn!(
                    "{partition} is another topic's by now: the old one's records are kept in {} until somebody removes it",
                    aside.display()
                );
            }
        }
        let place = self.emptiest()?;
        let dir = Arc::clone(&place.dir);
        if dir.is_checkpointed(partition) {
            // Of a log that was deleted: after a crash the new one would start where that had.
            self.checkpoint(&dir)?;
        }
        let path = dir.path().join(partition.to_string());
        let made = self.make(&dir, &path, topic_id, config, now_ms)?;
        let log = Arc::new(Mutex::new(made));
        let placed = Placed {
            log: Arc::clone(&log),
            dir,
        };
        self.logs.write().insert(partition.clone(), placed);
        drop(place);
        Ok(log)
    }

    fn make(
        &self,
        dir: &Arc<LogDir>,
        path: &Path,
        topic_id: Option<TopicId>,
        config: Arc<LogConfig>,
        now_ms: i64,
    ) -> Result<Log, StorageError> {
        let made = std::fs::create_dir_all(path)
            .map_err(|e| StorageError::io("create", path, e))
            .and_then(|()| topic_id.map_or(Ok(()), |id| properties::write_topic_id(path, id)))
            .and_then(|()| {
                let open = OpenLog {
                    dir: Arc::from(path),
                    config,
                    runtime: self.runtime(dir),
                    hints: Hints::default(),
                    now_ms,
                };
                Log::open(open, &mut Vec::new())
            });
        match made {
            Ok((log, _)) => Ok(log),
            Err(error) => {
                // Nothing of it has been used: an empty folder must not stay behind on a full disk.
                let _ = std::fs::remove_dir_all(path);
                Err(error)
            }
        }
    }

    /// The folder with the fewest logs, those that are being made beside this one included.
    fn emptiest(&self) -> Result<Place<'_>, StorageError> {
        let mut making = self.making.lock();
        let logs = self.logs.read();
        let count = |dir: &Arc<LogDir>| {
            let there = logs.values().filter(|p| Arc::ptr_eq(&p.dir, dir)).count();
            there + making.iter().filter(|d| Arc::ptr_eq(d, dir)).count()
        };
        let online = self.dirs.iter().filter(|dir| dir.offline().is_none());
        if let Some(dir) = online.min_by_key(|dir| count(dir)) {
            making.push(Arc::clone(dir));
            return Ok(Place {
                dir: Arc::clone(dir),
                making: &self.making,
            });
        }
        let first = self.dirs.first();
        Err(StorageError::Offline {
            dir: first.map(|d| d.path().to_path_buf()).unwrap_or_default(),
            reason: first.and_then(|d| d.offline().cloned()).unwrap_or_else(|| {
                Arc::new(StorageError::Closed {
                    dir: PathBuf::new(),
                })
            }),
        })
    }

    /// Renames the partition's folder to `T-P.<uuid>-delete`; [`Self::remove_deleted`] removes it after
    /// `file.delete.delay.ms`. Every later call on the log fails. False: there was none.
    pub fn delete(&self, partition: &TopicPartition, now_ms: i64) -> Result<bool, StorageError> {
        let _changing = self.changing_of(partition).lock();
        let delay_ms = self
            .log(partition)
            .map(|log| log.lock().config().file_delete_delay_ms);
        let Some(aside) = self.set_aside(partition, names::DELETE_DIR_SUFFIX)? else {
            return Ok(false);
        };
        let due_ms = now_ms.saturating_add(delay_ms.unwrap_or_default());
        self.trash.lock().push((aside, due_ms));
        Ok(true)
    }

    /// Takes the log away and renames its folder; where it lies now.
    fn set_aside(
        &self,
        partition: &TopicPartition,
        suffix: &str,
    ) -> Result<Option<PathBuf>, StorageError> {
        let Some(placed) = self.logs.write().remove(partition) else {
            return Ok(None);
        };
        let mut log = placed.log.lock();
        log.abandon();
        let unique = uuid::Uuid::new_v4();
        let aside = placed
            .dir
            .path()
            .join(names::aside_dir(partition, &unique, suffix));
        durable::rename(log.dir(), &aside)?;
        durable::sync_dir(placed.dir.path())?;
        Ok(Some(aside))
    }

    /// Folders and how they fare.
    #[must_use]
    pub fn states(&self) -> Vec<DirState> {
        self.dirs.iter().map(|dir| dir.state()).collect()
    }

    /// The folder of `log.dirs` that a partition's log lies in.
    #[must_use]
    pub fn dir_of(&self, partition: &TopicPartition) -> Option<PathBuf> {
        let logs = self.logs.read();
        logs.get(partition).map(|p| p.dir.path().to_path_buf())
    }
}

fn hints(checkpoints: &Checkpoints, partition: &TopicPartition) -> Hints {
    let offset = |offsets: &super::checkpoint::PartitionOffsets| offsets.get(partition).copied();
    let recovery_point = offset(&checkpoints.recovery_points);
    Hints {
        // Without a recovery point there is nothing to trust.
        clean: checkpoints.clean && recovery_point.is_some(),
        recovery_point: recovery_point.unwrap_or(0),
        log_start: offset(&checkpoints.log_starts).unwrap_or(0),
        high_watermark: offset(&checkpoints.high_watermarks).unwrap_or(0),
    }
}

fn look_at_space(dirs: &[Arc<LogDir>]) {
    for dir in dirs.iter().filter(|dir| dir.offline().is_none()) {
        // A folder that cannot be asked keeps its last value; its logs meet the failure themselves.
        let _ = dir.space().refresh(dir.path());
    }
}

#[cfg(test)]
mod tests;
