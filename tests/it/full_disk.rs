//! A file system of 256 MB, filled to the brim under load: a clear, retriable refusal, no crash, and
//! it goes on by itself when space returns. Restarting at 100% full works.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::cluster::{Dev, DevOptions, nyala};
use harness::history::History;
use harness::rdkafka::{producer, read_all};
use harness::wait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};

/// A small file system in memory, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        fs::create_dir_all(at).expect("mount point");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=256m", "tmpfs"])
            .arg(at);
        let status = mount.status().expect("mount runs");
        assert!(
            status.success(),
            "cannot mount a file system of 256 MB (root is needed): {status}"
        );
        Self(at.to_owned())
    }

    /// Takes all space that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).expect("ballast");
        for size in [1 << 20, 4096, 1] {
            let block = vec![0; size];
            while file.write_all(&block).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Sends values until one is refused; the error.
fn send_until_refused(
    runtime: &tokio::runtime::Runtime,
    producer: &FutureProducer,
    history: &mut History,
) -> Option<KafkaError> {
    for n in 0..20_000 {
        let value = format!("{n}-{}", "v".repeat(20_000));
        let record = FutureRecord::<(), _>::to("fills")
            .partition(0)
            .payload(&value);
        match runtime.block_on(producer.send(record, Duration::from_secs(5))) {
            Ok(at) => history.acked("fills", at.partition, at.offset, value.as_bytes()),
            Err((error, _)) => {
                history.unknown(value.as_bytes());
                return Some(error);
            }
        }
    }
    None
}

#[test]
fn a_full_disk_refuses_and_resumes() {
    let folder = tempfile::tempdir().expect("folder");
    let disk = SmallDisk::mount(&folder.path().join("disk"));
    let mut dev = Dev::start_with(DevOptions {
        data: Some(folder.path().join("disk/data")),
        brokers: 0,
        overrides: vec![
            "min.free.bytes=16777216".into(),
            "log.segment.bytes=33554432".into(),
        ],
    });
    let bootstrap = dev.bootstrap();
    let create = ["topic", "create", "fills", "--bootstrap", &bootstrap];
    nyala(dev.folder(), &create).expect_success("create");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut history = History::default();
    // Every attempt of the client is to be seen, so it must give up soon.
    let settings = [
        ("message.timeout.ms", "3000"),
        ("retries", "0"),
        ("enable.idempotence", "false"),
    ];
    let first = producer(&bootstrap, &settings);
    let refused = send_until_refused(&runtime, &first, &mut history);
    let refused = refused.expect("256 MB hold less than 400 MB");
    let storage = RDKafkaErrorCode::KafkaStorageError;
    let timed_out = RDKafkaErrorCode::MessageTimedOut;
    assert!(
        matches!(&refused, KafkaError::MessageProduction(c) if *c == storage || *c == timed_out),
        "{refused:?}"
    );
    assert!(dev.process().is_running());

    // The last byte is taken by somebody else, and the broker is killed and started again.
    let ballast = disk.fill();
    dev.kill();
    dev.restart();
    let read = read_all(&dev.bootstrap(), "fills", 0);
    assert!(!read.is_empty());

    fs::remove_file(ballast).expect("space comes back");
    let shrink = [
        "topic",
        "alter",
        "fills",
        "--config",
        "retention.bytes=67108864",
        "--bootstrap",
    ];
    nyala(dev.folder(), &[&shrink[..], &[&bootstrap]].concat()).expect_success("alter");
    fs::write(folder.path().join("marker"), "").expect("outside of the small disk");
    // Free space is now below the limit or above it, as the logs left it: delete what is oldest.
    let end = read.last().map_or(0, |(offset, _)| offset + 1);
    let second = producer(&bootstrap, &[("message.timeout.ms", "5000")]);
    let json =
        format!("{{\"partitions\":[{{\"topic\":\"fills\",\"partition\":0,\"offset\":{end}}}]}}");
    let file = folder.path().join("delete.json");
    fs::write(&file, json).expect("written");
    let args = [
        "--bootstrap-server",
        &bootstrap,
        "--offset-json-file",
        &file.to_string_lossy(),
    ];
    harness::kafka::tool(dev.folder(), "DeleteRecordsCommand", &args)
        .expect_success("delete records");
    let at = wait::until("a record to be accepted again", || {
        let record = FutureRecord::<(), _>::to("fills")
            .partition(0)
            .payload("again");
        runtime
            .block_on(second.send(record, Duration::from_secs(5)))
            .map_err(|(e, _)| e)
    });
    assert!(at.offset >= end, "{} is before {end}", at.offset);

    // What was acknowledged before the disk was full is what was read at 100% full.
    let findings = history.check("fills", 0, &read);
    assert!(findings.is_empty(), "{findings:#?}");
    dev.stop();
    drop(disk);
}
