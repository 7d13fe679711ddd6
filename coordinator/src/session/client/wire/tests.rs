//! The wire, and who reads it, against a scripted server: what no real one would send, what depends on the order
//! of bytes, and homes that do not read.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::timeout;

use super::super::reading::Reading;
use super::*;
use crate::protocol::jute::Writer;
use crate::session::ops::TreeEventKind;

const LIMIT: Duration = Duration::from_secs(20);
const DONE: i32 = 0;

/// Both ends of a connection.
async fn connection() -> (Arc<Wire>, Reading, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    let client = client.and_then(TcpStream::into_std);
    let wire = Arc::new(Wire::new(client.expect("it listens")));
    let reading = Reading::start(Arc::clone(&wire));
    (wire, reading, server.expect("a client").0)
}

fn exists(path: &str) -> Request<'_> {
    Request::Exists { path, watch: true }
}

fn watch(path: &str) -> (Asked, oneshot::Receiver<Option<TreeEventKind>>) {
    let (wakes, fired) = oneshot::channel();
    let asked = Asked::Node {
        path: path.to_owned(),
        wakes,
        if_missing: true,
    };
    (asked, fired)
}

fn frame(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = i32::try_from(body.len()).expect("small");
    [&length.to_be_bytes()[..], &body].concat()
}

fn head(xid: i32, error: i32) -> Vec<u8> {
    let zxid = 7_i64.to_be_bytes();
    [&xid.to_be_bytes()[..], &zxid, &error.to_be_bytes()].concat()
}

fn answer_of(xid: i32, error: i32, body: &[u8]) -> Vec<u8> {
    frame(&[&head(xid, error), body])
}

fn created(path: &str) -> Vec<u8> {
    let length = i32::try_from(path.len()).expect("small");
    let (kind, state) = (1_i32.to_be_bytes(), 3_i32.to_be_bytes());
    let path = path.as_bytes();
    frame(&[&head(-1, DONE), &kind, &state, &length.to_be_bytes(), path])
}

/// The next request, without its length.
async fn whole_request(server: &mut TcpStream) -> Vec<u8> {
    let length = server.read_i32().await.expect("a request");
    let mut bytes = vec![0; usize::try_from(length).expect("positive")];
    server.read_exact(&mut bytes).await.expect("all of it");
    bytes
}

/// The xid of the next request.
async fn request(server: &mut TcpStream) -> i32 {
    let bytes = whole_request(server).await;
    i32::from_be_bytes(*bytes.first_chunk().expect("a head"))
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("in time")
}

#[tokio::test]
async fn answers_go_to_who_asked() {
    let (wire, _reading, mut server) = connection().await;
    let first = wire.ask(&exists("/a"), None).expect("alive");
    let second = wire.ask(&exists("/b"), None).expect("alive");
    assert_eq!(request(&mut server).await, 1);
    assert_eq!(request(&mut server).await, 2);
    // In pieces that are no frames.
    let bytes = [answer_of(1, DONE, b"one"), answer_of(2, -101, b"two")].concat();
    for piece in bytes.chunks(5) {
        server.write_all(piece).await.expect("alive");
        tokio::task::yield_now().await;
    }
    let (first, second) = within(async { (first.await, second.await) }).await;
    let (first, second) = (first.expect("answered"), second.expect("answered"));
    assert_eq!((first.error, &first.body[..]), (DONE, &b"one"[..]));
    assert_eq!((second.error, &second.body[..]), (-101, &b"two"[..]));
}

#[tokio::test]
async fn after_the_last_xid_comes_the_first() {
    let (wire, _reading, mut server) = connection().await;
    wire.sending.lock().last_xid = i32::MAX - 1;
    for xid in [i32::MAX, 1, 2] {
        let reply = wire.ask(&exists("/a"), None).expect("alive");
        assert_eq!(request(&mut server).await, xid);
        let bytes = answer_of(xid, DONE, b"");
        server.write_all(&bytes).await.expect("alive");
        within(reply).await.expect("answered");
    }
}

