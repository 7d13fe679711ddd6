//! The page cache as a broker's machine has it: full, and where wanted without a topic's log.
//!
//! A machine that was idle has free memory. Where a hypervisor takes such memory back, touching a page
//! of it for the first time costs more than the broker's own work on it does (measured with `perf` under
//! 1 KB records: 59% of Nyala's CPU time went into zeroing pages, 19% with a full page cache), and
//! figures depend on what ran before. A broker's machine has no free memory: its page cache fills up
//! once, and from then on pages are reused. So it is filled before every run.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::{Advice, fadvise};

/// Free memory that a fill leaves: about what the kernel keeps free by itself.
const LEFT_FREE_BYTES: u64 = 256 << 20;

/// Fills free memory with clean pages. Owner: the whole comparison; its file goes with it.
#[derive(Debug)]
pub(crate) struct Filler {
    path: PathBuf,
    file: File,
    bytes: u64,
    read_up_to: u64,
}

impl Filler {
    /// A filler whose file, all holes, lies in `folder` and takes no space.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let path = folder.join("page-cache");
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)?;
        let bytes = memory("MemTotal:")?;
        file.set_len(bytes)?;
        Ok(Self {
            path,
            file,
            bytes,
            read_up_to: 0,
        })
    }

    /// Reads on through the file, from the start again at its end, until memory is full.
    pub(crate) fn fill(&mut self) -> Result<()> {
        let mut buffer = vec![0; 1 << 20];
        let mut left = memory("MemFree:")?.saturating_sub(LEFT_FREE_BYTES);
        while left > 0 {
            if self.read_up_to >= self.bytes {
                self.read_up_to = 0;
            }
            let count = self.file.read_at(&mut buffer, self.read_up_to)? as u64;
            self.read_up_to += count;
            left = left.saturating_sub(count);
        }
        Ok(())
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A line of `/proc/meminfo`, in bytes.
fn memory(name: &str) -> Result<u64> {
    let all = fs::read_to_string("/proc/meminfo")?;
    let line = all.lines().find_map(|l| l.strip_prefix(name));
    let kib = line.and_then(|l| l.split_whitespace().next());
    Ok(kib.unwrap_or("0").parse::<u64>()? << 10)
}

/// The log files of a topic that nobody writes any more.
#[derive(Debug)]
pub(crate) struct OldLog {
    files: Vec<File>,
    /// Of all files.
    pub(crate) bytes: u64,
}

impl OldLog {
    /// Finds the logs of `topic` below `folder` and writes them to the disk: only once, because every
    /// sync holds up whoever writes to the same file system.
    pub(crate) fn settle(folder: &Path, topic: &str) -> Result<Self> {
        let mut files = Vec::new();
        find_logs(folder, &format!("{topic}-"), &mut files)?;
        let mut bytes = 0;
        for file in &files {
            file.sync_all()?;
            bytes += file.metadata()?.len();
        }
        Ok(Self { files, bytes })
    }

    /// Mebibytes of the files, one after another, round and round.
    pub(crate) fn pieces(&self) -> Pieces<'_> {
        Pieces {
            log: self,
            file: 0,
            position: 0,
            buffer: vec![0; 1 << 20],
        }
    }

    /// Drops them from the page cache.
    pub(crate) fn drop_pages(&self) -> Result<()> {
        for file in &self.files {
            fadvise(file, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }
}

/// See [`OldLog::pieces`].
pub(crate) struct Pieces<'a> {
    log: &'a OldLog,
    file: usize,
    position: u64,
    buffer: Vec<u8>,
}

impl Pieces<'_> {
    /// Reads the next one; gives its bytes, 0 at the end of a file.
    pub(crate) fn read_next(&mut self) -> Result<u64> {
        let Some(file) = self.log.files.get(self.file) else {
            self.file = 0;
            return Ok(0);
        };
        let read = file.read_at(&mut self.buffer, self.position)? as u64;
        self.position += read;
        if read == 0 {
            (self.file, self.position) = (self.file + 1, 0);
        }
        Ok(read)
    }
}

fn find_logs(folder: &Path, prefix: &str, found: &mut Vec<File>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with(prefix) {
            find_logs(&path, prefix, found)?;
        } else if path.is_dir() {
            for log in fs::read_dir(&path)? {
                let log = log?.path();
                if log.extension().is_some_and(|e| e == "log") {
                    found.push(File::open(&log)?);
                }
            }
        }
    }
    Ok(())
}
