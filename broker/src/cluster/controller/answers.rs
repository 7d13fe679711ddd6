//! Answers to what is asked of the controller: in-sync replicas and shutdowns by this file, elections by
//! `elect.rs`, moves by `moves.rs`.

use std::sync::Arc;

use nyala_coordinator::cluster::{ClusterSnapshot, PartitionState};
use nyala_coordinator::ids::{BrokerEpoch, BrokerId};
use nyala_coordinator::registry::NewState;
use nyala_coordinator::session::ZkError;
use tokio::sync::oneshot;
use tracing::info;

use super::term::Term;
use super::{Snapshots, TermError};
use crate::cluster::asks::{Ask, IsrAnswers};
use crate::cluster::error::{ControllerError, IsrError};
use crate::cluster::isr_request::{Decision, IsrRequest, decide};

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
                let decided = decide(&snapshot, &self.situation(), leader, request)?;
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
