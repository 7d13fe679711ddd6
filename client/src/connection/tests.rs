//! A peer of every kind, on a real socket: honest, slow, out of step, hostile.

use tokio::net::TcpListener;

use super::*;
use crate::wire::messages::api_versions::ApiVersion;
use crate::wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::messages::metadata::{MetadataRequest, MetadataResponse};

/// What the peer got, and what it may answer with.
struct Peer {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Peer {
    /// The next request: its correlation id.
    async fn request(&mut self) -> i32 {
        loop {
            if let Some(frame) = frame::cut(&mut self.buffer, 8, 1 << 20).expect("our own frame") {
                let mut reader = Reader::shared(&frame);
                let _key_and_version = (reader.i16(), reader.i16());
                return reader.i32();
            }
            let got = self.stream.read_buf(&mut self.buffer).await;
            assert!(got.expect("a socket") > 0, "the client went away");
        }
    }

    async fn answer<M: Message>(&mut self, version: i16, id: i32, message: &M) {
        let bytes = frame::encode_response(version, id, message).expect("encodes");
        self.raw(&bytes).await;
    }

    async fn raw(&mut self, bytes: &[u8]) {
        // The client may have gone, which is what some tests are about.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Answers the version exchange: all that the codec has.
    async fn greet(&mut self) {
        let api_keys = ApiKey::ALL.iter().map(|key| ApiVersion {
            api_key: key.code(),
            min_version: key.min_version(),
            max_version: key.max_version(),
        });
        let versions = ApiVersionsResponse {
            api_keys: api_keys.collect(),
            ..ApiVersionsResponse::default()
        };
        let id = self.request().await;
        self.answer(3, id, &versions).await;
    }
}

/// A listening peer that runs `script`, and what a client that connects to it gets.
async fn meet<F: Future<Output = ()> + Send + 'static>(
    script: impl FnOnce(Peer) -> F + Send + 'static,
) -> Result<Connection, ConnectionError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("the client");
        let buffer = BytesMut::new();
        script(Peer { stream, buffer }).await;
    });
    let config = ConnectionConfig {
        request_timeout: Duration::from_millis(300),
        frame_bytes_max: 10_000,
        in_flight_max: 3,
        ..ConnectionConfig::default()
    };
    Connection::connect(&address, config).await
}

fn beat(connection: &Connection) -> Result<Reply, ConnectionError> {
    connection.send(&HeartbeatRequest::default(), 4)
}

#[tokio::test]
async fn requests_are_pipelined_and_answers_find_their_own() {
    let connection = meet(|mut peer| async move {
        peer.greet().await;
        let ids = [peer.request().await, peer.request().await];
        for (id, code) in ids.into_iter().zip([7, 8]) {
            let answer = HeartbeatResponse {
                error_code: code,
                ..HeartbeatResponse::default()
            };
            peer.answer(4, id, &answer).await;
        }
        peer.request().await;
    })
    .await
    .expect("an honest peer");
    let (first, second) = (
        beat(&connection).expect("room"),
        beat(&connection).expect("room"),
    );
    let second: HeartbeatResponse = second.wait().await.expect("answered");
    let first: HeartbeatResponse = first.wait().await.expect("answered");
    assert_eq!((first.error_code, second.error_code), (7, 8));
    assert!(connection.is_open());
}

#[tokio::test]
async fn versions_fall_back_as_kip_511_says() {
    let connection = meet(|mut peer| async move {
        let refusal = ApiVersionsResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..ApiVersionsResponse::default()
        };
        let id = peer.request().await;
        peer.answer(0, id, &refusal).await;
        let old = ApiVersionsResponse {
            api_keys: vec![ApiVersion {
                api_key: ApiKey::Metadata.code(),
                min_version: 0,
                max_version: 5,
            }],
            ..ApiVersionsResponse::default()
        };
        let id = peer.request().await;
        peer.answer(0, id, &old).await;
        peer.request().await;
    })
    .await
    .expect("an old peer");
    assert_eq!(connection.version::<MetadataRequest>(i16::MAX), Ok(5));
    assert_eq!(connection.version::<MetadataRequest>(3), Ok(3));
    let none = connection.version::<HeartbeatRequest>(i16::MAX);
    assert!(matches!(none, Err(ConnectionError::Unsupported { .. })));
}

