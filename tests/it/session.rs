//! The ZooKeeper session: what it promises when the server, the network or the session goes away.
//!
//! Against the embedded server and against a real one, each case below a chroot of its own.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use harness::folder::in_memory;
use harness::network::Network;
use harness::ports::free_port;
use harness::proxy::Proxy;
use harness::wait::until_async;
use harness::zookeeper::{EmbeddedZooKeeper, Ensemble, RealZooKeeper};
use nyala_coordinator::clock;
use nyala_coordinator::embedded::ServerConfig;
use nyala_coordinator::recipes::Lock;
use nyala_coordinator::session::{
    Acl, CreateMode, DigestAuth, Op, Session, SessionConfig, SessionError, SessionState, ZkError,
};
use nyala_coordinator::watched::Watched;
use rustix::process::Signal;
use tokio::runtime::{Builder, Runtime};

/// Short, and legal for both servers (ticks of 500 ms).
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) fn config(connect: &str) -> SessionConfig {
    SessionConfig {
        session_timeout: TIMEOUT,
        connect_timeout: Duration::from_secs(10),
        op_timeout: Duration::from_secs(5),
        create_chroot: true,
        ..SessionConfig::new(connect)
    }
}

pub(crate) async fn connect(place: &str) -> Session {
    Session::connect(config(place))
        .await
        .expect("a server is there")
}

pub(crate) async fn make(session: &Session, path: &str, mode: CreateMode) -> i64 {
    let created = session.create(path, b"x", mode, Acl::Default).await;
    created.expect("nothing is in the way").stat.czxid
}

pub(crate) async fn wait_for(session: &Session, what: &str, ok: impl Fn(&SessionState) -> bool) {
    let mut states = session.states();
    let reached = states.wait_for(|s| ok(s));
    let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
    assert!(reached.is_ok(), "{what}: still {:?}", session.state());
}

/// Cuts the connection of a session through `proxy`, and waits until it has another.
pub(crate) async fn cut_once(proxy: &Proxy, session: &Session) {
    proxy.cut();
    wait_for(session, "suspended", |s| !s.is_connected()).await;
    proxy.heal();
    wait_for(session, "connected", SessionState::is_connected).await;
}

pub(crate) type Case = (&'static str, fn(String) -> BoxFuture<'static, ()>);

macro_rules! async_cases {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), |place| Box::pin($name(place)))),*]
    };
}
pub(crate) fn run(address: &str, cases: &[Case]) {
    let runtime = Runtime::new().expect("a runtime");
    for (name, case) in cases {
        eprintln!("{name} on {address}");
        runtime.block_on(case(format!("{address}/{name}")));
    }
}

pub(crate) fn on_both(cases: &[Case]) {
    let folder = in_memory();
    run(&EmbeddedZooKeeper::start(folder.path()).address, cases);
    let folder = in_memory();
    run(&RealZooKeeper::start(folder.path()).address, cases);
}

#[test]
fn the_session_on_both_servers() {
    on_both(async_cases![
        reads_and_writes,
        refusals_name_their_reason,
        a_close_ends_the_session,
        an_abandoned_session_times_out,
        a_session_left_in_the_middle_of_answers_is_not_closed,
        an_expired_session_is_followed_by_a_new_one,
        a_cut_shorter_than_the_timeout_costs_nothing,
        writes_over_a_cut_are_never_repeated,
        watches_fire,
        identities_keep_others_out,
        who_may_not_see_the_holder_is_told,
        what_is_no_path_is_refused_here,
        a_runtime_that_goes_costs_no_session,
        a_runtime_that_is_busy_costs_no_session,
        many_reads_are_pipelined,
        sequential_names_count_up,
    ]);
}

