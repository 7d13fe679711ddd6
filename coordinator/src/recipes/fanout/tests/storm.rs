//! A fan-out queue through random faults: every consumer has every item, in order, and in the end
//! nothing is left. The seed is printed; `NYALA_STORM_SEED` repeats it.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

use super::*;

/// Items that are in for certain, by producer.
type Put = Arc<Mutex<BTreeSet<(usize, u64)>>>;

async fn produce(fanout: Fanout, name: usize, put: Put, end: watch::Receiver<bool>) {
    let mut number = 0;
    while !*end.borrow() {
        match fanout.put(format!("{name} {number}").as_bytes()).await {
            Ok(()) => {
                put.lock().insert((name, number));
                number += 1;
            }
            // It may be in: no other item has its number.
            Err(FanoutError::Put(PutError::Zk {
                source: ZkError::Unknown,
                ..
            })) => {
                number += 1;
            }
            Err(FanoutError::Put(PutError::Zk { source, .. })) if source.is_transient() => {}
            Err(e) => panic!("{e}"),
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// What a consumer has handled and acknowledged, or was about to.
#[derive(Default)]
struct Seen {
    items: BTreeSet<(usize, u64)>,
    last: [Option<u64>; 2],
}

impl Seen {
    fn handle(&mut self, item: &Delivery) {
        let text = String::from_utf8_lossy(&item.data).into_owned();
        let (name, number) = text.split_once(' ').expect("two numbers");
        let (name, number): (usize, u64) =
            (name.parse().expect("one"), number.parse().expect("two"));
        // What comes again was had before; what is new is later than all that was had.
        if self.items.insert((name, number)) {
            assert!(
                self.last[name] < Some(number),
                "{text} after {:?}",
                self.last[name]
            );
            self.last[name] = Some(number);
        }
    }
}

async fn consume(fanout: Fanout, name: String, seed: u64, end: watch::Receiver<bool>) -> Seen {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut seen = Seen::default();
    loop {
        let mut reader = match fanout.subscribe(&name, patient()).await {
            Ok(reader) => reader,
            Err(FanoutError::Recipe(_)) => continue,
            Err(e) => panic!("{e}"),
        };
        while !random.random_bool(0.05) || *end.borrow() {
            let patience = Duration::from_millis(random.random_range(1..200));
            let reading = reader.next(random.random_range(1..10), None);
            let items = match tokio::time::timeout(patience, reading).await {
                Ok(Ok(items)) => items,
                Err(_)
                    if *end.borrow()
                        && reader.position() > 0
                        && fanout.is_empty().await == Ok(true) =>
                {
                    return seen;
                }
                Err(_) => continue,
                Ok(Err(FanoutError::Displaced { .. })) => break,
                Ok(Err(FanoutError::Recipe(_))) => continue,
                Ok(Err(e)) => panic!("{e}"),
            };
            items.iter().for_each(|item| seen.handle(item));
            let last = items.last().map_or(0, |item| item.number);
            match reader.ack(last).await {
                Ok(()) => {}
                Err(FanoutError::Displaced { .. }) => break,
                // Whoever subscribes anew has what was not acknowledged once more.
                Err(FanoutError::Recipe(_)) => break,
                Err(e) => panic!("{e}"),
            }
        }
        drop(reader);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_consumer_has_every_item_through_a_storm_of_faults() {
    let given = std::env::var("NYALA_STORM_SEED").ok();
    let seed: u64 = given
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(rand::random);
    eprintln!("NYALA_STORM_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut place = Place::start().await;
    let (stop, end) = watch::channel(false);
    let (put_all, all_in) = watch::channel(false);
    let put = Put::default();
    let (mut sessions, mut producers, mut consumers) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..5_usize {
        let session = place.proxied().await;
        let fanout = open(&session).await;
        if number < 3 {
            let name = format!("c{number}");
            // All are registered before the first item.
            drop(fanout.subscribe(&name, patient()).await.expect("free"));
            consumers.push((fanout, name, random.random()));
        } else {
            producers.push((fanout, number - 3));
        }
        sessions.push(session);
    }
    let consumers: Vec<_> = consumers
        .into_iter()
        .map(|(fanout, name, seed)| tokio::spawn(consume(fanout, name, seed, all_in.clone())))
        .collect();
    let producers: Vec<_> = producers
        .into_iter()
        .map(|(fanout, name)| tokio::spawn(produce(fanout, name, Arc::clone(&put), end.clone())))
        .collect();
    for _ in 0..20 {
        crate::recipes::testing::harm(&mut place, &sessions, &mut random).await;
    }
    stop.send_replace(true);
    for producer in producers {
        soon("a producer's end", producer).await.expect("no panic");
    }
    put_all.send_replace(true);
    let put = put.lock().clone();
    assert!(put.len() > 20, "seed {seed}: {} items", put.len());
    let mut lost = Vec::new();
    for (number, consumer) in consumers.into_iter().enumerate() {
        let seen = soon("a consumer's end", consumer).await.expect("no panic");
        let missing = put.difference(&seen.items);
        lost.extend(missing.map(|item| (number, *item)));
    }
    assert!(
        lost.is_empty(),
        "seed {seed}: lost (consumer, item): {lost:?}"
    );
}
