//! The journal: a thread that writes what waits, syncs once for all of it, and says how far it is.
//!
//! Also writes snapshots and starts the next journal file after each. Space is reserved ahead of
//! the end, and a full disk is waited out. Any other error ends it for good, with its reason kept:
//! after a failed sync nobody knows what is on disk, and the next sync would lie. A file is magic
//! `NYZKJNL2`, then records: u32 length of the entry, u32 CRC (IEEE) of what follows, u32 distance
//! back to where this record's write began, entry. A write begins when the one before it is on
//! disk: so a write behind a damaged record proves that the damage is not a torn tail.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::fs::{FallocateFlags, fallocate};
use tokio::sync::watch;

use super::config::SyncPolicy;

/// Space kept allocated behind the end: this much can still be written on a disk that is full, enough
/// for thousands of changes.
const RESERVE_BYTES: u64 = 4 << 20;

/// How often a write is tried again while the disk is full.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// Length, CRC and distance, before each entry.
const HEAD_BYTES: usize = 12;

pub(super) const MAGIC: &[u8; 8] = b"NYZKJNL2";

/// How far the journal is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Everything up to here is as durable as the policy asks.
    pub(super) zxid: i64,
    /// Why nothing will ever become durable again.
    pub(super) broken: Option<Arc<str>>,
}

/// Where the journal writes: the newest file, open at its end.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) dir: PathBuf,
    pub(super) file: File,
    pub(super) sync: SyncPolicy,
    /// The file's name is not on disk yet: the folder needs a sync, too.
    pub(super) is_new: bool,
    /// Up to here the file's space is allocated, as far as is known.
    pub(super) reserved: u64,
}

#[derive(Debug, Default)]
struct Queue {
    records: Vec<u8>,
    zxid: i64,
    rotation: Option<Rotation>,
    rotating: bool,
    /// Bytes since the last snapshot.
    grown: usize,
    closing: bool,
}

#[derive(Debug)]
struct Rotation {
    /// This much of `records` comes before the snapshot.
    before: usize,
    zxid: i64,
    snapshot: Vec<u8>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
}

/// Handle of the thread; dropping it writes what waits and ends the thread.
#[derive(Debug)]
pub(super) struct Journal {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Starts the thread; everything up to `zxid` is durable, and `grown` bytes of it are not in
    /// a snapshot.
    pub(super) fn start(target: Target, zxid: i64, grown: usize) -> io::Result<Self> {
        let queue = Queue {
            zxid,
            grown,
            ..Queue::default()
        };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            filled: Condvar::new(),
        });
        let (publish, progress) = watch::channel(Progress { zxid, broken: None });
        let mut target = target;
        target.reserve(target.file.metadata()?.len());
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("zookeeper-journal".to_owned())
            .spawn(move || run(target, &theirs, &publish))?;
        Ok(Self {
            shared,
            progress,
            thread: Some(thread),
        })
    }

    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    pub(super) fn durable_zxid(&self) -> i64 {
        self.progress.borrow().zxid
    }

    /// Queues one entry; the caller learns from `progress` when it is durable.
    pub(super) fn append(&self, zxid: i64, entry: &[u8]) {
        let mut queue = self.shared.queue.lock();
        write_record(&mut queue.records, entry);
        queue.grown += entry.len() + HEAD_BYTES;
        queue.zxid = zxid;
        self.shared.filled.notify_one();
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.shared.queue.lock().records.len()
    }

    /// Bytes since the last snapshot; `None` while one is being written.
    pub(super) fn grown(&self) -> Option<usize> {
        let queue = self.shared.queue.lock();
        (!queue.rotating).then_some(queue.grown)
    }

    /// Queues a snapshot that stands for everything up to `zxid`, the last appended entry.
    pub(super) fn rotate(&self, zxid: i64, snapshot: Vec<u8>) {
        let mut queue = self.shared.queue.lock();
        queue.rotating = true;
        queue.grown = 0;
        queue.rotation = Some(Rotation {
            before: queue.records.len(),
            zxid,
            snapshot,
        });
        self.shared.filled.notify_one();
    }
}

