//! What nobody should send to a ZooKeeper, and the right answer of the embedded one to each.
//!
//! Every case: the server lives, its memory is bounded, and other connections go on undisturbed.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use harness::folder::in_memory;
use harness::wait;
use harness::zookeeper::EmbeddedZooKeeper;
use harness::zookeeper_wire::{
    Body, Client, Fields, Hello, code, event, four_letters, op, open, receive_frame, send_frame,
};
use nyala_coordinator::embedded::{Server, ServerConfig, StartError};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

/// A server, and a bystander who must not notice anything.
struct Scene {
    zookeeper: EmbeddedZooKeeper,
    bystander: Client,
    _folder: TempDir,
}

fn scene() -> Scene {
    scene_with(|_| {})
}

fn scene_with(change: impl FnOnce(&mut ServerConfig)) -> Scene {
    let folder = in_memory();
    let mut config = EmbeddedZooKeeper::config(folder.path());
    change(&mut config);
    let zookeeper = EmbeddedZooKeeper::start_with(config);
    let hello = Hello {
        timeout_ms: i32::MAX,
        ..Hello::default()
    };
    let mut bystander = Client::hello(&zookeeper.address, &hello).expect("a session");
    bystander.create("/b", b"", 1).expect("free");
    Scene {
        zookeeper,
        bystander,
        _folder: folder,
    }
}

impl Scene {
    fn address(&self) -> &str {
        &self.zookeeper.address
    }

    fn client(&self) -> Client {
        Client::connect(self.address())
    }

    fn socket(&self) -> TcpStream {
        TcpStream::connect(self.address()).expect("it listens")
    }

