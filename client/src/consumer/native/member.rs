//! The operations of one member on ZooKeeper: each goes on trying until its session ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::ids::{TopicName, TopicPartition};
use nyala_coordinator::registry::payloads::decode_group_member;
use nyala_coordinator::registry::{OwnerClaim, Registry, RegistryError, paths};
use nyala_coordinator::session::{Op, ZkError};
use nyala_coordinator::watched::Watched;
use tokio::sync::{Mutex, watch};

use super::{OWN_CHECK, OWNER_CHECK, RETRY};
use crate::consumer::delivery::{Claim, Delivery, Progress};
use crate::consumer::offsets::GroupOffsets;
use crate::consumer::positions;
use crate::consumer::rebalance::{Event, FencingToken};
use crate::error::ConsumerError;
use nyala_coordinator::recipes::balance::Subscriptions;

/// Who is dropped tries for so long to give back what it has.
const GIVE_BACK_MAX: Duration = Duration::from_secs(60);

/// What operations need.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) registry: Registry,
    pub(super) group: Arc<str>,
    pub(super) id: Arc<str>,
    pub(super) offsets: Arc<GroupOffsets>,
    /// Generation under which the member's znode is there: claims wait for it.
    pub(super) registered_in: Arc<watch::Sender<u64>>,
    /// One commit at a time: an older one must not come after a later one.
    pub(super) turn: Arc<Mutex<()>>,
}

/// Where to begin with a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    pub(super) offset: i64,
    pub(super) claim: Claim,
    /// It held the partition all the time, and nobody else wrote the offset.
    pub(super) same: bool,
}

/// What an attempt to begin came to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attempt {
    Begun(Begin),
    /// Somebody wrote the offset meanwhile: try again.
    NotSettled,
    /// The owner znode is not there, or is that of another claim.
    Gone,
}

