//! Whole connections over real sockets; the broker behind them has no partitions.

use nyala_client::wire::frame::{decode_response, encode_request};
use nyala_client::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use nyala_client::wire::{ApiKey, ErrorCode};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

use super::*;
use crate::api::testing::Alone;

const WAIT: Duration = Duration::from_secs(60);

struct Pair {
    client: TcpStream,
    ended: JoinHandle<Ended>,
    stop: CancellationToken,
    _alone: Alone,
}

async fn pair(limits: Limits) -> Pair {
    let memory = RequestMemory::new(limits.queued_bytes_max);
    pair_on(limits, memory).await
}

async fn pair_on(limits: Limits, memory: Arc<RequestMemory>) -> Pair {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, address) = listener.accept().await.unwrap();
    let alone = Alone::start("").await;
    let services = Arc::clone(&alone.services);
    let connection = Connection {
        peer: Peer::new(services, address.ip(), "PLAINTEXT".into()),
        memory,
        limits: Arc::new(limits),
    };
    let stop = CancellationToken::new();
    let ended = tokio::spawn(connection.run(stream, stop.clone()));
    Pair {
        client,
        ended,
        stop,
        _alone: alone,
    }
}

impl Pair {
    async fn ended(self) -> Ended {
        tokio::time::timeout(WAIT, self.ended)
            .await
            .expect("ends")
            .unwrap()
    }

    async fn closes(mut self) -> Ended {
        let mut rest = Vec::new();
        self.client.read_to_end(&mut rest).await.ok();
        assert!(rest.is_empty(), "no answer was due: {rest:?}");
        self.ended().await
    }
}

fn question(correlation: i32) -> Vec<u8> {
    let partition = ListOffsetsPartition {
        timestamp: -1,
        ..ListOffsetsPartition::default()
    };
    let topic = ListOffsetsTopic {
        name: "absent".into(),
        partitions: vec![partition],
    };
    let request = ListOffsetsRequest {
        topics: vec![topic],
        ..ListOffsetsRequest::default()
    };
    encode_request(7, correlation, Some("test"), &request)
        .unwrap()
        .to_vec()
}

