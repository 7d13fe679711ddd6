//! Batches as producers should not make them, and the one refusal that each deserves.
//! Bytes only: no log and no socket.

use nyala_client::wire::batch::{BatchBuilder, BatchOptions};
use nyala_client::wire::compression::CompressionError;

use super::*;

fn batch(options: BatchOptions, records: &[(Option<&[u8]>, &[u8])]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for (key, value) in records {
        builder.append(1000, *key, Some(value), &[]).unwrap();
    }
    builder.build().unwrap().to_vec()
}

fn plain() -> Vec<u8> {
    batch(BatchOptions::default(), &[(None, b"a"), (None, b"b")])
}

fn sealed(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes[at..at + with.len()].copy_from_slice(with);
    let crc = crc32c(&bytes[ATTRIBUTES_AT..]);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn refusal(bytes: &[u8]) -> BatchRefusal {
    check(bytes, 9, &PartitionConfig::default(), 1000).expect_err("must be refused")
}

#[test]
fn a_good_batch_passes_as_it_is() {
    let bytes = plain();
    let checked = check(&bytes, 3, &PartitionConfig::default(), 1000).unwrap();
    assert!(matches!(checked, Cow::Borrowed(b) if b == bytes));
}

#[test]
fn nothing_and_too_much_are_refused() {
    assert_eq!(refusal(b""), BatchRefusal::Empty);
    assert_eq!(
        refusal(&[plain(), plain()].concat()),
        BatchRefusal::SeveralBatches
    );
    let small = PartitionConfig {
        max_message_bytes: 70,
        ..PartitionConfig::default()
    };
    let bytes = plain();
    let expected = BatchRefusal::TooLarge {
        bytes: bytes.len(),
        limit: 70,
    };
    assert_eq!(check(&bytes, 9, &small, 0), Err(expected));
}

#[test]
fn a_lie_about_the_largest_timestamp_is_corrected() {
    let bytes = sealed(plain(), MAX_TIMESTAMP_AT, &i64::MAX.to_be_bytes());
    let checked = check(&bytes, 9, &PartitionConfig::default(), 1000).unwrap();
    assert_eq!(checked.as_ref(), plain());
}

#[test]
fn counts_and_offsets_must_agree() {
    let span = |bytes: &[u8]| matches!(refusal(bytes), BatchRefusal::OffsetSpan { .. });
    assert!(span(&sealed(plain(), 57, &3_i32.to_be_bytes())));
    assert!(span(&sealed(plain(), 57, &(-1_i32).to_be_bytes())));
    assert!(span(&sealed(plain(), 23, &i32::MAX.to_be_bytes())));
    let three = sealed(
        sealed(plain(), 57, &3_i32.to_be_bytes()),
        23,
        &2_i32.to_be_bytes(),
    );
    assert!(matches!(
        refusal(&three),
        BatchRefusal::Batch(BatchError::RecordCount { .. })
    ));
}

#[test]
fn markers_and_transactions_are_refused() {
    let control = BatchOptions {
        control: true,
        ..BatchOptions::default()
    };
    assert_eq!(
        refusal(&batch(control, &[(None, b"a")])),
        BatchRefusal::Control
    );
    let producer = BatchOptions {
        producer_id: 7,
        producer_epoch: 0,
        base_sequence: 0,
        ..BatchOptions::default()
    };
    assert!(
        check(
            &batch(producer, &[(None, b"a")]),
            9,
            &PartitionConfig::default(),
            0
        )
        .is_ok()
    );
    let transactional = BatchOptions {
        transactional: true,
        ..producer
    };
    let bytes = batch(transactional, &[(None, b"a")]);
    assert_eq!(
        refusal(&bytes),
        BatchRefusal::NoTransaction { producer_id: 7 }
    );
    for wrong in [
        BatchOptions {
            base_sequence: -1,
            ..producer
        },
        BatchOptions {
            producer_id: -1,
            ..transactional
        },
    ] {
        let refused = refusal(&batch(wrong, &[(None, b"a")]));
        assert!(
            matches!(refused, BatchRefusal::Producer { .. }),
            "{refused:?}"
        );
    }
}

#[test]
fn topics_may_ask_for_keys_and_times() {
    let compact = PartitionConfig {
        compact: true,
        ..PartitionConfig::default()
    };
    let bytes = batch(BatchOptions::default(), &[(Some(b"k"), b"a"), (None, b"b")]);
    assert_eq!(
        check(&bytes, 9, &compact, 0),
        Err(BatchRefusal::NoKey { record: 1 })
    );
    let strict = PartitionConfig {
        timestamp_before_max_ms: 100,
        timestamp_after_max_ms: 100,
        ..PartitionConfig::default()
    };
    assert!(check(&plain(), 9, &strict, 1100).is_ok());
    for now_ms in [1101, 899] {
        let refused = check(&plain(), 9, &strict, now_ms).expect_err("out of range");
        assert!(
            matches!(refused, BatchRefusal::Timestamp { record: 0, .. }),
            "{refused:?}"
        );
        assert_eq!(refused.record(), Some(0));
    }
}

#[test]
fn the_topics_codec_wins() {
    let config = PartitionConfig {
        compression: Some(Codec::Zstd),
        ..PartitionConfig::default()
    };
    for from in [Codec::None, Codec::Gzip, Codec::Zstd] {
        let bytes = batch(
            BatchOptions {
                codec: from,
                ..BatchOptions::default()
            },
            &[(Some(b"k"), &[b'x'; 500])],
        );
        let checked = check(&bytes, 9, &config, 0).unwrap();
        let view = BatchView::parse(&checked).unwrap();
        assert_eq!(view.codec(), Ok(Codec::Zstd));
        view.check_crc().unwrap();
        let body = view.decompress(1000).unwrap();
        assert_eq!(view.check_records(&body).unwrap().count, 1);
    }
}

#[test]
fn zstd_needs_its_version() {
    let options = BatchOptions {
        codec: Codec::Zstd,
        ..BatchOptions::default()
    };
    let bytes = batch(options, &[(None, b"a")]);
    let config = PartitionConfig::default();
    assert_eq!(
        check(&bytes, 6, &config, 0),
        Err(BatchRefusal::ZstdTooEarly)
    );
    assert!(check(&bytes, 7, &config, 0).is_ok());
}

#[test]
fn a_bomb_stops_early() {
    let options = BatchOptions {
        codec: Codec::Gzip,
        ..BatchOptions::default()
    };
    let zeros = vec![0; 64 << 20];
    let bytes = batch(options, &[(None, &zeros)]);
    let refused = refusal(&bytes);
    let too_large = BatchError::Compression(CompressionError::TooLarge {
        codec: Codec::Gzip,
        bound: DECOMPRESSED_BYTES_FLOOR,
    });
    assert_eq!(refused, BatchRefusal::Batch(too_large));
}
