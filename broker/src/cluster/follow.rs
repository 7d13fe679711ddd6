//! Carries out what the cluster says about this broker's partitions: open and lead, resign, delete.
//!
//! One task, one at a time. What is to do comes from `actions.rs`; opening and deleting logs runs on
//! the blocking pool. A log that cannot be opened is reported once and left until its leader epoch
//! changes; the rest goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use nyala_coordinator::clock;
use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{BrokerId, LeaderEpoch, TopicId, TopicName, TopicPartition};
use nyala_coordinator::registry::{Registry, RegistryError};
use nyala_coordinator::session::Watch;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use super::actions::{Action, Local, Marked, diff};
use super::{Configs, Leading};
use crate::replication::{Partition, PartitionConfig, Table};
use crate::storage::{LogConfig, LogDirs, StorageError};

/// Pause after a read that failed.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// Logs that are opened at a time.
const LEADS_AT_A_TIME: usize = 8;

/// Topics that this broker has partitions of.
pub(super) type LocalTopics = BTreeSet<TopicName>;

/// What it works on.
pub(super) struct Parts {
    pub(super) this: BrokerId,
    pub(super) registry: Registry,
    pub(super) configs: Arc<Configs>,
    pub(super) table: Arc<Table>,
    pub(super) logs: Arc<LogDirs>,
}

/// Brings the table and the logs into line with the cluster, over and over.
pub(super) struct Follower {
    parts: Parts,
    marked: Marked,
    failed: BTreeSet<(TopicPartition, LeaderEpoch)>,
    /// Led here before this start, without a log, while a log folder is offline: it may be there.
    missing: BTreeSet<TopicPartition>,
    settled: bool,
    /// Topics whose overrides were read since they were made.
    known: BTreeMap<TopicName, Option<TopicId>>,
    leading: watch::Sender<Arc<Leading>>,
    local: watch::Sender<Arc<LocalTopics>>,
}

impl Follower {
    pub(super) fn new(parts: Parts) -> (Self, watch::Receiver<Arc<Leading>>) {
        let (leading, led) = watch::channel(Arc::default());
        let (local, _) = watch::channel(Arc::default());
        let follower = Self {
            parts,
            marked: Marked::new(),
            failed: BTreeSet::new(),
            missing: BTreeSet::new(),
            settled: false,
            known: BTreeMap::new(),
            leading,
            local,
        };
        (follower, led)
    }

    pub(super) fn local(&self) -> watch::Receiver<Arc<LocalTopics>> {
        self.local.subscribe()
    }

    /// Follows until dropped.
    pub(super) async fn run(mut self, mut snapshots: watch::Receiver<Arc<ClusterSnapshot>>) {
        let mut configs = self.parts.configs.changes();
        let mut marks = None;
        loop {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            if let Err(e) = self.round(&snapshot, &mut marks).await {
                debug!("following again: {e}");
                marks = None;
                tokio::time::sleep(RETRY_EVERY).await;
                continue;
            }
            let marked = async {
                match marks.as_mut() {
                    Some(watch) => watch.wait().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = marked => marks = None,
                changed = snapshots.changed() => if changed.is_err() { return },
                changed = configs.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.configure();
                }
            }
        }
    }

    async fn round(
        &mut self,
        snapshot: &ClusterSnapshot,
        marks: &mut Option<Watch>,
    ) -> Result<(), RegistryError> {
        if marks.is_none() {
            *marks = Some(self.read_marks().await?);
        }
        self.read_new_configs(snapshot).await?;
        if !self.settled {
            self.settled = true;
            self.look_at_disk(snapshot);
        }
        let actions = diff(
            self.parts.this,
            snapshot,
            &self.marked,
            &self.here(),
            &self.failed,
        );
        for action in &actions {
            debug!(?action, "partition");
        }
        let mut leads = Vec::new();
        for action in actions {
            match action {
                Action::Lead {
                    partition,
                    topic_id,
                    epoch,
                } => leads.push((partition, topic_id, epoch)),
                Action::Resign { partition } => self.resign(&partition),
                Action::Delete { partition } => self.delete(partition).await,
            }
        }
        self.lead_all(leads).await;
        self.publish();
        Ok(())
    }

