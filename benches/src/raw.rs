//! Raw-wire load: prebuilt Produce v7 and Fetch v11 frames over plain sockets.
//!
//! A client library costs more CPU than a fast broker, so that with one in front both brokers look
//! alike. These loops build their frames once and only read what they need of the answers. The
//! layout of the frames is that of Kafka's protocol page; both sides get the same bytes.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::histogram::Latencies;
use crate::workload::{Kind, Until, Workload};

/// What one run has moved.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// Requests answered (raw) or records delivered (librdkafka).
    pub(crate) operations: u64,
    /// Bytes of record batches (raw) or of values (librdkafka).
    pub(crate) bytes: u64,
    /// Time per operation.
    pub(crate) latencies: Latencies,
    /// From the first to the last operation.
    pub(crate) seconds: f64,
}

impl Moved {
    /// As one: what was moved in several runs.
    pub(crate) fn one_after_another(runs: impl IntoIterator<Item = Self>) -> Self {
        let nothing = Self {
            operations: 0,
            bytes: 0,
            latencies: Latencies::default(),
            seconds: 0.0,
        };
        runs.into_iter().fold(nothing, |mut all, run| {
            all.operations += run.operations;
            all.bytes += run.bytes;
            all.latencies.add(&run.latencies);
            all.seconds += run.seconds;
            all
        })
    }
}

/// Connections of every raw workload.
const CONNECTIONS: i32 = 2;

/// Runs a raw workload for `seconds` on two connections.
pub(crate) fn run(address: &str, topic: &str, workload: &Workload, seconds: f64) -> Result<Moved> {
    let end = Until::after(seconds);
    on_connections(|connection| match workload.kind {
        Kind::RawFetch => fetch(address, topic, workload, connection, end),
        _ => produce(address, topic, workload, connection, end),
    })
}

/// Writes so many bytes of batches, over all partitions, to be read.
pub(crate) fn fill(address: &str, topic: &str, workload: &Workload, bytes: u64) -> Result<()> {
    let batch_bytes = batch(workload.batch_records, workload.record_bytes).len() as u64;
    let each = Until::Sent(bytes / batch_bytes / CONNECTIONS.unsigned_abs() as u64);
    on_connections(|connection| produce(address, topic, workload, connection, each)).map(drop)
}

/// `work` on each connection at the same time.
fn on_connections(work: impl Fn(i32) -> Result<Moved> + Sync) -> Result<Moved> {
    let started = Instant::now();
    let parts = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|connection| scope.spawn(move || work(connection)))
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("a load thread panicked"))
            .collect::<Vec<_>>()
    });
    let mut all = Moved::default();
    for part in parts {
        let part = part?;
        all.operations += part.operations;
        all.bytes += part.bytes;
        all.latencies.add(&part.latencies);
    }
    all.seconds = started.elapsed().as_secs_f64();
    Ok(all)
}

fn produce(
    address: &str,
    topic: &str,
    workload: &Workload,
    connection: i32,
    until: Until,
) -> Result<Moved> {
    let mut socket = connect(address)?;
    let batch = batch(workload.batch_records, workload.record_bytes);
    let frames: Vec<Vec<u8>> = (0..workload.partitions)
        .map(|p| produce_frame(topic, p, workload.acks, &batch))
        .collect();
    let mut frames = frames.iter().cycle().skip(usize::try_from(connection)?);
    let gap = gap(workload);
    let (mut moved, mut answer, mut in_flight) = (Moved::default(), Vec::new(), VecDeque::new());
    let (mut due, mut requests) = (Instant::now(), 0);
    loop {
        let more = until.goes_on(requests);
        if more && in_flight.len() < workload.pipeline {
            let begun = begin(due, workload.rate);
            socket.write_all(frames.next().expect("cycles over one frame or more"))?;
            in_flight.push_back(begun);
            requests += 1;
            due += gap;
            continue;
        }
        let Some(sent) = in_flight.pop_front() else {
            break;
        };
        read_frame(&mut socket, &mut answer)?;
        let error = i16_at(&answer, 4 + 4 + 2 + topic.len() + 4 + 4);
        ensure!(error == 0, "produce was refused with error code {error}");
        moved.latencies.record(sent.elapsed());
        moved.operations += 1;
        moved.bytes += batch.len() as u64;
    }
    Ok(moved)
}

/// Waits until a request is due and says when its time begins: when it was due if an answer came too late
/// for that, which is the broker's doing, but not before this thread woke if it was asleep till then: on
/// a busy machine it oversleeps, and nobody but the load generator is to blame. Without a rate: now.
fn begin(due: Instant, rate: u32) -> Instant {
    let now = Instant::now();
    if rate > 0 && now > due {
        return due;
    }
    std::thread::sleep(due.saturating_duration_since(now));
    Instant::now()
}

/// Time between two requests of one connection; none without a rate.
fn gap(workload: &Workload) -> Duration {
    match workload.rate {
        0 => Duration::ZERO,
        rate => Duration::from_secs_f64(f64::from(CONNECTIONS) / f64::from(rate)),
    }
}

