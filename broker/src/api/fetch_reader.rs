//! Who fetches, and what that changes: a consumer, a consumer that a nearer replica could serve, or
//! a follower, whose fetch tells the leader how far it is.

use std::sync::Arc;

use nyala_client::wire::ErrorCode;
use nyala_client::wire::fetch::FetchView;
use nyala_coordinator::ids::{BrokerId, LeaderEpoch};
use tokio::time::Instant;

use super::Services;
use super::fetch_session::Asked;
use crate::replication::{FollowerFetch, Isolation, Partition, Throttle};
use crate::storage::EpochEnd;

/// Version from which a consumer may read at a follower (KIP-392).
const AT_FOLLOWER_FROM: i16 = 11;

/// Who fetches.
#[derive(Debug)]
pub(super) enum Reader {
    /// A consumer.
    Consumer {
        isolation: Isolation,
        /// Whether it can find its way when a follower answers.
        at_follower: bool,
        /// Its rack, where that makes a difference.
        rack: Option<Box<str>>,
    },
    /// Another broker, which follows.
    Follower {
        broker: BrokerId,
        broker_epoch: i64,
        came: Instant,
        throttle: Arc<Throttle>,
    },
}

/// What a partition has to say before it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Greeting {
    /// Where the reader's log parts from ours: it is told, and gets no records.
    pub(super) diverging: Option<EpochEnd>,
    /// Which replica the reader had better ask; it gets no records here.
    pub(super) nearest: Option<BrokerId>,
}

impl Reader {
    /// The reader of a request.
    pub(super) fn of(request: &FetchView<'_>, version: i16, services: &Services) -> Self {
        if request.replica_id >= 0 {
            let broker = BrokerId(request.replica_id);
            // An epoch above the registered one is noted as that: whoever made it up would keep the real
            // broker out for ever, whose own is smaller.
            let snapshot = services.cluster.snapshot();
            let registered = snapshot.brokers.get(&broker).map_or(-1, |b| b.epoch.0);
            return Self::Follower {
                broker,
                broker_epoch: request.replica_epoch.min(registered),
                came: Instant::now(),
                throttle: Arc::clone(&services.leader_throttle),
            };
        }
        let near = services.nearest_replica && !request.rack_id.is_empty();
        Self::Consumer {
            isolation: match request.isolation_level {
                1 => Isolation::ReadCommitted,
                _ => Isolation::ReadUncommitted,
            },
            at_follower: version >= AT_FOLLOWER_FROM,
            rack: near.then(|| request.rack_id.into()),
        }
    }

    /// How far it may see.
    pub(super) fn isolation(&self) -> Isolation {
        match self {
            Self::Consumer { isolation, .. } => *isolation,
            Self::Follower { .. } => Isolation::LogEnd,
        }
    }

    /// Whether this broker may answer it as a follower.
    pub(super) fn at_follower(&self) -> bool {
        matches!(
            self,
            Self::Consumer {
                at_follower: true,
                ..
            }
        )
    }

    /// Whether it is a follower.
    pub(super) fn follows(&self) -> bool {
        matches!(self, Self::Follower { .. })
    }

    /// Whether it gets records now: a throttled follower that is behind has to wait while the
    /// throttle is exceeded (KIP-73). It is told offsets all the same.
    pub(super) fn is_free(&self, partition: &Partition) -> bool {
        let Self::Follower {
            broker, throttle, ..
        } = self
        else {
            return true;
        };
        if !throttle.applies_to(partition) || !throttle.is_exceeded() {
            return true;
        }
        partition.state().is_some_and(|s| s.isr.contains(broker))
    }

    /// Counts what is sent.
    pub(super) fn count(&self, partition: &Partition, bytes: usize) {
        if let Self::Follower { throttle, .. } = self
            && bytes > 0
            && throttle.applies_to(partition)
        {
            throttle.record(bytes);
        }
    }

    /// Introduces the reader to a partition, once a request.
    pub(super) fn greet(
        &self,
        services: &Services,
        partition: &Arc<Partition>,
        asked: &Asked,
    ) -> Result<Greeting, ErrorCode> {
        match self {
            Self::Consumer { rack: None, .. } => Ok(Greeting::default()),
            Self::Consumer {
                rack: Some(rack), ..
            } => {
                let snapshot = services.cluster.snapshot();
                let is_near = |id: BrokerId| {
                    let broker = snapshot.brokers.get(&id);
                    broker.and_then(|b| b.rack.as_deref()) == Some(rack)
                };
                Ok(Greeting {
                    nearest: partition.nearest_replica(asked.offset, &is_near),
                    ..Greeting::default()
                })
            }
            Self::Follower {
                broker,
                broker_epoch,
                came,
                ..
            } => {
                let known = |epoch: i32| (epoch >= 0).then_some(epoch);
                let fetch = FollowerFetch {
                    broker: *broker,
                    broker_epoch: *broker_epoch,
                    offset: asked.offset,
                    log_start: asked.log_start,
                    leader_epoch: known(asked.leader_epoch),
                    last_epoch: known(asked.last_epoch).map(LeaderEpoch),
                    now: *came,
                };
                let view = partition
                    .note_fetch(&fetch)
                    .map_err(|error| ErrorCode::from(&error))?;
                if view.may_join {
                    services.isr_changes.nudge(partition);
                }
                Ok(Greeting {
                    diverging: view.diverging,
                    ..Greeting::default()
                })
            }
        }
    }
}
