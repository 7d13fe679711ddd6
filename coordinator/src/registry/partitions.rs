//! `/brokers/topics/T/partitions/P/state`: who leads each partition. Written by the controller, and
//! by a leader for its in-sync replicas.

use std::collections::BTreeSet;

use super::payloads::PartitionState;
use super::topics::{OPS_PER_MULTI, bare};
use super::{At, Controllership, FencedError, Registry, RegistryError, paths};
use crate::ids::{TopicName, TopicPartition};
use crate::session::{Op, ZkError};

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

    /// Writes states as controller, in as few transactions as fit. Stops at the first failure;
    /// whoever decides then reads again.
    pub async fn write_states(
        &self,
        proof: &Controllership,
        states: &[NewState],
    ) -> Result<(), FencedError> {
        // Each new state is up to three nodes.
        for piece in states.chunks(OPS_PER_MULTI / 3) {
            let parents = self.missing_parents(piece).await?;
            let mut ops: Vec<Op> = parents.into_iter().map(bare).collect();
            for new in piece {
                let TopicPartition { topic, partition } = &new.partition;
                let path = paths::partition_state(topic, *partition);
                let data = new.state.encode();
                ops.push(match new.version {
                    None => Op::create(path, data),
                    Some(version) => Op::Set {
                        path,
                        data,
                        version: Some(version),
                    },
                });
            }
            self.write_as_controller(proof, ops).await?;
        }
        Ok(())
    }

    /// Parents that the new states of `piece` need and that are not there, parents first.
    async fn missing_parents(&self, piece: &[NewState]) -> Result<Vec<String>, FencedError> {
        let new = || {
            piece
                .iter()
                .filter(|n| n.version.is_none())
                .map(|n| &n.partition)
        };
        let topics: BTreeSet<&TopicName> = new().map(|tp| &tp.topic).collect();
        let mut wanted: Vec<String> = topics.into_iter().map(paths::topic_partitions).collect();
        wanted.extend(new().map(|tp| paths::partition(&tp.topic, tp.partition)));
        let there = self
            .session
            .get_many(&wanted)
            .await
            .map_err(|e| FencedError::Failed(e.into()))?;
        let missing = wanted
            .into_iter()
            .zip(there)
            .filter(|(_, node)| node.is_none());
        Ok(missing.map(|(path, _)| path).collect())
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
