//! A queue, fan-out: every registered consumer gets every item, in order.
//!
//! ```text
//!   PATH/items/item-<10 digits>        persistent, an item
//!   PATH/consumers/<name>              the number up to which it has acknowledged, and of which items'
//!                                      folder; persistent if durable, ephemeral for a transient one
//!   PATH/consumers/<name>/attached     ephemeral: the process that reads as this durable consumer
//!   PATH/sessions/<guid>               ephemeral: marks of those who put
//! ```
//!
//! **Guarantee.** A consumer gets each item that is put after it has registered, in order, at least once:
//! again after a crash, from behind what it acknowledged. An item is deleted when all consumers have
//! acknowledged it; without any it is kept until one takes, from [`Start::Oldest`] or not. One process at a
//! time reads as a name; one that lost its place without noticing has its acknowledgements refused. In
//! another items' folder (deleted, or copied to another ZooKeeper) consumers start from the oldest item.
//! **On session loss** a durable consumer goes on where it was, unless another process took its place
//! ([`FanoutError::Displaced`]); a transient one has ended, and holds nobody's items back.
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use nyala_coordinator::recipes::fanout::{Fanout, FanoutOptions, Subscribe};
//!
//! let news = Fanout::open(session, "/news", FanoutOptions::default()).await?;
//! let mut reader = news.subscribe("mailer", Subscribe::default()).await?;
//! news.put(b"hello").await?;
//! for item in reader.next(10, None).await? {
//!     send(&item.data);
//!     reader.ack(item.number).await?;
//! }
//! # Ok(()) }
//! # fn send(_: &[u8]) {}
//! ```

mod cursor;
mod life;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

use super::error::RecipeError;
use super::inlet::{Inlet, PutError};
use super::own::child;
use super::path::{sequence, usable, usable_name};
use crate::session::{Acl, CreateMode, Op, Session, ZkError};
use life::{Claim, Folder};

pub use subscription::{Delivery, Subscription};

const ITEM: &str = "item-";
const ATTACHED: &str = "attached";
/// Items that are deleted in one transaction.
const DELETE_MAX: usize = 128;

/// Settings of a [`Fanout`].
#[derive(Clone, Debug, Default)]
pub struct FanoutOptions {
    /// Most items that wait. Kept by whoever puts with the same limit.
    pub items_max: Option<usize>,
}

/// Where a new consumer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the next item that is put.
    #[default]
    Next,
    /// With the oldest item that is still there.
    Oldest,
}

/// How a consumer registers.
#[derive(Clone, Debug, Default)]
pub struct Subscribe {
    /// Where it begins if it is new.
    pub start: Start,
    /// It lives as long as its session: who comes back begins anew.
    pub transient: bool,
    /// How long to wait while another process reads as this name, as the last one of a process that
    /// was killed still does until its session ends. `None`: not at all.
    pub wait: Option<Duration>,
}

/// A consumer as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// Its name.
    pub name: String,
    /// Items that it has not acknowledged.
    pub waiting: usize,
    /// Whether a process reads as it.
    pub attached: bool,
}

/// Why a fan-out queue did not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FanoutError {
    /// ZooKeeper refused, or the path cannot be used.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Not all items were put.
    #[error(transparent)]
    Put(#[from] PutError),
    /// Another process reads as this consumer.
    #[error("{path}: another process reads as {name}")]
    Attached {
        /// The queue.
        path: String,
        /// The consumer.
        name: String,
    },
    /// The place of this consumer is another process's by now, or it was removed, or its session ended.
    #[error("{path}: this process does not read as {name} any more")]
    Displaced {
        /// The queue.
        path: String,
        /// The consumer.
        name: String,
    },
}

/// A fan-out queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fanout {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    session: Session,
    path: String,
    items: String,
    consumers: String,
    inlet: Inlet,
}

