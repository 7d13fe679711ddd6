//! The writable end of an active segment: allocation and mapping that run ahead of the writer, and the
//! one claim (reservation) that may be open on it.
//!
//! The window covers the pages around the end. When less than half a step of it is left, a worker
//! allocates, maps and populates the next one (`workers.rs`) while the writer goes on; a writer that
//! outruns it grows in line by a small step. Steps follow the rate: 64 KiB when quiet, up to 32 MiB.
//! All windows are dropped before the file is cut ([`Tail::release`]).

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;

use super::StorageError;
use super::batch_head::Stamp;
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

/// The end of one active segment. Owner: its log; reservations and the workers hold it as well.
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
    window: Option<Window>,
    next: Next,
    /// File space is allocated up to here.
    allocated: u64,
    step: u64,
    stepped_ms: i64,
    /// The largest batch of late: the next window must overlap this one by it.
    overlap: u64,
    claim: Option<Claim>,
    claims: u64,
    /// What revoked claims had filled, until their owner comes for it.
    moved: Vec<(u64, Vec<u8>)>,
}

/// The window ahead.
#[derive(Debug)]
enum Next {
    None,
    Wanted { from: u64, to: u64 },
    Ready(Window),
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    id: u64,
    at: u64,
    filled: usize,
}

impl Tail {
    /// A tail over a file that has `size` bytes, all of them allocated; nothing is mapped yet.
    pub(crate) fn new(target: TailFile, size: u64, workers: Option<Arc<Workers>>) -> Arc<Self> {
        Arc::new(Self {
            target,
            workers,
            state: Mutex::new(State {
                window: None,
                next: Next::None,
                allocated: size,
                step: STEP_BYTES_MIN,
                stepped_ms: i64::MIN / 2,
                overlap: 0,
                claim: None,
                claims: 0,
                moved: Vec::new(),
            }),
            preparing: Mutex::new(()),
        })
    }

    /// Copies `bytes` to position `at` and stamps their head. An open claim is moved out of the way.
    pub(crate) fn write(
        self: &Arc<Self>,
        at: u64,
        bytes: &[u8],
        stamp: &Stamp,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        revoke(&mut state);
        let window = self.window(&mut state, at, bytes.len(), now_ms)?;
        let room = window.bytes_mut(at, bytes.len());
        room.copy_from_slice(bytes);
        stamp.put(room);
        let faulted = window.faulted();
        self.prepare_ahead(&mut state, at + bytes.len() as u64, now_ms);
        self.check(faulted)
    }

    /// Claims `len` bytes at `at`, for [`Reservation`].
    pub(crate) fn claim(
        self: &Arc<Self>,
        at: u64,
        len: usize,
        now_ms: i64,
    ) -> Result<Reservation, StorageError> {
        let mut state = self.state.lock();
        revoke(&mut state);
        let faulted = self.window(&mut state, at, len, now_ms)?.faulted();
        self.check(faulted)?;
        state.claims += 1;
        let id = state.claims;
        state.claim = Some(Claim { id, at, filled: 0 });
        Ok(Reservation {
            tail: Arc::clone(self),
            id,
            len,
            filled: 0,
            heap: None,
        })
    }

    /// Stamps a claim that is still in its place at `at` and gives it up: its bytes are the log's now.
    /// False: it was revoked or lies elsewhere.
    pub(crate) fn settle(
        self: &Arc<Self>,
        reservation: &Reservation,
        at: u64,
        stamp: &Stamp,
        now_ms: i64,
    ) -> Result<bool, StorageError> {
        let mut state = self.state.lock();
        let claim = state.claim.filter(|c| c.id == reservation.id && c.at == at);
        if claim.is_none() || !std::ptr::eq(Arc::as_ptr(&reservation.tail), Arc::as_ptr(self)) {
            return Ok(false);
        }
        state.claim = None;
        let Some(window) = state.window.as_mut() else {
            return Ok(false);
        };
        stamp.put(window.bytes_mut(at, reservation.len));
        let faulted = window.faulted();
        self.prepare_ahead(&mut state, at + reservation.len as u64, now_ms);
        self.check(faulted)?;
        Ok(true)
    }

