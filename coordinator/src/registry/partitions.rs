//! `/brokers/topics/T/partitions/P/state`: who leads each partition. Written by the controller, and
//! by a leader for its in-sync replicas.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::payloads::PartitionState;
use super::topics::{OPS_PER_MULTI, bare};
use super::{At, Controllership, FencedError, Registry, RegistryError, paths};
use crate::ids::{TopicName, TopicPartition};
use crate::session::{Op, ZkError};

/// States in one transaction: with their parents three nodes each, far below ZooKeeper's limit even
/// where names are long.
const STATES_PER_MULTI: usize = 400;

/// A state that the controller wants to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewState {
    /// Which partition.
    pub partition: TopicPartition,
    /// What to write.
    pub state: PartitionState,
    /// Version of the node that the decision was made from; `None`: there is no node.
    pub version: Option<i32>,
}

/// A state that was not written, while others were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedState {
    /// Which partition.
    pub partition: TopicPartition,
    /// Why.
    pub error: ZkError,
}

impl NewState {
    /// The write itself; a new state needs its parents.
    pub(super) fn op(&self) -> Op {
        let TopicPartition { topic, partition } = &self.partition;
        let path = paths::partition_state(topic, *partition);
        let data = self.state.encode();
        match self.version {
            None => Op::create(path, data),
            Some(version) => Op::Set {
                path,
                data,
                version: Some(version),
            },
        }
    }
}

impl Registry {
    /// Reads a partition's state and its version.
    pub async fn partition_state(
        &self,
        tp: &TopicPartition,
    ) -> Result<Option<(PartitionState, i32)>, RegistryError> {
        let path = paths::partition_state(&tp.topic, tp.partition);
        let Some(node) = self.session.get_if_exists(&path).await.at(&path)? else {
            return Ok(None);
        };
        let state = PartitionState::decode(&node.data).at(&path)?;
        Ok(Some((state, node.stat.version)))
    }

    /// Writes states as controller, in large transactions that are on their way together; gives those
    /// that were refused, each for a reason of its own. After an error some may be written: whoever
    /// decides then reads again.
    pub async fn write_states(
        &self,
        proof: &Controllership,
        states: &[NewState],
    ) -> Result<Vec<RefusedState>, FencedError> {
        let fresh = self.make_topic_parents(proof, states).await?;
        let pieces = states.chunks(STATES_PER_MULTI);
        let writes = pieces.map(|piece| self.write_by_halves(proof, piece, &fresh));
        let refused: Result<Vec<_>, _> = join_all(writes).await.into_iter().collect();
        Ok(refused?.into_iter().flatten().collect())
    }

    /// One transaction; halves of it where one state spoils it, so that all the others are written.
    async fn write_by_halves(
        &self,
        proof: &Controllership,
        piece: &[NewState],
        fresh: &BTreeSet<&TopicName>,
    ) -> Result<Vec<RefusedState>, FencedError> {
        let (mut refused, mut left) = (Vec::new(), vec![piece]);
        while let Some(piece) = left.pop() {
            let failed = match self.write_piece(proof, piece, fresh).await {
                Ok(()) => continue,
                Err(FencedError::Failed(failed)) if failed.index.is_some() => failed,
                Err(error) => return Err(error),
            };
            match piece {
                [one] => refused.push(RefusedState {
                    partition: one.partition.clone(),
                    error: failed.error,
                }),
                piece => {
                    let (first, second) = piece.split_at(piece.len() / 2);
                    left.extend([second, first]);
                }
            }
        }
        Ok(refused)
    }