async fn reads_and_writes(place: String) {
    let s = connect(&place).await;
    assert_eq!(s.get("/a").await, Err(ZkError::NoNode));
    assert_eq!(s.get_if_exists("/a").await, Ok(None));
    make(&s, "/a", CreateMode::Persistent).await;
    let set = s
        .set("/a", b"y", Some(0))
        .await
        .expect("version 0 is right");
    assert_eq!(set.version, 1);
    assert_eq!(s.set("/a", b"z", Some(0)).await, Err(ZkError::BadVersion));
    let node = s.get("/a").await.expect("it is there");
    assert_eq!((node.data.as_slice(), node.stat.version), (&b"y"[..], 1));
    s.ensure_path("/a/b/c").await.expect("parents are made");
    s.ensure_path("/a/b/c")
        .await
        .expect("a second time is fine");
    assert_eq!(s.delete("/a", None).await, Err(ZkError::NotEmpty));
    let busy = connect(&place).await;
    let makes = async {
        for n in 0..20 {
            let path = format!("/a/{n}");
            let mode = CreateMode::Persistent;
            if busy.create(&path, b"", mode, Acl::Open).await.is_err() {
                break;
            }
        }
    };
    let (gone, ()) = tokio::join!(s.delete_tree("/a"), makes);
    gone.expect("leaves first, and what was made meanwhile");
    busy.close().await;
    assert_eq!(s.exists("/a").await, Ok(None));
    let ops = vec![Op::create("/m", *b"1"), Op::create("/m/n", *b"2")];
    assert_eq!(s.multi(ops).await.expect("both or none").len(), 2);
    s.sync("/").await.expect("it answers");
    s.close().await;
}

async fn refusals_name_their_reason(place: String) {
    let s = connect(&place).await;
    make(&s, "/a", CreateMode::Persistent).await;
    make(&s, "/e", CreateMode::Ephemeral).await;
    let create = |path: &'static str| s.create(path, b"", CreateMode::Persistent, Acl::Open);
    assert_eq!(create("/a").await, Err(ZkError::NodeExists));
    assert_eq!(create("/no/b").await, Err(ZkError::NoNode));
    assert_eq!(create("/e/b").await, Err(ZkError::NoChildrenForEphemerals));
    assert!(matches!(create("no-slash").await, Err(ZkError::Refused(_))));
    let large = vec![0; 1 << 20];
    let set = s.set("/a", &large, None).await;
    assert!(matches!(set, Err(ZkError::TooLarge { .. })), "{set:?}");
    let ops = vec![
        Op::create("/b", *b""),
        Op::Check {
            path: "/a".to_owned(),
            version: 7,
        },
    ];
    let failed = s.multi(ops).await.expect_err("the version is 0");
    assert_eq!((failed.index, failed.error), (Some(1), ZkError::BadVersion));
    assert_eq!(s.exists("/b").await, Ok(None));
    s.close().await;
    assert_eq!(s.get("/a").await, Err(ZkError::Closed));
}

async fn a_close_ends_the_session(place: String) {
    let long = SessionConfig {
        session_timeout: 3 * TIMEOUT,
        ..config(&place)
    };
    let s = Session::connect(long).await.expect("a server is there");
    let other = connect(&place).await;
    make(&s, "/e", CreateMode::Ephemeral).await;
    let begun = clock::now();
    s.close().await;
    assert_eq!(other.exists("/e").await, Ok(None));
    assert!(begun.elapsed() < 2 * TIMEOUT, "it waited for the timeout");
    assert!(matches!(s.state(), SessionState::Lost { generation: 1 }));
    assert!(!s.lease().holds());
    // Dropping the last handle is as good.
    let s = connect(&place).await;
    make(&s, "/e", CreateMode::Ephemeral).await;
    drop(s);
    until_async("the node to go", async || match other.exists("/e").await {
        Ok(None) => Ok(()),
        still => Err(still),
    })
    .await;
}

async fn an_abandoned_session_times_out(place: String) {
    let (s, other) = (connect(&place).await, connect(&place).await);
    make(&s, "/e", CreateMode::Ephemeral).await;
    let begun = clock::now();
    s.abandon().await;
    assert!(matches!(other.exists("/e").await, Ok(Some(_))));
    until_async("the node to go", async || match other.exists("/e").await {
        Ok(None) => Ok(()),
        still => Err(still),
    })
    .await;
    assert!(begun.elapsed() > TIMEOUT / 2, "it went at once");
}