#[tokio::test]
async fn a_watch_counts_from_the_answer_on() {
    let (wire, _reading, mut server) = connection().await;
    let (asked, mut fired) = watch("/a");
    let reply = wire.ask(&exists("/a"), Some(asked)).expect("alive");
    let bytes = [created("/a"), answer_of(1, -101, b"")].concat();
    server.write_all(&bytes).await.expect("alive");
    within(reply).await.expect("answered");
    assert_eq!(fired.try_recv(), Err(TryRecvError::Empty));
    server.write_all(&created("/a")).await.expect("alive");
    assert_eq!(within(fired).await, Ok(Some(TreeEventKind::Created)));
}

#[tokio::test]
async fn two_watches_in_one_request_count_from_the_request_on() {
    let (wire, _reading, mut server) = connection().await;
    let ((gone, mut is_gone), (made, is_made)) = (watch("/a"), watch("/b"));
    let request_ = Request::WatchFor {
        gone: "/a",
        made: "/b",
    };
    wire.watch_for(&request_, [gone, made]).expect("alive");
    let sent = whole_request(&mut server).await;
    let mut expected = Writer::new();
    expected.int(xids::SET_WATCHES).int(101).long(i64::MAX);
    expected
        .count(1)
        .string("/a")
        .count(1)
        .string("/b")
        .count(0);
    assert_eq!(sent, expected.into_bytes());
    let bytes = [created("/b"), answer_of(xids::SET_WATCHES, DONE, b"")].concat();
    server.write_all(&bytes).await.expect("alive");
    assert_eq!(within(is_made).await, Ok(Some(TreeEventKind::Created)));
    assert_eq!(is_gone.try_recv(), Err(TryRecvError::Empty));
    // Nobody hears an answer that refuses: its watches would wait for ever.
    let (again, fired) = (watch("/c"), watch("/d"));
    let watches = [again.0, fired.0];
    wire.watch_for(&request_, watches).expect("alive");
    let refused = answer_of(xids::SET_WATCHES, -127, b"");
    server.write_all(&refused).await.expect("alive");
    assert!(within(again.1).await.is_err());
    assert_eq!(wire.ended().await, Ended::Lost("watches refused"));
}

#[tokio::test]
async fn what_nobody_wants_is_taken_back() {
    let (wire, _reading, mut server) = connection().await;
    let (asked, fired) = watch("/a");
    let reply = wire.ask(&exists("/a"), Some(asked)).expect("alive");
    assert_eq!(request(&mut server).await, 1);
    let bytes = answer_of(1, DONE, b"");
    server.write_all(&bytes).await.expect("alive");
    within(reply).await.expect("answered");
    drop(fired);
    wire.sweep();
    wire.sweep();
    const NODE: i32 = 2;
    let sent = whole_request(&mut server).await;
    let mut expected = Writer::new();
    expected.int(2).int(18).string("/a").int(NODE);
    assert_eq!(sent, expected.into_bytes());
    // Answered by a server that has no such watch any more.
    let bytes = answer_of(2, -121, b"");
    server.write_all(&bytes).await.expect("alive");
    wire.sweep();
    let next = wire.ask(&exists("/b"), None).expect("alive");
    assert_eq!(request(&mut server).await, 3);
    let bytes = answer_of(3, DONE, b"");
    server.write_all(&bytes).await.expect("alive");
    within(next).await.expect("answered");
}

const REQUESTS: i32 = 40;

/// Asks for more than a socket takes.
fn ask_much(wire: &Wire) -> Vec<oneshot::Receiver<Reply>> {
    let data = vec![7; 900_000];
    let request = Request::SetData {
        path: "/a",
        data: &data,
        version: None,
    };
    let ask = |_| wire.ask(&request, None).expect("alive");
    let replies = (0..REQUESTS).map(ask).collect();
    assert!(!wire.sending.lock().unsent.is_empty(), "too few bytes");
    replies
}

/// Answers the requests of [`ask_much`].
async fn answer_all(server: &mut TcpStream, replies: Vec<oneshot::Receiver<Reply>>) {
    for xid in 1..=REQUESTS {
        assert_eq!(within(request(server)).await, xid);
        let bytes = answer_of(xid, DONE, b"");
        server.write_all(&bytes).await.expect("alive");
    }
    for reply in replies {
        within(reply).await.expect("answered");
    }
}

