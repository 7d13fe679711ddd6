//! Clients that others wrote, against the embedded ZooKeeper: kazoo, Java's, two of Rust's, and a
//! real Kafka broker, which lives by its ZooKeeper.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use harness::folder::in_memory;
use harness::kafka::{KafkaBroker, java, tool};
use harness::process::Process;
use harness::wait;
use harness::zookeeper::EmbeddedZooKeeper;
use nyala_coordinator::embedded::ServerConfig;
use parking_lot::Mutex;
use tempfile::TempDir;
use zookeeper_client::{
    Acls, AddWatchMode, AuthUser, CheckWriteError, CreateMode, Error, EventType, MultiWriteError,
};

fn folder() -> TempDir {
    in_memory()
}

/// Stops the server and starts it again where its clients look for it.
fn restart(zookeeper: EmbeddedZooKeeper, folder: &Path) -> EmbeddedZooKeeper {
    let address = zookeeper.address.parse().expect("its own address");
    drop(zookeeper);
    EmbeddedZooKeeper::start_with(ServerConfig {
        address,
        ..EmbeddedZooKeeper::config(folder)
    })
}

/// A Python that has kazoo: the first one on the path, or the system's.
pub(crate) fn python() -> &'static str {
    let has_kazoo = |python: &&str| {
        let mut command = Command::new(python);
        let command = command.args(["-c", "import kazoo"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has_kazoo);
    found.expect("kazoo: install python3-kazoo")
}

#[test]
fn kazoo_is_at_home() {
    let folder = folder();
    let zookeeper = EmbeddedZooKeeper::start(folder.path());
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/it/zookeeper_foreign/kazoo_client.py"
    );
    let mut command = Command::new(python());
    command
        .args([script, &zookeeper.address])
        .arg(folder.path());
    let mut process = Process::start("kazoo", folder.path(), &mut command);
    let asks = folder.path().join("restart");
    wait::until("what comes before the restart", || {
        assert!(
            process.is_running() || asks.exists(),
            "{}",
            process.stderr()
        );
        if asks.exists() {
            Ok(())
        } else {
            Err(process.stderr())
        }
    });
    let zookeeper = restart(zookeeper, folder.path());
    fs::write(folder.path().join("restarted"), "").expect("space");
    let said = process.wait(wait::SOON).expect_success("kazoo");
    assert!(said.ends_with("all good\n"), "{said}");
    drop(zookeeper);
}

