//! A file of entries of one size, sorted: what the offset index and the time index have in common.
//!
//! The last entries of an active segment stay in memory and go to the file 512 at a time (at an interval
//! of 4 KiB that is one write in 2 MiB of log), at roll, at close and with a sync. Files of quiet
//! segments are opened when first read. Unlike Kafka's they are not preallocated; a Kafka opens them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use super::{StorageError, durable, names};

/// Entries kept in memory before they are written.
const PENDING_ENTRIES_MAX: usize = 512;
const BLOCK_BYTES: usize = 2048;

/// An index file with entries of `N` bytes.
#[derive(Debug)]
pub(crate) struct IndexFile<const N: usize> {
    dir: Arc<Path>,
    base_offset: i64,
    extension: &'static str,
    on_disk: OnceLock<OnDisk>,
    pending: Vec<[u8; N]>,
    /// Entry that was found last: a reader that goes on finds its next one near.
    found: AtomicU32,
}

#[derive(Debug)]
struct OnDisk {
    /// `None`: there is no file (yet).
    file: Option<File>,
    entries: u32,
}

impl<const N: usize> IndexFile<N> {
    /// The index beside the segment `base_offset`; touches no disk.
    pub(crate) fn new(dir: Arc<Path>, base_offset: i64, extension: &'static str) -> Self {
        Self {
            dir,
            base_offset,
            extension,
            on_disk: OnceLock::new(),
            pending: Vec::new(),
            found: AtomicU32::new(0),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        names::segment_file(&self.dir, self.base_offset, self.extension)
    }

    fn on_disk(&self) -> Result<&OnDisk, StorageError> {
        if let Some(open) = self.on_disk.get() {
            return Ok(open);
        }
        let path = self.path();
        let opened = match File::options().read(true).write(true).open(&path) {
            Ok(file) => {
                let len = file
                    .metadata()
                    .map_err(|e| StorageError::io("read", &path, e))?
                    .len();
                OnDisk {
                    // A trailing part of an entry is not counted, and written over.
                    entries: u32::try_from(len / N as u64).unwrap_or(u32::MAX),
                    file: Some(file),
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => OnDisk {
                file: None,
                entries: 0,
            },
            Err(e) => return Err(StorageError::io("open", &path, e)),
        };
        Ok(self.on_disk.get_or_init(|| opened))
    }

    /// Entries, those in memory included.
    pub(crate) fn len(&self) -> Result<u32, StorageError> {
        let pending = u32::try_from(self.pending.len()).unwrap_or(u32::MAX);
        Ok(self.on_disk()?.entries.saturating_add(pending))
    }

    /// Bytes that the file has, or will have.
    pub(crate) fn size(&self) -> Result<u64, StorageError> {
        Ok(u64::from(self.len()?) * N as u64)
    }

    pub(crate) fn get(&self, i: u32) -> Result<Option<[u8; N]>, StorageError> {
        let on_disk = self.on_disk()?;
        if i >= on_disk.entries {
            return Ok(self.pending.get((i - on_disk.entries) as usize).copied());
        }
        let mut entry = [0; N];
        self.read_at(i, &mut entry)?;
        Ok(Some(entry))
    }

    pub(crate) fn last(&self) -> Result<Option<[u8; N]>, StorageError> {
        match self.pending.last() {
            Some(entry) => Ok(Some(*entry)),
            None => match self.len()?.checked_sub(1) {
                Some(last) => self.get(last),
                None => Ok(None),
            },
        }
    }

    fn read_at(&self, i: u32, into: &mut [u8]) -> Result<(), StorageError> {
        let Some(file) = &self.on_disk()?.file else {
            return Ok(());
        };
        file.read_exact_at(into, u64::from(i) * N as u64)
            .map_err(|e| StorageError::io("read", &self.path(), e))
    }

    /// The last entry for which `before` holds, given that it holds for a first part of them only.
    pub(crate) fn last_where(
        &self,
        before: impl Fn(&[u8; N]) -> bool,
    ) -> Result<Option<[u8; N]>, StorageError> {
        if self.pending.first().is_some_and(&before) {
            let count = self.pending.partition_point(&before);
            return Ok(self.pending.get(count - 1).copied());
        }
        let (mut low, mut high) = (0, self.on_disk()?.entries);
        let block = u32::try_from(BLOCK_BYTES / N).unwrap_or(1);
        // Sequential readers need one read of the file instead of one for every bisection.
        let near = self.found.load(Ordering::Relaxed);
        if near < high
            && let Some(found) = self.last_in(near, high.min(near + block), high, &before)?
        {
            return Ok(Some(found));
        }
        while high - low > block {
            let middle = low + (high - low) / 2;
            let mut entry = [0; N];
            self.read_at(middle, &mut entry)?;
            if before(&entry) {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.last_in(low, high, high, &before)
    }

    /// The last of the entries `low..high` for which `before` holds. `None` where the first of them is
    /// already behind, or where the one after the last of them may still be before.
    fn last_in(
        &self,
        low: u32,
        high: u32,
        entries: u32,
        before: &impl Fn(&[u8; N]) -> bool,
    ) -> Result<Option<[u8; N]>, StorageError> {
        let mut bytes = [0; BLOCK_BYTES];
        let used = (high - low) as usize * N;
        let block = bytes.get_mut(..used).unwrap_or_default();
        self.read_at(low, block)?;
        let (block, _) = block.as_chunks::<N>();
        let count = block.partition_point(before);
        let Some(last) = count.checked_sub(1) else {
            return Ok(None);
        };
        if count == block.len() && high < entries {
            return Ok(None);
        }
        let last_at = low + u32::try_from(last).unwrap_or(0);
        self.found.store(last_at, Ordering::Relaxed);
        Ok(block.get(last).copied())
    }

    /// Adds an entry, in memory.
    pub(crate) fn push(&mut self, entry: [u8; N]) {
        self.pending.push(entry);
    }

    /// Whether so many entries are in memory that they should go to the file.
    pub(crate) fn is_due(&self) -> bool {
        self.pending.len() >= PENDING_ENTRIES_MAX
    }

    /// Writes what is in memory to the file, made if it is not there.
    pub(crate) fn write_out(&mut self) -> Result<(), StorageError> {
        let path = self.path();
        let entries = self.on_disk()?.entries;
        let Some(on_disk) = self.on_disk.get_mut() else {
            return Ok(());
        };
        if self.pending.is_empty() && on_disk.file.is_some() {
            return Ok(());
        }
        if on_disk.file.is_none() {
            let made = File::options()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true)
                .open(&path)
                .map_err(|e| StorageError::io("create", &path, e))?;
            on_disk.file = Some(made);
        }
        if let Some(file) = &on_disk.file {
            file.write_all_at(self.pending.as_flattened(), u64::from(entries) * N as u64)
                .map_err(|e| StorageError::io("write", &path, e))?;
        }
        let written = u32::try_from(self.pending.len()).unwrap_or(u32::MAX);
        on_disk.entries = entries.saturating_add(written);
        self.pending.clear();
        Ok(())
    }

    /// No more entries will come: writes all and gives the memory back.
    pub(crate) fn seal(&mut self) -> Result<(), StorageError> {
        self.write_out()?;
        self.pending = Vec::new();
        Ok(())
    }

    /// Closes the file if nothing waits to be written; it is opened again when needed.
    pub(crate) fn release(&mut self) {
        if self.pending.is_empty() {
            self.on_disk = OnceLock::new();
        }
    }

    /// Keeps the first `entries` ones.
    pub(crate) fn truncate(&mut self, entries: u32) -> Result<(), StorageError> {
        let path = self.path();
        let before = self.on_disk()?.entries;
        if entries >= before {
            self.pending.truncate((entries - before) as usize);
            return Ok(());
        }
        self.pending.clear();
        if let Some(on_disk) = self.on_disk.get_mut() {
            if let Some(file) = &on_disk.file {
                file.set_len(u64::from(entries) * N as u64)
                    .map_err(|e| StorageError::io("cut", &path, e))?;
            }
            on_disk.entries = entries;
        }
        Ok(())
    }

    /// All entries, for checks and rebuilds.
    pub(crate) fn all(&self) -> Result<Vec<[u8; N]>, StorageError> {
        let mut bytes = vec![0; self.on_disk()?.entries as usize * N];
        self.read_at(0, &mut bytes)?;
        let mut entries = bytes.as_chunks::<N>().0.to_vec();
        entries.extend(&self.pending);
        Ok(entries)
    }

    /// Syncs the file, if it is open.
    pub(crate) fn sync_if_open(&self) -> Result<(), StorageError> {
        match self.on_disk.get().and_then(|d| d.file.as_ref()) {
            Some(file) => durable::sync_data(file, &self.path()),
            None => Ok(()),
        }
    }
}
