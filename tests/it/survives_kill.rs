//! kill -9 under load, twenty times: what was acknowledged is there, offsets are dense, the group's
//! offsets and ZooKeeper's nodes are intact, and the same idempotent producer goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use harness::cluster::{Dev, DevOptions, nyala};
use harness::history::History;
use harness::rdkafka::{committed, config, producer, read_all};
use harness::wait;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const PARTITIONS: i32 = 3;
const KILLS: usize = 20;

/// Sends unique values until `stop`, each to a partition in turn, and notes what came of them.
async fn send_until(
    producer: FutureProducer,
    name: usize,
    stop: Arc<AtomicBool>,
    history: Arc<Mutex<History>>,
) {
    let mut n = 0_i32;
    while !stop.load(Ordering::Relaxed) {
        let batch = (0..50).map(|_| {
            n += 1;
            let value = format!("{name}-{n}");
            let (producer, history) = (producer.clone(), Arc::clone(&history));
            async move {
                let record = FutureRecord::<(), _>::to("ledger")
                    .partition(n % PARTITIONS)
                    .payload(&value);
                let sent = producer.send(record, Duration::from_secs(60)).await;
                match sent {
                    Ok(at) => {
                        history
                            .lock()
                            .acked("ledger", at.partition, at.offset, value.as_bytes())
                    }
                    Err(_) => history.lock().unknown(value.as_bytes()),
                }
            }
        });
        futures::future::join_all(batch.collect::<Vec<_>>()).await;
    }
}

fn commit(bootstrap: &str, offset: i64) {
    let consumer: BaseConsumer = config(bootstrap, &[("group.id", "keepers")])
        .create()
        .expect("legal settings");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("ledger", 0, Offset::Offset(offset))
        .expect("legal offset");
    wait::until("a commit", || consumer.commit(&list, CommitMode::Sync));
}

#[test]
fn nothing_acknowledged_is_lost_over_twenty_kills() {
    let mut dev = Dev::start_with(DevOptions::default());
    let created = [
        "topic",
        "create",
        "ledger",
        "--partitions",
        "3",
        "--bootstrap",
    ];
    nyala(dev.folder(), &[&created[..], &[&dev.bootstrap()]].concat()).expect_success("create");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let stop = Arc::new(AtomicBool::new(false));
    let history = Arc::new(Mutex::new(History::default()));
    let settings = [("message.timeout.ms", "120000"), ("linger.ms", "1")];
    let senders: Vec<_> = (0..2)
        .map(|name| {
            let producer = producer(&dev.bootstrap(), &settings);
            runtime.spawn(send_until(
                producer,
                name,
                Arc::clone(&stop),
                Arc::clone(&history),
            ))
        })
        .collect();
    for kill in 0..KILLS {
        let before = history.lock().acked_count();
        wait::until("progress between two kills", || {
            let acked = history.lock().acked_count();
            if acked > before + 300 {
                Ok(())
            } else {
                Err(acked)
            }
        });
        let offset = i64::try_from(kill + 1).expect("small");
        commit(&dev.bootstrap(), offset);
        dev.kill();
        // The moment of the kill differs from round to round.
        thread::sleep(Duration::from_millis(7 * (kill as u64 % 5)));
        dev.restart();
        assert_eq!(
            committed(&dev.bootstrap(), "keepers", "ledger", 1).get(&0),
            Some(&offset)
        );
    }
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        runtime.block_on(sender).expect("a sender panicked");
    }
    let history = history.lock();
    assert!(history.acked_count() > KILLS * 300);
    for partition in 0..PARTITIONS {
        let read = read_all(&dev.bootstrap(), "ledger", partition);
        let findings = history.check("ledger", partition, &read);
        assert!(findings.is_empty(), "partition {partition}: {findings:#?}");
    }
    dev.stop();
}
