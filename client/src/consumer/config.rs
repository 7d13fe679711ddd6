//! The consumer's settings, under Kafka's names and with Kafka's defaults.

use std::collections::BTreeSet;
use std::time::Duration;

use nyala_coordinator::ids::TopicName;

use super::Consumer;
use crate::config::{ClusterConfig, Entry, OffsetReset, builder_methods, check};
use crate::error::{ConfigError, ConsumerError};

/// Everything that can be set. [`Default`] gives Kafka's defaults.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// Where the cluster is entered: through ZooKeeper the group meets there, through brokers it
    /// is Kafka's own group protocol.
    pub entry: Entry,
    /// Connections, metadata, client id.
    pub cluster: ClusterConfig,
    /// `group.id`; `None`: this consumer reads all partitions by itself and commits nothing.
    pub group: Option<String>,
    /// Topics to read.
    pub topics: BTreeSet<TopicName>,
    /// `auto.offset.reset`.
    pub offset_reset: OffsetReset,
    /// `enable.auto.commit`.
    pub auto_commit: bool,
    /// `auto.commit.interval.ms`.
    pub auto_commit_interval: Duration,
    /// `max.poll.records`.
    pub poll_records_max: usize,
    /// `max.poll.interval.ms`: an application that asks for nothing for so long loses its
    /// partitions to a rebalance, whether it has handled their records or not.
    pub poll_interval_max: Duration,
    /// `session.timeout.ms` of Kafka's group protocol (ZooKeeper groups: `cluster.session_timeout`).
    pub group_session_timeout: Duration,
    /// `heartbeat.interval.ms` of Kafka's group protocol.
    pub heartbeat_interval: Duration,
    /// `fetch.max.wait.ms`.
    pub fetch_wait: Duration,
    /// `fetch.min.bytes`.
    pub fetch_bytes_min: usize,
    /// `fetch.max.bytes`.
    pub fetch_bytes_max: usize,
    /// `max.partition.fetch.bytes`.
    pub partition_fetch_bytes: usize,
    /// Most fetched bytes that wait for the application, before decompression; a fetch that is on
    /// its way may go beyond by its own size.
    pub waiting_bytes_max: usize,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            entry: Entry::default(),
            cluster: ClusterConfig::default(),
            group: None,
            topics: BTreeSet::new(),
            offset_reset: OffsetReset::Latest,
            auto_commit: true,
            auto_commit_interval: Duration::from_secs(5),
            poll_records_max: 500,
            poll_interval_max: Duration::from_secs(300),
            group_session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            fetch_wait: Duration::from_millis(500),
            fetch_bytes_min: 1,
            fetch_bytes_max: 50 << 20,
            partition_fetch_bytes: 1 << 20,
            waiting_bytes_max: 32 << 20,
        }
    }
}

impl ConsumerConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let group = self.group.as_deref().unwrap_or("-");
        // The name becomes a znode's: it must not be a path.
        let legal = !matches!(group, "" | "." | "..") && !group.contains(['/', '\0']);
        check(
            "group.id",
            &group,
            legal,
            "it must not be empty, a dot, or hold a slash",
        )?;
        let topics = self.topics.len();
        check("topics", &topics, topics > 0, "there must be one at least")?;
        let records = self.poll_records_max;
        check(
            "max.poll.records",
            &records,
            records > 0,
            "it must be 1 or more",
        )?;
        let wait = self.fetch_wait;
        check(
            "fetch.max.wait.ms",
            &wait,
            wait <= Duration::from_secs(60),
            "it must be a minute at most",
        )?;
        let bytes = self.fetch_bytes_max;
        check(
            "fetch.max.bytes",
            &bytes,
            bytes >= 1 << 10 && bytes <= self.cluster.connection.frame_bytes_max,
            "it must be from 1 KiB to the largest frame",
        )?;
        let waiting = self.waiting_bytes_max;
        check(
            "waiting_bytes_max",
            &waiting,
            waiting >= 1 << 10,
            "it must be 1 KiB or more",
        )
    }
}

/// Settings on their way to a [`Consumer`].
#[derive(Clone, Debug, Default)]
pub struct ConsumerBuilder {
    config: ConsumerConfig,
}

impl ConsumerBuilder {
    builder_methods!(ConsumerConfig => Consumer, ConsumerError);

    /// `group.id`.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.config.group = Some(group.into());
        self
    }

    /// Topics to read.
    #[must_use]
    pub fn topics(mut self, topics: impl IntoIterator<Item = TopicName>) -> Self {
        self.config.topics = topics.into_iter().collect();
        self
    }

    /// `auto.offset.reset`.
    #[must_use]
    pub fn offset_reset(mut self, reset: OffsetReset) -> Self {
        self.config.offset_reset = reset;
        self
    }

    /// `enable.auto.commit`.
    #[must_use]
    pub fn auto_commit(mut self, auto_commit: bool) -> Self {
        self.config.auto_commit = auto_commit;
        self
    }

    /// `zookeeper.session.timeout.ms`, and `session.timeout.ms` of Kafka's group protocol.
    #[must_use]
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.config.cluster.session_timeout = timeout;
        self.config.group_session_timeout = timeout;
        let heartbeat = &mut self.config.heartbeat_interval;
        *heartbeat = (*heartbeat).min(timeout / 3);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_names_are_no_paths() {
        let topic = TopicName::new("t").expect("legal");
        for (group, ok) in [("g", true), ("", false), ("a/b", false), ("..", false)] {
            let builder = Consumer::builder().group(group).topics([topic.clone()]);
            assert_eq!(builder.config.check().is_ok(), ok, "{group:?}");
        }
        let none = Consumer::builder().group("g").config.check();
        assert_eq!(none.expect_err("no topics").key, "topics");
    }
}
