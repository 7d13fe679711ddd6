//! The task behind [`Roles`]: orders, snapshots, marks of deletion and settings, one after another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::cluster::{ClusterSnapshot, TopicInfo};
use nyala_coordinator::ids::{LeaderEpoch, TopicId, TopicName, TopicPartition};
use nyala_coordinator::registry::RegistryError;
use nyala_coordinator::session::Watch;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info, warn};

use super::super::Leading;
use super::super::actions::{Action, Memory, Stopped, diff};
use super::super::facts::{
    ControlError, ControlHead, FactError, PartitionFacts, StopEpoch, StopError, StopFacts,
};
use super::super::marked::Marked;
use super::super::missing::Missing;
use super::super::names::Names;
use super::super::withdraw::Before;
use super::replicas::Parts;
use super::set_back::SetBack;
use super::{Failed, Order, Roles, parts_of};

/// Pause after a read that failed.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// How often failed logs are looked for.
const FAILURES_EVERY: Duration = Duration::from_secs(1);

/// How often what the disk did not let be opened is tried again.
const AGAIN_EVERY: Duration = Duration::from_secs(10);

/// Brings the table and the logs into line with the cluster, over and over.
pub(in crate::cluster) struct Task {
    parts: Parts,
    orders: mpsc::Receiver<Order>,
    memory: Memory,
    missing: Missing,
    set_back: SetBack,
    /// Topics whose overrides were read since they were made.
    known: BTreeMap<TopicName, Option<TopicId>>,
    leading: watch::Sender<Arc<Leading>>,
    marked: watch::Sender<Arc<Marked>>,
    /// Replicas with a failed log that the controller was told of.
    told_failed: BTreeSet<TopicPartition>,
    /// What the disk did not let be opened.
    again: BTreeSet<TopicPartition>,
    /// Of these, what is being tried again; the controller takes them for offline until it is told.
    trying: BTreeSet<TopicPartition>,
}

/// What it listens to.
struct Inputs {
    failures: tokio::time::Interval,
    again: tokio::time::Interval,
    snapshots: watch::Receiver<Arc<ClusterSnapshot>>,
    configs: watch::Receiver<u64>,
    marks: Option<Watch>,
}

impl Task {
    /// A task, and the way to it.
    pub(in crate::cluster) fn new(parts: Parts, before: Before) -> (Self, Roles) {
        let leading = watch::Sender::new(Arc::default());
        let marked = watch::Sender::new(Arc::default());
        let told = (leading.subscribe(), marked.subscribe());
        let (roles, orders) = Roles::new(Arc::clone(&parts.epochs), told);
        let task = Self {
            missing: before.missing,
            set_back: SetBack::default(),
            memory: Memory {
                before: epochs_in(&before.snapshot),
                ..Memory::default()
            },
            parts,
            orders,
            known: BTreeMap::new(),
            leading,
            marked,
            told_failed: BTreeSet::new(),
            again: BTreeSet::new(),
            trying: BTreeSet::new(),
        };
        (task, roles)
    }

