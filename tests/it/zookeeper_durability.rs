//! What the embedded ZooKeeper has answered survives: kill -9 at any moment, restarts, torn files.
//!
//! The server to be killed is this test binary itself, started once more as a child.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::process::Process;
use harness::wait;
use harness::zookeeper::EmbeddedZooKeeper;
use harness::zookeeper_wire::{Body, Client, Hello, Stat, code, op};
use nyala_coordinator::clock;
use nyala_coordinator::embedded::{OpenError, Server, ServerConfig, StartError};
use rand::RngExt;

const CHILD_FOLDER: &str = "NYALA_TEST_ZOOKEEPER_FOLDER";
const CHILD_SNAPSHOTS: &str = "NYALA_TEST_ZOOKEEPER_SNAPSHOTS";

/// Not a test of its own: the server of [`start_child`], when it is asked to be one.
#[test]
fn serves_as_a_child_when_asked() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else {
        return;
    };
    let mut config = EmbeddedZooKeeper::config(Path::new(&folder));
    // The test of a full disk needs one file that grows.
    if std::env::var_os(CHILD_SNAPSHOTS).is_some() {
        config.snapshot_after_bytes = 8 << 10;
    }
    let zookeeper = EmbeddedZooKeeper::start_with(config);
    println!("listens on {}", zookeeper.address);
    loop {
        std::thread::park();
    }
}

fn start_child(folder: &Path) -> (Process, String) {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.env(CHILD_SNAPSHOTS, "often");
    start_child_by(command, folder)
}

fn start_child_by(mut command: Command, folder: &Path) -> (Process, String) {
    command
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg("zookeeper_durability::serves_as_a_child_when_asked")
        .env(CHILD_FOLDER, folder);
    let mut process = Process::start("zookeeper", folder, &mut command);
    let address = process.wait_for_line("an address", |line| {
        let (_, address) = line.split_once("listens on ")?;
        Some(address.to_owned())
    });
    (process, address)
}

fn hello(timeout_ms: i32) -> Hello {
    Hello {
        timeout_ms,
        ..Hello::default()
    }
}

/// Every node with its data and `Stat`.
fn dump(zk: &mut Client) -> BTreeMap<String, (Option<Vec<u8>>, Stat)> {
    let mut nodes = BTreeMap::new();
    let mut open = vec!["/".to_owned()];
    while let Some(path) = open.pop() {
        let prefix = path.trim_end_matches('/');
        let children = zk.children(&path, false).expect("it is listed");
        open.extend(children.iter().map(|name| format!("{prefix}/{name}")));
        let node = zk.get(&path, false).expect("it is listed");
        nodes.insert(path, node);
    }
    nodes
}

#[test]
fn kill_at_any_moment_takes_nothing_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut claim: Option<Hello> = None;
    let mut acked: Vec<String> = Vec::new();
    for round in 0..12 {
        let (mut process, address) = start_child(folder.path());
        let greeting = claim.clone().unwrap_or_else(|| hello(10_000));
        let mut zk = Client::hello(&address, &greeting)
            .unwrap_or_else(|| panic!("round {round}: the session is lost"));
        if round == 0 {
            zk.create("/alive", b"", 1).expect("free");
            zk.create("/log", b"", 0).expect("free");
        }
        let alive = zk.exists("/alive", false).expect("the ephemeral");
        assert_eq!(alive.owner, zk.session, "round {round}");
        let there = zk.children("/log", false).expect("the parent");
        for path in &acked {
            let name = path.trim_start_matches("/log/").to_owned();
            assert!(there.binary_search(&name).is_ok(), "{path} is lost");
        }
        assert!(
            there.len() <= acked.len() + round,
            "at most one unanswered each"
        );
        let writing = Duration::from_millis(rand::rng().random_range(0..60));
        let end = clock::now() + writing;
        let pid = process.pid();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(writing);
            process.kill();
        });
        let body = Body::create("/log/n-", &[7; 200], 2);
        loop {
            zk.send(op::CREATE, &body);
            let Some((_, error, mut fields)) = zk.receive() else {
                break;
            };
            assert_eq!(error, 0);
            acked.push(fields.text());
        }
        killer.join().expect("no panic");
        assert!(clock::now() >= end, "{pid} ended by itself");
        claim = Some(Hello {
            timeout_ms: 10_000,
            ..zk.again()
        });
    }
    assert!(acked.len() > 12, "only {} were written", acked.len());
}

