//! Lines in which kazoo's recipes and ours stand together: still one holder at a time.
//!
//! Each contender adds to a counter by writes that check nothing, so that two holders at once would lose
//! some; and each writes its fencing token beside it, which must grow from writer to writer, whoever it is.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::process::Process;
use harness::wait;
use harness::zookeeper::{EmbeddedZooKeeper, RealZooKeeper};
use nyala_coordinator::recipes::{Election, Fence, Hold, Layout, Lock, RwLock};
use nyala_coordinator::session::{Acl, CreateMode, Session};

use crate::session::connect;
use crate::zookeeper_foreign::python;

const PATH: &str = "/locks/shared";

/// What is shared, and under whose names.
#[derive(Clone, Copy)]
struct Line {
    kind: &'static str,
    layout: Layout,
}

impl Line {
    /// Starts kazoo's contenders.
    fn kazoo(self, folder: &Path, place: &str, rounds: usize, threads: usize) -> Process {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/it/recipes_kazoo/contender.py");
        let layout = match self.layout {
            Layout::Kazoo => "kazoo",
            Layout::Curator => "curator",
        };
        let (rounds, threads) = (rounds.to_string(), threads.to_string());
        let args = [script, place, PATH, self.kind, layout, &rounds, &threads];
        Process::start("kazoo", folder, Command::new(python()).args(args))
    }

    async fn take(self, session: &Session, turn: usize) -> Hold {
        let path = || PATH.to_owned();
        let hold = match self.kind {
            "election" => {
                let election = Election::new(session, path()).expect("legal");
                let election = election.with_layout(self.layout);
                election.lead("ours", None).await
            }
            "rwlock" => {
                let lock = RwLock::new(session, path()).expect("legal");
                match turn % 2 {
                    0 => lock.write().await,
                    _ => lock.read().await,
                }
            }
            _ => {
                let lock = Lock::new(session, path()).expect("legal");
                lock.with_layout(self.layout).acquire().await
            }
        };
        hold.expect("its turn comes")
    }

    /// Our contender.
    async fn contend(self, place: String, rounds: usize) {
        let session = connect(&place).await;
        for turn in 0..rounds {
            let hold = self.take(&session, turn).await;
            assert!(hold.is_valid());
            if self.kind == "rwlock" && turn % 2 == 1 {
                let before = session.get("/store").await.expect("it is there");
                tokio::time::sleep(Duration::from_millis(2)).await;
                let after = session.get("/store").await.expect("it is there");
                assert_eq!(before, after, "written while read");
            } else {
                add(&session, hold.fence()).await;
            }
            hold.release().await.expect("it is ours");
        }
        session.close().await;
    }
}

async fn read(session: &Session) -> (usize, Fence) {
    let node = session.get("/store").await.expect("it is there");
    let text = String::from_utf8(node.data).expect("numbers");
    let (count, fence) = text.split_once(' ').expect("two of them");
    let count = count.parse().expect("a number");
    (count, fence.parse().expect("a token"))
}

async fn add(session: &Session, fence: Fence) {
    let (count, last) = read(session).await;
    assert!(fence > last, "token {fence} after {last}");
    let data = format!("{} {fence}", count + 1);
    let set = session.set("/store", data.as_bytes(), None).await;
    set.expect("it is there");
}

async fn make_store(session: &Session) {
    let mode = CreateMode::Persistent;
    let made = session.create("/store", b"0 0", mode, Acl::Open).await;
    made.expect("made");
}

fn mixed(line: Line) {
    on_both(|folder, place| async move {
        let session = connect(&place).await;
        make_store(&session).await;
        let (rounds, threads) = (20, 3);
        let mut kazoo = line.kazoo(&folder, &place, rounds, threads);
        let ours = (0..3).map(|_| tokio::spawn(line.contend(place.clone(), rounds)));
        for contender in futures::future::join_all(ours).await {
            contender.expect("no panic");
        }
        let ended = tokio::task::spawn_blocking(move || kazoo.wait(2 * wait::SOON));
        let said = ended.await.expect("no panic").expect_success("kazoo");
        assert!(said.ends_with("all good\n"), "{said}");
        let writes = match line.kind {
            "rwlock" => rounds / 2,
            _ => rounds,
        };
        assert_eq!(read(&session).await.0, writes * 6, "writes were lost");
        assert_eq!(session.children(PATH).await.expect("there").len(), 0);
        session.close().await;
    });
}

fn on_both<F: Future<Output = ()>>(case: impl Fn(std::path::PathBuf, String) -> F) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let zookeeper = EmbeddedZooKeeper::start(folder.path());
    let place = format!("{}/embedded", zookeeper.address);
    runtime.block_on(case(folder.path().to_owned(), place));
    let folder = tempfile::tempdir().expect("a folder");
    let zookeeper = RealZooKeeper::start(folder.path());
    let place = format!("{}/real", zookeeper.address);
    runtime.block_on(case(folder.path().to_owned(), place));
}

#[test]
fn one_lock_for_kazoo_and_us() {
    let (kind, layout) = ("lock", Layout::Kazoo);
    mixed(Line { kind, layout });
}

#[test]
fn one_lock_under_curators_names() {
    let (kind, layout) = ("lock", Layout::Curator);
    mixed(Line { kind, layout });
}

#[test]
fn one_read_write_lock_for_kazoo_and_us() {
    let (kind, layout) = ("rwlock", Layout::Kazoo);
    mixed(Line { kind, layout });
}

#[test]
fn one_election_for_kazoo_and_us() {
    let (kind, layout) = ("election", Layout::Kazoo);
    mixed(Line { kind, layout });
}

#[test]
fn a_holder_that_dies_is_followed_by_the_other_kind() {
    let line = Line {
        kind: "hold",
        layout: Layout::Kazoo,
    };
    on_both(|folder, place| async move {
        let session = connect(&place).await;
        let mut kazoo = line.kazoo(&folder, &place, 0, 0);
        let held = |line: &str| line.strip_prefix("held ")?.parse::<Fence>().ok();
        let theirs = kazoo.wait_for_line("kazoo's hold", held);
        let lock = Lock::new(&session, PATH).expect("legal");
        let limit = Duration::from_millis(200);
        let late = lock.acquire_within(limit).await;
        assert!(late.is_err(), "two holders: {late:?}");
        kazoo.kill();
        let hold = lock.acquire().await.expect("its turn comes");
        assert!(hold.fence() > theirs);
        // And the other way round: we leave without a word, as a process that is killed does.
        let mut kazoo = line.kazoo(&folder, &place, 0, 0);
        let other = connect(&place).await;
        wait::until_async("kazoo in line", || async {
            let names = other.children(PATH).await.unwrap_or_default();
            if names.len() == 2 { Ok(()) } else { Err(names) }
        })
        .await;
        let ours = hold.fence();
        session.abandon().await;
        let theirs = tokio::task::spawn_blocking(move || {
            let fence = kazoo.wait_for_line("kazoo's hold", held);
            (kazoo, fence)
        });
        let (kazoo, theirs) = theirs.await.expect("no panic");
        assert!(theirs > ours && !hold.is_valid());
        drop(kazoo);
        other.close().await;
    });
}
