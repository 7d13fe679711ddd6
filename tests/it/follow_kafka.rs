//! Our follower behind a real Kafka 3.9.1 leader: segments byte for byte, offsets, a log that was cut at its
//! start. Only the fetch loops run here: no broker of ours is in that cluster.

use std::path::Path;
use std::sync::Arc;

use harness::folder::in_memory;
use harness::kafka::{KafkaBroker, tool};
use harness::rdkafka::producer;
use harness::wait;
use harness::zookeeper::RealZooKeeper;
use nyala::config::{Live, Properties, Settings};
use nyala::replication::{
    FetcherParts, FetcherSettings, Fetchers, Partition, PartitionConfig, Peers, PeersConfig,
    ReplicaState, Side, Throttle,
};
use nyala::storage::{LogConfig, LogDirs, LogDirsConfig};
use nyala_coordinator::cluster::ClusterView;
use nyala_coordinator::ids::{BrokerId, PartitionIndex, TopicName, TopicPartition};
use nyala_coordinator::session::{Session, SessionConfig};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::watch;

const THIS: BrokerId = BrokerId(2);
const TOPIC: &str = "copied";

/// A follower without a broker around it.
struct Follower {
    fetchers: Arc<Fetchers>,
    logs: Arc<LogDirs>,
    view: ClusterView,
}

impl Follower {
    async fn start(folder: &Path, zookeeper: &str, release: &str) -> Self {
        let session = Session::connect(SessionConfig::new(zookeeper.to_owned()))
            .await
            .expect("ZooKeeper runs");
        let view = ClusterView::start(session).await.expect("readable");
        let text = format!("inter.broker.protocol.version={release}\n");
        let properties = Properties::parse(text.as_bytes()).expect("syntax");
        let (settings, _) = Settings::load(&properties).expect("legal");
        let live = Arc::new(Live::new(settings.clone()));
        let fetchers = Fetchers::new(FetcherParts {
            peers: Peers::new(PeersConfig::of(&settings, THIS), view.subscribe()),
            settings: FetcherSettings::of(&settings),
            broker_epoch: watch::channel(None).1,
            throttle: Throttle::new(Side::Follower, THIS, live),
        });
        let config = LogDirsConfig {
            dirs: vec![folder.to_owned()],
            recovery_threads_per_dir: 1,
            min_free_bytes: 0,
        };
        let (logs, _) = LogDirs::open(config, &|_| Arc::default(), 0).expect("opens");
        Self {
            fetchers,
            logs,
            view,
        }
    }

    /// Partition `index` of the topic, following as the cluster says.
    async fn follow(&self, index: i32) -> Arc<Partition> {
        let id = TopicPartition {
            topic: TopicName::new(TOPIC).expect("legal"),
            partition: PartitionIndex(index),
        };
        let mut snapshots = self.view.subscribe();
        let (topic_id, state) = loop {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            let info = snapshot.partition(&id);
            if let Some((info, state)) = info.and_then(|i| Some((i, i.state.as_ref()?))) {
                let facts = ReplicaState {
                    leader: state.leader,
                    leader_epoch: state.leader_epoch,
                    partition_epoch: state.version,
                    isr: state.isr.clone(),
                    replicas: info.replicas.clone(),
                    adding: Vec::new(),
                    removing: Vec::new(),
                };
                break (snapshot.topics[&id.topic].id, facts);
            }
            snapshots.changed().await.expect("the view lives");
        };
        let config = Arc::new(LogConfig {
            segment_bytes_max: 200_000,
            ..LogConfig::default()
        });
        let log = self.logs.create(&id, topic_id, config, 0).expect("made");
        let config = Arc::new(PartitionConfig::default());
        let partition = Arc::new(Partition::new(id, topic_id, log, config));
        partition.apply(THIS, &state).expect("applies");
        self.fetchers.assign(&partition);
        partition
    }
}

/// With batches that fit a segment.
fn sender(address: &str, codec: &str) -> FutureProducer {
    producer(
        address,
        &[("compression.codec", codec), ("batch.size", "50000")],
    )
}

