//! One term as controller: rounds of looking, deciding and writing, each from the newest facts.
//!
//! Level-triggered: a round does whatever there is to do and ends by waiting for a change, whatever it
//! is. A round that fails is done again. What was written is waited for, so that no decision is made
//! from facts that this term itself has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{
    BrokerEpoch, BrokerId, LeaderEpoch, TopicId, TopicName, TopicPartition,
};
use nyala_coordinator::registry::{
    Controllership, FencedError, NewState, Registry, RegistryError, paths,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{info, warn};

use super::delete::Standing;
use super::nodes::Nodes;
use super::refusals::Refusals;
use super::set_back::SetBack;
use super::stuck::Stuck;
use super::{Controller, RETRY_EVERY, Snapshots, TermError, news};
use crate::cluster::asks::Ask;
use crate::cluster::deletion::Deletions;
use crate::cluster::elections::plan_balance;
use crate::cluster::error::ControllerError;
use crate::cluster::leaders::{
    Incarnations, Situation, Suspects, find_suspects, plan_states, still_to_move,
};
use crate::cluster::names::Names;
use crate::cluster::reassign::{is_on_its_way, not_led};
use crate::cluster::tell::{Orders, Report, Tells};
use crate::config::Release;

/// Longest wait for the snapshot to show what is there.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// The balance of leaders is looked at first so long after the election, as in Kafka.
const FIRST_BALANCE: Duration = Duration::from_secs(5);

/// Who asked to shut down, and waits to hear what it still leads.
pub(super) type Leaving = (
    BrokerId,
    oneshot::Sender<Result<Vec<TopicPartition>, ControllerError>>,
);

/// What a term remembers.
pub(super) struct Term<'a> {
    pub(super) seat: &'a Controller,
    pub(super) registry: &'a Registry,
    pub(super) proof: Controllership,
    pub(super) asks: mpsc::Receiver<Ask>,
    /// Taken from the queue, answered in the next round.
    pub(super) asked: Vec<Ask>,
    pub(super) leaving: Vec<Leaving>,
    pub(super) nodes: Nodes,
    tells: Tells,
    pub(super) reports: mpsc::UnboundedReceiver<Report>,
    incarnations: Incarnations,
    bounced: BTreeSet<BrokerId>,
    /// Of the last snapshot, to tell the operator who came and who went.
    seen: BTreeMap<BrokerId, BrokerEpoch>,
    refusals: Refusals,
    /// When this round began.
    pub(super) began: Instant,
    pub(super) stuck: Stuck,
    /// Why `/admin/reassign_partitions` could not be written, when it should have been.
    pub(super) pending_unwritten: Option<String>,
    pub(super) set_back: SetBack,
    pub(super) deletions: Deletions,
    deleting: BTreeSet<TopicName>,
    /// Topics of which it was said that they cannot be read.
    pub(super) unreadable: BTreeSet<TopicName>,
    pub(super) stopping: BTreeMap<BrokerId, BrokerEpoch>,
    stopping_ids: BTreeSet<BrokerId>,
    pub(super) offline: BTreeSet<(BrokerId, TopicPartition)>,
    pub(super) suspects: BTreeMap<TopicPartition, Suspects>,
    /// Epochs in which leaders of partitions on their way have taken over.
    pub(super) led: BTreeMap<TopicPartition, LeaderEpoch>,
    pub(super) dropped: BTreeMap<(BrokerId, TopicPartition), Option<TopicId>>,
    pub(super) log_dir_events: BTreeMap<BrokerId, u64>,
    unclean: Box<dyn Fn(&TopicName) -> bool + Send + Sync>,
    balance_at: Instant,
}

