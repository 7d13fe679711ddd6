//! Elections and locks while a real ZooKeeper is killed, stopped for longer than a session, and cut off:
//! never two valid holders, and every later one with a larger token.

use std::sync::Arc;
use std::time::Duration;

use harness::folder::in_memory;
use harness::ports::free_port;
use harness::proxy::Proxy;
use harness::wait::until_async;
use harness::zookeeper::RealZooKeeper;
use nyala_coordinator::recipes::{Candidate, Election, Fence, Lock};
use nyala_coordinator::session::Session;
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio_util::task::AbortOnDropHandle;

use crate::session::{TIMEOUT, connect};

const PATH: &str = "/election";

/// All candidates at one election, and what was seen of them.
struct Watch {
    candidates: Arc<Vec<Candidate>>,
    terms: Arc<Mutex<Vec<Fence>>>,
    task: AbortOnDropHandle<()>,
}

impl Watch {
    /// Looks every millisecond.
    fn start(candidates: Vec<Candidate>) -> Self {
        let candidates = Arc::new(candidates);
        let terms = Arc::new(Mutex::new(Vec::new()));
        let (all, seen) = (Arc::clone(&candidates), Arc::clone(&terms));
        let task = tokio::spawn(async move {
            loop {
                let look = || all.iter().map(Candidate::is_leader).collect::<Vec<_>>();
                let (leads, again) = (look(), look());
                assert!(
                    !overlap(&leads, &again),
                    "two leaders: {leads:?}, {again:?}"
                );
                let leads: Vec<Fence> = again.into_iter().flatten().collect();
                if let Some(fence) = leads.first() {
                    let mut seen = seen.lock();
                    let last = seen.last().copied();
                    assert!(last <= Some(*fence), "{fence} after {last:?}");
                    if last != Some(*fence) {
                        seen.push(*fence);
                    }
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self {
            candidates,
            terms,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Waits for a leader whose term began after `before`, or is that one.
    async fn leader(&self, before: Option<Fence>) -> (usize, Fence) {
        let found = until_async("a leader", || async {
            let mut leads = self.candidates.iter().map(Candidate::is_leader);
            let leads = leads.position(|l| l.is_some() && l >= before);
            leads.ok_or("nobody leads")
        })
        .await;
        let fence = self.candidates[found].is_leader();
        assert!(!self.task.is_finished(), "two leaders, or a smaller token");
        (found, fence.unwrap_or(Fence(0)))
    }
}

/// Whether one led throughout, from its first look to its second, and another one in between. Leadership
/// may well pass on between two looks.
fn overlap(first: &[Option<Fence>], second: &[Option<Fence>]) -> bool {
    let led = |i: usize| first[i].is_some() && first[i] == second[i];
    let between = |i: usize| first[i + 1..].iter().chain(&second[..i]);
    (0..first.len()).any(|i| led(i) && between(i).any(Option::is_some))
}

async fn lock(session: &Session) -> Fence {
    let lock = Lock::new(session, "/lock").expect("legal");
    let hold = lock.acquire().await.expect("its turn comes");
    let fence = hold.fence();
    hold.release().await.expect("it is ours");
    fence
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leader_through_kills_pauses_and_cuts() {
    let folder = in_memory();
    let port = free_port();
    let mut zookeeper = RealZooKeeper::start_on(folder.path(), port);
    let proxy = Proxy::start(&zookeeper.address).await;
    let direct = connect(&format!("{}/e", zookeeper.address)).await;
    let proxied = connect(&format!("{}/e", proxy.address)).await;
    let stand = |session: &Session, data: &str| {
        let election = Election::new(session, PATH).expect("legal");
        election.stand(data)
    };
    let candidates = vec![
        stand(&proxied, "A"),
        stand(&direct, "B"),
        stand(&proxied, "C"),
    ];
    let watch = Watch::start(candidates);
    let (_, first) = watch.leader(None).await;
    let mut token = lock(&direct).await;
    for round in 0..2 {
        // CURATOR-696: offline, for less than a session and for more.
        zookeeper.process.kill();
        if round == 1 {
            until_async("the end of all leases", || async {
                let held = direct.lease().holds() || proxied.lease().holds();
                if held { Err("a lease runs") } else { Ok(()) }
            })
            .await;
        }
        zookeeper = RealZooKeeper::start_on(folder.path(), port);
        let (_, _) = watch.leader(Some(first)).await;
        let next = lock(&direct).await;
        assert!(next > token, "{next} after {token}");
        token = next;
    }
    // Silent for longer than a session: on its return it may have ended all of them.
    zookeeper.process.pause();
    tokio::time::sleep(TIMEOUT + TIMEOUT / 3).await;
    assert!(
        watch.candidates.iter().all(|c| c.is_leader().is_none()),
        "leases outlive sessions"
    );
    zookeeper.process.signal(Signal::CONT);
    let (_, before) = watch.leader(Some(first)).await;
    // CURATOR-620, 653: some are cut off, again and again, once for longer than a session.
    for round in 0..6 {
        proxy.cut();
        if round == 3 {
            // Whoever led through the proxy has lost it by then.
            until_async("B leads", || async {
                watch.candidates[1].is_leader().ok_or("somebody else")
            })
            .await;
        }
        proxy.heal();
        watch.leader(Some(before)).await;
    }
    let next = lock(&proxied).await;
    assert!(next > token, "{next} after {token}");
    until_async("three candidates", || async {
        let names = direct.children(PATH).await.map_err(|e| e.to_string())?;
        if names.len() == 3 {
            Ok(())
        } else {
            Err(names.join(" "))
        }
    })
    .await;
    assert!(!watch.task.is_finished(), "two leaders, or a smaller token");
    assert!(watch.terms.lock().is_sorted());
    direct.close().await;
    proxied.close().await;
}
