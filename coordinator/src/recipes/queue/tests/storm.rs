//! A queue through random faults: what was put for certain is acknowledged once, whatever is lost, cut,
//! expired, given up or restarted. The seed is printed; `NYALA_STORM_SEED` repeats it.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

use super::*;
use crate::recipes::testing::harm;

/// What became of the items, as their users were told.
#[derive(Debug, Default)]
struct History {
    put: BTreeSet<String>,
    perhaps_put: BTreeSet<String>,
    acked: BTreeMap<String, usize>,
    perhaps_acked: BTreeSet<String>,
}

type Shared = Arc<Mutex<History>>;

async fn produce(queue: Queue, name: usize, history: Shared, end: watch::Receiver<bool>) {
    let mut number = 0;
    while !*end.borrow() {
        let item = format!("{name}-{number}");
        number += 1;
        loop {
            let priority = Priority::new(100 + number % 2).expect("below 1000");
            match queue.put(item.as_bytes(), priority).await {
                Ok(()) => {
                    history.lock().put.insert(item);
                    break;
                }
                Err(QueueError::Put(PutError::Zk {
                    source: ZkError::Unknown,
                    ..
                })) => {
                    history.lock().perhaps_put.insert(item);
                    break;
                }
                // Nothing was done: the same item may be put again.
                Err(QueueError::Put(PutError::Zk { source, .. })) if source.is_transient() => {}
                Err(e) => panic!("{e}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn consume(queue: Queue, seed: u64, history: Shared, end: watch::Receiver<bool>) {
    let mut random = SmallRng::seed_from_u64(seed);
    while !*end.borrow() {
        let patience = Duration::from_millis(random.random_range(1..150));
        let taking = queue.take_many(random.random_range(1..5), None);
        let items = match tokio::time::timeout(patience, taking).await {
            Ok(Ok(items)) => items,
            // Given up in the middle.
            Err(_) => continue,
            Ok(Err(e)) => panic!("{e}"),
        };
        match random.random_range(0..10) {
            0 => drop(items),
            1 => {
                for item in items {
                    // Either way it is free.
                    let _ = item.release().await;
                }
            }
            _ => acknowledge(items, &history).await,
        }
    }
}

async fn acknowledge(items: Vec<Taken>, history: &Shared) {
    let names = |i: &Taken| (i.id().to_owned(), text(i.data()));
    let names: Vec<(String, String)> = items.iter().map(names).collect();
    let errors = match Taken::ack_all(items).await {
        Ok(()) => Vec::new(),
        Err(errors) => errors.each().to_vec(),
    };
    let mut history = history.lock();
    for (id, name) in names {
        match errors.iter().find(|e| e.item() == id) {
            None => *history.acked.entry(name).or_default() += 1,
            Some(AckError::Lost { .. }) => {}
            Some(AckError::Unknown { .. }) => drop(history.perhaps_acked.insert(name)),
            Some(AckError::Zk { source, .. }) => panic!("{source}"),
        }
    }
}

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_item_is_acknowledged_once_through_a_storm_of_faults() {
    let given = std::env::var("NYALA_STORM_SEED").ok();
    let seed: u64 = given
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(rand::random);
    eprintln!("NYALA_STORM_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut place = Place::start().await;
    let (stop, end) = watch::channel(false);
    let history = Shared::default();
    let mut sessions = Vec::new();
    let mut users = Vec::new();
    for number in 0..6_usize {
        let session = place.proxied().await;
        let queue = open(&session).await;
        sessions.push(session);
        let (history, end) = (Arc::clone(&history), end.clone());
        users.push(match number {
            0..2 => tokio::spawn(produce(queue, number, history, end)),
            _ => tokio::spawn(consume(queue, random.random(), history, end)),
        });
    }
    for _ in 0..25 {
        harm(&mut place, &sessions, &mut random).await;
    }
    stop.send_replace(true);
    for user in users {
        soon("a user's end", user).await.expect("no panic");
    }
    let last = open(&place.session().await).await;
    until("the rest", || async {
        if let Ok(items) = last.poll_many(100).await {
            acknowledge(items, &history).await;
        }
        last.is_empty().await == Ok(true)
    })
    .await;
    let h = history.lock();
    let seen = |item: &String| h.acked.contains_key(item) || h.perhaps_acked.contains(item);
    let lost: Vec<_> = h.put.iter().filter(|item| !seen(item)).collect();
    let twice: Vec<_> = h.acked.iter().filter(|(_, count)| **count > 1).collect();
    let known = |item: &&String| h.put.contains(*item) || h.perhaps_put.contains(*item);
    let strange: Vec<_> = h.acked.keys().filter(|item| !known(item)).collect();
    assert!(
        lost.is_empty() && twice.is_empty() && strange.is_empty(),
        "seed {seed}: lost {lost:?}, twice {twice:?}, strange {strange:?}"
    );
    assert!(
        h.acked.len() > 20,
        "seed {seed}: {} acknowledged",
        h.acked.len()
    );
}
