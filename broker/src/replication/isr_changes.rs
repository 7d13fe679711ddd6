//! Leaders' wishes for other replicas in sync, brought to the controller (AlterPartition, KIP-497).
//!
//! One task of the broker. It looks at all partitions that are led here often enough to notice
//! laggards in time, and at once at those whose followers could join. All wishes go in one request,
//! one request at a time; a wish whose outcome is unknown is sent again, to the next controller if
//! need be, until it is answered or the partition has newer facts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use nyala_client::wire::messages::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse,
};
use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{BrokerId, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::isr::{IsrAnswer, IsrWish};
use super::{Partition, Peers, Purpose, Table};

mod request;

use request::{Outcome, Sent};

/// Pause after a request that failed as a whole.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Pause of a partition whose wish the controller did not grant: the reason needs time to go.
const REFUSED_FOR: Duration = Duration::from_millis(500);

/// Asks a controller: [`Peers`], or a test.
pub(crate) trait AskController: Send + Sync {
    /// Sends the request, in `version` at most; `None` when no answer came.
    fn ask(
        &self,
        controller: BrokerId,
        request: AlterPartitionRequest,
        version: i16,
    ) -> BoxFuture<'_, Option<AlterPartitionResponse>>;
}

impl AskController for Arc<Peers> {
    fn ask(
        &self,
        controller: BrokerId,
        request: AlterPartitionRequest,
        version: i16,
    ) -> BoxFuture<'_, Option<AlterPartitionResponse>> {
        Box::pin(async move {
            let connection = self.connection(controller, Purpose::Ask).await;
            let answer = match connection {
                Ok(connection) => connection.call_up_to(&request, version).await,
                Err(error) => {
                    tracing::debug!(%controller, %error, "the controller is out of reach");
                    return None;
                }
            };
            answer
                .inspect_err(|error| tracing::debug!(%controller, %error, "AlterPartition"))
                .ok()
        })
    }
}

/// Where partitions say that a follower could join. Shared by `Arc`.
#[derive(Debug, Default)]
pub struct IsrChanges {
    nudged: Mutex<Vec<Arc<Partition>>>,
    notify: Notify,
}

/// What the task works with.
#[derive(Debug)]
pub struct IsrParts {
    /// This broker.
    pub this: BrokerId,
    /// Its partitions.
    pub table: Arc<Table>,
    /// The way to the controller.
    pub peers: Arc<Peers>,
    /// The cluster: who is the controller, who is alive.
    pub snapshots: watch::Receiver<Arc<ClusterSnapshot>>,
}

impl IsrChanges {
    /// Nobody has said anything.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A follower of `partition` could join the replicas in sync.
    pub fn nudge(&self, partition: &Arc<Partition>) {
        let mut nudged = self.nudged.lock();
        if !nudged.iter().any(|other| Arc::ptr_eq(other, partition)) {
            nudged.push(Arc::clone(partition));
            self.notify.notify_one();
        }
    }

    /// Carries wishes to the controller until stopped.
    pub async fn run(self: Arc<Self>, parts: IsrParts, stop: CancellationToken) {
        let task = Task {
            this: parts.this,
            changes: self,
            table: parts.table,
            controller: parts.peers,
            snapshots: parts.snapshots,
            wishes: BTreeMap::new(),
            refused: BTreeMap::new(),
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = task.run() => {}
        }
    }
}

/// The task's state.
struct Task<A> {
    this: BrokerId,
    changes: Arc<IsrChanges>,
    table: Arc<Table>,
    controller: A,
    snapshots: watch::Receiver<Arc<ClusterSnapshot>>,
    /// Not answered yet.
    wishes: BTreeMap<TopicPartition, Sent>,
    /// Not asked for again until then.
    refused: BTreeMap<TopicPartition, Instant>,
}