/// The connection's task may be at work on another thread when it is given up.
async fn a_session_left_in_the_middle_of_answers_is_not_closed(place: String) {
    const ROUNDS: usize = 20;
    const AT_ONCE: usize = 10;
    const READS: usize = 30;
    let watcher = connect(&place).await;
    for round in 0..ROUNDS {
        let leave = async |index: usize| {
            let left = connect(&place).await;
            let path = format!("/left-{round}-{index}");
            make(&left, &path, CreateMode::Ephemeral).await;
            let reads = (0..READS).map(|_| Box::pin(left.exists(&path)));
            let first = futures::future::select_all(reads).await;
            left.abandon().await;
            drop(first);
            path
        };
        let left = futures::future::join_all((0..AT_ONCE).map(leave)).await;
        for path in left {
            let there = watcher.exists(&path).await.expect("connected");
            assert!(there.is_some(), "the session of {path} was closed");
        }
    }
    watcher.close().await;
}

async fn an_expired_session_is_followed_by_a_new_one(place: String) {
    let (address, chroot) = place.split_once('/').expect("a chroot");
    let proxy = Proxy::start(address).await;
    let s = connect(&format!("{}/{chroot}", proxy.address)).await;
    let other = connect(&place).await;
    make(&s, "/e", CreateMode::Ephemeral).await;
    let first = s.session_id().expect("connected");
    let lease = s.lease();
    assert!(lease.holds());
    proxy.cut();
    wait_for(&s, "suspended", |s| {
        matches!(s, SessionState::Suspended { generation: 1, .. })
    })
    .await;
    assert_eq!(s.session_id(), Some(first));
    // The lease ends before the server gives away what the session held.
    until_async("the node to go", async || match other.exists("/e").await {
        Ok(None) => Ok(()),
        still => Err(still),
    })
    .await;
    assert!(!lease.holds());
    let begun_before = tokio::spawn({
        let s = s.clone();
        async move { s.get("/e").await }
    });
    tokio::task::yield_now().await;
    proxy.heal();
    wait_for(&s, "a new session", |s| {
        matches!(s, SessionState::Connected { generation: 2, .. })
    })
    .await;
    assert_eq!(
        begun_before.await.expect("no panic"),
        Err(ZkError::SessionExpired)
    );
    assert_ne!(s.session_id(), Some(first));
    assert!(s.is_former_session(first));
    assert!(lease.holds());
    make(&s, "/e", CreateMode::Ephemeral).await;
    s.close().await;
}

async fn a_cut_shorter_than_the_timeout_costs_nothing(place: String) {
    let (address, chroot) = place.split_once('/').expect("a chroot");
    let proxy = Proxy::start(address).await;
    let s = connect(&format!("{}/{chroot}", proxy.address)).await;
    let czxid = make(&s, "/e", CreateMode::Ephemeral).await;
    let id = s.session_id();
    let mut worst = Duration::ZERO;
    for _ in 0..3 {
        proxy.cut();
        wait_for(&s, "suspended", |s| {
            matches!(s, SessionState::Suspended { .. })
        })
        .await;
        // A read waits for the connection and is then answered.
        let read = tokio::spawn({
            let s = s.clone();
            async move { s.get("/e").await }
        });
        let healed = clock::now();
        proxy.heal();
        let node = read.await.expect("no panic").expect("the session lives");
        worst = worst.max(healed.elapsed());
        assert_eq!(node.stat.czxid, czxid);
        wait_for(&s, "connected", SessionState::is_connected).await;
    }
    assert_eq!(s.session_id(), id);
    assert_eq!(s.state().generation(), 1);
    assert!(worst < TIMEOUT, "back only after {worst:?}");
    eprintln!("attached again within {worst:?}");
    s.close().await;
}

