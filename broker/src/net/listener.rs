//! Accepts connections within the limits, runs each in a task, and drains them at shutdown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Ended};
use super::gate::{Gate, Place};
use super::limits::Limits;
use crate::api::{Peer, RequestMemory, Services};

/// What all listeners of one broker share.
#[derive(Debug, Clone)]
pub struct Shared {
    services: Arc<Services>,
    limits: Arc<Limits>,
    gate: Arc<Gate>,
    memory: Arc<RequestMemory>,
    complaints: Arc<Complaints>,
}

impl Shared {
    /// The shared part, with fresh counts.
    #[must_use]
    pub fn new(services: Arc<Services>, limits: Limits) -> Self {
        Self {
            services,
            gate: Gate::new(&limits),
            memory: RequestMemory::new(limits.queued_bytes_max),
            limits: Arc::new(limits),
            complaints: Arc::default(),
        }
    }
}

/// One bound address.
#[derive(Debug)]
pub struct Listener {
    name: Arc<str>,
    socket: TcpListener,
    shared: Shared,
}

impl Listener {
    /// Serves what connects to `socket`, for the listener called `name` (`PLAINTEXT`, say).
    #[must_use]
    pub fn new(name: &str, socket: TcpListener, shared: Shared) -> Self {
        Self {
            name: name.into(),
            socket,
            shared,
        }
    }

    /// Accepts until `stop`, then lets every connection send what it owes, for a limited time.
    pub async fn run(self, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        let mut backoff = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.accept() => match accepted {
                    Ok(Some((stream, peer, place))) => {
                        backoff = Duration::ZERO;
                        connections.spawn(self.serve(stream, peer, place, stop.clone()));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        // Out of file descriptors, mostly: those that are open may end meanwhile.
                        backoff = (backoff * 2).clamp(Duration::from_millis(10), Duration::from_secs(1));
                        tracing::warn!(listener = %self.name, %error, ?backoff, "cannot accept");
                        tokio::time::sleep(backoff).await;
                    }
                }
            }
            while connections.try_join_next().is_some() {}
        }
        drop(self.socket);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.shared.limits.drain, drained)
            .await
            .is_err()
        {
            tracing::warn!(
                open = connections.len(),
                "connections cut at the end of the drain"
            );
        }
        connections.shutdown().await;
    }

    /// The next connection that has a place; `None` for one that was turned away.
    async fn accept(&self) -> io::Result<Option<(TcpStream, SocketAddr, Place)>> {
        let Some(permit) = self.shared.gate.admit().await else {
            return Ok(None);
        };
        let (stream, peer) = self.socket.accept().await?;
        let Some(place) = self.shared.gate.enter(peer.ip(), permit) else {
            tracing::info!(listener = %self.name, %peer, "too many connections of one address");
            return Ok(None);
        };
        stream.set_nodelay(true)?;
        if let Some(bytes) = self.shared.limits.send_buffer_bytes {
            rustix::net::sockopt::set_socket_send_buffer_size(&stream, bytes)?;
        }
        Ok(Some((stream, peer, place)))
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: Place,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let connection = Connection {
            peer: Peer::new(
                Arc::clone(&self.shared.services),
                peer.ip(),
                Arc::clone(&self.name),
            ),
            limits: Arc::clone(&self.shared.limits),
            memory: Arc::clone(&self.shared.memory),
        };
        let name = Arc::clone(&self.name);
        let complaints = Arc::clone(&self.shared.complaints);
        async move {
            let ended = connection.run(stream, stop).await;
            drop(place);
            complaints.log_end(&name, peer, &ended);
        }
    }
}

/// Lines about closed connections in one second; what comes on top is only counted.
const LINES_PER_SECOND_MAX: u32 = 10;

/// Keeps a flood of bad connections from becoming a flood of log lines.
#[derive(Debug, Default)]
struct Complaints {
    /// The current second, its lines, and what was left out since the last line.
    state: parking_lot::Mutex<(i64, u32, u64)>,
}

impl Complaints {
    /// One line for a connection that we closed; what peers do by themselves is no news.
    fn log_end(&self, listener: &str, peer: SocketAddr, ended: &Ended) {
        let Ended::Refused(reason) = ended else {
            tracing::debug!(listener, %peer, reason = %ended, "connection ended");
            return;
        };
        if let Some(left_out) = self.admit(clock::wall_ms() / 1000) {
            tracing::info!(listener, %peer, %reason, left_out, "connection closed");
        }
    }

    /// Whether a line may be written in this second, and how many were not before it.
    fn admit(&self, second: i64) -> Option<u64> {
        let mut state = self.state.lock();
        let (current, lines, left_out) = &mut *state;
        if *current != second {
            (*current, *lines) = (second, 0);
        }
        if *lines >= LINES_PER_SECOND_MAX {
            *left_out += 1;
            return None;
        }
        *lines += 1;
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_complaints_becomes_a_few_lines_and_a_count() {
        let complaints = Complaints::default();
        let written = (0..100).filter(|_| complaints.admit(1).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(complaints.admit(2), Some(90));
        assert_eq!(complaints.admit(2), Some(0));
    }
}
