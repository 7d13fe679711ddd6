//! Composition root: opens the logs, joins the cluster, listens; stops in reverse order.
//!
//! The only file that knows every folder; nothing imports it but the command line. Every task that a
//! broker runs is named here or in the folder that owns it, and joined at shutdown.

mod error;
mod listening;
mod logs;
mod ready;
mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::ids::BrokerId;
use nyala_coordinator::registry::Registry;
use nyala_coordinator::session::{Session, SessionConfig};

use crate::api::{FetchSessions, Services, WorkMemory};
use crate::cluster::{self, Cluster, ClusterParts, Configs};
use crate::config::{Live, Settings};
use crate::groups::Groups;
use crate::net::Shared;
use crate::replication::{IsrChanges, IsrParts, Lease, Side, Table, Throttle};
use crate::storage::LogDirs;
use crate::told::Told;
pub use error::StartError;
use listening::Bound;
use tasks::Tasks;

/// One running broker. Owner: the command line or a test, which must call [`Broker::shutdown`].
#[derive(Debug)]
pub struct Broker {
    id: BrokerId,
    addresses: Vec<SocketAddr>,
    session: Session,
    cluster: Arc<Cluster>,
    logs: Arc<LogDirs>,
    groups: Arc<Groups>,
    listening: Tasks,
    rounds: Tasks,
}

impl Broker {
    /// Starts; returns when connections are served.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let session = connect(&settings).await?;
        match Self::start_in(settings, &session).await {
            Ok(broker) => Ok(broker),
            Err(error) => {
                session.close().await;
                Err(error)
            }
        }
    }

    async fn start_in(settings: Settings, session: &Session) -> Result<Self, StartError> {
        let cluster_id = cluster::found(session).await?;
        let logs = logs::open(&settings).await?;
        let id = cluster::broker_id(session, &settings, &cluster_id, &logs.identity()).await?;
        logs.check_identity(id, &cluster_id)?;
        let live = Arc::new(Live::new(settings));
        let configs = Configs::load(Registry::new(session.clone()), Arc::clone(&live), id).await?;
        logs::configure(&logs, &configs);

        let settings = live.get();
        let lease = Lease::new(session.lease(), session.session_timeout());
        let partitions = Arc::new(Table::with_settings(settings.replication(lease.clone())));
        let bound = Bound::bind(&settings).await?;
        let cluster = Cluster::join(ClusterParts {
            session: session.clone(),
            this_broker: id,
            cluster_id,
            registration: bound.registration(&settings)?,
            configs,
            partitions: Arc::clone(&partitions),
            logs: Arc::clone(&logs),
        })
        .await?;
        let (groups, group_timers) = Groups::open(&settings, Arc::clone(&partitions));
        let isr_changes = IsrChanges::new();
        let isr_parts = IsrParts {
            this: id,
            table: Arc::clone(&partitions),
            peers: Arc::clone(cluster.peers()),
            snapshots: cluster.subscribe(),
        };
        let services = Arc::new(Services {
            partitions,
            cluster: Arc::clone(&cluster),
            log_dirs: Arc::clone(&logs),
            groups: Arc::clone(&groups),
            fetch_sessions: fetch_sessions(&settings),
            no_offsets_topic: Told::default(),
            work_memory: WorkMemory::default(),
            fetch_bytes_max: listening::count(settings.fetch_max_bytes),
            cluster_listeners: listening::of_cluster(&settings),
            isr_changes: Arc::clone(&isr_changes),
            leader_throttle: Throttle::new(Side::Leader, id, Arc::clone(cluster.live())),
            nearest_replica: settings.reads_from_nearest(),
        });
        let mut rounds = Tasks::default();
        logs::spawn_rounds(&mut rounds, &logs, &settings);
        rounds.spawn("lease", lease.run(rounds.stop_token()));
        let changes = isr_changes.run(isr_parts, rounds.stop_token());
        rounds.spawn("replicas in sync", changes);
        rounds.spawn("groups", group_timers.run(rounds.stop_token()));
        let follow =
            Arc::clone(&groups).follow(cluster.leading(), cluster.subscribe(), rounds.stop_token());
        rounds.spawn("groups follow the cluster", follow);
        ready::is_ready(&cluster).await;
        let mut listening = Tasks::default();
        let addresses = bound.addresses();
        let shared = Shared::new(services, listening::limits(&settings));
        bound.serve(&mut listening, &shared);
        Ok(Self {
            id,
            addresses,
            session: session.clone(),
            cluster,
            logs,
            groups,
            listening,
            rounds,
        })
    }

    /// Its number in the cluster.
    #[must_use]
    pub fn id(&self) -> BrokerId {
        self.id
    }

    /// Addresses that it listens on, in the order of `listeners`; port 0 has become a real one.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops: leaders move to other brokers, then no more requests, then away from the cluster, then
    /// the logs are closed.
    pub async fn shutdown(self) {
        self.cluster.hand_over().await;
        self.shutdown_at_once().await;
    }

    /// As [`shutdown`](Self::shutdown), for the end of a whole cluster: nobody is left to move leaders to.
    pub async fn shutdown_at_once(self) {
        // Who waits in a group would hold up the end of its connection.
        self.groups.close();
        self.listening.end().await;
        self.cluster.leave().await;
        self.rounds.end().await;
        logs::close(&self.logs).await;
        self.session.close().await;
        tracing::info!("broker {} has stopped", self.id);
    }
}

fn fetch_sessions(settings: &Settings) -> FetchSessions {
    let slots = settings.max_incremental_fetch_session_cache_slots;
    FetchSessions::new(listening::count(slots))
}

/// The ZooKeeper that the settings name: the one setting that has no default.
pub(crate) fn zookeeper(settings: &Settings) -> Result<&str, StartError> {
    let given = settings.zookeeper_connect.as_deref();
    let named = given.filter(|text| !text.is_empty());
    named.ok_or(StartError::NoZooKeeper)
}

async fn connect(settings: &Settings) -> Result<Session, StartError> {
    let connect = zookeeper(settings)?;
    let ms = |number: i32| Duration::from_millis(u64::try_from(number).unwrap_or(0));
    let asked = ms(settings.zookeeper_session_timeout_ms);
    let session = Session::connect(SessionConfig {
        session_timeout: asked,
        connect_timeout: ms(settings.connection_timeout_ms()),
        secure_acls: settings.zookeeper_set_acl,
        create_chroot: true,
        ..SessionConfig::new(connect)
    })
    .await?;
    let granted = session.session_timeout();
    if granted < asked {
        tracing::warn!(
            "ZooKeeper grants {granted:?}, not a zookeeper.session.timeout.ms of {asked:?} (its maxSessionTimeout)"
        );
    }
    Ok(session)
}
