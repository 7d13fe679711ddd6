//! Items that are taken: the lease of each, its acknowledgement, and its way back.
//!
//! A lease is `taken/<name>`, made in one transaction with a check that the item is still there. It
//! holds `<guid>.<number of the attempt>`, so that an attempt whose caller went away is undone without
//! touching a later one of the same session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Shared;
use crate::recipes::Fence;
use crate::recipes::inlet::BATCH_MAX;
use crate::recipes::own::child;
use crate::recipes::patience::until_connected;
use crate::recipes::presence::{Done, Mark};
use crate::session::{Acl, CreateMode, MultiError, Op, OpResult, ZkError};

/// Distinguishes the attempts of this process.
static ATTEMPTS: AtomicU64 = AtomicU64::new(0);

/// Why an item was not acknowledged or given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// The session that held the lease ended first: the item is another's by now, or will be.
    #[error("the lease of item {item} of queue {path} was lost")]
    Lost {
        /// The queue.
        path: String,
        /// Name of the item.
        item: String,
    },
    /// The session ended before the answer came: the item is gone, or will be another's.
    #[error("the session ended while item {item} of queue {path} was being acknowledged")]
    Unknown {
        /// The queue.
        path: String,
        /// Name of the item.
        item: String,
    },
    /// ZooKeeper refused.
    #[error("item {item} of queue {path}: {source}")]
    Zk {
        /// The queue.
        path: String,
        /// Name of the item.
        item: String,
        /// What went wrong.
        source: ZkError,
    },
}

/// Why a batch was not taken.
pub(super) enum TakeError {
    /// This one is leased by another, or gone.
    NotFree(String),
    Zk(ZkError),
}

/// A taken item. Dropping it gives it back in the background.
#[derive(Debug)]
pub struct Taken {
    shared: Arc<Shared>,
    mark: Mark,
    name: String,
    data: Vec<u8>,
    fence: Fence,
    done: bool,
}

/// Takes all items of `names`, or none of them.
pub(super) async fn take(q: &Arc<Shared>, names: &[String]) -> Result<Vec<Taken>, TakeError> {
    let attempt = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    let undo = Undo {
        shared: Arc::clone(q),
        names: names.to_vec(),
        attempt,
    };
    let ops = |mark: &Mark| {
        let lease = |name: &String| {
            let create = Op::Create {
                path: child(&q.taken, name),
                data: lease_data(mark, attempt),
                mode: CreateMode::Ephemeral,
                acl: Acl::Default,
            };
            let path = child(&q.entries, name);
            [create, Op::Check { path, version: -1 }]
        };
        names.iter().flat_map(lease).collect()
    };
    let paths: Vec<String> = names.iter().map(|name| child(&q.entries, name)).collect();
    let read = q.session.get_many(&paths);
    let (done, mut read) = tokio::join!(q.consumer.commit(ops), read);
    let done = match done {
        Ok(done) => done,
        Err(MultiError { index, error }) => {
            let busy = match (index, &error) {
                (Some(i), ZkError::NodeExists) => names.get(i / 2),
                (Some(i), ZkError::NoNode) if i % 2 == 1 => names.get(i / 2),
                _ => None,
            };
            if error != ZkError::Unknown {
                undo.disarm();
            }
            return Err(match busy {
                Some(name) => TakeError::NotFree(name.clone()),
                None => TakeError::Zk(error),
            });
        }
    };
    // They are ours, so they stay as they are, and can be read again.
    while !matches!(&read, Ok(nodes) if nodes.iter().all(Option::is_some)) {
        match &read {
            Err(e) if e.is_transient() && alive(q, &done.mark) => until_connected(&q.session).await,
            Err(e) => return Err(TakeError::Zk(e.clone())),
            Ok(_) if !alive(q, &done.mark) => return Err(TakeError::Zk(ZkError::SessionExpired)),
            Ok(_) => q.session.sync(&q.entries).await.map_err(TakeError::Zk)?,
        }
        read = q.session.get_many(&paths).await;
    }
    let data = read.unwrap_or_default().into_iter().flatten();
    let fences = fences(q, names, &done).await.map_err(TakeError::Zk)?;
    undo.disarm();
    let taken = names.iter().zip(data).zip(fences);
    let taken = taken.map(|((name, node), fence)| Taken {
        shared: Arc::clone(q),
        mark: done.mark.clone(),
        name: name.clone(),
        data: node.data,
        fence,
        done: false,
    });
    Ok(taken.collect())
}

