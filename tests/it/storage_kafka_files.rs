//! Log folders as a contract: Kafka's own tool reads what we write, a real Kafka 3.9.1 opens a folder that
//! we appended to, and we open one that it wrote, stopped or killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use harness::folder::in_memory;
use harness::kafka::{KafkaBroker, tool};
use harness::rdkafka::{producer, read_all};
use harness::wait;
use harness::zookeeper::RealZooKeeper;
use nyala::storage::{AppendAs, LogConfig, LogDirs, LogDirsConfig, OpenReport, Origin, ReadAt};
use nyala_client::wire::batch::{BatchBuilder, BatchOptions, Batches};
use nyala_client::wire::compression::Codec;
use nyala_coordinator::clock;
use nyala_coordinator::ids::{LeaderEpoch, PartitionIndex, TopicName, TopicPartition};
use rdkafka::producer::FutureRecord;

fn partition() -> TopicPartition {
    TopicPartition {
        topic: TopicName::new("moved").expect("legal"),
        partition: PartitionIndex(0),
    }
}

fn open(folder: &Path) -> (Arc<LogDirs>, OpenReport) {
    let config = LogDirsConfig {
        dirs: vec![folder.to_path_buf()],
        recovery_threads_per_dir: 2,
        min_free_bytes: 0,
    };
    let settings = Arc::new(LogConfig {
        segment_bytes_max: 200_000,
        index_interval_bytes: 1024,
        ..LogConfig::default()
    });
    LogDirs::open(config, &|_| Arc::clone(&settings), clock::wall_ms()).expect("opens")
}

fn close(dirs: &LogDirs) {
    let report = dirs.close();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
}

/// Appends `values`, some a batch, codecs and an idempotent producer taking turns.
fn append(dirs: &LogDirs, values: &[String]) {
    let log = dirs
        .create(&partition(), None, Arc::clone(&config_of(dirs)), 0)
        .expect("created");
    let mut log = log.lock();
    let epoch = log.latest_epoch().unwrap_or(LeaderEpoch(0));
    let codecs = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];
    let mut sequence = 0;
    for (i, some) in values.chunks(7).enumerate() {
        let mut builder = BatchBuilder::new(BatchOptions {
            codec: codecs[i % codecs.len()],
            producer_id: 4242,
            producer_epoch: 0,
            base_sequence: sequence,
            ..BatchOptions::default()
        });
        for value in some {
            let now = clock::wall_ms();
            builder
                .append(now, Some(b"key"), Some(value.as_bytes()), &[])
                .expect("fits");
        }
        sequence += builder.count();
        let how = AppendAs {
            leader_epoch: epoch,
            origin: Origin::Client,
            now_ms: clock::wall_ms(),
            log_append_time: false,
            fences: &[],
        };
        let batch = builder.build().expect("builds");
        log.append(&batch, &how).expect("appended");
    }
    log.set_high_watermark(i64::MAX);
}

fn config_of(dirs: &LogDirs) -> Arc<LogConfig> {
    match dirs.log(&partition()) {
        Some(log) => Arc::clone(log.lock().config()),
        None => Arc::new(LogConfig {
            segment_bytes_max: 200_000,
            index_interval_bytes: 1024,
            ..LogConfig::default()
        }),
    }
}

/// Every record of the log: offset and value.
fn read(dirs: &LogDirs) -> Vec<(i64, Vec<u8>)> {
    let log = dirs.log(&partition()).expect("there");
    let log = log.lock();
    let mut records = Vec::new();
    let mut offset = log.log_start();
    while offset < log.next_offset() {
        let slice = log
            .read(ReadAt {
                offset,
                max_bytes: 50_000,
                at_least_one: true,
                upper_bound: i64::MAX,
            })
            .expect("within the log");
        for batch in Batches::new(&slice.read_all().expect("readable")) {
            let batch = batch.expect("whole");
            batch.check_crc().expect("sound");
            let body = batch.decompress(1 << 20).expect("decompressed");
            for record in batch.records(&body) {
                let record = record.expect("a record");
                let value = record.value.unwrap_or_default().to_vec();
                records.push((record.offset, value));
            }
        }
        offset = slice.next_offset;
    }
    records
}

fn values(prefix: &str, count: usize) -> Vec<String> {
    let text = |i| format!("{prefix}-{i}-{}", "v".repeat(i % 300));
    (0..count).map(text).collect()
}

fn numbered(values: &[&[String]]) -> Vec<(i64, Vec<u8>)> {
    let all = values.iter().flat_map(|v| v.iter());
    (0..).zip(all.map(|v| v.as_bytes().to_vec())).collect()
}

fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("listed");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("entry").path())
        .filter(|path| {
            let extension = path.extension().unwrap_or_default();
            extensions.iter().any(|e| extension == *e)
        })
        .collect();
    files.sort();
    files
}

fn dump(folder: &Path, files: &[PathBuf]) -> String {
    let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    let list = names.join(",");
    let args = ["--deep-iteration", "--files", list.as_str()];
    tool(folder, "kafka.tools.DumpLogSegments", &args).expect_success("DumpLogSegments")
}

fn check_dump(text: &str) {
    for complaint in [
        "isvalid: false",
        "Mismatches in",
        "Non-consecutive offsets",
        "Found timestamp mismatch",
        "Found out of order",
        "Exception",
        "corrupt",
    ] {
        assert!(!text.contains(complaint), "{complaint}:\n{text}");
    }
}