#[test]
fn a_disk_that_takes_no_more_ends_the_server_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut limited = Command::new("bash");
    let binary = std::env::current_exe().expect("this binary");
    // 64 KiB a file, and an error instead of a signal beyond that.
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""])
        .arg(binary);
    let (process, address) = start_child_by(limited, folder.path());
    let mut zk = Client::hello(&address, &hello(10_000)).expect("a session");
    zk.create("/e", b"", 1).expect("free");
    let mut acked = 0;
    let body = Body::create("/n-", &[7; 5000], 2);
    loop {
        zk.send(op::CREATE, &body);
        match zk.receive() {
            Some((_, 0, _)) => acked += 1,
            Some((_, error, _)) => panic!("{error}"),
            None => break,
        }
        assert!(acked < 100, "the limit does not hold");
    }
    assert!(acked > 5, "only {acked} fitted");
    wait::until(
        "no new connections",
        || match std::net::TcpStream::connect(&address) {
            Err(_) => Ok(()),
            Ok(_) => Err("it listens"),
        },
    );
    drop(process);
    let zookeeper = EmbeddedZooKeeper::start(folder.path());
    let mut zk = Client::hello(&zookeeper.address, &zk.again()).expect("its own session");
    let children = zk.children("/", false).expect("the root");
    let there = children
        .iter()
        .filter(|name| name.starts_with("n-"))
        .count();
    assert_eq!(there, acked, "a record that did not fit is not there");
    assert!(zk.exists("/e", false).is_ok());
}

/// A stopped server's folder, copied.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

fn journal(data: &Path) -> PathBuf {
    let entries = std::fs::read_dir(data).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.to_string_lossy().contains("/journal."))
        .max()
        .expect("a journal")
}

#[test]
fn a_last_record_torn_at_any_byte_is_dropped_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let zookeeper = EmbeddedZooKeeper::start(folder.path());
    let data = folder.path().join("zookeeper");
    let mut zk = Client::hello(&zookeeper.address, &hello(10_000)).expect("a session");
    zk.create("/a", b"before", 1).expect("free");
    let claim = zk.again();
    let whole = std::fs::metadata(journal(&data)).expect("a journal").len();
    zk.set("/a", b"after", -1).expect("any version");
    drop(zookeeper);
    let end = std::fs::metadata(journal(&data)).expect("a journal").len();
    assert!(end > whole);
    for cut in whole..=end {
        for flip in [false, true] {
            let place = tempfile::tempdir().expect("a folder");
            let torn = place.path().join("zookeeper");
            copy(&data, &torn);
            let path = journal(&torn);
            let mut bytes = std::fs::read(&path).expect("a journal");
            let at = usize::try_from(cut).expect("small");
            match bytes.get_mut(at).filter(|_| flip) {
                Some(byte) => *byte ^= 0x40,
                None => bytes.truncate(at),
            }
            std::fs::write(&path, bytes).expect("space");
            let zookeeper = EmbeddedZooKeeper::start(place.path());
            let mut zk = Client::hello(&zookeeper.address, &claim).expect("its own session");
            let (data, stat) = zk.get("/a", false).expect("it was there before");
            let expected: &[u8] = if cut == end { b"after" } else { b"before" };
            assert_eq!(data.as_deref(), Some(expected), "cut {cut}, flip {flip}");
            assert_eq!(stat.owner, zk.session);
            zk.set("/a", b"later", -1).expect("writing goes on");
        }
    }
}

#[test]
fn many_snapshots_and_restarts_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = || ServerConfig {
        snapshot_after_bytes: 2 << 10,
        ..EmbeddedZooKeeper::config(folder.path())
    };
    let mut zxid = 0;
    let mut nodes = BTreeMap::new();
    let mut claim = hello(10_000);
    for round in 0..6 {
        let zookeeper = EmbeddedZooKeeper::start_with(config());
        assert!(zookeeper.server().last_zxid() >= zxid, "round {round}");
        let mut zk = Client::hello(&zookeeper.address, &claim).expect("its own session");
        if round > 0 {
            assert_eq!(dump(&mut zk), nodes, "round {round}");
        }
        for i in 0..40 {
            let path = format!("/r{round}-{i}");
            zk.create(&path, &[1; 100], i % 2).expect("free");
            zk.set(&path, &[2; 50], -1).expect("any version");
        }
        let ttl = Body::create(&format!("/ttl{round}"), b"", 5).long(3_600_000);
        zk.call(op::CREATE_TTL, &ttl).expect("free");
        zk.delete(&format!("/r{round}-7"), -1).expect("any version");
        nodes = dump(&mut zk);
        zxid = zk.zxid;
        claim = zk.again();
    }
    let files = std::fs::read_dir(folder.path().join("zookeeper")).expect("a folder");
    let count = files.count();
    assert!(count < 10, "{count} files are left");
}

