//! What is wrong with the records of a produce request.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::batch::BatchOptions;
use nyala_client::wire::compression::{Codec, compress};

use super::target::{Target, batch, fetch_request, forged, good, sealed, with_body};

/// Attribute bits of the codecs.
const GZIP: i16 = 1;
const SNAPPY: i16 = 2;
const LZ4: i16 = 3;
const ZSTD: i16 = 4;

#[test]
fn no_records_are_refused() {
    let mut target = Target::start();
    target.refuses(b"", ErrorCode::InvalidRecord);
    target.is_well();
}

#[test]
fn two_batches_are_refused() {
    let mut target = Target::start();
    target.refuses(
        &[good(&["a"]), good(&["b"])].concat(),
        ErrorCode::InvalidRecord,
    );
    target.is_well();
}

#[test]
fn other_formats_are_refused() {
    let mut target = Target::start();
    for magic in [0, 1, 3, 127] {
        let mut bytes = good(&["a"]);
        bytes[16] = magic;
        target.refuses(&bytes, ErrorCode::InvalidRecord);
    }
    target.is_well();
}

#[test]
fn a_wrong_checksum_is_corrupt() {
    let mut target = Target::start();
    let clean = good(&["a"]);
    for at in 17..clean.len() {
        let mut bytes = clean.clone();
        bytes[at] ^= 0x80;
        let code = ErrorCode::from_code(target.produce(&bytes).error_code);
        assert_ne!(code, ErrorCode::None, "byte {at}");
        if !(21..61).contains(&at) {
            assert_eq!(code, ErrorCode::CorruptMessage, "byte {at}");
        }
    }
    assert_eq!(target.next_offset(), 1);
    target.is_well();
}

#[test]
fn an_impossible_batch_length_is_corrupt() {
    let mut target = Target::start();
    for length in [48_i32, 0, -1, i32::MIN, 10_000, i32::MAX] {
        let mut bytes = good(&["a"]);
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        target.refuses(&bytes, ErrorCode::CorruptMessage);
    }
    target.is_well();
}

#[test]
fn record_counts_must_be_true() {
    let mut target = Target::start();
    for count in [-1_i32, 0, 1, 3, i32::MAX] {
        target.refuses(
            &forged(good(&["a", "b"]), 57, &count.to_be_bytes()),
            ErrorCode::InvalidRecord,
        );
        let both = forged(good(&["a", "b"]), 57, &count.to_be_bytes());
        let both = forged(both, 23, &count.wrapping_sub(1).to_be_bytes());
        target.refuses(&both, ErrorCode::InvalidRecord);
    }
    target.is_well();
}

#[test]
fn malformed_records_are_refused() {
    let mut target = Target::start();
    let bodies: &[&[u8]] = &[
        // Length beyond the end; a length that never ends; a negative length.
        &[0x7e, 0, 0, 0, 1, 1, 0],
        &[
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ],
        &[0x03, 0, 0, 0, 1, 1, 0],
        // Key length -2; value length past the record; header count 2^31 - 1 and -1.
        &[0x0c, 0, 0, 0, 3, 1, 0],
        &[0x0c, 0, 0, 0, 1, 0x7e, 0],
        &[0x14, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f],
        &[0x0c, 0, 0, 0, 1, 1, 1],
        // A header whose key is null; offset delta 1 in the first record; a byte too many.
        &[0x10, 0, 0, 0, 1, 1, 2, 1, 1],
        &[0x0c, 0, 0, 2, 1, 1, 0],
        &[0x0e, 0, 0, 0, 1, 1, 0, 0],
    ];
    for body in bodies {
        target.refuses(&with_body(0, 1, body), ErrorCode::InvalidRecord);
        let packed = compress(Codec::Lz4, body, None).expect("compresses");
        target.refuses(&with_body(LZ4, 1, &packed), ErrorCode::InvalidRecord);
    }
    target.is_well();
}

#[test]
fn unknown_codecs_early_zstd_and_markers_are_refused() {
    let mut target = Target::start();
    for bits in 5..=7 {
        let bytes = forged(good(&["a"]), 21, &[0, bits]);
        target.refuses(&bytes, ErrorCode::UnsupportedCompressionType);
    }
    let zstd = batch(
        BatchOptions {
            codec: Codec::Zstd,
            ..BatchOptions::default()
        },
        &["a"],
    );
    let early = target.produce_version(6, &zstd);
    assert_eq!(
        early.error_code,
        ErrorCode::UnsupportedCompressionType.code()
    );
    let control = batch(
        BatchOptions {
            control: true,
            ..BatchOptions::default()
        },
        &["a"],
    );
    target.refuses(&control, ErrorCode::InvalidRecord);
    target.is_well();
}