#[test]
fn dump_log_segments_finds_nothing_to_complain_about() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path().join("data");
    let (dirs, _) = open(&data);
    let written = values("ours", 4000);
    append(&dirs, &written);
    close(&dirs);
    let log = data.join("moved-0");
    let segments = files(&log, &["log"]);
    assert!(segments.len() > 1, "{segments:?}");
    let text = dump(folder.path(), &files(&log, &["log", "index", "timeindex"]));
    check_dump(&text);
    assert!(text.contains("lastOffset: 3999"), "{text}");
    assert!(text.contains("compresscodec: zstd"), "{text}");
    let text = dump(folder.path(), &files(&log, &["snapshot"]));
    assert!(text.contains("producerId: 4242"), "{text}");
    assert!(text.contains("lastSequence: 3999"), "{text}");
}

struct Pair {
    folder: tempfile::TempDir,
    _memory: tempfile::TempDir,
    zookeeper: RealZooKeeper,
    kafka: KafkaBroker,
}

impl Pair {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let memory = in_memory();
        let zookeeper = RealZooKeeper::start(memory.path());
        let kafka = Self::kafka(folder.path(), &zookeeper);
        Self {
            folder,
            _memory: memory,
            zookeeper,
            kafka,
        }
    }

    fn kafka(folder: &Path, zookeeper: &RealZooKeeper) -> KafkaBroker {
        let settings = ["log.segment.bytes=100000", "log.index.interval.bytes=1024"];
        KafkaBroker::start(folder, 0, &zookeeper.address, &settings)
    }

    fn restart(&mut self) {
        self.kafka = Self::kafka(self.folder.path(), &self.zookeeper);
    }

    fn produce(&self, values: &[String]) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("runtime");
        let extra = [("compression.type", "lz4"), ("linger.ms", "5")];
        let producer = producer(&self.kafka.address, &extra);
        let sends: Vec<_> = values
            .iter()
            .map(|value| {
                let record = FutureRecord::<(), _>::to("moved").payload(value);
                producer.send(record, Duration::from_secs(60))
            })
            .collect();
        for send in sends {
            runtime.block_on(send).expect("delivered");
        }
    }
}

#[test]
fn a_folder_goes_from_kafka_to_us_and_back() {
    let mut pair = Pair::start();
    let theirs = values("theirs", 3000);
    pair.produce(&theirs);
    let ended = pair.kafka.process.terminate();
    assert!(ended.status.code().is_some(), "it stopped by itself");

    let (dirs, report) = open(&pair.kafka.log_folder);
    assert!(report.offline.is_empty(), "{:?}", report.offline);
    assert_eq!(report.bytes_scanned, 0, "it was stopped cleanly");
    assert!(
        read(&dirs) == numbered(&[&theirs]),
        "same records, same offsets"
    );
    let log = dirs.log(&partition()).expect("there");
    assert_eq!(log.lock().high_watermark(), 3000);
    assert!(log.lock().topic_id().is_some());
    let ours = values("ours", 3000);
    append(&dirs, &ours);
    drop(log);
    close(&dirs);
    drop(dirs);
    let log = pair.kafka.log_folder.join("moved-0");
    let text = dump(
        pair.folder.path(),
        &files(&log, &["log", "index", "timeindex"]),
    );
    check_dump(&text);

    pair.restart();
    let more = values("theirs again", 100);
    pair.produce(&more);
    let found = read_all(&pair.kafka.address, "moved", 0);
    assert!(
        found == numbered(&[&theirs, &ours, &more]),
        "{} records",
        found.len()
    );
}

#[test]
fn a_folder_of_a_killed_kafka_is_recovered() {
    let mut pair = Pair::start();
    let theirs = values("theirs", 2000);
    pair.produce(&theirs);
    pair.kafka.process.kill();
    let (dirs, report) = open(&pair.kafka.log_folder);
    assert!(report.offline.is_empty(), "{:?}", report.offline);
    assert!(report.bytes_scanned > 0);
    assert!(
        read(&dirs) == numbered(&[&theirs]),
        "same records, same offsets"
    );
    close(&dirs);
}

#[test]
fn kafka_recovers_a_folder_that_we_were_killed_on() {
    let mut pair = Pair::start();
    let theirs = values("theirs", 50);
    pair.produce(&theirs);
    pair.kafka.process.terminate();
    let (dirs, _) = open(&pair.kafka.log_folder);
    let ours = values("ours", 500);
    append(&dirs, &ours);
    // As after a kill: the file keeps its allocated, zero end, no marker says that it is clean.
    let copy = pair.folder.path().join("copy");
    copy_tree(&pair.kafka.log_folder, &copy);
    close(&dirs);
    drop(dirs);
    fs::remove_dir_all(&pair.kafka.log_folder).expect("removed");
    copy_tree(&copy, &pair.kafka.log_folder);

    pair.restart();
    let found = wait::until("all records", || {
        let found = read_all(&pair.kafka.address, "moved", 0);
        if found.len() == 550 {
            Ok(found)
        } else {
            Err(found.len())
        }
    });
    assert!(
        found == numbered(&[&theirs, &ours]),
        "{} records",
        found.len()
    );
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}
