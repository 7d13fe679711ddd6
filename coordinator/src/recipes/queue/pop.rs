//! Items that leave the queue as they are taken: no lease, no acknowledgement, no second chance.
//!
//! One transaction makes each item's lease, which nobody else may have, and deletes it with the item. It goes
//! with the session's mark, so that a lost answer is told from a refusal; the item is read before, because
//! there is nothing to be read afterwards.

use std::sync::Arc;

use super::{Shared, TakeError};
use crate::recipes::own::child;
use crate::session::{Acl, CreateMode, MultiError, Op, ZkError};

/// Operations of one item.
const OPS: usize = 3;

/// Takes all items of `names` out, or none of them.
pub(super) async fn pop(q: &Shared, names: Arc<[String]>) -> Result<Vec<Vec<u8>>, TakeError> {
    let paths: Vec<String> = names.iter().map(|name| child(&q.entries, name)).collect();
    let read = q.session.get_many(&paths).await.map_err(TakeError::Zk)?;
    let gone = names.iter().zip(&read).filter(|(_, node)| node.is_none());
    let gone: Vec<String> = gone.map(|(name, _)| name.clone()).collect();
    if !gone.is_empty() {
        return Err(TakeError::NotFree(gone));
    }
    let items: Vec<(Vec<u8>, i32)> = read
        .into_iter()
        .flatten()
        .map(|node| (node.data, node.stat.version))
        .collect();
    let ops = |_: &_| {
        let three = |(name, (_, version)): (&String, &(Vec<u8>, i32))| {
            let lease = child(&q.taken, name);
            let create = Op::Create {
                path: lease.clone(),
                data: Vec::new(),
                mode: CreateMode::Ephemeral,
                acl: Acl::Default,
            };
            let delete = |path, version| Op::Delete { path, version };
            // As it was read: what has been rewritten since is read again.
            let item = delete(child(&q.entries, name), Some(*version));
            [create, delete(lease, None), item]
        };
        names.iter().zip(&items).flat_map(three).collect()
    };
    let Err(MultiError { index, error }) = q.consumer.commit(ops).await else {
        return Ok(items.into_iter().map(|(data, _)| data).collect());
    };
    let at = index.and_then(|i| Some((names.get(i / OPS)?, i % OPS)));
    Err(match (at, error) {
        (_, ZkError::Unknown) => TakeError::Unknown,
        (Some((name, 0)), ZkError::NodeExists) | (Some((name, 2)), ZkError::NoNode) => {
            TakeError::NotFree(vec![name.clone()])
        }
        (Some((_, 2)), ZkError::BadVersion) => TakeError::Changed,
        (Some((name, 2)), ZkError::NotEmpty) => TakeError::Burdened(name.clone()),
        (_, error) => TakeError::Zk(error),
    })
}