impl<'a> Term<'a> {
    pub(super) fn new(
        seat: &'a Controller,
        proof: Controllership,
        asks: mpsc::Receiver<Ask>,
        snapshots: &Snapshots,
    ) -> Self {
        let settings = seat.configs.live().get();
        let first = Orders {
            epoch: proof.epoch,
            snapshot: Arc::clone(&snapshots.borrow()),
            deleting: BTreeMap::new(),
            stopping: BTreeSet::new(),
            dropped: BTreeMap::new(),
            offline: BTreeSet::new(),
            unproven: BTreeSet::new(),
            log_dir_events: BTreeMap::new(),
        };
        let release = Release::of(&settings.inter_broker_protocol_version);
        let (tells, reports) = Tells::new(Arc::clone(&seat.peers), release, first);
        let configs = Arc::clone(&seat.configs);
        Self {
            seat,
            registry: &seat.registry,
            proof,
            asks,
            asked: Vec::new(),
            leaving: Vec::new(),
            nodes: Nodes::default(),
            tells,
            reports,
            incarnations: Incarnations::default(),
            bounced: BTreeSet::new(),
            seen: BTreeMap::new(),
            refusals: Refusals::default(),
            began: Instant::now(),
            stuck: Stuck::default(),
            pending_unwritten: None,
            set_back: SetBack::default(),
            deletions: Deletions::default(),
            deleting: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            stopping: BTreeMap::new(),
            stopping_ids: BTreeSet::new(),
            offline: BTreeSet::new(),
            suspects: BTreeMap::new(),
            led: BTreeMap::new(),
            dropped: BTreeMap::new(),
            log_dir_events: BTreeMap::new(),
            unclean: Box::new(move |topic| configs.topic(topic).unclean_leader_election_enable),
            balance_at: Instant::now() + FIRST_BALANCE,
        }
    }

    /// Rules until something ends it.
    pub(super) async fn rule(&mut self, generation: u64, snapshots: &mut Snapshots) -> TermError {
        if let Err(e) = self.registry.ensure_feature().await {
            return e.into();
        }
        loop {
            if self.registry.session().state().generation() != generation {
                return TermError::Session;
            }
            if let Err(e) = self.round(snapshots).await {
                match e {
                    // Made from facts that have changed since, or not answered: look again.
                    TermError::Write(FencedError::Failed(_)) => {}
                    TermError::Read(e) if e.is_transient() => {}
                    TermError::Read(e @ RegistryError::Payload { .. }) => warn!("{e}"),
                    e => return e,
                }
                tokio::time::sleep(RETRY_EVERY).await;
                // What nobody waits for is asked and reported all the same.
                self.collect(snapshots);
            }
        }
    }

    /// Does all that is to do, then waits for a change.
    async fn round(&mut self, snapshots: &mut Snapshots) -> Result<(), TermError> {
        self.began = Instant::now();
        self.nodes.refresh(self.registry, &self.proof).await?;
        if self.nodes.seat.value != Some(self.seat.this) {
            return Err(TermError::Unseated(self.nodes.seat.value));
        }
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        self.take_in(&snapshot);
        self.give_ids(&snapshot).await?;
        self.answer(snapshots).await?;
        if !self.lead(snapshots).await? {
            return Ok(());
        }
        self.say_goodbye(snapshots);
        self.move_on(snapshots).await?;
        self.do_pending(snapshots).await?;
        self.balance(snapshots).await?;
        self.publish(snapshots);
        let again = self.delete(snapshots).await?;
        self.wait(snapshots, again).await;
        Ok(())
    }

    /// Brings what is remembered into line with the brokers and topics that there are.
    fn take_in(&mut self, snapshot: &Arc<ClusterSnapshot>) {
        self.set_back.see(snapshot);
        for line in news::of_brokers(&self.seen, snapshot, &self.stopping_ids) {
            info!("{line}");
        }
        self.seen = snapshot
            .brokers
            .iter()
            .map(|(id, b)| (*id, b.epoch))
            .collect();
        let epoch = |broker: &BrokerId| snapshot.brokers.get(broker).map(|b| b.epoch);
        self.stopping
            .retain(|broker, was| epoch(broker) == Some(*was));
        self.stopping_ids = self.stopping.keys().copied().collect();
        self.bounced = self.incarnations.bounced(snapshot);
        // A broker that started again has looked at its folders anew.
        let bounced = &self.bounced;
        self.offline
            .retain(|(broker, _)| epoch(broker).is_some() && !bounced.contains(broker));
        self.dropped.retain(|(broker, tp), id| {
            let topic = snapshot.topics.get(&tp.topic).filter(|t| t.id == *id);
            let info = topic.and_then(|t| t.partitions.get(&tp.partition));
            info.is_some_and(|info| !info.replicas.contains(broker))
        });
        self.suspects.retain(|tp, suspects| {
            let state = snapshot.partition(tp).and_then(|p| p.state.as_ref());
            state.is_some_and(|state| state.leader_epoch <= suspects.epoch)
        });
        (self.led).retain(|tp, epoch| is_on_its_way(snapshot, tp, *epoch));
        let marked = &self.nodes.marked.value;
        let has_no_id = |topic: &TopicName| {
            snapshot
                .topics
                .get(topic)
                .is_some_and(|info| info.id.is_none())
        };
        self.unreadable
            .retain(|topic| marked.contains(topic) || has_no_id(topic));
        self.deletions.keep(marked, snapshot);
        self.deleting = match self.seat.configs.live().get().delete_topic_enable {
            true => self.deletions.under_way().into_keys().collect(),
            false => BTreeSet::new(),
        };
    }

