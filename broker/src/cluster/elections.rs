//! Elections that somebody asks for: of preferred leaders, of unclean ones, and the automatic balance
//! of leaders (`auto.leader.rebalance.enable`).
//!
//! Pure, as `leaders.rs`, which decides all other elections and whose [`Situation`] it uses.

use std::collections::BTreeMap;

use nyala_coordinator::cluster::{ClusterSnapshot, PartitionInfo};
use nyala_coordinator::ids::{BrokerId, TopicPartition};
use nyala_coordinator::registry::NewState;

use super::error::ElectionError;
use super::leaders::{Case, Situation, for_each_case};

/// Which leader is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionKind {
    /// The first replica, if it is in sync.
    Preferred,
    /// Anyone who runs, where nobody leads: records may be lost.
    Unclean,
}

/// The new state of one partition, or why it gets none.
pub(super) fn plan_election(
    snapshot: &ClusterSnapshot,
    situation: &Situation<'_>,
    kind: ElectionKind,
    tp: &TopicPartition,
) -> Result<NewState, ElectionError> {
    let info = snapshot.partition(tp).ok_or(ElectionError::Unknown)?;
    if situation.deleting.contains(&tp.topic) {
        return Err(ElectionError::BeingDeleted);
    }
    let case = Case {
        snapshot,
        situation,
        tp,
        info,
    };
    match kind {
        ElectionKind::Preferred => preferred(&case, info),
        ElectionKind::Unclean => unclean(&case, info),
    }
}

fn preferred(case: &Case<'_>, info: &PartitionInfo) -> Result<NewState, ElectionError> {
    let refused = || ElectionError::PreferredNotAvailable(case.tp.clone());
    let old = info.state.as_ref().ok_or_else(refused)?;
    let first = info.replicas.first().copied().ok_or_else(refused)?;
    if old.leader == Some(first) {
        return Err(ElectionError::NotNeeded);
    }
    if !case.is_eligible(first) || !old.isr.contains(&first) {
        return Err(refused());
    }
    Ok(case.changed(old, Some(first), old.isr.clone()))
}

fn unclean(case: &Case<'_>, info: &PartitionInfo) -> Result<NewState, ElectionError> {
    let refused = || ElectionError::NoneEligible(case.tp.clone());
    let old = info.state.as_ref().ok_or_else(refused)?;
    if let Some(leader) = old.leader
        && case.snapshot.brokers.contains_key(&leader)
    {
        return Err(ElectionError::NotNeeded);
    }
    // In sync all the time, or at least by name, or else whoever runs.
    let eligible = case.replicas(|b| case.is_eligible(b));
    if let Some(leader) = eligible.iter().find(|b| old.isr.contains(b)) {
        let isr = old.isr.iter().copied().filter(|b| eligible.contains(b));
        return Ok(case.changed(old, Some(*leader), isr.collect()));
    }
    let running = case.replicas(|b| case.may_join(b));
    let named = running.iter().find(|b| old.isr.contains(b));
    let leader = *named.or_else(|| running.first()).ok_or_else(refused)?;
    Ok(case.changed(old, Some(leader), vec![leader]))
}

/// Partitions that go back to their preferred leaders: those of brokers of whose share more than
/// `percent` is led elsewhere.
pub(super) fn plan_balance(
    snapshot: &ClusterSnapshot,
    situation: &Situation<'_>,
    percent: i32,
) -> Vec<NewState> {
    let mut away: BTreeMap<BrokerId, (u64, Vec<TopicPartition>)> = BTreeMap::new();
    for_each_case(snapshot, situation, |case| {
        let Some(first) = case.info.replicas.first() else {
            return;
        };
        let share = away.entry(*first).or_default();
        share.0 += 1;
        let state = case.info.state.as_ref();
        if state.is_some_and(|s| s.leader != Some(*first)) {
            share.1.push(case.tp.clone());
        }
    });
    let percent = u64::try_from(percent).unwrap_or(0);
    let unbalanced = away.into_values().filter(|(all, away)| {
        (away.len() as u64).saturating_mul(100) > percent.saturating_mul(*all)
    });
    unbalanced
        .flat_map(|(_, away)| away)
        .filter_map(|tp| plan_election(snapshot, situation, ElectionKind::Preferred, &tp).ok())
        .collect()
}

#[cfg(test)]
mod tests;
