//! Whether a leader's wish for other in-sync replicas is granted (AlterPartition, KIP-497).
//!
//! Pure; Kafka's checks in Kafka's order. A wish that is already so is granted again: its answer may
//! have been lost.

use std::collections::BTreeSet;

use nyala_coordinator::cluster::{ClusterSnapshot, PartitionInfo, PartitionState};
use nyala_coordinator::ids::{BrokerEpoch, BrokerId, LeaderEpoch, TopicPartition};
use nyala_coordinator::registry::{self, NewState};

use super::error::IsrError;
use super::leaders::{Case, Situation};

/// What a leader wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrRequest {
    /// Of which partition.
    pub partition: TopicPartition,
    /// In which epoch it leads.
    pub leader_epoch: LeaderEpoch,
    /// Version of the state that it knows.
    pub partition_epoch: i32,
    /// The replicas, with the incarnations that the leader has heard from, where it says so.
    pub isr: Vec<(BrokerId, Option<BrokerEpoch>)>,
    /// Whether it says that it is still recovering from an unclean election.
    pub recovering: bool,
}

/// The outcome of one wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is so already.
    Granted(PartitionState),
    /// To be written.
    Write(NewState),
}

/// Decides about the wish of `leader`, which is registered.
pub(super) fn decide(
    snapshot: &ClusterSnapshot,
    situation: &Situation<'_>,
    leader: BrokerId,
    request: &IsrRequest,
) -> Result<Decision, IsrError> {
    let tp = &request.partition;
    let info = snapshot.partition(tp).ok_or(IsrError::Unknown)?;
    let now = info.state.as_ref().ok_or(IsrError::Unknown)?;
    if request.partition_epoch > now.version || request.leader_epoch > now.leader_epoch {
        // It has heard of what this controller has not: likely there is a newer one.
        return Err(IsrError::NotController);
    }
    if request.leader_epoch < now.leader_epoch {
        return Err(IsrError::FencedLeader);
    }
    let isr: Vec<BrokerId> = request.isr.iter().map(|(broker, _)| *broker).collect();
    let set = |brokers: &[BrokerId]| brokers.iter().copied().collect::<BTreeSet<_>>();
    if now.leader == Some(leader) && set(&isr) == set(&now.isr) {
        return Ok(Decision::Granted(now.clone()));
    }
    if request.partition_epoch < now.version {
        return Err(IsrError::OldVersion);
    }
    check_members(info, now, leader, &isr)?;
    if request.recovering {
        return Err(IsrError::Invalid);
    }
    let case = Case {
        snapshot,
        situation,
        tp,
        info,
    };
    let fits = |(broker, epoch): &(BrokerId, Option<BrokerEpoch>)| {
        let registered = snapshot.brokers.get(broker).map(|b| b.epoch);
        let stays = now.isr.contains(broker) && registered.is_some();
        let same = epoch.is_none() || *epoch == registered;
        *broker == leader || (same && (stays || case.may_join(*broker)))
    };
    if !request.isr.iter().all(fits) {
        return Err(IsrError::Ineligible);
    }
    Ok(Decision::Write(NewState {
        partition: tp.clone(),
        state: registry::PartitionState {
            leader: now.leader,
            leader_epoch: now.leader_epoch,
            isr,
            controller_epoch: situation.epoch,
        },
        version: Some(now.version),
    }))
}

/// Beyond Kafka's checks: the leader itself asks, is among them, and all are replicas.
fn check_members(
    info: &PartitionInfo,
    now: &PartitionState,
    leader: BrokerId,
    isr: &[BrokerId],
) -> Result<(), IsrError> {
    let distinct = isr.iter().collect::<BTreeSet<_>>().len() == isr.len();
    let known = isr.iter().all(|b| info.replicas.contains(b));
    match now.leader == Some(leader) && isr.contains(&leader) && distinct && known {
        true => Ok(()),
        false => Err(IsrError::Invalid),
    }
}

#[cfg(test)]
mod tests;
