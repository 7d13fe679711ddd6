//! Offsets of a ZooKeeper group: `/consumers/G/offsets/T/P`, each write with a version check.
//!
//! The version is the fence. Whoever becomes owner of a partition writes its offset anew, unchanged;
//! from then on the version that the former owner knows is old, and a commit that it still has on
//! the way is refused (KAFKA-1075). So a committed offset never goes back by accident.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use nyala_coordinator::ids::TopicPartition;
use nyala_coordinator::registry::payloads::{PayloadError, decode_group_offset};
use nyala_coordinator::registry::{Registry, RegistryError, paths};
use nyala_coordinator::session::{Acl, CreateMode, Session, ZkError};
use tokio::sync::Mutex;

use super::delivery::{Claim, Progress};
use super::rebalance::FencingToken;
use crate::error::ConsumerError;

/// The committed offsets of one member.
#[derive(Debug)]
pub(crate) struct GroupOffsets {
    session: Session,
    group: String,
    /// Partitions that this member may commit, with the version that its next write replaces. Locked over the round
    /// trips of a write, all of which go through one session in order anyway: a version is never seen half written.
    fences: Mutex<BTreeMap<TopicPartition, Fence>>,
    numbers: AtomicU64,
    /// Offsets that cannot be read and of which that was said, with the transaction that wrote them.
    told: parking_lot::Mutex<BTreeMap<TopicPartition, i64>>,
}

#[derive(Clone, Copy, Debug)]
struct Fence {
    /// Creation and version of the node: one that was made anew has the same versions again.
    czxid: i64,
    version: i32,
    claim: Claim,
    /// An offset of which it is not known whether it was written: the answer never came.
    unsure: Option<i64>,
}

impl GroupOffsets {
    pub(crate) fn new(registry: &Registry, group: &str) -> Self {
        Self {
            session: registry.session().clone(),
            group: group.to_owned(),
            fences: Mutex::new(BTreeMap::new()),
            numbers: AtomicU64::new(1),
            told: parking_lot::Mutex::default(),
        }
    }

    /// The committed offset, if there is one that can be read.
    pub(crate) async fn committed(
        &self,
        target: &TopicPartition,
    ) -> Result<Option<i64>, ConsumerError> {
        let path = paths::group_offset(&self.group, target);
        let node = self.session.get_if_exists(&path).await;
        let Some(node) = node.map_err(|e| self.fault(&path, e))? else {
            return Ok(None);
        };
        let offset = decode_group_offset(&node.data);
        if let Err(error) = &offset {
            self.tell_unreadable(target, node.stat.mzxid, error);
        }
        Ok(offset.ok())
    }

    /// What cannot be read is as good as not there. That moves the group, so it is said; once, as
    /// who begins tries again and again.
    fn tell_unreadable(&self, target: &TopicPartition, mzxid: i64, error: &PayloadError) {
        let told = self.told.lock().insert(target.clone(), mzxid);
        if told == Some(mzxid) {
            return;
        }
        tracing::warn!(
            group = %self.group,
            %target,
            %error,
            "the committed offset counts as none, and auto.offset.reset decides where to begin"
        );
    }

    /// Takes over the partition at `offset`, which was committed or is where to begin: from here
    /// on nobody else's commit gets through. `None`: it was changed meanwhile; read again.
    pub(crate) async fn take_over(
        &self,
        target: &TopicPartition,
        offset: i64,
        token: FencingToken,
    ) -> Result<Option<Claim>, ConsumerError> {
        let mut fences = self.fences.lock().await;
        let path = paths::group_offset(&self.group, target);
        let fault = |e| self.fault(&path, e);
        let data = offset.to_string().into_bytes();
        // Another server may lag behind what the last owner wrote (reliability: sync before reading).
        self.session.sync(&path).await.map_err(fault)?;
        let stat = match self.session.get_if_exists(&path).await.map_err(fault)? {
            Some(node) => {
                if decode_group_offset(&node.data).is_ok_and(|found| found != offset) {
                    return Ok(None);
                }
                match self
                    .session
                    .set(&path, &data, Some(node.stat.version))
                    .await
                {
                    Ok(stat) => stat,
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
                    Ok(created) => created.stat,
                    Err(ZkError::NodeExists | ZkError::NoNode | ZkError::Unknown) => {
                        return Ok(None);
                    }
                    Err(e) => return Err(fault(e)),
                }
            }
        };
        let fence = self.numbers.fetch_add(1, Ordering::Relaxed);
        let claim = Claim { token, fence };
        let fence = Fence {
            czxid: stat.czxid,
            version: stat.version,
            claim,
            unsure: None,
        };
        fences.insert(target.clone(), fence);
        Ok(Some(claim))
    }

