//! Settings of the embedded server: every limit and interval, with its default and the reason.
//!
//! Read by `server` at the start; never changed afterwards.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// When an answer may leave: what "done" promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// After `fdatasync`: what was answered survives a power cut.
    BeforeReply,
    /// After `write`: what was answered survives the death of the process, not a power cut.
    WriteOnly,
}

/// Settings of [`super::Server`]; start from [`ServerConfig::new`].
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Folder of the journal and the snapshots; created when missing, locked while in use.
    pub data_dir: PathBuf,
    /// Loopback address to listen on; port 0 takes any free one.
    pub address: SocketAddr,
    /// ZooKeeper's `tickTime`: session timeouts are clamped to 2 to 20 ticks.
    pub tick_time: Duration,
    /// What an answer promises.
    pub sync: SyncPolicy,
    /// How often empty containers and outlived TTL nodes are removed, while there are any.
    pub reap_interval: Duration,
    /// A snapshot is taken when the journal has grown by this much (or by the last snapshot's
    /// size, if that is more).
    pub snapshot_after_bytes: usize,
    /// Connections at a time (`maxClientCnxns`; all of them come from loopback here).
    pub connections_max: usize,
    /// Largest request frame (`jute.maxbuffer`).
    pub frame_bytes_max: usize,
    /// Largest answer; a request whose answer would be larger closes its connection.
    pub reply_bytes_max: usize,
    /// Bytes that may wait for a slow reader before watch events close its connection.
    pub outbox_bytes_max: usize,
    /// Watches that one connection may hold; one more closes it.
    pub watches_max: usize,
    /// Bytes that the paths of one connection's watches may take.
    pub watch_bytes_max: usize,
    /// Time that a connection has to say who it is (`zookeeper.nio.sessionlessCnxnTimeout`).
    pub connect_timeout: Duration,
}

impl ServerConfig {
    /// ZooKeeper's defaults, on any free port of 127.0.0.1, with the data in `data_dir`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tick_time: Duration::from_secs(2),
            sync: SyncPolicy::BeforeReply,
            reap_interval: Duration::from_secs(60),
            snapshot_after_bytes: 16 << 20,
            connections_max: 1000,
            frame_bytes_max: 0xf_ffff,
            reply_bytes_max: 16 << 20,
            outbox_bytes_max: 8 << 20,
            watches_max: 100_000,
            watch_bytes_max: 16 << 20,
            connect_timeout: Duration::from_secs(10),
        }
    }
}
