//! A broker that stops asks the controller to move its leaders first (ControlledShutdown), so that
//! clients find the new ones at once and no session has to run out.
//!
//! As in Kafka it is asked again `controlled.shutdown.max.retries` times; a pause ends early when the
//! cluster shows that asking again could help. After that the broker goes anyway.
//!
//! A broker whose leaders have moved answers for [`FAREWELL`] longer. A client that first hears of the
//! new leader when the old one has already gone from the cluster may lose a second: librdkafka (2.10
//! and later) gives up its thread for a broker that metadata no longer names, and with it the partition
//! that this very answer had just moved, until its next look at all topics (seen in one of 30 rounds).

use std::sync::Arc;
use std::time::Duration;

use nyala_client::error::ConnectionError;
use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::controlled_shutdown::ControlledShutdownRequest;
use nyala_coordinator::cluster::{ClusterSnapshot, PartitionInfo};
use nyala_coordinator::ids::{BrokerEpoch, BrokerId};
use nyala_coordinator::session::SessionState;
use tokio::sync::watch;
use tracing::{info, warn};

use super::names::Names;
use crate::config::Settings;
use crate::replication::{PeerError, Peers, Purpose};

/// Version of brokers of Kafka 3.9, and the highest there is.
const VERSION: i16 = 3;

/// Longest wait for one answer: a controller that is itself about to go never gives one.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Longest wait for the moves to be seen here.
const SEEN_MAX: Duration = Duration::from_secs(1);

/// How long clients may still ask the old leader for the new one: two of their back-offs (`retry.backoff.ms`
/// of librdkafka and Java is 100), and some.
const FAREWELL: Duration = Duration::from_millis(300);

/// One broker's way out.
#[derive(Debug)]
pub(super) struct Departure<'a> {
    pub(super) peers: &'a Peers,
    pub(super) epoch: watch::Receiver<Option<BrokerEpoch>>,
    pub(super) snapshots: watch::Receiver<Arc<ClusterSnapshot>>,
    pub(super) session: watch::Receiver<SessionState>,
}

/// Why the leaders are not moved yet.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("there is no controller")]
    NoController,
    #[error("this broker is not registered")]
    NotRegistered,
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("no answer within {} s", ANSWER_MAX.as_secs())]
    TimedOut,
    #[error("the controller answers {0:?}")]
    Code(ErrorCode),
    #[error("the controller cannot move partitions: {0}")]
    Remaining(Names),
}

impl Departure<'_> {
    /// Moves what it leads, as far as that is possible, and stays until clients have heard of it.
    pub(super) async fn take_leave(mut self, settings: &Settings) {
        let this = self.peers.this();
        let before = led(&self.snapshots.borrow(), this, copies);
        self.move_leaders(settings).await;
        if led(&self.snapshots.borrow(), this, copies) < before {
            tokio::time::sleep(FAREWELL).await;
        }
    }

    /// Asks until all is moved, or it was asked often enough.
    async fn move_leaders(&mut self, settings: &Settings) {
        let this = self.peers.this();
        let backoff = u64::try_from(settings.controlled_shutdown_retry_backoff_ms).unwrap_or(0);
        let backoff = Duration::from_millis(backoff);
        let retries = settings.controlled_shutdown_max_retries;
        for attempt in 0..=retries {
            if !has_others(&self.snapshots.borrow_and_update(), this) {
                return;
            }
            // No controller can write a new leader down either.
            if !self.session.borrow().is_connected() {
                warn!("leaders are not moved before this broker stops: ZooKeeper does not answer");
                return;
            }
            match self.ask().await {
                Ok(()) => {
                    let gone = self.snapshots.wait_for(|s| led(s, this, in_sync) == 0);
                    // Seen by others already; here it is a matter of time.
                    let _ = tokio::time::timeout(SEEN_MAX, gone).await;
                    info!("broker {this} leads nothing any more that others could lead");
                    return;
                }
                // A controller that counts replicas which are down, as Kafka's does.
                Err(Refused::Remaining(_)) if self.led_in_vain(this) => {
                    info!("broker {this} leads only what no other broker that runs could lead");
                    return;
                }
                // Asking again gives the same answer.
                Err(Refused::Peer(PeerError::Connection(
                    e @ ConnectionError::Unsupported { .. },
                ))) => {
                    warn!("leaders are not moved before this broker stops: {e}");
                    return;
                }
                Err(e) => {
                    warn!(
                        "leaders are not moved yet, attempt {} of {}: {e}",
                        attempt + 1,
                        retries + 1
                    );
                }
            }
            if attempt < retries {
                self.pause(backoff).await;
            }
        }
        warn!("this broker stops although it still leads partitions");
    }

    async fn ask(&self) -> Result<(), Refused> {
        let controller = self.snapshots.borrow().controller;
        let controller = controller.ok_or(Refused::NoController)?;
        let epoch = (*self.epoch.borrow()).ok_or(Refused::NotRegistered)?;
        let request = ControlledShutdownRequest {
            broker_id: self.peers.this().0,
            broker_epoch: epoch.0,
        };
        let answered = async {
            let connection = self.peers.connection(controller, Purpose::Ask).await?;
            let answer = connection.call_up_to(&request, VERSION).await;
            answer.map_err(PeerError::from)
        };
        let answer = tokio::time::timeout(ANSWER_MAX, answered)
            .await
            .map_err(|_| Refused::TimedOut)??;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None if answer.remaining_partitions.is_empty() => Ok(()),
            ErrorCode::None => Err(Refused::Remaining(
                (answer.remaining_partitions.iter())
                    .map(|p| format!("{}-{}", p.topic_name, p.partition_index))
                    .collect(),
            )),
            code => Err(Refused::Code(code)),
        }
    }

    fn led_in_vain(&self, this: BrokerId) -> bool {
        led(&self.snapshots.borrow(), this, copies) == 0
    }

    /// Ends with the pause, or when another controller is there, or fewer partitions are led here that
    /// others could lead, or no other broker is left.
    async fn pause(&mut self, longest: Duration) {
        let this = self.peers.this();
        let (controller, led_before) = {
            let now = self.snapshots.borrow();
            (now.controller, led(&now, this, copies))
        };
        let news = self.snapshots.wait_for(|s| {
            let other = s.controller.is_some() && s.controller != controller;
            other || led(s, this, copies) < led_before || !has_others(s, this)
        });
        // No news: the pause is over.
        let _ = tokio::time::timeout(longest, news).await;
    }
}

