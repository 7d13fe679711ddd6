//! Pieces of files that are not in the page cache: who meets one reads it off the runtime's threads.
//!
//! Even asking whether a piece is there costs a runtime thread a request to the disk when it is not (the
//! kernel begins to read ahead), and those have been seen to take milliseconds on virtual machines. So
//! where a reader had to wait for the disk before, what follows is not even asked for there.
//!
//! The kernel reads ahead inside of the call that comes across its mark, so `sendfile` would do it on a
//! runtime thread (8 MiB where `read_ahead_kb` says so: over a millisecond, seen with `perf sched`). A
//! file that is read cold is therefore left to us: the kernel is told that it is read at random, and
//! what comes next is asked for here, on the blocking pool.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZero;
use std::sync::{Arc, Weak};

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags};

/// Distance of the probes for residence: what brings pages in does it in larger steps than this, the kernel
/// for readers of a warm log, [`Piece::warm`] for those of a cold one.
const PROBE_STRIDE_BYTES: u64 = 128 * 1024;
/// Bytes that one call reads to bring them in.
const READ_BYTES: usize = 64 * 1024;
/// Bytes that are asked for by one call: more would keep the CPU for too long.
const ASK_BYTES: u64 = 256 * 1024;
/// How far behind a cold piece the disk is asked to go on reading meanwhile.
const AHEAD_BYTES: u64 = 2 * 1024 * 1024;
/// Files that are remembered: a connection reads few old logs at a time.
const REMEMBERED: usize = 16;

/// A range of a file that is to be sent.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) file: Arc<File>,
    /// Where it begins, in bytes.
    pub(super) position: u64,
    pub(super) bytes: u64,
}

/// A piece that is in the page cache now.
#[derive(Debug)]
pub(super) struct Warmed {
    file: Weak<File>,
    end: u64,
    was_cold: bool,
}

impl Piece {
    /// Whether it can be sent without waiting for the disk.
    ///
    /// Errors other than "not there" count as resident: `sendfile` will meet them and report them.
    pub(super) fn is_resident(&self) -> bool {
        let mut byte = [0_u8; 1];
        let mut probe = |at: u64| {
            let mut into = [IoSliceMut::new(&mut byte)];
            let read = rustix::io::preadv2(&*self.file, &mut into, at, ReadWriteFlags::NOWAIT);
            !matches!(read, Err(Errno::AGAIN))
        };
        let last = self.position + self.bytes.saturating_sub(1);
        let mut at = self.position;
        while at < last {
            if !probe(at) {
                return false;
            }
            at += PROBE_STRIDE_BYTES;
        }
        probe(last)
    }

    /// Reads it into the page cache; waits for the disk.
    pub(super) fn warm(self) -> io::Result<Warmed> {
        let end = self.position + self.bytes;
        let ahead = Self {
            bytes: self.bytes + AHEAD_BYTES,
            ..self
        };
        ahead.ask_for()?;
        let was_cold = !ahead.is_resident();
        if was_cold {
            ahead.wait_until(end)?;
        }
        Ok(Warmed {
            file: Arc::downgrade(&ahead.file),
            end,
            was_cold,
        })
    }

