//! Sync of one log, apart from its lock: which files hold unsynced bytes, up to where all is on disk, who
//! waits for that, and the log's first failure.
//!
//! Group commit: while one sync runs, appends go on; the next sync covers all of them. A failed sync is
//! final: the kernel reports it once and says success from then on (measured), so the log goes offline.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::workers::Workers;
use super::{StorageError, durable};

/// Shared by a log, its waiters and the sync thread. Owner: the log.
///
/// Invariant: `synced <= published`; every byte below `published` was copied before it was published.
#[derive(Debug)]
pub(crate) struct Syncer {
    dir: PathBuf,
    published: AtomicI64,
    synced: AtomicI64,
    queued: AtomicBool,
    failed: AtomicBool,
    failure: OnceLock<Arc<StorageError>>,
    pending: Mutex<Pending>,
    workers: Option<Arc<Workers>>,
    /// Held during a sync: one at a time, and `run` returns only when its own is done.
    syncing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Pending {
    /// Files with unsynced bytes; the flag: no more will come.
    files: Vec<Unsynced>,
    /// A file was created: its name is not on disk yet.
    dir_changed: bool,
    waiters: Vec<(i64, Waker)>,
}

#[derive(Clone, Debug)]
struct Unsynced {
    file: Arc<File>,
    path: PathBuf,
    sealed: bool,
}

impl Syncer {
    pub(crate) fn new(dir: PathBuf, synced: i64, workers: Option<Arc<Workers>>) -> Arc<Self> {
        Arc::new(Self {
            dir,
            published: AtomicI64::new(synced),
            synced: AtomicI64::new(synced),
            queued: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            failure: OnceLock::new(),
            pending: Mutex::default(),
            workers,
            syncing: Mutex::new(()),
        })
    }

    /// Everything below is on disk.
    pub(crate) fn synced(&self) -> i64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Notes that the log now reaches up to `offset`.
    pub(crate) fn publish(&self, offset: i64) {
        self.published.store(offset, Ordering::Release);
    }

    /// Notes that `file` is written from now on, and no longer the ones before. `created`: its name is
    /// new.
    pub(crate) fn writes_to(&self, file: Arc<File>, path: PathBuf, created: bool) {
        let mut pending = self.pending.lock();
        pending.dir_changed |= created;
        if pending.files.iter().any(|f| Arc::ptr_eq(&f.file, &file)) {
            return;
        }
        for other in &mut pending.files {
            other.sealed = true;
        }
        pending.files.push(Unsynced {
            file,
            path,
            sealed: false,
        });
    }

    /// The file at `path` is removed: nobody syncs it any more, and its space must come back.
    pub(crate) fn forget(&self, path: &Path) {
        self.pending.lock().files.retain(|f| f.path != path);
    }

    /// Closes the files of a log whose last sync is done.
    pub(crate) fn forget_files(&self) {
        self.pending.lock().files.clear();
    }

    /// After a truncation: the log ends at `offset`, no file but the active one counts.
    pub(crate) fn reset(&self, offset: i64) {
        let _syncing = self.syncing.lock();
        self.published.store(offset, Ordering::Release);
        self.synced.fetch_min(offset, Ordering::AcqRel);
    }

    /// Asks the sync thread; without one, syncs here.
    pub(crate) fn request(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let sent = self.workers.as_ref().is_some_and(|w| w.sync(self));
        if !sent {
            self.run();
        }
    }

    /// Syncs, then wakes whom it concerns. The outcome is in `synced` or `failure`.
    pub(crate) fn run(&self) {
        let _ = self.sync();
    }

    /// Syncs all that is published now.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        let _syncing = self.syncing.lock();
        self.queued.store(false, Ordering::Release);
        self.ok()?;
        let target = self.published.load(Ordering::Acquire);
        let (files, dir_changed) = {
            let mut pending = self.pending.lock();
            let dir_changed = std::mem::take(&mut pending.dir_changed);
            (pending.files.clone(), dir_changed)
        };
        if target > self.synced() || dir_changed {
            let names = if dir_changed {
                durable::sync_dir(&self.dir)
            } else {
                Ok(())
            };
            let outcome = names.and_then(|()| {
                files
                    .iter()
                    .try_for_each(|f| durable::sync_data(&f.file, &f.path))
            });
            if let Err(error) = outcome {
                return Err(self.fail(error));
            }
        }
        self.synced.fetch_max(target, Ordering::AcqRel);
        let mut pending = self.pending.lock();
        pending.files.retain(|f| {
            let done = |s: &Unsynced| s.sealed && Arc::ptr_eq(&s.file, &f.file);
            !files.iter().any(done)
        });
        wake(&mut pending, target);
        Ok(())
    }

