//! Lines in which kazoo's or Curator's recipes and ours stand together: still one holder at a time.
//!
//! Each contender adds to a counter by writes that check nothing, so that two holders at once would lose
//! some; and each writes its fencing token beside it, which must grow from writer to writer, whoever it is.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::folder::in_memory;
use harness::kafka::java;
use harness::process::Process;
use harness::wait;
use harness::zookeeper::{EmbeddedZooKeeper, RealZooKeeper};
use nyala_coordinator::recipes::{Election, Fence, Hold, Layout, Lock, RwLock};
use nyala_coordinator::session::{Acl, CreateMode, Session};

use crate::session::connect;
use crate::zookeeper_foreign::python;

const PATH: &str = "/locks/shared";

/// Who else stands in line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    Kazoo,
    Curator,
}

/// What is shared, and with whom.
#[derive(Clone, Copy)]
struct Line {
    peer: Peer,
    kind: &'static str,
}

impl Line {
    /// Under whose names.
    fn layout(self) -> Layout {
        match self.peer {
            Peer::Kazoo => Layout::Kazoo,
            Peer::Curator => Layout::Curator,
        }
    }

    /// Starts the others' contenders.
    fn theirs(self, folder: &Path, place: &str, rounds: usize, threads: usize) -> Process {
        let (rounds, threads) = (rounds.to_string(), threads.to_string());
        let args = [place, PATH, self.kind, &rounds, &threads];
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/it/recipes_kazoo");
        let mut command = match self.peer {
            Peer::Kazoo => {
                let mut python = Command::new(python());
                python.arg(format!("{scripts}/contender.py")).args(args);
                python
            }
            Peer::Curator => java("128m", &format!("{scripts}/Contender.java"), &args),
        };
        Process::start("others", folder, &mut command)
    }

    async fn take(self, session: &Session, turn: usize) -> Hold {
        let path = || PATH.to_owned();
        let hold = match self.kind {
            "election" => {
                let election = Election::new(session, path()).expect("legal");
                let election = election.with_layout(self.layout());
                election.lead("ours", None).await
            }
            "rwlock" => {
                let lock = RwLock::new(session, path()).expect("legal");
                match turn % 2 {
                    0 => lock.with_layout(self.layout()).write().await,
                    _ => lock.with_layout(self.layout()).read().await,
                }
            }
            _ => {
                let lock = Lock::new(session, path()).expect("legal");
                lock.with_layout(self.layout()).acquire().await
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
        let mut theirs = line.theirs(&folder, &place, rounds, threads);
        let ours = (0..3).map(|_| tokio::spawn(line.contend(place.clone(), rounds)));
        for contender in futures::future::join_all(ours).await {
            contender.expect("no panic");
        }
        let ended = tokio::task::spawn_blocking(move || theirs.wait(2 * wait::SOON));
        let said = ended.await.expect("no panic").expect_success("the others");
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
    let folder = in_memory();
    let zookeeper = EmbeddedZooKeeper::start(folder.path());
    let place = format!("{}/embedded", zookeeper.address);
    runtime.block_on(case(folder.path().to_owned(), place));
    let folder = in_memory();
    let zookeeper = RealZooKeeper::start(folder.path());
    let place = format!("{}/real", zookeeper.address);
    runtime.block_on(case(folder.path().to_owned(), place));
}

#[test]
fn one_lock_for_kazoo_and_us() {
    let (peer, kind) = (Peer::Kazoo, "lock");
    mixed(Line { peer, kind });
}

#[test]
fn one_read_write_lock_for_kazoo_and_us() {
    let (peer, kind) = (Peer::Kazoo, "rwlock");
    mixed(Line { peer, kind });
}

#[test]
fn one_election_for_kazoo_and_us() {
    let (peer, kind) = (Peer::Kazoo, "election");
    mixed(Line { peer, kind });
}

#[test]
fn one_lock_for_curator_and_us() {
    let (peer, kind) = (Peer::Curator, "lock");
    mixed(Line { peer, kind });
}

#[test]
fn one_read_write_lock_for_curator_and_us() {
    let (peer, kind) = (Peer::Curator, "rwlock");
    mixed(Line { peer, kind });
}

#[test]
fn one_election_for_curators_latch_and_us() {
    let (peer, kind) = (Peer::Curator, "election");
    mixed(Line { peer, kind });
}

#[test]
fn a_holder_that_dies_is_followed_by_kazoo_or_by_us() {
    let (peer, kind) = (Peer::Kazoo, "hold");
    followed(Line { peer, kind });
}

#[test]
fn a_holder_that_dies_is_followed_by_curator_or_by_us() {
    let (peer, kind) = (Peer::Curator, "hold");
    followed(Line { peer, kind });
}

fn followed(line: Line) {
    on_both(|folder, place| async move {
        let session = connect(&place).await;
        let mut theirs = line.theirs(&folder, &place, 0, 0);
        let held = |line: &str| line.strip_prefix("held ")?.parse::<Fence>().ok();
        let fence = theirs.wait_for_line("their hold", held);
        let lock = Lock::new(&session, PATH).expect("legal");
        let lock = lock.with_layout(line.layout());
        let limit = Duration::from_millis(200);
        let late = lock.acquire_within(limit).await;
        assert!(late.is_err(), "two holders: {late:?}");
        theirs.kill();
        let hold = lock.acquire().await.expect("its turn comes");
        assert!(hold.fence() > fence);
        // And the other way round: we leave without a word, as a process that is killed does.
        let mut theirs = line.theirs(&folder, &place, 0, 0);
        let other = connect(&place).await;
        wait::until_async("the others in line", || async {
            let names = other.children(PATH).await.unwrap_or_default();
            if names.len() == 2 { Ok(()) } else { Err(names) }
        })
        .await;
        let ours = hold.fence();
        session.abandon().await;
        let followed = tokio::task::spawn_blocking(move || {
            let fence = theirs.wait_for_line("their hold", held);
            (theirs, fence)
        });
        let (theirs, fence) = followed.await.expect("no panic");
        assert!(fence > ours && !hold.is_valid());
        drop(theirs);
        other.close().await;
    });
}