#[test]
fn contradictions_about_the_producer_are_refused() {
    let mut target = Target::start();
    let producer = BatchOptions {
        producer_id: 5,
        producer_epoch: 0,
        base_sequence: 0,
        ..BatchOptions::default()
    };
    let nobody = BatchOptions {
        transactional: true,
        ..BatchOptions::default()
    };
    target.refuses(&batch(nobody, &["a"]), ErrorCode::InvalidRecord);
    let no_sequence = BatchOptions {
        base_sequence: -1,
        ..producer
    };
    target.refuses(&batch(no_sequence, &["a"]), ErrorCode::InvalidRecord);
    let no_transaction = BatchOptions {
        transactional: true,
        ..producer
    };
    target.refuses(&batch(no_transaction, &["a"]), ErrorCode::InvalidTxnState);
    target.is_well();
}

#[test]
fn bombs_burst_within_bounds() {
    let mut target = Target::start();
    let zeros = vec![0; 256 << 20];
    let before = target.resident_bytes();
    for (codec, bits) in [
        (Codec::Gzip, GZIP),
        (Codec::Snappy, SNAPPY),
        (Codec::Lz4, LZ4),
        (Codec::Zstd, ZSTD),
    ] {
        let packed = compress(codec, &zeros, None).expect("compresses");
        if packed.len() > 1 << 20 {
            continue;
        }
        target.refuses(&with_body(bits, 1, &packed), ErrorCode::MessageTooLarge);
    }
    // Announced lengths that are lies: snappy of 4 GiB, an lz4 block and a zstd window of 2 GiB.
    let snappy = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    target.refuses(&with_body(SNAPPY, 1, &snappy), ErrorCode::CorruptMessage);
    let lz4 = [
        0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73, 0xff, 0xff, 0xff, 0x7f,
    ];
    target.refuses(&with_body(LZ4, 1, &lz4), ErrorCode::CorruptMessage);
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8, 1, 0, 0];
    // The window is of no matter, and there is nothing in the frame.
    target.refuses(&with_body(ZSTD, 1, &zstd), ErrorCode::InvalidRecord);
    assert!(target.resident_bytes() < before + (128 << 20));
    target.is_well();
}

#[test]
fn strange_timestamps_break_nothing() {
    let mut target = Target::start();
    for timestamp in [i64::MAX, i64::MIN, -1, 0] {
        let bytes = forged(good(&["a"]), 27, &timestamp.to_be_bytes());
        let bytes = forged(bytes, 35, &timestamp.to_be_bytes());
        let code = ErrorCode::from_code(target.produce(&bytes).error_code);
        let fine = matches!(code, ErrorCode::None | ErrorCode::InvalidTimestamp);
        assert!(fine, "{timestamp}: {code:?}");
    }
    target.is_well();
}

#[test]
fn timestamps_too_far_from_now_are_refused_where_the_topic_says_so() {
    let limits = [
        ("message.timestamp.before.max.ms", "3600000"),
        ("message.timestamp.after.max.ms", "3600000"),
    ];
    // The topic's own first record is of 2023: without a limit first, then with one.
    let mut target = Target::start();
    assert_eq!(target.produce(&good(&["a"])).error_code, 0);
    target.is_well();
    target.alter_topic(&limits);
    harness::wait::until("the limits hold", || {
        let answer = target.produce(&good(&["old"]));
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::InvalidTimestamp => Ok(()),
            other => Err(other),
        }
    });
}

#[test]
fn the_base_offset_of_the_client_is_overwritten() {
    let mut target = Target::start();
    for base in [-1_i64, 5, i64::MAX] {
        let mut bytes = good(&["a"]);
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        let expected = target.next_offset();
        assert_eq!(target.produce(&sealed(bytes)).base_offset, expected);
        let answer = target.fetch(super::target::FETCH, &fetch_request(expected));
        let records = answer.responses[0].partitions[0]
            .records
            .clone()
            .expect("records");
        assert_eq!(records[..8], expected.to_be_bytes());
    }
    target.is_well();
}
