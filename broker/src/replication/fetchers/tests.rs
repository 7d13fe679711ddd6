//! Fetch loops against a leader that a test plays, request by request.

mod leader;

use std::time::Duration;

use nyala_client::wire::ErrorCode;
use nyala_client::wire::batch::{BatchBuilder, BatchOptions, stamp};
use nyala_client::wire::messages::fetch::{EpochEndOffset, PartitionData};
use nyala_coordinator::ids::{LeaderEpoch, PartitionIndex, TopicId, TopicName};

use super::*;
use crate::config::{Live, Properties, Settings};
use crate::replication::{PartitionConfig, PeersConfig, ReplicaState, Side};
use crate::storage::{LogConfig, LogDirs, LogDirsConfig};
use leader::Leader;

const LEADER: BrokerId = BrokerId(1);
const THIS: BrokerId = BrokerId(2);
const TOPIC_ID: TopicId = TopicId([7; 16]);

/// A follower with logs of its own, and the leader that is played.
struct Scene {
    leader: Leader,
    fetchers: Arc<Fetchers>,
    live: Arc<Live>,
    logs: Arc<LogDirs>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dirs = LogDirsConfig {
            dirs: vec![folder.path().to_owned()],
            recovery_threads_per_dir: 1,
            min_free_bytes: 0,
        };
        let (logs, _) = LogDirs::open(dirs, &|_| Arc::default(), 0).unwrap();
        let properties = Properties::parse(settings.as_bytes()).unwrap();
        let (settings, _) = Settings::load(&properties).unwrap();
        let leader = Leader::start(LEADER).await;
        let live = Arc::new(Live::new(settings.clone()));
        let fetchers = Fetchers::new(FetcherParts {
            peers: Peers::new(PeersConfig::of(&settings, THIS), leader.snapshots()),
            settings: FetcherSettings::of(&settings),
            broker_epoch: watch::channel(Some(BrokerEpoch(42))).1,
            throttle: Throttle::new(Side::Follower, THIS, Arc::clone(&live)),
        });
        Self {
            leader,
            fetchers,
            live,
            logs,
            _folder: folder,
        }
    }

    /// A partition that follows in `epoch`, its log empty.
    fn partition(&self, index: i32, epoch: i32) -> Arc<Partition> {
        let id = TopicPartition {
            topic: TopicName::new("t").unwrap(),
            partition: PartitionIndex(index),
        };
        let config = Arc::new(LogConfig::default());
        let log = self.logs.create(&id, Some(TOPIC_ID), config, 0).unwrap();
        let config = PartitionConfig {
            follower_throttled: crate::replication::ThrottledReplicas::All,
            ..PartitionConfig::default()
        };
        let partition = Partition::new(id, Some(TOPIC_ID), log, Arc::new(config));
        follow(&partition, epoch);
        Arc::new(partition)
    }
}

fn follow(partition: &Partition, epoch: i32) {
    let state = ReplicaState {
        leader: Some(LEADER),
        replicas: vec![LEADER, THIS],
        ..ReplicaState::alone(LEADER, LeaderEpoch(epoch))
    };
    partition.apply(THIS, &state).unwrap();
}

/// One batch of `count` records from `offset` on, as a leader of `epoch` keeps it.
fn batch(offset: i64, count: usize, epoch: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..count {
        builder.append(0, None, Some(b"value"), &[]).unwrap();
    }
    let mut batch = builder.build().unwrap().to_vec();
    stamp(&mut batch, offset, epoch);
    batch
}

fn records(index: i32, high_watermark: i64, bytes: Vec<u8>) -> PartitionData {
    PartitionData {
        partition_index: index,
        high_watermark,
        log_start_offset: 0,
        records: Some(bytes.into()),
        ..PartitionData::default()
    }
}

fn failed(index: i32, error: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index: index,
        error_code: error.code(),
        high_watermark: -1,
        ..PartitionData::default()
    }
}

#[test]
fn partitions_are_spread_over_loops_as_in_kafka() {
    let place = |topic: &str, index, fetchers| {
        let id = TopicPartition {
            topic: TopicName::new(topic).unwrap(),
            partition: PartitionIndex(index),
        };
        choose_fetcher(&id, fetchers)
    };
    // "t".hashCode() is 116, and 31 * 116 + 1 = 3597.
    assert_eq!(place("t", 1, 10), 7);
    assert_eq!(place("t", 1, 1), 0);
    // The hash of a long name is negative.
    assert!(place("__consumer_offsets", 49, 4) < 4);
}