    /// Writes states that are there already, each for itself: the failure of one leaves the others.
    pub async fn write_states_each(
        &self,
        proof: &Controllership,
        states: &[NewState],
    ) -> Result<Vec<Result<(), ZkError>>, FencedError> {
        let mut outcomes = Vec::with_capacity(states.len());
        for piece in states.chunks(STATES_PER_MULTI) {
            let writes = piece.iter().map(|new| async move {
                match self.write_as_controller(proof, vec![new.op()]).await {
                    Ok(_) => Ok(Ok(())),
                    Err(FencedError::Failed(e)) => Ok(Err(e.error)),
                    Err(FencedError::Fenced) => Err(FencedError::Fenced),
                }
            });
            for outcome in join_all(writes).await {
                outcomes.push(outcome?);
            }
        }
        Ok(outcomes)
    }

    /// Makes the `partitions` nodes that new states need; gives the topics that had none.
    async fn make_topic_parents<'a>(
        &self,
        proof: &Controllership,
        states: &'a [NewState],
    ) -> Result<BTreeSet<&'a TopicName>, FencedError> {
        let new = states.iter().filter(|n| n.version.is_none());
        let topics: BTreeSet<&TopicName> = new.map(|n| &n.partition.topic).collect();
        let wanted: Vec<String> = topics.iter().map(|t| paths::topic_partitions(t)).collect();
        let there = self.there(&wanted).await?;
        let missing: Vec<(&TopicName, String)> = topics
            .into_iter()
            .zip(wanted)
            .zip(there)
            .filter_map(|(parent, there)| (!there).then_some(parent))
            .collect();
        for piece in missing.chunks(OPS_PER_MULTI) {
            let ops: Vec<Op> = piece.iter().map(|(_, path)| bare(path.clone())).collect();
            match self.write_as_controller(proof, ops.clone()).await {
                Err(FencedError::Failed(e)) if e.index.is_some() => {
                    for op in ops {
                        match self.write_as_controller(proof, vec![op]).await {
                            // Its states will be refused.
                            Err(FencedError::Failed(e)) if e.index.is_some() => {}
                            other => drop(other?),
                        }
                    }
                }
                other => drop(other?),
            }
        }
        Ok(missing.into_iter().map(|(topic, _)| topic).collect())
    }

    async fn write_piece(
        &self,
        proof: &Controllership,
        piece: &[NewState],
        fresh: &BTreeSet<&TopicName>,
    ) -> Result<(), FencedError> {
        let new = piece.iter().filter(|n| n.version.is_none());
        let (empty, others): (Vec<_>, Vec<_>) = new
            .map(|n| &n.partition)
            .partition(|tp| fresh.contains(&tp.topic));
        let path = |tp: &&TopicPartition| paths::partition(&tp.topic, tp.partition);
        let mut ops: Vec<Op> = empty.iter().map(path).map(bare).collect();
        let wanted: Vec<String> = others.iter().map(path).collect();
        let there = self.there(&wanted).await?;
        let missing = wanted.into_iter().zip(there).filter(|(_, there)| !there);
        ops.extend(missing.map(|(path, _)| bare(path)));
        ops.extend(piece.iter().map(NewState::op));
        self.write_as_controller(proof, ops).await.map(drop)
    }

    async fn there(&self, wanted: &[String]) -> Result<Vec<bool>, FencedError> {
        let found = self.session.get_many(wanted).await;
        let found = found.map_err(|e| FencedError::Failed(e.into()))?;
        Ok(found.iter().map(Option::is_some).collect())
    }

    /// Writes a state as the partition's leader, if the node still has `version`; gives the new one.
    pub async fn set_partition_state(
        &self,
        tp: &TopicPartition,
        state: &PartitionState,
        version: i32,
    ) -> Result<i32, RegistryError> {
        let path = paths::partition_state(&tp.topic, tp.partition);
        let data = state.encode();
        match self.session.set(&path, &data, Some(version)).await {
            Err(ZkError::Unknown) => match self.partition_state(tp).await? {
                Some((now, v)) if now == *state && v == version.wrapping_add(1) => Ok(v),
                _ => Err(ZkError::Unknown).at(&path),
            },
            other => Ok(other.at(&path)?.version),
        }
    }
}
