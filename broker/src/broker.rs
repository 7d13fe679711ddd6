//! Composition root: opens the logs, joins the cluster, listens; stops in reverse order.
//!
//! The only file that knows every folder; nothing imports it but the command line. Every task that a
//! broker runs is named here or in the folder that owns it, and joined at shutdown.

mod error;
mod tasks;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::session::{Session, SessionConfig};

use crate::api::{FetchSessions, Services};
use crate::config::{self, Settings};
use crate::groups::Groups;
use crate::net::{Limits, Listener, Shared};
use crate::replication::Table;
pub use error::StartError;
use tasks::Tasks;

/// One running broker. Owner: the command line or a test, which must call [`Broker::shutdown`].
#[derive(Debug)]
pub struct Broker {
    addresses: Vec<SocketAddr>,
    session: Session,
    groups: Arc<Groups>,
    listening: Tasks,
}

impl Broker {
    /// Starts; returns when connections are served.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let session = connect(&settings).await?;
        let partitions = Arc::new(Table::default());
        let (groups, group_timers) = Groups::open(&settings, Arc::clone(&partitions));
        let services = Arc::new(Services {
            partitions,
            groups: Arc::clone(&groups),
            fetch_sessions: FetchSessions::new(count(
                settings.max_incremental_fetch_session_cache_slots,
            )),
            fetch_bytes_max: count(settings.fetch_max_bytes),
        });
        let shared = Shared::new(services, limits(&settings));
        let mut bound = Vec::new();
        for listener in settings.listen_on()? {
            bound.push(bind(&listener, shared.clone()).await?);
        }
        let mut listening = Tasks::default();
        listening.spawn("groups", group_timers.run(listening.stop_token()));
        let mut addresses = Vec::new();
        for (listener, address) in bound {
            addresses.push(address);
            listening.spawn("listener", listener.run(listening.stop_token()));
        }
        Ok(Self {
            addresses,
            session,
            groups,
            listening,
        })
    }

    /// Addresses that it listens on, in the order of `listeners`; port 0 has become a real one.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops: no more requests, then away from the cluster, then the logs are closed.
    pub async fn shutdown(self) {
        self.groups.close();
        self.listening.end().await;
        self.session.close().await;
    }
}

async fn connect(settings: &Settings) -> Result<Session, StartError> {
    let Some(connect) = settings.zookeeper_connect.clone() else {
        return Err(StartError::NoZooKeeper);
    };
    let session_timeout = ms(settings.zookeeper_session_timeout_ms);
    Ok(Session::connect(SessionConfig {
        session_timeout,
        connect_timeout: ms(settings.connection_timeout_ms()),
        secure_acls: settings.zookeeper_set_acl,
        create_chroot: true,
        ..SessionConfig::new(connect)
    })
    .await?)
}

/// Binds one listener; no host means every address, of both families where there are two.
async fn bind(
    listener: &config::Listener,
    shared: Shared,
) -> Result<(Listener, SocketAddr), StartError> {
    let host = listener.host.as_str();
    let failed = |source| StartError::Listen {
        listener: listener.to_string(),
        source,
    };
    let candidates: Vec<SocketAddr> = if host.is_empty() {
        vec![
            (Ipv6Addr::UNSPECIFIED, listener.port).into(),
            ([0, 0, 0, 0], listener.port).into(),
        ]
    } else {
        let found = tokio::net::lookup_host((host, listener.port)).await;
        found.map_err(failed)?.collect()
    };
    let mut refused = std::io::Error::other("the host has no address");
    for address in candidates {
        match Listener::bind(&listener.name, address, shared.clone()).await {
            Ok(bound) => {
                let address = bound.local_address().map_err(failed)?;
                return Ok((bound, address));
            }
            Err(error) => refused = error,
        }
    }
    Err(failed(refused))
}

fn limits(settings: &Settings) -> Limits {
    let buffer = |number: i32| usize::try_from(number).ok();
    Limits {
        connections_max: count(settings.max_connections),
        connections_per_ip_max: count(settings.max_connections_per_ip),
        connections_per_second_max: u32::try_from(settings.max_connection_creation_rate)
            .unwrap_or(0),
        request_bytes_max: count(settings.socket_request_max_bytes),
        queued_bytes_max: usize::try_from(settings.queued_max_request_bytes).unwrap_or(usize::MAX),
        idle: Duration::from_millis(
            u64::try_from(settings.connections_max_idle_ms).unwrap_or(u64::MAX),
        ),
        receive: Duration::from_millis(
            u64::try_from(settings.connections_max_partial_request_ms).unwrap_or(u64::MAX),
        ),
        send_buffer_bytes: buffer(settings.socket_send_buffer_bytes),
        receive_buffer_bytes: buffer(settings.socket_receive_buffer_bytes),
        ..Limits::default()
    }
}

fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn ms(number: i32) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}