    /// One value of `mntr`.
    fn gauge(&self, key: &str) -> i64 {
        let text = four_letters(self.address(), "mntr").expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let value = line.and_then(|rest| rest.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {key}: {text}"))
    }

    /// The bystander's session and connection are as they were.
    fn all_is_well(&mut self) {
        self.bystander.set("/b", b"", -1).expect("its own node");
        let owner = self
            .bystander
            .exists("/b", false)
            .expect("still there")
            .owner;
        assert_eq!(owner, self.bystander.session);
    }
}

fn is_closed(mut stream: TcpStream) -> bool {
    receive_frame(&mut stream).is_none()
}

#[test]
fn z01_lengths_out_of_bounds_close() {
    let mut scene = scene();
    for length in [-1, i32::MIN, 0x10_0000, i32::MAX, 0x1603_0100, 0x4745_5420] {
        let mut stream = scene.socket();
        stream.write_all(&length.to_be_bytes()).expect("open");
        assert!(is_closed(stream), "first packet of {length}");
        let mut zk = scene.client();
        zk.stream().write_all(&length.to_be_bytes()).expect("open");
        assert!(zk.is_closed(), "later packet of {length}");
    }
    let mut zk = scene.client();
    zk.stream().write_all(&[0; 4]).expect("open");
    assert!(zk.is_closed(), "a packet without a header");
    scene.all_is_well();
}

#[test]
fn z02_words_that_are_not_allowed_are_refused_by_name() {
    let mut scene = scene();
    for word in [
        "stat", "cons", "dump", "envi", "conf", "wchs", "wchc", "wchp", "crst", "srst", "dirs",
        "isro", "gtmk", "stmk", "hash",
    ] {
        let answer = four_letters(scene.address(), word).expect("text, then the end");
        let refused = format!("{word} is not executed because it is not in the whitelist.\n");
        assert_eq!(answer, refused);
    }
    assert_eq!(
        four_letters(scene.address(), "abcd").ok().as_deref(),
        Some("")
    );
    scene.all_is_well();
}

#[test]
fn z03_a_first_packet_that_is_no_connect_request_closes() {
    let mut scene = scene_with(|config| config.connect_timeout = Duration::from_millis(300));
    let whole = Hello::default().body().0;
    let huge = Body::new().int(0).long(0).int(6000).long(0).int(10 << 20);
    let bodies = [
        Vec::new(),
        Body::new().int(-2).int(op::PING).0,
        Body::new().int(1).int(op::GET_DATA).text("/").bool(false).0,
        whole[..whole.len() - 2].to_vec(),
        huge.0,
    ];
    for body in bodies {
        let mut stream = scene.socket();
        send_frame(&mut stream, &body).expect("open");
        assert!(is_closed(stream), "{body:?}");
    }
    // Half a packet, and then silence.
    for half in [&whole[..0], &[0, 0][..], &[0, 0, 0, 44, 0, 0][..]] {
        let mut stream = scene.socket();
        stream.write_all(half).expect("open");
        assert!(is_closed(stream), "{half:?}");
    }
    scene.all_is_well();
}

#[test]
fn z04_a_client_that_saw_the_future_gets_no_session() {
    let mut scene = scene();
    let sessions = scene.zookeeper.server().sessions().len();
    for zxid in [scene.zookeeper.server().last_zxid() + 1, i64::MAX] {
        let mut stream = scene.socket();
        let hello = Hello {
            zxid,
            ..Hello::default()
        };
        send_frame(&mut stream, &hello.body().0).expect("open");
        assert!(is_closed(stream));
    }
    assert_eq!(scene.zookeeper.server().sessions().len(), sessions);
    scene.all_is_well();
}

#[test]
fn z05_timeouts_are_clamped_to_2_and_20_ticks() {
    let scene = scene();
    for (timeout_ms, granted) in [
        (0, 1000),
        (-1, 1000),
        (i32::MIN, 1000),
        (999, 1000),
        (1001, 1001),
        (i32::MAX, 10_000),
    ] {
        let hello = Hello {
            timeout_ms,
            ..Hello::default()
        };
        let zk = Client::hello(scene.address(), &hello).expect("a session");
        assert_eq!(zk.timeout_ms, granted);
    }
}

#[test]
fn z06_a_false_claim_is_answered_with_session_zero_and_closed() {
    let mut scene = scene();
    let claim = scene.bystander.again();
    let wrong = Hello {
        password: vec![7; 16],
        ..claim.clone()
    };
    let unknown = Hello {
        session: claim.session + 1,
        ..claim
    };
    for hello in [wrong, unknown] {
        let mut stream = scene.socket();
        send_frame(&mut stream, &hello.body().0).expect("open");
        let mut fields = Fields::new(receive_frame(&mut stream).expect("an answer"));
        assert_eq!((fields.int(), fields.int(), fields.long()), (0, 0, 0));
        assert_eq!(fields.data(), Some(vec![0; 16]));
        assert!(is_closed(stream));
    }
    scene.all_is_well();
}

#[test]
fn z07_the_older_of_two_connections_on_a_session_is_closed() {
    let mut scene = scene();
    let mut older = scene.client();
    let mut newer = Client::hello(scene.address(), &older.again()).expect("its own session");
    assert!(older.is_closed());
    newer.create("/e", b"", 1).expect("free");
    assert_eq!(
        newer.exists("/e", false).map(|s| s.owner),
        Ok(newer.session)
    );
    scene.all_is_well();
}

#[test]
fn z08_passwords_cannot_be_guessed_from_others() {
    let mut scene = scene();
    let clients: Vec<Client> = (0..32).map(|_| scene.client()).collect();
    for place in 0..16 {
        let mut bytes: Vec<u8> = clients.iter().map(|zk| zk.password[place]).collect();
        bytes.sort_unstable();
        bytes.dedup();
        assert!(bytes.len() > 16, "byte {place} is hardly random: {bytes:?}");
    }
    let stolen = Hello {
        password: clients[1].password.clone(),
        ..clients[0].again()
    };
    assert!(Client::hello(scene.address(), &stolen).is_none());
    scene.all_is_well();
}

#[test]
fn z09_unknown_operations_are_unimplemented_and_close() {
    let mut scene = scene();
    for op in [
        0,
        10,
        20,
        23,
        99,
        999,
        op::SASL,
        -1,
        -10,
        i32::MIN,
        i32::MAX,
    ] {
        let mut zk = scene.client();
        let refused = zk.call(op, &Body::new().text("/"));
        assert_eq!(refused.err(), Some(code::UNIMPLEMENTED), "{op}");
        assert!(zk.is_closed(), "{op}");
    }
    scene.all_is_well();
}

/// Calls every operation that takes a path with `path` and returns the answers.
fn with_path(zk: &mut Client, path: &[u8]) -> Vec<(&'static str, Option<i32>)> {
    let path = || Body::new().data(Some(path));
    let calls = [
        ("create", op::CREATE, path().data(None).acl(&open()).int(0)),
        (
            "create2",
            op::CREATE2,
            path().data(None).acl(&open()).int(0),
        ),
        ("delete", op::DELETE, path().int(-1)),
        ("exists", op::EXISTS, path().bool(true)),
        ("getData", op::GET_DATA, path().bool(true)),
        ("setData", op::SET_DATA, path().data(None).int(-1)),
        ("getACL", op::GET_ACL, path()),
        ("setACL", op::SET_ACL, path().acl(&open()).int(-1)),
        ("getChildren", op::GET_CHILDREN, path().bool(true)),
        ("getChildren2", op::GET_CHILDREN2, path().bool(true)),
        ("check", op::CHECK, path().int(-1)),
        ("count", op::GET_ALL_CHILDREN_NUMBER, path()),
        ("addWatch", op::ADD_WATCH, path().int(1)),
    ];
    let mut answers = Vec::new();
    for (name, op, body) in calls {
        answers.push((name, zk.call(op, &body).err()));
    }
    answers
}

#[test]
fn z10_illegal_paths_are_bad_arguments_everywhere() {
    let mut scene = scene();
    let mut zk = scene.client();
    let mut paths: Vec<Vec<u8>> = [
        "",
        "a",
        "a/b",
        "/a/",
        "//",
        "//a",
        "/a//b",
        "/.",
        "/..",
        "/./a",
        "/a/../b",
        "/a/.",
        "/a\0b",
        "/\u{1}",
        "/\u{1f}",
        "/\u{7f}",
        "/\u{9f}",
        "/\u{e000}",
        "/\u{f8ff}",
        "/\u{fff0}",
        "/\u{ffff}",
        "/\u{10000}",
    ]
    .map(|path| path.as_bytes().to_vec())
    .into();
    // A surrogate, an overlong slash, a lone continuation: not UTF-8 at all.
    paths.extend([&b"/\xed\xa0\x80"[..], b"/\xc0\xaf", b"/\x80"].map(<[u8]>::to_vec));
    for path in paths {
        for (name, error) in with_path(&mut zk, &path) {
            let text = String::from_utf8_lossy(&path);
            assert_eq!(error, Some(code::BAD_ARGUMENTS), "{name} {text:?}");
        }
    }
    assert_eq!(scene.gauge("zk_watch_count"), 0);
    scene.all_is_well();
}

#[test]
fn z11_long_and_deep_paths_cost_no_more_than_their_bytes() {
    let mut scene = scene();
    let mut zk = scene.client();
    let long = format!("/{}", "x".repeat(1_000_000));
    assert_eq!(zk.exists(&long, false), Err(code::NO_NODE));
    assert_eq!(zk.create(&long, b"", 0), Ok(long.clone()));
    assert_eq!(zk.delete(&long, -1), Ok(()));
    let deep = "/a".repeat(100_000);
    for (name, error) in with_path(&mut zk, deep.as_bytes()) {
        assert_eq!(error, Some(code::BAD_ARGUMENTS), "{name}");
    }
    let mut path = String::new();
    zk.add_watch("/", 1).expect("a path");
    for _ in 0..300 {
        path.push_str("/d");
        zk.create(&path, b"", 0).expect("free");
    }
    assert_eq!(zk.events().len(), 300);
    let mut count = zk
        .call(op::GET_ALL_CHILDREN_NUMBER, &Body::new().text("/d"))
        .expect("an answer");
    assert_eq!(count.int(), 299);
    scene.all_is_well();
}

#[test]
fn z12_null_is_handled_and_other_odd_lengths_close() {
    let mut scene = scene();
    let mut zk = scene.client();
    let null = zk.call(op::EXISTS, &Body::new().data(None).bool(false));
    assert_eq!(null.err(), Some(code::BAD_ARGUMENTS));
    let null = Body::new().text("/null").data(None).acl(&open()).int(0);
    assert!(zk.call(op::CREATE, &null).is_ok());
    assert_eq!(zk.get("/null", false).map(|(data, _)| data), Ok(None));
    for length in [-2, i32::MIN, 6, i32::MAX] {
        let path = Body::new().int(length);
        let data = Body::new().text("/x").int(length);
        for (op, body) in [(op::EXISTS, path), (op::SET_DATA, data)] {
            let mut zk = scene.client();
            zk.send(op, &Body([&body.0[..], b"/abcd"].concat()));
            assert!(zk.is_closed(), "operation {op} with length {length}");
        }
    }
    scene.all_is_well();
}

#[test]
fn z13_counts_are_bounded_by_the_bytes_that_are_there() {
    let mut scene = scene();
    for count in [i32::MAX, 1_000_000, 2, -2, i32::MIN] {
        let acls = Body::new().text("/x").data(None).int(count);
        let watches = Body::new().long(0).int(count).text("/");
        let more = Body::new().long(0).int(0).int(0).int(0).int(count);
        for (op, body) in [
            (op::CREATE, acls.clone()),
            (op::SET_ACL, Body::new().text("/").int(count)),
            (op::SET_WATCHES, watches),
            (op::SET_WATCHES2, more),
            (op::MULTI, Body::new().op(op::CREATE, acls)),
        ] {
            let mut zk = scene.client();
            zk.send(op, &body);
            assert!(zk.is_closed(), "operation {op} with count {count}");
        }
    }
    // A multi without an end.
    let mut zk = scene.client();
    let body = Body::new().op(op::DELETE, Body::path_and("/x", -1));
    zk.send(op::MULTI, &body);
    assert!(zk.is_closed());
    scene.all_is_well();
}

#[test]
fn z14_a_multi_of_thousands_that_fails_at_its_end_leaves_nothing() {
    let mut scene = scene();
    let mut zk = scene.client();
    let before = zk.exists("/", false).expect("the root");
    let mut multi = Body::new();
    let count = 17_000;
    for i in 0..count {
        multi = multi.op(op::CREATE, Body::create(&format!("/m{i}"), b"", i % 2));
    }
    multi = multi.op(op::CHECK, Body::path_and("/nowhere", -1)).end();
    let started = nyala_coordinator::clock::now();
    let mut fields = zk.call(op::MULTI, &multi).expect("an answer");
    let errors = fields.errors();
    assert_eq!(errors.len(), usize::try_from(count).expect("small") + 1);
    assert_eq!(errors.last(), Some(&code::NO_NODE));
    assert!(errors[..errors.len() - 1].iter().all(|error| *error == 0));
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(zk.exists("/", false), Ok(before));
    let nested = Body::new()
        .op(op::MULTI, Body::new().op(op::MULTI, Body::new()))
        .end();
    let refused = zk.call(op::MULTI, &nested);
    assert_eq!(refused.err(), Some(code::MARSHALLING_ERROR));
    scene.all_is_well();
}

#[test]
fn z15_odd_creates_are_refused() {
    let mut scene = scene();
    let mut zk = scene.client();
    for flags in [7, 99, -1, i32::MIN, i32::MAX] {
        assert_eq!(zk.create("/x", b"", flags), Err(code::BAD_ARGUMENTS));
        for op in [op::CREATE2, op::CREATE_CONTAINER] {
            let refused = zk.call(op, &Body::create("/x", b"", flags));
            assert_eq!(refused.err(), Some(code::BAD_ARGUMENTS), "{flags}");
        }
    }
    zk.create("/e", b"", 1).expect("free");
    let refused = zk.create("/e/x", b"", 0);
    assert_eq!(refused, Err(code::NO_CHILDREN_FOR_EPHEMERALS));
    for (flags, ttl) in [
        (1, 1000),
        (3, 1000),
        (0, 1000),
        (5, 0),
        (5, -1),
        (6, i64::MAX),
    ] {
        let body = Body::create("/x", b"", flags).long(ttl);
        let refused = zk.call(op::CREATE_TTL, &body);
        assert_eq!(refused.err(), Some(code::BAD_ARGUMENTS), "{flags} {ttl}");
    }
    for flags in [1, 3, 5] {
        let refused = zk.call(op::CREATE_CONTAINER, &Body::create("/x", b"", flags));
        assert_eq!(refused.err(), Some(code::BAD_ARGUMENTS), "{flags}");
    }
    assert_eq!(zk.exists("/x", false), Err(code::NO_NODE));
    scene.all_is_well();
}

#[test]
fn z16_bad_acls_are_invalid() {
    let mut scene = scene();
    let mut zk = scene.client();
    let acl = |scheme: &str, id: &str| vec![(31, scheme.to_owned(), id.to_owned())];
    for bad in [
        vec![],
        acl("nosuch", "x"),
        acl("", ""),
        acl("world", "everyone"),
        acl("auth", ""),
        acl("digest", "x"),
        acl("ip", "localhost"),
        acl("super", "x"),
        acl("sasl", "x"),
    ] {
        let body = Body::new().text("/x").data(None).acl(&bad).int(0);
        let refused = zk.call(op::CREATE, &body);
        assert_eq!(refused.err(), Some(code::INVALID_ACL), "{bad:?}");
        assert_eq!(
            zk.set_acl("/b", &bad, -1),
            Err(code::INVALID_ACL),
            "{bad:?}"
        );
    }
    scene.all_is_well();
}

#[test]
fn z17_data_beyond_the_limit_closes() {
    let mut scene = scene();
    let mut zk = scene.client();
    zk.create("/x", b"", 0).expect("free");
    let fits = vec![1; 0xf_ffff - 8 - (4 + 2) - 4 - 4];
    assert!(zk.set("/x", &fits, -1).is_ok());
    let one_more = vec![1; fits.len() + 1];
    let body = Body::new().text("/x").data(Some(&one_more)).int(-1);
    zk.send(op::SET_DATA, &body);
    assert!(zk.is_closed());
    let data = scene.client().get("/x", false).expect("still there").0;
    assert!(data == Some(fits));
    scene.all_is_well();
}

#[test]
fn z18_zookeepers_own_nodes_cannot_be_deleted() {
    let mut scene = scene();
    let mut zk = scene.client();
    for path in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
        assert_eq!(zk.delete(path, -1), Err(code::BAD_ARGUMENTS), "{path}");
        let multi = Body::new().op(op::DELETE, Body::path_and(path, -1)).end();
        let mut fields = zk.call(op::MULTI, &multi).expect("an answer");
        assert_eq!(fields.errors(), [code::BAD_ARGUMENTS], "{path}");
    }
    scene.all_is_well();
}

