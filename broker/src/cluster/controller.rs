//! The controller's loop: take the seat when it is empty, and while it is ours give partitions their
//! leaders and carry out deletions.
//!
//! Every write is a transaction that checks the controller epoch: a controller that was replaced while
//! it slept finds out by its first write, and does nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{BrokerId, TopicId, TopicName};
use nyala_coordinator::registry::{
    Controllership, Election, FencedError, NewState, Registry, RegistryError,
};
use nyala_coordinator::session::{SessionState, Watch, ZkError};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::follow::LocalTopics;
use super::plan::{Facts, Incarnations, plan_states};
use crate::config::Live;

/// Pause after something failed, and between looks at a deletion under way.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// Longest wait for the snapshot to show the registrations that are there.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

/// Time that other brokers get to see a deletion's mark before its nodes go.
const OTHERS_SEE_MARK: Duration = Duration::from_secs(1);

/// Longest wait for this broker's own part of a deletion.
const OWN_DELETION_MAX: Duration = Duration::from_secs(30);

/// Whether this broker is the controller, for the rest of it to read.
#[derive(Clone, Debug, Default)]
pub(super) struct Seat {
    proof: Arc<Mutex<Option<Controllership>>>,
}

impl Seat {
    pub(super) fn is_taken(&self) -> bool {
        self.proof.lock().is_some()
    }

    fn set(&self, proof: Option<Controllership>) {
        *self.proof.lock() = proof;
    }

    /// Gives the seat up, so that another broker need not wait for our session to end.
    pub(super) async fn leave(&self, registry: &Registry) {
        let proof = self.proof.lock().take();
        if let Some(proof) = proof
            && let Err(e) = registry.resign(&proof).await
        {
            warn!("could not give up the controller's seat: {e}");
        }
    }
}

/// One broker's candidate for the seat.
#[derive(Debug)]
pub(super) struct Controller {
    pub(super) this: BrokerId,
    pub(super) registry: Registry,
    pub(super) seat: Seat,
    pub(super) live: Arc<Live>,
    /// Topics that this broker has partitions of.
    pub(super) local: watch::Receiver<Arc<LocalTopics>>,
}

