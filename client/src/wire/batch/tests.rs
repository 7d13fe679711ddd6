//! Batches: what is built reads back; what is malformed is refused for what it is.

use super::*;
use crate::wire::compression::Codec;

fn sample(options: BatchOptions) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(options);
    builder.append(1000, Some(b"k"), Some(b"v"), &[]).unwrap();
    let headers: [(&str, Option<&[u8]>); 3] = [("a", Some(b"1")), ("a", None), ("b", Some(b""))];
    builder
        .append(990, None, Some(&[7; 500]), &headers)
        .unwrap();
    builder.append(2000, Some(b""), None, &[]).unwrap();
    builder.build().unwrap()
}

#[test]
fn a_built_batch_reads_back_with_every_codec() {
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        let bytes = sample(BatchOptions {
            codec,
            base_offset: 40,
            producer_id: 9,
            producer_epoch: 1,
            base_sequence: i32::MAX - 1,
            ..BatchOptions::default()
        });
        let batch = BatchView::parse(&bytes).unwrap();
        batch.check_crc().unwrap();
        assert_eq!(batch.codec(), Ok(codec));
        assert_eq!((batch.base_offset(), batch.last_offset()), (40, 42));
        assert_eq!(
            (batch.base_timestamp(), batch.max_timestamp()),
            (1000, 2000)
        );
        assert_eq!((batch.producer_id(), batch.producer_epoch()), (9, 1));
        assert_eq!(
            (batch.base_sequence(), batch.last_sequence()),
            (i32::MAX - 1, 0)
        );
        assert_eq!(batch.record_count(), 3);
        let body = batch.decompress(10_000).unwrap();
        let records: Vec<_> = batch.records(&body).map(Result::unwrap).collect();
        assert_eq!(records[0].key, Some(&b"k"[..]));
        assert_eq!(records[1].timestamp_ms, 990);
        assert_eq!(records[1].offset, 41);
        let headers: Vec<_> = records[1]
            .headers
            .clone()
            .map(|h| (h.name(), h.value))
            .collect();
        assert_eq!(headers[0], ("a".into(), Some(&b"1"[..])));
        assert_eq!(headers[1], ("a".into(), None));
        assert_eq!(headers[2], ("b".into(), Some(&b""[..])));
        assert_eq!((records[2].key, records[2].value), (Some(&b""[..]), None));
        let summary = batch.check_records(&body).unwrap();
        assert_eq!(
            (
                summary.count,
                summary.max_timestamp_ms,
                summary.max_timestamp_delta
            ),
            (3, 2000, 2)
        );
    }
}

#[test]
fn stamps_keep_the_checksum_right() {
    let mut bytes = sample(BatchOptions::default()).to_vec();
    stamp(&mut bytes, 77, 5);
    let batch = BatchView::parse(&bytes).unwrap();
    assert!(batch.crc_ok());
    assert_eq!((batch.base_offset(), batch.leader_epoch()), (77, 5));
    stamp_log_append_time(&mut bytes, 123_456);
    let batch = BatchView::parse(&bytes).unwrap();
    assert!(batch.crc_ok());
    assert_eq!(batch.timestamp_type(), TimestampType::LogAppendTime);
    let body = batch.decompress(0).unwrap();
    assert!(
        batch
            .records(&body)
            .all(|r| r.unwrap().timestamp_ms == 123_456)
    );
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = sample(BatchOptions::default());
    for at in LENGTH_AT..bytes.len() {
        if (LEADER_EPOCH_AT..MAGIC_AT).contains(&at) {
            continue;
        }
        let mut bad = bytes.to_vec();
        bad[at] ^= 0x10;
        let seen = BatchView::parse(&bad).and_then(|batch| batch.check_crc());
        assert!(seen.is_err(), "byte {at}");
    }
}

#[test]
fn a_cut_batch_is_truncated_wherever_it_is_cut() {
    let bytes = sample(BatchOptions::default());
    for length in 0..bytes.len() {
        let error = BatchView::parse(&bytes[..length]).unwrap_err();
        assert!(
            matches!(error, BatchError::Truncated { .. }),
            "{length}: {error}"
        );
    }
    let two = [bytes.clone(), bytes.clone(), bytes.slice(..30)].concat();
    let mut batches = Batches::new(&two);
    assert!(batches.next().unwrap().is_ok());
    assert!(batches.next().unwrap().is_ok());
    assert!(batches.next().unwrap().is_err());
    assert!(batches.next().is_none());
}