impl Journal {
    /// Writes what waits and ends the thread; nothing that comes later is written.
    pub(super) fn close(&mut self) {
        self.shared.queue.lock().closing = true;
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread does not panic; if it did, there is nothing left to do for it.
            let _ended = thread.join();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

/// Appends one record as it stands in the file; `records` is one write.
pub(super) fn write_record(records: &mut Vec<u8>, entry: &[u8]) {
    let length = u32::try_from(entry.len()).unwrap_or(u32::MAX);
    let distance = u32::try_from(records.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let mut crc = crc32fast::Hasher::new();
    crc.update(&distance);
    crc.update(entry);
    records.extend_from_slice(&length.to_be_bytes());
    records.extend_from_slice(&crc.finalize().to_be_bytes());
    records.extend_from_slice(&distance);
    records.extend_from_slice(entry);
}

/// Splits the first whole and sound record off; `None` at the end, torn or not.
pub(super) fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let record = Record::at(bytes)?;
    record.is_sound().then_some((record.entry, record.rest))
}

/// Whether a whole write stands behind `end`, where the sound part of a journal file ends: then
/// what is there was on disk once, and acknowledged.
pub(super) fn goes_on_behind(bytes: &[u8], end: usize) -> bool {
    let damaged = bytes.get(end..).unwrap_or_default();
    (1..damaged.len()).any(|at| {
        let record = damaged.get(at..).and_then(Record::at);
        // The distance first: it is cheap, and rules out nearly all that only looks like a record.
        record.is_some_and(|r| r.distance < at && r.is_sound())
    })
}

/// One record as it stands in the file, perhaps.
struct Record<'a> {
    crc: u32,
    distance: usize,
    /// Distance and entry.
    covered: &'a [u8],
    entry: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Record<'a> {
    fn at(bytes: &'a [u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let (covered, rest) = rest.split_at_checked(length.checked_add(4)?)?;
        let (distance, entry) = covered.split_first_chunk::<4>()?;
        Some(Self {
            crc: u32::from_be_bytes(*crc),
            distance: usize::try_from(u32::from_be_bytes(*distance)).ok()?,
            covered,
            entry,
            rest,
        })
    }

    fn is_sound(&self) -> bool {
        !self.entry.is_empty() && crc32fast::hash(self.covered) == self.crc
    }
}

/// A new journal file for entries from `first_zxid` on.
pub(super) fn create(dir: &Path, first_zxid: i64) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(journal_path(dir, first_zxid))?;
    file.set_len(0)?;
    file.write_all(MAGIC)?;
    Ok(file)
}

pub(super) fn journal_path(dir: &Path, first_zxid: i64) -> PathBuf {
    dir.join(format!("journal.{first_zxid:016x}"))
}

pub(super) fn snapshot_path(dir: &Path, zxid: i64) -> PathBuf {
    dir.join(format!("snapshot.{zxid:016x}"))
}

/// Makes the names in `dir`, and its own name, durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn run(mut target: Target, shared: &Shared, publish: &watch::Sender<Progress>) {
    let mut spare = Vec::new();
    loop {
        let mut queue = shared.queue.lock();
        while queue.records.is_empty() && queue.rotation.is_none() && !queue.closing {
            shared.filled.wait(&mut queue);
        }
        if queue.records.is_empty() && queue.rotation.is_none() {
            return;
        }
        let records = std::mem::replace(&mut queue.records, spare);
        let rotation = queue.rotation.take();
        let zxid = queue.zxid;
        drop(queue);
        let rotated = rotation.is_some();
        let pen = Pen { shared, publish };
        if let Err(error) = target.write(&records, rotation, zxid, &pen) {
            tracing::error!(%error, dir = %target.dir.display(), "the ZooKeeper journal is broken");
            publish.send_modify(|progress| progress.broken = Some(error.to_string().into()));
            return;
        }
        if rotated {
            shared.queue.lock().rotating = false;
        }
        spare = records;
        spare.clear();
        spare.shrink_to(1 << 20);
    }
}

/// What the writing thread has at hand.
struct Pen<'a> {
    shared: &'a Shared,
    publish: &'a watch::Sender<Progress>,
}

impl Pen<'_> {
    /// Waits a little for space; `false` when the server stops meanwhile.
    fn wait_for_space(&self) -> bool {
        let mut queue = self.shared.queue.lock();
        if !queue.closing {
            let _ = self.shared.filled.wait_for(&mut queue, RETRY_EVERY);
        }
        !queue.closing
    }
}

