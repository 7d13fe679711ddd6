//! What followers go by, taken from the broker's settings, in the units that they work with.

use std::time::Duration;

use super::request::Versions;
use crate::config::{Release, Settings};

/// `replica.fetch.*` and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetcherSettings {
    /// `num.replica.fetchers`: fetch loops for each leader.
    pub fetchers_per_leader: u32,
    /// `replica.fetch.wait.max.ms`.
    pub wait_max: Duration,
    /// `replica.fetch.min.bytes`.
    pub min_bytes: i32,
    /// `replica.fetch.max.bytes`, of one partition.
    pub partition_bytes_max: i32,
    /// `replica.fetch.response.max.bytes`.
    pub response_bytes_max: i32,
    /// `replica.fetch.backoff.ms`.
    pub pause_max: Duration,
    /// `replica.socket.timeout.ms`.
    pub answer_max: Duration,
    /// `replica.socket.receive.buffer.bytes`.
    pub receive_buffer_bytes: Option<u32>,
    /// Versions of requests, from `inter.broker.protocol.version`.
    pub(super) versions: Versions,
}

impl FetcherSettings {
    /// What the broker's settings say.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let ms = |number: i32| Duration::from_millis(u64::try_from(number).unwrap_or(0));
        Self {
            fetchers_per_leader: u32::try_from(settings.num_replica_fetchers)
                .unwrap_or(1)
                .max(1),
            wait_max: ms(settings.replica_fetch_wait_max_ms),
            min_bytes: settings.replica_fetch_min_bytes,
            partition_bytes_max: settings.replica_fetch_max_bytes,
            response_bytes_max: settings.replica_fetch_response_max_bytes,
            pause_max: ms(settings.replica_fetch_backoff_ms),
            answer_max: ms(settings.replica_socket_timeout_ms),
            receive_buffer_bytes: u32::try_from(settings.replica_socket_receive_buffer_bytes).ok(),
            versions: Versions::of(Release::of(&settings.inter_broker_protocol_version)),
        }
    }
}
