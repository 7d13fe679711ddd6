//! What brokers and administrators ask of the controller, and the way in for whoever was asked.
//!
//! The controller answers from its one loop, in order; a broker that is not the controller answers so.

use std::collections::BTreeMap;
use std::time::Duration;

use nyala_coordinator::cluster::{ClusterSnapshot, PartitionInfo, PartitionState};
use nyala_coordinator::ids::{BrokerEpoch, BrokerId, TopicPartition};
use tokio::sync::oneshot;

use super::elections::ElectionKind;
use super::error::{ControllerError, ElectionError, IsrError, ReassignError};
use super::isr_request::IsrRequest;
use super::{Cluster, reassign};

/// State of each partition after a leader's wishes, in their order.
pub type IsrAnswers = Vec<Result<PartitionState, IsrError>>;

/// What became of each election.
pub(super) type Elected = BTreeMap<TopicPartition, Result<BrokerId, ElectionError>>;

/// A partition, and where it shall live; `None`: its move is called off.
pub type Move = (TopicPartition, Option<Vec<BrokerId>>);

/// What became of each wish to move a partition.
pub type Moved = BTreeMap<TopicPartition, Result<(), ReassignError>>;

/// Something asked of the controller, with the way back.
#[derive(Debug)]
pub(super) enum Ask {
    /// A leader wishes for other in-sync replicas.
    Isr {
        leader: BrokerId,
        epoch: BrokerEpoch,
        wishes: Vec<IsrRequest>,
        reply: oneshot::Sender<Result<IsrAnswers, ControllerError>>,
    },
    /// A broker shuts down.
    Shutdown {
        broker: BrokerId,
        epoch: Option<BrokerEpoch>,
        reply: oneshot::Sender<Result<Vec<TopicPartition>, ControllerError>>,
    },
    /// Leaders are to be elected; `None`: of all partitions.
    Elect {
        kind: ElectionKind,
        partitions: Option<Vec<TopicPartition>>,
        reply: oneshot::Sender<Elected>,
    },
    /// Partitions are to move.
    Move {
        moves: Vec<Move>,
        reply: oneshot::Sender<Moved>,
    },
}

impl Cluster {
    /// Grants a leader other in-sync replicas, or does not; answers in the order of `wishes`.
    pub async fn alter_partition(
        &self,
        leader: BrokerId,
        epoch: BrokerEpoch,
        wishes: Vec<IsrRequest>,
    ) -> Result<IsrAnswers, ControllerError> {
        let ask = |reply| Ask::Isr {
            leader,
            epoch,
            wishes,
            reply,
        };
        self.controller.ask(ask).await?
    }

    /// Moves what `broker` leads elsewhere; gives what could not be moved.
    pub async fn controlled_shutdown(
        &self,
        broker: BrokerId,
        epoch: Option<BrokerEpoch>,
    ) -> Result<Vec<TopicPartition>, ControllerError> {
        let ask = |reply| Ask::Shutdown {
            broker,
            epoch,
            reply,
        };
        self.controller.ask(ask).await?
    }

    /// Elects leaders (`None`: of all partitions that need it) and waits until they are seen here.
    pub async fn elect_leaders(
        &self,
        kind: ElectionKind,
        partitions: Option<Vec<TopicPartition>>,
        timeout: Duration,
    ) -> Result<BTreeMap<TopicPartition, Result<(), ElectionError>>, ControllerError> {
        let ask = |reply| Ask::Elect {
            kind,
            partitions,
            reply,
        };
        let elected = self.controller.ask(ask).await?;
        let leads = |snapshot: &ClusterSnapshot, tp: &TopicPartition, leader: BrokerId| {
            let state = snapshot.partition(tp).and_then(|p| p.state.as_ref());
            state.is_some_and(|s| s.leader == Some(leader))
        };
        let all = |snapshot: &ClusterSnapshot, _: &_| {
            let mut won = elected
                .iter()
                .filter_map(|(tp, e)| Some((tp, e.as_ref().ok()?)));
            won.all(|(tp, leader)| leads(snapshot, tp, *leader))
        };
        self.wait_until(timeout, all).await;
        let snapshot = self.snapshot();
        let seen = |(tp, outcome): (TopicPartition, Result<BrokerId, ElectionError>)| {
            let outcome = outcome.and_then(|leader| match leads(&snapshot, &tp, leader) {
                true => Ok(()),
                false => Err(ElectionError::TimedOut),
            });
            (tp, outcome)
        };
        Ok(elected.into_iter().map(seen).collect())
    }

    /// Starts moves, changes them or calls them off.
    pub async fn alter_reassignments(&self, moves: Vec<Move>) -> Result<Moved, ControllerError> {
        self.controller
            .ask(|reply| Ask::Move { moves, reply })
            .await
    }

    /// Partitions that are moving.
    pub fn reassignments(
        &self,
    ) -> Result<BTreeMap<TopicPartition, PartitionInfo>, ControllerError> {
        if !self.is_controller() {
            return Err(ControllerError::NotController);
        }
        let snapshot = self.snapshot();
        let partitions = snapshot.topics.iter().flat_map(|(topic, info)| {
            info.partitions.iter().map(|(index, partition)| {
                let tp = TopicPartition {
                    topic: topic.clone(),
                    partition: *index,
                };
                (tp, partition)
            })
        });
        let moving = partitions.filter(|(_, info)| reassign::is_moving(info));
        Ok(moving.map(|(tp, info)| (tp, info.clone())).collect())
    }
}
