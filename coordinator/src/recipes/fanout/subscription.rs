//! Reading as one consumer: items in order, acknowledged up to a number.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::cursor::Cursor;
use super::life::{Folder, Life};
use super::{FanoutError, Shared, Subscribe, numbers};
use crate::recipes::error::RecipeError;
use crate::recipes::patience::{Patience, until_connected};
use crate::session::{Watch, ZkError};

/// Items read at a time.
const READ_MAX: usize = 128;
/// Acknowledgements after which the items that all have are deleted, at the latest.
const COLLECT_AFTER: u64 = 64;

/// An item as a consumer gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its number: larger is later.
    pub number: u64,
    /// The item.
    pub data: Vec<u8>,
}

/// Reading as one consumer. Dropping it lets another process read as that name.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    cursor: Cursor,
    /// Numbers that were listed and not handed out.
    listed: VecDeque<u64>,
    /// The first number that was not handed out.
    next: u64,
    /// Of which folder.
    life: Life,
    /// The folder was made anew under this subscription: older deliveries have numbers of before.
    restarted: bool,
    /// Of the items; `None` when the list may have changed.
    changed: Option<Watch>,
    /// Of the consumers: one that goes may free items.
    consumers: Option<Watch>,
    /// The position at which items were last deleted; `None` when there may be some to delete.
    collected: Option<u64>,
}

impl Subscription {
    pub(super) async fn start(
        shared: &Arc<Shared>,
        name: &str,
        how: Subscribe,
    ) -> Result<Self, FanoutError> {
        let cursor = Cursor::take(shared, name, how).await?;
        Ok(Self {
            shared: Arc::clone(shared),
            listed: VecDeque::new(),
            next: cursor.position,
            life: cursor.life,
            restarted: false,
            changed: None,
            consumers: None,
            collected: None,
            cursor,
        })
    }

    /// The first number that is not acknowledged.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.cursor.position
    }

    /// Up to `max` items that were not handed out yet, in order; empty when the time is over. A `timeout`
    /// of `None`: however long it takes.
    ///
    /// Waits on while ZooKeeper is away. Cancel-safe: what was not handed out comes again.
    pub async fn next(
        &mut self,
        max: usize,
        timeout: Option<Duration>,
    ) -> Result<Vec<Delivery>, FanoutError> {
        let patience = Patience::new(timeout);
        loop {
            let read = match self.cursor.keep().await {
                Ok(()) => self.read(max.clamp(1, READ_MAX)).await,
                Err(FanoutError::Recipe(RecipeError::Zk { source, .. })) => Err(source),
                Err(e) => return Err(e),
            };
            let waited = match read {
                Ok(items) if !items.is_empty() => return Ok(items),
                Ok(_) => patience.of(self.wait()).await,
                Err(e) if e.is_transient() => {
                    self.changed = None;
                    patience.of(until_connected(&self.shared.session)).await
                }
                Err(e) => return Err(RecipeError::at(&self.shared.items)(e).into()),
            };
            if waited.is_none() {
                return Ok(Vec::new());
            }
        }
    }

    async fn read(&mut self, max: usize) -> Result<Vec<Delivery>, ZkError> {
        loop {
            if self.listed.is_empty() && !self.list().await? {
                return Ok(Vec::new());
            }
            let some: Vec<u64> = self.listed.iter().take(max).copied().collect();
            let paths: Vec<String> = some.iter().map(|n| self.shared.item(*n)).collect();
            let nodes = self.shared.session.get_many(&paths).await?;
            self.listed.drain(..some.len().min(self.listed.len()));
            self.next = some.last().map_or(self.next, |last| last + 1);
            let delivery = |(number, node): (u64, Option<crate::session::Node>)| {
                let data = node?.data;
                Some(Delivery { number, data })
            };
            // One that all the others had acknowledged before this consumer came may be gone.
            let items: Vec<Delivery> = some.into_iter().zip(nodes).filter_map(delivery).collect();
            if !items.is_empty() {
                return Ok(items);
            }
        }
    }

    /// Lists what there is to hand out; `false` if there is nothing, and a watch says when to look.
    async fn list(&mut self) -> Result<bool, ZkError> {
        if self.changed.is_some() {
            return Ok(false);
        }
        loop {
            let q = &self.shared;
            let (children, watch) = q.session.children_watch(&q.items).await?;
            let (mut all, mut end) = (Vec::new(), u64::MAX);
            if let Some(children) = children {
                let folder = Folder::of(&children.stat);
                self.enter(folder.life);
                (all, end) = (numbers(&children.names), folder.next);
            }
            let strays = all.split_off(all.partition_point(|n| *n < end));
            if self.shared.adopt(&strays).await? {
                continue;
            }
            let next = self.next;
            self.listed = all.into_iter().filter(|n| *n >= next).collect();
            if self.listed.is_empty() {
                self.changed = Some(watch);
            }
            return Ok(!self.listed.is_empty());
        }
    }

    /// The items are of this folder: if it is another one, none of them was handed out.
    fn enter(&mut self, life: Life) {
        if life != self.life {
            self.cursor.restart(life);
            self.life = life;
            self.next = self.cursor.position;
            self.restarted = true;
            self.collected = None;
        }
    }

    /// Resolves when there may be something new.
    async fn wait(&mut self) {
        loop {
            if self.consumers.is_none() {
                let watched = self
                    .shared
                    .session
                    .children_watch(&self.shared.consumers)
                    .await;
                let Ok((_, watch)) = watched else {
                    return until_connected(&self.shared.session).await;
                };
                self.consumers = Some(watch);
                // Whoever went has held items back, perhaps.
                self.collected = None;
            }
            if self.collected != Some(self.cursor.position) && !self.collect().await {
                return until_connected(&self.shared.session).await;
            }
            let (Some(changed), Some(consumers)) = (&mut self.changed, &mut self.consumers) else {
                return;
            };
            let mut states = self.shared.session.states();
            states.mark_unchanged();
            tokio::select! {
                () = changed.wait() => {
                    self.changed = None;
                    return;
                }
                () = consumers.wait() => self.consumers = None,
                // Another session: take the place again at once.
                _ = states.changed() => return,
            }
        }
    }

    /// Everything up to and with `number` is handled.
    ///
    /// Waits while ZooKeeper is away. After an error that is not [`FanoutError::Displaced`] it may be
    /// asked again; what was handed out comes again only to the next who subscribes.
    pub async fn ack(&mut self, number: u64) -> Result<(), FanoutError> {
        let end = match self.restarted {
            true => self.next.min(number.saturating_add(1)),
            false => number.saturating_add(1),
        };
        self.cursor.advance(end).await?;
        let due = self.collected.unwrap_or(0).saturating_add(COLLECT_AFTER);
        if self.listed.is_empty() || self.cursor.position >= due {
            // If it cannot be done now, it is when this consumer waits.
            self.collect().await;
        }
        Ok(())
    }

    /// Deletes the items that all have acknowledged; `false` if ZooKeeper did not let it.
    async fn collect(&mut self) -> bool {
        let collected = self.shared.collect().await.is_ok();
        self.collected = collected.then_some(self.cursor.position);
        collected
    }

    /// Stops reading; a durable consumer stays registered. Waits until another may read as it.
    pub async fn close(self) -> Result<(), FanoutError> {
        self.cursor.release().await
    }
}
