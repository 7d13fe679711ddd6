//! Moves of replicas: started by request or by `/admin/reassign_partitions`, ended when the new replicas
//! are in sync. What a step does to placement and state is decided in `reassign.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::ids::TopicPartition;
use nyala_coordinator::registry::{FencedError, Reassignments};
use nyala_coordinator::session::ZkError;
use tokio::time::Instant;
use tracing::{info, warn};

use super::term::Term;
use super::{Snapshots, TermError, news};
use crate::cluster::asks::{Move, Moved};
use crate::cluster::error::ReassignError;
use crate::cluster::names::Names;
use crate::cluster::reassign::{Step, by_topic, is_moving, plan_ends, plan_move, target};

/// Until a refused write of `/admin/reassign_partitions` is tried again.
const PENDING_PAUSE: Duration = Duration::from_secs(1);

/// Partitions that one transaction moves: they share their topic's node.
const MOVES_MAX: usize = 500;

impl Term<'_> {
    /// Starts moves or calls them off.
    pub(super) async fn start_moves(
        &mut self,
        snapshots: &mut Snapshots,
        moves: &[Move],
    ) -> Result<Moved, TermError> {
        let snapshot = Arc::clone(&snapshots.borrow());
        let mut moved = Moved::new();
        let mut steps = Vec::new();
        for (tp, wanted) in moves {
            match plan_move(&snapshot, &self.situation(), tp, wanted.as_deref()) {
                Ok(step) => steps.push(step),
                Err(e) => drop(moved.insert(tp.clone(), Err(e))),
            }
        }
        let taken = self.take(snapshots, &steps).await?;
        for line in news::of_starts(&snapshot, &done_of(&steps, &taken)) {
            info!("{line}");
        }
        moved.extend(taken);
        Ok(moved)
    }

    /// Ends moves whose new replicas are all in sync.
    pub(super) async fn move_on(&mut self, snapshots: &mut Snapshots) -> Result<(), TermError> {
        let snapshot = Arc::clone(&snapshots.borrow());
        let mut steps = plan_ends(&snapshot, &self.situation());
        steps.retain(|step| !self.stuck.waits(&step.partition.topic, self.began));
        if !steps.is_empty() {
            let taken = self.take(snapshots, &steps).await?;
            if let Some(line) = news::of_ends(&snapshot, &done_of(&steps, &taken)) {
                info!("{line}");
            }
        }
        Ok(())
    }

    /// Writes steps, all of a topic together, and waits until they are seen.
    async fn take(
        &mut self,
        snapshots: &mut Snapshots,
        steps: &[Step],
    ) -> Result<Moved, TermError> {
        let ids: BTreeMap<_, _> = {
            let snapshot = snapshots.borrow();
            let topics = snapshot.topics.iter();
            topics
                .map(|(topic, info)| (topic.clone(), info.id))
                .collect()
        };
        let mut moved = Moved::new();
        for (topic, moves) in by_topic(steps) {
            let all: Vec<_> = moves.into_iter().collect();
            for piece in all.chunks(MOVES_MAX) {
                let piece: BTreeMap<_, _> = piece.iter().cloned().collect();
                let outcome = match self.registry.place(&self.proof, &topic, &piece).await {
                    Ok(()) => {
                        self.stuck.freed(&topic);
                        Ok(())
                    }
                    Err(FencedError::Failed(e)) => {
                        if self.stuck.failed(&topic, e.to_string(), self.began) {
                            warn!("{topic} cannot be moved now: {e}");
                        }
                        Err(ReassignError::NotWritten)
                    }
                    Err(e) => return Err(e.into()),
                };
                moved.extend(piece.into_keys().map(|partition| {
                    let topic = topic.clone();
                    (TopicPartition { topic, partition }, outcome.clone())
                }));
            }
        }
        let done = done_of(steps, &moved);
        if done.is_empty() {
            // Nothing to wait for, nor to look at again.
            return Ok(moved);
        }
        for step in &done {
            let id = ids.get(&step.partition.topic).copied().flatten();
            for broker in &step.dropped {
                self.dropped.insert((*broker, step.partition.clone()), id);
            }
            for broker in &step.placement.replicas {
                self.dropped.remove(&(*broker, step.partition.clone()));
            }
        }
        self.await_shown(snapshots, |snapshot| {
            done.iter().all(|step| {
                let shown = snapshot.partition(&step.partition);
                shown.is_none_or(|info| {
                    info.replicas == step.placement.replicas
                        && info.adding_replicas == step.placement.adding
                        && info.removing_replicas == step.placement.removing
                        && info.state.as_ref().map(|s| s.version)
                            > step.state.as_ref().and_then(|s| s.version)
                })
            })
        })
        .await;
        Ok(moved)
    }

    /// `/admin/reassign_partitions`: starts what has not been started, forgets what is done.
    pub(super) async fn do_pending_moves(
        &mut self,
        snapshots: &mut Snapshots,
    ) -> Result<(), TermError> {
        if self.nodes.moves.value.is_empty() {
            return match self.pending_unwritten.is_some() {
                true => self.write_pending_moves().await,
                false => Ok(()),
            };
        }
        let wanted = std::mem::take(&mut self.nodes.moves.value);
        let before = wanted.len();
        let snapshot = Arc::clone(&snapshots.borrow());
        let mut start = Vec::new();
        let mut left = Reassignments::new();
        let (mut over, mut refused) = (Names::default(), Names::default());
        for (tp, replicas) in wanted {
            match snapshot.partition(&tp) {
                Some(info) if target(info) == replicas && !is_moving(info) => {
                    over.push(tp);
                }
                Some(info) if target(info) == replicas => left.push((tp, replicas)),
                _ if self.stuck.waits(&tp.topic, self.began) => left.push((tp, replicas)),
                _ => start.push((tp, Some(replicas))),
            }
        }
        let outcomes = self.start_moves(snapshots, &start).await?;
        for (tp, replicas) in start {
            match outcomes.get(&tp) {
                Some(Ok(()) | Err(ReassignError::NotWritten)) => {
                    left.push((tp, replicas.unwrap_or_default()));
                }
                Some(Err(e)) => refused.push(format_args!("{tp}: {e}")),
                None => {}
            }
        }
        if !over.is_empty() {
            info!("/admin/reassign_partitions: where they should be: {over}");
        }
        if !refused.is_empty() {
            warn!("/admin/reassign_partitions: do not move: {refused}");
        }
        let is_stale = left.len() != before || self.pending_unwritten.is_some();
        self.nodes.moves.value = left;
        match is_stale {
            true => self.write_pending_moves().await,
            false => Ok(()),
        }
    }

    /// Writes what is left of `/admin/reassign_partitions`. Where that is refused it is tried again, and nothing else
    /// waits for it.
    async fn write_pending_moves(&mut self) -> Result<(), TermError> {
        let left = self.nodes.moves.value.clone();
        let written = self.registry.set_pending_reassignments(&self.proof, &left);
        match written.await {
            Ok(()) => self.pending_unwritten = None,
            Err(FencedError::Failed(e)) if e.error == ZkError::NoAuth => {
                let why = e.to_string();
                if self.pending_unwritten.as_ref() != Some(&why) {
                    warn!("/admin/reassign_partitions still names moves that are over: {why}");
                }
                self.pending_unwritten = Some(why);
            }
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// When that is to be tried again.
    pub(super) fn pending_due(&self) -> Option<Instant> {
        let unwritten = self.pending_unwritten.is_some();
        unwritten.then(|| self.began + PENDING_PAUSE)
    }

    /// What is asked for by request counts more than what was asked for by node.
    pub(super) async fn forget_pending_moves(&mut self, moved: &Moved) -> Result<(), TermError> {
        let pending = &mut self.nodes.moves.value;
        let before = pending.len();
        pending.retain(|(tp, _)| !moved.get(tp).is_some_and(Result::is_ok));
        match pending.len() == before {
            true => Ok(()),
            false => self.write_pending_moves().await,
        }
    }
}

/// The steps that were written.
fn done_of<'a>(steps: &'a [Step], moved: &Moved) -> Vec<&'a Step> {
    let done = |step: &&Step| moved.get(&step.partition).is_some_and(Result::is_ok);
    steps.iter().filter(done).collect()
}
