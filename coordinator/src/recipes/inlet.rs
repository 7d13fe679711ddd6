//! How items get into a queue: in order, once each, and no more than it may hold.
//!
//! Each batch is one transaction that goes with the session's mark (`presence`), so that a lost answer
//! neither loses nor doubles an item. With a limit it also sets the folder's node at the version at
//! which the items were counted: whoever puts through here keeps the limit exactly.

use super::presence::{Mark, Presence};
use crate::session::{Acl, CreateMode, MultiError, Op, Session, ZkError};

/// Items of one transaction.
pub(super) const BATCH_MAX: usize = 128;
/// Bytes of items of one transaction: a packet has 1 MB, names and heads included.
const BATCH_BYTES_MAX: usize = 768 << 10;
/// What an item adds beside itself.
const ITEM_HEAD_BYTES: usize = 128;

/// Why not all items were put.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// It holds as many items as it may.
    #[error("{path} is full: it holds {items} items, at most {max} are allowed")]
    Full {
        /// Folder of the items.
        path: String,
        /// What it holds.
        items: usize,
        /// The limit.
        max: usize,
        /// Items of this call that did go in.
        put: usize,
    },
    /// ZooKeeper refused, or could not be reached; after [`ZkError::Unknown`] the next items, as many
    /// as fit one transaction, may or may not be in.
    #[error("{path}: {source}")]
    Zk {
        /// Folder of the items.
        path: String,
        /// What went wrong.
        source: ZkError,
        /// Items of this call that did go in.
        put: usize,
    },
}

impl PutError {
    /// Items of the call that did go in.
    #[must_use]
    pub fn put(&self) -> usize {
        match self {
            Self::Full { put, .. } | Self::Zk { put, .. } => *put,
        }
    }
}

/// The way into one folder of items.
#[derive(Debug)]
pub(super) struct Inlet {
    session: Session,
    folder: String,
    items_max: Option<usize>,
    producer: Presence,
}

impl Inlet {
    /// Into `folder`, with marks below `marks`.
    pub(super) fn new(
        session: &Session,
        folder: &str,
        marks: &str,
        items_max: Option<usize>,
    ) -> Self {
        Self {
            session: session.clone(),
            folder: folder.to_owned(),
            items_max,
            producer: Presence::new(session.clone(), marks.to_owned()),
        }
    }

    /// Puts items in their order, named by `prefix` and the next numbers.
    pub(super) async fn put_all(&self, prefix: &str, items: &[&[u8]]) -> Result<(), PutError> {
        let prefix = format!("{}/{prefix}", self.folder);
        let mut put = 0;
        while let Some(rest) = items.get(put..).filter(|rest| !rest.is_empty()) {
            let (room, limit) = self.room(put).await?;
            let batch = batch(rest, room);
            let create = |item: &&[u8]| Op::Create {
                path: prefix.clone(),
                data: item.to_vec(),
                mode: CreateMode::PersistentSequential,
                acl: Acl::Default,
            };
            let ops = |_: &Mark| {
                limit
                    .iter()
                    .cloned()
                    .chain(batch.iter().map(create))
                    .collect()
            };
            match self.producer.commit(ops).await {
                Ok(_) => put += batch.len(),
                // Somebody else put something: count again.
                Err(MultiError {
                    error: ZkError::BadVersion,
                    ..
                }) if limit.is_some() => {}
                // Nodes that were copied here, with the numbers of another ZooKeeper.
                Err(MultiError {
                    error: ZkError::NodeExists,
                    ..
                }) => self.skip_number().await.map_err(|e| self.zk(e, put))?,
                Err(MultiError { error, .. }) => return Err(self.zk(error, put)),
            }
        }
        Ok(())
    }

    /// Puts one item by a plain create, without the session's mark: after [`ZkError::Unknown`] it may be in or not.
    /// With a limit there is nothing to be saved, and it goes as all others do.
    pub(super) async fn push(&self, prefix: &str, item: &[u8]) -> Result<(), PutError> {
        if self.items_max.is_some() {
            return self.put_all(prefix, &[item]).await;
        }
        let path = format!("{}/{prefix}", self.folder);
        let mode = CreateMode::PersistentSequential;
        loop {
            match self.session.create(&path, item, mode, Acl::Default).await {
                Ok(_) => return Ok(()),
                Err(ZkError::NodeExists) => self.skip_number().await.map_err(|e| self.zk(e, 0))?,
                Err(error) => return Err(self.zk(error, 0)),
            }
        }
    }

    /// Uses up the next number, of which there is a node already.
    async fn skip_number(&self) -> Result<(), ZkError> {
        let (path, mode) = (
            format!("{}/skip-", self.folder),
            CreateMode::EphemeralSequential,
        );
        match self.session.create(&path, b"", mode, Acl::Default).await {
            // What is left goes with the session.
            Ok(made) => match self.session.delete(&made.path, None).await {
                Ok(()) | Err(ZkError::NoNode | ZkError::Unknown) => Ok(()),
                Err(e) => Err(e),
            },
            Err(ZkError::Unknown | ZkError::NodeExists) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn zk(&self, source: ZkError, put: usize) -> PutError {
        PutError::Zk {
            path: self.folder.clone(),
            source,
            put,
        }
    }

    /// How many items may go in, and the operation that keeps it so up to the commit.
    async fn room(&self, put: usize) -> Result<(usize, Option<Op>), PutError> {
        let Some(max) = self.items_max else {
            return Ok((usize::MAX, None));
        };
        let stat = self.session.exists(&self.folder).await;
        let stat = stat.and_then(|s| s.ok_or(ZkError::NoNode));
        let stat = stat.map_err(|e| self.zk(e, put))?;
        let items = usize::try_from(stat.num_children).unwrap_or(0);
        if items >= max {
            let path = self.folder.clone();
            return Err(PutError::Full {
                path,
                items,
                max,
                put,
            });
        }
        let guard = Op::Set {
            path: self.folder.clone(),
            data: Vec::new(),
            version: Some(stat.version),
        };
        Ok((max - items, Some(guard)))
    }
}

/// The first of `items` that go into one transaction.
fn batch<'a>(items: &'a [&'a [u8]], room: usize) -> &'a [&'a [u8]] {
    let mut bytes = 0;
    let fits = |item: &&&[u8]| {
        bytes += item.len() + ITEM_HEAD_BYTES;
        bytes <= BATCH_BYTES_MAX
    };
    // One item always goes: if it is too large, the session says so.
    let count = items.iter().take_while(fits).count().max(1);
    let count = count.min(room).min(BATCH_MAX).min(items.len());
    items.get(..count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_fits_a_packet_and_the_room() {
        let big = vec![0; 500 << 10];
        let items: Vec<&[u8]> = vec![&big, &big, b"x"];
        assert_eq!(batch(&items, usize::MAX).len(), 1);
        assert_eq!(batch(&items[1..], usize::MAX).len(), 2);
        let small: Vec<&[u8]> = vec![b"x"; 1000];
        assert_eq!(batch(&small, usize::MAX).len(), BATCH_MAX);
        assert_eq!(batch(&small, 3).len(), 3);
        let huge = vec![0; 2 << 20];
        assert_eq!(batch(&[&huge], usize::MAX).len(), 1);
    }
}