#[tokio::test]
async fn batches_are_copied_as_they_are_in_a_session() {
    let scene = Scene::new("").await;
    let partition = scene.partition(0, 5);
    scene.fetchers.assign(&partition);

    let first = scene.leader.asked().await;
    assert_eq!(first.version, 17);
    assert_eq!((first.fetch.session_id, first.fetch.session_epoch), (0, 0));
    let state = &first.fetch.replica_state;
    assert_eq!((state.replica_id, state.replica_epoch), (THIS.0, 42));
    assert_eq!(
        first.offsets(),
        [(0, 0, 5, -1)],
        "partition, offset, epochs"
    );
    let sent = [batch(0, 3, 4), batch(3, 2, 5)].concat();
    // The leader cuts its answer off within a batch.
    let answer = [sent.clone(), batch(5, 9, 5)[..70].to_vec()].concat();
    first.answer(9, vec![records(0, 4, answer)]);

    let second = scene.leader.asked().await;
    assert_eq!(
        (second.fetch.session_id, second.fetch.session_epoch),
        (9, 1)
    );
    assert_eq!(second.offsets(), [(0, 5, 5, 5)]);
    assert_eq!(partition.log().lock().high_watermark(), 4);
    second.answer(9, vec![records(0, 5, Vec::new())]);
    // Nothing changed: nothing is named.
    let third = scene.leader.asked().await;
    assert_eq!((third.fetch.session_id, third.fetch.session_epoch), (9, 2));
    assert!(third.offsets().is_empty());
    assert_eq!(partition.log().lock().high_watermark(), 5);
    let dir = partition.log().lock().dir().to_owned();
    let file = std::fs::read(dir.join("00000000000000000000.log")).unwrap();
    assert_eq!(file[..sent.len()], sent);
    scene.fetchers.close().await;
}

#[tokio::test]
async fn a_damaged_batch_stops_its_partition_only() {
    let scene = Scene::new("").await;
    let (good, bad) = (scene.partition(0, 1), scene.partition(1, 1));
    scene.fetchers.assign(&good);
    scene.fetchers.assign(&bad);
    let mut damaged = batch(0, 1, 1);
    *damaged.last_mut().unwrap() ^= 1;
    let mut paused = false;
    loop {
        let asked = scene.leader.asked().await;
        paused |= asked.forgets(1);
        if asked.ends(&[5]) {
            break;
        }
        let answers = asked.wants.iter().map(|want| match want.0 {
            0 => records(0, 0, batch(want.1, 1, 1)),
            _ => records(1, 0, damaged.clone()),
        });
        let answers = answers.collect();
        asked.answer(3, answers);
    }
    assert!(paused, "it was left out for a while");
    assert_eq!(bad.log().lock().next_offset(), 0);
    scene.fetchers.close().await;
}

#[tokio::test]
async fn a_log_that_parted_is_cut_before_it_goes_on() {
    let scene = Scene::new("").await;
    let partition = scene.partition(0, 2);
    let copied = [batch(0, 4, 1), batch(4, 4, 2)].concat();
    let none = LeaderOffsets {
        high_watermark: 2,
        log_start: 0,
    };
    partition
        .append_fetched(LeaderEpoch(2), &copied, none, 0)
        .unwrap();
    follow(&partition, 7);
    scene.fetchers.assign(&partition);
    let asked = scene.leader.asked().await;
    assert_eq!(asked.offsets(), [(0, 8, 7, 2)]);
    let diverging_epoch = EpochEndOffset {
        epoch: 1,
        end_offset: 4,
    };
    let answer = PartitionData {
        diverging_epoch,
        ..records(0, 100, Vec::new())
    };
    asked.answer(3, vec![answer]);
    let asked = scene.leader.asked().await;
    assert_eq!(asked.offsets(), [(0, 4, 7, 1)]);
    assert_eq!(
        partition.log().lock().high_watermark(),
        2,
        "not believed yet"
    );
    asked.answer(3, vec![records(0, 5, batch(4, 1, 7))]);
    assert_eq!(scene.leader.asked().await.offsets(), [(0, 5, 7, 7)]);
    scene.fetchers.close().await;
}

#[tokio::test]
async fn what_is_no_offset_costs_nothing() {
    let scene = Scene::new("").await;
    let partition = scene.partition(0, 2);
    let none = LeaderOffsets {
        high_watermark: 2,
        log_start: 0,
    };
    partition
        .append_fetched(LeaderEpoch(2), &batch(0, 4, 2), none, 0)
        .unwrap();
    scene.fetchers.assign(&partition);
    scene.leader.has(-1, -1);
    let parted = PartitionData {
        diverging_epoch: EpochEndOffset {
            epoch: 1,
            end_offset: -1,
        },
        ..records(0, 100, Vec::new())
    };
    let truth = records(0, 4, Vec::new());
    for answer in [failed(0, ErrorCode::OffsetOutOfRange), parted, truth] {
        let asked = loop {
            let asked = scene.leader.asked().await;
            if !asked.offsets().is_empty() {
                break asked;
            }
            asked.answer(3, Vec::new());
        };
        assert_eq!(asked.offsets(), [(0, 4, 2, 2)]);
        asked.answer(3, vec![answer]);
    }
    assert_eq!(partition.log().lock().next_offset(), 4);
    scene.fetchers.close().await;
}

