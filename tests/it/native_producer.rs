//! Our producer: through a broker that dies, stands still or refuses, and next to other clients.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use harness::cluster::{Dev, DevOptions, kcat, nyala};
use harness::folder::in_memory;
use harness::history::History;
use harness::kafka::KafkaBroker;
use harness::ports::free_port;
use harness::rdkafka::read_all;
use harness::wait;
use harness::zookeeper::RealZooKeeper;
use nyala_client::Consumer;
use nyala_client::Producer;
use nyala_client::config::OffsetReset;
use nyala_client::consumer::ConsumerRecord;
use nyala_client::error::{ProducerError, SendError};
use nyala_client::producer::{Record, RecordMetadata};
use nyala_client::wire::compression::Codec;
use nyala_coordinator::ids::{PartitionIndex, TopicName};
use tokio::runtime::Runtime;

const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];

fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("legal")
}

fn start(name: &str, partitions: &str) -> (Dev, Runtime) {
    start_with(1, name, partitions)
}

fn start_with(brokers: usize, name: &str, partitions: &str) -> (Dev, Runtime) {
    let dev = Dev::start_with(DevOptions {
        brokers,
        ..DevOptions::default()
    });
    let args = ["topic", "create", name, "--partitions", partitions];
    let bootstrap = ["--bootstrap", &dev.bootstrap()];
    nyala(dev.folder(), &[&args[..], &bootstrap].concat()).expect_success("create");
    (dev, Runtime::new().expect("a runtime"))
}

/// Reads `count` records of `topic` from the start, without a group.
async fn read(entry: &str, topic: TopicName, count: usize) -> Vec<ConsumerRecord> {
    let built = Consumer::builder().bootstrap(entry).topics([topic]);
    let built = built.offset_reset(OffsetReset::Earliest).build().await;
    let mut consumer = built.expect("a cluster");
    let mut all = Vec::new();
    while all.len() < count {
        let records = consumer.poll(wait::SOON).await.expect("good records");
        assert!(!records.is_empty(), "only {} of {count} came", all.len());
        all.extend(records);
    }
    all
}

