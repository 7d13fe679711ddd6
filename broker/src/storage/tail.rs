//! The writable end of an active segment: small batches are copied into a mapped window, whose allocation
//! and mapping run ahead of the writer; large ones are written to the file.
//!
//! A page of the map costs the kernel a fault and its zeroing before our copy overwrites it; a write costs
//! a call, but fills whole pages at once: large batches are cheaper written, small ones mapped.
//!
//! The window covers the pages around the end. When less than half a step of it is left, a worker
//! allocates, maps and populates the next one (`workers.rs`) while the writer goes on; a writer that
//! outruns it grows in line by a small step. Ahead of large batches it allocates only: a write into space that
//! is there already is cheaper. Steps follow the rate: 64 KiB when quiet, up to 32 MiB.
//! All windows are dropped before the file is cut ([`Tail::release`]).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;

use super::StorageError;
use super::batch_head::{HEAD_BYTES, Stamp};
use super::mmap::{PAGE_BYTES, Window, allocate};
use super::space::DirSpace;
use super::workers::Workers;

const STEP_BYTES_MIN: u64 = 64 << 10;
const STEP_BYTES_MAX: u64 = 32 << 20;
/// A writer that outran the preparation grows by so much in line: short enough to wait for.
const INLINE_STEP_BYTES_MAX: u64 = 256 << 10;
/// A step that is used up sooner than this was too small ...
const STEP_TOO_SMALL_MS: i64 = 500;
/// ... and one that lasts longer than this too large.
const STEP_TOO_LARGE_MS: i64 = 10_000;

/// Batches of this size and more are written, unless they fit what is mapped already or get their
/// timestamps from us.
const WRITE_BYTES_MIN: usize = 64 << 10;

/// What a tail writes to.
#[derive(Debug)]
pub(crate) struct TailFile {
    pub(crate) file: Arc<File>,
    pub(crate) path: PathBuf,
    /// Raised by the SIGBUS handler.
    pub(crate) fault: Arc<AtomicBool>,
    /// Allocation goes no further, unless a single batch needs it.
    pub(crate) limit: u64,
    pub(crate) space: Arc<DirSpace>,
}

/// The end of one active segment. Owner: its log; the workers hold it as well.
#[derive(Debug)]
pub(crate) struct Tail {
    target: TailFile,
    workers: Option<Arc<Workers>>,
    state: Mutex<State>,
    /// Held while a worker allocates and maps: who cuts the file waits for it.
    preparing: Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// False once the file system has turned out to be one that cannot allocate: all is written then.
    maps: bool,
    window: Option<Window>,
    next: Next,
    /// File space is allocated up to here.
    allocated: u64,
    step: u64,
    stepped_ms: i64,
    /// The largest batch of late: the next window must overlap this one by it.
    overlap: u64,
}

/// What is made ahead of the writer.
#[derive(Debug)]
enum Next {
    None,
    /// Space up to there, for batches that are written.
    Space {
        to: u64,
    },
    /// A window.
    Wanted {
        from: u64,
        to: u64,
    },
    Ready(Window),
}

impl Tail {
    /// A tail over a file that has `size` bytes, all of them allocated; nothing is mapped yet.
    pub(crate) fn new(target: TailFile, size: u64, workers: Option<Arc<Workers>>) -> Arc<Self> {
        Arc::new(Self {
            target,
            workers,
            state: Mutex::new(State {
                maps: true,
                window: None,
                next: Next::None,
                allocated: size,
                step: STEP_BYTES_MIN,
                stepped_ms: i64::MIN / 2,
                overlap: 0,
            }),
            preparing: Mutex::new(()),
        })
    }

    /// Puts the batch `bytes` to position `at`, its head stamped.
    pub(crate) fn write(
        self: &Arc<Self>,
        at: u64,
        bytes: &[u8],
        stamp: &Stamp,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        let mapped = |window: &Window| window.covers(at, bytes.len());
        let large = bytes.len() >= WRITE_BYTES_MIN
            && !state.window.as_ref().is_some_and(mapped)
            // Its checksum is made anew, which takes a copy: the map is one.
            && stamp.log_append_time_ms.is_none();
        if large || !state.maps {
            drop(state);
            self.write_to_file(at, bytes, stamp)?;
            self.allocate_ahead(at + bytes.len() as u64, now_ms);
            return Ok(());
        }
        let window = match self.window(&mut state, at, bytes.len(), now_ms) {
            Ok(window) => window,
            Err(error) if error.is_unsupported() => {
                state.maps = false;
                drop(state);
                return self.write_to_file(at, bytes, stamp);
            }
            Err(error) => return Err(error),
        };
        let room = window.bytes_mut(at, bytes.len());
        room.copy_from_slice(bytes);
        stamp.put(room);
        let faulted = window.faulted();
        self.prepare_ahead(&mut state, at + bytes.len() as u64, now_ms);
        self.check(faulted)
    }

