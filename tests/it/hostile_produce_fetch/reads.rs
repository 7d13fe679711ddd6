//! What is wrong with a fetch or a question about offsets.

use std::time::Duration;

use harness::raw::Answer;
use nyala_client::wire::ErrorCode;
use nyala_client::wire::frame::encode_request;
use nyala_client::wire::messages::fetch::{FetchRequest, PartitionData};
use nyala_client::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};

use super::target::{A_WHILE, FETCH, TOPIC, Target, fetch_request, good};

fn only(target: &Target, version: i16, request: &FetchRequest) -> PartitionData {
    target.fetch(version, request).responses[0].partitions[0].clone()
}

fn code(partition: &PartitionData) -> ErrorCode {
    ErrorCode::from_code(partition.error_code)
}

#[test]
fn nobody_may_fetch_as_a_follower_through_a_listener_for_clients() {
    let listeners = [
        "listeners=PLAINTEXT://127.0.0.1:0,INSIDE://127.0.0.1:0",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT",
        "inter.broker.listener.name=INSIDE",
    ];
    let mut target = Target::start_with(&listeners, &[]);
    for version in [4, 11, 12] {
        let mut request = fetch_request(0);
        request.replica_id = 17;
        let answer = only(&target, version, &request);
        assert_eq!(
            code(&answer),
            ErrorCode::TopicAuthorizationFailed,
            "version {version}"
        );
    }
    target.is_well();
}

#[test]
fn only_a_replica_may_fetch_as_a_follower() {
    let mut target = Target::start();
    let mut request = fetch_request(0);
    request.replica_id = 17;
    let answer = only(&target, 12, &request);
    assert_eq!(code(&answer), ErrorCode::NotLeaderOrFollower);
    target.is_well();
}

#[test]
fn strange_limits_are_taken_as_the_nearest_sane_ones() {
    let mut target = Target::start();
    for bytes in [0, -1, i32::MIN, i32::MAX] {
        let mut request = fetch_request(0);
        request.max_bytes = bytes;
        request.min_bytes = i32::MAX;
        request.topics[0].partitions[0].partition_max_bytes = bytes;
        let answer = only(&target, FETCH, &request);
        // The first batch comes whole, whatever the limits (KIP-74).
        assert!(!answer.records.unwrap_or_default().is_empty(), "{bytes}");
    }
    target.is_well();
}

#[test]
fn a_wait_without_end_ends_with_data_and_holds_nobody_up() {
    let mut target = Target::start();
    let mut raw = target.connect();
    let mut request = fetch_request(1);
    (request.max_wait_ms, request.min_bytes) = (i32::MAX, 1);
    let frame = encode_request(FETCH, 1, None, &request).expect("encodes");
    raw.send(&frame).expect("sends");
    assert_eq!(raw.answer(A_WHILE), Answer::Silence);
    assert_eq!(target.produce(&good(&["news"])).error_code, 0);
    assert!(matches!(
        raw.answer(Duration::from_secs(10)),
        Answer::Frame(_)
    ));
    // One that is left waiting must not keep its connection's memory for ever.
    let mut gone = target.connect();
    request.topics[0].partitions[0].fetch_offset = 2;
    gone.send(&encode_request(FETCH, 1, None, &request).expect("encodes"))
        .expect("sends");
    drop(gone);
    target.is_well();
}

#[test]
fn offsets_outside_of_the_log_are_out_of_range() {
    let mut target = Target::start();
    for offset in [-1, i64::MIN, 2, i64::MAX] {
        let answer = only(&target, FETCH, &fetch_request(offset));
        assert_eq!(code(&answer), ErrorCode::OffsetOutOfRange, "{offset}");
    }
    assert_eq!(
        code(&only(&target, FETCH, &fetch_request(1))),
        ErrorCode::None
    );
    target.is_well();
}

#[test]
fn forged_sessions_and_epochs_are_told() {
    let mut target = Target::start();
    let mut request = fetch_request(0);
    (request.session_id, request.session_epoch) = (12345, 1);
    let answer = target.fetch(FETCH, &request);
    assert_eq!(answer.error_code, ErrorCode::FetchSessionIdNotFound.code());
    (request.session_id, request.session_epoch) = (0, 0);
    let session = target.fetch(FETCH, &request).session_id;
    assert_ne!(session, 0);
    (request.session_id, request.session_epoch) = (session, 9);
    let answer = target.fetch(FETCH, &request);
    assert_eq!(
        answer.error_code,
        ErrorCode::InvalidFetchSessionEpoch.code()
    );
    request.session_epoch = 1;
    request.topics.clear();
    let answer = target.fetch(FETCH, &request);
    assert_eq!((answer.error_code, answer.session_id), (0, session));
    target.is_well();
}

#[test]
fn a_flood_of_sessions_is_served_without_them() {
    let overrides = ["max.incremental.fetch.session.cache.slots=3"];
    let mut target = Target::start_with(&overrides, &[]);
    let mut request = fetch_request(0);
    request.session_epoch = 0;
    let mut made = 0;
    for _ in 0..50 {
        let answer = target.fetch(FETCH, &request);
        assert_eq!(answer.error_code, 0);
        assert!(
            !answer.responses[0].partitions[0]
                .records
                .clone()
                .unwrap_or_default()
                .is_empty()
        );
        made += usize::from(answer.session_id != 0);
    }
    assert_eq!(made, 3);
    target.is_well();
}

#[test]
fn another_idea_of_the_leader_epoch_is_corrected() {
    let mut target = Target::start();
    let mut request = fetch_request(0);
    request.topics[0].partitions[0].current_leader_epoch = i32::MAX;
    assert_eq!(
        code(&only(&target, FETCH, &request)),
        ErrorCode::UnknownLeaderEpoch
    );
    request.topics[0].partitions[0].current_leader_epoch = -5;
    assert_eq!(code(&only(&target, FETCH, &request)), ErrorCode::None);
    target.is_well();
}

#[test]
fn a_partition_asked_for_twice_is_answered_twice() {
    let mut target = Target::start();
    let mut request = fetch_request(0);
    let partition = request.topics[0].partitions[0].clone();
    request.topics[0].partitions.push(partition);
    let answer = target.fetch(FETCH, &request);
    assert_eq!(answer.responses[0].partitions.len(), 2);
    target.is_well();
}

#[test]
fn garbage_for_a_time_is_refused_and_odd_times_find_nothing() {
    let mut target = Target::start();
    let ask = |version: i16, timestamp: i64| {
        let partition = ListOffsetsPartition {
            timestamp,
            ..ListOffsetsPartition::default()
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: TOPIC.into(),
                partitions: vec![partition],
            }],
            ..ListOffsetsRequest::default()
        };
        let answer = target
            .ask(&mut target.connect(), version, &request)
            .expect("an answer");
        let partition = &answer.topics[0].partitions[0];
        (ErrorCode::from_code(partition.error_code), partition.offset)
    };
    for (version, timestamp) in [(6, -3), (7, -4), (8, -5), (9, -6), (9, -100), (9, i64::MIN)] {
        assert_eq!(
            ask(version, timestamp).0,
            ErrorCode::UnsupportedVersion,
            "{timestamp}"
        );
    }
    assert_eq!(ask(9, i64::MAX), (ErrorCode::None, -1));
    assert_eq!(ask(9, 0), (ErrorCode::None, 0));
    assert_eq!(ask(9, -1), (ErrorCode::None, 1));
    assert_eq!(ask(9, -2), (ErrorCode::None, 0));
    assert_eq!(ask(9, -3), (ErrorCode::None, 0));
    target.is_well();
}
