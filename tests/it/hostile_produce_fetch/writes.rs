//! What is wrong with a produce request around its records.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::batch::BatchOptions;
use nyala_client::wire::frame::encode_request;

use harness::wait::SOON;

use super::target::{PRODUCE, TOPIC, Target, batch, good, produce_request};

fn by(sequence: i32, epoch: i16, values: &[&str]) -> Vec<u8> {
    let options = BatchOptions {
        producer_id: 4711,
        producer_epoch: epoch,
        base_sequence: sequence,
        ..BatchOptions::default()
    };
    batch(options, values)
}

#[test]
fn impossible_acks_are_refused() {
    let mut target = Target::start();
    for acks in [2, -2, i16::MAX] {
        let request = produce_request(acks, Some(&good(&["a"])));
        let answer = target
            .ask(&mut target.connect(), PRODUCE, &request)
            .expect("an answer");
        let code = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(code, ErrorCode::InvalidRequiredAcks.code());
    }
    assert_eq!(target.next_offset(), 1);
    target.is_well();
}

#[test]
fn acks_of_zero_close_on_any_error() {
    let mut target = Target::start();
    let mut raw = target.connect();
    let mut bytes = good(&["a"]);
    bytes[60] ^= 1;
    let frame = encode_request(PRODUCE, 1, None, &produce_request(0, Some(&bytes)));
    raw.send(&frame.expect("encodes")).expect("sends");
    assert!(raw.closes_within(SOON));
    target.is_well();
}

#[test]
fn acks_of_zero_are_answered_by_silence_when_all_is_well() {
    let mut target = Target::start();
    let mut raw = target.connect();
    let frame = encode_request(PRODUCE, 1, None, &produce_request(0, Some(&good(&["a"]))));
    raw.send(&frame.expect("encodes")).expect("sends");
    // The answer that comes is that of the request behind it.
    let answer = target.ask(&mut raw, PRODUCE, &produce_request(1, Some(&good(&["b"]))));
    let answer = answer.expect("an answer");
    assert_eq!(answer.responses[0].partition_responses[0].base_offset, 2);
    target.is_well();
}

#[test]
fn strange_timeouts_are_taken_as_the_nearest_sane_ones() {
    let mut target = Target::start();
    for timeout_ms in [-1, i32::MIN, i32::MAX] {
        let mut request = produce_request(-1, Some(&good(&["a"])));
        request.timeout_ms = timeout_ms;
        let answer = target
            .ask(&mut target.connect(), PRODUCE, &request)
            .expect("an answer");
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    target.is_well();
}

#[test]
fn null_records_are_refused() {
    let mut target = Target::start();
    let request = produce_request(1, None);
    let answer = target
        .ask(&mut target.connect(), PRODUCE, &request)
        .expect("an answer");
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::InvalidRecord.code());
    target.is_well();
}

#[test]
fn one_partition_twice_is_appended_twice_in_order() {
    let mut target = Target::start();
    let mut request = produce_request(1, Some(&good(&["a"])));
    let partition = request.topic_data[0].partition_data[0].clone();
    request.topic_data[0].partition_data.push(partition);
    let answer = target
        .ask(&mut target.connect(), PRODUCE, &request)
        .expect("an answer");
    let partitions = &answer.responses[0].partition_responses;
    let offsets: Vec<i64> = partitions.iter().map(|p| p.base_offset).collect();
    assert_eq!(offsets, [1, 2]);
    target.is_well();
}

#[test]
fn impossible_topics_and_partitions_have_their_errors() {
    let mut target = Target::start();
    let long = "x".repeat(250);
    for (name, index, expected) in [
        ("", 0, ErrorCode::InvalidTopicException),
        (".", 0, ErrorCode::InvalidTopicException),
        ("../etc", 0, ErrorCode::InvalidTopicException),
        ("a\0b", 0, ErrorCode::InvalidTopicException),
        (&long, 0, ErrorCode::InvalidTopicException),
        ("unknown", 0, ErrorCode::UnknownTopicOrPartition),
        (TOPIC, 1, ErrorCode::UnknownTopicOrPartition),
        (TOPIC, -1, ErrorCode::UnknownTopicOrPartition),
        (TOPIC, i32::MAX, ErrorCode::UnknownTopicOrPartition),
    ] {
        let mut request = produce_request(1, Some(&good(&["a"])));
        request.topic_data[0].name = name.into();
        request.topic_data[0].partition_data[0].index = index;
        let answer = target
            .ask(&mut target.connect(), PRODUCE, &request)
            .expect("an answer");
        let code = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(ErrorCode::from_code(code), expected, "{name:?}-{index}");
    }
    target.is_well();
}

