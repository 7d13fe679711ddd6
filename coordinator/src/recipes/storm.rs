//! Many contenders through random faults: never two valid holds of one thing, tokens only grow, nothing is
//! left behind. The seed is printed; `NYALA_STORM_SEED` repeats it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

use super::testing::*;
use super::{Fence, Hold, Lock, RecipeError, Semaphore, Validity};
use crate::session::Session;

const PATH: &str = "/storm/lock";
const SLOTS: &str = "/storm/slots";
const PERMITS: usize = 2;

/// All holds that there were, as far as they may matter.
#[derive(Default)]
struct History {
    last: Option<Fence>,
    lock: Vec<Validity>,
    slots: Vec<Validity>,
    holds: usize,
}

impl History {
    fn lock_taken(&mut self, hold: &Hold) {
        // Lost between its taking and here: others may have been faster.
        if !hold.is_valid() {
            return;
        }
        let last = self.last.replace(hold.fence());
        assert!(
            last < Some(hold.fence()),
            "{last:?} before {}",
            hold.fence()
        );
        self.lock.push(hold.validity());
        self.lock.retain(Validity::is_valid);
        assert!(
            self.lock.len() <= 1,
            "two holders: {:?}",
            fences(&self.lock)
        );
        self.holds += 1;
    }

    fn slot_taken(&mut self, hold: &Hold) {
        self.slots.push(hold.validity());
        self.slots.retain(Validity::is_valid);
        assert!(self.slots.len() <= PERMITS, "{:?}", fences(&self.slots));
        self.holds += 1;
    }
}

fn fences(all: &[Validity]) -> Vec<Fence> {
    all.iter().map(Validity::fence).collect()
}

/// Takes, gives up, passes on, releases, drops, until told to end. Gives the session back: what it made must be
/// gone before it ends.
async fn contend(
    session: Session,
    seed: u64,
    history: Arc<Mutex<History>>,
    end: watch::Receiver<bool>,
) -> Session {
    let mut random = SmallRng::seed_from_u64(seed);
    while !*end.borrow() {
        let limit = Duration::from_millis(random.random_range(20..600));
        let wants_lock = random.random_bool(0.5);
        let lock = Lock::new(&session, PATH).expect("legal");
        let got = if wants_lock {
            lock.acquire_within(limit).await
        } else {
            let slots = Semaphore::new(&session, SLOTS, PERMITS).expect("legal");
            slots.acquire_within(limit).await
        };
        let mut hold = match got {
            Ok(hold) => hold,
            Err(RecipeError::TimedOut { .. }) => continue,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        match wants_lock {
            true => history.lock().lock_taken(&hold),
            false => history.lock().slot_taken(&hold),
        }
        let work = Duration::from_millis(random.random_range(0..20));
        tokio::select! {
            () = tokio::time::sleep(work) => {}
            _ = hold.lost() => {}
        }
        if wants_lock && random.random_bool(0.5) {
            hold = match tokio::time::timeout(limit, lock.pass_on(hold)).await {
                Ok(hold) => hold.unwrap_or_else(|e| panic!("seed {seed}: {e}")),
                Err(_) => continue,
            };
            history.lock().lock_taken(&hold);
        }
        match random.random_bool(0.5) {
            true => drop(hold),
            // It takes as long as ZooKeeper is away: others go on.
            false => drop(tokio::time::timeout(limit, hold.release()).await),
        }
    }
    session
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_two_holders_through_a_storm_of_faults() {
    let given = std::env::var("NYALA_STORM_SEED").ok();
    let seed = given
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(rand::random);
    eprintln!("NYALA_STORM_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut place = Place::start().await;
    let watcher = place.session().await;
    let history = Arc::new(Mutex::new(History::default()));
    let (stop, end) = watch::channel(false);
    let mut contenders = Vec::new();
    for number in 0..8 {
        let session = match number % 2 {
            0 => place.session().await,
            _ => place.proxied().await,
        };
        // Some share a session: they hear of each other without ZooKeeper.
        for neighbour in 0..1 + number % 3 {
            let seed = seed ^ number ^ (neighbour << 8);
            let one = contend(session.clone(), seed, Arc::clone(&history), end.clone());
            contenders.push(tokio::spawn(one));
        }
    }
    for fault in 0..12 {
        let pause = |random: &mut SmallRng, most| {
            let pause = Duration::from_millis(random.random_range(0..most));
            tokio::time::sleep(pause)
        };
        match fault {
            // Longer than a session.
            6 => {
                place.proxy.cut();
                tokio::time::sleep(TIMEOUT + TIMEOUT / 4).await;
            }
            _ => match random.random_range(0..4) {
                0 => place.proxy.cut(),
                1 => place.proxy.lose_answers(),
                2 => place.proxy.lose_requests(),
                _ => {
                    place.stop().await;
                    place.start_again().await;
                }
            },
        }
        pause(&mut random, 300).await;
        place.proxy.cut();
        place.proxy.heal();
        pause(&mut random, 400).await;
    }
    stop.send_replace(true);
    let mut sessions = Vec::new();
    for contender in contenders {
        let session = soon("the contenders", contender).await;
        sessions.push(session.expect("no panic"));
    }
    until_children(&watcher, PATH, 0).await;
    until_children(&watcher, SLOTS, 0).await;
    drop(sessions);
    let holds = history.lock().holds;
    assert!(holds > 100, "only {holds} holds");
}