#[test]
fn a_session_has_its_whole_timeout_from_the_restart_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let zookeeper = EmbeddedZooKeeper::start(folder.path());
    let mut kept = Client::hello(&zookeeper.address, &hello(1000)).expect("a session");
    let mut left = Client::hello(&zookeeper.address, &hello(1000)).expect("a session");
    kept.create("/kept", b"", 1).expect("free");
    left.create("/left", b"", 1).expect("free");
    let (kept, left) = (kept.again(), left.again());
    drop(zookeeper);
    // The server is away for longer than the timeout, which is its own fault.
    std::thread::sleep(Duration::from_millis(1200));
    let restarted = clock::now();
    let zookeeper = EmbeddedZooKeeper::start(folder.path());
    let mut kept = Client::hello(&zookeeper.address, &kept).expect("it is alive");
    let owner = kept
        .exists("/left", true)
        .expect("its session is alive")
        .owner;
    assert_eq!(owner, left.session);
    assert_eq!(kept.wait_for_events(), [(2, "/left".to_owned())]);
    let waited = restarted.elapsed();
    assert!(waited >= Duration::from_secs(1), "only {waited:?}");
    assert!(kept.exists("/kept", false).is_ok());
    assert!(Client::hello(&zookeeper.address, &left).is_none());
}

#[test]
fn session_ids_are_never_used_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let zookeeper = EmbeddedZooKeeper::start(folder.path());
        for _ in 0..3 {
            let zk = Client::connect(&zookeeper.address);
            ids.push(zk.session);
            zk.close();
        }
    }
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

#[test]
fn an_expired_session_stays_expired_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let zookeeper = EmbeddedZooKeeper::start(folder.path());
    let mut zk = Client::connect(&zookeeper.address);
    zk.create("/e", b"", 1).expect("free");
    assert!(zookeeper.server().expire_session(zk.session));
    assert!(!zookeeper.server().expire_session(zk.session), "it is over");
    assert!(zk.is_closed());
    // The end must be on disk before anyone may rely on it.
    let mut other = Client::connect(&zookeeper.address);
    assert_eq!(other.exists("/e", false), Err(code::NO_NODE));
    drop(zookeeper);
    let zookeeper = EmbeddedZooKeeper::start(folder.path());
    assert!(Client::hello(&zookeeper.address, &zk.again()).is_none());
    let mut other = Client::connect(&zookeeper.address);
    assert_eq!(other.exists("/e", false), Err(code::NO_NODE));
}

#[tokio::test]
async fn a_folder_has_one_server_at_a_time_and_its_port_is_free_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = EmbeddedZooKeeper::config(folder.path());
    let server = Server::start(config.clone()).await.expect("a free folder");
    let refused = Server::start(config.clone()).await.expect_err("in use");
    let text = refused.to_string();
    assert!(
        matches!(refused, StartError::Open(OpenError::Locked { .. })),
        "{text}"
    );
    assert!(text.contains("in use by another server"), "{text}");
    let same = ServerConfig {
        address: server.address(),
        data_dir: folder.path().join("elsewhere"),
        ..config.clone()
    };
    let refused = Server::start(same.clone()).await.expect_err("in use");
    assert!(matches!(refused, StartError::Listen { .. }), "{refused}");
    let SocketAddr::V4(address) = server.address() else {
        panic!("an address of version 4 was asked for");
    };
    assert_eq!(*address.ip(), Ipv4Addr::LOCALHOST);
    server.shutdown().await;
    let server = Server::start(ServerConfig { ..same })
        .await
        .expect("free again");
    server.shutdown().await;
    let server = Server::start(config).await.expect("free again");
    server.shutdown().await;
}

#[test]
fn it_starts_within_milliseconds() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut fastest = Duration::MAX;
    wait::until("a quick start", || {
        let started = clock::now();
        let zookeeper = EmbeddedZooKeeper::start(folder.path());
        let zk = Client::connect(&zookeeper.address);
        fastest = fastest.min(started.elapsed());
        zk.close();
        // On an idle machine it is about 5 ms; others may be busy here.
        match fastest < Duration::from_millis(50) {
            true => Ok(()),
            false => Err(fastest),
        }
    });
    println!("from nothing to a session: {fastest:?}");
}
