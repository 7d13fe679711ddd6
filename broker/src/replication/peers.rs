//! Connections to the other brokers, by id: made when needed, shared, with a pause after a failure.
//!
//! Where a broker is comes from the snapshot of the cluster, over `inter.broker.listener.name`. The
//! controller's requests, those to the controller and a broker's own questions go their own ways, so that none
//! waits for another. Followers' fetches have sockets of their own (`fetchers/link.rs`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nyala_client::config::ConnectionConfig;
use nyala_client::connection::Connection;
use nyala_client::error::ConnectionError;
use nyala_coordinator::cluster::{ClusterSnapshot, Endpoint};
use nyala_coordinator::ids::BrokerId;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Settings;

/// Pause after the first failure to connect; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Longest wait for a connection, as Kafka's clients have it by default.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Requests of one connection that wait for an answer.
const IN_FLIGHT_MAX: usize = 64;

/// How brokers reach one another.
#[derive(Clone, Debug)]
pub struct PeersConfig {
    /// This broker.
    pub this: BrokerId,
    /// `inter.broker.listener.name`, in upper case.
    pub listener: String,
    /// `control.plane.listener.name`, or else the same, in upper case: for [`Purpose::Tell`].
    pub control_listener: String,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// `request.timeout.ms`: deadline of a request of this broker's own.
    pub ask_timeout: Duration,
    /// `controller.socket.timeout.ms`: deadline of a request of the controller.
    pub tell_timeout: Duration,
}

impl PeersConfig {
    /// What the broker's settings say.
    #[must_use]
    pub fn of(settings: &Settings, this: BrokerId) -> Self {
        let ms = |number: i32| Duration::from_millis(u64::try_from(number).unwrap_or(0));
        // Both were checked when the settings were read.
        let listener = settings.inter_broker_listener().unwrap_or_default();
        Self {
            this,
            control_listener: settings
                .control_listener()
                .unwrap_or_else(|_| listener.clone()),
            listener,
            connect_timeout: CONNECT_MAX.min(ms(settings.request_timeout_ms)),
            ask_timeout: ms(settings.request_timeout_ms),
            tell_timeout: ms(settings.controller_socket_timeout_ms),
        }
    }
}

/// What a connection is for; each purpose has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The controller tells a broker: in order, in fixed versions, without asking for them.
    Tell,
    /// A broker asks another, mostly the controller: versions as the peer serves them.
    Ask,
}

/// Why there is no connection to a broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// It is not registered.
    #[error("broker {0} is not registered")]
    Unknown(BrokerId),
    /// It is registered without an address that brokers could use.
    #[error("broker {broker} has no listener {listener}")]
    NoListener {
        /// The broker.
        broker: BrokerId,
        /// `inter.broker.listener.name` of this one.
        listener: String,
    },
    /// Its listener wants more than PLAINTEXT.
    #[error("broker {broker} wants {protocol} on listener {listener}, only PLAINTEXT is supported")]
    Protocol {
        /// The broker.
        broker: BrokerId,
        /// The listener.
        listener: String,
        /// Protocol as registered.
        protocol: String,
    },
    /// The connection, or a request on it, failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

/// The other brokers. One per broker, shared by `Arc`.
#[derive(Debug)]
pub struct Peers {
    config: PeersConfig,
    snapshots: watch::Receiver<Arc<ClusterSnapshot>>,
    slots: Mutex<HashMap<(BrokerId, Purpose), Slot>>,
}

/// The lock is held while connecting, so that callers share one attempt.
type Slot = Arc<tokio::sync::Mutex<Entry>>;

#[derive(Debug, Default)]
struct Entry {
    connection: Option<Connection>,
    address: String,
    pause: Pause,
}

/// When to try again after failures.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    /// One more failure; the pause is at most `most`. Gives the number of failures.
    pub(crate) fn failed(&mut self, now: Instant, most: Duration) -> u32 {
        self.until = Some(now + pause_after(self.failures, most));
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// Ends when the next attempt may be made.
    pub(crate) async fn over(&self) {
        if let Some(until) = self.until {
            tokio::time::sleep_until(until).await;
        }
    }
}

/// Pause after a failure that `failures` others came before.
pub(crate) fn pause_after(failures: u32, most: Duration) -> Duration {
    PAUSE_MIN.saturating_mul(1 << failures.min(16)).min(most)
}

impl Peers {
    /// Nobody is connected to yet.
    #[must_use]
    pub fn new(config: PeersConfig, snapshots: watch::Receiver<Arc<ClusterSnapshot>>) -> Arc<Self> {
        Arc::new(Self {
            config,
            snapshots,
            slots: Mutex::default(),
        })
    }

    /// Number of this broker.
    #[must_use]
    pub fn this(&self) -> BrokerId {
        self.config.this
    }

