//! The producer's settings, under Kafka's names and with Kafka's defaults.

use std::time::Duration;

use super::Producer;
use crate::config::{Acks, ClusterConfig, Entry, builder_methods, check};
use crate::error::{ConfigError, ProducerError};
use crate::wire::compression::Codec;

/// Everything that can be set. [`Default`] gives Kafka's defaults.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// Where the cluster is entered.
    pub entry: Entry,
    /// Connections, metadata, client id.
    pub cluster: ClusterConfig,
    /// `acks`.
    pub acks: Acks,
    /// `enable.idempotence`; `None`: on with `acks=all`.
    pub idempotent: Option<bool>,
    /// `linger.ms`: how long a batch waits for more records.
    pub linger: Duration,
    /// `batch.size`: when a batch is full.
    pub batch_bytes: usize,
    /// `compression.type`.
    pub compression: Codec,
    /// Level of gzip or zstd, else the codec's default.
    pub compression_level: Option<i32>,
    /// `buffer.memory`: all that is not acknowledged yet.
    pub buffer_bytes: usize,
    /// `max.request.size`.
    pub request_bytes: usize,
    /// `max.block.ms`: longest wait of `send` for room, or for a topic to appear.
    pub block_max: Duration,
    /// `delivery.timeout.ms`: from `send` to the last retry.
    pub delivery_timeout: Duration,
    /// `retry.backoff.ms`.
    pub retry_backoff: Duration,
    /// `max.in.flight.requests.per.connection`, at most 5 (the broker remembers five batches).
    pub in_flight_max: usize,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            entry: Entry::default(),
            cluster: ClusterConfig {
                auto_create_topics: true,
                ..ClusterConfig::default()
            },
            acks: Acks::All,
            idempotent: None,
            linger: Duration::ZERO,
            batch_bytes: 16 << 10,
            compression: Codec::None,
            compression_level: None,
            buffer_bytes: 32 << 20,
            request_bytes: 1 << 20,
            block_max: Duration::from_secs(60),
            delivery_timeout: Duration::from_secs(120),
            retry_backoff: Duration::from_millis(100),
            in_flight_max: 5,
        }
    }
}

impl ProducerConfig {
    /// Whether batches are numbered.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.idempotent.unwrap_or(self.acks == Acks::All)
    }

    fn check(&self) -> Result<(), ConfigError> {
        check(
            "enable.idempotence",
            &self.is_idempotent(),
            !self.is_idempotent() || self.acks == Acks::All,
            "it needs acks=all",
        )?;
        let in_flight = self.in_flight_max;
        check(
            "max.in.flight.requests.per.connection",
            &in_flight,
            (1..=5).contains(&in_flight),
            "it must be from 1 to 5",
        )?;
        let buffer = self.buffer_bytes;
        check(
            "buffer.memory",
            &buffer,
            buffer >= self.batch_bytes && u32::try_from(buffer).is_ok(),
            "it must be at least batch.size and below 4 GiB",
        )?;
        let request = self.request_bytes;
        check(
            "max.request.size",
            &request,
            (1 << 10..=100 << 20).contains(&request),
            "it must be from 1 KiB to 100 MiB",
        )?;
        let least = self.linger + self.cluster.connection.request_timeout;
        check(
            "delivery.timeout.ms",
            &self.delivery_timeout,
            self.delivery_timeout >= least,
            "it must be at least linger.ms + request.timeout.ms",
        )
    }
}

/// Settings on their way to a [`Producer`].
#[derive(Clone, Debug, Default)]
pub struct ProducerBuilder {
    config: ProducerConfig,
}

impl ProducerBuilder {
    builder_methods!(ProducerConfig => Producer, ProducerError);

    /// `acks`.
    #[must_use]
    pub fn acks(mut self, acks: Acks) -> Self {
        self.config.acks = acks;
        self
    }

    /// `enable.idempotence`.
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.config.idempotent = Some(idempotent);
        self
    }

    /// `linger.ms`.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.config.linger = linger;
        self
    }

    /// `batch.size`.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.config.batch_bytes = bytes;
        self
    }

    /// `compression.type`.
    #[must_use]
    pub fn compression(mut self, codec: Codec) -> Self {
        self.config.compression = codec;
        self
    }

    /// `buffer.memory`.
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.config.buffer_bytes = bytes;
        self
    }

    /// `delivery.timeout.ms`; a request timeout beyond it is shortened with it.
    #[must_use]
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.config.delivery_timeout = timeout;
        let request = &mut self.config.cluster.connection.request_timeout;
        *request = (*request).min(timeout.saturating_sub(self.config.linger));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_kafkas_and_legal() {
        let config = ProducerConfig::default();
        assert!(config.check().is_ok() && config.is_idempotent());
    }

    #[test]
    fn faults_name_key_value_and_rule() {
        let config = ProducerConfig {
            acks: Acks::Leader,
            idempotent: Some(true),
            ..ProducerConfig::default()
        };
        let fault = config.check().expect_err("acks=1 cannot be idempotent");
        assert_eq!(
            fault.to_string(),
            "enable.idempotence is true, but it needs acks=all"
        );
        let config = ProducerConfig {
            in_flight_max: 6,
            ..ProducerConfig::default()
        };
        let fault = config.check().expect_err("six");
        assert_eq!(fault.key, "max.in.flight.requests.per.connection");
    }
}
