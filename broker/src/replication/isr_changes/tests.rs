//! Wishes on their way to a controller that answers, is silent, or is another by then.
//! Time is tokio's, paused; the controller is a script.

use std::collections::{BTreeMap, VecDeque};

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::alter_partition::{
    AlterPartitionResponsePartition, AlterPartitionResponseTopic,
};
use nyala_coordinator::cluster::BrokerInfo;
use nyala_coordinator::ids::{BrokerEpoch, LeaderEpoch, PartitionIndex, TopicId, TopicName};

use super::*;
use crate::replication::{FollowerFetch, PartitionConfig, ReplicaState};
use crate::storage::{LogConfig, LogDirs, LogDirsConfig};

const THIS: BrokerId = BrokerId(1);
const OTHER: BrokerId = BrokerId(2);

/// What the controller does with a request.
#[derive(Clone, Copy)]
enum Act {
    Grant,
    Refuse(ErrorCode),
    Fail(ErrorCode),
    BeSilent,
}

#[derive(Default)]
struct Script {
    acts: Mutex<VecDeque<Act>>,
    asked: Mutex<Vec<(BrokerId, AlterPartitionRequest, i16)>>,
}

impl AskController for Arc<Script> {
    fn ask(
        &self,
        controller: BrokerId,
        request: AlterPartitionRequest,
        version: i16,
    ) -> BoxFuture<'_, Option<AlterPartitionResponse>> {
        self.asked
            .lock()
            .push((controller, request.clone(), version));
        let act = self.acts.lock().pop_front().unwrap_or(Act::Grant);
        Box::pin(async move {
            match act {
                Act::BeSilent => std::future::pending().await,
                Act::Fail(error) => Some(AlterPartitionResponse {
                    error_code: error.code(),
                    ..AlterPartitionResponse::default()
                }),
                Act::Grant => Some(answer(&request, ErrorCode::None)),
                Act::Refuse(error) => Some(answer(&request, error)),
            }
        })
    }
}

fn answer(request: &AlterPartitionRequest, error: ErrorCode) -> AlterPartitionResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic
            .partitions
            .iter()
            .map(|asked| AlterPartitionResponsePartition {
                partition_index: asked.partition_index,
                error_code: error.code(),
                leader_id: request.broker_id,
                leader_epoch: asked.leader_epoch,
                isr: asked.new_isr.clone(),
                leader_recovery_state: 0,
                partition_epoch: asked.partition_epoch + 1,
            });
        AlterPartitionResponseTopic {
            topic_name: String::new(),
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
        }
    });
    AlterPartitionResponse {
        topics: topics.collect(),
        ..AlterPartitionResponse::default()
    }
}

struct Fixture {
    partition: Arc<Partition>,
    changes: Arc<IsrChanges>,
    script: Arc<Script>,
    snapshots: watch::Sender<Arc<ClusterSnapshot>>,
    _task: tokio_util::task::AbortOnDropHandle<()>,
    _logs: Arc<LogDirs>,
    _folder: tempfile::TempDir,
}

fn cluster(controller: BrokerId) -> Arc<ClusterSnapshot> {
    let broker = |id: BrokerId| BrokerInfo {
        id,
        epoch: BrokerEpoch(7),
        endpoints: Vec::new(),
        rack: None,
    };
    Arc::new(ClusterSnapshot {
        cluster_id: None,
        controller: Some(controller),
        brokers: [(THIS, broker(THIS)), (OTHER, broker(OTHER))].into(),
        topics: BTreeMap::new(),
    })
}

/// A leader whose one follower is not in sync, and a running task.
fn start(acts: impl IntoIterator<Item = Act>) -> Fixture {
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
    let topic_id = Some(TopicId::random());
    let log = logs
        .create(&id, topic_id, Arc::new(LogConfig::default()), 0)
        .unwrap();
    let config = Arc::new(PartitionConfig::default());
    let partition = Arc::new(Partition::new(id, topic_id, log, config));
    let state = ReplicaState {
        replicas: vec![THIS, OTHER],
        ..ReplicaState::alone(THIS, LeaderEpoch(0))
    };
    partition.apply(THIS, &state).unwrap();
    let table = Arc::new(Table::new());
    table.insert(Arc::clone(&partition));
    let script = Arc::new(Script::default());
    script.acts.lock().extend(acts);
    let (sender, snapshots) = watch::channel(cluster(THIS));
    let changes = IsrChanges::new();
    let task = Task {
        this: THIS,
        changes: Arc::clone(&changes),
        table,
        controller: Arc::clone(&script),
        snapshots,
        wishes: BTreeMap::new(),
        refused: BTreeMap::new(),
    };
    Fixture {
        partition,
        changes,
        script,
        snapshots: sender,
        _task: tokio_util::task::AbortOnDropHandle::new(tokio::spawn(task.run())),
        _logs: logs,
        _folder: folder,
    }
}

