//! Membership and service discovery: who is there, with what data, and is it well.
//!
//! ```text
//!   PATH/<id>    ephemeral; data: the member's own; rewritten by each heartbeat
//! ```
//!
//! **Guarantee.** An id belongs to one member at a time. [`Members`] is a snapshot that was read, kept
//! current by one watch for all members; its changes lead from one snapshot to the next. A member whose
//! node is not rewritten for as long as it should be is [`Change::Stale`] and is not picked.
//! **On session loss** a member is registered again under the next session, with its latest data; the
//! others see it go and come. A watcher keeps the last good snapshot, marked as not fresh.
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use nyala_coordinator::recipes::membership::{Members, MembersOptions, Pick, Registration};
//!
//! let here = Registration::register(&session, "/svc/api", "a-1", b"10.0.0.7:80", None).await?;
//! let mut members = Members::watch(&session, "/svc/api", MembersOptions::default()).await?;
//! let target = members.pick(Pick::Key(b"customer 17"));
//! while let Some(change) = members.next().await {
//!     println!("{change:?}");
//! }
//! # Ok(()) }
//! ```

mod pick;
mod registration;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Fence;
use super::error::RecipeError;
use super::path::usable;
use super::tree_view::{Tree, TreeNode, TreeView};
use crate::clock;
use crate::session::Session;

pub use pick::{Pick, choose_by_key};
pub use registration::{MembershipError, Registration, Standing};

/// A member as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// What it says of itself.
    pub data: Vec<u8>,
    /// Of this registration: one that comes again has a larger one.
    pub fence: Fence,
    /// Milliseconds since 1970, by ZooKeeper's clock, when it was last rewritten.
    pub beat_ms: i64,
    /// How often it was rewritten.
    pub beats: i32,
    /// Whether its heartbeat is in time, as far as it was asked for.
    pub healthy: bool,
}

/// How one snapshot became the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there before, or it is a new registration of the same id.
    Joined(Member),
    /// Its data is another.
    Updated(Member),
    /// It has not been rewritten for longer than it should.
    Stale(Member),
    /// It was stale and has been rewritten.
    Recovered(Member),
    /// Its registration is gone.
    Left(Member),
}

/// Members at one time, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Who is there.
    pub members: BTreeMap<String, Member>,
    /// Whether ZooKeeper confirms it at this moment.
    pub fresh: bool,
}

/// Settings of a [`Members`].
#[derive(Clone, Debug, Default)]
pub struct MembersOptions {
    /// A member that is not rewritten for so long is stale. `None`: being registered is enough.
    pub stale_after: Option<Duration>,
}

/// Keeps the members of a path current until it is dropped.
#[derive(Debug)]
pub struct Members {
    trees: watch::Receiver<Arc<Tree>>,
    options: MembersOptions,
    /// As far as [`next`](Self::next) has told.
    told: BTreeMap<String, Member>,
    untold: VecDeque<Change>,
    round: pick::Round,
    view: TreeView,
}

impl Members {
    /// Reads who is there, then follows. The first changes are those who are there already.
    pub async fn watch(
        session: &Session,
        path: &str,
        options: MembersOptions,
    ) -> Result<Self, RecipeError> {
        let path = usable(path)?;
        let view = TreeView::start(session.clone(), path.clone()).await;
        let view = view.map_err(RecipeError::at(&path))?;
        let mut trees = view.subscribe();
        trees.mark_changed();
        Ok(Self {
            trees,
            options,
            told: BTreeMap::new(),
            untold: VecDeque::new(),
            round: pick::Round::default(),
            view,
        })
    }

    /// Who is there now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        snapshot(&self.view.current(), self.options.stale_after, clock::now())
    }

    /// The next change; `None` when the runtime ends. Cancel-safe.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.untold.pop_front() {
                return Some(change);
            }
            let next_stale = self.next_stale();
            tokio::select! {
                changed = self.trees.changed() => changed.ok()?,
                () = sleep_until(next_stale) => {}
            }
            let tree = Arc::clone(&self.trees.borrow_and_update());
            let now = snapshot(&tree, self.options.stale_after, clock::now()).members;
            self.untold.extend(changes(&self.told, &now));
            self.told = now;
        }
    }

    /// When the next member goes stale unless it is rewritten.
    fn next_stale(&self) -> Option<Instant> {
        let after = self.options.stale_after?;
        let tree = self.view.current();
        let healthy = |(id, _): &(&String, &Arc<TreeNode>)| {
            self.told.get(*id).is_some_and(|member| member.healthy)
        };
        tree.children()
            .filter(healthy)
            .map(|(_, n)| n.seen + after)
            .min()
    }

    /// One of the healthy members; `None` when there is none.
    #[must_use]
    pub fn pick(&self, by: Pick<'_>) -> Option<Member> {
        let mut members = self.snapshot().members;
        members.retain(|_, member| member.healthy);
        let ids: Vec<&str> = members.keys().map(String::as_str).collect();
        let id = self.round.choose(by, &ids)?.to_owned();
        members.remove(&id)
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn snapshot(tree: &Tree, stale_after: Option<Duration>, now: Instant) -> Snapshot {
    let member = |(id, node): (&String, &Arc<TreeNode>)| {
        let late = |after: Duration| now.saturating_duration_since(node.seen) >= after;
        let member = Member {
            id: id.clone(),
            data: node.data.clone(),
            fence: Fence(node.stat.czxid),
            beat_ms: node.stat.mtime,
            beats: node.stat.version,
            healthy: !stale_after.is_some_and(late),
        };
        (id.clone(), member)
    };
    Snapshot {
        members: tree.children().map(member).collect(),
        fresh: tree.fresh,
    }
}

/// What leads from one snapshot to the next, in order of ids; who left comes first.
fn changes(old: &BTreeMap<String, Member>, new: &BTreeMap<String, Member>) -> Vec<Change> {
    let same = |a: &Member, b: &&Member| a.fence == b.fence;
    let mut changes = Vec::new();
    for (id, member) in old {
        if !new.get(id).is_some_and(|now| same(now, &member)) {
            changes.push(Change::Left(member.clone()));
        }
    }
    for (id, member) in new {
        let member = member.clone();
        let Some(before) = old.get(id).filter(|before| same(&member, before)) else {
            changes.push(Change::Joined(member));
            continue;
        };
        if before.data != member.data {
            changes.push(Change::Updated(member.clone()));
        }
        match (before.healthy, member.healthy) {
            (true, false) => changes.push(Change::Stale(member)),
            (false, true) => changes.push(Change::Recovered(member)),
            _ => {}
        }
    }
    changes
}

#[cfg(test)]
mod tests;
