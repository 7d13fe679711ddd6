//! One partition on a real log: who may append and read, and who is woken by what.
//! Time is tokio's, paused where a test waits for it.

use std::time::Duration;

use nyala_client::wire::batch::{BatchBuilder, BatchOptions};
use nyala_coordinator::ids::{PartitionIndex, TopicName};

use super::*;
use crate::replication::{Isolation, ReadError, ReadRequest, WaitError, WaitSet};
use crate::storage::{LogConfig, LogDirs, LogDirsConfig};

mod replicas;

struct Fixture {
    partition: Arc<Partition>,
    _logs: Arc<LogDirs>,
    _folder: tempfile::TempDir,
}

fn fixture(config: PartitionConfig) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let settings = LogDirsConfig {
        dirs: vec![folder.path().to_owned()],
        recovery_threads_per_dir: 1,
        min_free_bytes: 0,
    };
    let (logs, _) = LogDirs::open(settings, &|_| Arc::default(), 0).unwrap();
    let id = TopicPartition {
        topic: TopicName::new("t").unwrap(),
        partition: PartitionIndex(0),
    };
    let log = logs
        .create(&id, None, Arc::new(LogConfig::default()), 0)
        .unwrap();
    Fixture {
        partition: Arc::new(Partition::new(id, None, log, Arc::new(config))),
        _logs: logs,
        _folder: folder,
    }
}

fn leading() -> Fixture {
    let fixture = fixture(PartitionConfig::default());
    fixture.partition.lead(LeaderEpoch(3)).unwrap();
    fixture
}

fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(0, None, Some(b"value"), &[]).unwrap();
    builder.build().unwrap().to_vec()
}

fn append(partition: &Partition, acks: Acks) -> Result<Receipt, AppendError> {
    partition.append(&batch(), Origin::Client, acks, 0)
}

fn read(offset: i64, leader_epoch: Option<i32>) -> ReadRequest {
    ReadRequest {
        offset,
        max_bytes: 1 << 20,
        at_least_one: true,
        isolation: Isolation::ReadUncommitted,
        leader_epoch,
        at_follower: false,
    }
}

#[test]
fn only_a_leader_appends_and_reads() {
    let fixture = fixture(PartitionConfig::default());
    let partition = &fixture.partition;
    let refused = append(partition, Acks::Leader);
    assert!(
        matches!(refused, Err(AppendError::NotLeader(_))),
        "{refused:?}"
    );
    let refused = partition.read(&read(0, None));
    assert!(
        matches!(refused, Err(ReadError::NotLeader(_))),
        "{refused:?}"
    );

    partition.lead(LeaderEpoch(0)).unwrap();
    assert_eq!(
        append(partition, Acks::Leader)
            .unwrap()
            .appended
            .base_offset,
        0
    );
    partition.resign();
    assert!(append(partition, Acks::Leader).is_err());
    assert_eq!(partition.leading(), None);
}

#[test]
fn an_append_alone_is_replicated_at_once() {
    let fixture = leading();
    let receipt = append(&fixture.partition, Acks::All).unwrap();
    assert!(receipt.replicated && receipt.durable.is_none());
    let slice = fixture.partition.read(&read(0, None)).unwrap();
    assert_eq!(
        (slice.high_watermark, slice.last_stable, slice.log_start),
        (1, 1, 0)
    );
    assert_eq!(slice.slice.len, batch().len());
}

#[test]
fn acks_of_all_need_enough_replicas() {
    let fixture = fixture(PartitionConfig {
        min_insync_replicas: 2,
        ..PartitionConfig::default()
    });
    let this = BrokerId(1);
    let one_of_two = ReplicaState {
        replicas: vec![this, BrokerId(2)],
        ..ReplicaState::alone(this, LeaderEpoch(0))
    };
    fixture.partition.apply(this, &one_of_two).unwrap();
    let refused = append(&fixture.partition, Acks::All);
    let expected = matches!(
        refused,
        Err(AppendError::NotEnoughReplicas { needed: 2, .. })
    );
    assert!(expected, "{refused:?}");
    assert!(append(&fixture.partition, Acks::Leader).is_ok());
    // More than there are cannot be asked for.
    fixture.partition.lead(LeaderEpoch(1)).unwrap();
    assert!(append(&fixture.partition, Acks::All).unwrap().replicated);
}

#[test]
fn another_idea_of_the_epoch_is_refused() {
    let fixture = leading();
    let partition = &fixture.partition;
    assert!(partition.read(&read(0, Some(3))).is_ok());
    let old = partition.read(&read(0, Some(2)));
    assert!(
        matches!(old, Err(ReadError::FencedEpoch { current: 3, .. })),
        "{old:?}"
    );
    let new = partition.read(&read(0, Some(4)));
    assert!(
        matches!(new, Err(ReadError::UnknownEpoch { current: 3, .. })),
        "{new:?}"
    );
    // An epoch never goes back.
    partition.lead(LeaderEpoch(1)).unwrap();
    assert_eq!(partition.leading(), Some(LeaderEpoch(3)));
}

#[tokio::test]
async fn whoever_waits_is_woken_by_an_append_and_by_a_resignation() {
    let fixture = leading();
    let partition = &fixture.partition;
    let mut waits = WaitSet::new();
    waits.add(partition);
    assert!(futures::poll!(std::pin::pin!(waits.moved())).is_pending());
    append(partition, Acks::Leader).unwrap();
    waits.moved().await;
    partition.resign();
    waits.moved().await;
    drop(waits);
    assert!(partition.waits().is_empty());
}

#[tokio::test]
async fn who_waits_for_an_offset_is_not_woken_before() {
    let fixture = leading();
    let partition = &fixture.partition;
    let mut waits = WaitSet::new();
    waits.add_past(partition, 1);
    append(partition, Acks::Leader).unwrap();
    assert!(futures::poll!(std::pin::pin!(waits.moved())).is_pending());
    append(partition, Acks::Leader).unwrap();
    waits.moved().await;
    partition.resign();
    waits.moved().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_replicas_ends_with_time_or_leadership() {
    let fixture = leading();
    let partition = &fixture.partition;
    let soon = || Instant::now() + Duration::from_secs(1);
    append(partition, Acks::Leader).unwrap();
    assert!(partition.wait_replicated(0, soon()).await.is_ok());
    let late = partition.wait_replicated(1, soon()).await;
    assert!(matches!(late, Err(WaitError::TimedOut)), "{late:?}");
    let mut waiting = std::pin::pin!(partition.wait_replicated(1, soon()));
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    partition.resign();
    let ended = waiting.await;
    assert!(matches!(ended, Err(WaitError::NotLeader(_))), "{ended:?}");
}
