//! The mapped window over the end of an active segment: all `unsafe` of the workspace.
//!
//! Three dangers, and who stands against them:
//! (a) blocks must be allocated before they are mapped: a store to a sparse map on a full disk is a
//!     SIGBUS, not an error (measured). [`allocate`] comes first, and fails like any other call.
//! (b) a file is never cut while a window over it lives: `tail.rs` drops its windows first.
//! (c) who may write which range: only the owner of the [`Window`] (`&mut`), or `tail.rs` by a call, both
//!     under the log's lock and only behind the last committed byte. Other processes are kept out by the
//!     log dir's `.lock`.
//!
//! What still slips through (an outsider cuts the file, the device fails) arrives as SIGBUS: the handler
//! finds the window in a registry, raises its fault flag and puts anonymous zero pages in its place.
#![expect(
    unsafe_code,
    reason = "mapping, and the handler that keeps its faults from ending the process"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::FallocateFlags;
use rustix::mm::{MapFlags, ProtFlags};

/// Mappings start and end on such a boundary.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// Bytes of pages that are brought in by one call where nobody hurries: about a tenth of a millisecond.
const POPULATE_BYTES: usize = 256 << 10;
/// Largest window that is brought in so gently.
const GENTLE_BYTES_MAX: usize = 4 << 20;

/// Gives `file` real blocks for `from..to` and makes it at least `to` long (fallocate mode 0). Some file
/// systems (ext2, ext3, NFS before 4.2) cannot: an error of kind `Unsupported`. Zeros are no way out there:
/// a batch that is written at the same time would be overwritten.
pub(crate) fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    if to <= from {
        return Ok(());
    }
    loop {
        match rustix::fs::fallocate(file.as_fd(), FallocateFlags::empty(), from, to - from) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Brings all pages in. A small window comes a piece at a time: a kernel without preemption finishes each
/// call before anybody else gets this CPU. A large one belongs to a writer who is about to outrun it and
/// would have to help himself, at a higher price: it comes at once.
fn populate(map: &MmapRaw) -> io::Result<()> {
    if map.len() > GENTLE_BYTES_MAX {
        return map.advise(Advice::PopulateWrite);
    }
    for at in (0..map.len()).step_by(POPULATE_BYTES) {
        let piece = POPULATE_BYTES.min(map.len() - at);
        map.advise_range(Advice::PopulateWrite, at, piece)?;
        std::thread::yield_now();
    }
    Ok(())
}

/// A mapped, populated range of a file. Owner: the tail of one active segment.
#[derive(Debug)]
pub(crate) struct Window {
    map: MmapRaw,
    start: u64,
    slot: &'static Slot,
    fault: Arc<AtomicBool>,
}

impl Window {
    /// Maps `start..end` of `file` and brings the pages in, writable, so that no append waits for a page
    /// fault. `start` lies on a page boundary; the range has been allocated.
    pub(crate) fn map(
        file: &File,
        start: u64,
        end: u64,
        fault: &Arc<AtomicBool>,
    ) -> io::Result<Self> {
        debug_assert!(start.is_multiple_of(PAGE_BYTES) && start < end);
        install_handler()?;
        let len = usize::try_from(end - start).map_err(io::Error::other)?;
        let map = MmapOptions::new().offset(start).len(len).map_raw(file)?;
        match populate(&map) {
            Ok(()) => {}
            // Kernels before 5.14 do not know the advice: pages then come in one fault each.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
            Err(e) => return Err(e),
        }
        let slot = register(map.as_mut_ptr() as usize, len, fault);
        Ok(Self {
            map,
            start,
            slot,
            fault: Arc::clone(fault),
        })
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + self.map.len() as u64
    }

    pub(crate) fn covers(&self, at: u64, len: usize) -> bool {
        at >= self.start && at.saturating_add(len as u64) <= self.end()
    }

    /// Whether a SIGBUS took the pages away. To be asked after the bytes were copied.
    pub(crate) fn faulted(&self) -> bool {
        self.fault.load(Ordering::Acquire)
    }

    /// The bytes of `at..at + len`; empty when the window does not cover them.
    pub(crate) fn bytes_mut(&mut self, at: u64, len: usize) -> &mut [u8] {
        let offset = usize::try_from(at.wrapping_sub(self.start));
        let (true, Ok(offset)) = (self.covers(at, len), offset) else {
            return &mut [];
        };
        // SAFETY: offset + len lies within the mapping (checked above), which lives as long as self;
        // &mut self makes this the only Rust reference into it. The kernel may read the same pages for
        // sendfile, but only bytes before the committed end, which callers do not write (danger (c)).
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().add(offset), len) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // Unregistered before the unmapping (by the field's own drop): the addresses may be another
        // mapping's right after it.
        unregister(self.slot);
    }
}

// ---- the registry of live windows, read by the signal handler ----

/// One live window. `end == 0`: free, or being changed.
#[derive(Debug)]
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    fault: AtomicPtr<AtomicBool>,
}

const SLOTS_PER_CHUNK: usize = 256;

/// Slots never move and are never freed, so the handler walks them without a lock.
#[derive(Debug)]
struct Chunk {
    slots: [Slot; SLOTS_PER_CHUNK],
    next: AtomicPtr<Self>,
}

