//! What this broker is to each of its partitions, by the cluster's word: one task, one thing at a time.
//!
//! The word comes twice: from the snapshot of ZooKeeper, which is the truth, and from the controller's
//! requests, which are sooner and want an answer when all is applied. Both go through the same epochs,
//! so the order in which they come does not matter. What to do about a snapshot is decided in
//! `actions.rs`, done in `roles/replicas.rs`. A replica whose log cannot be opened (a full disk, say) is
//! tried again every ten seconds, one whose facts are refused is left until its epoch changes; the rest
//! goes on.

mod replicas;
mod set_back;
mod task;

use std::collections::BTreeMap;
use std::sync::Arc;

use nyala_coordinator::ids::{BrokerId, TopicPartition};
use tokio::sync::{mpsc, oneshot, watch};

use super::Leading;
use super::epochs::Epochs;
use super::facts::{ControlError, ControlHead, FactError, PartitionFacts, StopError, StopFacts};
use super::marked::Marked;
use super::names::Names;
pub(super) use replicas::Parts;
pub(super) use task::Task;

/// What facts make of this broker, for the log.
fn parts_of(this: BrokerId, facts: &[PartitionFacts]) -> String {
    let (mut leads, mut follows) = (Names::default(), Names::default());
    let mut neither = Names::default();
    for facts in facts {
        match facts.leader {
            Some(leader) if leader == this => leads.push(&facts.partition),
            Some(_) => follows.push(&facts.partition),
            None => neither.push(&facts.partition),
        }
    }
    let parts = [
        ("leads", leads),
        ("follows", follows),
        ("has nobody to follow in", neither),
    ];
    let told = parts.iter().filter(|(_, names)| !names.is_empty());
    let told: Vec<String> = told
        .map(|(what, names)| format!("{what} {names}"))
        .collect();
    told.join(", ")
}

/// What did not work, by partition; all others did.
pub type Failed<E> = BTreeMap<TopicPartition, E>;

/// Orders that wait for the one before. A controller sends one at a time.
const ORDERS_MAX: usize = 16;

/// Hands orders to the task. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Roles {
    epochs: Arc<Epochs>,
    orders: mpsc::Sender<Order>,
    told: Told,
}

/// What the task tells: what is led, and which topics are marked for deletion.
type Told = (watch::Receiver<Arc<Leading>>, watch::Receiver<Arc<Marked>>);

/// Something to do, and where the answer goes.
#[derive(Debug)]
enum Order {
    LeaderAndIsr {
        head: ControlHead,
        facts: Vec<PartitionFacts>,
        answer: oneshot::Sender<Result<Failed<FactError>, ControlError>>,
    },
    Stop {
        head: ControlHead,
        facts: Vec<StopFacts>,
        answer: oneshot::Sender<Result<Failed<StopError>, ControlError>>,
    },
    Leave {
        answer: oneshot::Sender<()>,
    },
}

impl Roles {
    /// The way to a task, and the task's end of it.
    fn new(epochs: Arc<Epochs>, told: Told) -> (Self, mpsc::Receiver<Order>) {
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let roles = Self {
            epochs,
            orders,
            told,
        };
        (roles, inbox)
    }

    /// What is led, now and later.
    pub(super) fn leading(&self) -> watch::Receiver<Arc<Leading>> {
        self.told.0.clone()
    }

    /// What is marked for deletion, now and later.
    pub(super) fn marked(&self) -> watch::Receiver<Arc<Marked>> {
        self.told.1.clone()
    }

    /// Checks an order without carrying anything out.
    pub(super) fn admit(&self, head: &ControlHead) -> Result<(), ControlError> {
        self.epochs.admit(head)
    }

    /// Applies what the controller says about partitions; returns when it is applied.
    pub(super) async fn leader_and_isr(
        &self,
        head: ControlHead,
        facts: Vec<PartitionFacts>,
    ) -> Result<Failed<FactError>, ControlError> {
        self.admit(&head)?;
        self.ask(|answer| Order::LeaderAndIsr {
            head,
            facts,
            answer,
        })
        .await?
    }

    /// Stops replicas, deletes what is to be deleted; returns when it is done.
    pub(super) async fn stop_replicas(
        &self,
        head: ControlHead,
        facts: Vec<StopFacts>,
    ) -> Result<Failed<StopError>, ControlError> {
        self.admit(&head)?;
        self.ask(|answer| Order::Stop {
            head,
            facts,
            answer,
        })
        .await?
    }

    /// From now on no new role is taken because of a snapshot: this broker is on its way out.
    pub(super) async fn prepare_to_leave(&self) {
        // Without a task there are no roles to take either.
        let _ = self.ask(|answer| Order::Leave { answer }).await;
    }

    async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Result<T, ControlError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.orders.send(order(answer)).await;
        sent.map_err(|_| ControlError::Stopping)?;
        answered.await.map_err(|_| ControlError::Stopping)
    }
}

#[cfg(test)]
mod tests {
    use nyala_coordinator::ids::{LeaderEpoch, PartitionIndex, TopicName};

    use super::*;

    #[test]
    fn roles_are_told_by_name() {
        let facts = |index: i32, leader: Option<i32>| PartitionFacts {
            partition: TopicPartition {
                topic: TopicName::new("t").expect("legal"),
                partition: PartitionIndex(index),
            },
            topic_id: None,
            leader: leader.map(BrokerId),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            isr: vec![BrokerId(1)],
            replicas: vec![BrokerId(1), BrokerId(2)],
            adding: Vec::new(),
            removing: Vec::new(),
            is_new: false,
        };
        let all = [
            facts(0, Some(1)),
            facts(1, Some(2)),
            facts(2, None),
            facts(3, Some(1)),
        ];
        let told = parts_of(BrokerId(1), &all);
        assert_eq!(
            told,
            "leads 2 (t-0, t-3), follows 1 (t-1), has nobody to follow in 1 (t-2)"
        );
    }
}