#[tokio::test]
async fn a_follower_that_fell_behind_the_leaders_start_starts_anew() {
    let scene = Scene::new("").await;
    let partition = scene.partition(0, 2);
    scene.fetchers.assign(&partition);
    scene.leader.has(1000, 5000);
    let asked = scene.leader.asked().await;
    asked.answer(3, vec![failed(0, ErrorCode::OffsetOutOfRange)]);
    let asked = scene.leader.asked().await;
    assert_eq!(asked.offsets(), [(0, 1000, 2, -1)]);
    assert_eq!(partition.log().lock().log_start(), 1000);
    scene.fetchers.close().await;
}

#[tokio::test]
async fn a_new_partition_does_not_wait_for_a_leader_that_is_silent() {
    let scene = Scene::new("replica.fetch.wait.max.ms=20000").await;
    let (one, two) = (scene.partition(0, 1), scene.partition(1, 1));
    scene.fetchers.assign(&one);
    let asked = scene.leader.asked().await;
    asked.answer(3, vec![records(0, 0, Vec::new())]);
    let silent = scene.leader.asked().await;
    assert!(silent.offsets().is_empty());
    scene.fetchers.assign(&two);
    let asked = scene.leader.asked().await;
    // On a new connection; the old session is named, so that the leader drops it.
    assert_eq!((asked.fetch.session_id, asked.fetch.session_epoch), (3, 0));
    assert_eq!(asked.offsets(), [(0, 0, 1, -1), (1, 0, 1, -1)]);
    drop(silent);
    scene.fetchers.close().await;
}

#[tokio::test]
async fn an_older_leader_is_asked_in_its_versions_and_for_its_epochs() {
    let scene = Scene::new("").await;
    let partition = scene.partition(0, 2);
    let copied = [batch(0, 3, 1), batch(3, 1, 1), batch(4, 4, 2)].concat();
    let none = LeaderOffsets {
        high_watermark: 0,
        log_start: 0,
    };
    partition
        .append_fetched(LeaderEpoch(2), &copied, none, 0)
        .unwrap();
    follow(&partition, 7);
    // It ends a connection on which a request comes that it does not know.
    scene.leader.serves_up_to(11);
    scene.leader.ends_epoch(2, 1, 3);
    scene.fetchers.assign(&partition);
    let asked = scene.leader.asked().await;
    assert_eq!((asked.version, asked.fetch.replica_id), (11, THIS.0));
    assert_eq!(
        asked.offsets(),
        [(0, 3, 7, -1)],
        "cut before it was fetched"
    );
    scene.fetchers.close().await;
}

#[tokio::test]
async fn throttled_partitions_that_are_behind_are_held_back() {
    let scene = Scene::new("").await;
    scene
        .live
        .set_dynamic(
            [(
                "follower.replication.throttled.rate".to_owned(),
                "10".to_owned(),
            )]
            .into(),
        )
        .unwrap();
    let partition = scene.partition(0, 1);
    scene.fetchers.assign(&partition);
    let asked = scene.leader.asked().await;
    asked.answer(3, vec![records(0, 1000, batch(0, 3, 1))]);
    let silent = scene.leader.asked_within(Duration::from_millis(400)).await;
    assert!(silent.is_none(), "{silent:?}");
    scene.live.set_dynamic(Default::default()).unwrap();
    let asked = scene.leader.asked().await;
    assert_eq!(asked.offsets(), [(0, 3, 1, 1)]);
    scene.fetchers.close().await;
}

#[tokio::test]
async fn a_broker_that_leaves_follows_nothing_more() {
    let scene = Scene::new("").await;
    let (before, after) = (scene.partition(0, 1), scene.partition(1, 1));
    scene.fetchers.assign(&before);
    scene.fetchers.leave();
    scene.fetchers.assign(&after);
    let followed = |p: &Arc<Partition>| scene.fetchers.loops.lock().places.contains_key(p.id());
    assert!(followed(&before) && !followed(&after));
    follow(&before, 2);
    scene.fetchers.assign(&before);
    assert!(!followed(&before), "its leader would take it in anew");
}