impl Fanout {
    /// Opens the queue at `path`, making it if need be.
    pub async fn open(
        session: Session,
        path: &str,
        options: FanoutOptions,
    ) -> Result<Self, FanoutError> {
        let queue = Self::at(session, path, options)?;
        for node in [&queue.shared.items, &queue.shared.consumers] {
            let made = queue.shared.session.ensure_path(node).await;
            made.map_err(RecipeError::at(node))?;
        }
        Ok(queue)
    }

    /// The queue at `path` if somebody has made it.
    pub async fn open_existing(session: Session, path: &str) -> Result<Option<Self>, FanoutError> {
        let queue = Self::at(session, path, FanoutOptions::default())?;
        // The last that is made.
        let node = &queue.shared.consumers;
        let stat = queue.shared.session.exists(node).await;
        let there = stat.map_err(RecipeError::at(node))?.is_some();
        Ok(there.then_some(queue))
    }

    fn at(session: Session, path: &str, options: FanoutOptions) -> Result<Self, FanoutError> {
        let path = usable(path)?;
        let (items, consumers) = (child(&path, "items"), child(&path, "consumers"));
        let marks = child(&path, "sessions");
        let shared = Shared {
            inlet: Inlet::new(&session, &items, &marks, options.items_max),
            session,
            path,
            items,
            consumers,
        };
        let shared = Arc::new(shared);
        Ok(Self { shared })
    }

    /// Puts one item.
    pub async fn put(&self, item: &[u8]) -> Result<(), FanoutError> {
        self.put_all(&[item]).await
    }

    /// Puts items in their order, as many as fit one transaction at a time.
    pub async fn put_all(&self, items: &[&[u8]]) -> Result<(), FanoutError> {
        Ok(self.shared.inlet.put_all(ITEM, items).await?)
    }

    /// Items that are still there.
    pub async fn len(&self) -> Result<usize, FanoutError> {
        let listed = self.shared.list().await;
        let (_, numbers) = listed.map_err(RecipeError::at(&self.shared.items))?;
        Ok(numbers.len())
    }

    /// Whether every item is acknowledged by all.
    pub async fn is_empty(&self) -> Result<bool, FanoutError> {
        Ok(self.len().await? == 0)
    }

    /// Registers `name` unless it is, and reads as it.
    pub async fn subscribe(&self, name: &str, how: Subscribe) -> Result<Subscription, FanoutError> {
        usable_name(name)?;
        Subscription::start(&self.shared, name, how).await
    }

    /// All consumers, by name.
    pub async fn consumers(&self) -> Result<Vec<ConsumerInfo>, FanoutError> {
        let q = &self.shared;
        let read = async {
            let names = q.names().await?;
            let paths: Vec<String> = names.iter().map(|n| child(&q.consumers, n)).collect();
            let nodes = q.session.get_many(&paths).await?;
            Ok((q.list().await?, names, nodes))
        };
        let ((folder, numbers), names, nodes) = read.await.map_err(RecipeError::at(&q.path))?;
        let info = |(name, node): (String, Option<crate::session::Node>)| {
            let node = node?;
            let position = Claim::read(&node.data).within(&folder).position;
            Some(ConsumerInfo {
                name,
                waiting: numbers.iter().filter(|n| **n >= position).count(),
                attached: node.stat.ephemeral_owner != 0 || node.stat.num_children > 0,
            })
        };
        Ok(names.into_iter().zip(nodes).filter_map(info).collect())
    }

    /// Removes a consumer that will not come back, and the items that only it had not acknowledged.
    /// `false` if there is none of that name.
    pub async fn remove(&self, name: &str) -> Result<bool, FanoutError> {
        usable_name(name)?;
        let q = &self.shared;
        let node = child(&q.consumers, name);
        let there = q.session.exists(&node).await;
        let there = there.map_err(RecipeError::at(&node))?.is_some();
        let gone = q.session.delete_tree(&node).await;
        gone.map_err(RecipeError::at(&node))?;
        q.collect().await.map_err(RecipeError::at(&q.items))?;
        Ok(there)
    }
}