fn fetch(
    address: &str,
    topic: &str,
    workload: &Workload,
    connection: i32,
    until: Until,
) -> Result<Moved> {
    let mut socket = connect(address)?;
    let partition = connection % workload.partitions;
    let (mut moved, mut answer, mut offset) = (Moved::default(), Vec::new(), 0);
    let mut due = Instant::now();
    while until.goes_on(moved.operations) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += gap(workload);
        let sent = Instant::now();
        socket.write_all(&fetch_frame(topic, partition, offset, workload.fetch_bytes))?;
        read_frame(&mut socket, &mut answer)?;
        moved.latencies.record(sent.elapsed());
        // correlation id, throttle, error, session, count, topic, count, partition: then its error.
        let mut at = 4 + 4 + 2 + 4 + 4 + 2 + topic.len() + 4 + 4;
        let error = i16_at(&answer, at);
        ensure!(error == 0, "fetch was refused with error code {error}");
        let high_watermark = i64_at(&answer, at + 2);
        let aborted = usize::try_from(i32_at(&answer, at + 26)).unwrap_or(0);
        at += 30 + 16 * aborted + 4;
        let length = usize::try_from(i32_at(&answer, at)).unwrap_or(0);
        let records = &answer[at + 4..at + 4 + length];
        offset = next_offset(records, offset);
        if offset >= high_watermark {
            offset = 0;
        }
        moved.operations += 1;
        moved.bytes += length as u64;
    }
    Ok(moved)
}

/// Offset behind the last whole batch of `records`.
fn next_offset(records: &[u8], mut offset: i64) -> i64 {
    let mut at = 0;
    while at + 61 <= records.len() {
        let length = usize::try_from(i32_at(records, at + 8)).unwrap_or(0) + 12;
        if at + length > records.len() {
            break;
        }
        offset = i64_at(records, at) + i64::from(i32_at(records, at + 23)) + 1;
        at += length;
    }
    offset
}

pub(crate) fn connect(address: &str) -> Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(socket)
}

pub(crate) fn read_frame(socket: &mut TcpStream, frame: &mut Vec<u8>) -> Result<()> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length))?;
    if frame.len() < length {
        frame.resize(length, 0);
    }
    socket.read_exact(&mut frame[..length])?;
    Ok(())
}

pub(crate) fn i16_at(b: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([b[at], b[at + 1]])
}

pub(crate) fn i32_at(b: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(b[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(b: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(b[at..at + 8].try_into().expect("eight bytes"))
}

pub(crate) fn text(frame: &mut Vec<u8>, text: &str) {
    frame.extend(
        u16::try_from(text.len())
            .expect("short names")
            .to_be_bytes(),
    );
    frame.extend(text.as_bytes());
}

pub(crate) fn header(key: i16, version: i16) -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(0_i32.to_be_bytes());
    text(&mut frame, "compare");
    frame
}

pub(crate) fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(frame.len() - 4).expect("frames are small");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

fn length_of(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len())
        .expect("batches are small")
        .to_be_bytes()
}

pub(crate) fn produce_frame(topic: &str, partition: i32, acks: i16, batch: &[u8]) -> Vec<u8> {
    let mut frame = header(0, 7);
    frame.extend((-1_i16).to_be_bytes());
    frame.extend(acks.to_be_bytes());
    frame.extend(30_000_i32.to_be_bytes());
    frame.extend(1_i32.to_be_bytes());
    text(&mut frame, topic);
    frame.extend(1_i32.to_be_bytes());
    frame.extend(partition.to_be_bytes());
    frame.extend(length_of(batch));
    frame.extend(batch);
    sealed(frame)
}

fn fetch_frame(topic: &str, partition: i32, offset: i64, partition_bytes: i32) -> Vec<u8> {
    let mut frame = header(1, 11);
    for number in [-1, 500, 1, 50 << 20] {
        frame.extend(i32::to_be_bytes(number)); // replica, max wait, min bytes, max bytes
    }
    frame.push(0);
    for number in [0, -1, 1] {
        frame.extend(i32::to_be_bytes(number)); // session id and epoch, topics
    }
    text(&mut frame, topic);
    for number in [1, partition, -1] {
        frame.extend(i32::to_be_bytes(number)); // partitions, index, leader epoch
    }
    frame.extend(offset.to_be_bytes());
    frame.extend((-1_i64).to_be_bytes());
    frame.extend(partition_bytes.to_be_bytes());
    frame.extend(0_i32.to_be_bytes());
    text(&mut frame, "");
    sealed(frame)
}

/// A record batch v2 of `count` records with incompressible values of `size` bytes.
pub(crate) fn batch(count: usize, size: usize) -> Vec<u8> {
    let mut records = Vec::new();
    let mut noise = 0x9E37_79B9_7F4A_7C15_u64;
    for delta in 0..count {
        let mut record = vec![0]; // attributes
        varint(&mut record, 0);
        varint(&mut record, i64::try_from(delta).expect("small"));
        varint(&mut record, -1);
        varint(&mut record, i64::try_from(size).expect("small"));
        for _ in 0..size {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            record.push(noise.to_be_bytes()[0]);
        }
        varint(&mut record, 0);
        varint(&mut records, i64::try_from(record.len()).expect("small"));
        records.extend(record);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.expect("after 1970").as_millis()).expect("fits until year 292e6");
    let count = i32::try_from(count).expect("small");
    let mut covered = Vec::new(); // by the CRC: from the attributes on
    covered.extend(0_i16.to_be_bytes());
    covered.extend((count - 1).to_be_bytes());
    covered.extend(now.to_be_bytes());
    covered.extend(now.to_be_bytes());
    covered.extend((-1_i64).to_be_bytes());
    covered.extend((-1_i16).to_be_bytes());
    covered.extend((-1_i32).to_be_bytes());
    covered.extend(count.to_be_bytes());
    covered.extend(&records);
    let mut batch = 0_i64.to_be_bytes().to_vec();
    batch.extend(
        u32::try_from(covered.len() + 9)
            .expect("small")
            .to_be_bytes(),
    );
    batch.extend((-1_i32).to_be_bytes());
    batch.push(2);
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &covered);
    batch.extend(u32::try_from(crc).expect("32 bits").to_be_bytes());
    batch.extend(covered);
    batch
}

fn varint(out: &mut Vec<u8>, number: i64) {
    let mut zigzag = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        out.push(zigzag.to_le_bytes()[0] | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag.to_le_bytes()[0]);
}
