//! What is wrong before a request is even read: lengths, keys, versions, pace.

use std::time::Duration;

use harness::raw::{Answer, Raw};
use harness::wait::SOON;
use nyala_client::wire::frame::encode_request;

use super::target::{A_WHILE, PRODUCE, Target, good, produce_request, read};
use nyala_client::wire::messages::produce::ProduceResponse;

fn closes_on(bytes: &[u8]) {
    let mut target = Target::start();
    let mut raw = target.connect();
    raw.send(bytes).expect("sends");
    assert!(raw.closes_within(SOON));
    target.is_well();
}

#[test]
fn a_negative_length_closes() {
    closes_on(&[0xff; 4]);
}

#[test]
fn a_huge_length_closes_before_its_body_comes() {
    let mut target = Target::start();
    let before = target.resident_bytes();
    for length in [i32::MAX, 100 * 1024 * 1024 + 1] {
        let mut raw = target.connect();
        raw.send(&length.to_be_bytes()).expect("sends");
        assert!(raw.closes_within(SOON));
    }
    assert!(target.resident_bytes() < before + (16 << 20));
    target.is_well();
}

#[test]
fn a_length_of_zero_closes() {
    closes_on(&[0; 4]);
}

#[test]
fn a_body_that_stops_holds_only_what_came_and_is_closed() {
    let mut target = Target::start_with(&["connections.max.partial.request.ms=500"], &[]);
    let before = target.resident_bytes();
    let mut lorises: Vec<Raw> = (0..50).map(|_| target.connect()).collect();
    for raw in &mut lorises {
        raw.send(&(90_i32 << 20).to_be_bytes()).expect("sends");
        raw.send(&[0; 100]).expect("sends");
    }
    target.is_well();
    assert!(target.resident_bytes() < before + (64 << 20));
    // The time allowed grows with the length of the request; a small one is closed soon.
    let mut small = target.connect();
    small.send(&[0, 0, 1, 0, 0]).expect("sends");
    assert!(small.closes_within(SOON));
    target.is_well();
}

#[test]
fn another_protocol_closes() {
    let mut target = Target::start();
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &hello] {
        let mut raw = target.connect();
        raw.send(bytes).expect("sends");
        assert!(raw.closes_within(SOON));
    }
    target.is_well();
}

#[test]
fn an_unknown_key_closes() {
    closes_on(&[0, 0, 0, 10, 0x27, 0x0f, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
}

#[test]
fn a_known_key_in_an_unknown_version_closes() {
    // ListOffsets 0 and 99, Fetch 3, Produce 12: none is served.
    let mut target = Target::start();
    for (key, version) in [(2, 0), (2, 99), (1, 3), (0, 12)] {
        let mut raw = target.connect();
        raw.request((key, version), 1, true, &[0; 20])
            .expect("sends");
        assert!(raw.closes_within(SOON), "key {key} version {version}");
    }
    target.is_well();
}

#[test]
fn an_unknown_version_of_api_versions_is_told_the_range() {
    let mut target = Target::start();
    let mut raw = target.connect();
    raw.request((18, 77), 5, true, &[1, 1, 0]).expect("sends");
    let Answer::Frame(frame) = raw.answer(SOON) else {
        panic!("no answer");
    };
    // Correlation 5, error 35, one row: key 18, versions 0 to 4.
    assert_eq!(frame, [0, 0, 0, 5, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    raw.request((18, 0), 6, false, &[])
        .expect("the connection is still open");
    assert!(matches!(raw.answer(SOON), Answer::Frame(f) if f.starts_with(&[0, 0, 0, 6, 0, 0])));
    target.is_well();
}

#[test]
fn bytes_after_the_body_are_ignored_as_in_kafka() {
    let mut target = Target::start();
    let frame = encode_request(PRODUCE, 1, None, &produce_request(1, Some(&good(&["a"]))));
    let mut frame = frame.expect("encodes").to_vec();
    frame.push(0);
    let length = i32::try_from(frame.len() - 4).expect("small");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    let mut raw = target.connect();
    raw.send(&frame).expect("sends");
    let answer: ProduceResponse = read(&mut raw, PRODUCE, 1).expect("an answer");
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    target.is_well();
}

#[test]
fn requests_behind_one_another_are_answered_in_order_and_ids_are_echoed() {
    let mut target = Target::start();
    let mut raw = target.connect();
    let ids = [7, 7, -1, i32::MIN, 0];
    let mut all = Vec::new();
    for id in ids {
        let request = produce_request(-1, Some(&good(&["a"])));
        all.extend(encode_request(PRODUCE, id, None, &request).expect("encodes"));
    }
    raw.send(&all).expect("sends");
    for (id, offset) in ids.into_iter().zip(1..) {
        let answer: ProduceResponse = read(&mut raw, PRODUCE, id).expect("an answer");
        assert_eq!(
            answer.responses[0].partition_responses[0].base_offset,
            offset
        );
    }
    target.is_well();
}

#[test]
fn ten_thousand_requests_without_reading_answers_are_held_up() {
    let mut target = Target::start_with(&["connections.max.idle.ms=2000"], &[]);
    let before = target.resident_bytes();
    let address = target.address();
    // Metadata of no topics: small questions with answers that nobody takes.
    let flood = std::thread::spawn(move || {
        let mut raw = Raw::connect(&address);
        let mut sent = 0;
        while sent < 1_000_000 && raw.request((18, 0), sent, false, &[]).is_ok() {
            sent += 1;
        }
        (raw, sent)
    });
    while !flood.is_finished() {
        target.is_well_anew();
        std::thread::sleep(A_WHILE);
    }
    let (mut raw, sent) = flood.join().expect("the flood ends");
    assert!(sent < 1_000_000, "nobody held the flood up");
    assert!(raw.closes_within(SOON));
    assert!(target.resident_bytes() < before + (32 << 20));
    target.is_well_anew();
}

#[test]
fn half_closed_and_reset_connections_spin_nowhere() {
    let mut target = Target::start();
    for _ in 0..20 {
        let mut raw = target.connect();
        raw.request((18, 0), 1, false, &[]).expect("sends");
        // Dropped with the answer unread: the peer sees a reset.
        drop(raw);
    }
    let ticks = |target: &mut Target| target.cpu_ticks();
    target.is_well();
    let before = ticks(&mut target);
    assert_eq!(target.connect().answer(A_WHILE * 3), Answer::Silence);
    let spent = Duration::from_millis(10) * (ticks(&mut target) - before);
    assert!(spent < A_WHILE, "{spent:?} of CPU for nothing");
}
