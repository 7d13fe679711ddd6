//! Answers to what is asked of the controller: in-sync replicas, shutdowns, elections, moves.

use std::collections::BTreeMap;
use std::sync::Arc;

use nyala_coordinator::cluster::{ClusterSnapshot, PartitionState};
use nyala_coordinator::ids::{BrokerEpoch, BrokerId, TopicPartition};
use nyala_coordinator::registry::{FencedError, NewState, Reassignments};
use nyala_coordinator::session::ZkError;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::term::Term;
use super::{Snapshots, TermError};
use crate::cluster::asks::{Ask, Elected, IsrAnswers, Move, Moved};
use crate::cluster::elections::{ElectionKind, plan_election};
use crate::cluster::error::{ControllerError, ElectionError, IsrError, ReassignError};
use crate::cluster::isr_request::{Decision, IsrRequest, decide};
use crate::cluster::reassign::{Step, by_topic, is_moving, plan_ends, plan_move, target};

/// Partitions that one transaction moves: they share their topic's node.
const MOVES_MAX: usize = 500;

/// The way back to a leader.
type IsrReply = oneshot::Sender<Result<IsrAnswers, ControllerError>>;

/// What one incarnation of a leader wishes.
type Wishes = ((BrokerId, BrokerEpoch), Vec<IsrRequest>, IsrReply);

/// One leader's wishes, decided but for the writes.
struct Wished {
    answers: Vec<Result<Granted, IsrError>>,
    reply: IsrReply,
}

/// A wish that is granted.
enum Granted {
    /// It was so already.
    Already(PartitionState),
    /// If the write with this number succeeds.
    Written(usize),
}