async fn answer(client: &mut TcpStream) -> i32 {
    let read = async {
        let bytes = client.read_i32().await.expect("an answer");
        let mut frame = vec![0; usize::try_from(bytes).unwrap()];
        client.read_exact(&mut frame).await.expect("a whole answer");
        frame
    };
    let frame = tokio::time::timeout(WAIT, read).await.expect("in time");
    let (correlation, answer): (i32, ListOffsetsResponse) =
        decode_response(&frame.into(), 7).unwrap();
    let code = answer.topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition.code());
    correlation
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_with_their_ids() {
    let mut pair = pair(Limits::default()).await;
    let ids = [3, 1, 1, i32::MIN, 3];
    let all: Vec<u8> = ids.iter().flat_map(|&id| question(id)).collect();
    pair.client.write_all(&all).await.unwrap();
    for id in ids {
        assert_eq!(answer(&mut pair.client).await, id);
    }
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let mut pair = pair(Limits::default()).await;
    pair.client.set_nodelay(true).unwrap();
    for byte in question(5) {
        pair.client.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(answer(&mut pair.client).await, 5);
}

#[tokio::test]
async fn a_peer_that_only_sends_no_more_gets_its_answers() {
    let mut pair = pair(Limits::default()).await;
    pair.client
        .write_all(&[question(1), question(2)].concat())
        .await
        .unwrap();
    pair.client.shutdown().await.unwrap();
    assert_eq!(answer(&mut pair.client).await, 1);
    assert_eq!(answer(&mut pair.client).await, 2);
    assert!(matches!(pair.closes().await, Ended::ByPeer));
}

#[tokio::test]
async fn impossible_lengths_close_before_the_body_comes() {
    let limits = Limits {
        request_bytes_max: 1000,
        ..Limits::default()
    };
    for prefix in [
        [0xff; 4],
        [0x7f, 0xff, 0xff, 0xff],
        [0; 4],
        *b"GET ",
        [22, 3, 1, 0],
        [0, 0, 3, 0xe9],
    ] {
        let mut pair = pair(limits.clone()).await;
        pair.client.write_all(&prefix).await.unwrap();
        let ended = pair.closes().await;
        assert!(
            matches!(ended, Ended::Refused(CloseReason::FrameSize { .. })),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn answers_before_a_bad_frame_still_come() {
    let mut pair = pair(Limits::default()).await;
    pair.client
        .write_all(&[question(9), vec![0xff; 4]].concat())
        .await
        .unwrap();
    assert_eq!(answer(&mut pair.client).await, 9);
    let ended = pair.closes().await;
    assert!(
        matches!(ended, Ended::Refused(CloseReason::FrameSize { .. })),
        "{ended:?}"
    );
}

#[tokio::test]
async fn unknown_keys_versions_and_broken_bodies_close() {
    let frame = |key: i16, version: i16, rest: &[u8]| {
        let mut frame = Vec::new();
        frame.extend(key.to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(7_i32.to_be_bytes());
        frame.extend(rest);
        let bytes = i32::try_from(frame.len()).unwrap();
        [&bytes.to_be_bytes()[..], &frame].concat()
    };
    let anonymous = [0xff, 0xff];
    let too_many = [&anonymous[..], &[0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff]].concat();
    let list_offsets = ApiKey::ListOffsets.code();
    for (frame, expected) in [
        (frame(9999, 0, &anonymous), "unknown api key"),
        (frame(list_offsets, 99, &[0xff, 0xff, 0]), "outside"),
        (frame(list_offsets, 0, &anonymous), "outside"),
        (frame(list_offsets, 1, &too_many), "malformed"),
        (frame(list_offsets, 1, &[0x80, 0]), "malformed"),
        (vec![0, 0, 0, 3, 0, 2, 0], "malformed"),
    ] {
        let mut pair = pair(Limits::default()).await;
        pair.client.write_all(&frame).await.unwrap();
        match pair.closes().await {
            Ended::Refused(reason) => {
                assert!(
                    reason.to_string().contains(expected),
                    "{expected}: {reason}"
                );
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_half_read_request_and_an_idle_peer_are_closed() {
    let limits = Limits {
        idle: Duration::from_millis(200),
        receive: Duration::from_millis(50),
        ..Limits::default()
    };
    let mut half = pair(limits.clone()).await;
    half.client.write_all(&question(1)[..9]).await.unwrap();
    assert!(matches!(half.closes().await, Ended::HalfRead(_)));
    let idle = pair(limits).await;
    assert!(matches!(idle.closes().await, Ended::Idle(_)));
}

#[tokio::test]
async fn a_peer_that_takes_no_answers_is_held_up_and_then_closed() {
    let limits = Limits {
        idle: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut pair = pair(limits).await;
    let many = question(1).repeat(1000);
    // More answers than all buffers between us hold: at some point nothing moves any more.
    while pair.client.write_all(&many).await.is_ok() {}
    assert!(matches!(pair.ended().await, Ended::Idle(_)));
}

#[tokio::test]
async fn a_stopping_broker_sends_what_it_owes() {
    let mut pair = pair(Limits::default()).await;
    pair.client.write_all(&question(4)).await.unwrap();
    assert_eq!(answer(&mut pair.client).await, 4);
    pair.stop.cancel();
    assert!(matches!(pair.closes().await, Ended::Shutdown));
}

#[tokio::test]
async fn large_frames_wait_for_their_share_of_memory() {
    let limits = Limits {
        queued_bytes_max: 1,
        request_bytes_max: 1 << 20,
        receive: Duration::from_millis(200),
        ..Limits::default()
    };
    let mut pair = pair(limits).await;
    // The first grant always fits, so a frame larger than the budget is read all the same.
    let mut frame = (200_000_i32).to_be_bytes().to_vec();
    frame.resize(200_004, 0);
    frame[4..6].copy_from_slice(&9999_i16.to_be_bytes());
    pair.client.write_all(&frame).await.unwrap();
    let ended = pair.closes().await;
    assert!(
        matches!(ended, Ended::Refused(CloseReason::UnknownKey { .. })),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_large_request_that_stands_still_gives_way_to_others_and_only_then() {
    let limits = Limits {
        request_bytes_max: 1 << 20,
        receive: Duration::from_secs(3),
        ..Limits::default()
    };
    let memory = RequestMemory::new(1);
    let mut stalled = pair_on(limits.clone(), Arc::clone(&memory)).await;
    let promise = (1_i32 << 20).to_be_bytes();
    stalled.client.write_all(&promise).await.unwrap();
    // Longer than it may stand still, had anybody waited.
    tokio::time::sleep(limits.receive / 4).await;
    assert!(!stalled.ended.is_finished());
    let mut frame = 200_000_i32.to_be_bytes().to_vec();
    frame.resize(200_004, 0);
    frame[4..6].copy_from_slice(&9999_i16.to_be_bytes());
    let mut other = pair_on(limits, memory).await;
    other.client.write_all(&frame).await.unwrap();
    let ended = other.closes().await;
    let whole = matches!(ended, Ended::Refused(CloseReason::UnknownKey { .. }));
    assert!(whole, "the other was read: {ended:?}");
    let ended = stalled.closes().await;
    assert!(matches!(ended, Ended::Stalled(_)), "{ended:?}");
}

#[tokio::test]
async fn a_large_request_that_comes_slowly_does_not_stand_still() {
    let limits = Limits {
        request_bytes_max: 1 << 20,
        receive: Duration::from_secs(16),
        ..Limits::default()
    };
    let memory = RequestMemory::new(1);
    let mut slow = pair_on(limits.clone(), Arc::clone(&memory)).await;
    let mut frame = 500_000_i32.to_be_bytes().to_vec();
    frame.resize(500_004, 0);
    frame[4..6].copy_from_slice(&9999_i16.to_be_bytes());
    let (mut sent, end) = (4, clock::now() + limits.receive * 3 / 8);
    slow.client.write_all(&frame[..sent]).await.unwrap();
    let mut other = pair_on(limits, memory).await;
    other.client.write_all(&frame).await.unwrap();
    // Over a look at who stands still; far below what wakes for a frame of this size.
    while clock::now() < end {
        slow.client
            .write_all(&frame[sent..sent + 100])
            .await
            .unwrap();
        sent += 100;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    slow.client.write_all(&frame[sent..]).await.unwrap();
    for pair in [slow, other] {
        let ended = pair.closes().await;
        let whole = matches!(ended, Ended::Refused(CloseReason::UnknownKey { .. }));
        assert!(whole, "{ended:?}");
    }
}