#[test]
fn old_versions_are_advertised_and_refused_politely() {
    let mut target = Target::start();
    let mut body = vec![0, 1, 0, 0, 0, 100, 0, 0, 0, 1, 0, 6];
    body.extend(b"target");
    body.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 9, 9]);
    let mut expected = vec![0, 0, 0, 3, 0, 0, 0, 1, 0, 6];
    expected.extend(b"target");
    expected.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 35]);
    expected.extend([0xff; 8]);
    let mut raw = target.connect();
    raw.request((0, 0), 3, false, &body).expect("sends");
    assert_eq!(raw.answer(SOON), harness::raw::Answer::Frame(expected));
    target.is_well();
}

#[test]
fn batches_above_the_limits_are_refused() {
    let large = "x".repeat(3000);
    let mut target = Target::start_with(&[], &[("max.message.bytes", "2000")]);
    target.refuses(&good(&[&large]), ErrorCode::MessageTooLarge);
    target.is_well();
    let larger = "x".repeat(1 << 20);
    let limits = [
        ("max.message.bytes", "10000000"),
        ("segment.bytes", "1048576"),
    ];
    let mut target = Target::start_with(&[], &limits);
    target.refuses(&good(&[&larger, &large]), ErrorCode::RecordListTooLarge);
    target.is_well();
}

#[test]
fn sequences_have_no_gap_and_duplicates_are_known() {
    let mut target = Target::start();
    let code = |bytes: &[u8]| {
        let answer = target.produce(bytes);
        (ErrorCode::from_code(answer.error_code), answer.base_offset)
    };
    for sequence in 0..7 {
        let offset = i64::from(sequence) + 1;
        assert_eq!(code(&by(sequence, 0, &["a"])), (ErrorCode::None, offset));
    }
    assert_eq!(
        code(&by(8, 0, &["gap"])),
        (ErrorCode::OutOfOrderSequenceNumber, -1)
    );
    // One of the last five is answered with the offset that it has; an older one is refused.
    assert_eq!(code(&by(3, 0, &["a"])), (ErrorCode::None, 4));
    let (old, _) = code(&by(0, 0, &["a"]));
    let known = [
        ErrorCode::OutOfOrderSequenceNumber,
        ErrorCode::DuplicateSequenceNumber,
    ];
    assert!(known.contains(&old), "{old:?}");
    assert_eq!(code(&by(0, 1, &["new epoch"])), (ErrorCode::None, 8));
    assert_eq!(
        code(&by(7, 0, &["fenced"])),
        (ErrorCode::InvalidProducerEpoch, -1)
    );
    target.is_well();
}

#[test]
fn sequences_wrap_at_their_end() {
    let mut target = Target::start();
    let wrote = |bytes: &[u8]| ErrorCode::from_code(target.produce(bytes).error_code);
    assert_eq!(wrote(&by(i32::MAX - 1, 0, &["a", "b"])), ErrorCode::None);
    assert_eq!(wrote(&by(0, 0, &["c"])), ErrorCode::None);
    assert_eq!(
        wrote(&by(5, 0, &["gap"])),
        ErrorCode::OutOfOrderSequenceNumber
    );
    target.is_well();
}

#[test]
fn the_brokers_own_topics_take_no_records_of_clients() {
    let mut target = Target::start();
    let mut request = produce_request(1, Some(&good(&["a"])));
    request.topic_data[0].name = "__consumer_offsets".into();
    let answer = target
        .ask(&mut target.connect(), PRODUCE, &request)
        .expect("an answer");
    let code = ErrorCode::from_code(answer.responses[0].partition_responses[0].error_code);
    let refused = [
        ErrorCode::InvalidTopicException,
        ErrorCode::UnknownTopicOrPartition,
    ];
    assert!(refused.contains(&code), "{code:?}");
    target.is_well();
}
