//! Our consumer as a member of a group that brokers coordinate, next to members of another make.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::cluster::{Dev, DevOptions, nyala};
use harness::process::Process;
use harness::wait;
use nyala_client::config::OffsetReset;
use nyala_client::error::ConsumerError;
use nyala_client::producer::Record;
use nyala_client::{Consumer, Producer};
use nyala_coordinator::ids::{PartitionIndex, TopicName};
use rustix::process::Signal;
use tokio::runtime::Runtime;

type Place = (i32, i64);

fn topic() -> TopicName {
    TopicName::new("mixed").expect("legal")
}

fn start() -> (Dev, Runtime) {
    let dev = Dev::start_with(DevOptions::default());
    let bootstrap = dev.bootstrap();
    let args = [
        "topic",
        "create",
        "mixed",
        "--partitions",
        "4",
        "--bootstrap",
        &bootstrap,
    ];
    nyala(dev.folder(), &args).expect_success("create");
    (dev, Runtime::new().expect("a runtime"))
}

/// Sends `count` records to every partition.
async fn send(bootstrap: &str, count: usize) {
    let built = Producer::builder().bootstrap(bootstrap).build().await;
    let producer = built.expect("a cluster");
    for n in 0..count {
        for partition in 0..4 {
            let record = Record::new(topic(), n.to_string());
            let record = record.with_partition(PartitionIndex(partition));
            drop(producer.send(record).await.expect("room"));
        }
    }
    producer.close().await.expect("settled");
}

async fn member(bootstrap: &str) -> Consumer {
    let built = Consumer::builder()
        .bootstrap(bootstrap)
        .group("mixed")
        .topics([topic()])
        .offset_reset(OffsetReset::Earliest)
        .session_timeout(Duration::from_secs(6))
        .configure(|c| c.heartbeat_interval = Duration::from_millis(200));
    built.build().await.expect("a cluster")
}

/// Reads for a moment and notes what came.
async fn read(consumer: &mut Consumer, into: &mut BTreeSet<Place>) {
    let end = tokio::time::Instant::now() + Duration::from_millis(200);
    while tokio::time::Instant::now() < end {
        match consumer.poll(Duration::from_millis(50)).await {
            Ok(records) => into.extend(records.iter().map(|r| (r.partition.0, r.offset))),
            Err(error @ ConsumerError::Closed) => panic!("{error}"),
            // A coordinator that moves, or is away, is said and survived.
            Err(_) => {}
        }
    }
}

fn kcat_member(folder: &Path, bootstrap: &str) -> Process {
    let mut command = Command::new("kcat");
    command.args([
        "-b", bootstrap, "-u", "-f", "%p %o\\n", "-G", "mixed", "mixed",
    ]);
    for setting in [
        "auto.offset.reset=earliest",
        "partition.assignment.strategy=range",
        "session.timeout.ms=6000",
        "heartbeat.interval.ms=200",
        "auto.commit.interval.ms=200",
    ] {
        command.args(["-X", setting]);
    }
    Process::start("kcat-member", folder, &mut command)
}

fn places(text: &str) -> BTreeSet<Place> {
    let place = |line: &str| {
        let (partition, offset) = line.split_once(' ')?;
        Some((partition.parse().ok()?, offset.parse().ok()?))
    };
    text.lines().filter_map(place).collect()
}

#[test]
fn a_group_is_shared_with_librdkafka() {
    let (dev, runtime) = start();
    let bootstrap = dev.bootstrap();
    let mut ours = BTreeSet::new();
    let mut consumer = runtime.block_on(async {
        send(&bootstrap, 100).await;
        member(&bootstrap).await
    });
    let mut settle = |what: &str, share: usize, ours: &mut BTreeSet<Place>| {
        wait::until(what, || {
            runtime.block_on(read(&mut consumer, ours));
            let now = consumer.assignment().len();
            (now == share).then_some(()).ok_or(now)
        });
    };
    settle("alone with all", 4, &mut ours);
    let mut kcat = kcat_member(dev.folder(), &bootstrap);
    settle("half each", 2, &mut ours);
    runtime.block_on(send(&bootstrap, 100));
    let all: BTreeSet<Place> = (0..4).flat_map(|p| (0..200).map(move |o| (p, o))).collect();
    wait::until("everything is read by one or the other", || {
        runtime.block_on(read(&mut consumer, &mut ours));
        let mut missing = all.clone();
        missing.retain(|at| !ours.contains(at));
        for at in places(&kcat.stdout()) {
            missing.remove(&at);
        }
        missing.is_empty().then_some(()).ok_or(missing.len())
    });
    let theirs = places(&kcat.stdout());
    assert!(!theirs.is_empty());
    let both: Vec<_> = ours.intersection(&theirs).collect();
    assert!(both.is_empty(), "what is committed is read once: {both:?}");
    kcat.signal(Signal::INT);
    kcat.wait(wait::SOON);
    wait::until("all again", || {
        runtime.block_on(read(&mut consumer, &mut ours));
        let now = consumer.assignment().len();
        (now == 4).then_some(()).ok_or(now)
    });
    runtime.block_on(consumer.close()).expect("it leaves well");
    let args = [
        "group",
        "describe",
        "mixed",
        "--json",
        "--bootstrap",
        &bootstrap,
    ];
    let shown = nyala(dev.folder(), &args).expect_success("describe");
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["members"], 0);
    for partition in 0..4 {
        assert_eq!(shown["partitions"][partition]["lag"], 0, "{shown}");
    }
}

#[test]
fn a_member_survives_its_coordinator() {
    let (mut dev, runtime) = start();
    let bootstrap = dev.bootstrap();
    let mut seen = BTreeSet::new();
    let mut consumer = runtime.block_on(async {
        send(&bootstrap, 50).await;
        member(&bootstrap).await
    });
    for round in 1..=3_i64 {
        wait::until("everything is read", || {
            runtime.block_on(read(&mut consumer, &mut seen));
            let missing = i64::try_from(seen.len()).expect("few") - round * 200;
            (missing == 0).then_some(()).ok_or(missing)
        });
        let committed = runtime.block_on(consumer.commit());
        committed.expect("the coordinator is there");
        if round < 3 {
            dev.kill();
            dev.restart();
            runtime.block_on(send(&bootstrap, 50));
        }
    }
    runtime.block_on(consumer.close()).expect("it leaves well");
}
