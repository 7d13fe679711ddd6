//! A broker that stops asks the controller to move its leaders first (ControlledShutdown), so that
//! clients find the new ones at once and no session has to run out.
//!
//! As in Kafka it is asked again `controlled.shutdown.max.retries` times; a pause ends early when the
//! cluster shows that asking again could help. After that the broker goes anyway.

use std::sync::Arc;
use std::time::Duration;

use nyala_client::error::ConnectionError;
use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::controlled_shutdown::ControlledShutdownRequest;
use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{BrokerEpoch, BrokerId};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::Settings;
use crate::replication::{PeerError, Peers, Purpose};

/// Version of brokers of Kafka 3.9, and the highest there is.
const VERSION: i16 = 3;

/// Longest wait for the moves to be seen here.
const SEEN_MAX: Duration = Duration::from_secs(1);

/// One broker's way out.
#[derive(Debug)]
pub(super) struct Departure<'a> {
    pub(super) peers: &'a Peers,
    pub(super) epoch: watch::Receiver<Option<BrokerEpoch>>,
    pub(super) snapshots: watch::Receiver<Arc<ClusterSnapshot>>,
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
    #[error("no answer within {} ms", _0.as_millis())]
    TimedOut(Duration),
    #[error("the controller answers {0:?}")]
    Code(ErrorCode),
    #[error("{0} partitions cannot be moved")]
    Remaining(usize),
}

impl Departure<'_> {
    /// Asks until all is moved, or it was asked often enough.
    pub(super) async fn move_leaders(mut self, settings: &Settings) {
        let this = self.peers.this();
        let backoff = u64::try_from(settings.controlled_shutdown_retry_backoff_ms).unwrap_or(0);
        let backoff = Duration::from_millis(backoff);
        let retries = settings.controlled_shutdown_max_retries;
        for attempt in 0..=retries {
            if !has_others(&self.snapshots.borrow_and_update(), this) {
                return;
            }
            match self.ask(backoff).await {
                Ok(()) => {
                    let gone = self.snapshots.wait_for(|s| led_with_others(s, this) == 0);
                    // Seen by others already; here it is a matter of time.
                    let _ = tokio::time::timeout(SEEN_MAX, gone).await;
                    info!("broker {this} leads nothing any more that others could lead");
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

    async fn ask(&self, longest: Duration) -> Result<(), Refused> {
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
        let answer = tokio::time::timeout(longest, answered)
            .await
            .map_err(|_| Refused::TimedOut(longest))??;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None if answer.remaining_partitions.is_empty() => Ok(()),
            ErrorCode::None => Err(Refused::Remaining(answer.remaining_partitions.len())),
            code => Err(Refused::Code(code)),
        }
    }

    /// Ends with the pause, or when another controller is there or fewer partitions are led here.
    async fn pause(&mut self, longest: Duration) {
        let this = self.peers.this();
        let (controller, led) = {
            let now = self.snapshots.borrow();
            (now.controller, led_with_others(&now, this))
        };
        let news = self.snapshots.wait_for(|s| {
            let other = s.controller.is_some() && s.controller != controller;
            other || led_with_others(s, this) < led
        });
        // No news: the pause is over.
        let _ = tokio::time::timeout(longest, news).await;
    }
}

/// Whether there is another broker that could lead.
fn has_others(snapshot: &ClusterSnapshot, this: BrokerId) -> bool {
    snapshot.brokers.keys().any(|id| *id != this)
}

/// Partitions that this broker leads and others have copies of.
fn led_with_others(snapshot: &ClusterSnapshot, this: BrokerId) -> usize {
    let partitions = snapshot.topics.values().flat_map(|t| t.partitions.values());
    let led = partitions.filter(|p| {
        let leader = p.state.as_ref().and_then(|s| s.leader);
        leader == Some(this) && p.replicas.len() > 1
    });
    led.count()
}
