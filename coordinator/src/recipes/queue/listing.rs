//! What a queue's handle knows of the items: names in order, read again when watches say so.
//!
//! Under load the list is read every 20 ms at most, not for each item; so an item of higher priority,
//! or one that was given back, is seen that much later.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared as SharedFuture};
use tokio::time::Instant;

use super::Shared;
use crate::session::{Watch, ZkError};

/// A list that has names is not read again sooner.
const READ_EVERY: Duration = Duration::from_millis(20);

/// Resolves when the list may have changed; several may wait for it.
type Hint = SharedFuture<BoxFuture<'static, ()>>;

/// Items that are thought to be free, first to be taken first.
#[derive(Debug, Default)]
pub(super) struct Listing {
    names: VecDeque<String>,
    /// Of the list of entries; `None` when it has fired.
    entries: Option<Hint>,
    /// Of the list of leases; only armed when no item was free.
    taken: Option<Hint>,
    read_at: Option<Instant>,
}

impl Listing {
    /// Reads again if something may have changed.
    pub(super) async fn refresh(&mut self, q: &Shared) -> Result<(), ZkError> {
        let current = self.entries.as_ref().is_some_and(|hint| !fired(hint));
        let current = current && !self.taken.as_ref().is_some_and(fired);
        let young = self.read_at.is_some_and(|at| at.elapsed() < READ_EVERY);
        if current || young && !self.names.is_empty() {
            return Ok(());
        }
        self.entries = None;
        self.taken = None;
        let entries = q.session.children_watch(&q.entries);
        let (entries, taken) = tokio::join!(entries, q.session.children(&q.taken));
        let (entries, hint) = entries?;
        let entries = entries.map(|c| c.names).unwrap_or_default();
        let leased = match taken {
            Ok(names) => names,
            Err(ZkError::NoNode) => Vec::new(),
            Err(e) => return Err(e),
        };
        self.names = free(&entries, leased);
        if self.names.is_empty() && !entries.is_empty() {
            let (leased, hint) = q.session.children_watch(&q.taken).await?;
            self.names = free(&entries, leased.map(|c| c.names).unwrap_or_default());
            self.taken = Some(shared(hint));
        }
        self.entries = Some(shared(hint));
        self.read_at = Some(Instant::now());
        Ok(())
    }

    /// Up to `max` names from the front.
    pub(super) fn first(&self, max: usize) -> Vec<String> {
        self.names.iter().take(max).cloned().collect()
    }

    /// Names that are not free any more.
    pub(super) fn forget(&mut self, names: &[String]) {
        self.names.retain(|name| !names.contains(name));
    }

    /// Resolves when it is worth while to look again.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + use<> {
        let known = !self.names.is_empty();
        let (entries, taken) = (self.entries.clone(), self.taken.clone());
        async move {
            let (Some(entries), false) = (entries, known) else {
                return;
            };
            match taken {
                Some(taken) => {
                    tokio::select! {
                        () = entries => {}
                        () = taken => {}
                    }
                }
                None => entries.await,
            }
        }
    }
}

fn shared(watch: Watch) -> Hint {
    watch.changed().boxed().shared()
}

fn fired(hint: &Hint) -> bool {
    hint.clone().now_or_never().is_some()
}

/// Entries without a lease. What others put beside them is not ours to take.
fn free(entries: &[String], leased: Vec<String>) -> VecDeque<String> {
    let leased: BTreeSet<String> = leased.into_iter().collect();
    let free = |name: &&String| name.starts_with("entry") && !leased.contains(*name);
    entries.iter().filter(free).cloned().collect()
}
