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

    /// Reads on through the file, from the start again at its end, until memory is full. Twice all memory is
    /// enough: what is read again and still there fills nothing.
    pub(crate) fn fill(&mut self) -> Result<()> {
        let mut buffer = vec![0; 1 << 20];
        let mut left = 2 * self.bytes;
        while left > 0 && memory("MemFree:")? > LEFT_FREE_BYTES {
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

/// Bytes of a piece: what a consumer gets by one fetch.
const PIECE_BYTES: usize = 1 << 20;

/// The log files of a topic that nobody writes any more.
#[derive(Debug)]
pub(crate) struct OldLog {
    files: Vec<(File, u64)>,
}

impl OldLog {
    /// Finds the logs of `topic` below `folder` and writes them to the disk: only once, because every
    /// sync holds up whoever writes to the same file system.
    pub(crate) fn settle(folder: &Path, topic: &str) -> Result<Self> {
        let mut found = Vec::new();
        find_logs(folder, &format!("{topic}-"), &mut found)?;
        let mut files = Vec::new();
        for file in found {
            file.sync_all()?;
            let bytes = file.metadata()?.len();
            files.push((file, bytes));
        }
        Ok(Self { files })
    }

    /// Of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The files in pieces, one after another, round and round.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let pieces = self.files.iter().flat_map(|(file, bytes)| {
            let starts = (0..*bytes).step_by(PIECE_BYTES);
            starts.map(move |at| Piece { file, at })
        });
        pieces.cycle()
    }

    /// Drops them from the page cache.
    pub(crate) fn drop_pages(&self) -> Result<()> {
        for (file, _) in &self.files {
            fadvise(file, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }
}

/// [`PIECE_BYTES`] of a file, or what is left of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    file: &'a File,
    at: u64,
}

impl Piece<'_> {
    /// Reads it, one `buffer` after another; gives its bytes.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Result<u64> {
        let mut read = 0;
        while read < PIECE_BYTES as u64 {
            match self.file.read_at(buffer, self.at + read)? as u64 {
                0 => break,
                some => read += some,
            }
            std::thread::yield_now();
        }
        Ok(read)
    }
}

/// Whether a log of `topic` is still below `folder`, deleted or not.
pub(crate) fn has_logs(folder: &Path, topic: &str) -> bool {
    let mut found = Vec::new();
    // A folder that goes away while it is looked through: look again.
    find_logs(folder, &format!("{topic}-"), &mut found).is_err() || !found.is_empty()
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