fn alive(q: &Shared, mark: &Mark) -> bool {
    q.session.session_id() == Some(mark.session_id)
}

fn lease_data(mark: &Mark, attempt: u64) -> Vec<u8> {
    format!("{}.{attempt}", mark.guid).into_bytes()
}

/// The creation transactions of the leases: all of one multi, if the server told one of them.
async fn fences(q: &Shared, names: &[String], done: &Done) -> Result<Vec<Fence>, ZkError> {
    let told = done
        .results
        .iter()
        .flatten()
        .find_map(|result| match result {
            OpResult::Created { stat, .. } => stat.map(|s| s.czxid),
            _ => None,
        });
    let fence = match (told, names.first()) {
        (Some(czxid), _) => czxid,
        (None, None) => 0,
        (None, Some(name)) => {
            let stat = q.session.exists(&child(&q.taken, name)).await?;
            stat.ok_or(ZkError::SessionExpired)?.czxid
        }
    };
    Ok(vec![Fence(fence); names.len()])
}

/// Gives back what an attempt may have taken, unless it is disarmed.
struct Undo {
    shared: Arc<Shared>,
    names: Vec<String>,
    attempt: u64,
}

impl Undo {
    fn disarm(mut self) {
        self.names.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let names = std::mem::take(&mut self.names);
        let (shared, attempt) = (Arc::clone(&self.shared), self.attempt);
        // Without a runtime the session is about to end, and the leases with it.
        if let (false, Ok(runtime)) = (names.is_empty(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { undo(&shared, &names, attempt).await });
        }
    }
}

async fn undo(q: &Shared, names: &[String], attempt: u64) {
    for name in names {
        let path = child(&q.taken, name);
        loop {
            // From here on an attempt that is still on its way is refused.
            let ended = match q.consumer.mark().await {
                Ok(mark) => undo_one(q, &mark, &path, attempt).await,
                Err(e) => Err(e),
            };
            match ended {
                Err(ZkError::Closed) => return,
                Err(e) if e.is_transient() => until_connected(&q.session).await,
                _ => break,
            }
        }
    }
}

async fn undo_one(q: &Shared, mark: &Mark, path: &str, attempt: u64) -> Result<(), ZkError> {
    let Some(lease) = q.session.get_if_exists(path).await? else {
        return Ok(());
    };
    if lease.data != lease_data(mark, attempt) {
        return Ok(());
    }
    let path = path.to_owned();
    let version = None;
    let ops = vec![mark.check(), Op::Delete { path, version }];
    Ok(q.session.multi(ops).await.map(drop)?)
}

impl Taken {
    /// Name of the item in the queue.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.name
    }

    /// The item.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Fencing token of the lease: whoever takes the item later has a larger one.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Whether the lease certainly holds at this moment.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.shared.session.lease().holds() && alive(&self.shared, &self.mark)
    }

    /// Resolves when the lease does not certainly hold any more.
    pub async fn lost(&self) {
        let mut states = self.shared.session.states();
        while self.is_valid() {
            let lease_end = self.shared.session.lease().until();
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(lease_end.into()) => {}
            }
        }
    }

    fn lost_error(&self) -> AckError {
        let (path, item) = (self.shared.path.clone(), self.name.clone());
        AckError::Lost { path, item }
    }

    fn unknown(&self) -> AckError {
        let (path, item) = (self.shared.path.clone(), self.name.clone());
        AckError::Unknown { path, item }
    }

    fn zk(&self, source: ZkError) -> AckError {
        let (path, item) = (self.shared.path.clone(), self.name.clone());
        AckError::Zk { path, item, source }
    }

    /// Takes the item out of the queue for good: it was handled.
    pub async fn ack(self) -> Result<(), AckError> {
        Self::ack_all(vec![self]).await
    }

    /// Acknowledges several items, as many as fit one transaction at a time. One that cannot be is given
    /// back, and is the error; the others are acknowledged all the same.
    pub async fn ack_all(items: Vec<Self>) -> Result<(), AckError> {
        Self::end(items, true).await
    }

    /// Gives the item back, to its old place.
    pub async fn release(self) -> Result<(), AckError> {
        let shared = Arc::clone(&self.shared);
        Self::end(vec![self], false).await?;
        shared.listing.lock().await.forget_all();
        Ok(())
    }

    /// Ends them all but those that cannot be: each of those is told, and the first is the error.
    async fn end(mut items: Vec<Self>, remove: bool) -> Result<(), AckError> {
        let alike = |a: &Self, b: &Self| a.mark.path == b.mark.path;
        let mut first = None;
        for same in items.chunk_by_mut(alike) {
            for batch in same.chunks_mut(BATCH_MAX / 2) {
                let mut bad = end(batch, remove).await?;
                for (at, item) in batch.iter_mut().enumerate() {
                    item.done = !bad.contains_key(&at);
                }
                for error in bad.values() {
                    tracing::warn!(%error, "an item of a batch was not acknowledged");
                }
                first = first.or_else(|| bad.pop_first());
            }
        }
        first.map_or(Ok(()), |(_, error)| Err(error))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // Without a runtime the session is about to end, and the lease with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let back = Self {
                shared: Arc::clone(&self.shared),
                mark: self.mark.clone(),
                name: std::mem::take(&mut self.name),
                data: Vec::new(),
                fence: self.fence,
                done: true,
            };
            runtime.spawn(async move {
                // It is free either way, at the latest with the end of the session.
                let _ = end(std::slice::from_ref(&back), false).await;
                back.shared.listing.lock().await.forget_all();
            });
        }
    }
}