#[test]
fn order_and_every_acknowledged_record_survive_kills_of_the_broker() {
    let (mut dev, runtime) = start("ledger", "3");
    let producer = Producer::builder().bootstrap(&dev.bootstrap());
    let producer = producer.linger(Duration::from_millis(2)).build();
    let producer = runtime.block_on(producer).expect("a cluster");
    let (report, acked) = tokio::sync::watch::channel(0_usize);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let sender = runtime.spawn(async move {
        let (mut acks, mut history) = (std::collections::VecDeque::new(), History::default());
        let mut number = 0_u64;
        while !*stopped.borrow() {
            number += 1;
            let value = format!("{number:08}");
            let record = Record::new(topic("ledger"), value.clone()).with_key(number.to_string());
            acks.push_back((value, producer.send(record).await.expect("room")));
            while acks.len() > 2000 {
                let Some((value, ack)) = acks.pop_front() else {
                    break;
                };
                note(
                    &mut history,
                    &value,
                    &ack.await.expect("retried until the broker is back"),
                );
                report.send_modify(|n| *n += 1);
            }
            if number.is_multiple_of(50) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        producer.flush().await.expect("the broker is there");
        for (value, ack) in acks {
            note(&mut history, &value, &ack.await.expect("settled"));
        }
        history
    });
    for _ in 0..3 {
        let before = *acked.borrow();
        wait::until("records flow", || {
            let now = *acked.borrow();
            (now > before + 3000).then_some(()).ok_or(now)
        });
        dev.kill();
        dev.restart();
    }
    stop.send_replace(true);
    let history = runtime.block_on(sender).expect("all went well");
    let mut read = 0;
    for partition in 0..3 {
        let records = read_all(&dev.bootstrap(), "ledger", partition);
        let findings = history.check_read("ledger", partition, &records);
        assert!(findings.is_empty(), "{findings:?}");
        let values: Vec<&[u8]> = records.iter().map(|(_, v)| v.as_slice()).collect();
        assert!(values.is_sorted(), "partition {partition} is out of order");
        read += records.len();
    }
    assert_eq!(read, history.acked_count(), "nothing came twice");
}

fn note(history: &mut History, value: &str, placed: &RecordMetadata) {
    // A batch that turns out to be in the log already, from before the kill, has no offset to tell.
    let (topic, partition) = (placed.topic.as_str(), placed.partition.0);
    match placed.offset {
        Some(offset) => history.acked(topic, partition, offset, value.as_bytes()),
        None => history.unknown(topic, partition, value.as_bytes()),
    }
}

#[test]
fn a_full_buffer_holds_senders_back_and_lets_them_go_on() {
    let (mut dev, runtime) = start("slow", "1");
    let built = Producer::builder()
        .bootstrap(&dev.bootstrap())
        .buffer_bytes(64 << 10)
        .configure(|c| c.block_max = Duration::from_millis(500));
    let producer = runtime.block_on(built.build()).expect("a cluster");
    let record = || Record::new(topic("slow"), vec![b'x'; 1000]);
    runtime.block_on(async {
        let ack = producer.send(record()).await.expect("room");
        ack.await.expect("the broker lives");
        dev.pause();
        let mut acks = Vec::new();
        let error = loop {
            match producer.send(record()).await {
                Ok(ack) => acks.push(ack),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, SendError::BufferFull { .. }), "{error}");
        assert!(
            (10..64).contains(&acks.len()),
            "{} are buffered",
            acks.len()
        );
        dev.resume();
        for ack in acks {
            ack.await.expect("nothing was lost");
        }
        let ack = producer.send(record()).await.expect("room again");
        ack.await.expect("the broker lives");
    });
}

#[test]
fn a_record_is_given_up_when_its_time_is_over() {
    let (mut dev, runtime) = start("late", "1");
    let built = Producer::builder()
        .bootstrap(&dev.bootstrap())
        .delivery_timeout(Duration::from_secs(2));
    let producer = runtime.block_on(built.build()).expect("a cluster");
    let record = |text: &str| Record::new(topic("late"), text.to_owned());
    runtime.block_on(async {
        let first = producer.send(record("first")).await.expect("room");
        first.await.expect("the broker lives");
        dev.kill();
        let lost = producer.send(record("lost")).await.expect("room");
        let error = lost.await.expect_err("nobody is there");
        assert!(matches!(error, SendError::Undelivered { .. }), "{error}");
        dev.restart();
        // A hole in the numbers is no obstacle for what comes after it.
        let next = producer.send(record("next")).await.expect("room");
        assert_eq!(next.await.expect("the broker is back").offset, Some(1));
    });
}

#[test]
fn what_cannot_be_is_said_at_once() {
    let (dev, runtime) = start("strict", "1");
    let args = [
        "topic",
        "alter",
        "strict",
        "--config",
        "max.message.bytes=1000",
    ];
    let bootstrap = dev.bootstrap();
    nyala(
        dev.folder(),
        &[&args[..], &["--bootstrap", &bootstrap]].concat(),
    )
    .expect_success("alter");
    runtime.block_on(async {
        let built = Producer::builder().bootstrap(&bootstrap).build().await;
        let producer = built.expect("a cluster");
        let strict = |bytes: usize| Record::new(topic("strict"), vec![b'x'; bytes]);
        let huge = producer.send(strict(2 << 20)).await;
        assert!(matches!(huge, Err(SendError::TooLarge { .. })), "{huge:?}");
        let elsewhere = strict(1).with_partition(PartitionIndex(7));
        let elsewhere = producer.send(elsewhere).await;
        assert!(
            matches!(elsewhere, Err(SendError::UnknownPartition { .. })),
            "{elsewhere:?}"
        );
        let refused = producer.send(strict(5000)).await.expect("room").await;
        assert!(
            matches!(refused, Err(SendError::Refused { .. })),
            "{refused:?}"
        );
        // A batch that is too large as a whole goes in pieces, each at its own offset.
        let mut acks = Vec::new();
        for _ in 0..20 {
            acks.push(producer.send(strict(300)).await.expect("room"));
        }
        let mut offsets = Vec::new();
        for ack in acks {
            offsets.push(ack.await.expect("small enough alone").offset.expect("told"));
        }
        assert_eq!(offsets, (0..20).collect::<Vec<i64>>());
    });
    let nobody = format!("127.0.0.1:{}", free_port());
    let error = runtime.block_on(Producer::builder().bootstrap(&nobody).build());
    assert!(matches!(error, Err(ProducerError::Cluster(_))), "{error:?}");
}

#[test]
fn records_without_key_go_round_in_batches_over_all_brokers() {
    let (dev, runtime) = start_with(2, "round", "4");
    let counts = runtime.block_on(async {
        let built = Producer::builder().zookeeper(dev.zookeeper());
        let built = built.linger(Duration::from_secs(5)).batch_bytes(2000);
        let producer = built.build().await.expect("a cluster");
        let mut acks = Vec::new();
        for _ in 0..200 {
            let record = Record::new(topic("round"), vec![b'x'; 90]);
            acks.push(producer.send(record).await.expect("room"));
        }
        producer.flush().await.expect("the broker lives");
        let topology = producer.cluster().topology();
        assert_eq!(topology.brokers.len(), 2);
        let leaders = topology
            .topics
            .get("round")
            .map(|t| t.slots.iter().map(|s| s.broker));
        let leaders: BTreeSet<_> = leaders.expect("it was written to").collect();
        assert_eq!(leaders.len(), 2, "both lead something");
        let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
        for ack in acks {
            let placed = ack.await.expect("the broker lives");
            *counts.entry(placed.partition.0).or_default() += 1;
        }
        counts
    });
    // Some 19 records fill a batch, so that there are ten or eleven batches for four partitions.
    assert_eq!(counts.len(), 4, "{counts:?}");
    assert!(counts.values().all(|n| (20..=80).contains(n)), "{counts:?}");
}

#[test]
fn every_codec_reads_the_same_to_us_and_to_kcat_both_ways() {
    let (dev, runtime) = start("unused", "1");
    let bootstrap = dev.bootstrap();
    let lines: Vec<String> = (0..2000)
        .map(|n| format!("line {n} of many alike"))
        .collect();
    let text = lines.join("\n") + "\n";
    std::fs::write(dev.folder().join("lines"), &text).expect("writable");
    for codec in CODECS {
        let ours = topic(&format!("ours-{}", codec.name()));
        runtime.block_on(async {
            let built = Producer::builder()
                .zookeeper(dev.zookeeper())
                .compression(codec);
            let producer = built.build().await.expect("a cluster");
            for line in &lines {
                let record = Record::new(ours.clone(), line.clone());
                let record = record
                    .with_partition(PartitionIndex(0))
                    .with_header("h", "v");
                drop(producer.send(record).await.expect("room"));
            }
            producer.close().await.expect("all settled");
        });
        let args = [
            "-q",
            "-C",
            "-e",
            "-o",
            "beginning",
            "-t",
            ours.as_str(),
            "-b",
            &bootstrap,
        ];
        let got = kcat(dev.folder(), &args).expect_success("kcat");
        assert_eq!(got, text, "{} from us to kcat", codec.name());

        let theirs = topic(&format!("theirs-{}", codec.name()));
        let args = [
            "-P",
            "-z",
            codec.name(),
            "-l",
            "lines",
            "-t",
            theirs.as_str(),
        ];
        let args = [&args[..], &["-b", &bootstrap]].concat();
        kcat(dev.folder(), &args).expect_success("kcat");
        let records = runtime.block_on(read(&bootstrap, theirs, lines.len()));
        let values = records.iter().map(|r| r.value.clone().unwrap_or_default());
        let values: Vec<String> = values
            .map(|v| String::from_utf8_lossy(&v).into_owned())
            .collect();
        assert_eq!(values, lines, "{} from kcat to us", codec.name());
    }
}

#[test]
fn the_native_way_leads_to_a_real_kafka_too() {
    let folder = in_memory();
    let zookeeper = RealZooKeeper::start(folder.path());
    let kafka = KafkaBroker::start(folder.path(), 0, &zookeeper.address, &["num.partitions=3"]);
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for codec in CODECS {
            let name = topic(&format!("real-{}", codec.name()));
            let built = Producer::builder().zookeeper(&zookeeper.address);
            let producer = built.compression(codec).build().await.expect("a cluster");
            for n in 0..300 {
                let record = Record::new(name.clone(), n.to_string()).with_key(n.to_string());
                drop(producer.send(record).await.expect("room"));
            }
            producer.close().await.expect("settled");
            let built = Consumer::builder().zookeeper(&zookeeper.address);
            let built = built
                .group("real")
                .topics([name])
                .session_timeout(Duration::from_secs(5));
            let built = built.offset_reset(OffsetReset::Earliest).build().await;
            let mut consumer = built.expect("a cluster");
            let mut values = BTreeSet::new();
            while values.len() < 300 {
                let records = consumer.poll(wait::SOON).await.expect("good records");
                assert!(!records.is_empty(), "only {} came", values.len());
                let texts = records.iter().map(|r| r.value.clone().unwrap_or_default());
                values.extend(texts.map(|v| v.to_vec()));
            }
            assert_eq!(consumer.assignment().len(), 3);
            consumer.close().await.expect("it leaves well");
        }
    });
    drop(kafka);
}
