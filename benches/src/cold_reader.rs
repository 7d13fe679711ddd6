//! A producer beside a consumer that reads an old log from the disk: what the one costs the other.
//!
//! Measured by turns: alone, beside this process reading the same old files at the same pace by
//! itself, and beside a consumer. The second says what the disk alone costs a producer on this machine;
//! only what the third has on top is the broker's. In short windows, because one pause of a virtual
//! machine is the p99 of the window that it falls into: medians of many windows leave it out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Topic;
use crate::page_cache::{OldLog, Piece};
use crate::raw::{self, Moved};
use crate::target::Target;
use crate::usage;
use crate::workload::{Kind, Workload};

/// Reads per second, of a mebibyte each: about what a disk gives. Flat out, a reader would compete with
/// the producer for the CPU, not for the disk.
const READS_PER_SECOND: u32 = 200;

/// Bytes of a plain read, as the broker reads to warm a piece.
const READ_BYTES: usize = 64 << 10;

/// Pieces dropped from the page cache per second, round and round, so that what was read is cold when the
/// reader comes again: faster than it reads, and a little at a time.
const DROPS_PER_SECOND: u32 = 2 * READS_PER_SECOND;

/// Windows of each kind.
const ROUNDS: usize = 9;

/// Whom the producer has beside it.
#[derive(Clone, Copy, Debug)]
enum Beside {
    Nobody,
    PlainReads,
    Consumer,
}

const KINDS: [Beside; 3] = [Beside::Nobody, Beside::PlainReads, Beside::Consumer];

impl Beside {
    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "alone",
            Self::PlainReads => "beside plain reads of the files",
            Self::Consumer => "beside a consumer",
        }
    }
}

/// One kind's windows.
#[derive(Debug, Default)]
struct Windows {
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    /// That somebody read beside them.
    read_bytes: u64,
    /// Of the CPUs, by the hypervisor: it is in the latencies of whoever was at work.
    stolen_s: f64,
}

/// Runs `workload` for `seconds` at a time by turns, and prints what each kind of window gave; returns what it
/// moved beside the consumer of a log of `old_bytes`.
pub(crate) fn beside(
    target: &Target,
    workload: &Workload,
    topic: &str,
    seconds: f64,
    old_bytes: u64,
) -> Result<Moved> {
    let (address, side) = (target.address.as_str(), target.side.name());
    let old = Topic::create(target, workload, usize::MAX - 1)?;
    let flat_out = Workload {
        pipeline: 4,
        rate: 0,
        ..*workload
    };
    raw::fill(address, &old.name, &flat_out, old_bytes)?;
    let log = OldLog::settle(&target.folder, &old.name)?;
    eprintln!("  {side}: {:.0} MB are cold", log.bytes() as f64 / 1e6);

    let reader = Workload {
        kind: Kind::RawFetch,
        rate: READS_PER_SECOND,
        ..*workload
    };
    let produce = || raw::run(address, topic, workload, seconds);
    let fetch = |_: &AtomicBool| raw::run(address, &old.name, &reader, seconds).map(|m| m.bytes);
    let (mut windows, mut beside_consumer) = (KINDS.map(|_| Windows::default()), Vec::new());
    for round in 0..ROUNDS {
        // Each kind comes first, second and last as often.
        for turn in 0..KINDS.len() {
            let at = (round + turn) % KINDS.len();
            let before = usage::stolen_s();
            let (moved, read) = match KINDS[at] {
                Beside::Nobody => (produce()?, 0),
                Beside::PlainReads => with_reader(&log, produce, |done| read_plainly(&log, done))?,
                Beside::Consumer => with_reader(&log, produce, fetch)?,
            };
            windows[at].stolen_s += usage::stolen_s() - before;
            windows[at].read_bytes += read;
            let (p50_ms, p99_ms) = moved.latencies.p50_p99_ms();
            windows[at].p50_ms.push(p50_ms);
            windows[at].p99_ms.push(p99_ms);
            if matches!(KINDS[at], Beside::Consumer) {
                beside_consumer.push(moved);
            }
        }
    }
    for (kind, windows) in KINDS.iter().zip(&mut windows) {
        tell(side, kind.name(), windows);
    }
    let alone_ms = median(&mut windows[0].p99_ms);
    for (kind, windows) in KINDS.iter().zip(&mut windows).skip(1) {
        let ratio = median(&mut windows.p99_ms) / alone_ms;
        eprintln!("  {side} {}: p99 {ratio:.2} times that alone", kind.name());
    }
    Ok(Moved::one_after_another(beside_consumer))
}

fn tell(side: &str, how: &str, windows: &mut Windows) {
    let (p50_ms, p99_ms) = (median(&mut windows.p50_ms), median(&mut windows.p99_ms));
    let all: Vec<String> = windows.p99_ms.iter().map(|ms| format!("{ms:.2}")).collect();
    eprintln!(
        "  {side} {how}: p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms ({}); {:.0} MB were read; {:.0} ms of CPU went to other guests",
        all.join(" "),
        windows.read_bytes as f64 / 1e6,
        1000.0 * windows.stolen_s
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Runs `work` beside `read`, which gives the bytes that it got, too; the log stays cold meanwhile.
fn with_reader(
    log: &OldLog,
    work: impl Fn() -> Result<Moved>,
    read: impl FnOnce(&AtomicBool) -> Result<u64> + Send,
) -> Result<(Moved, u64)> {
    log.drop_pages()?;
    let done = AtomicBool::new(false);
    let (moved, read) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| read(&done));
        scope.spawn(|| at_a_pace(DROPS_PER_SECOND, &done, log, |piece| piece.drop_pages()));
        let moved = work();
        done.store(true, Ordering::Relaxed);
        (moved, reading.join().expect("a load thread panicked"))
    });
    Ok((moved?, read?))
}

fn read_plainly(log: &OldLog, done: &AtomicBool) -> Result<u64> {
    let (mut bytes, mut buffer) = (0, vec![0; READ_BYTES]);
    at_a_pace(READS_PER_SECOND, done, log, |piece| {
        bytes += piece.read(&mut buffer)?;
        Ok(())
    })?;
    Ok(bytes)
}

/// Does `work` on piece after piece, so many in a second, until `done`.
fn at_a_pace(
    per_second: u32,
    done: &AtomicBool,
    log: &OldLog,
    mut work: impl FnMut(Piece<'_>) -> Result<()>,
) -> Result<()> {
    let gap = Duration::from_secs(1) / per_second;
    let mut due = Instant::now();
    for piece in log.pieces() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += gap;
        work(piece)?;
    }
    Ok(())
}
