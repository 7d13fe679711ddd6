//! Moving replicas (KIP-455): where a partition lives while it moves, when the move is over, and what
//! that does to its leader and its in-sync replicas.
//!
//! Pure. While it moves, a partition lives on its old and its new replicas; the move is over when all
//! new ones are in sync. Placement and state are written together.

use std::collections::{BTreeMap, BTreeSet};

use nyala_coordinator::cluster::{ClusterSnapshot, PartitionInfo};
use nyala_coordinator::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicName, TopicPartition};
use nyala_coordinator::registry::{NewState, Placement};

use super::error::ReassignError;
use super::leaders::{Case, Situation, for_each_case};

/// One step of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) partition: TopicPartition,
    pub(super) placement: Placement,
    /// `None`: it has none yet.
    pub(super) state: Option<NewState>,
    /// Replicas that it no longer has.
    pub(super) dropped: Vec<BrokerId>,
}

impl Step {
    /// Where the partition shall live in the end.
    pub(super) fn target(&self) -> Vec<BrokerId> {
        without(&self.placement.replicas, &self.placement.removing)
    }
}

/// Steps by topic, as they are written.
pub(super) type Moves =
    BTreeMap<TopicName, BTreeMap<PartitionIndex, (Placement, Option<NewState>)>>;

/// Whether a partition is on its way.
pub(super) fn is_moving(info: &PartitionInfo) -> bool {
    !info.adding_replicas.is_empty() || !info.removing_replicas.is_empty()
}

/// Whether a partition is on its way and not in an epoch before that one: then it is another of that name.
pub(super) fn is_on_its_way(
    snapshot: &ClusterSnapshot,
    tp: &TopicPartition,
    epoch: LeaderEpoch,
) -> bool {
    let info = snapshot.partition(tp).filter(|info| is_moving(info));
    let state = info.and_then(|info| info.state.as_ref());
    state.is_some_and(|state| state.leader_epoch >= epoch)
}

/// Where it shall live in the end.
pub(super) fn target(info: &PartitionInfo) -> Vec<BrokerId> {
    without(&info.replicas, &info.removing_replicas)
}

/// Where it lived before.
pub(super) fn origin(info: &PartitionInfo) -> Vec<BrokerId> {
    without(&info.replicas, &info.adding_replicas)
}

fn without(brokers: &[BrokerId], others: &[BrokerId]) -> Vec<BrokerId> {
    let kept = brokers.iter().filter(|b| !others.contains(b));
    kept.copied().collect()
}

/// Kafka's `ReplicaAssignment.reassignTo`: all replicas old and new, the new ones first.
fn moved_to(info: &PartitionInfo, target: &[BrokerId]) -> Placement {
    let origin = origin(info);
    let mut replicas = target.to_vec();
    replicas.extend(without(&origin, target));
    Placement {
        adding: without(&replicas, &origin),
        removing: without(&replicas, target),
        replicas,
    }
}

/// Starts a move, or changes where one goes; without a target it is called off.
pub(super) fn plan_move(
    snapshot: &ClusterSnapshot,
    situation: &Situation<'_>,
    tp: &TopicPartition,
    wanted: Option<&[BrokerId]>,
) -> Result<Step, ReassignError> {
    let Some(info) = snapshot.partition(tp) else {
        return Err(ReassignError::Unknown);
    };
    if situation.deleting.contains(&tp.topic) {
        return Err(ReassignError::BeingDeleted);
    }
    let placement = match wanted {
        Some(wanted) => {
            check_target(snapshot, situation, info, wanted)?;
            moved_to(info, wanted)
        }
        None if is_moving(info) => moved_to(info, &origin(info)),
        None => return Err(ReassignError::NotMoving),
    };
    let case = Case {
        snapshot,
        situation,
        tp,
        info,
    };
    step(&case, placement).ok_or_else(|| ReassignError::NoneInSync(tp.clone()))
}