    /// Has the disk read all of it, and nothing else by the kernel's own choice.
    fn ask_for(&self) -> io::Result<()> {
        fadvise(&*self.file, 0, None, Advice::Random)?;
        let end = self.position + self.bytes;
        for at in (self.position..end).step_by(to_usize(ASK_BYTES)) {
            let bytes = NonZero::new(ASK_BYTES.min(end - at));
            fadvise(&*self.file, at, bytes, Advice::WillNeed)?;
            // Whoever waits for this CPU has something better to do than to read ahead.
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Waits until the bytes before `end` are there, or are found to be missing from the file.
    fn wait_until(&self, end: u64) -> io::Result<()> {
        let mut scratch = vec![0_u8; READ_BYTES];
        let mut at = self.position;
        while at < end {
            let want = to_usize(end - at).min(scratch.len());
            let into = scratch.get_mut(..want).unwrap_or(&mut []);
            match rustix::io::pread(&*self.file, into, at) {
                Ok(0) => break,
                Ok(read) => at += read as u64,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Where a connection had to wait for the disk, newest last.
#[derive(Debug, Default)]
pub(super) struct ColdReads(VecDeque<(Weak<File>, u64)>);

impl ColdReads {
    /// Takes in how the last piece was found.
    pub(super) fn note(&mut self, warmed: Warmed) {
        self.0.retain(|(file, _)| !file.ptr_eq(&warmed.file));
        if warmed.was_cold {
            self.0.push_back((warmed.file, warmed.end));
        }
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }

    /// Whether `piece` goes on, nearly, where the disk had to be waited for.
    pub(super) fn goes_on(&self, piece: &Piece) -> bool {
        let of_piece = |file: &Weak<File>| std::ptr::eq(file.as_ptr(), Arc::as_ptr(&piece.file));
        let near = |end: u64| piece.position.abs_diff(end) <= piece.bytes.max(PROBE_STRIDE_BYTES);
        self.0
            .iter()
            .any(|(file, end)| of_piece(file) && near(*end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(file: &Arc<File>, position: u64) -> Piece {
        Piece {
            file: Arc::clone(file),
            position,
            bytes: 1 << 20,
        }
    }

    fn warmed(file: &Arc<File>, end: u64, was_cold: bool) -> Warmed {
        Warmed {
            file: Arc::downgrade(file),
            end,
            was_cold,
        }
    }

    #[test]
    fn what_follows_a_cold_piece_is_taken_for_cold_until_it_is_not() {
        let [one, other] = [0, 1].map(|_| Arc::new(tempfile::tempfile().expect("file")));
        let mut cold = ColdReads::default();
        assert!(!cold.goes_on(&piece(&one, 0)));
        cold.note(warmed(&one, 1 << 20, true));
        assert!(cold.goes_on(&piece(&one, 1 << 20)));
        assert!(
            cold.goes_on(&piece(&one, (1 << 20) - 500)),
            "a cut batch again"
        );
        assert!(!cold.goes_on(&piece(&one, 1 << 30)));
        assert!(!cold.goes_on(&piece(&other, 1 << 20)));
        cold.note(warmed(&other, 1 << 20, true));
        cold.note(warmed(&one, 2 << 20, false));
        assert!(!cold.goes_on(&piece(&one, 2 << 20)));
        assert!(cold.goes_on(&piece(&other, 1 << 20)));
    }

    #[test]
    fn what_is_not_in_the_page_cache_is_there_after_it_was_waited_for() {
        // Below the build's folder: in memory, as `/tmp` may be, nothing can be dropped.
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = tempfile::tempfile_in(folder).expect("file");
        std::io::Write::write_all(&mut &file, &vec![7; 4 << 20]).expect("write");
        file.sync_all().expect("sync");
        fadvise(&file, 0, None, Advice::DontNeed).expect("advice");
        let file = Arc::new(file);
        assert!(!piece(&file, 1 << 20).is_resident());
        let warmed = piece(&file, 1 << 20).warm().expect("read");
        assert_eq!(warmed.end, 2 << 20);
        assert!(piece(&file, 1 << 20).is_resident());
    }

    #[test]
    fn few_files_are_remembered_and_none_is_kept_open() {
        let mut cold = ColdReads::default();
        for end in 0..100 {
            let file = Arc::new(tempfile::tempfile().expect("file"));
            cold.note(warmed(&file, end, true));
            assert_eq!(Arc::strong_count(&file), 1);
        }
        assert_eq!(cold.0.len(), REMEMBERED);
    }

    #[test]
    fn an_end_that_is_not_there_is_no_error() {
        let file = Arc::new(tempfile::tempfile().expect("file"));
        piece(&file, 0).warm().expect("nothing to read");
    }
}
