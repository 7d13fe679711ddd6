//! Moves of replicas: started by request or by `/admin/reassign_partitions`, ended when the new replicas
//! are in sync. What a step does to placement and state is decided in `reassign.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use nyala_coordinator::ids::TopicPartition;
use nyala_coordinator::registry::{FencedError, Reassignments};
use tracing::{info, warn};

use super::term::Term;
use super::{Snapshots, TermError};
use crate::cluster::asks::{Move, Moved};
use crate::cluster::error::ReassignError;
use crate::cluster::reassign::{Step, by_topic, is_moving, plan_ends, plan_move, target};

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
            match plan_move(&snapshot, &self.facts(), tp, wanted.as_deref()) {
                Ok(step) => steps.push(step),
                Err(e) => drop(moved.insert(tp.clone(), Err(e))),
            }
        }
        for (tp, outcome) in self.take(snapshots, steps).await? {
            moved.insert(tp, outcome);
        }
        Ok(moved)
    }

    /// Ends moves whose new replicas are all in sync.
    pub(super) async fn move_on(&mut self, snapshots: &mut Snapshots) -> Result<(), TermError> {
        let steps = plan_ends(&snapshots.borrow(), &self.facts());
        if !steps.is_empty() {
            info!("{} partitions have moved", steps.len());
            self.take(snapshots, steps).await?;
        }
        Ok(())
    }

    /// Writes steps, all of a topic together, and waits until they are seen.
    async fn take(
        &mut self,
        snapshots: &mut Snapshots,
        steps: Vec<Step>,
    ) -> Result<Moved, TermError> {
        let ids: BTreeMap<_, _> = {
            let snapshot = snapshots.borrow();
            let topics = snapshot.topics.iter();
            topics
                .map(|(topic, info)| (topic.clone(), info.id))
                .collect()
        };
        let mut moved = Moved::new();
        for (topic, moves) in by_topic(&steps) {
            let all: Vec<_> = moves.into_iter().collect();
            for piece in all.chunks(MOVES_MAX) {
                let piece: BTreeMap<_, _> = piece.iter().cloned().collect();
                let outcome = match self.registry.place(&self.proof, &topic, &piece).await {
                    Ok(()) => Ok(()),
                    Err(FencedError::Failed(e)) => {
                        warn!("{topic} cannot be moved now: {e}");
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
        let done = |step: &&Step| moved.get(&step.partition).is_some_and(Result::is_ok);
        let done: Vec<&Step> = steps.iter().filter(done).collect();
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
            return Ok(());
        }
        let wanted = std::mem::take(&mut self.nodes.moves.value);
        let before = wanted.len();
        let snapshot = Arc::clone(&snapshots.borrow());
        let mut start = Vec::new();
        let mut left = Reassignments::new();
        for (tp, replicas) in wanted {
            match snapshot.partition(&tp) {
                Some(info) if target(info) == replicas && !is_moving(info) => {
                    info!("{tp} has moved, as /admin/reassign_partitions asked");
                }
                Some(info) if target(info) == replicas => left.push((tp, replicas)),
                _ => start.push((tp, Some(replicas))),
            }
        }
        let outcomes = self.start_moves(snapshots, &start).await?;
        for (tp, replicas) in start {
            match outcomes.get(&tp) {
                Some(Ok(()) | Err(ReassignError::NotWritten)) => {
                    left.push((tp, replicas.unwrap_or_default()));
                }
                Some(Err(e)) => warn!("/admin/reassign_partitions: {tp} does not move: {e}"),
                None => {}
            }
        }
        if left.len() != before {
            self.registry
                .set_pending_reassignments(&self.proof, &left)
                .await?;
        }
        self.nodes.moves.value = left;
        Ok(())
    }

    /// What is asked for by request counts more than what was asked for by node.
    pub(super) async fn forget_pending_moves(&mut self, moved: &Moved) -> Result<(), TermError> {
        let pending = &mut self.nodes.moves.value;
        let before = pending.len();
        pending.retain(|(tp, _)| !moved.get(tp).is_some_and(Result::is_ok));
        if pending.len() != before {
            let left = pending.clone();
            self.registry
                .set_pending_reassignments(&self.proof, &left)
                .await?;
        }
        Ok(())
    }
}