impl Target {
    fn write(
        &mut self,
        records: &[u8],
        rotation: Option<Rotation>,
        zxid: i64,
        pen: &Pen<'_>,
    ) -> io::Result<()> {
        let before = rotation.as_ref().map_or(records.len(), |r| r.before);
        let (before, after) = records.split_at_checked(before).unwrap_or((records, &[]));
        if let Some(rotation) = rotation {
            self.append(before, rotation.zxid, pen)?;
            match self.rotate(&rotation) {
                // The journal just goes on; the next snapshot is due when it has grown again.
                Err(e) if e.kind() == ErrorKind::StorageFull => {
                    tracing::warn!(error = %e, "no room for a snapshot of ZooKeeper's data");
                }
                done => done?,
            }
        } else {
            self.append(before, zxid, pen)?;
        }
        self.append(after, zxid, pen)
    }

    fn append(&mut self, records: &[u8], zxid: i64, pen: &Pen<'_>) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        self.write_when_there_is_room(records, pen)?;
        if self.sync == SyncPolicy::BeforeReply {
            self.file.sync_data()?;
            if std::mem::take(&mut self.is_new) {
                sync_dir(&self.dir)?;
            }
        }
        pen.publish.send_modify(|progress| progress.zxid = zxid);
        Ok(())
    }

    /// Appends `records` whole. On a full disk nothing is lost yet, since nothing was synced: what
    /// was written of them is cut off again, and they are tried later.
    fn write_when_there_is_room(&mut self, records: &[u8], pen: &Pen<'_>) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        let mut told = false;
        loop {
            match self.file.write_all(records) {
                Err(e) if e.kind() == ErrorKind::StorageFull => {
                    self.file.set_len(end)?;
                    self.reserved = end;
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(dir = %self.dir.display(), "no space for ZooKeeper's journal: waiting for it");
                    }
                    if !pen.wait_for_space() {
                        return Err(e);
                    }
                }
                written => {
                    written?;
                    break;
                }
            }
        }
        self.reserve(end + records.len() as u64);
        Ok(())
    }

    /// Allocates space behind `end`, without changing the file's size. That it cannot be had is no
    /// error yet: what was allocated before is still there.
    fn reserve(&mut self, end: u64) {
        if self.reserved >= end + RESERVE_BYTES / 2 {
            return;
        }
        let flags = FallocateFlags::KEEP_SIZE;
        if fallocate(&self.file, flags, end, RESERVE_BYTES).is_ok() {
            self.reserved = end + RESERVE_BYTES;
        }
    }

    /// Puts the snapshot in place, starts the next journal and removes what both make needless.
    /// One older snapshot stays, with the journals from it on, should the new one rot.
    fn rotate(&mut self, rotation: &Rotation) -> io::Result<()> {
        let path = snapshot_path(&self.dir, rotation.zxid);
        let next = journal_path(&self.dir, rotation.zxid + 1);
        let made =
            replace(&path, &rotation.snapshot).and_then(|()| create(&self.dir, rotation.zxid + 1));
        self.file = match made {
            Ok(file) => file,
            Err(error) => {
                // Half of a rotation must not be taken for a whole one.
                let _ = std::fs::remove_file(path.with_extension("tmp"));
                let _ = std::fs::remove_file(&next);
                return Err(error);
            }
        };
        self.reserved = 0;
        self.reserve(MAGIC.len() as u64);
        self.file.sync_all()?;
        sync_dir(&self.dir)?;
        let files = super::store::list(&self.dir)?;
        let mut older = files.snapshots.iter().filter(|z| **z < rotation.zxid);
        let Some(&keep) = older.next_back() else {
            return Ok(());
        };
        for &zxid in older {
            std::fs::remove_file(snapshot_path(&self.dir, zxid))?;
        }
        for pair in files.journals.windows(2) {
            if let &[first, next] = pair
                && next <= keep + 1
            {
                std::fs::remove_file(journal_path(&self.dir, first))?;
            }
        }
        Ok(())
    }
}

/// Writes a file whole or not at all: beside it, synced, then renamed over it.
#[expect(
    clippy::disallowed_methods,
    reason = "this crate's one atomic replace; the caller syncs the folder"
)]
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests;