impl Chunk {
    const fn new() -> Self {
        Self {
            slots: [const {
                Slot {
                    start: AtomicUsize::new(0),
                    end: AtomicUsize::new(0),
                    fault: AtomicPtr::new(ptr::null_mut()),
                }
            }; SLOTS_PER_CHUNK],
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

#[derive(Debug)]
struct FreeSlots {
    slots: Vec<&'static Slot>,
    last: &'static Chunk,
    first_used: bool,
}

static FIRST: Chunk = Chunk::new();
static FREE: Mutex<FreeSlots> = Mutex::new(FreeSlots {
    slots: Vec::new(),
    last: &FIRST,
    first_used: false,
});

fn register(start: usize, len: usize, fault: &Arc<AtomicBool>) -> &'static Slot {
    let slot = take_slot();
    slot.start.store(start, Ordering::Release);
    slot.fault
        .store(Arc::as_ptr(fault).cast_mut(), Ordering::Release);
    let page = usize::try_from(PAGE_BYTES).unwrap_or(4096);
    slot.end
        .store(start + len.next_multiple_of(page), Ordering::Release);
    slot
}

fn take_slot() -> &'static Slot {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    if free.slots.is_empty() {
        if free.first_used {
            let chunk: &'static Chunk = Box::leak(Box::new(Chunk::new()));
            let next = ptr::from_ref(chunk).cast_mut();
            free.last.next.store(next, Ordering::Release);
            free.last = chunk;
        }
        free.first_used = true;
        let last = free.last;
        free.slots.extend(last.slots.iter());
    }
    free.slots.pop().expect("a chunk of slots was just added")
}

fn unregister(slot: &'static Slot) {
    slot.end.store(0, Ordering::Release);
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    free.slots.push(slot);
}

/// The window that holds `address`. Called by the handler: no lock, no allocation.
fn find(address: usize) -> Option<(usize, usize, *mut AtomicBool)> {
    let mut chunk: &Chunk = &FIRST;
    loop {
        for slot in &chunk.slots {
            let end = slot.end.load(Ordering::Acquire);
            let start = slot.start.load(Ordering::Acquire);
            let fault = slot.fault.load(Ordering::Acquire);
            // The second look at `end` drops a slot that changed hands in between.
            if start <= address && address < end && slot.end.load(Ordering::Acquire) == end {
                return Some((start, end - start, fault));
            }
        }
        let next = chunk.next.load(Ordering::Acquire);
        if next.is_null() {
            return None;
        }
        // SAFETY: set once, to a leaked chunk (take_slot).
        chunk = unsafe { &*next };
    }
}

// ---- the handler ----

static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();
static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();

/// Installs the handler, once a process. Rust's own (which reports stack overflows, and resets SIGBUS to
/// its default for everything else) stays behind ours, so `signal-hook`, which would call it first, is of
/// no use here.
fn install_handler() -> io::Result<()> {
    let installed = INSTALLED.get_or_init(|| {
        // SAFETY: all-zero is a valid sigaction; both calls get valid pointers, and `on_sigbus` has the
        // signature that SA_SIGINFO asks for.
        unsafe {
            let mut previous: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) != 0 {
                return Err(last_errno());
            }
            PREVIOUS.get_or_init(|| previous);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            if libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) != 0 {
                return Err(last_errno());
            }
        }
        Ok(())
    });
    installed.map_err(io::Error::from_raw_os_error)
}

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel hands a valid siginfo to an SA_SIGINFO handler; for SIGBUS it has an address.
    let address = unsafe { (*info).si_addr() } as usize;
    if let Some((start, len, fault)) = find(address)
        && put_zero_pages(start, len)
    {
        // SAFETY: the thread that faulted uses the window, so the window lives, and with it the Arc that
        // `fault` points into.
        unsafe { (*fault).store(true, Ordering::Release) };
        return;
    }
    // SAFETY: as called by the kernel for the handler before us.
    unsafe { pass_on(signal, info, context) };
}

/// Replaces the window by anonymous zero pages. A raw system call: allowed in a signal handler.
fn put_zero_pages(start: usize, len: usize) -> bool {
    // SAFETY: start..start+len is exactly one live window of ours (find), page aligned; replacing it keeps
    // every reference into it valid, with other contents, which its users check by `faulted`.
    let mapped = unsafe {
        rustix::mm::mmap_anonymous(
            ptr::without_provenance_mut(start),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::FIXED,
        )
    };
    mapped.is_ok()
}

/// Not a window of ours: what would have happened without our handler.
unsafe fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let previous = PREVIOUS.get().filter(|p| {
        p.sa_sigaction != libc::SIG_DFL
            && p.sa_sigaction != libc::SIG_IGN
            && p.sa_flags & libc::SA_SIGINFO != 0
    });
    // SAFETY: with SA_SIGINFO the stored address is a function of this signature. Without one, the
    // default is restored: the instruction faults again and ends the process as it should.
    unsafe {
        if let Some(previous) = previous {
            let call: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                std::mem::transmute(previous.sa_sigaction);
            call(signal, info, context);
        } else {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

#[cfg(test)]
mod tests;
