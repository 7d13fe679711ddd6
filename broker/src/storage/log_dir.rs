//! One folder of `log.dirs`: its lock, its identity, its clean-shutdown marker, its checkpoints.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use nyala_coordinator::ids::{BrokerId, TopicPartition};
use parking_lot::Mutex;
use rustix::fs::FlockOperation;

use super::checkpoint::{self, PartitionOffsets};
use super::properties::Identity;
use super::space::DirSpace;
use super::{IdentityError, LogDirsError, StorageError, durable, names, properties};

/// One folder of `log.dirs`, as others see it.
#[derive(Clone, Debug)]
pub struct DirState {
    /// The folder.
    pub path: PathBuf,
    /// Why it is offline.
    pub offline: Option<Arc<StorageError>>,
    /// Size of its file system, as of the last look.
    pub total_bytes: u64,
    /// Bytes free on it, as of the last look.
    pub usable_bytes: u64,
}

/// One folder of `log.dirs`. Owner: the log dirs.
///
/// Invariant: while it lives, no other process that honours `.lock` (a Kafka does) writes here.
#[derive(Debug)]
pub(crate) struct LogDir {
    path: PathBuf,
    space: Arc<DirSpace>,
    offline: OnceLock<Arc<StorageError>>,
    lock: OnceLock<File>,
    /// Partitions that the checkpoints on the disk name. Held while these are written.
    checkpointed: Mutex<BTreeSet<TopicPartition>>,
    /// A log in it could not be opened: the next start must not take the folder for closed clean.
    tainted: AtomicBool,
}

/// What the checkpoints of a folder say.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    pub(crate) clean: bool,
    pub(crate) recovery_points: PartitionOffsets,
    pub(crate) high_watermarks: PartitionOffsets,
    pub(crate) log_starts: PartitionOffsets,
}

impl Checkpoints {
    /// All that one of them names.
    fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        let all = [
            &self.recovery_points,
            &self.high_watermarks,
            &self.log_starts,
        ];
        all.into_iter().flat_map(PartitionOffsets::keys).cloned()
    }
}

/// More paths than anybody has.
const KNOWN_LOG_DIRS_BYTES_MAX: u64 = 1 << 20;

/// What lies in a folder.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) logs: Vec<(TopicPartition, PathBuf)>,
    pub(crate) deleted: Vec<PathBuf>,
}

impl LogDir {
    /// The folder at `path`, made if it is not there, and locked. A folder that fails is kept, offline.
    pub(crate) fn open(path: &Path, min_free_bytes: u64) -> Result<Self, LogDirsError> {
        let dir = Self {
            path: path.to_path_buf(),
            space: Arc::new(DirSpace::new(min_free_bytes)),
            offline: OnceLock::new(),
            lock: OnceLock::new(),
            checkpointed: Mutex::default(),
            tainted: AtomicBool::new(false),
        };
        match dir.acquire() {
            Ok(true) => {}
            Ok(false) => return Err(LogDirsError::Locked(path.to_path_buf())),
            Err(error) => dir.take_offline(error),
        }
        Ok(dir)
    }

    /// False: another process has it.
    fn acquire(&self) -> Result<bool, StorageError> {
        std::fs::create_dir_all(&self.path)
            .map_err(|e| StorageError::io("create", &self.path, e))?;
        let path = self.path.join(names::LOCK);
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| StorageError::io("open", &path, e))?;
        if !try_lock(&file).map_err(|e| StorageError::io("lock", &path, e))? {
            return Ok(false);
        }
        self.lock.get_or_init(|| file);
        self.space.refresh(&self.path)?;
        Ok(true)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn space(&self) -> &Arc<DirSpace> {
        &self.space
    }

    pub(crate) fn offline(&self) -> Option<&Arc<StorageError>> {
        self.offline.get()
    }

    /// From now on nothing is created here and nothing checkpointed. The first reason stays.
    pub(crate) fn take_offline(&self, reason: StorageError) {
        self.offline.get_or_init(|| Arc::new(reason));
    }