    /// Drops all windows; an open claim moves to the heap. The file may be cut afterwards.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock();
        revoke(&mut state);
        state.window = None;
        state.next = Next::None;
        drop(state);
        // A preparation that was under way ends without effect.
        drop(self.preparing.lock());
    }

    /// Whether nobody is at work here: no claim, no preparation.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.claim.is_none() && !matches!(state.next, Next::Wanted { .. })
    }

    /// Prepares the window that was asked for. Runs on a worker, takes the lock only at both ends. A
    /// failure is left to the writer, who meets it again in line.
    pub(crate) fn prepare(&self) {
        let _preparing = self.preparing.lock();
        let Next::Wanted { from, to } = self.state.lock().next else {
            return;
        };
        let made = self.extend(from, to);
        let mut state = self.state.lock();
        if !matches!(state.next, Next::Wanted { .. }) {
            // Released meanwhile: `made` goes before `_preparing` does, the file may be cut next.
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
                    if matches!(other, Next::Wanted { .. }) {
                        // Goes on in the background; the writer helps itself in small steps.
                        state.next = other;
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
        let step = state.step.min(INLINE_STEP_BYTES_MAX);
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

    /// Allocates first, maps then: the order that keeps a full disk from being a signal.
    fn extend_from(&self, allocated: u64, from: u64, to: u64) -> Result<Window, StorageError> {
        let target = &self.target;
        if to > allocated {
            allocate(&target.file, allocated, to)
                .map_err(|e| StorageError::io("allocate", &target.path, e))?;
            target.space.take(to - allocated);
        }
        Window::map(&target.file, from, to, &target.fault)
            .map_err(|e| StorageError::io("map", &target.path, e))
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
        let to = page_ceil((window_end + state.step).min(self.target.limit));
        if to > window_end && workers.prepare(self) {
            state.next = Next::Wanted { from, to };
        }
    }
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

/// Moves what an open claim has filled to the heap, for its owner to go on there.
fn revoke(state: &mut State) {
    let Some(claim) = state.claim.take() else {
        return;
    };
    let filled = state
        .window
        .as_ref()
        .map(|window| window.bytes(claim.at, claim.filled).to_vec());
    state.moved.push((claim.id, filled.unwrap_or_default()));
}

fn page_floor(position: u64) -> u64 {
    position / PAGE_BYTES * PAGE_BYTES
}

fn page_ceil(position: u64) -> u64 {
    position.next_multiple_of(PAGE_BYTES)
}

/// Room at the end of a log, to be filled (outside of the lock) and then committed (under it).
///
/// Invisible until committed. Revocable: an append that comes first moves what is filled so far to the
/// heap and goes ahead; filling and committing go on as before. Dropping it gives the room back.
#[derive(Debug)]
pub struct Reservation {
    tail: Arc<Tail>,
    id: u64,
    len: usize,
    filled: usize,
    heap: Option<Vec<u8>>,
}

impl Reservation {
    /// Bytes still to fill.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.len - self.filled
    }

    /// Adds `bytes`; at most [`Self::remaining`] of them are taken. Returns how many.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let take = |room: &mut [u8]| {
            let count = bytes.len().min(room.len());
            if let (Some(to), Some(from)) = (room.get_mut(..count), bytes.get(..count)) {
                to.copy_from_slice(from);
            }
            Ok::<usize, std::convert::Infallible>(count)
        };
        match self.fill_with(take) {
            Ok(count) => count,
            Err(never) => match never {},
        }
    }

    /// Lets `read` (a socket's non-blocking read, say) put bytes into the room that remains; it answers
    /// how many it put. Keep it short: a second writer waits for it.
    pub fn fill_with<E>(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let remaining = self.remaining();
        let tail = Arc::clone(&self.tail);
        let mut state = tail.state.lock();
        let State { claim, window, .. } = &mut *state;
        let mine = claim.as_mut().filter(|c| c.id == self.id);
        let count = if let (Some(claim), Some(window)) = (mine, window.as_mut()) {
            let at = claim.at + claim.filled as u64;
            let count = read(window.bytes_mut(at, remaining))?.min(remaining);
            claim.filled += count;
            count
        } else {
            let moved = take_moved(&mut state, self.id);
            drop(state);
            let (len, filled) = (self.len, self.filled);
            let heap = self.heap.get_or_insert_with(|| moved.unwrap_or_default());
            heap.resize(len, 0);
            read(heap.get_mut(filled..).unwrap_or_default())?.min(remaining)
        };
        self.filled += count;
        Ok(count)
    }

    /// Looks at the bytes filled so far (to check the batch's CRC, say).
    pub fn with_filled<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        if let Some(heap) = &self.heap {
            return look(heap.get(..self.filled).unwrap_or_default());
        }
        let state = self.tail.state.lock();
        if let Some((_, moved)) = state.moved.iter().find(|(id, _)| *id == self.id) {
            return look(moved);
        }
        match (&state.claim, &state.window) {
            (Some(claim), Some(window)) if claim.id == self.id => {
                look(window.bytes(claim.at, claim.filled))
            }
            _ => look(&[]),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The filled bytes, taken out of the window.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        match self.heap.take() {
            Some(mut heap) => {
                heap.truncate(self.filled);
                heap
            }
            None => self.with_filled(<[u8]>::to_vec),
        }
    }
}

fn take_moved(state: &mut State, id: u64) -> Option<Vec<u8>> {
    let place = state.moved.iter().position(|(other, _)| *other == id)?;
    Some(state.moved.swap_remove(place).1)
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.tail.state.lock();
        if state.claim.is_some_and(|claim| claim.id == self.id) {
            state.claim = None;
        }
        take_moved(&mut state, self.id);
    }
}

#[cfg(test)]
mod tests;
