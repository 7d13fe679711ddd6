//! Offsets of a ZooKeeper group: `/consumers/G/offsets/T/P`, each write with a version check.
//!
//! The version is the fence. Whoever becomes owner of a partition writes its offset anew, unchanged;
//! from then on the version that the former owner knows is old, and a commit that it still has on
//! the way is refused (KAFKA-1075). So a committed offset never goes back by accident.

use std::collections::BTreeMap;

use nyala_coordinator::ids::TopicPartition;
use nyala_coordinator::registry::payloads::decode_group_offset;
use nyala_coordinator::registry::{Registry, RegistryError, paths};
use nyala_coordinator::session::{Acl, CreateMode, Session, ZkError};
use tokio::sync::Mutex;

use super::rebalance::FencingToken;
use crate::error::ConsumerError;

/// The committed offsets of one member.
#[derive(Debug)]
pub(crate) struct GroupOffsets {
    session: Session,
    group: String,
    /// Partitions that this member may commit, with the version that its next write replaces.
    fences: Mutex<BTreeMap<TopicPartition, Fence>>,
}

#[derive(Clone, Copy, Debug)]
struct Fence {
    version: i32,
    token: FencingToken,
}

impl GroupOffsets {
    pub(crate) fn new(registry: &Registry, group: &str) -> Self {
        Self {
            session: registry.session().clone(),
            group: group.to_owned(),
            fences: Mutex::new(BTreeMap::new()),
        }
    }

    /// The committed offset, if there is one that can be read.
    pub(crate) async fn committed(
        &self,
        target: &TopicPartition,
    ) -> Result<Option<i64>, ConsumerError> {
        let path = paths::group_offset(&self.group, target);
        let node = self.session.get_if_exists(&path).await;
        let node = node.map_err(|e| self.fault(&path, e))?;
        // What cannot be read is as good as not there: the reset policy decides.
        Ok(node.and_then(|n| decode_group_offset(&n.data).ok()))
    }

    /// Takes over the partition at `offset`, which was committed or is where to begin: from here
    /// on nobody else's commit gets through. `None`: it was changed meanwhile; read again.
    pub(crate) async fn take_over(
        &self,
        target: &TopicPartition,
        offset: i64,
        token: FencingToken,
    ) -> Result<Option<()>, ConsumerError> {
        let mut fences = self.fences.lock().await;
        let path = paths::group_offset(&self.group, target);
        let fault = |e| self.fault(&path, e);
        let data = offset.to_string().into_bytes();
        // Another server may lag behind what the last owner wrote (reliability: sync before reading).
        self.session.sync(&path).await.map_err(fault)?;
        let version = match self.session.get_if_exists(&path).await.map_err(fault)? {
            Some(node) => {
                if decode_group_offset(&node.data).is_ok_and(|found| found != offset) {
                    return Ok(None);
                }
                match self
                    .session
                    .set(&path, &data, Some(node.stat.version))
                    .await
                {
                    Ok(stat) => stat.version,
                    Err(ZkError::BadVersion | ZkError::NoNode | ZkError::Unknown) => {
                        return Ok(None);
                    }
                    Err(e) => return Err(fault(e)),
                }
            }
            None => {
                let parent = paths::group_topic_offsets(&self.group, &target.topic);
                self.session.ensure_path(&parent).await.map_err(fault)?;
                let mode = CreateMode::Persistent;
                match self.session.create(&path, &data, mode, Acl::Default).await {
                    Ok(created) => created.stat.version,
                    Err(ZkError::NodeExists | ZkError::NoNode | ZkError::Unknown) => {
                        return Ok(None);
                    }
                    Err(e) => return Err(fault(e)),
                }
            }
        };
        fences.insert(target.clone(), Fence { version, token });
        Ok(Some(()))
    }

    /// Commits `offset` as the next to read.
    pub(crate) async fn commit(
        &self,
        target: &TopicPartition,
        offset: i64,
    ) -> Result<(), ConsumerError> {
        let mut fences = self.fences.lock().await;
        let fenced = || ConsumerError::Fenced {
            target: target.clone(),
        };
        let fence = fences.get(target).copied().ok_or_else(fenced)?;
        let path = paths::group_offset(&self.group, target);
        let data = offset.to_string().into_bytes();
        match self.session.set(&path, &data, Some(fence.version)).await {
            Ok(stat) => {
                let version = stat.version;
                fences.insert(target.clone(), Fence { version, ..fence });
                Ok(())
            }
            Err(ZkError::BadVersion | ZkError::NoNode) => {
                fences.remove(target);
                Err(fenced())
            }
            Err(ZkError::Unknown) => {
                // It may have been written. While the owner znode is ours nobody else writes here.
                let node = self.session.get_if_exists(&path).await;
                let node = node.map_err(|e| self.fault(&path, e))?;
                let version = node.map(|n| n.stat.version);
                match version.filter(|v| (fence.version..=fence.version + 1).contains(v)) {
                    Some(version) if self.owns(target, fence.token).await => {
                        fences.insert(target.clone(), Fence { version, ..fence });
                        Err(self.fault(&path, ZkError::Unknown))
                    }
                    _ => {
                        fences.remove(target);
                        Err(fenced())
                    }
                }
            }
            Err(e) => Err(self.fault(&path, e)),
        }
    }

    /// Commits nothing more for the partition.
    pub(crate) async fn forget(&self, target: &TopicPartition) {
        self.fences.lock().await.remove(target);
    }

    /// Commits nothing more at all.
    pub(crate) async fn forget_all(&self) {
        self.fences.lock().await.clear();
    }

    /// Whether the owner znode is still the one that `token` stands for.
    pub(crate) async fn owns(&self, target: &TopicPartition, token: FencingToken) -> bool {
        let path = paths::group_owner(&self.group, target);
        let stat = self.session.exists(&path).await.ok().flatten();
        stat.is_some_and(|s| s.czxid == token.0)
    }

    fn fault(&self, path: &str, source: ZkError) -> ConsumerError {
        ConsumerError::Registry {
            group: self.group.clone(),
            error: RegistryError::Zk {
                path: path.to_owned(),
                source,
            },
        }
    }
}