    /// Takes the log offline. The first reason stays; it is what the caller gets back.
    pub(crate) fn fail(&self, error: StorageError) -> StorageError {
        let first = Arc::clone(self.failure.get_or_init(|| Arc::new(error)));
        self.failed.store(true, Ordering::Release);
        wake(&mut self.pending.lock(), i64::MAX);
        self.offline(first)
    }

    /// `Err` once the log is offline.
    pub(crate) fn ok(&self) -> Result<(), StorageError> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.failure() {
            Some(first) => Err(self.offline(first)),
            None => Ok(()),
        }
    }

    pub(crate) fn failure(&self) -> Option<Arc<StorageError>> {
        self.failure.get().cloned()
    }

    fn offline(&self, reason: Arc<StorageError>) -> StorageError {
        StorageError::Offline {
            dir: self.dir.clone(),
            reason,
        }
    }
}

fn wake(pending: &mut Pending, synced: i64) {
    pending.waiters.retain(|(offset, waker)| {
        let waits = *offset > synced;
        if !waits {
            waker.wake_by_ref();
        }
        waits
    });
}

/// Becomes ready when the log is on disk up to an offset. Dropping it is fine. No runtime is needed: a
/// flush thread wakes it; many waiters share one sync.
#[derive(Debug)]
pub struct Durable {
    syncer: Arc<Syncer>,
    offset: i64,
}

impl Durable {
    pub(crate) fn new(syncer: Arc<Syncer>, offset: i64) -> Self {
        Self { syncer, offset }
    }
}

impl Future for Durable {
    type Output = Result<(), StorageError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let syncer = &self.syncer;
        {
            // Under the lock that `wake` takes: no wake-up falls between the look and the note.
            let mut pending = syncer.pending.lock();
            if let Err(error) = syncer.ok() {
                return Poll::Ready(Err(error));
            }
            if syncer.synced() >= self.offset {
                return Poll::Ready(Ok(()));
            }
            let waker = cx.waker().clone();
            pending.waiters.push((self.offset, waker));
        }
        syncer.request();
        // Without a sync thread the request has synced already, and woken us.
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn syncer() -> (tempfile::TempDir, Arc<Syncer>, Arc<File>) {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("f");
        let file = Arc::new(File::create_new(&path).expect("create"));
        let syncer = Syncer::new(dir.path().to_path_buf(), 0, None);
        syncer.writes_to(Arc::clone(&file), path, true);
        (dir, syncer, file)
    }

    #[test]
    fn waiters_are_served_once_their_offset_is_on_disk() {
        let (_dir, syncer, file) = syncer();
        file.write_all_at(b"x", 0).expect("write");
        syncer.publish(10);
        let mut waits = Durable::new(Arc::clone(&syncer), 10);
        let mut cx = Context::from_waker(Waker::noop());
        // The first poll asks for the sync, which runs in line here.
        assert!(Pin::new(&mut waits).poll(&mut cx).is_pending());
        assert_eq!(syncer.synced(), 10);
        assert!(matches!(
            Pin::new(&mut waits).poll(&mut cx),
            Poll::Ready(Ok(()))
        ));
        assert!(syncer.pending.lock().waiters.is_empty());
    }

    #[test]
    fn the_first_failure_stays_and_ends_every_wait() {
        let (_dir, syncer, _file) = syncer();
        let reason = |what| StorageError::Corrupt {
            path: PathBuf::from("f"),
            position: 0,
            what,
        };
        let error = syncer.fail(reason("first"));
        assert!(error.to_string().contains("first"), "{error}");
        let error = syncer.fail(reason("second"));
        assert!(error.to_string().contains("first"), "{error}");
        let mut waits = Durable::new(Arc::clone(&syncer), 1);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(
            Pin::new(&mut waits).poll(&mut cx),
            Poll::Ready(Err(_))
        ));
        assert!(syncer.sync().is_err());
    }

    #[test]
    fn a_sync_that_failed_is_never_taken_for_done() {
        let (_dir, syncer, _file) = syncer();
        // A device that cannot be synced answers as a failing disk does.
        let path = PathBuf::from("/dev/null");
        let device = Arc::new(File::open(&path).expect("open"));
        syncer.writes_to(device, path, false);
        syncer.publish(1);
        let error = syncer.sync().expect_err("refused");
        assert!(error.to_string().contains("cannot sync"), "{error}");
        syncer.pending.lock().files.clear();
        assert!(
            syncer.sync().is_err(),
            "the second try must not say success"
        );
        assert_eq!(syncer.synced(), 0);
    }

    #[test]
    fn sealed_files_are_dropped_after_their_last_sync() {
        let (dir, syncer, _file) = syncer();
        let path = dir.path().join("g");
        let second = Arc::new(File::create_new(&path).expect("create"));
        syncer.writes_to(second, path, true);
        assert_eq!(syncer.pending.lock().files.len(), 2);
        syncer.publish(1);
        syncer.sync().expect("sync");
        assert_eq!(syncer.pending.lock().files.len(), 1);
    }
}