    pub(super) fn situation(&self) -> Situation<'_> {
        Situation {
            epoch: self.proof.epoch,
            deleting: &self.deleting,
            bounced: &self.bounced,
            stopping: &self.stopping_ids,
            offline: &self.offline,
            suspects: &self.suspects,
            led: &self.led,
            unclean: &*self.unclean,
        }
    }

    /// From now on this incarnation leads only what nobody else can.
    pub(super) fn stop_broker(&mut self, broker: BrokerId, epoch: BrokerEpoch) {
        self.stopping.insert(broker, epoch);
        self.stopping_ids.insert(broker);
    }

    /// Topics from before KIP-516 get their ids, as Kafka's controller gives them.
    async fn give_ids(&mut self, snapshot: &ClusterSnapshot) -> Result<(), TermError> {
        let without = snapshot.topics.iter().filter(|(_, info)| info.id.is_none());
        for (topic, _) in without {
            if self.stuck.waits(topic, self.began) {
                continue;
            }
            if let Standing::Topic(mut stored) = self.standing(topic).await?
                && stored.assignment.id.is_none()
            {
                stored.assignment.id = Some(TopicId::random());
                let version = stored.version;
                let set = self.registry.set_topic(topic, &stored.assignment, version);
                match set.await {
                    Ok(_) => self.stuck.freed(topic),
                    Err(e) if e.is_transient() => return Err(e.into()),
                    Err(e) => {
                        if self.stuck.failed(topic, e.to_string(), self.began) {
                            warn!("{topic} has no topic id, and gets none: {e}");
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives every partition the leader that it should have. `false`: the facts have to catch up.
    async fn lead(&mut self, snapshots: &mut Snapshots) -> Result<bool, TermError> {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let mut plan = plan_states(&snapshot, &self.situation());
        self.set_back
            .lift(&mut plan, &snapshot, &self.deleting, self.proof.epoch);
        self.refusals.spare(&mut plan, &snapshot, Instant::now());
        if !plan.is_empty() {
            // A snapshot that lags behind the registrations would take live leaders for dead ones.
            let alive = self.registry.broker_ids().await?;
            if !alive.iter().eq(snapshot.brokers.keys()) {
                let caught_up = snapshots.changed();
                // Not in time: an unreadable registration, say. What can be read counts.
                if tokio::time::timeout(CATCH_UP_MAX, caught_up).await.is_ok() {
                    return Ok(false);
                }
            }
            let written = self.registry.write_states(&self.proof, &plan).await;
            // Without an answer, all of it may have been written.
            let refused = written.inspect_err(|_| tell_unclean(&snapshot, &plan))?;
            let now = Instant::now();
            self.refusals.note(&mut plan, &snapshot, refused, now);
            if !plan.is_empty() {
                info!("{}", news::of_plan(&snapshot, &plan));
                tell_unclean(&snapshot, &plan);
            }
            let suspects = find_suspects(&snapshot, &self.situation(), &plan);
            self.suspects.extend(suspects);
            self.await_states(snapshots, &plan).await;
            self.publish(snapshots);
        }
        self.incarnations.settle(&snapshot);
        Ok(true)
    }

    /// Tells brokers that shut down what they still lead.
    fn say_goodbye(&mut self, snapshots: &mut Snapshots) {
        let snapshot = Arc::clone(&snapshots.borrow());
        for (broker, reply) in std::mem::take(&mut self.leaving) {
            let led = still_to_move(&snapshot, &self.situation(), broker);
            let names: Names = led.iter().collect();
            info!(
                "broker {broker} shuts down; partitions that it leads and another could: {names}"
            );
            // Nobody waits any more: it will ask again.
            let _ = reply.send(Ok(led));
        }
    }

    /// Looks at the balance of leaders when its time has come.
    async fn balance(&mut self, snapshots: &mut Snapshots) -> Result<(), TermError> {
        let settings = self.seat.configs.live().get();
        if Instant::now() < self.balance_at {
            return Ok(());
        }
        let seconds = u64::try_from(settings.leader_imbalance_check_interval_seconds);
        self.balance_at = Instant::now() + Duration::from_secs(seconds.unwrap_or(300));
        if !settings.auto_leader_rebalance_enable {
            return Ok(());
        }
        let snapshot = Arc::clone(&snapshots.borrow());
        let percent = settings.leader_imbalance_per_broker_percentage;
        let plan = plan_balance(&snapshot, &self.situation(), percent);
        if !plan.is_empty() {
            let leaders = news::of_leaders(&snapshot, &plan);
            info!("partitions go back to their preferred leaders: {leaders}");
            self.registry.write_states_each(&self.proof, &plan).await?;
            self.await_states(snapshots, &plan).await;
        }
        Ok(())
    }

    /// Notices and pending elections; pending moves are in `moves.rs`.
    async fn do_pending(&mut self, snapshots: &mut Snapshots) -> Result<(), TermError> {
        let notices = std::mem::take(&mut self.nodes.isr_notices.value);
        // What they say is in the snapshot.
        self.registry.forget_notices(&self.proof, &notices).await?;
        let events = std::mem::take(&mut self.nodes.log_dirs.value);
        for broker in events.brokers {
            info!("a log folder of broker {broker} has failed");
            *self.log_dir_events.entry(broker).or_default() += 1;
        }
        self.registry
            .forget_notices(&self.proof, &events.notices)
            .await?;
        if let Some(wanted) = self.nodes.election.value.take() {
            self.elect_preferred(snapshots, wanted).await?;
            let path = paths::PREFERRED_REPLICA_ELECTION;
            self.registry.forget_pending(&self.proof, path).await?;
        }
        self.do_pending_moves(snapshots).await
    }

    /// New orders for all brokers.
    fn publish(&mut self, snapshots: &Snapshots) {
        let mut deleting = self.deletions.under_way();
        deleting.retain(|topic, _| self.deleting.contains(topic));
        let snapshot = Arc::clone(&snapshots.borrow());
        let unproven = self.suspects.iter().filter(|(_, s)| !s.proven);
        let mut unproven: BTreeSet<_> = unproven.map(|(tp, _)| tp.clone()).collect();
        unproven.extend(not_led(&snapshot, &self.situation()));
        self.tells.publish(Orders {
            epoch: self.proof.epoch,
            snapshot,
            deleting,
            stopping: self.stopping_ids.clone(),
            dropped: self.dropped.clone(),
            offline: self.offline.clone(),
            unproven,
            log_dir_events: self.log_dir_events.clone(),
        });
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, snapshots: &mut Snapshots, again: bool) {
        let mut configs = self.seat.configs.changes();
        let next_try = self.refusals.next_try().unwrap_or(self.balance_at);
        let stuck = self.stuck.next_try(self.began).unwrap_or(self.balance_at);
        let pending = self.pending_due().unwrap_or(self.balance_at);
        let due = self.balance_at.min(next_try).min(stuck).min(pending);
        tokio::select! {
            _ = snapshots.changed() => {}
            Some(ask) = self.asks.recv() => self.asked.push(ask),
            Some(report) = self.reports.recv() => self.heed(report, snapshots),
            () = self.nodes.fired() => {}
            _ = configs.changed() => {}
            () = tokio::time::sleep_until(due) => {}
            () = tokio::time::sleep(RETRY_EVERY), if again => {}
        }
        self.collect(snapshots);
    }

    /// Waits until the snapshot shows these states or later ones.
    pub(super) async fn await_states(&self, snapshots: &mut Snapshots, plan: &[NewState]) {
        self.await_shown(snapshots, |snapshot| {
            plan.iter().all(|new| {
                let now = snapshot.partition(&new.partition);
                now.is_none_or(|p| p.state.as_ref().map(|s| s.version) > new.version)
            })
        })
        .await;
    }

    /// Waits, not for ever, until `is_shown` holds.
    pub(super) async fn await_shown(
        &self,
        snapshots: &mut Snapshots,
        is_shown: impl Fn(&ClusterSnapshot) -> bool,
    ) {
        let shown = snapshots.wait_for(|snapshot| is_shown(snapshot));
        // Not in time: what is decided from an older one is refused when it is written.
        let _in_time = tokio::time::timeout(CATCH_UP_MAX, shown).await.is_ok();
        // The snapshot that shows it may show more, which is still to do.
        snapshots.mark_changed();
    }
}

/// An operator has to hear of records that may be lost.
pub(super) fn tell_unclean(snapshot: &ClusterSnapshot, plan: &[NewState]) {
    if let Some(line) = news::of_unclean(snapshot, plan) {
        warn!("{line}");
    }
}
