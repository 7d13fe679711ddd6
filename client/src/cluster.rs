//! The cluster as a client sees it: brokers and partitions in order, as immutable snapshots.
//!
//! Two ways in. Through ZooKeeper, watches keep the snapshot current; through a broker, Metadata
//! is asked again when something fails, when a topic is new, and every `metadata.max.age.ms`.
//! Producer, consumer and the command line stand on this and do not know which way was taken.

mod bootstrap;
mod group_coordinator;
mod merge;
mod pool;
mod topology;
mod zookeeper;

pub use topology::{BrokerAddress, PartitionTopology, TopicTopology, Topology};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nyala_coordinator::ids::{BrokerId, TopicName};
use nyala_coordinator::session::{Session, SessionConfig};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::config::{ClusterConfig, Entry};
use crate::connection::Connection;
use crate::error::ClusterError;
use crate::wire::Request;
use pool::Pool;
pub(crate) use pool::Purpose;

/// How long one broker may think about a question that any other could answer as well.
const ANY_BROKER_WAIT: Duration = Duration::from_secs(5);
/// A topic that is not there after this long is worth a warning to whoever waits for it.
const ALARM: Duration = Duration::from_secs(5);

/// A handle; clones share the snapshot and the connections, which end with the last of them.
#[derive(Clone, Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: ClusterConfig,
    topology: watch::Receiver<Arc<Topology>>,
    pool: Arc<Pool>,
    interest: Arc<Interest>,
    /// The task that keeps the snapshot current.
    keeper: AbortHandle,
    /// The task that ends connections to brokers that are gone.
    sweeper: AbortHandle,
    /// Broker that goes first when any will do: not the same one every time.
    turn: AtomicUsize,
    session: Option<Session>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.keeper.abort();
        self.sweeper.abort();
    }
}

/// What the users of a snapshot want to know more about.
#[derive(Debug, Default)]
struct Interest {
    topics: Mutex<BTreeSet<TopicName>>,
    /// Somebody has reason to think that the snapshot is stale.
    stale: Notify,
}

impl Cluster {
    /// Enters the cluster the way that `entry` says.
    pub async fn connect(entry: &Entry, config: ClusterConfig) -> Result<Self, ClusterError> {
        match entry {
            Entry::Bootstrap(addresses) => Self::bootstrap(addresses, config).await,
            Entry::ZooKeeper(connect) => {
                let mut session = SessionConfig::new(connect.as_str());
                session.session_timeout = config.session_timeout;
                session.connect_timeout = config.connection.connect_timeout;
                Self::zookeeper(Session::connect(session).await?, config).await
            }
        }
    }

    /// Enters through any of the brokers at `addresses` (`host:port`).
    pub async fn bootstrap(
        addresses: &[String],
        config: ClusterConfig,
    ) -> Result<Self, ClusterError> {
        let interest = Arc::new(Interest::default());
        let (keeper, first) = bootstrap::Keeper::connect(addresses, &config, &interest).await?;
        let (publish, topology) = watch::channel(Arc::new(first));
        let keeper = tokio::spawn(keeper.run(publish)).abort_handle();
        Ok(Self::new(config, topology, interest, keeper, None))
    }

    /// Enters through ZooKeeper, on a session that the caller has.
    pub async fn zookeeper(session: Session, config: ClusterConfig) -> Result<Self, ClusterError> {
        let interest = Arc::new(Interest::default());
        let (publish, topology) = watch::channel(Arc::new(Topology::default()));
        let keeper = zookeeper::Keeper::start(&session, &config, &interest).await?;
        let keeper = tokio::spawn(keeper.run(publish)).abort_handle();
        let cluster = Self::new(config, topology, interest, keeper, Some(session));
        cluster.first_brokers().await?;
        Ok(cluster)
    }