async fn send(producer: &FutureProducer, partition: i32, count: usize) {
    let payload = "x".repeat(900);
    let sent = (0..count).map(|n| {
        let value = format!("{n} {payload}");
        let producer = producer.clone();
        async move {
            let record = FutureRecord::<str, str>::to(TOPIC)
                .partition(partition)
                .payload(&value);
            let sent = producer.send(record, wait::SOON).await;
            sent.map_err(|(e, _)| e).expect("acknowledged");
        }
    });
    futures::future::join_all(sent).await;
}

/// All `.log` bytes of a partition's folder, in order of segments; zeros behind the end left out.
fn log_bytes(folder: &Path) -> Vec<u8> {
    let entries = std::fs::read_dir(folder).expect("a partition's folder");
    let mut files: Vec<_> = entries.map(|e| e.expect("entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "log"));
    files.sort();
    let mut bytes = Vec::new();
    for file in files {
        let content = std::fs::read(file).expect("readable");
        let mut at = 0;
        while let Some(head) = content.get(at..at + 12) {
            let size = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
            if size == 0 {
                break;
            }
            at += 12 + usize::try_from(size).expect("small");
        }
        bytes.extend_from_slice(&content[..at]);
    }
    bytes
}

fn await_end(partition: &Partition, end: i64) {
    wait::until("the copy to be whole, its high watermark too", || {
        let log = partition.log().lock();
        let ends = (log.next_offset(), log.high_watermark());
        if ends == (end, end) {
            Ok(())
        } else {
            Err(ends)
        }
    });
}

fn copies_from_a_real_leader(release: &str) {
    let folder = in_memory();
    let zookeeper = RealZooKeeper::start(folder.path());
    let settings = [
        &format!("inter.broker.protocol.version={release}")[..],
        "log.segment.bytes=200000",
    ];
    let kafka = KafkaBroker::start(folder.path(), 1, &zookeeper.address, &settings);
    let created = tool(
        folder.path(),
        "TopicCommand",
        &[
            "--bootstrap-server",
            &kafka.address,
            "--create",
            "--topic",
            TOPIC,
            "--replica-assignment",
            "1:2,1:2",
        ],
    );
    assert!(created.status.success(), "{}", created.stderr);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let producer = sender(&kafka.address, codec);
            send(&producer, 0, 200).await;
            send(&producer, 1, 20).await;
        }
        let copy = folder.path().join("copy");
        let follower = Follower::start(&copy, &zookeeper.address, release).await;
        let (large, small) = (follower.follow(0).await, follower.follow(1).await);
        tokio::task::block_in_place(|| await_end(&large, 1000));
        tokio::task::block_in_place(|| await_end(&small, 100));
        // What comes while it follows.
        send(&sender(&kafka.address, "none"), 1, 300).await;
        tokio::task::block_in_place(|| await_end(&small, 400));
        for index in 0..2 {
            let name = format!("{TOPIC}-{index}");
            let theirs = log_bytes(&kafka.log_folder.join(&name));
            let ours = log_bytes(&copy.join(&name));
            assert_eq!(theirs.len(), ours.len(), "{name}");
            assert!(theirs == ours, "{name}: the same batches");
        }
        // Records that the follower still needs are deleted while it is away.
        follower.fetchers.release(small.id());
        send(&sender(&kafka.address, "none"), 1, 100).await;
        delete_before(folder.path(), &kafka.address, 450);
        follower.fetchers.assign(&small);
        tokio::task::block_in_place(|| await_end(&small, 500));
        assert_eq!(small.log().lock().log_start(), 450);
        follower.fetchers.close().await;
        follower.logs.close();
    });
}

fn delete_before(folder: &Path, address: &str, offset: i64) {
    let file = folder.join("delete.json");
    let text = format!(
        r#"{{"partitions":[{{"topic":"{TOPIC}","partition":1,"offset":{offset}}}],"version":1}}"#
    );
    std::fs::write(&file, text).expect("written");
    let file = file.to_string_lossy();
    let args = ["--bootstrap-server", address, "--offset-json-file", &*file];
    let deleted = tool(folder, "DeleteRecordsCommand", &args);
    assert!(deleted.status.success(), "{}", deleted.stderr);
}

#[test]
fn our_follower_copies_a_real_leader() {
    copies_from_a_real_leader("3.9");
}

#[test]
fn our_follower_copies_a_real_leader_in_the_versions_of_2_6() {
    copies_from_a_real_leader("2.6");
}