impl<A: AskController> Task<A> {
    async fn run(mut self) {
        let period = self.table.settings().lag_max / 2;
        let mut round = Instant::now() + period;
        let mut known = Arc::clone(&self.snapshots.borrow_and_update());
        loop {
            let mut retry = None;
            if !self.wishes.is_empty() && !self.ask(&known).await {
                retry = Some(Instant::now() + RETRY_AFTER);
            }
            let again = self.refused.values().min().copied();
            let wake = [retry, again, Some(round)].into_iter().flatten().min();
            tokio::select! {
                () = tokio::time::sleep_until(wake.unwrap_or(round)) => {}
                () = self.changes.notify.notified() => {}
                changed = self.snapshots.changed() => if changed.is_err() { return },
            }
            known = self.follow(known);
            let now = Instant::now();
            let mut looked_at = std::mem::take(&mut *self.changes.nudged.lock());
            if now >= round {
                round = now + period;
                looked_at = self.table.all().into_values().collect();
            }
            self.collect(&known, looked_at, now);
        }
    }

    /// Takes in the cluster as it is now. Nobody waits for brokers that are gone.
    fn follow(&mut self, before: Arc<ClusterSnapshot>) -> Arc<ClusterSnapshot> {
        let now = Arc::clone(&self.snapshots.borrow_and_update());
        if Arc::ptr_eq(&before, &now) {
            return now;
        }
        let epoch = |id| now.brokers.get(id).map(|broker| broker.epoch);
        let gone = before.brokers.values();
        let gone: Vec<BrokerId> = gone
            .filter(|broker| epoch(&broker.id) != Some(broker.epoch))
            .map(|broker| broker.id)
            .collect();
        if !gone.is_empty() {
            for partition in self.table.all().into_values() {
                gone.iter().for_each(|id| partition.forget_follower(*id));
            }
        }
        now
    }

    /// Notes what the partitions wish for.
    fn collect(
        &mut self,
        snapshot: &ClusterSnapshot,
        mut looked_at: Vec<Arc<Partition>>,
        now: Instant,
    ) {
        let live = |id: BrokerId| snapshot.brokers.get(&id).map(|broker| broker.epoch.0);
        let over = self.refused.extract_if(.., |_, until| *until <= now);
        looked_at.extend(over.filter_map(|(id, _)| self.table.find(&id)));
        for partition in looked_at {
            let id = partition.id();
            if partition.leading().is_none() || self.refused.contains_key(id) {
                continue;
            }
            if let Some(wish) = partition.isr_wish(&live) {
                self.wishes.insert(id.clone(), Sent { partition, wish });
            }
        }
    }

    /// Sends all wishes; whether every one of them has an answer.
    async fn ask(&mut self, snapshot: &ClusterSnapshot) -> bool {
        self.wishes.retain(|_, sent| sent.is_current());
        let this = snapshot.brokers.get(&self.this);
        let (Some(controller), Some(this)) = (snapshot.controller, this) else {
            return self.wishes.is_empty();
        };
        let (request, version) = request::build(this.id, this.epoch, self.wishes.values());
        let asked = self.controller.ask(controller, request, version);
        let mut snapshots = self.snapshots.clone();
        let moved = snapshots.wait_for(|now| now.controller != Some(controller));
        let response = tokio::select! {
            response = asked => response,
            // The old controller may never answer; the same is asked of the new one.
            _ = moved => None,
        };
        let Some(response) = response else {
            return false;
        };
        let now = Instant::now();
        for (id, outcome) in request::outcomes(&response, self.wishes.values()) {
            let answer = match outcome {
                Outcome::Retry => continue,
                Outcome::Answered(answer) => answer,
            };
            if let Some(sent) = self.wishes.remove(&id) {
                tracing::debug!(partition = %id, ?answer, "replicas in sync");
                if answer == IsrAnswer::NotApplied {
                    self.refused.insert(id, now + REFUSED_FOR);
                }
                sent.partition.isr_answered(&sent.wish, &answer);
            }
        }
        self.wishes.is_empty()
    }
}

#[cfg(test)]
mod tests;