#[test]
fn z19_watches_are_bounded_and_end_with_their_connection() {
    let mut scene = scene_with(|config| {
        config.watches_max = 100;
        config.watch_bytes_max = 1 << 20;
    });
    let mut zk = scene.client();
    for i in 0..100 {
        assert_eq!(zk.exists(&format!("/w{i}"), true), Err(code::NO_NODE));
    }
    assert_eq!(scene.gauge("zk_watch_count"), 100);
    zk.send(op::EXISTS, &Body::path_if("/one/more", true));
    assert!(zk.is_closed());
    let gone = || match scene.gauge("zk_watch_count") {
        0 => Ok(()),
        n => Err(n),
    };
    wait::until("no watches", gone);
    let paths: Vec<String> = (0..101).map(|i| format!("/w{i}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let mut zk = scene.client();
    let body = Body::new().long(0).int(0).texts(&paths).int(0);
    zk.send(op::SET_WATCHES, &body);
    assert!(zk.is_closed());
    wait::until("no watches", gone);
    // Few, but of long paths.
    let mut zk = scene.client();
    let long = |i: i32| format!("/{i}{}", "x".repeat(400_000));
    for i in 0..3 {
        assert_eq!(zk.exists(&long(i), true), Err(code::NO_NODE));
    }
    zk.send(op::EXISTS, &Body::path_if(&long(3), true));
    assert!(zk.is_closed());
    wait::until("no watches", gone);
    scene.all_is_well();
}

#[test]
fn z20_floods_are_answered_in_order_and_reserved_xids_keep_their_meaning() {
    let mut scene = scene();
    let mut zk = scene.client();
    // Numbers out of order, twice the same, zero: an xid is only a name.
    let mut sent = Vec::new();
    let mut frames = Vec::new();
    for i in 0..5000 {
        let (xid, op, body) = match i % 3 {
            0 => (-2, op::PING, Body::new()),
            1 => (7, op::EXISTS, Body::path_if("/", false)),
            _ => (5000 - i, op::GET_DATA, Body::path_if("/b", false)),
        };
        let frame = [&Body::new().int(xid).int(op).0[..], &body.0].concat();
        frames.extend(i32::try_from(frame.len()).expect("small").to_be_bytes());
        frames.extend(frame);
        sent.push(xid);
    }
    let mut writer = zk.stream().try_clone().expect("a socket");
    let flood = std::thread::spawn(move || writer.write_all(&frames));
    for xid in sent {
        let (answered, error, _) = zk.receive().expect("an answer");
        assert_eq!((answered, error), (xid, 0));
    }
    flood.join().expect("no panic").expect("all was taken");
    for (xid, op) in [
        (-1, op::EXISTS),
        (-1, op::PING),
        (-2, op::EXISTS),
        (-4, op::EXISTS),
        (-8, op::EXISTS),
        (-4, op::PING),
        (-8, op::CLOSE),
    ] {
        let mut zk = scene.client();
        let body = Body::new().int(xid).int(op).text("/").bool(false);
        send_frame(zk.stream(), &body.0).expect("open");
        assert!(zk.is_closed(), "xid {xid} for operation {op}");
    }
    scene.all_is_well();
}

#[test]
fn z21_watches_set_relative_to_the_future_start_now() {
    let mut scene = scene();
    let mut zk = scene.client();
    for zxid in [i64::MAX, scene.zookeeper.server().last_zxid() + 1] {
        let body = Body::new()
            .long(zxid)
            .texts(&["/b"])
            .texts(&["/none"])
            .texts(&["/"]);
        zk.call(op::SET_WATCHES, &body).expect("an answer");
        assert_eq!(zk.events(), []);
        scene.bystander.set("/b", b"", -1).expect("its own node");
        assert_eq!(zk.events(), [(event::CHANGED, "/b".to_owned())]);
    }
    let past = Body::new().long(i64::MIN).texts(&["/b"]).int(0).int(0);
    zk.call(op::SET_WATCHES, &past).expect("an answer");
    assert_eq!(zk.events(), [(event::CHANGED, "/b".to_owned())]);
    scene.all_is_well();
}

#[test]
fn z22_unknown_or_empty_credentials_fail_and_close() {
    let mut scene = scene();
    for (scheme, secret) in [
        ("nosuch", Some(&b"x"[..])),
        ("super", Some(b"super:x")),
        ("sasl", Some(b"x")),
        ("world", Some(b"anyone")),
        ("", Some(b"")),
        ("digest", None),
    ] {
        let mut zk = scene.client();
        let body = Body::new().int(0).text(scheme).data(secret);
        let refused = zk.call(op::AUTH, &body);
        assert_eq!(refused.err(), Some(code::AUTH_FAILED), "{scheme}");
        assert!(zk.is_closed(), "{scheme}");
    }
    // A collector of identities is stopped before they weigh on every ACL.
    let mut zk = scene.client();
    let refused = (0..100).find_map(|i| zk.auth("digest", &format!("user{i}:x")).err());
    assert_eq!(refused, Some(code::AUTH_FAILED));
    assert!(zk.is_closed());
    scene.all_is_well();
}

#[test]
fn z23_connections_beyond_the_limit_are_refused() {
    let mut scene = scene_with(|config| config.connections_max = 4);
    let mut three: Vec<Client> = (0..3).map(|_| scene.client()).collect();
    for _ in 0..3 {
        assert!(is_closed(scene.socket()));
    }
    three.pop();
    let address = scene.address().to_owned();
    wait::until("a free place", || {
        Client::hello(&address, &Hello::default()).ok_or("refused")
    });
    scene.all_is_well();
}

#[test]
fn z24_who_does_not_read_events_is_cut_off() {
    let mut scene = scene_with(|config| config.outbox_bytes_max = 256 << 10);
    let mut zk = scene.client();
    let path = format!("/{}", "x".repeat(2000));
    zk.create(&path, b"", 0).expect("free");
    let mut deaf = scene.client();
    deaf.add_watch(&path, 0).expect("a path");
    let set = Body::new().text(&path).data(None).int(-1);
    let multi = (0..400).fold(Body::new(), |multi, _| multi.op(op::SET_DATA, set.clone()));
    let multi = multi.end();
    // Beyond what the sockets' buffers may hold.
    wait::until("the end of the deaf one", || {
        zk.call(op::MULTI, &multi).expect("an answer");
        match scene.gauge("zk_watch_count") {
            0 => Ok(()),
            n => Err(n),
        }
    });
    scene.all_is_well();
}

#[test]
fn z24_who_does_not_read_answers_is_not_served_further() {
    let mut scene = scene();
    let mut zk = scene.client();
    zk.create("/x", &vec![1; 500_000], 0).expect("free");
    let mut deaf = scene.client();
    let stream = deaf.stream();
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a limit above zero");
    let before = memory();
    let request = Body::new().int(1).int(op::GET_DATA).text("/x").bool(false);
    // Each answer is half a megabyte: gigabytes, if they were all made.
    let sent = (0..10_000_000).take_while(|_| send_frame(stream, &request.0).is_ok());
    assert!(sent.count() < 9_000_000, "the server never stopped reading");
    let grown = memory().saturating_sub(before);
    assert!(grown < 64 << 20, "memory has grown by {grown} bytes");
    scene.all_is_well();
}

/// Resident memory of this process, the server's included.
fn memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_usize) * 4096
}

