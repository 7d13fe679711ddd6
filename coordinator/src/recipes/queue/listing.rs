//! What a queue's handle knows of the items: names in order, read again when watches say so.
//!
//! Under load the list is read every 20 ms at most (less often if it is long), not for each item; so
//! an item of higher priority, or one that another gave back, is seen that much later.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared as SharedFuture};
use tokio::time::Instant;

use super::Shared;
use crate::session::{Children, Watch, ZkError};

/// A list that has names is not read again sooner.
const READ_EVERY: Duration = Duration::from_millis(20);
/// Nor sooner than so many times what reading it took.
const READ_SHARE: u32 = 10;

/// Resolves when the list may have changed; several may wait for it.
type Hint = SharedFuture<BoxFuture<'static, ()>>;

/// Items that are thought to be free, first to be taken first.
#[derive(Debug, Default)]
pub(super) struct Listing {
    names: VecDeque<String>,
    /// Of the lists of entries and of leases; `None` before they are read.
    hints: Option<[Hint; 2]>,
    not_before: Option<Instant>,
}

impl Listing {
    /// Reads again if something may have changed.
    pub(super) async fn refresh(&mut self, q: &Shared) -> Result<(), ZkError> {
        let current = |hints: &[Hint; 2]| !hints.iter().any(fired);
        let young = self.not_before.is_some_and(|at| Instant::now() < at);
        if self.hints.as_ref().is_some_and(current) || young && !self.names.is_empty() {
            return Ok(());
        }
        self.hints = None;
        let begun = Instant::now();
        let entries = q.session.children_watch(&q.entries);
        let (entries, taken) = tokio::join!(entries, q.session.children_watch(&q.taken));
        let ((entries, entries_hint), (leased, leased_hint)) = (entries?, taken?);
        let names = |children: Option<Children>| children.map(|c| c.names).unwrap_or_default();
        self.names = free(&names(entries), names(leased));
        self.hints = Some([shared(entries_hint), shared(leased_hint)]);
        self.not_before = Some(Instant::now() + READ_EVERY.max(begun.elapsed() * READ_SHARE));
        Ok(())
    }

    /// This handle gave something back: the list is read before the next take.
    pub(super) fn forget_all(&mut self) {
        *self = Self::default();
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
        let hints = self.hints.clone().filter(|_| self.names.is_empty());
        async move {
            if let Some([entries, leased]) = hints {
                tokio::select! {
                    () = entries => {}
                    () = leased => {}
                }
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
