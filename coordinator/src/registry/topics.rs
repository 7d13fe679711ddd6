//! `/brokers/topics/T` and `/admin/delete_topics/T`: which topics there are, and which shall go.

use std::collections::BTreeMap;

use super::payloads::{TopicAssignment, encode_config};
use super::{At, Controllership, FencedError, NewState, Registry, RegistryError, paths};
use crate::ids::{BrokerId, PartitionIndex, TopicName};
use crate::session::{Acl, CreateMode, MultiError, Op, Watch, ZkError};

/// A topic's assignment and the version of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTopic {
    /// What the node says.
    pub assignment: TopicAssignment,
    /// Version of the node, for [`Registry::set_topic`].
    pub version: i32,
}

/// Where one partition of a topic shall live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// All replicas, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those that a reassignment adds.
    pub adding: Vec<BrokerId>,
    /// Those that it removes.
    pub removing: Vec<BrokerId>,
}

/// Why a topic could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateTopicError {
    /// There is one by that name.
    #[error("topic {0} exists already")]
    Exists(TopicName),
    /// ZooKeeper failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Registry {
    /// Writes a new topic and its overrides; the controller does the rest.
    ///
    /// Overrides and topic go in one transaction, so that no topic ever lives under the overrides
    /// of an attempt that failed.
    pub async fn create_topic(
        &self,
        topic: &TopicName,
        assignment: &TopicAssignment,
        config: &BTreeMap<String, String>,
    ) -> Result<(), CreateTopicError> {
        let path = paths::topic(topic);
        let config_path = paths::config("topics", topic.as_str());
        let data = assignment.encode();
        loop {
            let old = self.session.exists(&config_path).await.at(&config_path)?;
            let overrides = encode_config(config);
            let overrides = match old {
                Some(stat) => Op::Set {
                    path: config_path.clone(),
                    data: overrides,
                    version: Some(stat.version),
                },
                None => Op::create(&config_path, overrides),
            };
            let ops = vec![Op::create(&path, data.clone()), overrides];
            let Err(failed) = self.session.multi(ops).await else {
                return Ok(());
            };
            match (failed.index, failed.error) {
                (Some(0), ZkError::NodeExists) => {
                    return Err(CreateTopicError::Exists(topic.clone()));
                }
                // The overrides came or went meanwhile: look again.
                (Some(1), ZkError::NodeExists | ZkError::NoNode | ZkError::BadVersion) => {}
                (_, ZkError::Unknown) => {
                    // A topic id is unique: if it is there, this very call made it.
                    let stored = self.topic(topic).await?;
                    if stored.is_some_and(|s| s.assignment == *assignment) {
                        return Ok(());
                    }
                }
                (_, e) => return Err(e).at(&path)?,
            }
        }
    }

    /// Names of all topics; names that no broker would write are left out.
    pub async fn topic_names(&self) -> Result<Vec<TopicName>, RegistryError> {
        let path = paths::TOPICS;
        match self.session.children(path).await {
            Err(ZkError::NoNode) => Ok(Vec::new()),
            other => Ok(legal(&other.at(path)?)),
        }
    }

    /// One topic.
    pub async fn topic(&self, topic: &TopicName) -> Result<Option<StoredTopic>, RegistryError> {
        let path = paths::topic(topic);
        let Some(node) = self.session.get_if_exists(&path).await.at(&path)? else {
            return Ok(None);
        };
        Ok(Some(StoredTopic {
            assignment: TopicAssignment::decode(&node.data).at(&path)?,
            version: node.stat.version,
        }))
    }

    /// Replaces a topic's assignment (new partitions) if its node has `version`.
    pub async fn set_topic(
        &self,
        topic: &TopicName,
        assignment: &TopicAssignment,
        version: i32,
    ) -> Result<(), RegistryError> {
        let path = paths::topic(topic);
        let data = assignment.encode();
        match self.session.set(&path, &data, Some(version)).await {
            Err(ZkError::Unknown) => match self.topic(topic).await? {
                Some(now) if now.assignment == *assignment => Ok(()),
                _ => Err(ZkError::Unknown).at(&path),
            },
            other => other.at(&path).map(drop),
        }
    }

    /// Moves partitions of one topic, as controller: their placements and their new states go in one
    /// transaction, so that no leader epoch is ever older than the placement that it belongs to.
    pub async fn place(
        &self,
        proof: &Controllership,
        topic: &TopicName,
        moves: &BTreeMap<PartitionIndex, (Placement, Option<NewState>)>,
    ) -> Result<(), FencedError> {
        let read = self.topic(topic).await.map_err(|e| match e {
            RegistryError::Zk { source, .. } => FencedError::Failed(source.into()),
            // Unreadable now: whoever decides reads again, and finds out.
            RegistryError::Payload { .. } => FencedError::Failed(ZkError::BadVersion.into()),
        })?;
        let Some(StoredTopic {
            mut assignment,
            version,
        }) = read
        else {
            return Err(FencedError::Failed(ZkError::NoNode.into()));
        };
        let mut ops = Vec::new();
        for (partition, (placement, state)) in moves {
            let edit = |map: &mut BTreeMap<_, _>, brokers: &Vec<BrokerId>| match brokers.is_empty()
            {
                true => drop(map.remove(partition)),
                false => drop(map.insert(*partition, brokers.clone())),
            };
            edit(&mut assignment.replicas, &placement.replicas);
            edit(&mut assignment.adding_replicas, &placement.adding);
            edit(&mut assignment.removing_replicas, &placement.removing);
            ops.extend(state.as_ref().map(NewState::op));
        }
        ops.push(Op::Set {
            path: paths::topic(topic),
            data: assignment.encode(),
            version: Some(version),
        });
        self.write_as_controller(proof, ops).await.map(drop)
    }

    /// Marks a topic for deletion; `false`: it was marked already.
    pub async fn mark_for_deletion(&self, topic: &TopicName) -> Result<bool, RegistryError> {
        self.create_if_missing(&paths::delete_topic(topic), b"")
            .await
    }

    /// Topics that are marked for deletion; the watch fires when the list may have changed.
    pub async fn topics_to_delete(&self) -> Result<(Vec<TopicName>, Watch), RegistryError> {
        let path = paths::DELETE_TOPICS;
        let (children, watch) = self.session.children_watch(path).await.at(path)?;
        let names = children.map(|c| c.names).unwrap_or_default();
        Ok((legal(&names), watch))
    }

    /// Removes everything about a topic: as controller only. What groups of `/consumers` have committed in it goes
    /// first: those offsets would pass over records of the next topic of that name.
    ///
    /// Its node, its overrides and its mark go in one transaction, the last: a topic made anew under
    /// the name never finds a mark that was meant for its predecessor.
    pub async fn delete_topic(
        &self,
        proof: &Controllership,
        topic: &TopicName,
    ) -> Result<(), FencedError> {
        self.forget_offsets(proof, topic).await?;
        let mut below = self.tree(&paths::topic(topic)).await?;
        let root = below.pop();
        // Leaves first; in pieces, because a packet holds only so many operations.
        for piece in below.chunks(OPS_PER_MULTI) {
            self.write_as_controller(proof, piece.iter().map(delete).collect())
                .await?;
        }
        let mut last: Vec<String> = root.into_iter().collect();
        last.extend(self.tree(&paths::config("topics", topic.as_str())).await?);
        last.extend(self.tree(&paths::delete_topic(topic)).await?);
        self.write_as_controller(proof, last.iter().map(delete).collect())
            .await?;
        Ok(())
    }

    async fn forget_offsets(
        &self,
        proof: &Controllership,
        topic: &TopicName,
    ) -> Result<(), FencedError> {
        let groups = match self.session.children(paths::CONSUMERS).await {
            Ok(names) => names,
            Err(ZkError::NoNode) => return Ok(()),
            Err(e) => return Err(MultiError::from(e).into()),
        };
        for group in groups {
            let nodes = self
                .tree(&paths::group_topic_offsets(&group, topic))
                .await?;
            for piece in nodes.chunks(OPS_PER_MULTI) {
                let ops = piece.iter().map(delete).collect();
                match self.write_as_controller(proof, ops).await {
                    // Somebody else's, and his to clear.
                    Err(FencedError::Failed(e)) if e.error == ZkError::NoAuth => {}
                    other => drop(other?),
                }
            }
        }
        Ok(())
    }

    /// Drops the mark of a topic that is not there.
    pub async fn forget_deletion(
        &self,
        proof: &Controllership,
        topic: &TopicName,
    ) -> Result<(), FencedError> {
        let mark = delete(paths::delete_topic(topic));
        match self.write_as_controller(proof, vec![mark]).await {
            Err(FencedError::Failed(MultiError {
                error: ZkError::NoNode,
                ..
            })) => Ok(()),
            other => other.map(drop),
        }
    }

    /// A node and all below it, children before parents; empty if it is not there.
    async fn tree(&self, root: &str) -> Result<Vec<String>, FencedError> {
        let mut order = vec![root.to_owned()];
        let mut next = 0;
        let mut missing = false;
        while let Some(parent) = order.get(next).cloned() {
            next += 1;
            match self.session.children(&parent).await {
                Ok(names) => order.extend(names.iter().map(|n| format!("{parent}/{n}"))),
                Err(ZkError::NoNode) => missing |= parent == root,
                Err(e) => return Err(MultiError::from(e).into()),
            }
        }
        order.reverse();
        Ok(if missing { Vec::new() } else { order })
    }
}

/// Operations in one transaction, so that it stays far below ZooKeeper's packet limit.
pub(super) const OPS_PER_MULTI: usize = 500;

fn legal(names: &[String]) -> Vec<TopicName> {
    names
        .iter()
        .filter_map(|n| TopicName::new(n).ok())
        .collect()
}

fn delete(path: impl Into<String>) -> Op {
    Op::Delete {
        path: path.into(),
        version: None,
    }
}

/// A persistent node, as most of a topic's are.
pub(super) fn bare(path: String) -> Op {
    Op::Create {
        path,
        data: Vec::new(),
        mode: CreateMode::Persistent,
        acl: Acl::Default,
    }
}