#[test]
fn old_formats_and_bad_lengths_are_refused() {
    let mut bytes = sample(BatchOptions::default()).to_vec();
    for magic in [0, 1, 3, 127] {
        bytes[MAGIC_AT] = magic;
        assert_eq!(
            BatchView::parse(&bytes).unwrap_err(),
            BatchError::Magic(magic.cast_signed())
        );
        assert_eq!(
            BatchView::parse(&bytes[..17]).unwrap_err(),
            BatchError::Magic(magic.cast_signed())
        );
    }
    bytes[MAGIC_AT] = 2;
    for length in [i32::MIN, -1, 0, 48] {
        bytes[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
        assert_eq!(
            BatchView::parse(&bytes).unwrap_err(),
            BatchError::Length(length)
        );
    }
    bytes[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&i32::MAX.to_be_bytes());
    assert!(matches!(
        BatchView::parse(&bytes),
        Err(BatchError::Truncated { .. })
    ));
}

#[test]
fn record_counts_must_match() {
    let bytes = sample(BatchOptions::default());
    for (announced, found) in [(-1, 1), (0, 1), (2, 3), (4, 3), (i32::MAX, 3)] {
        let mut bad = bytes.to_vec();
        bad[RECORD_COUNT_AT..RECORD_COUNT_AT + 4].copy_from_slice(&announced_bytes(announced));
        let batch = BatchView::parse(&bad).unwrap();
        let error = batch.check_records(batch.body()).unwrap_err();
        let BatchError::RecordCount {
            announced: told,
            found: counted,
        } = error
        else {
            panic!("{announced}: {error}");
        };
        assert_eq!(told, announced);
        assert!(counted == found || announced < 0, "{announced}: {error}");
    }
}

fn announced_bytes(count: i32) -> [u8; 4] {
    count.to_be_bytes()
}

/// A batch of one record whose bytes, after its length, are `record`.
fn batch_of(record: &[u8]) -> Vec<u8> {
    let mut bytes = sample(BatchOptions::default()).to_vec();
    bytes.truncate(HEAD_BYTES);
    bytes.push(u8::try_from(record.len() * 2).unwrap());
    bytes.extend_from_slice(record);
    let length = i32::try_from(bytes.len() - LOG_OVERHEAD_BYTES).unwrap();
    bytes[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    bytes[RECORD_COUNT_AT..RECORD_COUNT_AT + 4].copy_from_slice(&1_i32.to_be_bytes());
    bytes
}

#[test]
fn malformed_records_are_refused() {
    let good = [0, 0, 0, 1, 1, 0];
    let batch = batch_of(&good);
    let view = BatchView::parse(&batch).unwrap();
    assert_eq!(view.check_records(view.body()).unwrap().count, 1);
    let bad: [(&str, &[u8]); 7] = [
        ("key length -2", &[0, 0, 0, 3, 1, 0]),
        ("key past the end", &[0, 0, 0, 0x7e, 1, 0]),
        ("header count -1", &[0, 0, 0, 1, 1, 1]),
        (
            "header count 2^31 - 1",
            &[0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f],
        ),
        ("header name null", &[0, 0, 0, 1, 1, 2, 1, 1]),
        ("bytes after the record", &[0, 0, 0, 1, 1, 0, 9]),
        (
            "varint of six bytes",
            &[0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 1, 1, 0],
        ),
    ];
    for (what, record) in bad {
        let batch = batch_of(record);
        let view = BatchView::parse(&batch).unwrap();
        assert_eq!(
            view.check_records(view.body()),
            Err(BatchError::Record(0)),
            "{what}"
        );
    }
    let batch = batch_of(&[0, 0, 2, 1, 1, 0]);
    let view = BatchView::parse(&batch).unwrap();
    let error = BatchError::OffsetDelta { at: 0, delta: 1 };
    assert_eq!(view.check_records(view.body()), Err(error));
}

#[test]
fn control_records_name_their_kind() {
    let mut builder = BatchBuilder::new(BatchOptions {
        control: true,
        transactional: true,
        ..BatchOptions::default()
    });
    builder
        .append(5, Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 3]), &[])
        .unwrap();
    builder.append(5, Some(&[0, 0, 0, 0]), None, &[]).unwrap();
    let bytes = builder.build().unwrap();
    let batch = BatchView::parse(&bytes).unwrap();
    assert!(batch.is_control() && batch.is_transactional());
    let kinds: Vec<_> = batch
        .records(batch.body())
        .map(|r| r.unwrap().control_type())
        .collect();
    assert_eq!(kinds, [Some(ControlType::Commit), Some(ControlType::Abort)]);
}