#[test]
fn z25_old_clients_and_read_only_ones_are_served() {
    let scene = scene();
    for read_only in [None, Some(true)] {
        let hello = Hello {
            read_only,
            ..Hello::default()
        };
        let mut zk = Client::hello(scene.address(), &hello).expect("a session");
        zk.set("/", b"", -1).expect("it may write");
    }
}

#[test]
fn z26_nothing_is_done_after_the_session_was_closed() {
    let mut scene = scene();
    let mut zk = scene.client();
    let frame = |xid: i32, op: i32, body: Body| {
        let frame = [&Body::new().int(xid).int(op).0[..], &body.0].concat();
        let length = i32::try_from(frame.len()).expect("small");
        [&length.to_be_bytes()[..], &frame].concat()
    };
    let both = [
        frame(1, op::CLOSE, Body::new()),
        frame(2, op::CREATE, Body::create("/late", b"", 0)),
    ];
    zk.stream().write_all(&both.concat()).expect("open");
    assert_eq!(
        zk.receive().map(|(xid, error, _)| (xid, error)),
        Some((1, 0))
    );
    assert!(zk.receive().is_none(), "no second answer");
    assert_eq!(scene.bystander.exists("/late", false), Err(code::NO_NODE));
    scene.all_is_well();
}

fn create_children(zk: &mut Client, count: usize) {
    zk.create("/p", b"", 0).expect("free");
    let names: Vec<usize> = (0..count).collect();
    for part in names.chunks(10_000) {
        let multi = part.iter().fold(Body::new(), |multi, i| {
            multi.op(
                op::CREATE,
                Body::create(&format!("/p/child-{i:08}"), b"", 0),
            )
        });
        let mut fields = zk.call(op::MULTI, &multi.end()).expect("an answer");
        assert_eq!(fields.result(), (op::CREATE, 0));
    }
}

