//! A producer beside a consumer that reads an old log from the disk: what the one costs the other.
//!
//! Measured three times: alone, beside this process reading the same old files at the same pace by
//! itself, and beside a consumer. The second says what the disk alone costs a producer on this machine;
//! only what the third has on top is the broker's.

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

/// Runs `workload` three times; gives what it moved beside the consumer of a log of `old_bytes`, and prints
/// the rest.
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

    let run = |how| {
        let before = usage::stolen_s();
        let moved = raw::run(address, topic, workload, seconds)?;
        tell(side, how, &moved, usage::stolen_s() - before);
        Ok(moved)
    };
    run("alone")?;
    let beside_plain = || run("beside plain reads of the files");
    with_reader(&log, beside_plain, |done| read_plainly(&log, done))?;
    let reader = Workload {
        kind: Kind::RawFetch,
        rate: READS_PER_SECOND,
        ..*workload
    };
    let fetch = |_: &AtomicBool| raw::run(address, &old.name, &reader, seconds).map(|m| m.bytes);
    with_reader(&log, || run("beside a consumer"), fetch)
}

/// `stolen_s`: of the CPUs meanwhile, by the hypervisor. It is in the latencies of whoever was at work.
fn tell(side: &str, how: &str, moved: &Moved, stolen_s: f64) {
    let (p50_ms, p99_ms) = moved.latencies.p50_p99_ms();
    eprintln!(
        "  {side} {how}: p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms; {:.0} ms of CPU went to other guests",
        1000.0 * stolen_s
    );
}

/// Runs `work` beside `read`, which gives the bytes that it got; the log stays cold meanwhile.
fn with_reader(
    log: &OldLog,
    work: impl Fn() -> Result<Moved>,
    read: impl FnOnce(&AtomicBool) -> Result<u64> + Send,
) -> Result<Moved> {
    log.drop_pages()?;
    let done = AtomicBool::new(false);
    let (moved, read) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| read(&done));
        scope.spawn(|| at_a_pace(DROPS_PER_SECOND, &done, log, |piece| piece.drop_pages()));
        let moved = work();
        done.store(true, Ordering::Relaxed);
        (moved, reading.join().expect("a load thread panicked"))
    });
    eprintln!("  the reader got {:.0} MB", read? as f64 / 1e6);
    moved
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
