//! Telling the brokers: one task for each live incarnation of a broker.
//!
//! A task knows what its broker has confirmed. When the orders change it works out the difference and
//! sends it, one request after the other, each again and again until it is answered or the incarnation
//! is gone: nothing is skipped because something took long. This broker is told over the network like
//! all others.

mod orders;
mod outage;
mod requests;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nyala_client::wire::messages::leader_and_isr::LeaderAndIsrResponse;
use nyala_client::wire::{ErrorCode, Request};
use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{
    BrokerEpoch, BrokerId, LeaderEpoch, PartitionIndex, TopicId, TopicName, TopicPartition,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

pub(super) use orders::Orders;
use orders::{Lead, Stop, Told, brokers_first, plan_leads, plan_shows, plan_stops};
use outage::Outage;
use requests::Head;
use versions::Versions;

use super::names::Names;
use crate::config::Release;
use crate::replication::{PeerError, Peers, Purpose};

/// Pause after a request that was not answered.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// Pause before a broker is told again what it could not do.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Partitions in one LeaderAndIsr: opening their logs must not take longer than a request may.
const LEADS_MAX: usize = 2_000;

/// What a broker answered that concerns the controller.
#[derive(Debug)]
pub(super) enum Report {
    /// Replicas whose data is gone.
    Deleted {
        broker: BrokerId,
        replicas: Vec<(TopicPartition, Option<TopicId>)>,
    },
    /// Partitions that the broker has taken the lead of, in which epochs.
    Led(Vec<(TopicPartition, LeaderEpoch)>),
    /// Partitions that the broker does not lead in these epochs, having records of later ones.
    SetBack(Vec<(TopicPartition, LeaderEpoch)>),
    /// Replicas whose log folder has failed, and those whose works.
    LogDirs {
        broker: BrokerId,
        epoch: BrokerEpoch,
        failed: Vec<TopicPartition>,
        fine: Vec<TopicPartition>,
    },
}

/// All tasks of one term.
pub(super) struct Tells {
    peers: Arc<Peers>,
    versions: Versions,
    orders: watch::Sender<Arc<Orders>>,
    reports: mpsc::UnboundedSender<Report>,
    running: BTreeMap<BrokerId, (BrokerEpoch, AbortOnDropHandle<()>)>,
}

impl Tells {
    /// Nobody is told anything yet. Reports come through the receiver.
    pub(super) fn new(
        peers: Arc<Peers>,
        release: Release,
        first: Orders,
    ) -> (Self, mpsc::UnboundedReceiver<Report>) {
        let (reports, received) = mpsc::unbounded_channel();
        let tells = Self {
            peers,
            versions: Versions::of(release),
            orders: watch::channel(Arc::new(first)).0,
            reports,
            running: BTreeMap::new(),
        };
        (tells, received)
    }

    /// New orders, to all brokers that live by them.
    pub(super) fn publish(&mut self, orders: Orders) {
        self.running.retain(|id, (epoch, _)| {
            let now = orders.snapshot.brokers.get(id);
            now.is_some_and(|now| now.epoch == *epoch)
        });
        let orders = Arc::new(orders);
        self.orders.send_replace(Arc::clone(&orders));
        for (id, broker) in &orders.snapshot.brokers {
            let fresh = !self.running.contains_key(id);
            if fresh {
                let task = self.task(*id, broker.epoch);
                let running = AbortOnDropHandle::new(tokio::spawn(task));
                self.running.insert(*id, (broker.epoch, running));
            }
        }
    }

    fn task(&self, broker: BrokerId, epoch: BrokerEpoch) -> impl Future<Output = ()> + use<> {
        let config = self.peers.config();
        let tell = Tell {
            broker,
            head: Head {
                controller: config.this,
                broker_epoch: epoch,
                listener: config.listener.clone(),
            },
            peers: Arc::clone(&self.peers),
            versions: self.versions,
            reports: self.reports.clone(),
            told: Told::default(),
        };
        tell.run(self.orders.subscribe())
    }
}

/// The task of one incarnation.
struct Tell {
    broker: BrokerId,
    head: Head,
    peers: Arc<Peers>,
    versions: Versions,
    reports: mpsc::UnboundedSender<Report>,
    told: Told,
}

/// Why telling stopped half-way.
enum Halt {
    /// Nothing more can be told to this incarnation, or by this controller.
    Over,
    /// The broker could not do it now.
    Later,
}

impl Tell {
    async fn run(mut self, mut orders: watch::Receiver<Arc<Orders>>) {
        loop {
            let now = Arc::clone(&orders.borrow_and_update());
            let done = match self.tell(&now).await {
                Ok(done) => done,
                Err(Halt::Later) => false,
                Err(Halt::Over) => return,
            };
            tokio::select! {
                changed = orders.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN_AFTER), if !done => {}
            }
        }
    }

    /// Tells all of the difference; whether all of it was done.
    async fn tell(&mut self, orders: &Arc<Orders>) -> Result<bool, Halt> {
        if brokers_first(&self.told, orders) {
            self.show(orders, &[]).await?;
        }
        let leads = plan_leads(&self.told, orders, self.broker);
        let mut done = true;
        for piece in leads.chunks(LEADS_MAX) {
            match self.lead(orders, piece).await {
                // What it cannot do is no reason to leave its clients with what they knew before.
                Err(Halt::Later) => done = false,
                outcome => outcome?,
            }
        }
        if done {
            self.told.led = Some(Arc::clone(orders));
        }
        let shows = plan_shows(&self.told, orders);
        if !shows.is_empty() {
            self.show(orders, &shows).await?;
        }
        self.told.shown = Some(Arc::clone(orders));
        let running: BTreeSet<_> = leads.iter().map(|lead| &lead.partition).collect();
        let there = |tp: &TopicPartition| orders.snapshot.partition(tp).is_some();
        let stopped = &mut self.told.stopped;
        stopped.retain(|tp, _| !running.contains(tp) && there(tp));
        let (deleted, kept): (Vec<Stop>, Vec<Stop>) = plan_stops(&self.told, orders, self.broker)
            .into_iter()
            .partition(|stop| stop.delete);
        for stops in [kept, deleted].iter().filter(|stops| !stops.is_empty()) {
            done &= self.stop(orders, stops).await?;
        }
        Ok(done)
    }

    async fn show(&self, orders: &Orders, shows: &[orders::Show]) -> Result<(), Halt> {
        let request = requests::update_metadata(&self.head, orders, shows);
        let answer = self.deliver(&request, self.versions.update_metadata).await;
        self.check(answer.error_code, "UpdateMetadata")
    }

    async fn lead(&self, orders: &Orders, leads: &[Lead]) -> Result<(), Halt> {
        let request = requests::leader_and_isr(&self.head, orders, leads);
        let answer = self.deliver(&request, self.versions.leader_and_isr).await;
        self.check(answer.error_code, "LeaderAndIsr")?;
        let (mut failed, mut passed) = (Vec::new(), BTreeSet::new());
        let (mut refused, mut declined) = (Names::default(), BTreeSet::new());
        for (tp, error) in refusals(&answer, &orders.snapshot) {
            match error {
                ErrorCode::KafkaStorageError => failed.push(tp),
                ErrorCode::FencedLeaderEpoch => drop(passed.insert(tp)),
                _ => {
                    refused.push(format_args!("{tp}: {error}"));
                    // So Kafka's broker answers when it leads in that epoch already.
                    if error != ErrorCode::StaleControllerEpoch {
                        declined.insert(tp);
                    }
                }
            }
        }
        if !refused.is_empty() {
            info!("broker {} did not take over {refused}", self.broker);
        }
        if !passed.is_empty() {
            let of = |lead: &Lead| (lead.partition.clone(), lead.state.leader_epoch);
            let not_led = leads.iter().filter(|l| passed.contains(&l.partition));
            self.report(Report::SetBack(not_led.map(of).collect()));
        }
        let mut led = Vec::new();
        for lead in leads.iter().filter(|l| l.state.leader == Some(self.broker)) {
            let tp = &lead.partition;
            let led_now = !failed.contains(tp) && !passed.contains(tp) && !declined.contains(tp);
            if orders.unproven.contains(tp) && led_now {
                led.push((tp.clone(), lead.state.leader_epoch));
            }
        }
        if !led.is_empty() {
            self.report(Report::Led(led));
        }
        let was_offline = |tp: &TopicPartition| {
            let offline = &orders.offline;
            !offline.is_empty() && offline.contains(&(self.broker, tp.clone()))
        };
        // Without a leader there is nothing that could fail.
        let led = leads.iter().filter(|lead| lead.state.leader.is_some());
        let led = led.map(|lead| &lead.partition);
        let fine: Vec<TopicPartition> = led
            .filter(|tp| was_offline(tp) && !failed.contains(tp))
            .cloned()
            .collect();
        if !failed.is_empty() || !fine.is_empty() {
            self.report(Report::LogDirs {
                broker: self.broker,
                epoch: self.head.broker_epoch,
                failed,
                fine,
            });
        }
        Ok(())
    }

    /// Stops replicas; whether all were.
    async fn stop(&mut self, orders: &Orders, stops: &[Stop]) -> Result<bool, Halt> {
        let version = self.versions.stop_replica;
        let request = requests::stop_replica(&self.head, orders, stops, version);
        let answer = self.deliver(&request, version).await;
        self.check(answer.error_code, "StopReplica")?;
        let errors: BTreeMap<(&str, i32), ErrorCode> = answer
            .partition_errors
            .iter()
            .map(|p| {
                (
                    (p.topic_name.as_str(), p.partition_index),
                    p.error_code.into(),
                )
            })
            .filter(|(_, error): &(_, ErrorCode)| error.is_error())
            .collect();
        let (mut deleted, mut refused) = (Vec::new(), Names::default());
        for stop in stops {
            let tp = &stop.partition;
            match errors.get(&(tp.topic.as_str(), tp.partition.0)) {
                Some(error) => refused.push(format_args!("{tp}: {error}")),
                None => {
                    let done = (stop.topic_id, stop.delete);
                    self.told.stopped.insert(tp.clone(), done);
                    deleted.extend(stop.delete.then(|| (tp.clone(), stop.topic_id)));
                }
            }
        }
        if !refused.is_empty() {
            info!("broker {} did not stop {refused}", self.broker);
        }
        if !deleted.is_empty() {
            self.report(Report::Deleted {
                broker: self.broker,
                replicas: deleted,
            });
        }
        Ok(errors.is_empty())
    }

    fn report(&self, report: Report) {
        // Nobody to report to: the term is over, and so is this task.
        let _ = self.reports.send(report);
    }

    fn check(&self, code: i16, request: &str) -> Result<(), Halt> {
        let broker = self.broker;
        match ErrorCode::from(code) {
            ErrorCode::None => Ok(()),
            // Where this term goes on, somebody has set /controller_epoch back.
            ErrorCode::StaleControllerEpoch => {
                warn!(
                    "broker {broker} has heard of a later controller and is told nothing more by this one: if this one stays, \
                     /controller_epoch went back in ZooKeeper; set it above the epoch that broker {broker} names and delete /controller"
                );
                Err(Halt::Over)
            }
            error @ ErrorCode::StaleBrokerEpoch => {
                info!("broker {broker} is told nothing more by this controller: {error}");
                Err(Halt::Over)
            }
            error => {
                warn!("broker {broker} answered {request} with {error}");
                Err(Halt::Later)
            }
        }
    }

    /// Sends until there is an answer.
    async fn deliver<R: Request>(&self, request: &R, version: i16) -> R::Response {
        let mut outage = Outage::default();
        loop {
            match self.send(request, version).await {
                Ok(answer) => {
                    if let Some(lasted) = outage.over(Instant::now()) {
                        let seconds = lasted.as_secs();
                        info!("broker {} is reached again after {seconds} s", self.broker);
                    }
                    return answer;
                }
                Err(error) if outage.failed(Instant::now()) => self.warn_of(&error),
                Err(_) => {}
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    fn warn_of(&self, error: &PeerError) {
        let (broker, listener) = (self.broker, &self.peers.config().control_listener);
        let address = self.peers.address_for(broker, Purpose::Tell);
        let address = address.unwrap_or_else(|_| "no address".to_owned());
        warn!(
            "the controller does not reach broker {broker} at {address}, listener {listener}, and tries again: {error}"
        );
    }

    async fn send<R: Request>(&self, request: &R, version: i16) -> Result<R::Response, PeerError> {
        let connection = self.peers.connection(self.broker, Purpose::Tell).await?;
        Ok(connection.send(request, version)?.wait().await?)
    }
}

/// What a broker did not take over: by topic id from version 5 on.
fn refusals(
    answer: &LeaderAndIsrResponse,
    snapshot: &ClusterSnapshot,
) -> Vec<(TopicPartition, ErrorCode)> {
    let named = answer.partition_errors.iter().filter_map(|p| {
        let topic = TopicName::new(&p.topic_name).ok()?;
        Some((topic, p))
    });
    let by_id: BTreeMap<TopicId, &TopicName> = snapshot
        .topics
        .iter()
        .filter_map(|(name, info)| Some((info.id?, name)))
        .collect();
    let identified = answer.topics.iter().flat_map(|topic| {
        let name = by_id.get(&topic.topic_id);
        let errors = topic.partition_errors.iter();
        errors.filter_map(move |p| Some(((*name?).clone(), p)))
    });
    let refused = named.chain(identified).filter(|(_, p)| p.error_code != 0);
    refused
        .map(|(topic, p)| {
            let partition = PartitionIndex(p.partition_index);
            let tp = TopicPartition { topic, partition };
            (tp, p.error_code.into())
        })
        .collect()
}
