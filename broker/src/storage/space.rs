//! `min.free.bytes`: how much is free on a log dir's file system, looked up now and then, never on the
//! way of an append.
//!
//! Between two looks the logs' own allocations are subtracted, so a burst cannot run far below the limit.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::StorageError;

/// Free space of one log dir.
#[derive(Debug)]
pub(crate) struct DirSpace {
    free: AtomicU64,
    total: AtomicU64,
    limit: u64,
}

impl DirSpace {
    /// `limit` is `min.free.bytes`; 0: no limit.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            free: AtomicU64::new(u64::MAX),
            total: AtomicU64::new(u64::MAX),
            limit,
        }
    }

    /// As after a look that found `free` bytes.
    #[cfg(test)]
    pub(crate) fn with_free(limit: u64, free: u64) -> Self {
        let space = Self::new(limit);
        space.free.store(free, Ordering::Relaxed);
        space
    }

    /// Asks the file system.
    pub(crate) fn refresh(&self, dir: &Path) -> Result<(), StorageError> {
        let stat = rustix::fs::statvfs(dir).map_err(|e| StorageError::io("stat", dir, e.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        self.free.store(bytes(stat.f_bavail), Ordering::Relaxed);
        self.total.store(bytes(stat.f_blocks), Ordering::Relaxed);
        Ok(())
    }

    /// Notes an allocation.
    pub(crate) fn take(&self, bytes: u64) {
        if self.limit > 0 {
            let subtract = |free: u64| Some(free.saturating_sub(bytes));
            let _ = self
                .free
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
        }
    }

    /// `Err((free, limit))` while less than the limit is free.
    pub(crate) fn check(&self) -> Result<(), (u64, u64)> {
        let free = self.free();
        if free < self.limit {
            return Err((free, self.limit));
        }
        Ok(())
    }

    /// Whether `bytes` could be taken without going below the limit.
    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        self.free() >= self.limit.saturating_add(bytes)
    }

    pub(crate) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}
