//! From the settings to bound listeners, and to what the cluster is told of them.
//!
//! Bound before the broker registers, since a port 0 is known only then; served after, since a
//! request needs the cluster.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use nyala_coordinator::clock;
use nyala_coordinator::port::bind_patiently;
use nyala_coordinator::registry::{BrokerRegistration, Endpoint};
use tokio::net::{TcpListener, TcpSocket};

use super::{StartError, Tasks};
use crate::config::{self, Settings};
use crate::net::{Limits, Listener, Shared};

/// Connections that wait to be accepted; the kernel has a limit of its own (`net.core.somaxconn`).
const BACKLOG: u32 = 1024;

/// Listeners that are bound and do not serve yet.
#[derive(Debug)]
pub(super) struct Bound(Vec<(config::Listener, TcpListener, SocketAddr)>);

impl Bound {
    /// Binds every listener of the settings.
    pub(super) async fn bind(settings: &Settings) -> Result<Self, StartError> {
        let mut bound = Vec::new();
        let receive_buffer = u32::try_from(settings.socket_receive_buffer_bytes).ok();
        for listener in settings.listen_on()? {
            let socket = bind_patiently(|| bind(&listener, receive_buffer)).await;
            let socket = socket.map_err(|source| StartError::Listen {
                listener: listener.to_string(),
                source,
            })?;
            bound.push((listener, socket.0, socket.1));
        }
        Ok(Self(bound))
    }

    /// Addresses, in the order of `listeners`.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(_, _, address)| *address).collect()
    }

    /// What this broker says of itself. A port that was 0 is told as it turned out; a missing host
    /// becomes this machine's name, as in Kafka.
    pub(super) fn registration(
        &self,
        settings: &Settings,
    ) -> Result<BrokerRegistration, StartError> {
        let endpoint = |listener: config::Listener| {
            let bound = self.0.iter().find(|(l, _, _)| l.name == listener.name);
            let port = match (listener.port, bound) {
                (0, Some((_, _, address))) => address.port(),
                (port, _) => port,
            };
            let host = match listener.host.as_str() {
                "" => host_name(),
                host => host.to_owned(),
            };
            Endpoint {
                listener_name: listener.name,
                security_protocol: listener.protocol.as_str().to_owned(),
                host,
                port,
            }
        };
        Ok(BrokerRegistration {
            endpoints: settings.advertise()?.into_iter().map(endpoint).collect(),
            rack: settings.broker_rack.clone(),
            timestamp_ms: clock::wall_ms(),
        })
    }

    /// Serves connections from now on.
    pub(super) fn serve(self, tasks: &mut Tasks, shared: &Shared) {
        for (listener, socket, _) in self.0 {
            let listener = Listener::new(&listener.name, socket, shared.clone());
            tasks.spawn("listener", listener.run(tasks.stop_token()));
        }
    }
}

/// Binds one listener; no host means every address, of both families where there are two.
async fn bind(
    listener: &config::Listener,
    receive_buffer: Option<u32>,
) -> std::io::Result<(TcpListener, SocketAddr)> {
    let candidates: Vec<SocketAddr> = match listener.host.as_str() {
        "" => vec![
            (Ipv6Addr::UNSPECIFIED, listener.port).into(),
            ([0, 0, 0, 0], listener.port).into(),
        ],
        host => tokio::net::lookup_host((host, listener.port))
            .await?
            .collect(),
    };
    let mut refused = std::io::Error::other("the host has no address");
    for address in candidates {
        match listen(address, receive_buffer) {
            Ok(socket) => {
                let address = socket.local_addr()?;
                return Ok((socket, address));
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// `receive_buffer` (bytes) is set here: accepted sockets inherit it, and the kernel tells its first window before they
/// are accepted.
fn listen(address: SocketAddr, receive_buffer: Option<u32>) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Name of this machine; `localhost` when it has none that is text.
fn host_name() -> String {
    let uname = rustix::system::uname();
    uname.nodename().to_str().unwrap_or("localhost").to_owned()
}

/// Listeners that brokers and the controller use among themselves.
pub(super) fn of_cluster(settings: &Settings) -> Vec<String> {
    let names = [
        settings.inter_broker_listener(),
        settings.control_listener(),
    ];
    names.into_iter().flatten().collect()
}

/// The network's bounds, from the settings.
pub(super) fn limits(settings: &Settings) -> Limits {
    let buffer = |number: i32| usize::try_from(number).ok();
    let or_forever = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX));
    Limits {
        connections_max: count(settings.max_connections),
        connections_per_ip_max: count(settings.max_connections_per_ip),
        connections_per_ip_overrides: overrides(settings),
        connections_per_second_max: u32::try_from(settings.max_connection_creation_rate)
            .unwrap_or(0),
        request_bytes_max: count(settings.socket_request_max_bytes),
        queued_bytes_max: usize::try_from(settings.queued_max_request_bytes).unwrap_or(usize::MAX),
        idle: or_forever(settings.connections_max_idle_ms),
        receive: or_forever(settings.connections_max_partial_request_ms),
        send_buffer_bytes: buffer(settings.socket_send_buffer_bytes),
        ..Limits::default()
    }
}

/// `max.connections.per.ip.overrides`, names resolved; what names nothing has no effect.
fn overrides(settings: &Settings) -> HashMap<IpAddr, usize> {
    let hosts = settings.connection_overrides().unwrap_or_default();
    let resolve = |(host, max): (String, usize)| {
        let found = (host.as_str(), 0).to_socket_addrs();
        if let Err(error) = &found {
            tracing::warn!(host, %error, "max.connections.per.ip.overrides names an unknown host");
        }
        let found = found.into_iter().flatten();
        found.map(move |address| (address.ip().to_canonical(), max))
    };
    hosts.into_iter().flat_map(resolve).collect()
}

/// A setting that is bounded below by 0, as a count.
pub(super) fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecurityProtocol;

    #[tokio::test]
    async fn a_port_that_is_still_given_back_is_waited_for() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let listener = config::Listener {
            name: "PLAINTEXT".to_owned(),
            protocol: SecurityProtocol::Plaintext,
            host: "127.0.0.1".to_owned(),
            port: taken.local_addr().expect("bound").port(),
        };
        assert!(bind(&listener, None).await.is_err());
        let free = async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            drop(taken);
        };
        let (bound, ()) = tokio::join!(bind_patiently(|| bind(&listener, None)), free);
        assert_eq!(bound.expect("free by then").1.port(), listener.port);
    }

    #[tokio::test]
    async fn what_connects_has_the_receive_buffer_of_the_listener() {
        let listener = config::Listener {
            name: "PLAINTEXT".to_owned(),
            protocol: SecurityProtocol::Plaintext,
            host: "127.0.0.1".to_owned(),
            port: 0,
        };
        let (socket, address) = bind(&listener, Some(8192)).await.expect("loopback");
        let connect = tokio::net::TcpStream::connect(address);
        let (accepted, _connected) = tokio::join!(socket.accept(), connect);
        let (accepted, _) = accepted.expect("it connects");
        let bytes = rustix::net::sockopt::socket_recv_buffer_size(&accepted);
        // The kernel doubles it, for its own part.
        assert_eq!(bytes, Ok(16384));
    }
}
