//! Replicas of this broker, as far as roles go: open their logs, make them lead or follow, stop and
//! delete them, hand them their settings. Work on the disk runs on the blocking pool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use nyala_coordinator::clock;
use nyala_coordinator::ids::{BrokerId, TopicId, TopicName, TopicPartition};
use nyala_coordinator::registry::Registry;
use tracing::{debug, error, info, warn};

use super::super::Configs;
use super::super::actions::{At, Local};
use super::super::epochs::Epochs;
use super::super::facts::{FactError, PartitionFacts, StopError};
use super::Failed;
use crate::replication::{
    Applied, Fetchers, Partition, PartitionConfig, ReplicaState, Role, Table,
};
use crate::storage::{LogConfig, LogDirs, StorageError};

/// Partitions that change their roles at a time: most of the work is waiting for the disk.
const AT_A_TIME: usize = 32;

/// What roles are about.
pub(in crate::cluster) struct Parts {
    pub(in crate::cluster) this: BrokerId,
    pub(in crate::cluster) registry: Registry,
    pub(in crate::cluster) configs: Arc<Configs>,
    pub(in crate::cluster) table: Arc<Table>,
    pub(in crate::cluster) logs: Arc<LogDirs>,
    pub(in crate::cluster) fetchers: Arc<Fetchers>,
    pub(in crate::cluster) epochs: Arc<Epochs>,
}

impl Parts {
    /// What is here.
    pub(super) fn here(&self) -> BTreeMap<TopicPartition, Local> {
        let served = self.table.all().into_iter().map(|(tp, partition)| {
            let local = Local {
                topic_id: partition.topic_id(),
                state: partition.state(),
                leading: partition.leading(),
            };
            (tp, local)
        });
        served.collect()
    }

    /// Replicas whose log has failed.
    pub(super) fn failed(&self) -> BTreeSet<TopicPartition> {
        let logs = self.logs.logs().into_iter();
        logs.filter(|(_, log)| log.lock().failure().is_some())
            .map(|(id, _)| id)
            .collect()
    }

    /// Applies facts about several partitions; what failed, and why.
    pub(super) async fn apply_all(&self, facts: Vec<PartitionFacts>) -> Failed<FactError> {
        let attempts = facts.into_iter().map(|facts| async move {
            let result = self.apply(&facts).await;
            result.err().map(|error| (facts.partition, error))
        });
        let attempts = stream::iter(attempts).buffer_unordered(AT_A_TIME);
        attempts
            .filter_map(|failed| async { failed })
            .collect()
            .await
    }

    /// Applies facts about one partition. Doing it twice changes nothing more.
    async fn apply(&self, facts: &PartitionFacts) -> Result<(), FactError> {
        let id = &facts.partition;
        facts.check()?;
        if !facts.replicas.contains(&self.this) {
            return Err(FactError::NotReplica(id.clone()));
        }
        self.check_log(facts)?;
        let here = self.table.find(id);
        let partition = match &here {
            Some(partition) => Arc::clone(partition),
            None => self
                .open(id, facts.topic_id)
                .await
                .map_err(|e| broken(id, &e))?,
        };
        let state = state_of(facts);
        let (changing, this) = (Arc::clone(&partition), self.this);
        // Starting an epoch writes a file.
        let applied = blocking(move || changing.apply(this, &state)).await;
        let applied = applied.map_err(|e| broken(id, &e))?;
        if here.is_none() {
            self.table.insert(Arc::clone(&partition));
        }
        debug!(%id, leader = ?facts.leader, epoch = %facts.leader_epoch, ?applied, "facts");
        match applied {
            Applied::Stale => Err(FactError::Stale(id.clone())),
            Applied::Unchanged => Ok(()),
            Applied::Leads | Applied::Follows => {
                match partition.role() {
                    Role::Follower {
                        leader: Some(_), ..
                    } => self.fetchers.assign(&partition),
                    Role::Follower { leader: None, .. } | Role::Leader { .. } | Role::Idle => {
                        self.fetchers.release(id);
                    }
                }
                Ok(())
            }
        }
    }