    /// The committed offset, if this member wrote it under the claim `token` and nobody has written
    /// since: it may go on from where its application is, which is there or further.
    pub(crate) async fn untouched(
        &self,
        target: &TopicPartition,
        token: FencingToken,
    ) -> Result<Option<(i64, Claim)>, ConsumerError> {
        let mut fences = self.fences.lock().await;
        match fences.get(target) {
            Some(fence) if fence.claim.token == token => {}
            _ => return Ok(None),
        }
        let seen = self.look(&mut fences, target).await?;
        Ok(seen.map(|(fence, offset)| (offset, fence.claim)))
    }

    /// Looks whether the offset is what this member wrote last, and settles a write that was left
    /// unsure. `None`: somebody else wrote, and it commits nothing more.
    async fn look(
        &self,
        fences: &mut BTreeMap<TopicPartition, Fence>,
        target: &TopicPartition,
    ) -> Result<Option<(Fence, i64)>, ConsumerError> {
        let Some(fence) = fences.get_mut(target) else {
            return Ok(None);
        };
        let path = paths::group_offset(&self.group, target);
        let fault = |e| self.fault(&path, e);
        // What was on its way over an earlier connection is in by then, or never will be.
        self.session.sync(&path).await.map_err(fault)?;
        let node = self.session.get_if_exists(&path).await.map_err(fault)?;
        let found = node.filter(|n| n.stat.czxid == fence.czxid);
        let found = found.and_then(|n| Some((n.stat.version, decode_group_offset(&n.data).ok()?)));
        let next = fence.version.wrapping_add(1);
        match found {
            Some((version, offset))
                if version == fence.version
                    || (version == next && fence.unsure == Some(offset)) =>
            {
                fence.version = version;
                fence.unsure = None;
                Ok(Some((*fence, offset)))
            }
            _ => {
                fences.remove(target);
                Ok(None)
            }
        }
    }

    /// Commits how far a partition was handled, if that was under the present fence.
    pub(crate) async fn commit(&self, progress: &Progress) -> Result<(), ConsumerError> {
        let (target, offset) = (&progress.target, progress.offset);
        let mut fences = self.fences.lock().await;
        let fenced = || ConsumerError::Fenced {
            target: target.clone(),
        };
        let fence = fences.get(target).copied();
        let fence = fence.filter(|fence| Some(fence.claim) == progress.claim);
        let mut fence = fence.ok_or_else(fenced)?;
        if fence.unsure.is_some() {
            (fence, _) = self.look(&mut fences, target).await?.ok_or_else(fenced)?;
        }
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
            Err(error) => {
                if error == ZkError::Unknown {
                    let unsure = Some(offset);
                    fences.insert(target.clone(), Fence { unsure, ..fence });
                }
                Err(self.fault(&path, error))
            }
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

    /// Whether the owner znode is still the one that `token` stands for; an error says nothing of that.
    pub(crate) async fn owns(
        &self,
        target: &TopicPartition,
        token: FencingToken,
    ) -> Result<bool, ConsumerError> {
        let path = paths::group_owner(&self.group, target);
        let stat = self.session.exists(&path).await;
        let stat = stat.map_err(|e| self.fault(&path, e))?;
        Ok(stat.is_some_and(|s| s.czxid == token.0))
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