async fn writes_over_a_cut_are_never_repeated(place: String) {
    let (address, chroot) = place.split_once('/').expect("a chroot");
    let proxy = Proxy::start(address).await;
    let s = connect(&format!("{}/{chroot}", proxy.address)).await;
    make(&s, "/n", CreateMode::Persistent).await;
    let writer = tokio::spawn({
        let s = s.clone();
        async move {
            let (mut done, mut unknown) = (0, 0);
            while done + unknown < 400 {
                match s.set("/n", b"", None).await {
                    Ok(_) => done += 1,
                    Err(ZkError::Unknown) => unknown += 1,
                    Err(ZkError::NotConnected { .. }) => {}
                    Err(e) => panic!("{e}"),
                }
            }
            (done, unknown)
        }
    });
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        cut_once(&proxy, &s).await;
    }
    let (done, unknown) = writer.await.expect("no panic");
    let version = s.get("/n").await.expect("it is there").stat.version;
    assert!(
        (done..=done + unknown).contains(&version),
        "{done} {unknown} {version}"
    );
    s.close().await;
}

async fn watches_fire(place: String) {
    let (s, other) = (connect(&place).await, connect(&place).await);
    let (missing, made) = s.get_watch("/w").await.expect("connected");
    assert_eq!(missing, None);
    let (_, listed) = s.children_watch("/").await.expect("connected");
    let mut tree = s.watch_tree("/t").await.expect("connected");
    make(&other, "/w", CreateMode::Persistent).await;
    made.changed().await;
    listed.changed().await;
    let (node, changed) = s.get_watch("/w").await.expect("connected");
    assert!(node.is_some());
    other.set("/w", b"2", None).await.expect("any version");
    changed.changed().await;
    other.ensure_path("/t/a/b").await.expect("connected");
    other.set("/t/a", b"2", None).await.expect("any version");
    other.delete("/t/a/b", None).await.expect("it is there");
    let mut events = Vec::new();
    while events.len() < 5 {
        assert!(
            tree.next(&mut events).await,
            "the watch has ended: {events:?}"
        );
    }
    let events: Vec<String> = events
        .iter()
        .map(|e| format!("{:?} {}", e.kind, e.path))
        .collect();
    let expected = [
        "Created /t",
        "Created /t/a",
        "Created /t/a/b",
        "DataChanged /t/a",
        "Deleted /t/a/b",
    ];
    assert_eq!(events, expected);
    s.close().await;
    other.close().await;
}

async fn identities_keep_others_out(place: String) {
    let auth = |user: &str| SessionConfig {
        auth: Some(DigestAuth {
            user: user.to_owned(),
            password: "p".to_owned(),
        }),
        secure_acls: true,
        ..config(&place)
    };
    let mine = Session::connect(auth("a"))
        .await
        .expect("a server is there");
    let other = Session::connect(auth("b"))
        .await
        .expect("a server is there");
    make(&mine, "/secret", CreateMode::Persistent).await;
    assert!(mine.get("/secret").await.is_ok());
    assert_eq!(other.get("/secret").await, Err(ZkError::NoAuth));
    assert_eq!(
        connect(&place).await.get("/secret").await,
        Err(ZkError::NoAuth)
    );
    mine.delete("/secret", None).await.expect("it is mine");
}

async fn who_may_not_see_the_holder_is_told(place: String) {
    let open = connect(&place).await;
    open.ensure_path("/lock").await.expect("it is made");
    let hidden = SessionConfig {
        auth: Some(DigestAuth {
            user: "a".to_owned(),
            password: "p".to_owned(),
        }),
        secure_acls: true,
        ..config(&place)
    };
    let holder = Session::connect(hidden).await.expect("a server is there");
    let held = Lock::new(&holder, "/lock").expect("a path");
    let held = held.acquire().await.expect("it is free");
    let lock = Lock::new(&open, "/lock").expect("a path");
    let limit = Duration::from_secs(30);
    let waited = tokio::time::timeout(limit, lock.acquire()).await;
    let refused = waited.expect("it does not wait for what it is never told");
    let error = refused.err().map(|e| e.to_string());
    let said = error.as_deref().is_some_and(|e| e.contains("ACL"));
    assert!(said, "{error:?}");
    held.release().await.expect("it is ours");
    lock.acquire().await.expect("nobody is before it");
}