    /// Notes that a log in it could not be opened.
    pub(crate) fn taint(&self) {
        self.tainted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_tainted(&self) -> bool {
        self.tainted.load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> DirState {
        DirState {
            path: self.path.clone(),
            offline: self.offline.get().cloned(),
            total_bytes: self.space.total(),
            usable_bytes: self.space.free(),
        }
    }

    pub(crate) fn identity(&self) -> Result<Option<Identity>, StorageError> {
        properties::read_identity(&self.path)
    }

    /// Checks `meta.properties`, if it is there, against this broker.
    pub(crate) fn check_identity(
        &self,
        broker_id: BrokerId,
        cluster_id: &str,
    ) -> Result<(), IdentityError> {
        let known = match self.identity() {
            Ok(known) => known.unwrap_or_default(),
            Err(error) => {
                self.take_offline(error);
                return Ok(());
            }
        };
        let differs = |key, found: String, expected: String| IdentityError {
            path: self.path.clone(),
            key,
            found,
            expected,
        };
        if let Some(found) = known.broker_id.filter(|found| *found != broker_id) {
            let error = differs("broker.id", found.to_string(), broker_id.to_string());
            return Err(error);
        }
        if let Some(found) = known.cluster_id.as_deref().filter(|c| *c != cluster_id) {
            let error = differs("cluster.id", found.to_owned(), cluster_id.to_owned());
            return Err(error);
        }
        Ok(())
    }

    /// Writes `meta.properties` unless it is there, whole.
    pub(crate) fn set_identity(&self, broker_id: BrokerId, cluster_id: &str) {
        let written = self.identity().and_then(|known| {
            let known = known.unwrap_or_default();
            match known.broker_id.is_some() && known.cluster_id.is_some() {
                true => Ok(()),
                false => properties::write_identity(&self.path, broker_id, cluster_id),
            }
        });
        if let Err(error) = written {
            self.take_offline(error);
        }
    }

    /// Paths of all folders that this broker had, as noted here; none: nothing was noted.
    pub(crate) fn known_dirs(&self) -> Vec<PathBuf> {
        let path = self.path.join(names::KNOWN_LOG_DIRS);
        let read = durable::read_small(&path, KNOWN_LOG_DIRS_BYTES_MAX);
        let bytes = read.unwrap_or_else(|error| {
            self.take_offline(error);
            None
        });
        let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
        text.lines().map(PathBuf::from).collect()
    }

    /// Notes them, unless that is what is noted.
    pub(crate) fn note_dirs(&self, dirs: &[PathBuf]) {
        if self.known_dirs() == dirs {
            return;
        }
        let lines = dirs.iter().map(|dir| format!("{}\n", dir.display()));
        let path = self.path.join(names::KNOWN_LOG_DIRS);
        if let Err(error) = durable::replace(&path, lines.collect::<String>().as_bytes()) {
            self.take_offline(error);
        }
    }

    /// Replicas that were lost with a disk, as noted here; `None`: what was noted is damaged.
    pub(crate) fn lost_replicas(&self) -> Option<BTreeSet<TopicPartition>> {
        let path = self.path.join(names::LOST_REPLICAS);
        checkpoint::read_partitions(&path).unwrap_or_else(|error| {
            self.take_offline(error);
            None
        })
    }

    /// Notes them; the note goes with the last one.
    pub(crate) fn note_lost(&self, lost: &BTreeSet<TopicPartition>) -> Result<(), StorageError> {
        let path = self.path.join(names::LOST_REPLICAS);
        if !lost.is_empty() {
            checkpoint::write_partitions(&path, lost)
        } else if path.exists() {
            durable::remove(&path)?;
            durable::sync_dir(&self.path)
        } else {
            Ok(())
        }
    }

    /// Reads the checkpoints and the clean-shutdown marker, which goes at once: a crash from here on is
    /// one (KAFKA-10471).
    pub(crate) fn begin_loading(&self) -> Result<Checkpoints, StorageError> {
        let marker = self.path.join(names::CLEAN_SHUTDOWN);
        let clean = marker.exists();
        if clean {
            durable::remove(&marker)?;
            durable::sync_dir(&self.path)?;
        }
        let read = |name: &str| checkpoint::read_offsets(&self.path.join(name));
        let found = Checkpoints {
            clean,
            recovery_points: read(names::RECOVERY_POINTS)?,
            high_watermarks: read(names::HIGH_WATERMARKS)?,
            log_starts: read(names::LOG_STARTS)?,
        };
        self.checkpointed.lock().extend(found.partitions());
        Ok(found)
    }

    /// Whether the checkpoints on the disk say something of this partition.
    pub(crate) fn is_checkpointed(&self, partition: &TopicPartition) -> bool {
        self.checkpointed.lock().contains(partition)
    }

    /// Lists the partitions' folders. Folders with other names are left alone.
    pub(crate) fn contents(&self) -> Result<Contents, StorageError> {
        let list = |e| StorageError::io("list", &self.path, e);
        let mut contents = Contents::default();
        for entry in std::fs::read_dir(&self.path).map_err(list)? {
            let entry = entry.map_err(list)?;
            if !entry.file_type().map_err(list)?.is_dir() {
                continue;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.ends_with(names::DELETE_DIR_SUFFIX) && name.contains('.') {
                contents.deleted.push(entry.path());
            } else if let Some(partition) = names::parse_partition_dir(name) {
                contents.logs.push((partition, entry.path()));
            }
        }
        Ok(contents)
    }

    /// Writes the three checkpoints; their values are taken once nobody else writes them.
    pub(crate) fn write_checkpoints(
        &self,
        values: impl FnOnce() -> Checkpoints,
    ) -> Result<(), StorageError> {
        let mut checkpointed = self.checkpointed.lock();
        let values = values();
        // Until all are written, those of before may be there still.
        checkpointed.extend(values.partitions());
        let write = |name: &str, offsets| checkpoint::write_offsets(&self.path.join(name), offsets);
        write(names::RECOVERY_POINTS, &values.recovery_points)?;
        write(names::LOG_STARTS, &values.log_starts)?;
        write(names::HIGH_WATERMARKS, &values.high_watermarks)?;
        *checkpointed = values.partitions().collect();
        let cleaner = self.path.join(names::CLEANER_OFFSETS);
        if !cleaner.exists() {
            checkpoint::write_offsets(&cleaner, &PartitionOffsets::new())?;
        }
        Ok(())
    }

    /// Marks the folder as closed clean, the way Kafka 3.9 does.
    pub(crate) fn mark_clean(&self) -> Result<(), StorageError> {
        let marker = self.path.join(names::CLEAN_SHUTDOWN);
        durable::replace(&marker, b"{\"version\":0,\"brokerEpoch\":-1}")
    }
}

/// Both kinds of lock: `flock`, and the record lock that Java's `FileChannel.lock` takes, which is what
/// keeps a Kafka out (and us out of its folder).
fn try_lock(file: &File) -> std::io::Result<bool> {
    for outcome in [
        rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive),
        rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive),
    ] {
        match outcome {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(true)
}
