//! A producer beside a consumer that reads an old log from the disk: what the one costs the other.
//!
//! Measured three times: alone, beside this process reading the same old files at the same pace by
//! itself, and beside a consumer. The second says what the disk alone costs a producer on this machine;
//! only what the third has on top is the broker's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Topic;
use crate::page_cache::OldLog;
use crate::raw::{self, Moved};
use crate::target::Target;
use crate::workload::{Kind, Workload};

/// Reads per second, of a mebibyte each: about what a disk gives. Flat out, a reader would compete with
/// the producer for the CPU, not for the disk.
const READS_PER_SECOND: u32 = 200;

/// How often what was read is dropped from the page cache, so that it is cold for the next round.
const DROP_EVERY: Duration = Duration::from_millis(100);

/// Runs `workload` three times; gives what it moved beside the consumer, and prints the rest.
pub(crate) fn beside(
    target: &Target,
    workload: &Workload,
    topic: &str,
    seconds: f64,
) -> Result<Moved> {
    let (address, side) = (target.address.as_str(), target.side.name());
    let old = Topic::create(target, workload, usize::MAX - 1)?;
    let flat_out = Workload {
        kind: Kind::RawProduce,
        pipeline: 4,
        rate: 0,
        ..*workload
    };
    // Not more than retention leaves alone.
    raw::run(address, &old.name, &flat_out, seconds.min(2.0))?;
    let log = OldLog::settle(&target.folder, &old.name)?;
    eprintln!("  {side}: {:.0} MB are cold", log.bytes as f64 / 1e6);

    let run = || raw::run(address, topic, workload, seconds);
    tell(side, "alone", &run()?);
    let plain = with_reader(&log, run, |done| read_plainly(&log, done))?;
    tell(side, "beside plain reads of the files", &plain);
    let reader = Workload {
        kind: Kind::RawFetch,
        rate: READS_PER_SECOND,
        ..*workload
    };
    let fetch = |_: &AtomicBool| raw::run(address, &old.name, &reader, seconds).map(|m| m.bytes);
    let moved = with_reader(&log, run, fetch)?;
    tell(side, "beside a consumer", &moved);
    Ok(moved)
}

fn tell(side: &str, how: &str, moved: &Moved) {
    let (p50_ms, p99_ms) = moved.latencies.p50_p99_ms();
    eprintln!("  {side} {how}: p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms");
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
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) && log.drop_pages().is_ok() {
                std::thread::sleep(DROP_EVERY);
            }
        });
        let moved = work();
        done.store(true, Ordering::Relaxed);
        (moved, reading.join().expect("a load thread panicked"))
    });
    eprintln!("  the reader got {:.0} MB", read? as f64 / 1e6);
    moved
}

fn read_plainly(log: &OldLog, done: &AtomicBool) -> Result<u64> {
    let gap = Duration::from_secs(1) / READS_PER_SECOND;
    let (mut due, mut bytes) = (Instant::now(), 0);
    let mut pieces = log.pieces();
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += gap;
        bytes += pieces.read_next()?;
    }
    Ok(bytes)
}