async fn what_is_no_path_is_refused_here(place: String) {
    let s = connect(&place).await;
    make(&s, "/kept", CreateMode::Persistent).await;
    let outside = Session::connect(config(place.split('/').next().expect("an address")))
        .await
        .expect("a server is there");
    let chroot = place.split_once('/').expect("a chroot").1;
    let sibling = format!("/{chroot}beside");
    make(&outside, &sibling, CreateMode::Persistent).await;
    for path in ["", "beside", "/kept/", "//kept", "/./kept"] {
        let refused = |e: Option<ZkError>| {
            assert!(matches!(e, Some(ZkError::Refused(_))), "{path:?}: {e:?}");
        };
        refused(s.get(path).await.err());
        refused(s.get_watch(path).await.err());
        refused(s.exists_watch(path).await.err());
        refused(s.children_watch(path).await.err());
        refused(s.watch_tree(path).await.err());
        refused(s.set(path, b"", None).await.err());
        refused(s.delete(path, None).await.err());
        refused(s.delete_tree(path).await.err());
        let mode = CreateMode::Persistent;
        refused(s.create(path, b"", mode, Acl::Default).await.err());
        let ops = vec![Op::create("/fine", *b""), Op::create(path, *b"")];
        let failed = s.multi(ops).await.expect_err("it is no path");
        assert_eq!(failed.index, Some(1));
        refused(Some(failed.error));
    }
    assert!(s.state().is_connected());
    assert_eq!(s.exists("/fine").await, Ok(None));
    assert!(s.get("/kept").await.is_ok());
    assert!(outside.get(&sibling).await.is_ok());
    outside.delete(&sibling, None).await.expect("it is there");
    s.close().await;
    outside.close().await;
}

async fn a_runtime_that_goes_costs_no_session(place: String) {
    let home = Runtime::new().expect("a runtime");
    let connecting = home.spawn(async move { connect(&place).await });
    let s = connecting.await.expect("it connects");
    let (there, watch) = s.exists_watch("/w").await.expect("connected");
    assert_eq!(there, None);
    home.shutdown_background();
    make(&s, "/w", CreateMode::Persistent).await;
    watch.changed().await;
    assert_eq!(s.state().generation(), 1);
    s.close().await;
}

async fn a_runtime_that_is_busy_costs_no_session(place: String) {
    let mut builder = Builder::new_multi_thread();
    let home = builder.worker_threads(1).enable_all().build();
    let home = home.expect("a runtime");
    let connecting = home.spawn(async move { connect(&place).await });
    let s = connecting.await.expect("it connects");
    let lock = Lock::new(&s, "/lock").expect("a path");
    let hold = lock.acquire().await.expect("free");
    let (release, released) = std::sync::mpsc::channel::<()>();
    home.spawn(async move { released.recv() });
    let mut states = s.states();
    let lost = states.wait_for(|s| !s.is_connected());
    let lost = tokio::time::timeout(TIMEOUT + TIMEOUT / 2, lost);
    assert!(lost.await.is_err());
    assert!(hold.is_valid());
    assert_eq!(s.state().generation(), 1);
    // Somebody else reads by now.
    assert!(s.exists("/lock").await.expect("connected").is_some());
    hold.release().await.expect("held");
    drop(release);
    s.close().await;
    home.shutdown_background();
}

async fn many_reads_are_pipelined(place: String) {
    let s = connect(&place).await;
    let paths: Vec<String> = (0..3000).map(|i| format!("/n{i}")).collect();
    for piece in paths.chunks(500) {
        let ops = piece
            .iter()
            .step_by(2)
            .map(|p| Op::create(p, p.as_bytes()))
            .collect();
        s.multi(ops).await.expect("nothing is in the way");
    }
    let begun = clock::now();
    let nodes = s.get_many(&paths).await.expect("connected");
    eprintln!("{} reads in {:?}", paths.len(), begun.elapsed());
    for (i, (path, node)) in paths.iter().zip(nodes).enumerate() {
        let expected = (i % 2 == 0).then(|| path.clone().into_bytes());
        assert_eq!(node.map(|n| n.data), expected);
    }
    s.close().await;
}

