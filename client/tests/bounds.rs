//! Hostile bytes: whatever is changed in a message, decoding it neither panics nor takes memory.
//!
//! A process of its own, because it counts what the process allocates. Seeded: it sees the same
//! bytes every time.

mod support;

use bytes::Bytes;
use nyala_client::wire::batch::{BatchBuilder, BatchOptions, BatchView};
use nyala_client::wire::compression::{Codec, compress, decompress};
use nyala_client::wire::fetch::FetchView;
use nyala_client::wire::frame::RequestHeader;
use nyala_client::wire::produce::ProduceView;
use nyala_client::wire::{ApiKey, DecodeError, Reader};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// What decoding one input may take at its peak.
const MEMORY_MAX: usize = 16 << 20;

fn bounded(what: &str, work: impl FnOnce()) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    work();
    let taken = MEMORY.peak_usage() - before;
    assert!(taken <= MEMORY_MAX, "{what} took {taken} bytes");
}

/// Changes a few places: bits, bytes, whole numbers, length.
fn mutate(bytes: &mut Vec<u8>, random: &mut SmallRng) {
    for _ in 0..random.random_range(1..4) {
        if bytes.is_empty() {
            bytes.push(random.random());
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..6) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, 0xff),
            _ => {
                let numbers = [
                    [0xff; 4],
                    [0x7f, 0xff, 0xff, 0xff],
                    [0, 0x0f, 0xff, 0xff],
                    [0x80, 0, 0, 0],
                ];
                let number = numbers[random.random_range(0..4)];
                for (place, byte) in bytes[at..].iter_mut().zip(number) {
                    *place = byte;
                }
            }
        }
    }
}

fn messages(random: &mut SmallRng) {
    for (api, (key, request, response)) in support::apis().iter().zip(support::codecs()) {
        for (message, ours) in [(&api.request, request), (&api.response, response)] {
            for version in message.versions.low..=message.versions.high {
                for _ in 0..60 {
                    let tape: Vec<u8> = (0..200).map(|_| random.random()).collect();
                    let mut body = support::body(message, version, &mut support::Tape(tape.iter()));
                    mutate(&mut body, random);
                    let body = Bytes::from(body);
                    bounded(key.name(), || drop(ours(&body, version)));
                    match key {
                        ApiKey::Produce => drop(ProduceView::parse(&body, version)),
                        ApiKey::Fetch => drop(FetchView::parse(&body, version)),
                        _ => drop(RequestHeader::decode(&mut Reader::new(&body))),
                    }
                }
            }
        }
    }
}

fn batches(random: &mut SmallRng) {
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        let mut builder = BatchBuilder::new(BatchOptions {
            codec,
            ..BatchOptions::default()
        });
        for i in 0..40 {
            let headers: [(&str, Option<&[u8]>); 2] = [("name", Some(b"value")), ("", None)];
            let value = vec![b'v'; 50 * i];
            builder
                .append(1000, Some(b"key"), Some(&value), &headers)
                .expect("it fits");
        }
        let good = builder.build().expect("a batch");
        for _ in 0..1500 {
            let mut bytes = good.to_vec();
            mutate(&mut bytes, random);
            bounded(codec.name(), || {
                let Ok(batch) = BatchView::parse(&bytes) else {
                    return;
                };
                let _ = batch.check_crc();
                if let Ok(body) = batch.decompress(1 << 20) {
                    let _ = batch.check_records(&body);
                }
            });
        }
    }
}

fn bombs() {
    let zeros = vec![0; 64 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bomb = compress(codec, &zeros, None).expect("a bomb");
        bounded(codec.name(), || {
            let outcome = decompress(codec, &bomb, 4 << 20);
            assert!(outcome.is_err(), "{codec}");
        });
    }
}

/// Counts that say more than the bytes can hold, and tiny elements that become large structs.
fn counts() {
    for (key, request, _) in support::codecs() {
        for version in key.versions() {
            for count in [i32::MAX, -2, 1_000_000, 100_000] {
                let mut body = count.to_be_bytes().to_vec();
                body.resize(100, 0);
                bounded(key.name(), || drop(request(&Bytes::from(body), version)));
            }
        }
    }
    let (_, metadata, _) = support::codecs()[3];
    let mut body = 4_000_000_i32.to_be_bytes().to_vec();
    body.resize(4 + 8_000_000, 0);
    let body = Bytes::from(body);
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let outcome = metadata(&body, 1);
    let taken = MEMORY.peak_usage() - before;
    assert_eq!(outcome, Err(DecodeError::Expansion(body.len())));
    assert!(taken < 50 * body.len(), "{taken} bytes for {}", body.len());
}

#[test]
fn nothing_that_comes_in_panics_or_takes_memory() {
    let mut random = SmallRng::seed_from_u64(0x6e79_616c);
    counts();
    messages(&mut random);
    batches(&mut random);
    bombs();
}
