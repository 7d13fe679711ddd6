//! This broker in its cluster: registration, controller, topics, overrides, producer ids.
//!
//! [`Cluster`] is the one entry. Deciding is pure and apart from doing; all of it is level-triggered from
//! [`ClusterSnapshot`]. Of the wire it knows only what it asks of other brokers itself (`tell`, `departure`).
//!
//! The controller:
//! - `leaders` who leads, and who is no longer in sync; `elections` those that somebody asks for; `reassign`
//!   moves; `isr_request`; `deletion`; all pure
//! - `controller` its seat and term: carries that out by writes that are fenced by the controller epoch
//!   (`controller/`: `term` a term, `answers`, `elect`, `moves` what is asked, `delete`, `news` for the log)
//! - `asks` what waits for it; `tell` orders to every broker
//!
//! This broker:
//! - `found`, `membership` the cluster's id, our registration; `departure` leaving
//! - `epochs` whose orders count; `facts` what a controller tells us
//! - `actions` what to do about a snapshot (pure); `roles` does it: lead, follow, stop, delete
//! - `missing`, `withdraw` a disk or a process that was replaced
//!
//! For clients:
//! - `new_topic`, `checks`, `assign` what is asked of topics, what it must be, where replicas go; `topics`
//!   does it
//! - `alter`, `configs` overrides; `producer_ids` blocks of them
//! - `metadata`, `marked` what clients see
//!
//! For all: `error` why something is refused; `names` many names in a line of the log.

mod actions;
mod alter;
mod asks;
mod assign;
mod checks;
mod configs;
mod controller;
mod deletion;
mod departure;
mod elections;
mod epochs;
mod error;
mod facts;
mod found;
mod isr_request;
mod leaders;
mod marked;
mod membership;
mod metadata;
mod missing;
mod names;
mod new_topic;
mod producer_ids;
mod reassign;
mod roles;
mod tell;
mod topics;
mod withdraw;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::cluster::{ClusterSnapshot, ClusterView, PartitionState};
use nyala_coordinator::ids::{
    BrokerEpoch, BrokerId, LeaderEpoch, TopicId, TopicName, TopicPartition,
};
use nyala_coordinator::registry::{BrokerRegistration, ConfigEntity, Registry, RegistryError};
use nyala_coordinator::session::Session;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::config::{Live, TopicConfig};
use crate::replication::{
    FetcherParts, FetcherSettings, Fetchers, Peers, PeersConfig, Side, Table, Throttle,
};
use crate::storage::LogDirs;

pub use alter::{Alter, AlterConfigs};
pub use asks::{IsrAnswers, Move, Moved};
pub(crate) use checks::invalid_name;
pub use configs::Configs;
pub use elections::ElectionKind;
pub use error::{
    ConfigError, ControllerError, ElectionError, IsrError, JoinError, ProducerIdBlockError,
    ProducerIdError, ReassignError, TopicError,
};
pub use facts::{
    ControlError, ControlHead, FactError, PartitionFacts, StopEpoch, StopError, StopFacts,
};
pub use found::{FoundError, broker_id, found};
pub use isr_request::IsrRequest;
pub use new_topic::{CreatedTopic, NewPartitions, NewTopic, TopicRef};
pub use roles::Failed;

/// What a broker joins with.
#[derive(Debug)]
pub struct ClusterParts {
    /// Connected.
    pub session: Session,
    /// Number of this broker.
    pub this_broker: BrokerId,
    /// `/cluster/id`, from [`found`].
    pub cluster_id: String,
    /// What it says of itself.
    pub registration: BrokerRegistration,
    /// Loaded before the logs were opened; followed from now on.
    pub configs: Arc<Configs>,
    /// Where partitions that it leads are put.
    pub partitions: Arc<Table>,
    /// Where their logs are.
    pub logs: Arc<LogDirs>,
}

/// Longest wait of a broker that starts for its partitions; one whose log cannot be opened must not
/// keep the others waiting for long.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// Longest wait for ZooKeeper when this broker leaves: its logs are closed after that.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// Partitions that this broker leads, and in which epoch.
pub type Leading = BTreeMap<TopicPartition, LeaderEpoch>;

/// The cluster, as the rest of the broker sees and changes it. One per broker, shared by `Arc`.
#[derive(Debug)]
pub struct Cluster {
    this: BrokerId,
    cluster_id: String,
    registry: Registry,
    view: ClusterView,
    configs: Arc<Configs>,
    topic_ids: metadata::TopicIds,
    producer_ids: producer_ids::ProducerIds,
    membership: Arc<membership::Membership>,
    controller: controller::Seat,
    peers: Arc<Peers>,
    fetchers: Arc<Fetchers>,
    roles: roles::Roles,
    visible: marked::Visible,
    tasks: parking_lot::Mutex<Vec<AbortOnDropHandle<()>>>,
}