    /// Notes which topics are marked, with the ids that they had when they were.
    async fn read_marks(&mut self) -> Result<Watch, RegistryError> {
        let (names, watch) = self.parts.registry.topics_to_delete().await?;
        for topic in names {
            let stored = self.parts.registry.topic(&topic).await?;
            // The mark goes with the topic: if it is still there, the id just read is the one meant.
            let id = match stored {
                Some(stored) => stored.assignment.id,
                None => {
                    let table = &self.parts.table;
                    let mut here = table.of_topic(topic.as_str()).into_values();
                    here.next().and_then(|p| p.topic_id())
                }
            };
            let (still, _) = self.parts.registry.topics_to_delete().await?;
            if still.contains(&topic) && !self.marked.contains_key(&topic) {
                info!("topic {topic} is marked for deletion");
                self.marked.insert(topic, id);
            }
        }
        Ok(watch)
    }

    /// The overrides of a topic that was just made come without a notice.
    async fn read_new_configs(&mut self, snapshot: &ClusterSnapshot) -> Result<(), RegistryError> {
        self.known
            .retain(|topic, _| snapshot.topics.contains_key(topic));
        let fresh = |(topic, info): &(&TopicName, &Arc<_>)| {
            let info: &Arc<nyala_coordinator::cluster::TopicInfo> = info;
            self.known.get(*topic) != Some(&info.id)
        };
        let fresh: Vec<_> = snapshot.topics.iter().filter(fresh).collect();
        let names: Vec<TopicName> = fresh.iter().map(|(topic, _)| (*topic).clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = fresh.iter().map(|(_, info)| info.id).collect();
        self.parts.configs.refresh(&names).await?;
        self.known.extend(names.into_iter().zip(ids));
        Ok(())
    }

    /// At the start: what the cluster says is here and is not, and the reverse.
    fn look_at_disk(&mut self, snapshot: &ClusterSnapshot) {
        let logs = self.parts.logs.logs();
        let strays: Vec<String> = logs
            .keys()
            .filter(|tp| snapshot.partition(tp).is_none())
            .map(ToString::to_string)
            .collect();
        if !strays.is_empty() {
            let (count, some) = (strays.len(), strays.get(..10).unwrap_or(&strays).join(", "));
            warn!("{count} logs belong to no topic of this cluster and are left alone: {some}");
        }
        let offline = self
            .parts
            .logs
            .states()
            .iter()
            .any(|dir| dir.offline.is_some());
        for (topic, info) in &snapshot.topics {
            for (index, partition) in &info.partitions {
                let leader = partition.state.as_ref().and_then(|s| s.leader);
                let tp = TopicPartition {
                    topic: topic.clone(),
                    partition: *index,
                };
                if leader != Some(self.parts.this) || logs.contains_key(&tp) {
                    continue;
                }
                if offline {
                    error!("{tp} was led here, and may be in the log folder that is offline");
                    self.missing.insert(tp);
                } else {
                    warn!("{tp} was led here, but its log is not here: it starts empty");
                }
            }
        }
    }

    fn here(&self) -> BTreeMap<TopicPartition, Local> {
        let served = self.parts.table.all().into_iter().map(|(tp, partition)| {
            let local = Local {
                topic_id: partition.topic_id(),
                leading: partition.leading(),
            };
            (tp, local)
        });
        let mut here: BTreeMap<TopicPartition, Local> = served.collect();
        if !self.marked.is_empty() {
            // Not served since this broker started, but here to be deleted all the same.
            let logs = self.parts.logs.logs().into_iter();
            for (tp, log) in logs.filter(|(tp, _)| self.marked.contains_key(&tp.topic)) {
                here.entry(tp).or_insert_with(|| Local {
                    topic_id: log.lock().topic_id(),
                    leading: None,
                });
            }
        }
        here
    }

    fn resign(&self, id: &TopicPartition) {
        if let Some(partition) = self.parts.table.find(id) {
            partition.resign();
            info!("{id} is no longer led here");
        }
    }

    /// Several at a time: most of the work is waiting for the disk.
    async fn lead_all(&mut self, leads: Vec<(TopicPartition, Option<TopicId>, LeaderEpoch)>) {
        let me = &*self;
        let attempts = leads.into_iter().map(|(id, topic_id, epoch)| async move {
            if me.missing.contains(&id) {
                return Some((id, epoch));
            }
            let led = me.lead(&id, topic_id, epoch).await;
            led.err().map(|e| {
                error!("{id} cannot be led in epoch {epoch}: {e}");
                (id, epoch)
            })
        });
        let attempts = stream::iter(attempts).buffer_unordered(LEADS_AT_A_TIME);
        let failed: Vec<_> = attempts
            .filter_map(|failed| async { failed })
            .collect()
            .await;
        for (id, _) in &failed {
            self.failed.retain(|(tp, _)| tp != id);
        }
        self.failed.extend(failed);
    }

    async fn lead(
        &self,
        id: &TopicPartition,
        topic_id: Option<TopicId>,
        epoch: LeaderEpoch,
    ) -> Result<(), StorageError> {
        let here = self.parts.table.find(id);
        let here = here.filter(|p| p.topic_id() == topic_id || p.topic_id().is_none());
        let partition = match here {
            Some(partition) => partition,
            None => self.open(id, topic_id).await?,
        };
        let leader = Arc::clone(&partition);
        // Starting an epoch writes a file.
        blocking(move || leader.lead(epoch)).await?;
        if self
            .parts
            .table
            .find(id)
            .is_none_or(|p| !Arc::ptr_eq(&p, &partition))
            && let Some(old) = self.parts.table.insert(partition)
        {
            old.resign();
        }
        debug!("{id} is led here, epoch {epoch}");
        Ok(())
    }

    async fn open(
        &self,
        id: &TopicPartition,
        topic_id: Option<TopicId>,
    ) -> Result<Arc<Partition>, StorageError> {
        let (log_config, config) = self.configs_of(&id.topic);
        let logs = Arc::clone(&self.parts.logs);
        let wanted = id.clone();
        let log = blocking(move || {
            logs.create(&wanted, topic_id, Arc::new(log_config), clock::wall_ms())
        })
        .await?;
        Ok(Arc::new(Partition::new(
            id.clone(),
            topic_id,
            log,
            Arc::new(config),
        )))
    }

    async fn delete(&self, id: TopicPartition) {
        if let Some(partition) = self.parts.table.remove(&id) {
            partition.resign();
        }
        let logs = Arc::clone(&self.parts.logs);
        let doomed = id.clone();
        match blocking(move || logs.delete(&doomed, clock::wall_ms())).await {
            Ok(_) => info!("{id} is deleted"),
            Err(e) => error!("{id} is no longer served, but its files cannot be deleted: {e}"),
        }
    }

    /// Hands every partition the configuration of now.
    fn configure(&self) {
        let mut topics: BTreeMap<TopicName, (Arc<LogConfig>, Arc<PartitionConfig>)> =
            BTreeMap::new();
        for (tp, partition) in self.parts.table.all() {
            let (log, own) = topics.entry(tp.topic.clone()).or_insert_with(|| {
                let (log, own) = self.configs_of(&tp.topic);
                (Arc::new(log), Arc::new(own))
            });
            if **partition.config() != **own {
                partition.set_config(Arc::clone(own));
            }
            let mut kept = partition.log().lock();
            if kept.config() != log {
                kept.set_config(Arc::clone(log));
            }
        }
    }

    fn configs_of(&self, topic: &TopicName) -> (LogConfig, PartitionConfig) {
        let config = self.parts.configs.topic(topic);
        let settings = self.parts.configs.live().get();
        (config.log_config(&settings), config.partition_config())
    }

    /// Tells who follows, once all of a round is done.
    fn publish(&mut self) {
        let here = self.here();
        let leading: Leading = here
            .iter()
            .filter_map(|(tp, local)| Some((tp.clone(), local.leading?)))
            .collect();
        let local: LocalTopics = here.into_keys().map(|tp| tp.topic).collect();
        self.marked.retain(|topic, _| {
            let gone = !local.contains(topic) && !self.known.contains_key(topic);
            !gone
        });
        self.leading.send_if_modified(|old| replace(old, leading));
        self.local.send_if_modified(|old| replace(old, local));
    }
}

fn replace<T: PartialEq>(old: &mut Arc<T>, new: T) -> bool {
    let changed = **old != new;
    if changed {
        *old = Arc::new(new);
    }
    changed
}

/// Runs disk work on the blocking pool.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down: nothing that follows will run.
            Err(_) => {
                warn!("disk work was cut short");
                std::future::pending().await
            }
        },
    }
}