    fn new(
        config: ClusterConfig,
        topology: watch::Receiver<Arc<Topology>>,
        interest: Arc<Interest>,
        keeper: AbortHandle,
        session: Option<Session>,
    ) -> Self {
        let pool = Arc::new(Pool::new(&config));
        let sweeper = tokio::spawn(sweep(Arc::clone(&pool), topology.clone())).abort_handle();
        let shared = Arc::new(Shared {
            config,
            topology,
            pool,
            interest,
            keeper,
            sweeper,
            turn: AtomicUsize::new(usize::try_from(rand::random::<u32>()).unwrap_or(0)),
            session,
        });
        Self { shared }
    }

    async fn first_brokers(&self) -> Result<(), ClusterError> {
        let waited = self.shared.config.connection.connect_timeout;
        let mut topology = self.subscribe();
        let some = topology.wait_for(|t| !t.brokers.is_empty());
        match tokio::time::timeout(waited, some).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ClusterError::NoBrokers),
        }
    }

    /// The ZooKeeper session, if that was the way in.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.shared.session.as_ref()
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &ClusterConfig {
        &self.shared.config
    }

    /// The snapshot as it is now.
    #[must_use]
    pub fn topology(&self) -> Arc<Topology> {
        self.shared.topology.borrow().clone()
    }

    /// All snapshots from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Topology>> {
        self.shared.topology.clone()
    }

    /// Asks for a newer snapshot. Cheap, and bounded in rate by `retry.backoff.ms`.
    pub fn refresh(&self) {
        self.shared.interest.stale.notify_one();
    }

    /// Makes sure that snapshots cover `topic` from now on.
    pub fn want(&self, topic: &TopicName) {
        let mut topics = self.shared.interest.topics.lock();
        // Asked with every record that is sent: the common answer costs no allocation.
        if topics.contains(topic) {
            return;
        }
        topics.insert(topic.clone());
        drop(topics);
        self.refresh();
    }

    /// Waits until `topic` is in the snapshot with all its leaders known, or `waited` is over.
    pub async fn await_topic(
        &self,
        topic: &TopicName,
        waited: Duration,
    ) -> Result<Arc<TopicTopology>, ClusterError> {
        let led = |t: &TopicTopology| t.slots.len() == t.partitions.len();
        self.await_topic_that(topic, waited, led).await
    }

    /// Waits until `topic` is in the snapshot, with leaders or without.
    pub(crate) async fn await_partitions(
        &self,
        topic: &TopicName,
        waited: Duration,
    ) -> Result<Arc<TopicTopology>, ClusterError> {
        let some = |t: &TopicTopology| !t.partitions.is_empty();
        self.await_topic_that(topic, waited, some).await
    }

    async fn await_topic_that(
        &self,
        topic: &TopicName,
        waited: Duration,
        good: impl Fn(&TopicTopology) -> bool,
    ) -> Result<Arc<TopicTopology>, ClusterError> {
        self.want(topic);
        let deadline = Instant::now() + waited;
        let mut alarm = Some(Instant::now() + ALARM);
        let mut snapshots = self.subscribe();
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            let found = snapshot.topics.get(topic);
            let missing = || match found {
                Some(_) => format!("topic {topic} has partitions without a leader"),
                None => format!("the cluster has no topic {topic}"),
            };
            if let Some(found) = found.filter(|t| !t.partitions.is_empty() && good(t)) {
                return Ok(Arc::clone(found));
            }
            let refusal = snapshot.refusals.get(topic).filter(|c| !c.retriable());
            if let Some(code) = refusal {
                return Err(ClusterError::refused(*code, None));
            }
            if alarm.take_if(|at| Instant::now() >= *at).is_some() {
                tracing::warn!(refused = ?snapshot.refusals.get(topic), "{}, still trying", missing());
            }
            let retry = Instant::now() + self.shared.config.retry_backoff;
            if snapshots_changed(&mut snapshots, retry.min(deadline)).await {
                continue;
            }
            if Instant::now() < deadline {
                self.refresh();
                continue;
            }
            return Err(match snapshot.refusals.get(topic) {
                Some(code) => ClusterError::refused(*code, None),
                None => ClusterError::Timeout {
                    waited,
                    reason: missing(),
                },
            });
        }
    }

    /// A connection to `broker`, made if there is none.
    pub async fn connection(&self, broker: BrokerId) -> Result<Connection, ClusterError> {
        self.connection_for(broker, Purpose::Control).await
    }

    /// As [`Self::connection`], one for each purpose: a long poll holds up all behind it.
    pub(crate) async fn connection_for(
        &self,
        broker: BrokerId,
        purpose: Purpose,
    ) -> Result<Connection, ClusterError> {
        let topology = self.topology();
        let address = topology.brokers.get(&broker);
        let address = address.ok_or(ClusterError::NoBroker(broker))?.to_string();
        Ok(self.shared.pool.get(&address, purpose).await?)
    }

    /// The brokers in order, beginning with another one each time.
    fn in_turn(&self) -> Vec<BrokerId> {
        let mut brokers: Vec<BrokerId> = self.topology().brokers.keys().copied().collect();
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(brokers.len()).unwrap_or(0);
        brokers.rotate_left(first);
        brokers
    }

    /// A connection to some broker; they take turns.
    pub async fn any_connection(&self) -> Result<Connection, ClusterError> {
        let mut failure = ClusterError::NoBrokers;
        for broker in self.in_turn() {
            match self.connection(broker).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Asks any broker.
    pub async fn ask<R: Request>(&self, request: &R) -> Result<R::Response, ClusterError> {
        Ok(self.any_connection().await?.call(request).await?)
    }

    /// Asks one broker after the other, in no version above `cap`, until one answers. For questions
    /// that need no long thought: a broker that hangs must not hold up the others' answer.
    pub(crate) async fn ask_around<R: Request>(
        &self,
        request: &R,
        cap: i16,
    ) -> Result<R::Response, ClusterError> {
        let mut failure = ClusterError::NoBrokers;
        for broker in self.in_turn() {
            let asked = async {
                let connection = self.connection(broker).await?;
                let version = connection.version::<R>(cap)?;
                let waited = ANY_BROKER_WAIT.min(self.shared.config.connection.request_timeout);
                let reply = connection.send_within(request, version, waited)?;
                Ok(reply.wait().await?)
            };
            match asked.await {
                Ok(answer) => return Ok(answer),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Asks the controller, or any broker while none is known.
    pub async fn ask_controller<R: Request>(
        &self,
        request: &R,
    ) -> Result<R::Response, ClusterError> {
        let topology = self.topology();
        let known = topology
            .controller
            .filter(|id| topology.brokers.contains_key(id));
        match known {
            Some(id) => Ok(self.connection(id).await?.call(request).await?),
            None => self.ask(request).await,
        }
    }
}

/// Ends connections to brokers that are not in the snapshot any more, or not at their old address.
async fn sweep(pool: Arc<Pool>, mut topology: watch::Receiver<Arc<Topology>>) {
    loop {
        let addresses: BTreeSet<String> = {
            let now = topology.borrow_and_update();
            now.brokers.values().map(ToString::to_string).collect()
        };
        // No broker at all is not a cluster but a view of none: it says nothing.
        if !addresses.is_empty() {
            pool.keep(&addresses);
        }
        if topology.changed().await.is_err() {
            return;
        }
    }
}

/// Waits for a new snapshot, up to `deadline`.
async fn snapshots_changed(
    snapshots: &mut watch::Receiver<Arc<Topology>>,
    deadline: Instant,
) -> bool {
    match tokio::time::timeout_at(deadline, snapshots.changed()).await {
        Ok(Ok(())) => true,
        Ok(Err(_)) => {
            // The keeper is gone, with the runtime: nothing will change any more.
            tokio::time::sleep_until(deadline).await;
            false
        }
        Err(_) => false,
    }
}
