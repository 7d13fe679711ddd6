//! A producer beside a consumer that reads an old log from the disk: what the one costs the other.
//!
//! Measured by turns: alone, beside this process reading the old files at the same pace by itself, and
//! beside a consumer. The second says what the disk alone costs a producer on this machine; what the
//! third has on top is the broker's and the consumer's own work, on the same CPUs. In short windows, because
//! one pause of a virtual machine is the p99 of the window that it falls into: the median of many windows
//! leaves it out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Topic;
use crate::page_cache::OldLog;
use crate::raw::{self, Moved};
use crate::target::Target;
use crate::usage::{self, Usage};
use crate::workload::{Kind, Workload};

/// Reads per second, of a mebibyte each: about what a disk gives. Flat out, a reader would compete with
/// the producer for the CPU, not for the disk.
const READS_PER_SECOND: u32 = 200;

/// Bytes of a plain read, as the broker reads to warm a piece.
const READ_BYTES: usize = 64 << 10;

/// Windows of each kind.
const ROUNDS: usize = 9;

/// Longest window: so long that 1% of it is 20 requests, and shorter than a consumer needs to come to the
/// end of what is cold.
const WINDOW_S: f64 = 2.0;

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

/// Runs `workload` by turns, in windows of `seconds` or [`WINDOW_S`], and prints what each kind of window gave;
/// returns what it moved beside the consumer of a log of `old_bytes`, and what the broker used meanwhile.
pub(crate) fn beside(
    target: &Target,
    workload: &Workload,
    topic: &str,
    seconds: f64,
    old_bytes: u64,
) -> Result<(Moved, Usage)> {
    let (address, side) = (target.address.as_str(), target.side.name());
    let seconds = seconds.min(WINDOW_S);
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
    let mut used = Usage::default();
    for round in 0..ROUNDS {
        // Each kind is first, second and last as often.
        for turn in 0..KINDS.len() {
            let at = (round + turn) % KINDS.len();
            let (stolen_before, before) = (usage::stolen_s(), usage::of(target.pid));
            let (moved, read) = match KINDS[at] {
                Beside::Nobody => (produce()?, 0),
                Beside::PlainReads => with_reader(&log, produce, |done| read_plainly(&log, done))?,
                Beside::Consumer => with_reader(&log, produce, fetch)?,
            };
            windows[at].stolen_s += usage::stolen_s() - stolen_before;
            windows[at].read_bytes += read;
            let (p50_ms, p99_ms) = moved.latencies.p50_p99_ms();
            windows[at].p50_ms.push(p50_ms);
            windows[at].p99_ms.push(p99_ms);
            if matches!(KINDS[at], Beside::Consumer) {
                let meanwhile = usage::of(target.pid).since(before);
                used.cpu_s += meanwhile.cpu_s;
                used.anonymous_mib = meanwhile.anonymous_mib;
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
    Ok((Moved::one_after_another(beside_consumer), used))
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

/// Runs `work` beside `read`, which finds the log cold and gives the bytes that it got, too.
fn with_reader(
    log: &OldLog,
    work: impl Fn() -> Result<Moved>,
    read: impl FnOnce(&AtomicBool) -> Result<u64> + Send,
) -> Result<(Moved, u64)> {
    log.drop_pages()?;
    let done = AtomicBool::new(false);
    let (moved, read) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| read(&done));
        let moved = work();
        done.store(true, Ordering::Relaxed);
        (moved, reading.join().expect("a load thread panicked"))
    });
    Ok((moved?, read?))
}

/// One [`READ_BYTES`] after another, a piece at a time, at the consumer's pace, until `done`; gives their bytes.
fn read_plainly(log: &OldLog, done: &AtomicBool) -> Result<u64> {
    let (mut bytes, mut buffer) = (0, vec![0; READ_BYTES]);
    let gap = Duration::from_secs(1) / READS_PER_SECOND;
    let mut due = Instant::now();
    for piece in log.pieces() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += gap;
        bytes += piece.read(&mut buffer)?;
    }
    Ok(bytes)
}
