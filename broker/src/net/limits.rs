//! Every bound of the network side, each under its Kafka key where Kafka has one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Bounds for one broker's listeners, all of them on by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `max.connections`: open connections over all listeners; more wait to be accepted.
    pub connections_max: usize,
    /// `max.connections.per.ip`: open connections of one address; more are closed at once.
    pub connections_per_ip_max: usize,
    /// `max.connections.per.ip.overrides`: another number for some addresses.
    pub connections_per_ip_overrides: HashMap<IpAddr, usize>,
    /// `max.connection.creation.rate`: new connections a second; more wait to be accepted.
    pub connections_per_second_max: u32,
    /// `socket.request.max.bytes`: largest frame.
    pub request_bytes_max: usize,
    /// `queued.max.request.bytes`: bytes of large frames in flight over all connections.
    pub queued_bytes_max: usize,
    /// `connections.max.idle.ms`: a connection without progress is closed after this time.
    pub idle: Duration,
    /// A frame whose first byte came must be whole within this time and a second more for every
    /// [`RECEIVE_BYTES_PER_SECOND`] of it. Kafka has no such bound.
    pub receive: Duration,
    /// Answers get this long to leave once the broker stops.
    pub drain: Duration,
    /// `socket.send.buffer.bytes`: `None` leaves the size to the kernel.
    pub send_buffer_bytes: Option<usize>,
}

/// Slowest peer that may send a large request.
pub(crate) const RECEIVE_BYTES_PER_SECOND: u64 = 64 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            connections_per_ip_max: 1024,
            connections_per_ip_overrides: HashMap::new(),
            connections_per_second_max: 200,
            request_bytes_max: 100 * 1024 * 1024,
            queued_bytes_max: 256 * 1024 * 1024,
            idle: Duration::from_secs(600),
            receive: Duration::from_secs(60),
            drain: Duration::from_secs(5),
            send_buffer_bytes: None,
        }
    }
}
