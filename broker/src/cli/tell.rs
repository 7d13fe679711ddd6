//! What a command says on standard error, to whoever hears it.
//!
//! Who reads it may have gone (`2>&1 | head -1`), or stand still with the pipe full: words are then lost, and what is
//! done goes on. A command under a hold is stopped in any case.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A pipe that can be written to takes so many bytes at once (`PIPE_BUF`).
const AT_ONCE: usize = 4096;
/// Longest wait for a reader.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// As `eprintln!`, which panics where nobody hears it, and waits for who does not read.
macro_rules! tell {
    ($($words:tt)*) => {
        $crate::cli::tell::line(format!($($words)*))
    };
}
pub(crate) use tell;

/// One line.
pub(super) fn line(mut words: String) {
    words.push('\n');
    write(words.as_bytes());
}

fn write(bytes: &[u8]) {
    for chunk in bytes.chunks(AT_ONCE) {
        let stderr = rustix::stdio::stderr();
        let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
        let _ = poll(&mut ready, Some(&PATIENCE));
        let [ready] = &ready;
        let written = match ready.revents().contains(PollFlags::OUT) {
            true => rustix::io::write(stderr, chunk),
            false => return,
        };
        if written.is_err() {
            return;
        }
    }
}

/// The same for log lines.
pub(super) struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