fn check_target(
    snapshot: &ClusterSnapshot,
    situation: &Situation<'_>,
    info: &PartitionInfo,
    wanted: &[BrokerId],
) -> Result<(), ReassignError> {
    let list = |brokers: &[BrokerId]| {
        let ids: Vec<String> = brokers.iter().map(ToString::to_string).collect();
        ids.join(", ")
    };
    let bad = |text: String| Err(ReassignError::InvalidReplicas(text));
    if wanted.is_empty() {
        return bad("Empty replica list specified in partition reassignment.".to_owned());
    }
    if wanted.iter().collect::<BTreeSet<_>>().len() != wanted.len() {
        return bad(format!(
            "Duplicate replica ids in partition reassignment replica list: {}",
            list(wanted)
        ));
    }
    if wanted.iter().any(|b| b.0 < 0) {
        return bad(format!(
            "Invalid broker id in replica list: {}",
            list(wanted)
        ));
    }
    let lives = |b: &BrokerId| snapshot.brokers.contains_key(b) && !situation.stopping.contains(b);
    let adding = moved_to(info, wanted).adding;
    if !adding.iter().all(lives) {
        let live: Vec<BrokerId> = snapshot.brokers.keys().copied().filter(lives).collect();
        return bad(format!(
            "Replica assignment has brokers that are not alive. Replica list: {}, live broker list: {}",
            list(&adding),
            list(&live)
        ));
    }
    Ok(())
}

/// Partitions on their way whose leader has not shown yet that it can lead.
pub(super) fn not_led(
    snapshot: &ClusterSnapshot,
    situation: &Situation<'_>,
) -> Vec<TopicPartition> {
    let mut found = Vec::new();
    for_each_case(snapshot, situation, |case| {
        if is_moving(case.info) && !is_led(case) {
            found.push(case.tp.clone());
        }
    });
    found
}

/// Whether the leader has taken over in this epoch. One that started again may be in sync by name only: what
/// it lacks is known when it refuses.
fn is_led(case: &Case<'_>) -> bool {
    let epoch = case.info.state.as_ref().map(|s| s.leader_epoch);
    epoch.is_some() && case.situation.led.get(case.tp).copied() == epoch
}

/// Moves that are over: every replica of the target is in sync, by the word of a leader that leads, and one of
/// them can lead. From here on nobody else keeps the records.
pub(super) fn plan_ends(snapshot: &ClusterSnapshot, situation: &Situation<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    for_each_case(snapshot, situation, |case| {
        let Some(state) = case.info.state.as_ref().filter(|_| is_moving(case.info)) else {
            return;
        };
        let target = target(case.info);
        let in_sync = !target.is_empty() && target.iter().all(|b| state.isr.contains(b));
        if in_sync && is_led(case) && target.iter().any(|b| case.is_eligible(*b)) {
            let placement = Placement {
                replicas: target,
                ..Placement::default()
            };
            steps.extend(step(case, placement));
        }
    });
    steps
}

/// The state that goes with a placement: in a new leader epoch, so that every replica hears of it.
/// `None`: nobody who stays is in sync.
fn step(case: &Case<'_>, placement: Placement) -> Option<Step> {
    let state = match &case.info.state {
        None => None,
        Some(old) => {
            let stays = |b: &BrokerId| placement.replicas.contains(b);
            let isr: Vec<BrokerId> = old.isr.iter().copied().filter(stays).collect();
            if isr.is_empty() {
                return None;
            }
            let fit = |b: &BrokerId| isr.contains(b) && case.is_eligible(*b);
            let leader = old.leader.filter(fit);
            // A leader that leaves hands over to the first of those who stay.
            let goal = without(&placement.replicas, &placement.removing);
            let next = goal.iter().chain(&placement.replicas).copied().find(fit);
            let stays_on = old.leader.filter(|b| isr.contains(b));
            Some(case.changed(old, leader.or(next).or(stays_on), isr))
        }
    };
    Some(Step {
        partition: case.tp.clone(),
        dropped: without(&case.info.replicas, &placement.replicas),
        placement,
        state,
    })
}

/// Sorts steps by topic.
pub(super) fn by_topic(steps: &[Step]) -> Moves {
    let mut moves = Moves::new();
    for step in steps {
        let topic = moves.entry(step.partition.topic.clone()).or_default();
        let write = (step.placement.clone(), step.state.clone());
        topic.insert(step.partition.partition, write);
    }
    moves
}

#[cfg(test)]
mod tests;