#[tokio::test]
async fn what_the_socket_does_not_take_is_written_in_turn() {
    let (wire, _reading, mut server) = connection().await;
    let replies = ask_much(&wire);
    answer_all(&mut server, replies).await;
    assert!(wire.sending.lock().unsent.is_empty());
}

/// A runtime of one worker.
fn home() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(1).enable_all();
    builder.build().expect("a runtime")
}

#[tokio::test]
async fn a_home_that_goes_is_replaced() {
    let home = home();
    let (wire, mut reading, mut server) = connection().await;
    reading.go_home(home.handle());
    let replies = ask_much(&wire);
    home.shutdown_background();
    within(reading.left()).await;
    reading.take_over();
    answer_all(&mut server, replies).await;
    // Nor is there another one to leave.
    let left = timeout(Duration::from_millis(1), reading.left()).await;
    assert!(left.is_err());
}

#[tokio::test]
async fn a_home_that_does_not_read_is_replaced() {
    let home = home();
    let (wire, mut reading, mut server) = connection().await;
    reading.go_home(home.handle());
    let (begin, begun) = oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let busy = home.spawn(async move {
        let _ = begin.send(());
        released.recv()
    });
    within(begun)
        .await
        .expect("its only worker has nothing else");
    let replies = ask_much(&wire);
    // A server that says nothing is no fault of the home.
    let several_looks = Duration::from_millis(300);
    let neglected = timeout(several_looks, reading.neglected()).await;
    assert!(neglected.is_err());
    server.write_all(&created("/a")).await.expect("alive");
    within(reading.neglected()).await;
    reading.take_over();
    answer_all(&mut server, replies).await;
    drop(release);
    within(busy).await.expect("it ended").expect_err("dropped");
    home.shutdown_background();
}

/// Asks one request that sets a watch, and is told `bytes`: how it ends, and what the request is answered with.
async fn told(bytes: &[u8], closes: bool) -> (Ended, Option<i32>) {
    let (wire, _reading, mut server) = connection().await;
    let (asked, fired) = watch("/set");
    let reply = wire.ask(&exists("/set"), Some(asked)).expect("alive");
    assert_eq!(request(&mut server).await, 1);
    server.write_all(bytes).await.expect("alive");
    // Who keeps it open lets nothing but the bytes end it.
    let kept = (!closes).then_some(server);
    let ended = within(wire.ended()).await;
    let answered = within(reply).await.map(|reply| reply.error);
    assert!(within(fired).await.is_err());
    let late = wire.ask(&exists("/late"), None);
    assert_eq!(late.err(), Some(ZkError::Unknown));
    drop(kept);
    (ended, answered.ok())
}

#[tokio::test]
async fn what_is_no_answer_ends_it_for_everybody() {
    let long = i32::try_from(ANSWER_BYTES_MAX + 1).expect("it fits");
    let cases: [(&str, Vec<u8>); 8] = [
        ("a negative length", (-1_i32).to_be_bytes().to_vec()),
        ("too long", long.to_be_bytes().to_vec()),
        ("a head cut short", frame(&[&head(1, DONE)[..15]])),
        ("an answer to another", answer_of(2, DONE, b"")),
        ("an answer to no auth", answer_of(xids::AUTH, DONE, b"")),
        ("a pong without a ping", answer_of(xids::PING, DONE, b"")),
        ("an event cut short", answer_of(-1, DONE, &[0, 0, 0, 1])),
        (
            "an event of a path that is not there",
            answer_of(-1, DONE, &[0, 0, 0, 1, 0, 0, 0, 3, 0x7f, 0, 0, 0]),
        ),
    ];
    let why = Ended::Lost("the server sent what is no answer");
    for (name, bytes) in cases {
        assert_eq!(told(&bytes, false).await, (why, None), "{name}");
    }
}