/// Ends the leases of one session's items, with their items or without, but for those that it gives
/// back: each with the reason why it alone could not be.
async fn end(items: &[Taken], remove: bool) -> Result<BTreeMap<usize, AckError>, AckError> {
    let mut bad = BTreeMap::new();
    let mut left: Vec<(usize, &Taken)> = items.iter().enumerate().collect();
    let mut sent = false;
    while let Some((_, first)) = left.first().copied() {
        let q = &first.shared;
        if !alive(q, &first.mark) {
            return Err(match sent {
                true => first.unknown(),
                false => first.lost_error(),
            });
        }
        let done = q.session.multi(ops_of_end(&left, remove)).await;
        let Err(MultiError { index, error }) = done else {
            break;
        };
        // The first operation checks the mark, then come those of each item.
        let at = index.and_then(|i| i.checked_sub(1));
        let at = at.map(|i| if remove { i / 2 } else { i });
        let one = at.and_then(|at| Some((at, left.get(at).copied()?)));
        match (one, error) {
            (_, ZkError::Unknown) => sent = true,
            (_, ZkError::NotConnected { .. } | ZkError::SessionExpired) => {
                until_connected(&q.session).await;
            }
            (None, ZkError::NoNode) if index.is_some() && sent => return Err(first.unknown()),
            (None, ZkError::NoNode) if index.is_some() => return Err(first.lost_error()),
            (None, source) => return Err(first.zk(source)),
            // Nobody else could: the first attempt came through.
            (Some((at, _)), ZkError::NoNode) if sent => drop(left.remove(at)),
            (Some((at, (place, item))), error) => {
                let error = match error {
                    ZkError::NotEmpty => match clear(q, &item.name).await {
                        Ok(()) => continue,
                        Err(e) if e.is_transient() => continue,
                        Err(e) => item.zk(e),
                    },
                    ZkError::NoNode => item.lost_error(),
                    source => item.zk(source),
                };
                bad.insert(place, error);
                left.remove(at);
            }
        }
    }
    Ok(bad)
}

fn ops_of_end(items: &[(usize, &Taken)], remove: bool) -> Vec<Op> {
    let delete = |path| Op::Delete {
        path,
        version: None,
    };
    let mut ops: Vec<Op> = items
        .first()
        .map(|(_, item)| item.mark.check())
        .into_iter()
        .collect();
    for (_, item) in items {
        if remove {
            ops.push(delete(child(&item.shared.entries, &item.name)));
        }
        ops.push(delete(child(&item.shared.taken, &item.name)));
    }
    ops
}

/// Deletes what somebody put below an item that was handled: it would keep the item for ever.
async fn clear(q: &Shared, name: &str) -> Result<(), ZkError> {
    let path = child(&q.entries, name);
    tracing::warn!(
        path,
        "an item that was handled has nodes below it: they go with it"
    );
    let names = match q.session.children(&path).await {
        Err(ZkError::NoNode) => return Ok(()),
        names => names?,
    };
    for name in names {
        q.session.delete_tree(&child(&path, &name)).await?;
    }
    Ok(())
}
