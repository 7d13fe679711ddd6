//! The settings of clients: Kafka's names, units and defaults where Kafka has them.
//!
//! Plain data with checks; the builders in `producer` and `consumer` fill them in.

use std::time::Duration;

use crate::error::ConfigError;

/// Where a client enters the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `bootstrap.servers`: brokers as `host:port`; the rest is learned from Metadata.
    Bootstrap(Vec<String>),
    /// `zookeeper.connect`: `host:port[,host:port...][/chroot]`; brokers and partitions are
    /// learned from ZooKeeper and kept current by watches.
    ZooKeeper(String),
}

impl Entry {
    /// Brokers: `host:port[,host:port...]`.
    #[must_use]
    pub fn brokers(servers: &str) -> Self {
        let servers = servers.split(',').map(|s| s.trim().to_owned());
        Self::Bootstrap(servers.collect())
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self::ZooKeeper("127.0.0.1:2181".to_owned())
    }
}

/// What every connection of a client goes by.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// `client.id`: how the client names itself to brokers.
    pub client_id: String,
    /// `socket.connection.setup.timeout.ms`.
    pub connect_timeout: Duration,
    /// `request.timeout.ms`: deadline of a request, from when it is handed to the connection.
    pub request_timeout: Duration,
    /// Largest frame that is taken from a broker.
    pub frame_bytes_max: usize,
    /// Most requests that wait for an answer on one connection.
    pub in_flight_max: usize,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            client_id: "nyala".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            frame_bytes_max: 100 << 20,
            in_flight_max: 64,
        }
    }
}

/// What a client knows about the cluster, and how it learns it.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Connections.
    pub connection: ConnectionConfig,
    /// `metadata.max.age.ms`: longest time without asking a broker again.
    pub metadata_age_max: Duration,
    /// `retry.backoff.ms`: least time between two questions.
    pub retry_backoff: Duration,
    /// `reconnect.backoff.max.ms`: longest pause before a broker is tried again.
    pub reconnect_backoff_max: Duration,
    /// `allow.auto.create.topics`: brokers may create a topic that the client asks for.
    pub auto_create_topics: bool,
    /// `zookeeper.session.timeout.ms`.
    pub session_timeout: Duration,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            connection: ConnectionConfig::default(),
            metadata_age_max: Duration::from_secs(300),
            retry_backoff: Duration::from_millis(100),
            reconnect_backoff_max: Duration::from_secs(1),
            auto_create_topics: false,
            session_timeout: Duration::from_secs(18),
        }
    }
}

/// `acks`: who must have a record before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// Nobody: the broker does not answer at all.
    None,
    /// The leader of the partition.
    Leader,
    /// All replicas in sync.
    #[default]
    All,
}

impl Acks {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// Where to begin without a committed offset: `auto.offset.reset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the oldest record that is still there.
    Earliest,
    /// At the end: only what comes from now on.
    #[default]
    Latest,
    /// Nowhere: it is an error.
    None,
}

/// What the builders of producer and consumer have in common: the way into the cluster, any other
/// setting, and the end.
macro_rules! builder_methods {
    ($config:ty => $client:ty, $error:ty) => {
        /// Enters through brokers: `host:port[,host:port...]`.
        #[must_use]
        pub fn bootstrap(mut self, servers: &str) -> Self {
            self.config.entry = crate::config::Entry::brokers(servers);
            self
        }

        /// Enters through ZooKeeper: `host:port[,host:port...][/chroot]`.
        #[must_use]
        pub fn zookeeper(mut self, connect: &str) -> Self {
            self.config.entry = crate::config::Entry::ZooKeeper(connect.to_owned());
            self
        }

        /// Any other setting.
        #[must_use]
        pub fn configure(mut self, set: impl FnOnce(&mut $config)) -> Self {
            set(&mut self.config);
            self
        }

        /// Checks the settings, enters the cluster, and starts.
        pub async fn build(self) -> Result<$client, $error> {
            self.config.check()?;
            let config = self.config.cluster.clone();
            let cluster = crate::Cluster::connect(&self.config.entry, config).await?;
            Ok(<$client>::start(self.config, cluster))
        }

        /// As [`Self::build`], in a cluster that was entered before. Members of a ZooKeeper group
        /// that share a cluster share a session, and with it its end.
        pub fn build_in(self, cluster: crate::Cluster) -> Result<$client, $error> {
            self.config.check()?;
            Ok(<$client>::start(self.config, cluster))
        }
    };
}
pub(crate) use builder_methods;

/// A number or duration that has to lie within bounds.
pub(crate) fn check<T: PartialOrd + std::fmt::Debug>(
    key: &'static str,
    value: &T,
    valid: bool,
    rule: &'static str,
) -> Result<(), ConfigError> {
    if valid {
        return Ok(());
    }
    Err(ConfigError {
        key,
        value: format!("{value:?}"),
        rule,
    })
}