impl Shared {
    /// Numbers of the items, ascending, and their folder at that moment.
    async fn list(&self) -> Result<(Folder, Vec<u64>), ZkError> {
        let children = self.session.list(&self.items).await?;
        Ok((Folder::of(&children.stat), numbers(&children.names)))
    }

    /// The folder of the items, made if need be.
    async fn folder(&self) -> Result<Folder, ZkError> {
        loop {
            if let Some(stat) = self.session.exists(&self.items).await? {
                return Ok(Folder::of(&stat));
            }
            self.session.ensure_path(&self.items).await?;
        }
    }

    async fn names(&self) -> Result<Vec<String>, ZkError> {
        self.session.children(&self.consumers).await
    }

    fn item(&self, number: u64) -> String {
        format!("{}/{ITEM}{number:010}", self.items)
    }

    /// Deletes the items that all consumers have acknowledged.
    async fn collect(&self) -> Result<(), ZkError> {
        let names = self.names().await?;
        let paths: Vec<String> = names.iter().map(|n| child(&self.consumers, n)).collect();
        let nodes = self.session.get_many(&paths).await?;
        let (folder, mut done) = match self.list().await {
            Err(ZkError::NoNode) => return Ok(()),
            listed => listed?,
        };
        // The list is the later read: what a cursor claims of an earlier folder counts for nothing.
        let claims = nodes.iter().flatten().map(|n| Claim::read(&n.data));
        let positions = claims.map(|claim| claim.within(&folder).position);
        // Without a consumer all are kept.
        let Some(end) = positions.min() else {
            return Ok(());
        };
        done.retain(|number| *number < end);
        for some in done.chunks(DELETE_MAX) {
            let delete = |number: &u64| Op::Delete {
                path: self.item(*number),
                version: None,
            };
            match self.session.multi(some.iter().map(delete).collect()).await {
                Ok(_) => {}
                Err(e) if is_of_one(&e.error) => {
                    // Somebody else deletes the same, or one is not ours to delete.
                    for number in some {
                        match self.session.delete(&self.item(*number), None).await {
                            Err(e) if !is_of_one(&e) => return Err(e),
                            _ => {}
                        }
                    }
                }
                Err(e) => return Err(e.error),
            }
        }
        Ok(())
    }

    /// Puts items again whose numbers the folder has not given yet: below a cursor that has passed one of
    /// them there would be room for items that nobody had. `true`: some were, so the list is another.
    async fn adopt(&self, strays: &[u64]) -> Result<bool, ZkError> {
        let mut adopted = false;
        // Ascending: so none of them lies where the next number would put one.
        for number in strays {
            let path = self.item(*number);
            let Some(node) = self.session.get_if_exists(&path).await? else {
                adopted = true;
                continue;
            };
            let gone = Op::Delete {
                path: path.clone(),
                version: Some(node.stat.version),
            };
            let put = Op::Create {
                path: child(&self.items, ITEM),
                data: node.data,
                mode: CreateMode::PersistentSequential,
                acl: Acl::Default,
            };
            match self.session.multi(vec![gone, put]).await {
                Ok(_) => {
                    tracing::warn!(
                        item = path,
                        "an item that was not put here gets a number of its own"
                    );
                    adopted = true;
                }
                Err(e) if matches!(e.error, ZkError::NotEmpty | ZkError::NoAuth) => {
                    tracing::warn!(item = path, error = %e.error, "an item that was not put here is left alone");
                }
                // Another reader was faster, or something was put meanwhile: look again.
                Err(e) if is_of_one(&e.error) => return Ok(true),
                Err(e) => return Err(e.error),
            }
        }
        Ok(adopted)
    }
}

/// Whether the error is about one item, which must not hold up the others.
fn is_of_one(error: &ZkError) -> bool {
    matches!(
        error,
        ZkError::NoNode
            | ZkError::OtherFailed
            | ZkError::NotEmpty
            | ZkError::NoAuth
            | ZkError::BadVersion
            | ZkError::NodeExists
    )
}

fn numbers(names: &[String]) -> Vec<u64> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|n| sequence(n, ITEM)).collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests;