/// Whether there is another broker that could lead.
fn has_others(snapshot: &ClusterSnapshot, this: BrokerId) -> bool {
    snapshot.brokers.keys().any(|id| *id != this)
}

/// Partitions that this broker leads and one of `others`, which is registered, could lead.
fn led(
    snapshot: &ClusterSnapshot,
    this: BrokerId,
    others: impl Fn(&PartitionInfo) -> &[BrokerId],
) -> usize {
    let partitions = snapshot.topics.values().flat_map(|t| t.partitions.values());
    let led = partitions.filter(|p| {
        let leader = p.state.as_ref().and_then(|s| s.leader);
        let could = |b: &BrokerId| *b != this && snapshot.brokers.contains_key(b);
        leader == Some(this) && others(p).iter().any(could)
    });
    led.count()
}

/// Who could lead at once.
fn in_sync(partition: &PartitionInfo) -> &[BrokerId] {
    partition.state.as_ref().map_or(&[], |s| &s.isr)
}

/// Who could lead when it has caught up.
fn copies(partition: &PartitionInfo) -> &[BrokerId] {
    &partition.replicas
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nyala_coordinator::cluster::{BrokerInfo, PartitionState, TopicInfo};
    use nyala_coordinator::ids::{ControllerEpoch, LeaderEpoch, PartitionIndex, TopicName};

    use super::*;

    const ME: BrokerId = BrokerId(1);

    /// One partition on brokers 1 and 2, led by 1.
    fn cluster(alive: &[i32], isr: &[i32]) -> ClusterSnapshot {
        let broker = |id: &i32| {
            let info = BrokerInfo {
                id: BrokerId(*id),
                epoch: BrokerEpoch(1),
                endpoints: Vec::new(),
                rack: None,
            };
            (BrokerId(*id), info)
        };
        let partition = PartitionInfo {
            replicas: vec![ME, BrokerId(2)],
            state: Some(PartitionState {
                leader: Some(ME),
                leader_epoch: LeaderEpoch(0),
                isr: isr.iter().copied().map(BrokerId).collect(),
                controller_epoch: ControllerEpoch(1),
                version: 0,
                written: 0,
            }),
            ..PartitionInfo::default()
        };
        let info = TopicInfo {
            id: None,
            partitions: BTreeMap::from([(PartitionIndex(0), partition)]),
        };
        let topic = TopicName::new("t").expect("legal");
        ClusterSnapshot {
            brokers: alive.iter().map(broker).collect(),
            topics: BTreeMap::from([(topic, Arc::new(info))]),
            ..ClusterSnapshot::default()
        }
    }

    #[test]
    fn only_registered_replicas_are_waited_for() {
        for (alive, isr, now, later) in [
            (&[1, 2][..], &[1, 2][..], 1, 1),
            (&[1, 2], &[1], 0, 1),
            (&[1], &[1, 2], 0, 0),
            (&[1, 3], &[1], 0, 0),
        ] {
            let snapshot = cluster(alive, isr);
            let got = (led(&snapshot, ME, in_sync), led(&snapshot, ME, copies));
            assert_eq!(got, (now, later), "{alive:?} {isr:?}");
        }
    }
}
