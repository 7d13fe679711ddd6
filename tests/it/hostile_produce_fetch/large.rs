//! Large batches, which are received straight into the log: halves, lies, rivals, and peers that go.

use harness::raw::Raw;
use nyala_client::wire::ErrorCode;
use nyala_client::wire::batch::{BatchBuilder, BatchOptions, BatchView};
use nyala_client::wire::frame::encode_request;
use nyala_client::wire::messages::produce::ProduceResponse;

use super::target::{FETCH, PRODUCE, Target, fetch_request, forged, good, produce_request, read};

/// About 500 KiB in 50 records.
fn large() -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for i in 0..50_u8 {
        let value = vec![b'a' + i % 26; 10_000];
        builder
            .append(1_700_000_000_000, None, Some(&value), &[])
            .expect("fits");
    }
    builder.build().expect("builds").to_vec()
}

fn frame(version: i16, id: i32, records: &[u8]) -> Vec<u8> {
    let request = produce_request(-1, Some(records));
    encode_request(version, id, Some("large"), &request)
        .expect("encodes")
        .to_vec()
}

fn outcome(raw: &mut Raw, version: i16, id: i32) -> (ErrorCode, i64) {
    let answer: ProduceResponse = read(raw, version, id).expect("an answer");
    let partition = &answer.responses[0].partition_responses[0];
    (
        ErrorCode::from_code(partition.error_code),
        partition.base_offset,
    )
}

/// The batch at `offset` is whole and carries the records of [`large`].
fn is_stored(target: &Target, offset: i64) {
    let answer = target.fetch(FETCH, &fetch_request(offset));
    let records = answer.responses[0].partitions[0].records.clone();
    let records = records.expect("records");
    let stored = BatchView::parse(&records).expect("a batch");
    stored.check_crc().expect("the checksum holds");
    assert_eq!(stored.base_offset(), offset);
    assert_eq!(
        stored.body(),
        BatchView::parse(&large()).expect("a batch").body()
    );
}

#[test]
fn large_batches_arrive_whole_in_every_version_and_in_any_pieces() {
    let mut target = Target::start();
    let mut raw = target.connect();
    let mut next = 1;
    for (version, piece) in [(3, 1 << 20), (7, 10_007), (9, 100_000), (11, 300_000)] {
        // Two in a row, with a small request between and behind them.
        let small = frame(version, 2, &good(&["small"]));
        let all = [
            frame(version, 1, &large()),
            small.clone(),
            frame(version, 3, &large()),
            frame(version, 4, &good(&["small"])),
        ]
        .concat();
        for bytes in all.chunks(piece) {
            raw.send(bytes).expect("sends");
        }
        for (id, records) in [(1, 50), (2, 1), (3, 50), (4, 1)] {
            assert_eq!(outcome(&mut raw, version, id), (ErrorCode::None, next));
            if records == 50 {
                is_stored(&target, next);
            }
            next += records;
        }
    }
    target.is_well();
}

#[test]
fn large_lies_leave_no_trace_and_the_connection_goes_on() {
    let mut target = Target::start();
    let mut raw = target.connect();
    let mut torn = large();
    let last = torn.len() - 1;
    torn[last] ^= 1;
    let short = forged(
        forged(large(), 57, &51_i32.to_be_bytes()),
        23,
        &50_i32.to_be_bytes(),
    );
    for (id, (records, error)) in (0..).zip([
        (torn, ErrorCode::CorruptMessage),
        (short, ErrorCode::InvalidRecord),
    ]) {
        raw.send(&frame(PRODUCE, id, &records)).expect("sends");
        assert_eq!(outcome(&mut raw, PRODUCE, id), (error, -1));
        assert_eq!(target.next_offset(), 1 + i64::from(id));
        raw.send(&frame(PRODUCE, 9, &good(&["small"])))
            .expect("sends");
        assert_eq!(outcome(&mut raw, PRODUCE, 9).0, ErrorCode::None);
    }
    let late = forged(large(), 35, &i64::MAX.to_be_bytes());
    raw.send(&frame(PRODUCE, 8, &late)).expect("sends");
    assert_eq!(outcome(&mut raw, PRODUCE, 8), (ErrorCode::None, 3));
    is_stored(&target, 3);
    target.is_well();
}

#[test]
fn nobody_waits_for_a_slow_peer() {
    let mut target = Target::start();
    let bytes = frame(PRODUCE, 1, &large());
    let (first, rest) = bytes.split_at(200_000);
    let mut slow = target.connect();
    slow.send(first).expect("sends");
    let mut slower = target.connect();
    slower.send(first).expect("sends");
    let mut gone = target.connect();
    gone.send(first).expect("sends");
    // Small and large batches of others pass those that are half there.
    assert_eq!(target.produce(&good(&["quick"])).base_offset, 1);
    let mut quick = target.connect();
    quick.send(&bytes).expect("sends");
    assert_eq!(outcome(&mut quick, PRODUCE, 1), (ErrorCode::None, 2));
    drop(gone);
    slow.send(rest).expect("sends");
    assert_eq!(outcome(&mut slow, PRODUCE, 1), (ErrorCode::None, 52));
    slower.send(rest).expect("sends");
    assert_eq!(outcome(&mut slower, PRODUCE, 1), (ErrorCode::None, 102));
    for offset in [2, 52, 102] {
        is_stored(&target, offset);
    }
    assert_eq!(target.next_offset(), 152);
    target.is_well();
}