/// What Java's command line client says to `script`.
fn java_says(folder: &Path, address: &str, script: &str) -> String {
    let file = folder.join("script");
    fs::write(&file, script).expect("space");
    let class = "org.apache.zookeeper.ZooKeeperMain";
    let output = java("128m", class, &["-waitforconnection", "-server", address])
        .stdin(File::open(&file).expect("just written"))
        .output()
        .expect("java runs");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn javas_own_client_is_at_home() {
    let folder = folder();
    let zookeeper = EmbeddedZooKeeper::start(folder.path());
    let said = java_says(
        folder.path(),
        &zookeeper.address,
        "create /j one\n\
         create -s /j/s- x\n\
         create -e /j/e x\n\
         create -c /j/c x\n\
         create -t 3600000 /j/t x\n\
         get -s /j\n\
         set -v 0 /j two\n\
         set -v 0 /j three\n\
         ls /j\n\
         getEphemerals /j\n\
         getAllChildrenNumber /j\n\
         addWatch -m PERSISTENT_RECURSIVE /j\n\
         create /j/watched x\n\
         removewatches /j\n\
         addauth digest alice:secret\n\
         whoami\n\
         create /j/secret x auth::cdrwa\n\
         getAcl /j/secret\n\
         setAcl /j/secret world:anyone:r\n\
         get /j/secret\n\
         sync /j\n\
         deleteall /j/s-0000000000\n\
         stat /j/none\n\
         quit\n",
    );
    for expected in [
        "Created /j\n",
        "Created /j/s-0000000000\n",
        "Created /j/e\n",
        "Created /j/c\n",
        "Created /j/t\n",
        "numChildren = 4\n",
        "version No is not valid : /j\n",
        "[c, e, s-0000000000, t]\n",
        "[/j/e]\n",
        "4\n",
        "type:NodeCreated path:/j/watched",
        "digest: alice\n",
        "'digest,'alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E=\n",
        "Sync is OK\n",
        "Node does not exist: /j/none\n",
    ] {
        assert!(said.contains(expected), "{expected:?} is missing:\n{said}");
    }
    // Its session was closed, and with it its ephemeral.
    let said = java_says(folder.path(), &zookeeper.address, "ls /j\nquit\n");
    assert!(said.contains("[c, secret, t, watched]\n"), "{said}");
}

struct Listener;

impl zookeeper_async::Watcher for Listener {
    fn handle(&self, _: zookeeper_async::WatchedEvent) {}
}

#[tokio::test]
async fn zookeeper_async_is_at_home() {
    use zookeeper_async::{Acl, CreateMode, ZkError, ZooKeeper};
    let folder = folder();
    let server =
        nyala_coordinator::embedded::Server::start(EmbeddedZooKeeper::config(folder.path()));
    let server = server.await.expect("a fresh server");
    let address = server.address().to_string();
    let timeout = Duration::from_secs(8);
    let zk = ZooKeeper::connect(&address, timeout, Listener).await;
    let zk = zk.expect("a session");
    let open = || Acl::open_unsafe().clone();
    // Its `connect` may return before there is a session.
    let created = wait::until_async("a first node", || async {
        zk.create("/r", b"one".to_vec(), open(), CreateMode::Persistent)
            .await
    });
    assert_eq!(created.await, "/r");
    let path = zk.create("/r/s-", vec![], open(), CreateMode::EphemeralSequential);
    assert_eq!(path.await.as_deref(), Ok("/r/s-0000000000"));
    let container = zk.create2("/r/c", vec![], open(), CreateMode::Container);
    assert_eq!(container.await.map(|(path, _)| path).as_deref(), Ok("/r/c"));
    let day = Duration::from_secs(86_400);
    let ttl = zk.create_ttl("/r/t", vec![], open(), CreateMode::PersistentWithTTL, day);
    assert_eq!(ttl.await.as_deref(), Ok("/r/t"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let theirs = seen.clone();
    let watch = move |event: zookeeper_async::WatchedEvent| theirs.lock().push(event.path);
    let (data, stat) = zk.get_data_w("/r", watch).await.expect("it is there");
    assert_eq!((data.as_slice(), stat.version), (&b"one"[..], 0));
    let stat = zk.set_data("/r", b"two".to_vec(), Some(0)).await;
    assert_eq!(stat.map(|stat| stat.version), Ok(1));
    let stale = zk.set_data("/r", b"three".to_vec(), Some(0)).await;
    assert_eq!(stale.err(), Some(ZkError::BadVersion));
    let seen = &seen;
    wait::until_async("its watch", || async move {
        let seen = seen.lock().clone();
        if seen == [Some("/r".to_owned())] {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
    let mut children = zk.get_children("/r", false).await.expect("it is there");
    children.sort();
    assert_eq!(children, ["c", "s-0000000000", "t"]);
    zk.add_auth("digest", b"alice:secret".to_vec())
        .await
        .expect("a known scheme");
    let own = zk.set_acl("/r/t", Acl::creator_all().clone(), None).await;
    assert_eq!(own.map(|stat| stat.aversion), Ok(1));
    assert_eq!(zk.delete("/r", None).await, Err(ZkError::NotEmpty));
    assert!(matches!(zk.exists("/none", false).await, Ok(None)));
    zk.close().await.expect("a last answer");
    server.shutdown().await;
}

#[tokio::test]
async fn zookeeper_client_is_at_home() {
    let folder = folder();
    let config = EmbeddedZooKeeper::config(folder.path());
    let server = nyala_coordinator::embedded::Server::start(config).await;
    let server = server.expect("a fresh server");
    let address = server.address().to_string();
    let detached = || {
        let connector = zookeeper_client::Client::connector();
        connector.with_detached().with_server_version(3, 8, 4)
    };
    let zk = detached().connect(&address).await.expect("a session");
    let open = CreateMode::Persistent.with_acls(Acls::anyone_all());
    zk.create("/c", b"one", &open).await.expect("free");
    let watcher = zk.watch("/c", AddWatchMode::PersistentRecursive).await;
    let mut watcher = watcher.expect("a path");
    let ephemeral = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
    let (_, sequence) = zk.create("/c/e-", b"", &ephemeral).await.expect("free");
    assert_eq!(sequence.into_i64(), 0);
    let event = watcher.changed().await;
    assert_eq!(
        (event.event_type, &*event.path),
        (EventType::NodeCreated, "/c/e-0000000000")
    );
    let fenced = |version: i32| {
        let mut writer = zk.new_check_writer("/c", Some(version)).expect("a path");
        writer.add_create("/c/f", b"", &open).expect("a path");
        writer.commit()
    };
    assert_eq!(fenced(0).await.expect("the right version").len(), 1);
    match fenced(7).await {
        Err(CheckWriteError::CheckFailed { source }) => assert_eq!(source, Error::BadVersion),
        other => panic!("{other:?}"),
    }
    let mut writer = zk.new_multi_writer();
    writer.add_set_data("/c", b"two", None).expect("a path");
    writer.add_delete("/c/none", None).expect("a path");
    let failed = writer.commit().await.expect_err("nothing to delete");
    let expected = matches!(
        failed,
        MultiWriteError::OperationFailed {
            index: 1,
            source: Error::NoNode
        }
    );
    assert!(expected, "{failed}");
    zk.auth("digest", b"alice:secret")
        .await
        .expect("a known scheme");
    let users = zk.list_auth_users().await.expect("an answer");
    assert!(users.contains(&AuthUser::new("digest", "alice")));
    // Away and back, on the same session.
    let session = zk.into_session();
    let zk = detached().with_session(session).connect(&address).await;
    let zk = zk.expect("its own session");
    let list = zk.list_ephemerals("/").await.expect("an answer");
    assert_eq!(list, ["/c/e-0000000000"]);
    assert_eq!(zk.count_descendants_number("/c").await, Ok(2));
    // The server ends the session: its client must hear of it.
    assert!(server.expire_session(zk.session_id().0));
    let expired = zk.get_data("/c").await;
    assert!(
        matches!(expired, Err(Error::SessionExpired | Error::ConnectionLoss)),
        "{expired:?}"
    );
    server.shutdown().await;
}

#[test]
fn a_real_kafka_broker_lives_on_it_and_through_its_restart() {
    let folder = folder();
    let zookeeper = EmbeddedZooKeeper::start(folder.path());
    let broker = KafkaBroker::start(folder.path(), 0, &zookeeper.address, &[]);
    let topics = |args: &[&str]| {
        let all = [&["--bootstrap-server", &broker.address], args].concat();
        tool(folder.path(), "TopicCommand", &all).expect_success("TopicCommand")
    };
    let said = topics(&["--create", "--topic", "before", "--partitions", "3"]);
    assert!(said.contains("Created topic before."), "{said}");
    let sessions = zookeeper.server().sessions();
    let zookeeper = restart(zookeeper, folder.path());
    assert_eq!(
        zookeeper.server().sessions(),
        sessions,
        "the broker's session"
    );
    let said = topics(&["--create", "--topic", "after", "--partitions", "2"]);
    assert!(said.contains("Created topic after."), "{said}");
    let said = topics(&["--describe"]);
    for part in [
        "Topic: before\tPartition: 2\tLeader: 0",
        "Topic: after\tPartition: 1\tLeader: 0",
    ] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    topics(&["--delete", "--topic", "before"]);
    let said = wait::until("the end of a topic", || {
        let said = topics(&["--list"]);
        if said.contains("before") {
            Err(said)
        } else {
            Ok(said)
        }
    });
    assert!(said.contains("after"), "{said}");
    assert_eq!(
        zookeeper.server().sessions(),
        sessions,
        "still the same session"
    );
}