impl Member {
    /// Creates the member's znode, or makes it say what it is to; goes on trying until the session ends.
    pub(super) async fn join(&self, subscription: &BTreeMap<String, i32>) {
        let mut told = false;
        loop {
            let joined = self
                .registry
                .join_group(&self.group, &self.id, subscription);
            match joined.await {
                Ok(_) => return,
                Err(error) if !told && error.zk() == Some(&ZkError::NodeExists) => {
                    told = self.tell_in_the_way().await;
                }
                Err(error) => tracing::debug!(%error, "cannot register with the group yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Says what stands where this member's znode is to be, if that does not go by itself.
    async fn tell_in_the_way(&self) -> bool {
        let path = paths::group_member(&self.group, &self.id);
        let found = self.registry.session().exists(&path).await;
        let stays = matches!(found, Ok(Some(stat)) if stat.ephemeral_owner == 0);
        if stays {
            tracing::warn!(
                path,
                "cannot register with the group: this znode belongs to no session, so somebody else made it by hand; delete it"
            );
        }
        stays
    }

    /// Sees to it that the member's znode goes on saying what it is to, as long as it is this session's:
    /// nobody is told when a znode's text changes but who watches that very znode.
    pub(super) async fn keep_subscription(&self, subscription: &BTreeMap<String, i32>) {
        let path = paths::group_member(&self.group, &self.id);
        let session = self.registry.session();
        let same = |said: &[u8]| decode_group_member(said).is_ok_and(|s| s == *subscription);
        loop {
            match session.get_watch(&path).await {
                Ok((Some(node), _))
                    if Some(node.stat.ephemeral_owner) == session.session_id()
                        && !same(&node.data) =>
                {
                    let joined = self
                        .registry
                        .join_group(&self.group, &self.id, subscription);
                    if let Err(error) = joined.await {
                        tracing::debug!(%error, "cannot correct the member's znode yet");
                        tokio::time::sleep(RETRY).await;
                    }
                }
                Ok((_, changed)) => {
                    let _ = tokio::time::timeout(OWN_CHECK, changed.changed()).await;
                }
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Deletes the member's znode, if it is there.
    pub(super) async fn leave(&self) {
        while let Err(error) = self.registry.leave_group(&self.group, &self.id).await {
            if error.zk() == Some(&ZkError::Closed) {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Gives back all that may be this member's, for one that is dropped.
    pub(super) async fn give_back(self, claimed: BTreeSet<TopicPartition>) {
        let give_back = async {
            for target in &claimed {
                self.release_unregistered(target).await;
            }
            self.leave().await;
        };
        // Where that is not long enough the session ends, most likely.
        let _ = tokio::time::timeout(GIVE_BACK_MAX, give_back).await;
    }

    pub(super) async fn watch_members(&self) -> Watched<Subscriptions> {
        loop {
            let (registry, group) = (self.registry.clone(), Arc::clone(&self.group));
            let watched = Watched::start(move || {
                let (registry, group) = (registry.clone(), Arc::clone(&group));
                async move {
                    let (members, watch) = registry.group_members(&group).await?;
                    let each = members.into_iter().map(|m| {
                        let topics = m.subscription.keys();
                        let topics = topics.filter_map(|t| TopicName::new(t).ok());
                        (m.id, topics.collect())
                    });
                    Ok::<_, RegistryError>((each.collect(), watch))
                }
            });
            match watched.await {
                Ok(watched) => return watched,
                Err(error) => tracing::debug!(%error, "cannot list the group's members yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Claims the partition; `last` is the last claim of this session that came through.
    pub(super) async fn claim(
        &self,
        target: TopicPartition,
        generation: u64,
        last: Option<FencingToken>,
    ) -> Event {
        let mut registered = self.registered_in.subscribe();
        // The sender lives in `self`: this ends only by registration.
        let _ = registered.wait_for(|now| *now == generation).await;
        loop {
            match self.try_claim(&target, last).await {
                Ok(Some(token)) => {
                    return Event::Claimed {
                        generation,
                        target,
                        token,
                    };
                }
                Ok(None) => return Event::Busy { generation, target },
                Err(error) => tracing::debug!(%error, "cannot claim yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// `None`: another member's znode is in the way.
    async fn try_claim(
        &self,
        target: &TopicPartition,
        last: Option<FencingToken>,
    ) -> Result<Option<FencingToken>, ConsumerError> {
        let claim = (self.registry).claim_partition(&self.group, target, &self.id);
        let claim = claim.await.map_err(|error| ConsumerError::Registry {
            group: self.group.to_string(),
            error,
        })?;
        match (claim, last) {
            (OwnerClaim::Ours { czxid }, _) => Ok(Some(FencingToken(czxid))),
            // Whoever it names by now, as other programs may have written to it: it is the very znode
            // that this member made, and nobody else gets it while this session lives.
            (OwnerClaim::Taken { .. }, Some(last)) if self.offsets.owns(target, last).await? => {
                Ok(Some(last))
            }
            (OwnerClaim::Taken { .. }, _) => Ok(None),
        }
    }

    pub(super) async fn owner_gone(&self, target: &TopicPartition) {
        let path = paths::group_owner(&self.group, target);
        let mut told = false;
        loop {
            match self.registry.session().exists_watch(&path).await {
                Ok((None, _)) => return,
                Ok((Some(stat), gone)) => {
                    if stat.ephemeral_owner == 0 && !told {
                        told = true;
                        tracing::warn!(
                            path,
                            "this owner has no session, so it does not go by itself: the partition is not read until somebody deletes it"
                        );
                    }
                    // The watch is a hint; either way the owner is looked at again.
                    let _ = tokio::time::timeout(OWNER_CHECK, gone.changed()).await;
                }
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Waits until the owner znode is not the one that `token` stands for.
    pub(super) async fn until_claim_gone(&self, target: &TopicPartition, token: FencingToken) {
        let path = paths::group_owner(&self.group, target);
        loop {
            match self.registry.session().exists_watch(&path).await {
                Ok((Some(stat), changed)) if stat.czxid == token.0 => {
                    // As above: a hint.
                    let _ = tokio::time::timeout(OWN_CHECK, changed.changed()).await;
                }
                Ok(_) => return,
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Where to begin with a partition that is owned. An error says nothing of who owns it.
    pub(super) async fn begin(
        &self,
        cluster: &crate::cluster::Cluster,
        target: &TopicPartition,
        token: FencingToken,
        reset: crate::config::OffsetReset,
    ) -> Result<Attempt, ConsumerError> {
        if !self.offsets.owns(target, token).await? {
            return Ok(Attempt::Gone);
        }
        if let Some((offset, claim)) = self.offsets.untouched(target, token).await? {
            let same = true;
            return Ok(Attempt::Begun(Begin {
                offset,
                claim,
                same,
            }));
        }
        let offset = match self.offsets.committed(target).await? {
            Some(offset) => offset,
            None => positions::reset(cluster, target, reset).await?,
        };
        let taken = self.offsets.take_over(target, offset, token).await?;
        let same = false;
        Ok(taken.map_or(Attempt::NotSettled, |claim| {
            Attempt::Begun(Begin {
                offset,
                claim,
                same,
            })
        }))
    }

    /// One commit, with patience for a ZooKeeper that is away for a moment.
    pub(super) async fn commit(&self, progress: &Progress) -> Result<(), ConsumerError> {
        let mut tries = 0;
        loop {
            let outcome = self.offsets.commit(progress).await;
            match outcome {
                Err(ConsumerError::Registry { error, .. }) if error.is_transient() && tries < 3 => {
                    tries += 1;
                    tokio::time::sleep(RETRY).await;
                }
                other => return other,
            }
        }
    }

    /// Commits what was handled of a partition that is given up.
    pub(super) async fn commit_last(
        &self,
        delivery: &Delivery,
        target: &TopicPartition,
    ) -> Result<(), ConsumerError> {
        let _turn = self.turn.lock().await;
        let Some(progress) = delivery.progress(target) else {
            return Ok(());
        };
        self.commit(&progress).await?;
        delivery.committed(&progress);
        Ok(())
    }

    /// Deletes the owner znode if it is the one that `token` stands for. The member's own znode is
    /// checked in the same transaction: it belongs to the session too, so a session that ended in
    /// between changes nothing.
    pub(super) async fn release(&self, target: &TopicPartition, token: FencingToken) {
        let path = paths::group_owner(&self.group, target);
        let session = self.registry.session();
        for _ in 0..50 {
            match session.exists(&path).await {
                Ok(None) => return,
                Ok(Some(stat)) if stat.czxid != token.0 => return,
                Ok(Some(stat)) => {
                    let check = Op::Check {
                        path: paths::group_member(&self.group, &self.id),
                        version: -1,
                    };
                    let delete = Op::Delete {
                        path: path.clone(),
                        version: Some(stat.version),
                    };
                    if session.multi(vec![check, delete]).await.is_ok() {
                        return;
                    }
                }
                Err(ZkError::Closed) => return,
                Err(_) => {}
            }
            tokio::time::sleep(RETRY).await;
        }
        self.release_unregistered(target).await;
    }

    pub(super) async fn release_unregistered(&self, target: &TopicPartition) {
        let release = || (self.registry).release_partition(&self.group, target, &self.id);
        while let Err(error) = release().await {
            if error.zk() == Some(&ZkError::Closed) {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
