//! The way back of items: leases that end, and their items stay.
//!
//! A lease is deleted only as the one of its own attempt: sent again, the deletion might otherwise meet
//! a later lease of the same handle, and two would have the item.

use std::sync::Arc;

use super::Shared;
use super::ack::AckError;
use super::lease::{Taken, alive, lease_data};
use crate::recipes::own::child;
use crate::recipes::patience::until_connected;
use crate::recipes::presence::Mark;
use crate::session::{Op, ZkError};

/// Gives back what an attempt may have taken, unless it is disarmed.
pub(super) struct Undo {
    shared: Arc<Shared>,
    names: Vec<String>,
    attempt: u64,
}

impl Undo {
    pub(super) fn new(q: &Arc<Shared>, names: &[String], attempt: u64) -> Self {
        Self {
            shared: Arc::clone(q),
            names: names.to_vec(),
            attempt,
        }
    }

    pub(super) fn disarm(mut self) {
        self.names.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let names = std::mem::take(&mut self.names);
        if names.is_empty() {
            return;
        }
        let (shared, attempt) = (Arc::clone(&self.shared), self.attempt);
        let undone = async move { undo(&shared, &names, attempt).await };
        self.shared.session.in_background(undone);
    }
}

async fn undo(q: &Shared, names: &[String], attempt: u64) {
    for name in names {
        loop {
            // From here on an attempt that is still on its way is refused.
            let ended = match q.consumer.mark().await {
                Ok(mark) => end_lease(q, &mark, name, attempt).await.map(drop),
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

/// Ends the lease of a taken item, and has the list read before the next take.
pub(super) async fn give_back(item: &Taken) -> Result<(), AckError> {
    let q = &item.shared;
    let mut sent = false;
    let given = loop {
        let ended = match sent {
            true => AckError::unknown(item),
            false => AckError::lost(item),
        };
        if !alive(q, &item.mark) {
            break Err(ended);
        }
        // Whether the first attempt came through must not be asked of a server that is behind.
        if sent && q.session.sync(&q.taken).await.is_err() {
            until_connected(&q.session).await;
            continue;
        }
        match end_lease(q, &item.mark, &item.name, item.attempt).await {
            // Nobody else could: the first attempt came through.
            Ok(was_there) if was_there || sent => break Ok(()),
            Ok(_) | Err(ZkError::NoNode) => break Err(ended),
            Err(ZkError::Unknown) => sent = true,
            Err(ZkError::NotConnected { .. } | ZkError::SessionExpired) => {
                until_connected(&q.session).await;
            }
            Err(source) => break Err(AckError::zk(item, source)),
        }
    };
    q.listing.lock().await.forget_all();
    given
}

/// Deletes the lease that an attempt made; `false` if there is none of that attempt.
async fn end_lease(q: &Shared, mark: &Mark, name: &str, attempt: u64) -> Result<bool, ZkError> {
    let path = child(&q.taken, name);
    let lease = q.session.get_if_exists(&path).await?;
    if lease.is_none_or(|lease| lease.data != lease_data(mark, attempt)) {
        return Ok(false);
    }
    let delete = Op::Delete {
        path,
        version: None,
    };
    q.session.multi(vec![mark.check(), delete]).await?;
    Ok(true)
}
