//! What handlers use, without a broker around it: a cluster of one on an embedded ZooKeeper, an
//! empty log folder. For unit tests.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use nyala_client::wire::Message;
use nyala_coordinator::cluster::Endpoint;
use nyala_coordinator::embedded::{Server, ServerConfig, SyncPolicy};
use nyala_coordinator::ids::BrokerId;
use nyala_coordinator::registry::{BrokerRegistration, Registry};
use nyala_coordinator::session::{Session, SessionConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::reply::{Payload, Reply};
use super::{Context, FetchSessions, Frame, Peer, Principal, Services, WorkMemory};
use crate::cluster::{Cluster, ClusterParts, Configs, found};
use crate::config::{Live, Properties, Settings};
use crate::replication::{Side, Table, Throttle};
use crate::storage::{LogConfig, LogDirs, LogDirsConfig};
use crate::told::Told;

/// A cluster of one broker, number 0, that answers at [`Alone::address`] through the listener PLAINTEXT:
/// its own controller speaks to it there.
pub(crate) struct Alone {
    pub(crate) services: Arc<Services>,
    pub(crate) address: std::net::SocketAddr,
    _listening: AbortOnDropHandle<()>,
    pub(crate) session: Session,
    zookeeper: Server,
    _folder: tempfile::TempDir,
}

impl Alone {
    /// Starts with `settings` as a properties file has them.
    pub(crate) async fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let zookeeper = Server::start(ServerConfig {
            sync: SyncPolicy::WriteOnly,
            ..ServerConfig::new(folder.path().join("zookeeper"))
        });
        let zookeeper = zookeeper.await.expect("ZooKeeper starts");
        let connect = SessionConfig::new(zookeeper.address().to_string());
        let session = Session::connect(connect).await.expect("a session");
        let properties = Properties::parse(settings.as_bytes()).expect("syntax");
        let live = Live::new(Settings::load(&properties).expect("legal settings").0);
        let here = (Ipv4Addr::LOCALHOST, 0);
        let listener = TcpListener::bind(here).await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let logs = folder.path().join("logs");
        let services = services(&session, live, logs, address).await;
        let listening = tokio::spawn(listen(listener, Arc::clone(&services)));
        Self {
            services,
            address,
            _listening: AbortOnDropHandle::new(listening),
            session,
            zookeeper,
            _folder: folder,
        }
    }

    /// The surroundings of a request of this kind.
    pub(crate) fn context<M: Message>(&self, version: i16) -> Context {
        Context {
            services: Arc::clone(&self.services),
            key: M::KEY,
            version,
            principal: Principal::anonymous(),
            client_id: Some("test".to_owned()),
            client_host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            listener_name: "PLAINTEXT".into(),
        }
    }

    /// Stops everything in order.
    pub(crate) async fn stop(self) {
        self.services.cluster.leave().await;
        self.session.close().await;
        self.zookeeper.shutdown().await;
    }
}

/// Answers one request after the other, on any number of connections.
async fn listen(listener: TcpListener, services: Arc<Services>) {
    let mut open = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        open.spawn(converse(stream, Arc::clone(&services)));
    }
}

async fn converse(mut stream: TcpStream, services: Arc<Services>) {
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut peer = Peer::new(services, host, "PLAINTEXT".into());
    while let Ok(length) = stream.read_u32().await {
        let mut frame = vec![0; length as usize];
        if stream.read_exact(&mut frame).await.is_err() {
            return;
        }
        let mut payload = Payload::default();
        match peer.handle(Frame::Lent(&frame), 0, &mut payload) {
            Reply::Now => {}
            Reply::Later(later) => match later.answer.await {
                Ok(answer) => payload = answer,
                Err(_) => return,
            },
            Reply::None => continue,
            Reply::Close(_) => return,
        }
        if stream.write_all(payload.front_bytes().0).await.is_err() {
            return;
        }
    }
}

async fn services(
    session: &Session,
    live: Live,
    logs: std::path::PathBuf,
    address: std::net::SocketAddr,
) -> Arc<Services> {
    let this = BrokerId(0);
    let cluster_id = found(session).await.expect("root nodes");
    let config = LogDirsConfig {
        dirs: vec![logs],
        recovery_threads_per_dir: 1,
        min_free_bytes: 0,
    };
    let opened = LogDirs::open(config, &|_| Arc::new(LogConfig::default()), 0);
    let (log_dirs, _) = opened.expect("an empty folder opens");
    log_dirs
        .set_identity(this, &cluster_id)
        .expect("a fresh folder");
    let registry = Registry::new(session.clone());
    let configs = Configs::load(registry, Arc::new(live), this)
        .await
        .expect("no overrides");
    let partitions = Arc::new(Table::new());
    let endpoint = Endpoint {
        listener_name: "PLAINTEXT".to_owned(),
        security_protocol: "PLAINTEXT".to_owned(),
        host: address.ip().to_string(),
        port: address.port(),
    };
    let cluster = Cluster::join(ClusterParts {
        session: session.clone(),
        this_broker: this,
        cluster_id,
        registration: BrokerRegistration {
            endpoints: vec![endpoint],
            rack: None,
            timestamp_ms: 0,
        },
        configs,
        partitions: Arc::clone(&partitions),
        logs: Arc::clone(&log_dirs),
    });
    let cluster = cluster.await.expect("it joins");
    let mut snapshots = cluster.subscribe();
    let elected = snapshots.wait_for(|seen| seen.controller.is_some());
    drop(elected.await.expect("the cluster is followed"));
    let live = Arc::clone(cluster.live());
    Arc::new(Services {
        leader_throttle: Throttle::new(Side::Leader, this, live),
        partitions,
        cluster,
        log_dirs,
        fetch_sessions: FetchSessions::default(),
        no_offsets_topic: Told::default(),
        fetch_bytes_max: 1 << 20,
        work_memory: WorkMemory::default(),
        cluster_listeners: vec!["PLAINTEXT".to_owned()],
        isr_changes: crate::replication::IsrChanges::new(),
        nearest_replica: false,
        groups: crate::groups::Groups::leading_nothing(),
    })
}
