//! kill -9 of `nyala dev` under load, again and again: what was acknowledged is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use harness::cluster::Dev;
use harness::history::History;
use harness::rdkafka::{committed, config, producer, read_all};
use harness::wait;
use parking_lot::Mutex;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const KILLS: usize = 20;
const PARTITIONS: i32 = 4;
const TOPIC: &str = "survivors";

/// Sends numbered values, round robin over the partitions, until `stop`; notes every answer.
async fn send_until(
    stop: Arc<AtomicBool>,
    producer: FutureProducer,
    history: Arc<Mutex<History>>,
    acked: Arc<AtomicU64>,
) -> u64 {
    let mut number = 0_u64;
    let mut waiting = tokio::task::JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        let value = format!("value {number}");
        let partition = i32::try_from(number % 4).expect("0 to 3");
        let record: FutureRecord<'_, String, String> =
            FutureRecord::to(TOPIC).payload(&value).partition(partition);
        match producer.send_result(record) {
            Ok(answer) => {
                let (history, acked) = (Arc::clone(&history), Arc::clone(&acked));
                waiting.spawn(async move {
                    match answer.await.expect("the producer lives") {
                        Ok(at) => {
                            history
                                .lock()
                                .acked(TOPIC, at.partition, at.offset, value.as_bytes());
                            acked.fetch_add(1, Ordering::Relaxed);
                        }
                        Err((error, _)) => panic!("{value} was given up: {error}"),
                    }
                });
                number += 1;
            }
            // The queue is full while the broker is away.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        if number.is_multiple_of(50) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    while let Some(done) = waiting.join_next().await {
        done.expect("no send was given up");
    }
    number
}

fn commit(bootstrap: &str, offset: i64) {
    let consumer: BaseConsumer = config(bootstrap, &[("group.id", "keepers")])
        .create()
        .expect("legal settings");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 0, Offset::Offset(offset))
        .expect("legal offset");
    wait::until("a commit", || consumer.commit(&list, CommitMode::Sync));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_twenty_kills() {
    let mut dev = Dev::start_with_overrides(&["log.segment.bytes=1048576"]);
    let bootstrap = dev.bootstrap();
    let admin: AdminClient<DefaultClientContext> =
        config(&bootstrap, &[]).create().expect("legal settings");
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
    let topic = topic.set("max.message.bytes", "123456");
    let made = admin.create_topics(&[topic], &AdminOptions::new()).await;
    made.expect("an answer")
        .remove(0)
        .expect("the topic is made");

    let history = Arc::new(Mutex::new(History::default()));
    let (stop, acked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let producer = producer(
        &bootstrap,
        &[
            ("message.timeout.ms", "120000"),
            ("queue.buffering.max.messages", "20000"),
        ],
    );
    let sending = tokio::spawn(send_until(
        Arc::clone(&stop),
        producer,
        Arc::clone(&history),
        Arc::clone(&acked),
    ));
    let mut slowest_ms = 0;
    for round in 1..=KILLS {
        let enough = acked.load(Ordering::Relaxed) + 300;
        wait::until_async("more acknowledgements", || async {
            let now = acked.load(Ordering::Relaxed);
            if now >= enough {
                Ok(())
            } else {
                Err(format!("{now} of {enough} in round {round}"))
            }
        })
        .await;
        let offset = i64::try_from(round).expect("small");
        let server = bootstrap.clone();
        let commit = tokio::task::spawn_blocking(move || commit(&server, offset));
        commit.await.expect("committed");
        dev.kill();
        dev.restart();
        slowest_ms = slowest_ms.max(dev.ready().ms);
        let server = bootstrap.clone();
        let kept = tokio::task::spawn_blocking(move || committed(&server, "keepers", TOPIC, 1));
        assert_eq!(
            kept.await.expect("answered").get(&0),
            Some(&offset),
            "round {round}"
        );
    }
    stop.store(true, Ordering::Relaxed);
    let sent = sending
        .await
        .expect("every send was acknowledged in the end");

    let mut read = 0;
    for partition in 0..PARTITIONS {
        let server = bootstrap.clone();
        let records = tokio::task::spawn_blocking(move || read_all(&server, TOPIC, partition));
        let records = records.await.expect("readable");
        let findings = history.lock().check_read(TOPIC, partition, &records);
        assert!(findings.is_empty(), "partition {partition}: {findings:#?}");
        let numbers: Vec<u64> = records.iter().map(|(_, value)| number_of(value)).collect();
        assert!(
            numbers.is_sorted(),
            "partition {partition}: not in the order of sending"
        );
        read += records.len();
    }
    assert_eq!(u64::try_from(read).ok(), Some(sent), "every value once");
    let described = harness::kafka::tool(
        dev.folder(),
        "TopicCommand",
        &[
            "--bootstrap-server",
            &bootstrap,
            "--describe",
            "--topic",
            TOPIC,
        ],
    )
    .expect_success("TopicCommand");
    assert!(
        described.contains("max.message.bytes=123456"),
        "{described}"
    );
    eprintln!("{sent} records, {KILLS} kills, slowest restart {slowest_ms} ms");
    dev.stop();
}

fn number_of(value: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(value);
    text.rsplit(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a numbered value")
}