    /// Refuses facts about another topic of the same name than the one whose records are here: they
    /// must neither be served nor be mixed with others (KIP-516), unless the new topic has just been made. A log
    /// that has failed takes no role.
    fn check_log(&self, facts: &PartitionFacts) -> Result<(), FactError> {
        let Some(log) = self.logs.log(&facts.partition) else {
            return Ok(());
        };
        let (here, failure) = {
            let log = log.lock();
            (log.topic_id(), log.failure())
        };
        if let Some(failure) = failure {
            self.idle(&facts.partition);
            return Err(broken(&facts.partition, &failure));
        }
        match (here, facts.topic_id) {
            // The controller has just made it, or adds this replica, so the old topic of that name is gone; this partition
            // had been taken out of it by hand, or the topic's node was. Its log is moved aside when the new one is made.
            (Some(known), Some(asked)) if known != asked && facts.is_new => {
                self.idle(&facts.partition);
                Ok(())
            }
            (Some(known), Some(asked)) if known != asked => Err(FactError::OtherTopic {
                partition: facts.partition.clone(),
                here,
                asked: facts.topic_id,
            }),
            _ => Ok(()),
        }
    }

    async fn open(
        &self,
        id: &TopicPartition,
        topic_id: Option<TopicId>,
    ) -> Result<Arc<Partition>, StorageError> {
        let (log_config, config) = self.configs_of(&id.topic);
        let logs = Arc::clone(&self.logs);
        let wanted = id.clone();
        let log = blocking(move || {
            logs.create(&wanted, topic_id, Arc::new(log_config), clock::wall_ms())
        })
        .await?;
        let config = Arc::new(config);
        Ok(Arc::new(Partition::new(id.clone(), topic_id, log, config)))
    }

    /// Age of the facts that a partition goes by.
    pub(super) fn age_of(&self, id: &TopicPartition) -> Option<At> {
        let state = self.table.find(id)?.state()?;
        Some((state.leader_epoch, state.partition_epoch))
    }

    /// Serves a partition no more; its log stays.
    pub(super) fn idle(&self, id: &TopicPartition) {
        if let Some(partition) = self.table.remove(id) {
            partition.resign();
            info!("{id} is no longer served here");
        }
        self.fetchers.release(id);
    }

    /// Serves a partition no more and deletes its log.
    pub(super) async fn delete(&self, id: &TopicPartition) -> Result<(), StopError> {
        self.idle(id);
        let logs = Arc::clone(&self.logs);
        let doomed = id.clone();
        match blocking(move || logs.delete(&doomed, clock::wall_ms())).await {
            Ok(true) => info!("{id} is deleted"),
            Ok(false) => {}
            Err(e) => {
                error!("{id} is no longer served, but its files cannot be deleted: {e}");
                return Err(StopError::Storage {
                    partition: id.clone(),
                    reason: e.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Hands every partition the configuration of now.
    pub(super) fn configure(&self) {
        let mut topics: BTreeMap<TopicName, (Arc<LogConfig>, Arc<PartitionConfig>)> =
            BTreeMap::new();
        for (tp, partition) in self.table.all() {
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
        let config = self.configs.topic(topic);
        let settings = self.configs.live().get();
        (config.log_config(&settings), config.partition_config())
    }
}

fn state_of(facts: &PartitionFacts) -> ReplicaState {
    ReplicaState {
        leader: facts.leader,
        leader_epoch: facts.leader_epoch,
        partition_epoch: facts.partition_epoch,
        isr: facts.isr.clone(),
        replicas: facts.replicas.clone(),
        adding: facts.adding.clone(),
        removing: facts.removing.clone(),
    }
}

fn broken(id: &TopicPartition, error: &StorageError) -> FactError {
    FactError::Storage {
        partition: id.clone(),
        reason: error.to_string(),
    }
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