#[tokio::test]
async fn the_servers_word_ends_it_for_everybody() {
    let closed = Ended::Lost("closed by the server");
    assert_eq!(told(&[], true).await, (closed, None));
    assert_eq!(told(&[0, 0], true).await, (closed, None));
    let expired = answer_of(1, -112, b"");
    let answered = (Ended::Expired, Some(-112));
    assert_eq!(told(&expired, false).await, answered);
    for refused in [-115, -124] {
        let bytes = answer_of(1, refused, b"");
        let ended = Ended::Lost("identity refused");
        assert_eq!(told(&bytes, false).await, (ended, Some(refused)));
    }
}

#[tokio::test]
async fn a_server_that_takes_nothing_is_left() {
    let (wire, _reading, server) = connection().await;
    let data = vec![7; 1_000_000];
    let request = Request::SetData {
        path: "/a",
        data: &data,
        version: None,
    };
    let most = 2 * UNSENT_BYTES_MAX / data.len();
    let refused = (0..most).find_map(|_| wire.ask(&request, None).err());
    assert_eq!(refused, Some(ZkError::Unknown));
    let ended = wire.ended().await;
    assert_eq!(ended, Ended::Lost("the server takes no more"));
    drop(server);
}

#[tokio::test]
async fn given_up_it_ends_for_both_sides() {
    let (wire, reading, mut server) = connection().await;
    let (asked, fired) = watch("/a");
    let reply = wire.ask(&exists("/a"), Some(asked)).expect("alive");
    assert_eq!(request(&mut server).await, 1);
    let bytes = answer_of(1, DONE, b"");
    server.write_all(&bytes).await.expect("alive");
    within(reply).await.expect("answered");
    let waits = wire.ask(&exists("/b"), None).expect("alive");
    assert_eq!(request(&mut server).await, 2);
    drop(reading);
    assert_eq!(wire.ended().await, Ended::Lost("given up"));
    assert!(within(waits).await.is_err());
    assert!(within(fired).await.is_err());
    assert_eq!(within(server.read(&mut [0])).await.expect("no reset"), 0);
}

#[tokio::test]
async fn a_request_that_no_server_takes_is_not_sent() {
    let (wire, _reading, mut server) = connection().await;
    let path = format!("/{}", "a".repeat(REQUEST_BYTES_MAX));
    let refused = wire.ask(&exists(&path), None);
    assert!(matches!(refused, Err(ZkError::TooLarge { .. })));
    let _reply = wire.ask(&exists("/a"), None).expect("alive");
    assert_eq!(request(&mut server).await, 1);
}

#[tokio::test]
async fn what_a_home_does_not_write_is_written_by_others() {
    let home = home();
    let (wire, mut reading, mut server) = connection().await;
    reading.go_home(home.handle());
    let (begin, begun) = oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let busy = home.spawn(async move {
        let _ = begin.send(());
        released.recv()
    });
    within(begun)
        .await
        .expect("its only worker has nothing else");
    let replies = ask_much(&wire);
    // The server makes room, and has nothing to say before it has a whole request.
    assert_eq!(within(request(&mut server)).await, 1);
    within(reading.neglected()).await;
    reading.take_over();
    for xid in 2..=REQUESTS {
        assert_eq!(within(request(&mut server)).await, xid);
    }
    drop((replies, release));
    within(busy).await.expect("it ended").expect_err("dropped");
    home.shutdown_background();
}

#[tokio::test]
async fn a_server_that_never_stops_talking_stops_nobody_else() {
    let (wire, reading, server) = connection().await;
    let talk = std::thread::spawn(move || {
        let mut server = server.into_std().expect("a socket");
        server.set_nonblocking(false).expect("a socket");
        let words = created("/nobody").repeat(1000);
        while std::io::Write::write_all(&mut server, &words).is_ok() {}
    });
    // On the runtime that reads.
    for _ in 0..100 {
        within(tokio::time::sleep(Duration::from_millis(1))).await;
    }
    drop(reading);
    assert_eq!(within(wire.ended()).await, Ended::Lost("given up"));
    drop(wire);
    let talked = tokio::task::spawn_blocking(move || talk.join());
    within(talked).await.expect("no panic").expect("no panic");
}
