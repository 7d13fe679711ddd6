//! Items that are taken: the lease of each, its acknowledgement, and its way back.
//!
//! A lease is `taken/<name>`, made in one transaction with a check that the item is still there. It
//! holds `<guid>.<number of the attempt>`, so that an attempt whose caller went away is undone without
//! touching a later one of the same session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ack::{AckError, AckErrors, acknowledge};
use super::give_back::{Undo, give_back};
use super::{Shared, TakeError};
use crate::recipes::Fence;
use crate::recipes::inlet::BATCH_MAX;
use crate::recipes::own::child;
use crate::recipes::patience::until_connected;
use crate::recipes::presence::{Done, Mark};
use crate::session::{Acl, CreateMode, MultiError, Op, OpResult, ZkError};

/// Distinguishes the attempts of this process.
static ATTEMPTS: AtomicU64 = AtomicU64::new(0);

/// A taken item. Dropping it gives it back in the background.
#[derive(Debug)]
pub struct Taken {
    pub(super) shared: Arc<Shared>,
    pub(super) mark: Mark,
    pub(super) attempt: u64,
    pub(super) name: String,
    data: Vec<u8>,
    fence: Fence,
    done: bool,
}

/// Takes all items of `names`, or none of them.
pub(super) async fn take(q: &Arc<Shared>, names: Arc<[String]>) -> Result<Vec<Taken>, TakeError> {
    let attempt = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    let undo = Undo::new(q, &names, attempt);
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
                Some(name) => TakeError::NotFree(vec![name.clone()]),
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
    let fences = fences(q, &names, &done).await.map_err(TakeError::Zk)?;
    undo.disarm();
    let taken = names.iter().zip(data).zip(fences);
    let taken = taken.map(|((name, node), fence)| Taken {
        shared: Arc::clone(q),
        mark: done.mark.clone(),
        attempt,
        name: name.clone(),
        data: node.data,
        fence,
        done: false,
    });
    Ok(taken.collect())
}

pub(super) fn alive(q: &Shared, mark: &Mark) -> bool {
    q.session.session_id() == Some(mark.session_id)
}

pub(super) fn lease_data(mark: &Mark, attempt: u64) -> Vec<u8> {
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

    /// Takes the item out of the queue for good: it was handled.
    pub async fn ack(mut self) -> Result<(), AckError> {
        let bad = acknowledge(std::slice::from_ref(&self)).await.pop_first();
        self.done = bad.is_none();
        bad.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Acknowledges several items, as many as fit one transaction at a time. Those that cannot be are
    /// given back, each with its error; the others are acknowledged all the same.
    pub async fn ack_all(mut items: Vec<Self>) -> Result<(), AckErrors> {
        let alike = |a: &Self, b: &Self| a.mark.path == b.mark.path;
        let mut errors = Vec::new();
        for same in items.chunk_by_mut(alike) {
            for batch in same.chunks_mut(BATCH_MAX / 2) {
                let bad = acknowledge(batch).await;
                for (at, item) in batch.iter_mut().enumerate() {
                    item.done = !bad.contains_key(&at);
                }
                errors.extend(bad.into_values());
            }
        }
        AckErrors::of(errors)
    }

    /// Gives the item back, to its old place.
    pub async fn release(mut self) -> Result<(), AckError> {
        give_back(&self).await?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let back = Self {
            shared: Arc::clone(&self.shared),
            mark: self.mark.clone(),
            attempt: self.attempt,
            name: std::mem::take(&mut self.name),
            data: Vec::new(),
            fence: self.fence,
            done: true,
        };
        self.shared.session.in_background(async move {
            // It is free either way, at the latest with the end of the session.
            let _ = give_back(&back).await;
        });
    }
}