#[tokio::test]
async fn an_overdue_answer_ends_the_connection_for_all() {
    let connection = meet(|mut peer| async move {
        peer.greet().await;
        peer.request().await;
        std::future::pending::<()>().await;
    })
    .await
    .expect("a peer that falls silent");
    let (first, second) = (
        beat(&connection).expect("room"),
        beat(&connection).expect("room"),
    );
    for reply in [first, second] {
        let error = reply
            .wait::<HeartbeatResponse>()
            .await
            .expect_err("silence");
        assert!(matches!(error, ConnectionError::Deadline { .. }), "{error}");
    }
    assert!(!connection.is_open());
    assert!(beat(&connection).is_err());
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let connection = meet(|mut peer| async move {
        peer.greet().await;
        // Reads nothing more: the socket fills, then the queue.
        std::future::pending::<()>().await;
    })
    .await
    .expect("a peer that does not read");
    let large = MetadataRequest {
        topics: Some(vec![Default::default(); 1000]),
        ..MetadataRequest::default()
    };
    let mut replies = Vec::new();
    let error = loop {
        match connection.send(&large, 12) {
            Ok(reply) => replies.push(reply),
            Err(error) => break error,
        }
        assert!(replies.len() < 1_000_000, "nothing holds the sender back");
    };
    assert_eq!(error, ConnectionError::TooManyInFlight { limit: 3 });
}

#[tokio::test]
async fn bytes_that_are_no_answer_end_the_connection() {
    let id = |id: i32| id.to_be_bytes();
    let frame = |length: i32, body: &[u8]| [&length.to_be_bytes()[..], body].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("negative length", frame(-1, b"")),
        ("no room for a header", frame(3, b"abc")),
        ("longer than the limit", frame(i32::MAX, b"")),
        ("another correlation id", frame(4, &id(99))),
        ("cut body", frame(5, &[&id(1)[..], &[0]].concat())),
        // Flexible header, then throttle time, then an error code that is not there.
        (
            "missing field",
            frame(9, &[&id(1)[..], &[0, 0, 0, 0, 0]].concat()),
        ),
        (
            "bytes after the end",
            frame(14, &[&id(1)[..], &[0; 10]].concat()),
        ),
    ];
    for (name, bytes) in cases {
        let connection = meet(|mut peer| async move {
            peer.greet().await;
            peer.request().await;
            peer.raw(&bytes).await;
            std::future::pending::<()>().await;
        })
        .await
        .expect("an honest beginning");
        let reply = beat(&connection).expect("room");
        let error = reply.wait::<HeartbeatResponse>().await.expect_err(name);
        let deadline = matches!(error, ConnectionError::Deadline { .. });
        assert!(!deadline, "{name}: found out, not waited out");
        assert!(!connection.is_open(), "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_ends_the_connection() {
    let connection = meet(|mut peer| async move {
        peer.greet().await;
        peer.answer(4, 77, &HeartbeatResponse::default()).await;
        std::future::pending::<()>().await;
    })
    .await
    .expect("an honest beginning");
    connection.ended().await;
    assert!(!connection.is_open());
}

#[tokio::test]
async fn an_array_that_claims_more_than_its_bytes_is_refused() {
    let connection = meet(|mut peer| async move {
        peer.greet().await;
        let id = peer.request().await;
        let mut body = id.to_be_bytes().to_vec();
        // Throttle time, then 2^31 - 1 brokers in 4 bytes.
        body.extend([0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        let length = i32::try_from(body.len()).expect("short");
        peer.raw(&[&length.to_be_bytes()[..], &body].concat()).await;
        std::future::pending::<()>().await;
    })
    .await
    .expect("an honest beginning");
    let reply = connection
        .send(&MetadataRequest::default(), 5)
        .expect("room");
    let error = reply.wait::<MetadataResponse>().await.expect_err("a lie");
    assert!(matches!(error, ConnectionError::Decode { .. }), "{error}");
}

#[tokio::test]
async fn a_peer_that_does_not_speak_kafka_is_an_error() {
    for greeting in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"",
    ] {
        let met = meet(move |mut peer| async move {
            peer.request().await;
            peer.raw(greeting).await;
        })
        .await;
        assert!(met.is_err(), "{greeting:?}");
    }
    let config = ConnectionConfig::default();
    let refused = Connection::connect("127.0.0.1:1", config.clone()).await;
    assert!(matches!(refused, Err(ConnectionError::Connect { .. })));
    let nonsense = Connection::connect("not an address", config).await;
    assert!(matches!(nonsense, Err(ConnectionError::Connect { .. })));
}

#[tokio::test]
async fn the_last_handle_ends_the_connection() {
    let (gone, seen) = oneshot::channel();
    let connection = meet(|mut peer| async move {
        peer.greet().await;
        let end = peer.stream.read_buf(&mut peer.buffer).await;
        let _ = gone.send(end.unwrap_or(0));
    })
    .await
    .expect("an honest peer");
    let clone = connection.clone();
    drop(connection);
    assert!(clone.is_open());
    drop(clone);
    assert_eq!(seen.await, Ok(0));
}