    /// Works until dropped.
    pub(in crate::cluster) async fn run(
        mut self,
        snapshots: watch::Receiver<Arc<ClusterSnapshot>>,
    ) {
        let every = |period| {
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let mut inputs = Inputs {
            configs: self.parts.configs.changes(),
            snapshots,
            marks: None,
            failures: every(FAILURES_EVERY),
            again: every(AGAIN_EVERY),
        };
        let mut settled = false;
        loop {
            if !settled {
                let snapshot = Arc::clone(&inputs.snapshots.borrow_and_update());
                settled = match self.round(&snapshot, &mut inputs.marks).await {
                    Ok(()) => true,
                    Err(e) => {
                        debug!("looking at the cluster again: {e}");
                        inputs.marks = None;
                        false
                    }
                };
            }
            if self.wait(&mut inputs, &mut settled).await.is_none() {
                return;
            }
        }
    }

    /// Waits for something to do; an order is carried out, all else unsettles. `None`: it is over.
    async fn wait(&mut self, inputs: &mut Inputs, settled: &mut bool) -> Option<()> {
        let marked = async {
            match inputs.marks.as_mut() {
                Some(watch) => watch.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            order = self.orders.recv() => self.obey(order?).await,
            changed = inputs.snapshots.changed() => {
                changed.ok()?;
                *settled = false;
            }
            () = marked => {
                inputs.marks = None;
                *settled = false;
            }
            changed = inputs.configs.changed() => {
                changed.ok()?;
                self.parts.configure();
            }
            _ = inputs.failures.tick() => self.tell_failures().await,
            _ = inputs.again.tick(), if !self.again.is_empty() => {
                self.trying.append(&mut self.again);
                let trying = &self.trying;
                self.memory.failed.retain(|id, _| !trying.contains(id));
                *settled = false;
            }
            () = tokio::time::sleep(RETRY_EVERY), if !*settled => {}
        }
        Some(())
    }

    /// Tells the controller of logs that have failed (KIP-112); asked about its replicas, this broker
    /// then says which.
    async fn tell_failures(&mut self) {
        let failed = self.parts.failed();
        if !failed.is_subset(&self.told_failed) {
            let count = failed.difference(&self.told_failed).count();
            error!("{count} logs have failed: other brokers shall lead their partitions");
            let told = self.parts.registry.tell_log_dir_failure(self.parts.this);
            if let Err(e) = told.await {
                debug!("the controller will be told again: {e}");
                return;
            }
        }
        self.told_failed = failed;
    }

    async fn obey(&mut self, order: Order) {
        // Who asked may have gone away meanwhile; what was done is done.
        match order {
            Order::LeaderAndIsr {
                head,
                facts,
                answer,
            } => drop(answer.send(self.leader_and_isr(head, facts).await)),
            Order::Stop {
                head,
                facts,
                answer,
            } => drop(answer.send(self.stop_replicas(head, facts).await)),
            Order::Leave { answer } => {
                self.memory.leaving = true;
                self.parts.fetchers.leave();
                let _ = answer.send(());
            }
        }
    }

    async fn leader_and_isr(
        &mut self,
        head: ControlHead,
        facts: Vec<PartitionFacts>,
    ) -> Result<Failed<FactError>, ControlError> {
        // A newer controller may have been heard of while this one waited.
        self.parts.epochs.admit(&head)?;
        let parts = parts_of(self.parts.this, &facts);
        info!(controller = %head.controller, epoch = %head.controller_epoch, "this broker {parts}");
        self.read_configs_of(&facts).await;
        for facts in &facts {
            self.memory.stopped.remove(&facts.partition);
            if self.known.get(&facts.partition.topic) != Some(&facts.topic_id) {
                let topic = facts.partition.topic.clone();
                self.memory.ahead.insert(topic, facts.topic_id);
            }
        }
        let failed = self.apply(facts).await;
        self.publish();
        Ok(failed)
    }

    async fn stop_replicas(
        &mut self,
        head: ControlHead,
        facts: Vec<StopFacts>,
    ) -> Result<Failed<StopError>, ControlError> {
        self.parts.epochs.admit(&head)?;
        let deleted = facts.iter().filter(|f| f.delete).count();
        let names: Names = facts.iter().map(|f| &f.partition).collect();
        info!(controller = %head.controller, epoch = %head.controller_epoch, deleted, "replicas to stop: {names}");
        let mut failed = Failed::new();
        for facts in self.with_unnamed(facts) {
            if let Err(error) = self.stop(&facts).await {
                warn!("not stopped: {error}");
                failed.insert(facts.partition, error);
            }
        }
        self.publish();
        Ok(failed)
    }

    /// Adds the replicas of topics being deleted that are here and not named. Their topic's node lost
    /// them by hand; what stayed of them would stand in the way of the next topic of that name.
    fn with_unnamed(&self, mut facts: Vec<StopFacts>) -> Vec<StopFacts> {
        let doomed = |f: &&StopFacts| f.delete && matches!(f.until, StopEpoch::Deletion);
        let of = |id: &TopicPartition| self.parts.logs.log(id)?.lock().topic_id();
        let named: BTreeSet<TopicPartition> = facts.iter().map(|f| f.partition.clone()).collect();
        let topics: BTreeMap<TopicName, TopicId> = facts
            .iter()
            .filter(doomed)
            .filter_map(|f| Some((f.partition.topic.clone(), of(&f.partition)?)))
            .collect();
        if topics.is_empty() {
            return facts;
        }
        for (id, log) in self.parts.logs.logs() {
            let topic = topics.get(&id.topic).copied();
            if topic.is_some() && log.lock().topic_id() == topic && !named.contains(&id) {
                warn!("{id} is deleted with its topic, whose node does not name it");
                facts.push(StopFacts {
                    partition: id,
                    until: StopEpoch::Deletion,
                    delete: true,
                });
            }
        }
        facts
    }

    async fn stop(&mut self, facts: &StopFacts) -> Result<(), StopError> {
        let id = &facts.partition;
        let here = self.parts.age_of(id);
        if let (StopEpoch::Leader(asked), Some((here, _))) = (facts.until, here)
            && asked < here
        {
            return Err(StopError::Fenced {
                partition: id.clone(),
                here,
                asked,
            });
        }
        let log = self.parts.logs.log(id);
        let topic_id = log.and_then(|log| log.lock().topic_id());
        let known = || self.known.get(&id.topic).copied().flatten();
        let stopped = Stopped {
            topic_id: topic_id.or_else(known),
            until: match facts.until {
                StopEpoch::Leader(epoch) => Some(epoch),
                StopEpoch::Deletion => None,
                StopEpoch::Unknown => here.map(|(epoch, _)| epoch),
            },
        };
        self.memory.stopped.insert(id.clone(), stopped);
        if facts.delete {
            self.missing.forget(id);
            self.note_lost().await;
            self.parts.delete(id).await
        } else {
            self.parts.idle(id);
            Ok(())
        }
    }

    /// Brings everything into line with a snapshot.
    async fn round(
        &mut self,
        snapshot: &ClusterSnapshot,
        marks: &mut Option<Watch>,
    ) -> Result<(), RegistryError> {
        if marks.is_none() {
            *marks = Some(self.read_marks().await?);
            let marked = self.memory.marked.clone();
            self.marked.send_if_modified(|old| replace(old, marked));
        }
        self.read_new_configs(snapshot).await?;
        self.forget_what_is_over(snapshot);
        let here = self.parts.here();
        let mut facts = Vec::new();
        for action in diff(self.parts.this, snapshot, &self.memory, &here) {
            match action {
                Action::Apply(new) => facts.push(new),
                Action::Idle(id) => self.parts.idle(&id),
            }
        }
        self.apply(facts).await;
        self.publish();
        self.prove(snapshot);
        self.tell_recoveries().await
    }

    /// Has the controller ask about the replicas of this broker when some could be opened at last.
    async fn tell_recoveries(&mut self) -> Result<(), RegistryError> {
        let again = &self.again;
        self.trying.retain(|id| !again.contains(id));
        if !self.trying.is_empty() {
            let registry = &self.parts.registry;
            registry.tell_log_dir_failure(self.parts.this).await?;
            let names: Names = self.trying.iter().collect();
            info!("replicas that could be opened at last: {names}");
            self.trying.clear();
        }
        Ok(())
    }

    /// A snapshot that shows the current registration is of its session: all roles are now.
    fn prove(&self, snapshot: &ClusterSnapshot) {
        let parts = &self.parts;
        let shown = snapshot.brokers.get(&parts.this);
        if let Some(generation) = shown.and_then(|b| parts.epochs.generation_of(b.epoch)) {
            parts.table.settings().lease.prove(generation);
        }
    }

    /// Applies facts that this broker may go by; remembers what failed.
    async fn apply(&mut self, facts: Vec<PartitionFacts>) -> Failed<FactError> {
        let at = |f: &PartitionFacts| (f.partition.clone(), (f.leader_epoch, f.partition_epoch));
        let ages: BTreeMap<TopicPartition, _> = facts.iter().map(at).collect();
        let (allowed, mut failed) = self.missing.sift(self.parts.this, facts);
        self.note_lost().await;
        let (allowed, passed) = self.set_back.sift(&self.parts, allowed);
        failed.extend(passed);
        let refused = self.parts.apply_all(allowed).await;
        let by_disk = |e: &FactError| matches!(e, FactError::Storage { .. });
        let again = refused.iter().filter(|(_, error)| by_disk(error));
        self.again.extend(again.map(|(id, _)| id.clone()));
        failed.extend(refused);
        for (id, age) in &ages {
            match failed.get(id) {
                // Nothing is wrong with what is here.
                None | Some(FactError::Stale(_) | FactError::NotReplica(_)) => {}
                Some(error) => {
                    error!("epoch {} is not entered: {error}", age.0);
                    self.memory.failed.insert(id.clone(), *age);
                }
            }
        }
        failed
    }

    /// Notes on the disk what is lost, if that has changed.
    async fn note_lost(&mut self) {
        if let Some(lost) = self.missing.changed() {
            let logs = Arc::clone(&self.parts.logs);
            let noted = tokio::task::spawn_blocking(move || logs.note_lost(&lost));
            if let Err(e) = noted.await {
                error!("what was lost with a disk is not noted: {e}");
            }
        }
    }

    /// Notes which topics are marked, with the ids that they had when they were.
    async fn read_marks(&mut self) -> Result<Watch, RegistryError> {
        let (names, watch) = self.parts.registry.topics_to_delete().await?;
        self.memory.marked.retain(|topic, _| names.contains(topic));
        if !self.parts.configs.live().get().delete_topic_enable {
            // The controller will drop the marks.
            return Ok(watch);
        }
        for topic in names {
            if self.memory.marked.contains_key(&topic) {
                continue;
            }
            // The mark goes with the topic: if it is still there, the id just read is the one meant.
            match self.parts.registry.topic(&topic).await {
                Ok(Some(stored)) => {
                    info!("topic {topic} is marked for deletion");
                    self.memory.marked.insert(topic, stored.assignment.id);
                }
                Ok(None) => {}
                // All others go on; what the controller orders for it is done.
                Err(e @ RegistryError::Payload { .. }) => {
                    warn!("topic {topic} is marked for deletion, but {e}");
                }
                Err(e) => return Err(e),
            }
        }
        Ok(watch)
    }

    /// The overrides of a topic that was just made come without a notice.
    async fn read_new_configs(&mut self, snapshot: &ClusterSnapshot) -> Result<(), RegistryError> {
        let topics = &snapshot.topics;
        self.known.retain(|topic, _| topics.contains_key(topic));
        let fresh = |(topic, info): &(&TopicName, &Arc<TopicInfo>)| {
            self.known.get(*topic) != Some(&info.id)
        };
        let fresh: Vec<_> = topics.iter().filter(fresh).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let names: Vec<TopicName> = fresh.iter().map(|(topic, _)| (*topic).clone()).collect();
        let ids: Vec<_> = fresh.iter().map(|(_, info)| info.id).collect();
        self.parts.configs.refresh(&names).await?;
        self.known.extend(names.into_iter().zip(ids));
        Ok(())
    }

    /// As above, for topics that no snapshot has shown yet. Without an answer the defaults do until
    /// the snapshot comes.
    async fn read_configs_of(&mut self, facts: &[PartitionFacts]) {
        let unknown = |f: &&PartitionFacts| !self.known.contains_key(&f.partition.topic);
        let mut names: Vec<TopicName> = facts
            .iter()
            .filter(unknown)
            .map(|f| f.partition.topic.clone())
            .collect();
        names.dedup();
        if !names.is_empty()
            && let Err(e) = self.parts.configs.refresh(&names).await
        {
            debug!("overrides of new topics are not read yet: {e}");
        }
    }

    /// What a snapshot shows needs no memory.
    fn forget_what_is_over(&mut self, snapshot: &ClusterSnapshot) {
        let memory = &mut self.memory;
        let id_of = |topic: &TopicName| snapshot.topics.get(topic).map(|info| info.id);
        memory.ahead.retain(|topic, id| id_of(topic) != Some(*id));
        memory
            .stopped
            .retain(|tp, stopped| id_of(&tp.topic) == Some(stopped.topic_id));
        memory
            .failed
            .retain(|tp, _| snapshot.partition(tp).is_some());
        memory
            .before
            .retain(|tp, _| snapshot.partition(tp).is_some());
    }

    /// Tells who follows, once all of a round is done.
    fn publish(&mut self) {
        let here = self.parts.here();
        let leading: Leading = here
            .iter()
            .filter_map(|(tp, local)| Some((tp.clone(), local.leading?)))
            .collect();
        self.leading.send_if_modified(|old| replace(old, leading));
    }
}

fn epochs_in(snapshot: &ClusterSnapshot) -> BTreeMap<TopicPartition, LeaderEpoch> {
    let partitions = snapshot.topics.iter().flat_map(|(topic, info)| {
        info.partitions.iter().filter_map(|(index, known)| {
            let partition = TopicPartition {
                topic: topic.clone(),
                partition: *index,
            };
            Some((partition, known.state.as_ref()?.leader_epoch))
        })
    });
    partitions.collect()
}

fn replace<T: PartialEq>(old: &mut Arc<T>, new: T) -> bool {
    let changed = **old != new;
    if changed {
        *old = Arc::new(new);
    }
    changed
}