#[test]
fn z27_long_lists_of_children_come_whole_or_close() {
    let mut scene = scene_with(|config| config.reply_bytes_max = 2 << 20);
    let mut zk = scene.client();
    create_children(&mut zk, 100_000);
    let children = zk.children("/p", false).expect("1.8 MB are allowed");
    assert_eq!(children.len(), 100_000);
    let multi = Body::new()
        .op(op::GET_CHILDREN, Body::path_if("/p", false))
        .op(op::GET_CHILDREN, Body::path_if("/p", false))
        .end();
    zk.send(op::MULTI_READ, &multi);
    assert!(zk.is_closed(), "3.6 MB are not");
    scene.all_is_well();
}

#[test]
fn z28_reconfig_is_unimplemented_and_the_connection_goes_on() {
    let mut scene = scene();
    let mut zk = scene.client();
    let body = Body::new().text("").text("").text("server.1=x").long(-1);
    for _ in 0..2 {
        let refused = zk.call(op::RECONFIG, &body);
        assert_eq!(refused.err(), Some(code::UNIMPLEMENTED));
    }
    assert!(zk.exists("/", false).is_ok());
    scene.all_is_well();
}

#[test]
fn frames_with_flipped_and_cut_bytes_do_no_harm() {
    let mut scene = scene();
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let create = Body::create("/f", b"data", 2);
    let frames: Vec<Vec<u8>> = [
        (op::CREATE, create.clone()),
        (op::CREATE_TTL, Body::create("/f", b"", 5).long(100)),
        (op::SET_ACL, Body::new().text("/f").acl(&open()).int(0)),
        (op::MULTI, Body::new().op(op::CREATE, create).end()),
        (op::SET_WATCHES2, Body::new().long(0).texts(&["/f"]).int(0)),
        (op::GET_CHILDREN2, Body::path_if("/f", true)),
        (op::AUTH, Body::new().int(0).text("digest").text("a:b")),
        (op::CLOSE, Body::new()),
    ]
    .map(|(op, body)| [&Body::new().int(1).int(op).0[..], &body.0].concat())
    .into();
    let mut zk = scene.client();
    for _ in 0..3000 {
        let mut frame = frames[random.random_range(0..frames.len())].clone();
        for _ in 0..random.random_range(0..4) {
            let at = random.random_range(0..frame.len());
            frame[at] = random.random();
        }
        frame.truncate(random.random_range(0..=frame.len()));
        if send_frame(zk.stream(), &frame).is_err() || zk.receive().is_none() {
            zk = scene.client();
        }
    }
    scene.all_is_well();
}

#[tokio::test]
async fn other_addresses_than_loopback_are_refused() {
    let folder = in_memory();
    let mut config = ServerConfig::new(folder.path().join("data"));
    config.address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let refused = Server::start(config).await.expect_err("not loopback");
    assert!(matches!(refused, StartError::NotLoopback { .. }));
    let text = refused.to_string();
    assert!(
        text.contains("loopback") && text.contains("0.0.0.0:0"),
        "{text}"
    );
    assert!(!folder.path().join("data").exists(), "it touched nothing");
}
