//! A file system that runs full under load: a clear refusal, no crash, and no help needed afterwards.

use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::cluster::{Dev, DevOptions};
use harness::disk::SmallDisk;
use harness::history::History;
use harness::raw::is_alive;
use harness::rdkafka::{producer, read_all};
use harness::wait;
use rdkafka::producer::{FutureProducer, FutureRecord};

const TOPIC: &str = "flood";

/// Sends 100 KB records until one is refused; notes the others. Returns the refusal.
async fn flood(
    producer: &FutureProducer,
    history: &mut History,
    sent: &mut u64,
    most: u64,
) -> Option<String> {
    let filler = "x".repeat(100_000);
    for _ in 0..most {
        *sent += 1;
        let value = format!("{sent} {filler}");
        let record: FutureRecord<'_, String, String> =
            FutureRecord::to(TOPIC).payload(&value).partition(0);
        match producer.send(record, Duration::from_secs(60)).await {
            Ok(at) => history.acked(TOPIC, at.partition, at.offset, value.as_bytes()),
            Err((error, _)) => {
                history.unknown(TOPIC, 0, value.as_bytes());
                return Some(error.to_string());
            }
        }
    }
    None
}

async fn read(bootstrap: &str) -> Vec<(i64, Vec<u8>)> {
    let bootstrap = bootstrap.to_owned();
    tokio::task::spawn_blocking(move || read_all(&bootstrap, TOPIC, 0))
        .await
        .expect("readable")
}

fn free_bytes(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).expect("mounted");
    stat.f_bavail * stat.f_frsize
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_recovers_by_itself() {
    let disk = SmallDisk::mount(256);
    let ballast = disk.ballast("ballast", 100 << 20);
    let mut dev = Dev::start_with(DevOptions {
        data: Some(disk.path().join("data")),
        overrides: vec!["log.segment.bytes=16777216".to_owned()],
        ..DevOptions::default()
    });
    let bootstrap = dev.bootstrap();
    // Not idempotent: a record that timed out must not stop the ones behind it.
    let settings = [
        ("message.timeout.ms", "4000"),
        ("enable.idempotence", "false"),
    ];
    let client = producer(&bootstrap, &settings);
    let (mut history, mut sent) = (History::default(), 0);
    let refusal = flood(&client, &mut history, &mut sent, 5000).await;
    let refusal = refusal.expect("the disk is smaller than that");
    eprintln!(
        "refused after {sent} records with {} bytes free: {refusal}",
        free_bytes(disk.path())
    );
    assert!(dev.process().is_running() && is_alive(&bootstrap));

    // To the brim: now not even the reserve is left.
    let brim = disk.ballast("brim", usize::MAX);
    assert!(flood(&client, &mut history, &mut sent, 1).await.is_some());
    assert!(dev.process().is_running() && is_alive(&bootstrap));
    assert_eq!(
        history.check_read(TOPIC, 0, &read(&bootstrap).await),
        Vec::new()
    );

    dev.kill();
    dev.restart();
    assert_eq!(
        history.check_read(TOPIC, 0, &read(&bootstrap).await),
        Vec::new()
    );
    assert!(flood(&client, &mut history, &mut sent, 1).await.is_some());

    fs::remove_file(brim).expect("removable");
    fs::remove_file(ballast).expect("removable");
    wait::until_async("writes to be taken again", || {
        let (client, mut fresh, mut number) = (client.clone(), History::default(), sent);
        async move {
            match flood(&client, &mut fresh, &mut number, 1).await {
                None => Ok(()),
                Some(refusal) => Err(refusal),
            }
        }
    })
    .await;
    assert!(dev.process().is_running());
    dev.stop();
}