    /// The cluster now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<ClusterSnapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Where brokers reach `broker`, as `host:port`.
    pub fn address(&self, broker: BrokerId) -> Result<String, PeerError> {
        self.address_for(broker, Purpose::Ask)
    }

    /// Where `broker` is reached for this purpose, as `host:port`.
    pub fn address_for(&self, broker: BrokerId, purpose: Purpose) -> Result<String, PeerError> {
        let listener = match purpose {
            Purpose::Tell => &self.config.control_listener,
            Purpose::Ask => &self.config.listener,
        };
        let snapshot = self.snapshots.borrow();
        let info = snapshot.brokers.get(&broker);
        let info = info.ok_or(PeerError::Unknown(broker))?;
        choose_address(broker, &info.endpoints, listener)
    }

    /// A connection to `broker`: the open one, or a new one. Waits for its turn after a failure.
    ///
    /// On one for [`Purpose::Tell`] only `send` with a version works, as it does not know the peer's.
    pub async fn connection(
        &self,
        broker: BrokerId,
        purpose: Purpose,
    ) -> Result<Connection, PeerError> {
        let address = match self.address_for(broker, purpose) {
            Ok(address) => address,
            Err(error) => {
                self.slots.lock().remove(&(broker, purpose));
                return Err(error);
            }
        };
        let slot = Arc::clone(self.slots.lock().entry((broker, purpose)).or_default());
        let mut entry = slot.lock().await;
        if entry.address != address {
            // Another place: neither the connection nor the failures count any more.
            *entry = Entry {
                address,
                ..Entry::default()
            };
        }
        if let Some(open) = entry.connection.as_ref().filter(|c| c.is_open()) {
            return Ok(open.clone());
        }
        entry.connection = None;
        entry.pause.over().await;
        match self.connect(&entry.address, purpose).await {
            Ok(connection) => {
                entry.connection = Some(connection.clone());
                entry.pause = Pause::default();
                Ok(connection)
            }
            Err(error) => {
                entry.pause.failed(Instant::now(), PAUSE_MAX);
                Err(error.into())
            }
        }
    }

    async fn connect(
        &self,
        address: &str,
        purpose: Purpose,
    ) -> Result<Connection, ConnectionError> {
        let config = |request_timeout| ConnectionConfig {
            client_id: self.config.this.to_string(),
            connect_timeout: self.config.connect_timeout,
            request_timeout,
            in_flight_max: IN_FLIGHT_MAX,
            ..ConnectionConfig::default()
        };
        match purpose {
            Purpose::Tell => {
                Connection::connect_plain(address, config(self.config.tell_timeout)).await
            }
            Purpose::Ask => Connection::connect(address, config(self.config.ask_timeout)).await,
        }
    }

    /// How brokers reach one another.
    #[must_use]
    pub fn config(&self) -> &PeersConfig {
        &self.config
    }
}

/// The address of the listener that brokers use.
fn choose_address(
    broker: BrokerId,
    endpoints: &[Endpoint],
    listener: &str,
) -> Result<String, PeerError> {
    let found = endpoints.iter().find(|e| e.listener_name == listener);
    let found = found.ok_or_else(|| PeerError::NoListener {
        broker,
        listener: listener.to_owned(),
    })?;
    if found.security_protocol != "PLAINTEXT" {
        return Err(PeerError::Protocol {
            broker,
            listener: listener.to_owned(),
            protocol: found.security_protocol.clone(),
        });
    }
    Ok(match found.host.contains(':') {
        true => format!("[{}]:{}", found.host, found.port),
        false => format!("{}:{}", found.host, found.port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(name: &str, protocol: &str, host: &str) -> Endpoint {
        Endpoint {
            listener_name: name.to_owned(),
            security_protocol: protocol.to_owned(),
            host: host.to_owned(),
            port: 9,
        }
    }

    #[test]
    fn brokers_use_the_listener_that_is_theirs() {
        let endpoints = [
            endpoint("CLIENTS", "PLAINTEXT", "a"),
            endpoint("INSIDE", "PLAINTEXT", "::1"),
            endpoint("SAFE", "SSL", "b"),
        ];
        let choose = |name| choose_address(BrokerId(1), &endpoints, name);
        assert_eq!(choose("CLIENTS").as_deref(), Ok("a:9"));
        assert_eq!(choose("INSIDE").as_deref(), Ok("[::1]:9"));
        assert!(matches!(choose("SAFE"), Err(PeerError::Protocol { .. })));
        assert!(matches!(choose("NONE"), Err(PeerError::NoListener { .. })));
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let limit = Duration::from_secs(1);
        let pauses: Vec<u128> = (0..8).map(|n| pause_after(n, limit).as_millis()).collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(pause_after(u32::MAX, limit), limit);
    }
}