    /// Writes a batch. Its head goes last: until that is there, recovery sees the end of the log. The log's
    /// own lock keeps others from the range; a worker that prepares what comes next is not held up.
    fn write_to_file(&self, at: u64, bytes: &[u8], stamp: &Stamp) -> Result<(), StorageError> {
        let (head, rest) = bytes.split_at(HEAD_BYTES.min(bytes.len()));
        let head = match stamp.log_append_time_ms {
            None => stamped(head, stamp),
            // The checksum in the head covers all of it.
            Some(_) => stamped(bytes, stamp),
        };
        let head = head.get(..HEAD_BYTES).unwrap_or(&head);
        let (file, rest_at) = (&self.target.file, at + head.len() as u64);
        let end = at + bytes.len() as u64;
        let written = file
            .write_all_at(rest, rest_at)
            .and_then(|()| file.write_all_at(head, at));
        if let Err(error) = written {
            let error = match self.take_back(at, end) {
                Ok(()) => error,
                // What is left would be taken for records: not even a full disk is that any more.
                Err(left) => io::Error::other(format!("{error}; then, to clear that: {left}")),
            };
            return Err(StorageError::io("write", &self.target.path, error));
        }
        let mut state = self.state.lock();
        if end > state.allocated {
            self.target.space.take(end - state.allocated);
            state.allocated = end;
        }
        Ok(())
    }

    /// Clears what a failed write has left, lest recovery takes it for what follows a later batch. The file
    /// is not cut: a worker may be mapping what comes next.
    fn take_back(&self, at: u64, end: u64) -> io::Result<()> {
        let file = &self.target.file;
        write_zeros(file, at, end.min(file.metadata()?.len()))
    }