async fn sequential_names_count_up(place: String) {
    let s = connect(&place).await;
    let mut names = Vec::new();
    for _ in 0..3 {
        let made = s
            .create("/q-", b"", CreateMode::EphemeralSequential, Acl::Open)
            .await;
        names.push(made.expect("connected").path);
    }
    assert_eq!(names, ["/q-0000000000", "/q-0000000001", "/q-0000000002"]);
    assert_eq!(s.children("/").await.expect("connected").len(), 3);
    s.close().await;
}

#[tokio::test]
async fn a_missing_server_is_a_clear_error_in_time() {
    let place = format!("127.0.0.1:{}", free_port());
    let begun = clock::now();
    let failed = Session::connect(SessionConfig {
        connect_timeout: Duration::from_millis(700),
        ..config(&place)
    })
    .await
    .expect_err("nobody listens");
    assert!(begun.elapsed() < Duration::from_secs(30));
    let text = failed.to_string();
    assert!(
        text.contains(&place) && text.contains("refused") && text.contains("700 ms"),
        "{text}"
    );
    let failed = Session::connect(config("nowhere.invalid:2181x"))
        .await
        .expect_err("no port");
    assert!(
        matches!(failed, SessionError::BadConnectString { .. }),
        "{failed}"
    );
}

#[test]
fn a_missing_chroot_is_made_only_when_asked() {
    let folder = in_memory();
    let zookeeper = EmbeddedZooKeeper::start(folder.path());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let place = format!("{}/a/b", zookeeper.address);
        let asked = SessionConfig {
            create_chroot: false,
            ..config(&place)
        };
        let failed = Session::connect(asked.clone())
            .await
            .expect_err("it is missing");
        assert!(matches!(&failed, SessionError::ChrootMissing { chroot, .. } if chroot == "/a/b"));
        connect(&place).await.close().await;
        Session::connect(asked)
            .await
            .expect("it is there")
            .close()
            .await;
    });
}

/// Reads that go on over a restart on the same data: same session, same ephemerals, fresh values.
async fn over_a_restart(place: String, restart: impl FnOnce()) {
    let s = connect(&place).await;
    let czxid = make(&s, "/e", CreateMode::Ephemeral).await;
    make(&s, "/n", CreateMode::Persistent).await;
    let reader = s.clone();
    let watched = Watched::start(move || {
        let s = reader.clone();
        async move {
            let (node, watch) = s.get_watch("/n").await?;
            Ok::<_, ZkError>((node.map(|n| n.data), watch))
        }
    })
    .await
    .expect("connected");
    let watched = Arc::new(watched);
    restart();
    let begun = clock::now();
    s.exists("/e")
        .await
        .expect("a read waits for the connection");
    eprintln!("back {:?} after the restart", begun.elapsed());
    let stat = s
        .exists("/e")
        .await
        .expect("connected")
        .expect("the session lives");
    assert_eq!(stat.czxid, czxid);
    assert_eq!(s.state().generation(), 1);
    let other = connect(&place).await;
    other.set("/n", b"later", None).await.expect("connected");
    let mut values = watched.subscribe();
    let seen = values.wait_for(|v| v.as_deref() == Some(b"later"));
    let seen = tokio::time::timeout(Duration::from_secs(60), seen).await;
    assert!(seen.is_ok(), "the change was not seen");
    s.close().await;
}

#[test]
fn a_restart_of_a_real_server_costs_no_session() {
    let folder = in_memory();
    let mut zookeeper = RealZooKeeper::start(folder.path());
    let port = zookeeper
        .address
        .rsplit_once(':')
        .expect("a port")
        .1
        .parse()
        .expect("a port");
    let place = format!("{}/restart", zookeeper.address);
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(over_a_restart(place, || {
        tokio::task::block_in_place(|| {
            zookeeper.process.kill();
            zookeeper = RealZooKeeper::start_on(folder.path(), port);
        });
    }));
}

