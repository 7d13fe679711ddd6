//! The acknowledgement of taken items: each goes out of the queue with its lease, in one transaction.

use std::collections::BTreeMap;
use std::fmt;

use super::Shared;
use super::lease::{Taken, alive};
use crate::recipes::own::child;
use crate::recipes::patience::until_connected;
use crate::session::{MultiError, Op, ZkError};

/// Why an item was not acknowledged or given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// The lease ended first, or the item was deleted by others: it is not this holder's any more.
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

impl AckError {
    pub(super) fn lost(item: &Taken) -> Self {
        let (path, item) = (item.shared.path.clone(), item.name.clone());
        Self::Lost { path, item }
    }

    pub(super) fn unknown(item: &Taken) -> Self {
        let (path, item) = (item.shared.path.clone(), item.name.clone());
        Self::Unknown { path, item }
    }

    pub(super) fn zk(item: &Taken, source: ZkError) -> Self {
        let (path, item) = (item.shared.path.clone(), item.name.clone());
        Self::Zk { path, item, source }
    }

    /// Name of the item.
    #[must_use]
    pub fn item(&self) -> &str {
        match self {
            Self::Lost { item, .. } | Self::Unknown { item, .. } | Self::Zk { item, .. } => item,
        }
    }
}

/// The items of a call that were not acknowledged, at least one; all others were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckErrors(pub(super) Vec<AckError>);

impl AckErrors {
    pub(super) fn of(errors: Vec<AckError>) -> Result<(), Self> {
        match errors.is_empty() {
            true => Ok(()),
            false => Err(Self(errors)),
        }
    }

    /// Each with its reason, in the order of the call.
    #[must_use]
    pub fn each(&self) -> &[AckError] {
        &self.0
    }
}

impl fmt::Display for AckErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.0.split_first() else {
            return Ok(());
        };
        write!(f, "{first}")?;
        match others.len() {
            0 => Ok(()),
            others => write!(f, "; and {others} more were not acknowledged"),
        }
    }
}

impl std::error::Error for AckErrors {}

/// Acknowledges items of one session; those that cannot be are told, by their place.
pub(super) async fn acknowledge(items: &[Taken]) -> BTreeMap<usize, AckError> {
    let mut bad = BTreeMap::new();
    let mut left: Vec<(usize, &Taken)> = items.iter().enumerate().collect();
    let mut sent = false;
    while let Some((_, first)) = left.first().copied() {
        let q = &first.shared;
        let ended: fn(&Taken) -> AckError = match sent {
            true => AckError::unknown,
            false => AckError::lost,
        };
        if !alive(q, &first.mark) {
            bad.extend(left.drain(..).map(|(place, item)| (place, ended(item))));
            break;
        }
        let Err(MultiError { index, error }) = q.session.multi(ops(&left)).await else {
            break;
        };
        // The first operation checks the mark, then come two of each item.
        let at = index.and_then(|i| i.checked_sub(1));
        let one = at.and_then(|i| Some((i, left.get(i / 2).copied()?)));
        match (one, error) {
            (_, ZkError::Unknown) => sent = true,
            (_, ZkError::NotConnected { .. } | ZkError::SessionExpired) => {
                until_connected(&q.session).await;
            }
            // The mark is gone, and its session with it.
            (None, ZkError::NoNode) if index.is_some() => {
                bad.extend(left.drain(..).map(|(place, item)| (place, ended(item))));
            }
            (None, source) => {
                let refused = |item| AckError::zk(item, source.clone());
                bad.extend(left.drain(..).map(|(place, item)| (place, refused(item))));
            }
            // The item is gone, by nobody else's hand: the first attempt came through.
            (Some((i, _)), ZkError::NoNode) if sent && i % 2 == 0 => drop(left.remove(i / 2)),
            (Some((i, (place, item))), error) => {
                let error = match error {
                    ZkError::NotEmpty => match clear(q, &item.name).await {
                        Ok(()) => continue,
                        Err(e) if e.is_transient() => continue,
                        Err(e) => AckError::zk(item, e),
                    },
                    ZkError::NoNode => AckError::lost(item),
                    source => AckError::zk(item, source),
                };
                bad.insert(place, error);
                left.remove(i / 2);
            }
        }
    }
    for error in bad.values() {
        tracing::debug!(%error, "an item was not acknowledged");
    }
    bad
}

/// Deletes the items and their leases, while the session of the leases lives.
fn ops(items: &[(usize, &Taken)]) -> Vec<Op> {
    let delete = |path| Op::Delete {
        path,
        version: None,
    };
    let mark = items.first().map(|(_, item)| item.mark.check());
    let both = |(_, item): &(usize, &Taken)| {
        let q = &item.shared;
        [
            delete(child(&q.entries, &item.name)),
            delete(child(&q.taken, &item.name)),
        ]
    };
    mark.into_iter()
        .chain(items.iter().flat_map(both))
        .collect()
}

/// Deletes what somebody put below an item that was handled: it would keep the item for ever.
pub(super) async fn clear(q: &Shared, name: &str) -> Result<(), ZkError> {
    let path = child(&q.entries, name);
    tracing::warn!(
        path,
        "an item that is taken out has nodes below it: they go with it"
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
