//! This broker's registration: made when a session begins, made again whenever it is gone.
//!
//! A lost session leads to a new registration, never to an exit. Only the first registration can
//! fail for good: when another live broker has the id.

use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::clock;
use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{BrokerEpoch, BrokerId};
use nyala_coordinator::registry::{BrokerRegistration, Endpoint, RegisterError, Registry};
use nyala_coordinator::session::SessionState;
use tokio::sync::watch;
use tracing::{info, warn};

use super::epochs::Epochs;
use super::error::JoinError;

/// Pause after a registration that failed.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// Longest wait for a registration to show up in the snapshot.
const SEEN_MAX: Duration = Duration::from_secs(2);

/// Refuses addresses that another broker has registered, as Kafka does: the usual slip of who copies a file of settings.
pub(super) fn check_endpoints(
    this: BrokerId,
    info: &BrokerRegistration,
    snapshot: &ClusterSnapshot,
) -> Result<(), JoinError> {
    for (other, known) in snapshot.brokers.iter().filter(|(id, _)| **id != this) {
        let same = |ours: &&Endpoint| {
            let mut theirs = known.endpoints.iter();
            theirs.any(|e| (&e.host, e.port) == (&ours.host, ours.port))
        };
        let taken: Vec<Endpoint> = info.endpoints.iter().filter(same).cloned().collect();
        if !taken.is_empty() {
            return Err(JoinError::EndpointTaken {
                endpoints: addresses(&taken),
                other: *other,
            });
        }
    }
    Ok(())
}

/// `host:port,host:port`
pub(super) fn addresses(endpoints: &[Endpoint]) -> String {
    let each: Vec<String> = endpoints
        .iter()
        .map(|e| format!("{}:{}", e.host, e.port))
        .collect();
    each.join(",")
}

/// Keeps the broker registered.
#[derive(Debug)]
pub(super) struct Membership {
    registry: Registry,
    broker: BrokerId,
    info: BrokerRegistration,
    epoch: watch::Sender<Option<BrokerEpoch>>,
    /// Fences the controller's orders to former incarnations.
    epochs: Arc<Epochs>,
}

impl Membership {
    /// Registers for the first time.
    pub(super) async fn join(
        registry: Registry,
        broker: BrokerId,
        info: BrokerRegistration,
        epochs: Arc<Epochs>,
    ) -> Result<Self, RegisterError> {
        let (epoch, _) = watch::channel(None);
        let membership = Self {
            registry,
            broker,
            info,
            epoch,
            epochs,
        };
        loop {
            match membership.register().await {
                Ok(()) => return Ok(membership),
                Err(RegisterError::Registry(e)) if e.is_transient() => {
                    info!("registering again: {e}");
                    tokio::time::sleep(RETRY_EVERY).await;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Epoch of the current registration; `None` while there is none.
    pub(super) fn epoch(&self) -> watch::Receiver<Option<BrokerEpoch>> {
        self.epoch.subscribe()
    }

    /// Watches over the registration until dropped.
    pub(super) async fn run(&self, mut snapshots: watch::Receiver<Arc<ClusterSnapshot>>) {
        let mut states = self.registry.session().states();
        self.await_seen(&mut snapshots).await;
        let mut told = String::new();
        loop {
            let state = *states.borrow_and_update();
            let ended = state.generation() != self.epochs.generation();
            if ended || matches!(state, SessionState::Lost { .. }) {
                self.epoch.send_replace(None);
            }
            let there = self.is_seen(&snapshots.borrow_and_update());
            if !there && state.is_connected() {
                match self.register().await {
                    // The snapshot follows; an operator's deletion would show in it later.
                    Ok(()) => {
                        told.clear();
                        self.await_seen(&mut snapshots).await;
                    }
                    Err(e) => {
                        // The same again and again is told once.
                        let why = e.to_string();
                        if why != told {
                            warn!(
                                "broker {} is not registered, trying again: {why}",
                                self.broker
                            );
                            told = why;
                        }
                        tokio::time::sleep(RETRY_EVERY).await;
                    }
                }
                continue;
            }
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                changed = states.changed() => if changed.is_err() { return },
            }
        }
    }

    fn is_seen(&self, snapshot: &ClusterSnapshot) -> bool {
        let seen = snapshot.brokers.get(&self.broker).map(|b| b.epoch);
        seen.is_some() && seen == *self.epoch.borrow()
    }

    /// Waits, not for ever, until the snapshot shows the current registration.
    pub(super) async fn await_seen(&self, snapshots: &mut watch::Receiver<Arc<ClusterSnapshot>>) {
        let seen = snapshots.wait_for(|s| self.is_seen(s));
        // Not seen in time: the loop looks again.
        let _ = tokio::time::timeout(SEEN_MAX, seen).await;
    }

    async fn register(&self) -> Result<(), RegisterError> {
        // Should it end before the registration is made, that is found and made known once more.
        let generation = self.registry.session().state().generation();
        let info = BrokerRegistration {
            timestamp_ms: clock::wall_ms(),
            ..self.info.clone()
        };
        let epoch = self.registry.register_broker(self.broker, &info).await?;
        self.epochs.registered(epoch, generation);
        let old = self.epoch.send_replace(Some(epoch));
        if old != Some(epoch) {
            info!("broker {} is registered, epoch {epoch}", self.broker);
        }
        Ok(())
    }

    /// Leaves, so that the others need not wait for the session to end.
    pub(super) async fn leave(&self) {
        if let Err(e) = self.registry.unregister_broker(self.broker).await {
            warn!("broker {} could not unregister: {e}", self.broker);
        }
    }
}