impl Term<'_> {
    /// Answers what has been asked since the last round. Shutdowns are answered when leaders have
    /// moved.
    pub(super) async fn answer(&mut self, snapshots: &mut Snapshots) -> Result<(), TermError> {
        let mut wishes = Vec::new();
        for ask in std::mem::take(&mut self.asked) {
            match ask {
                Ask::Isr {
                    leader,
                    epoch,
                    wishes: wished,
                    reply,
                } => wishes.push(((leader, epoch), wished, reply)),
                Ask::Shutdown {
                    broker,
                    epoch,
                    reply,
                } => {
                    let refused = self.begin_shutdown(&snapshots.borrow(), broker, epoch);
                    match refused {
                        Some(error) => drop(reply.send(Err(error))),
                        None => self.leaving.push((broker, reply)),
                    }
                }
                Ask::Elect {
                    kind,
                    partitions,
                    reply,
                } => {
                    let elected = self.elect(snapshots, kind, partitions).await?;
                    // Whoever asked has gone: what was done stays done.
                    let _ = reply.send(elected);
                }
                Ask::Move { moves, reply } => {
                    let moved = self.start_moves(snapshots, &moves).await?;
                    self.forget_pending_moves(&moved).await?;
                    let _ = reply.send(moved);
                }
            }
        }
        if wishes.is_empty() {
            return Ok(());
        }
        self.grant(snapshots, wishes).await
    }

    fn begin_shutdown(
        &mut self,
        snapshot: &ClusterSnapshot,
        broker: BrokerId,
        epoch: Option<BrokerEpoch>,
    ) -> Option<ControllerError> {
        let Some(registered) = snapshot.brokers.get(&broker).map(|b| b.epoch) else {
            return Some(ControllerError::UnknownBroker(broker));
        };
        if epoch.is_some_and(|epoch| epoch < registered) {
            return Some(ControllerError::StaleBroker);
        }
        info!("broker {broker} is shutting down");
        self.stop_broker(broker, registered);
        None
    }

    /// Decides about the in-sync replicas that leaders wish for, and writes all at once.
    async fn grant(
        &mut self,
        snapshots: &mut Snapshots,
        wishes: Vec<Wishes>,
    ) -> Result<(), TermError> {
        let snapshot = Arc::clone(&snapshots.borrow());
        let mut writes: Vec<NewState> = Vec::new();
        let mut wished = Vec::new();
        for ((leader, epoch), requests, reply) in wishes {
            if snapshot.brokers.get(&leader).map(|b| b.epoch) != Some(epoch) {
                // Nobody waits any more: it will ask again.
                let _ = reply.send(Err(ControllerError::StaleBroker));
                continue;
            }
            let decide_one = |request: &IsrRequest| {
                let decided = decide(&snapshot, &self.facts(), leader, request)?;
                Ok(match decided {
                    Decision::Granted(state) => Granted::Already(state),
                    Decision::Write(new) => {
                        writes.push(new);
                        Granted::Written(writes.len() - 1)
                    }
                })
            };
            wished.push(Wished {
                answers: requests.iter().map(decide_one).collect(),
                reply,
            });
        }
        let outcomes = self
            .registry
            .write_states_each(&self.proof, &writes)
            .await?;
        for Wished { answers, reply } in wished {
            let answers = answers.into_iter().map(|answer| match answer? {
                Granted::Already(state) => Ok(state),
                Granted::Written(at) => match (outcomes.get(at), writes.get(at)) {
                    (Some(Ok(())), Some(new)) => Ok(written(new)),
                    (Some(Err(ZkError::BadVersion)), _) => Err(IsrError::OldVersion),
                    (Some(Err(ZkError::NoNode)), _) => Err(IsrError::Unknown),
                    // Whether it was written is unknown: the leader asks again.
                    _ => Err(IsrError::NotController),
                },
            });
            let _ = reply.send(Ok(answers.collect()));
        }
        let mut done = outcomes.iter().map(Result::is_ok);
        writes.retain(|_| done.next().unwrap_or(false));
        self.await_states(snapshots, &writes).await;
        Ok(())
    }

    /// Elects leaders of `partitions`, or of all.
    async fn elect(
        &mut self,
        snapshots: &mut Snapshots,
        kind: ElectionKind,
        partitions: Option<Vec<TopicPartition>>,
    ) -> Result<Elected, TermError> {
        let snapshot = Arc::clone(&snapshots.borrow());
        let partitions = partitions.unwrap_or_else(|| all_of(&snapshot));
        let mut elected = Elected::new();
        let mut plan = Vec::new();
        for tp in partitions {
            match plan_election(&snapshot, &self.facts(), kind, &tp) {
                Ok(new) => plan.push(new),
                Err(e) => drop(elected.insert(tp, Err(e))),
            }
        }
        plan.sort_by(|a, b| a.partition.cmp(&b.partition));
        plan.dedup_by(|a, b| a.partition == b.partition);
        let outcomes = self.registry.write_states_each(&self.proof, &plan).await?;
        for (new, outcome) in plan.iter().zip(outcomes) {
            let won = match (outcome, new.state.leader) {
                (Ok(()), Some(leader)) => Ok(leader),
                _ => Err(ElectionError::TimedOut),
            };
            elected.insert(new.partition.clone(), won);
        }
        plan.retain(|new| elected.get(&new.partition).is_some_and(Result::is_ok));
        self.await_states(snapshots, &plan).await;
        Ok(elected)
    }

    /// `/admin/preferred_replica_election`.
    pub(super) async fn elect_preferred(
        &mut self,
        snapshots: &mut Snapshots,
        wanted: Vec<TopicPartition>,
    ) -> Result<(), TermError> {
        let kind = ElectionKind::Preferred;
        for (tp, outcome) in self.elect(snapshots, kind, Some(wanted)).await? {
            if let Err(e) = outcome {
                info!("the preferred replica of {tp} was not elected: {e}");
            }
        }
        Ok(())
    }

    /// Starts moves or calls them off.
    async fn start_moves(
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
    async fn forget_pending_moves(&mut self, moved: &Moved) -> Result<(), TermError> {
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

fn all_of(snapshot: &ClusterSnapshot) -> Vec<TopicPartition> {
    let topics = snapshot.topics.iter();
    topics
        .flat_map(|(topic, info)| {
            info.partitions.keys().map(|partition| TopicPartition {
                topic: topic.clone(),
                partition: *partition,
            })
        })
        .collect()
}

/// The state after a write: its version counts up.
fn written(new: &NewState) -> PartitionState {
    PartitionState {
        leader: new.state.leader,
        leader_epoch: new.state.leader_epoch,
        isr: new.state.isr.clone(),
        controller_epoch: new.state.controller_epoch,
        version: new.version.map_or(0, |version| version.wrapping_add(1)),
        // Not told by the answer, and not asked for.
        written: 0,
    }
}