#[test]
fn a_restart_of_the_embedded_server_costs_no_session() {
    let folder = in_memory();
    let mut zookeeper = Some(EmbeddedZooKeeper::start(folder.path()));
    let address = zookeeper.as_ref().expect("started").address.clone();
    let again = ServerConfig {
        address: address.parse().expect("an address"),
        ..EmbeddedZooKeeper::config(folder.path())
    };
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(over_a_restart(format!("{address}/restart"), || {
        let old = zookeeper.take();
        let started = std::thread::spawn(move || {
            drop(old);
            EmbeddedZooKeeper::start_with(again)
        });
        zookeeper = Some(started.join().expect("it starts again"));
    }));
}

#[test]
fn a_frozen_server_suspends_the_session_and_ends_its_lease() {
    let folder = in_memory();
    let zookeeper = RealZooKeeper::start(folder.path());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let place = format!("{}/frozen", zookeeper.address);
        let s = Session::connect(SessionConfig {
            op_timeout: Duration::from_secs(1),
            session_timeout: 3 * TIMEOUT,
            ..config(&place)
        });
        let s = s.await.expect("a server is there");
        make(&s, "/n", CreateMode::Persistent).await;
        let frozen = clock::now();
        zookeeper.process.pause();
        let write = s.set("/n", b"", None).await;
        assert_eq!(write, Err(ZkError::Unknown), "sent, but never answered");
        assert!(frozen.elapsed() < TIMEOUT, "it has a time-out of its own");
        wait_for(&s, "suspended", |s| {
            matches!(s, SessionState::Suspended { .. })
        })
        .await;
        let noticed = frozen.elapsed();
        let read = s.get("/n").await;
        assert!(
            matches!(read, Err(ZkError::NotConnected { .. })),
            "{read:?}"
        );
        let lease = s.lease();
        until_async("the lease to end", async || {
            if lease.holds() { Err(()) } else { Ok(()) }
        })
        .await;
        let fenced = frozen.elapsed();
        // What counts is that it ends before the server may give the session up.
        assert!(fenced < 3 * TIMEOUT, "fenced only after {fenced:?}");
        eprintln!("noticed after {noticed:?}, fenced after {fenced:?}");
        zookeeper.process.signal(Signal::CONT);
        wait_for(&s, "connected", SessionState::is_connected).await;
        assert!(s.get("/n").await.is_ok());
        s.close().await;
    });
}

/// A follower that hears nothing of its leader answers pings for `syncLimit` ticks (3 s here) all
/// the same, while the leader ends the session: only what the leader has answered may count.
#[test]
fn a_follower_without_its_leader_does_not_keep_a_lease() {
    let folder = in_memory();
    let mut network = Network::start();
    let ensemble = Ensemble::start(folder.path(), Some(&mut network));
    let leader = ensemble.leader().expect("it serves");
    let cut = (leader + 1) % 3;
    let runtime = Runtime::new().expect("a runtime");
    let at = |member: usize, session_timeout| {
        let connect = ensemble.connect();
        let address = connect.split(',').nth(member).expect("three of them");
        let config = SessionConfig {
            session_timeout,
            ..config(address)
        };
        let session = runtime.block_on(Session::connect(config));
        session.expect("a server is there")
    };
    let holder = at(cut, Duration::from_millis(1500));
    let other = at(leader, Duration::from_secs(10));
    runtime.block_on(make(&holder, "/held", CreateMode::Ephemeral));
    let all: Vec<_> = ensemble.hosts().collect();
    let others = || {
        all.iter()
            .copied()
            .filter(|host| host.address != all[cut].address)
    };
    all[cut].drop_from(others());
    others().for_each(|host| host.drop_from([all[cut]]));
    assert!(holder.lease().holds());
    runtime.block_on(until_async("the node has gone", async || {
        match other.exists("/held").await {
            Ok(None) => Ok(()),
            there => Err(there),
        }
    }));
    assert!(!holder.lease().holds(), "its node has gone");
    all.iter().for_each(|host| host.heal());
}
