//! `/consumers/G`: groups that meet in ZooKeeper. Members and claims live as long as their session;
//! offsets stay.

use std::collections::BTreeMap;

use super::payloads::{decode_group_member, decode_group_offset, encode_group_member};
use super::{At, Registry, RegistryError, paths};
use crate::clock;
use crate::ids::{PartitionIndex, TopicName, TopicPartition};
use crate::session::{Acl, CreateMode, Op, Watch, ZkError};

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// Topics with the number of streams each; empty if the node cannot be read.
    pub subscription: BTreeMap<String, i32>,
    /// Creation transaction of its node: grows with every join, so it fences.
    pub czxid: i64,
    /// Session that it lives with.
    pub session_id: i64,
}

/// Outcome of claiming a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerClaim {
    /// It is ours; the transaction is the fencing token.
    Ours {
        /// Creation transaction of the claim.
        czxid: i64,
    },
    /// Somebody else has it.
    Taken {
        /// The member named in the claim.
        owner: String,
    },
}

impl Registry {
    /// Makes the group's nodes, as Kafka's old consumer does.
    pub async fn ensure_group(&self, group: &str) -> Result<(), RegistryError> {
        for path in [
            paths::group_ids(group),
            paths::group_owners(group),
            paths::group_offsets(group),
        ] {
            self.session.ensure_path(&path).await.at(&path)?;
        }
        Ok(())
    }

    /// Joins the group in the current session; gives the member's creation transaction. A node of this
    /// session that says something else is made anew: the others read it only when members come or go.
    pub async fn join_group(
        &self,
        group: &str,
        member: &str,
        subscription: &BTreeMap<String, i32>,
    ) -> Result<i64, RegistryError> {
        let path = paths::group_member(group, member);
        let data = encode_group_member(subscription, clock::wall_ms());
        self.ensure_group(group).await?;
        // The time that it says may be of an earlier attempt.
        let same = |said: &[u8]| decode_group_member(said).is_ok_and(|s| s == *subscription);
        loop {
            match self.create_own(&path, &data, same).await {
                Err(RegistryError::Zk {
                    source: ZkError::NodeExists,
                    ..
                }) => self.replace_own(&path, &data).await?,
                joined => return joined,
            }
        }
    }

    /// Makes this session's node anew, if it is there and nobody else does something to it meanwhile.
    async fn replace_own(&self, path: &str, data: &[u8]) -> Result<(), RegistryError> {
        let Some(node) = self.session.get_if_exists(path).await.at(path)? else {
            return Ok(());
        };
        if Some(node.stat.ephemeral_owner) != self.session.session_id() {
            return Err(ZkError::NodeExists).at(path);
        }
        let delete = Op::Delete {
            path: path.to_owned(),
            version: Some(node.stat.version),
        };
        let create = Op::Create {
            path: path.to_owned(),
            data: data.to_vec(),
            mode: CreateMode::Ephemeral,
            acl: Acl::Default,
        };
        match self.session.multi(vec![delete, create]).await {
            Ok(_) => {
                tracing::warn!(
                    path,
                    "somebody else overwrote the member's znode: it is made anew"
                );
                Ok(())
            }
            Err(error) => match error.error {
                ZkError::NoNode | ZkError::BadVersion | ZkError::Unknown => Ok(()),
                source => Err(source).at(path),
            },
        }
    }

    /// Makes an ephemeral node, or finds that it is this session's already, and `ours` by what it says.
    async fn create_own(
        &self,
        path: &str,
        data: &[u8],
        ours: impl Fn(&[u8]) -> bool,
    ) -> Result<i64, RegistryError> {
        loop {
            match self
                .session
                .create(path, data, CreateMode::Ephemeral, Acl::Default)
                .await
            {
                Ok(created) => return Ok(created.stat.czxid),
                Err(ZkError::NodeExists) => {
                    let Some(node) = self.session.get_if_exists(path).await.at(path)? else {
                        continue;
                    };
                    let owner = Some(node.stat.ephemeral_owner);
                    if owner == self.session.session_id() && ours(&node.data) {
                        return Ok(node.stat.czxid);
                    }
                    return Err(ZkError::NodeExists).at(path);
                }
                Err(ZkError::Unknown) => {}
                Err(e) => return Err(e).at(path),
            }
        }
    }

    /// Leaves the group, if the member is this session's.
    pub async fn leave_group(&self, group: &str, member: &str) -> Result<(), RegistryError> {
        let path = paths::group_member(group, member);
        self.delete_own(&path, |_| true).await
    }

    async fn delete_own(
        &self,
        path: &str,
        ours: impl Fn(&[u8]) -> bool,
    ) -> Result<(), RegistryError> {
        loop {
            let Some(node) = self.session.get_if_exists(path).await.at(path)? else {
                return Ok(());
            };
            let owner = Some(node.stat.ephemeral_owner);
            if owner != self.session.session_id() || !ours(&node.data) {
                return Ok(());
            }
            match self.session.delete(path, Some(node.stat.version)).await {
                Ok(()) | Err(ZkError::NoNode) => return Ok(()),
                Err(ZkError::Unknown | ZkError::BadVersion) => {}
                Err(e) => return Err(e).at(path),
            }
        }
    }