/// Why a term as controller ended.
#[derive(Debug, thiserror::Error)]
enum TermError {
    #[error(transparent)]
    Write(#[from] FencedError),
    #[error(transparent)]
    Read(#[from] RegistryError),
    #[error("the session was lost")]
    Session,
    #[error("{0:?} holds the seat")]
    Unseated(Option<BrokerId>),
}

type Snapshots = watch::Receiver<Arc<ClusterSnapshot>>;

impl Controller {
    /// Stands for election whenever the seat is empty, until dropped.
    pub(super) async fn run(self, mut snapshots: Snapshots) {
        let mut states = self.registry.session().states();
        loop {
            let state = *states.borrow_and_update();
            if !state.is_connected() {
                if states.changed().await.is_err() {
                    return;
                }
                continue;
            }
            match self.stand(&state, &mut snapshots).await {
                Ok(watch) => tokio::select! {
                    () = watch.changed() => {}
                    changed = states.changed() => if changed.is_err() { return },
                },
                Err(e) => {
                    info!("not the controller: {e}");
                    tokio::time::sleep(RETRY_EVERY).await;
                }
            }
            self.seat.set(None);
        }
    }

    /// One election; if it is won, the whole term. Gives what to wait for before the next.
    async fn stand(
        &self,
        state: &SessionState,
        snapshots: &mut Snapshots,
    ) -> Result<Watch, TermError> {
        let (holder, watch) = self.registry.controller_watch().await?;
        if holder.is_some_and(|h| h != self.this) {
            return Ok(watch);
        }
        match self.registry.elect(self.this).await? {
            Election::Lost(_) => Ok(watch),
            Election::Won(proof) => {
                info!(
                    "broker {} is the controller, epoch {}",
                    self.this, proof.epoch
                );
                self.seat.set(Some(proof));
                Err(self.term(&proof, state.generation(), snapshots).await)
            }
        }
    }

    /// Rules until something ends it.
    async fn term(
        &self,
        proof: &Controllership,
        generation: u64,
        snapshots: &mut Snapshots,
    ) -> TermError {
        let mut term = Term {
            proof: *proof,
            incarnations: Incarnations::default(),
            marked_at: BTreeMap::new(),
        };
        if let Err(e) = self.registry.ensure_feature().await {
            return e.into();
        }
        loop {
            if self.registry.session().state().generation() != generation {
                return TermError::Session;
            }
            if let Err(e) = self.round(&mut term, snapshots).await {
                match e {
                    // Made from facts that have changed since, or not answered: look again.
                    TermError::Write(FencedError::Failed(_)) => {}
                    TermError::Read(e) if e.is_transient() => {}
                    TermError::Read(e @ RegistryError::Payload { .. }) => warn!("{e}"),
                    e => return e,
                }
                tokio::time::sleep(RETRY_EVERY).await;
            }
        }
    }

    /// Does all that is to do, then waits for a change.
    async fn round(&self, term: &mut Term, snapshots: &mut Snapshots) -> Result<(), TermError> {
        let (marked, marks) = self.registry.topics_to_delete().await?;
        let (holder, seat) = self.registry.controller_watch().await?;
        if holder != Some(self.this) {
            return Err(TermError::Unseated(holder));
        }
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        // A snapshot that lags behind the registrations would take live leaders for dead ones.
        let alive = self.registry.broker_ids().await?;
        if !alive.iter().eq(snapshot.brokers.keys()) {
            let caught_up = snapshots.changed();
            // Not in time: an unreadable registration, say. What can be read counts.
            if tokio::time::timeout(CATCH_UP_MAX, caught_up).await.is_ok() {
                return Ok(());
            }
        }
        self.give_ids(&snapshot).await?;
        let deleting: BTreeSet<TopicName> = marked.iter().cloned().collect();
        let bounced = term.incarnations.bounced(&snapshot);
        let plan = plan_states(
            &snapshot,
            &Facts {
                epoch: term.proof.epoch,
                deleting: &deleting,
                bounced: &bounced,
            },
        );
        if !plan.is_empty() {
            info!("{} partitions get a leader or lose it", plan.len());
            self.registry.write_states(&term.proof, &plan).await?;
            // Planned again from a snapshot without them, they would only be refused. Waited for on a
            // receiver of its own: the snapshot that shows them may show more, which is still to do.
            let mut ahead = snapshots.clone();
            let written = ahead.wait_for(|s| is_written(s, &plan));
            let _in_time = tokio::time::timeout(CATCH_UP_MAX, written).await.is_ok();
        }
        term.incarnations.settle(&snapshot);
        let waiting = self.delete(term, &marked, &snapshot).await?;
        let soon = if waiting {
            RETRY_EVERY
        } else {
            Duration::from_secs(60)
        };
        let mut local = self.local.clone();
        tokio::select! {
            _ = snapshots.changed() => {}
            () = marks.changed() => {}
            () = seat.changed() => {}
            _ = local.changed(), if waiting => {}
            () = tokio::time::sleep(soon) => {}
        }
        Ok(())
    }

    /// Topics from before KIP-516 get their ids, as Kafka's controller gives them.
    async fn give_ids(&self, snapshot: &ClusterSnapshot) -> Result<(), TermError> {
        let without = snapshot.topics.iter().filter(|(_, info)| info.id.is_none());
        for (topic, _) in without {
            if let Some(mut stored) = self.registry.topic(topic).await?
                && stored.assignment.id.is_none()
            {
                stored.assignment.id = Some(TopicId::random());
                let version = stored.version;
                self.registry
                    .set_topic(topic, &stored.assignment, version)
                    .await?;
            }
        }
        Ok(())
    }

    /// Carries deletions out; whether some have to wait.
    async fn delete(
        &self,
        term: &mut Term,
        marked: &[TopicName],
        snapshot: &ClusterSnapshot,
    ) -> Result<bool, TermError> {
        term.marked_at.retain(|topic, _| marked.contains(topic));
        let mut waiting = false;
        for topic in marked {
            if !self.live.get().delete_topic_enable || self.registry.topic(topic).await?.is_none() {
                self.registry.forget_deletion(&term.proof, topic).await?;
                continue;
            }
            let since = *term
                .marked_at
                .entry(topic.clone())
                .or_insert_with(Instant::now);
            if !self.may_delete(topic, since, snapshot) {
                waiting = true;
                continue;
            }
            match self.registry.delete_topic(&term.proof, topic).await {
                Ok(()) => info!("topic {topic} is deleted"),
                // Something was made or removed below it meanwhile: the next round looks again.
                Err(FencedError::Failed(e))
                    if matches!(e.error, ZkError::NotEmpty | ZkError::NoNode) =>
                {
                    waiting = true;
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(waiting)
    }

    /// Brokers delete their files when they see the mark; the nodes go after that.
    fn may_delete(&self, topic: &TopicName, since: Instant, snapshot: &ClusterSnapshot) -> bool {
        let waited = since.elapsed();
        let hosts: BTreeSet<BrokerId> = snapshot
            .topics
            .get(topic)
            .into_iter()
            .flat_map(|info| info.partitions.values())
            .flat_map(|p| p.replicas.iter().copied())
            .collect();
        let here = self.local.borrow().contains(topic);
        let others = hosts
            .iter()
            .any(|h| *h != self.this && snapshot.brokers.contains_key(h));
        (!here || waited >= OWN_DELETION_MAX) && (!others || waited >= OTHERS_SEE_MARK)
    }
}

/// Whether `snapshot` shows what was planned, or what came after it.
fn is_written(snapshot: &ClusterSnapshot, plan: &[NewState]) -> bool {
    plan.iter().all(|new| {
        let now = snapshot.partition(&new.partition);
        now.is_none_or(|p| p.state.as_ref().map(|s| s.version) > new.version)
    })
}

/// What a term remembers.
struct Term {
    proof: Controllership,
    incarnations: Incarnations,
    /// When the mark of a topic was first seen.
    marked_at: BTreeMap<TopicName, Instant>,
}