impl Fixture {
    /// The follower fetches, and could join.
    fn catch_up(&self) {
        let fetch = FollowerFetch {
            broker: OTHER,
            broker_epoch: 7,
            offset: 0,
            log_start: 0,
            leader_epoch: None,
            last_epoch: None,
            now: Instant::now(),
        };
        let view = self.partition.note_fetch(&fetch).unwrap();
        assert!(view.may_join);
        self.changes.nudge(&self.partition);
    }

    async fn in_sync(&self, isr: &[BrokerId]) {
        let reached = async {
            while self.partition.state().unwrap().isr != isr {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(120), reached).await;
        let state = self.partition.state();
        assert!(waited.is_ok(), "{state:?}");
    }

    fn asked(&self) -> usize {
        self.script.asked.lock().len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_caught_up_joins_at_once() {
    let fixture = start([]);
    let began = Instant::now();
    fixture.catch_up();
    fixture.in_sync(&[THIS, OTHER]).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    let asked = fixture.script.asked.lock();
    let (controller, request, version) = asked.first().unwrap();
    assert_eq!((*controller, *version), (THIS, 3));
    assert_eq!((request.broker_id, request.broker_epoch), (1, 7));
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_falls_silent_behind_leaves() {
    let fixture = start([]);
    fixture.catch_up();
    fixture.in_sync(&[THIS, OTHER]).await;
    let mut batch = nyala_client::wire::batch::BatchBuilder::new(Default::default());
    batch.append(0, None, Some(b"value"), &[]).unwrap();
    let batch = batch.build().unwrap();
    let (origin, acks) = (
        crate::storage::Origin::Client,
        crate::replication::Acks::Leader,
    );
    fixture.partition.append(&batch, origin, acks, 0).unwrap();
    fixture.in_sync(&[THIS]).await;
    assert_eq!(fixture.partition.log().lock().high_watermark(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_failed_as_a_whole_is_asked_again() {
    let fixture = start([
        Act::Fail(ErrorCode::NotController),
        Act::Refuse(ErrorCode::UnknownTopicId),
        Act::Grant,
    ]);
    fixture.catch_up();
    fixture.in_sync(&[THIS, OTHER]).await;
    assert_eq!(fixture.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_silent_controller_is_left_for_the_next() {
    let fixture = start([Act::BeSilent, Act::Grant]);
    fixture.catch_up();
    while fixture.asked() == 0 {
        tokio::task::yield_now().await;
    }
    fixture.snapshots.send_replace(cluster(OTHER));
    fixture.in_sync(&[THIS, OTHER]).await;
    assert_eq!(fixture.script.asked.lock().last().unwrap().0, OTHER);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_not_the_current_one_is_not_tried_again() {
    let fixture = start([Act::Refuse(ErrorCode::InvalidUpdateVersion)]);
    fixture.catch_up();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(fixture.asked(), 1, "only newer facts help");
    let newer = ReplicaState {
        replicas: vec![THIS, OTHER],
        partition_epoch: 5,
        ..ReplicaState::alone(THIS, LeaderEpoch(0))
    };
    fixture.partition.apply(THIS, &newer).unwrap();
    fixture.catch_up();
    fixture.in_sync(&[THIS, OTHER]).await;
    let asked = fixture.script.asked.lock();
    let request = &asked.last().unwrap().1;
    assert_eq!(request.topics[0].partitions[0].partition_epoch, 5);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_eligible_is_asked_for_again_later() {
    let fixture = start([Act::Refuse(ErrorCode::IneligibleReplica)]);
    let began = Instant::now();
    fixture.catch_up();
    fixture.in_sync(&[THIS, OTHER]).await;
    assert!(began.elapsed() >= REFUSED_FOR);
}