/// How this broker reaches others, and how it copies what they lead.
fn replication(
    configs: &Configs,
    this: BrokerId,
    view: &ClusterView,
    membership: &membership::Membership,
) -> (Arc<Peers>, Arc<Fetchers>) {
    let settings = configs.live().get();
    let peers = Peers::new(PeersConfig::of(&settings, this), view.subscribe());
    let fetchers = Fetchers::new(FetcherParts {
        peers: Arc::clone(&peers),
        settings: FetcherSettings::of(&settings),
        broker_epoch: membership.epoch(),
        throttle: Throttle::new(Side::Follower, this, Arc::clone(configs.live())),
    });
    (peers, fetchers)
}

impl Cluster {
    /// Reads the cluster, registers, and takes part from now on. To be called when the listeners
    /// are bound: others will connect.
    pub async fn join(parts: ClusterParts) -> Result<Arc<Self>, JoinError> {
        let registry = Registry::new(parts.session.clone());
        let view = ClusterView::start(parts.session).await?;
        let this = parts.this_broker;
        membership::check_endpoints(this, &parts.registration, &view.snapshot())?;
        let session_timeout = registry.session().session_timeout();
        let before = withdraw::Before::look(this, &view, &parts.logs, session_timeout).await?;
        // From here on a folder is not new any more: what was lost with it is noted.
        parts.logs.set_identity(this, &parts.cluster_id)?;
        before.withdraw(this, &registry, &view).await;
        let epochs = Arc::new(epochs::Epochs::default());
        let membership = membership::Membership::join(
            registry.clone(),
            this,
            parts.registration,
            Arc::clone(&epochs),
        );
        let membership = Arc::new(membership.await?);
        let (peers, fetchers) = replication(&parts.configs, this, &view, &membership);
        let about = roles::Parts {
            this,
            registry: registry.clone(),
            configs: Arc::clone(&parts.configs),
            table: parts.partitions,
            logs: parts.logs,
            fetchers: Arc::clone(&fetchers),
            epochs,
        };
        let (task, roles) = roles::Task::new(about, before);
        let seat = controller::Seat::default();
        let controller = controller::Controller {
            this,
            registry: registry.clone(),
            seat: seat.clone(),
            configs: Arc::clone(&parts.configs),
            peers: Arc::clone(&peers),
        };
        let mut tasks = Vec::new();
        let mut run = |task: futures::future::BoxFuture<'static, ()>| {
            tasks.push(AbortOnDropHandle::new(tokio::spawn(task)));
        };
        let snapshots = || view.subscribe();
        let member = Arc::clone(&membership);
        let seen = snapshots();
        run(Box::pin(async move { member.run(seen).await }));
        run(Box::pin(task.run(snapshots())));
        run(Box::pin(controller.run(snapshots())));
        let configs = Arc::clone(&parts.configs);
        run(Box::pin(async move { configs.run().await }));
        // The first client must not see a cluster without its broker.
        membership.await_seen(&mut view.subscribe()).await;
        let cluster = Arc::new(Self {
            this,
            cluster_id: parts.cluster_id,
            topic_ids: metadata::TopicIds::default(),
            producer_ids: producer_ids::ProducerIds::new(registry.clone(), this),
            registry,
            view,
            configs: parts.configs,
            membership,
            controller: seat,
            peers,
            fetchers,
            visible: marked::Visible::new(roles.marked()),
            roles,
            tasks: parking_lot::Mutex::new(tasks),
        });
        cluster.settle().await;
        Ok(cluster)
    }

    /// What this broker led before it leads again when the first client asks. With other replicas
    /// about, it is the controller who says, and nobody waits for that.
    async fn settle(&self) {
        let this = self.this;
        let is_led = |snapshot: &ClusterSnapshot, leading: &Leading| {
            let mine = |state: &PartitionState| state.leader == Some(this);
            snapshot.topics.iter().all(|(topic, info)| {
                info.partitions.iter().all(|(index, p)| {
                    let partition = TopicPartition {
                        topic: topic.clone(),
                        partition: *index,
                    };
                    p.replicas != [this]
                        || self.visible.is_marked(topic, info.id)
                        || !p.state.as_ref().is_some_and(mine)
                        || leading.contains_key(&partition)
                })
            })
        };
        // A log that cannot be opened keeps nobody waiting for longer.
        let _in_time = self.wait_until(SETTLE_MAX, is_led).await;
    }

    /// Number of this broker.
    #[must_use]
    pub fn this_broker(&self) -> BrokerId {
        self.this
    }

    /// `/cluster/id`.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The cluster now, as clients see it: without topics on their way out.
    #[must_use]
    pub fn snapshot(&self) -> Arc<ClusterSnapshot> {
        self.visible.of(self.view.snapshot())
    }

    /// The cluster now and all later ones, with topics on their way out.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<ClusterSnapshot>> {
        self.view.subscribe()
    }

    /// Epoch of this broker's registration; `None` while there is none.
    #[must_use]
    pub fn broker_epoch(&self) -> Option<BrokerEpoch> {
        *self.membership.epoch().borrow()
    }

    /// Whether this broker is the controller.
    #[must_use]
    pub fn is_controller(&self) -> bool {
        self.controller.is_taken()
    }

    /// What this broker leads, now and later: already in the table when it is published.
    #[must_use]
    pub fn leading(&self) -> watch::Receiver<Arc<Leading>> {
        self.roles.leading()
    }

    /// Connections to the other brokers.
    #[must_use]
    pub fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    /// Applies what the controller says about partitions of this broker (LeaderAndIsr); returns when
    /// it is applied, with what could not be.
    pub async fn leader_and_isr(
        &self,
        head: ControlHead,
        facts: Vec<PartitionFacts>,
    ) -> Result<Failed<FactError>, ControlError> {
        self.roles.leader_and_isr(head, facts).await
    }

    /// Stops replicas of this broker (StopReplica), and deletes those that are to be deleted; returns
    /// when it is done, with what could not be.
    pub async fn stop_replicas(
        &self,
        head: ControlHead,
        facts: Vec<StopFacts>,
    ) -> Result<Failed<StopError>, ControlError> {
        self.roles.stop_replicas(head, facts).await
    }

    /// Checks an UpdateMetadata. What it says is read from ZooKeeper.
    pub fn update_metadata(&self, head: &ControlHead) -> Result<(), ControlError> {
        self.roles.admit(head)
    }

    /// The topic with this id.
    #[must_use]
    pub fn topic_name(&self, id: TopicId) -> Option<TopicName> {
        self.topic_ids.name(&self.snapshot(), id)
    }

    /// The broker's settings.
    #[must_use]
    pub fn live(&self) -> &Arc<Live> {
        self.configs.live()
    }

    /// The configuration of a topic, as this broker last read it.
    #[must_use]
    pub fn topic_config(&self, topic: &TopicName) -> Arc<TopicConfig> {
        self.configs.topic(topic)
    }

    /// The configuration of a topic, read now.
    pub async fn read_topic_config(
        &self,
        topic: &TopicName,
    ) -> Result<Arc<TopicConfig>, RegistryError> {
        self.configs.refresh(std::slice::from_ref(topic)).await?;
        Ok(self.configs.topic(topic))
    }

    /// Dynamic overrides of a broker, or of all brokers, read now.
    pub async fn read_overrides(
        &self,
        entity: &ConfigEntity,
    ) -> Result<crate::config::Values, RegistryError> {
        Ok(self.registry.config(entity).await?.0)
    }

    /// The typed znodes, for what has no call here.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Before [`leave`](Self::leave), while requests are still answered: takes no new roles and has the
    /// controller move this broker's leaders to others; stays a moment longer for clients to hear of it.
    pub async fn hand_over(&self) {
        let settings = self.live().get();
        if !settings.controlled_shutdown_enable {
            return;
        }
        self.roles.prepare_to_leave().await;
        let departure = departure::Departure {
            peers: &self.peers,
            epoch: self.membership.epoch(),
            snapshots: self.subscribe(),
            session: self.registry.session().states(),
        };
        departure.take_leave(&settings).await;
    }

    /// Leaves: gives up the controller's seat and the registration. The partitions stay led until
    /// their logs are closed.
    pub async fn leave(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            task.abort();
            // An error is the cancellation that was asked for.
            let _ = task.await;
        }
        self.fetchers.close().await;
        let goodbye = async {
            self.controller.leave(&self.registry).await;
            self.membership.leave().await;
        };
        if tokio::time::timeout(GOODBYE_MAX, goodbye).await.is_err() {
            warn!("ZooKeeper does not answer: this broker stays registered until its session ends");
        }
    }

    /// Waits until `done` holds for the cluster and what is led here; `false` when time is out.
    async fn wait_until(
        &self,
        timeout: Duration,
        done: impl Fn(&ClusterSnapshot, &Leading) -> bool,
    ) -> bool {
        let mut snapshots = self.subscribe();
        let mut leading = self.leading();
        let mut marked = self.visible.marked();
        let wait = async {
            loop {
                marked.mark_unchanged();
                let is_done = done(&snapshots.borrow_and_update(), &leading.borrow_and_update());
                if is_done {
                    return true;
                }
                tokio::select! {
                    changed = snapshots.changed() => if changed.is_err() { return false },
                    changed = leading.changed() => if changed.is_err() { return false },
                    changed = marked.changed() => if changed.is_err() { return false },
                }
            }
        };
        tokio::time::timeout(timeout, wait).await.unwrap_or(false)
    }
}