    /// Drops all windows. The file may be cut afterwards.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock();
        state.window = None;
        state.next = Next::None;
        drop(state);
        // A preparation that was under way ends without effect.
        drop(self.preparing.lock());
    }

    /// Whether nobody is at work here.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state.lock().next, Next::None | Next::Ready(_))
    }

    /// Prepares what was asked for. Runs on a worker, takes the lock only at both ends. A failure is left to
    /// the writer, who meets it again in line.
    pub(crate) fn prepare(&self) {
        let _preparing = self.preparing.lock();
        let (from, to) = match self.state.lock().next {
            Next::Space { to } => (None, to),
            Next::Wanted { from, to } => (Some(from), to),
            Next::None | Next::Ready(_) => return,
        };
        match from {
            None => self.prepare_space(to),
            Some(from) => self.prepare_window(from, to),
        }
    }

    fn prepare_window(&self, from: u64, to: u64) {
        let made = self.extend(from, to);
        let mut state = self.state.lock();
        if !matches!(state.next, Next::Wanted { .. }) {
            // Released meanwhile: `made` goes before `prepare` lets go, the file may be cut next.
            return;
        }
        state.next = match made {
            Ok(window) => {
                state.allocated = state.allocated.max(to);
                Next::Ready(window)
            }
            Err(_) => Next::None,
        };
    }

    fn prepare_space(&self, to: u64) {
        let allocated = self.state.lock().allocated;
        let done = self.allocate(allocated, to);
        let mut state = self.state.lock();
        if !matches!(state.next, Next::Space { .. }) {
            // Released meanwhile.
            return;
        }
        state.next = Next::None;
        match done {
            Ok(()) => state.allocated = state.allocated.max(to),
            Err(error) => state.maps &= !error.is_unsupported(),
        }
    }

    fn check(&self, faulted: bool) -> Result<(), StorageError> {
        if faulted {
            return Err(StorageError::Fault {
                path: self.target.path.clone(),
            });
        }
        Ok(())
    }

    /// A window that covers `at..at + len`: the current one, the prepared one, or one made in line.
    fn window<'a>(
        &self,
        state: &'a mut State,
        at: u64,
        len: usize,
        now_ms: i64,
    ) -> Result<&'a mut Window, StorageError> {
        state.overlap = state.overlap.max(len as u64);
        if !state.window.as_ref().is_some_and(|w| w.covers(at, len)) {
            let next = match std::mem::replace(&mut state.next, Next::None) {
                Next::Ready(window) if window.covers(at, len) => window,
                other => {
                    match (other, &self.workers) {
                        // Goes on in the background; the writer helps itself in small steps.
                        (wanted @ (Next::Wanted { .. } | Next::Space { .. }), _) => {
                            state.next = wanted;
                        }
                        // Written batches have gone past it.
                        (Next::Ready(window), Some(workers)) => workers.drop_window(window),
                        (Next::Ready(_) | Next::None, _) => {}
                    }
                    self.grow_in_line(state, at, len, now_ms)?
                }
            };
            if let (Some(old), Some(workers)) = (state.window.replace(next), &self.workers) {
                workers.drop_window(old);
            }
        }
        Ok(state
            .window
            .as_mut()
            .expect("either it covered the range or it was just set"))
    }

    fn grow_in_line(
        &self,
        state: &mut State,
        at: u64,
        len: usize,
        now_ms: i64,
    ) -> Result<Window, StorageError> {
        adapt_step(state, now_ms);
        let step = self.step(state, INLINE_STEP_BYTES_MAX);
        let from = page_floor(at);
        let needed = page_ceil(at + len as u64);
        let to = needed.max(page_ceil((at + step).min(self.target.limit)));
        let window = match self.extend_from(state.allocated, from, to) {
            Err(error) if error.is_no_space() && to > needed => {
                self.extend_from(state.allocated, from, needed)?
            }
            other => other?,
        };
        state.allocated = state.allocated.max(window.end());
        Ok(window)
    }

    fn extend(&self, from: u64, to: u64) -> Result<Window, StorageError> {
        let allocated = self.state.lock().allocated;
        self.extend_from(allocated, from, to)
    }

    fn allocate(&self, allocated: u64, to: u64) -> Result<(), StorageError> {
        let target = &self.target;
        if to > allocated {
            allocate(&target.file, allocated, to)
                .map_err(|e| StorageError::io("allocate", &target.path, e))?;
            target.space.take(to - allocated);
        }
        Ok(())
    }

    /// Allocates first, maps then: the order that keeps a full disk from being a signal.
    fn extend_from(&self, allocated: u64, from: u64, to: u64) -> Result<Window, StorageError> {
        self.allocate(allocated, to)?;
        let target = &self.target;
        Window::map(&target.file, from, to, &target.fault)
            .map_err(|e| StorageError::io("map", &target.path, e))
    }

    /// The next step, `most` at most; the smallest where the rest of the disk is to be kept free.
    fn step(&self, state: &State, most: u64) -> u64 {
        let step = state.step.min(most);
        match self.target.space.has_room_for(step) {
            true => step,
            false => STEP_BYTES_MIN,
        }
    }

    /// Asks the workers for space when less than half a step is left behind `end`, where the last batch that was
    /// written ends.
    fn allocate_ahead(self: &Arc<Self>, end: u64, now_ms: i64) {
        let mut state = self.state.lock();
        let (allocated, limit) = (state.allocated, self.target.limit);
        let Some(workers) = &self.workers else {
            return;
        };
        if !state.maps || allocated.saturating_sub(end) >= state.step / 2 || allocated >= limit {
            return;
        }
        match std::mem::replace(&mut state.next, Next::None) {
            Next::None => {}
            // Made for small batches, and large ones are past it or about to be.
            Next::Ready(window) => workers.drop_window(window),
            under_way => {
                state.next = under_way;
                return;
            }
        }
        adapt_step(&mut state, now_ms);
        let step = self.step(&state, STEP_BYTES_MAX);
        let to = page_ceil((allocated + step).min(limit));
        if workers.prepare(self) {
            state.next = Next::Space { to };
        }
    }

    /// Asks the workers for the next window when less than half a step is left behind `end`.
    fn prepare_ahead(self: &Arc<Self>, state: &mut State, end: u64, now_ms: i64) {
        let Some(workers) = &self.workers else {
            return;
        };
        let window_end = state.window.as_ref().map_or(end, Window::end);
        if window_end.saturating_sub(end) >= state.step / 2
            || window_end >= self.target.limit
            || !matches!(state.next, Next::None)
        {
            return;
        }
        adapt_step(state, now_ms);
        let overlap = (2 * state.overlap).max(STEP_BYTES_MIN);
        let from = page_floor(end.max(window_end.saturating_sub(overlap)));
        let step = self.step(state, STEP_BYTES_MAX);
        let to = page_ceil((window_end + step).min(self.target.limit));
        if to > window_end && workers.prepare(self) {
            state.next = Next::Wanted { from, to };
        }
    }
}

/// A stamped copy.
fn stamped(bytes: &[u8], stamp: &Stamp) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    stamp.put(&mut copy);
    copy
}

/// Zeros in `from..to`.
fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = [0_u8; 16 << 10];
    let mut at = from;
    while at < to {
        let count = usize::try_from(to - at).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_all_at(zeros.get(..count).unwrap_or(&zeros), at)?;
        at += count as u64;
    }
    Ok(())
}

/// Grows the step of a fast writer, shrinks that of a slow one.
fn adapt_step(state: &mut State, now_ms: i64) {
    let lasted = now_ms.saturating_sub(state.stepped_ms);
    if lasted < STEP_TOO_SMALL_MS {
        state.step = (state.step * 4).min(STEP_BYTES_MAX);
    } else if lasted > STEP_TOO_LARGE_MS {
        state.step = (state.step / 4).max(STEP_BYTES_MIN);
        state.overlap /= 2;
    }
    state.stepped_ms = now_ms;
}

fn page_floor(position: u64) -> u64 {
    position / PAGE_BYTES * PAGE_BYTES
}

fn page_ceil(position: u64) -> u64 {
    position.next_multiple_of(PAGE_BYTES)
}

#[cfg(test)]
mod tests;