    /// Members, in order of their ids; the watch fires when they come or go.
    pub async fn group_members(
        &self,
        group: &str,
    ) -> Result<(Vec<GroupMember>, Watch), RegistryError> {
        let parent = paths::group_ids(group);
        let (children, watch) = self.session.children_watch(&parent).await.at(&parent)?;
        let ids = children.map(|c| c.names).unwrap_or_default();
        let nodes: Vec<String> = ids
            .iter()
            .map(|id| paths::group_member(group, id))
            .collect();
        let found = self.session.get_many(&nodes).await.at(&parent)?;
        let members = ids.into_iter().zip(found).filter_map(|(id, node)| {
            // Gone since the list was read: the watch has fired.
            let node = node?;
            Some(GroupMember {
                id,
                subscription: decode_group_member(&node.data).unwrap_or_default(),
                czxid: node.stat.czxid,
                session_id: node.stat.ephemeral_owner,
            })
        });
        Ok((members.collect(), watch))
    }

    /// Claims a partition for `member` in the current session, which others may share.
    pub async fn claim_partition(
        &self,
        group: &str,
        tp: &TopicPartition,
        member: &str,
    ) -> Result<OwnerClaim, RegistryError> {
        let path = paths::group_owner(group, tp);
        loop {
            let ours = |owner: &[u8]| owner == member.as_bytes();
            match self.create_own(&path, member.as_bytes(), ours).await {
                Ok(czxid) => return Ok(OwnerClaim::Ours { czxid }),
                Err(RegistryError::Zk {
                    source: ZkError::NoNode,
                    ..
                }) => {
                    let parent = paths::group_topic_owners(group, &tp.topic);
                    self.session.ensure_path(&parent).await.at(&parent)?;
                }
                Err(RegistryError::Zk {
                    source: ZkError::NodeExists,
                    ..
                }) => {
                    let Some(node) = self.session.get_if_exists(&path).await.at(&path)? else {
                        continue;
                    };
                    let owner = String::from_utf8_lossy(&node.data).into_owned();
                    return Ok(OwnerClaim::Taken { owner });
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Gives a partition back, if the claim is `member`'s in this session.
    pub async fn release_partition(
        &self,
        group: &str,
        tp: &TopicPartition,
        member: &str,
    ) -> Result<(), RegistryError> {
        let path = paths::group_owner(group, tp);
        self.delete_own(&path, |owner| owner == member.as_bytes())
            .await
    }

    /// Who owns a partition; the watch fires when that may have changed.
    pub async fn partition_owner(
        &self,
        group: &str,
        tp: &TopicPartition,
    ) -> Result<(Option<String>, Watch), RegistryError> {
        let path = paths::group_owner(group, tp);
        let (node, watch) = self.session.get_watch(&path).await.at(&path)?;
        let owner = node.map(|n| String::from_utf8_lossy(&n.data).into_owned());
        Ok((owner, watch))
    }

    /// Commits the next offset to read. A repeat writes the same text, so a lost answer does no harm.
    pub async fn commit_offset(
        &self,
        group: &str,
        tp: &TopicPartition,
        offset: i64,
    ) -> Result<(), RegistryError> {
        let path = paths::group_offset(group, tp);
        let data = offset.to_string().into_bytes();
        match self.session.set(&path, &data, None).await {
            Err(ZkError::NoNode) => {}
            other => return other.at(&path).map(drop),
        }
        let parent = paths::group_topic_offsets(group, &tp.topic);
        self.session.ensure_path(&parent).await.at(&parent)?;
        if !self.create_if_missing(&path, &data).await? {
            self.session.set(&path, &data, None).await.at(&path)?;
        }
        Ok(())
    }

    /// Committed offsets of the group in one topic. One that cannot be read is as good as not there,
    /// and hides no other: that is said, and it is left out.
    pub async fn committed_offsets(
        &self,
        group: &str,
        topic: &TopicName,
        partitions: &[PartitionIndex],
    ) -> Result<BTreeMap<PartitionIndex, i64>, RegistryError> {
        let parent = paths::group_topic_offsets(group, topic);
        let path = |p: &PartitionIndex| format!("{parent}/{p}");
        let nodes: Vec<String> = partitions.iter().map(path).collect();
        let found = self.session.get_many(&nodes).await.at(&parent)?;
        let mut offsets = BTreeMap::new();
        for (partition, node) in partitions.iter().zip(found) {
            let Some(node) = node else { continue };
            match decode_group_offset(&node.data) {
                Ok(offset) => drop(offsets.insert(*partition, offset)),
                Err(error) => {
                    let target = format_args!("{topic}-{partition}");
                    tracing::warn!(group, %target, %error, "the committed offset counts as none");
                }
            }
        }
        Ok(offsets)
    }

    /// Names of the groups that have nodes, sorted.
    pub async fn zookeeper_groups(&self) -> Result<Vec<String>, RegistryError> {
        let path = paths::CONSUMERS;
        match self.session.children(path).await {
            Err(ZkError::NoNode) => Ok(Vec::new()),
            other => other.at(path),
        }
    }
}
