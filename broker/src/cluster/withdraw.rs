//! Before it registers, a broker whose disk was replaced takes its name out of the in-sync replicas
//! that trust it with records which it no longer has.
//!
//! Where a controller is at work it does so itself, as soon as the former incarnation's session is
//! over; nobody interferes with that. When all brokers went down together nobody has, and the first
//! one back would be the controller and find itself in sync. The last name of a set stays: it says
//! that the records were on this broker alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::cluster::{ClusterSnapshot, ClusterView};
use nyala_coordinator::ids::{BrokerId, LeaderEpoch, TopicPartition};
use nyala_coordinator::registry::{NewState, PartitionState, Registry};
use tokio::sync::watch;
use tracing::{info, warn};

use super::error::JoinError;
use super::membership::addresses;
use super::missing::Missing;
use crate::storage::LogDirs;

/// Beyond the session timeout: ZooKeeper ends sessions in steps.
const EXPIRY_SLACK: Duration = Duration::from_secs(4);

/// Time that a controller gets to see the former incarnation go.
const CONTROLLER_ACTS: Duration = Duration::from_secs(2);

/// How often a write is tried again after somebody else wrote.
const ATTEMPTS: usize = 3;

/// What a broker finds before it registers.
#[derive(Debug)]
pub(super) struct Before {
    /// The cluster.
    pub(super) snapshot: Arc<ClusterSnapshot>,
    /// What should be here and is not.
    pub(super) missing: Missing,
}

impl Before {
    /// Looks at the cluster and at the logs; notes what is lost. Where something may be, that waits for the former
    /// incarnation's session to be over: until then its fetches can still get it in sync.
    pub(super) async fn look(
        this: BrokerId,
        view: &ClusterView,
        logs: &LogDirs,
        session_timeout: Duration,
    ) -> Result<Self, JoinError> {
        if logs.has_other_dirs() || !logs.lost_replicas().is_empty() {
            await_end(this, view, session_timeout + EXPIRY_SLACK).await?;
        }
        let snapshot = view.snapshot();
        let missing = Missing::find(this, &snapshot, logs);
        logs.note_lost(missing.lost());
        Ok(Self { snapshot, missing })
    }

    /// Withdraws from what is lost.
    pub(super) async fn withdraw(&self, this: BrokerId, registry: &Registry, view: &ClusterView) {
        let lost = self.missing.lost();
        if !lost.is_empty() {
            withdraw(this, registry, &mut view.subscribe(), lost).await;
        }
    }
}

/// Waits until nobody is registered under this id. Whoever stays is no former incarnation but another broker, and
/// these folders have lost nothing: nothing is written in them.
async fn await_end(
    this: BrokerId,
    view: &ClusterView,
    patience: Duration,
) -> Result<(), JoinError> {
    let mut snapshots = view.subscribe();
    let owner = |s: &ClusterSnapshot| s.brokers.get(&this).map(|b| addresses(&b.endpoints));
    let Some(endpoints) = owner(&snapshots.borrow()) else {
        return Ok(());
    };
    info!("broker {this} is registered, on {endpoints}: waiting for that to end");
    let gone = snapshots.wait_for(|s| owner(s).is_none());
    let in_time = tokio::time::timeout(patience, gone).await;
    match owner(&view.snapshot()) {
        Some(endpoints) if in_time.is_err() => Err(JoinError::IdTaken {
            broker: this,
            endpoints,
        }),
        _ => Ok(()),
    }
}

async fn withdraw(
    this: BrokerId,
    registry: &Registry,
    snapshots: &mut watch::Receiver<Arc<ClusterSnapshot>>,
    lost: &BTreeSet<TopicPartition>,
) {
    // While the former incarnation counts as alive it can be named leader at any time.
    if snapshots.borrow().brokers.contains_key(&this) {
        return;
    }
    for attempt in 0..ATTEMPTS {
        let done = snapshots.wait_for(|s| plan(this, s, lost).is_empty());
        if let Ok(Ok(_)) = tokio::time::timeout(CONTROLLER_ACTS, done).await {
            return;
        }
        let plan = plan(this, &snapshots.borrow_and_update(), lost);
        info!(
            attempt,
            "{} partitions trust this broker with records that it no longer has: it withdraws",
            plan.len()
        );
        for new in plan {
            let Some(version) = new.version else { continue };
            let written = registry.set_partition_state(&new.partition, &new.state, version);
            if let Err(e) = written.await {
                warn!("{} still counts this broker as in sync: {e}", new.partition);
            }
        }
    }
}

/// The states without this broker.
fn plan(
    this: BrokerId,
    snapshot: &ClusterSnapshot,
    lost: &BTreeSet<TopicPartition>,
) -> Vec<NewState> {
    let states = lost.iter().filter_map(|id| {
        let known = snapshot.partition(id)?.state.as_ref()?;
        let rest: Vec<BrokerId> = known.isr.iter().copied().filter(|b| *b != this).collect();
        if rest.is_empty() || rest.len() == known.isr.len() {
            return None;
        }
        let led_here = known.leader == Some(this);
        let state = PartitionState {
            leader: known.leader.filter(|leader| *leader != this),
            leader_epoch: LeaderEpoch(known.leader_epoch.0.saturating_add(i32::from(led_here))),
            isr: rest,
            controller_epoch: known.controller_epoch,
        };
        Some(NewState {
            partition: id.clone(),
            state,
            version: Some(known.version),
        })
    });
    states.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nyala_coordinator::cluster::{self, PartitionInfo, TopicInfo};
    use nyala_coordinator::ids::{ControllerEpoch, PartitionIndex, TopicName};

    use super::*;

    const ME: BrokerId = BrokerId(1);
    const OTHER: BrokerId = BrokerId(2);

    fn tp() -> TopicPartition {
        TopicPartition {
            topic: TopicName::new("t").expect("legal"),
            partition: PartitionIndex(0),
        }
    }

    /// Leader, epoch and in-sync replicas to write for a partition in epoch 4.
    fn planned(leader: BrokerId, isr: &[BrokerId]) -> Option<(Option<BrokerId>, i32, usize)> {
        let partition = PartitionInfo {
            replicas: vec![ME, OTHER],
            state: Some(cluster::PartitionState {
                leader: Some(leader),
                leader_epoch: LeaderEpoch(4),
                isr: isr.to_vec(),
                controller_epoch: ControllerEpoch(1),
                version: 9,
                written: 0,
            }),
            ..PartitionInfo::default()
        };
        let info = TopicInfo {
            id: None,
            partitions: BTreeMap::from([(PartitionIndex(0), partition)]),
        };
        let snapshot = ClusterSnapshot {
            topics: BTreeMap::from([(tp().topic, Arc::new(info))]),
            ..ClusterSnapshot::default()
        };
        let new = plan(ME, &snapshot, &BTreeSet::from([tp()])).pop()?;
        assert_eq!(new.version, Some(9));
        assert!(!new.state.isr.contains(&ME));
        Some((
            new.state.leader,
            new.state.leader_epoch.0,
            new.state.isr.len(),
        ))
    }

    #[test]
    fn a_name_is_taken_out_unless_it_is_the_last() {
        assert_eq!(planned(OTHER, &[OTHER, ME]), Some((Some(OTHER), 4, 1)));
        assert_eq!(planned(ME, &[ME, OTHER]), Some((None, 5, 1)), "it led");
        assert_eq!(planned(ME, &[ME]), None);
        assert_eq!(planned(OTHER, &[OTHER]), None, "it is out already");
    }
}
