//! A file system that runs full under load: a clear refusal, no crash, and no help needed afterwards.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::cluster::{Dev, DevOptions};
use harness::history::History;
use harness::raw::is_alive;
use harness::rdkafka::{producer, read_all};
use harness::wait;
use rdkafka::producer::{FutureProducer, FutureRecord};

const TOPIC: &str = "flood";

/// A file system of its own in memory, gone with the value.
struct SmallDisk {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(megabytes: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        fs::create_dir(&path).expect("mount point");
        let options = format!("size={megabytes}m,mode=777");
        let as_root = |program: &str, args: &[&str]| {
            let mut command = Command::new(program);
            command.args(args).arg(&path);
            command.status().is_ok_and(|status| status.success())
        };
        let mounted = as_root("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"])
            || as_root(
                "sudo",
                &["-n", "mount", "-t", "tmpfs", "-o", &options, "tmpfs"],
            );
        assert!(
            mounted,
            "this test mounts a tmpfs, so it needs root or sudo"
        );
        Self {
            path,
            _folder: folder,
        }
    }

    /// Writes a file of at most `bytes`, or until nothing more fits.
    fn ballast(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.path.join(name);
        let mut file = File::create(&path).expect("a name is free");
        let block = vec![7_u8; 4096];
        let mut written = 0;
        while written < bytes && file.write_all(&block).is_ok() {
            written += block.len();
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        for program in [&["umount", "-l"][..], &["sudo", "-n", "umount", "-l"][..]] {
            let (first, rest) = program.split_first().expect("a program");
            let done = Command::new(first).args(rest).arg(&self.path).status();
            if done.is_ok_and(|status| status.success()) {
                return;
            }
        }
    }
}

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
        data: Some(disk.path.join("data")),
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
        free_bytes(&disk.path)
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
