//! A farewell: how whoever lets go tells the next in line that its turn has come.
//!
//! ```text
//! PATH/a93b...07__lock__0000000008        held; its successor watches it, and
//! PATH/a93b...07__lock__0000000008-over   never there: made and deleted in the multi that deletes the first
//! ```
//!
//! A successor that only sees a node go has to list the line: who went may have left it without ever
//! having held, with others still before it. The event of the second name says that it *held* until
//! now, so that nobody before it holds or will hold, nor before us (a node of one who has let go may still
//! be on its way out): the turn is ours without another question. The name has the holder's UUID in it, nobody else
//! makes it, and nobody ever sees the node in a list. `line.rs` decides who tells, by the kind of what was held.
//!
//! Nobody depends on it: without one (kazoo and Curator give none, nor does a session that ends) the
//! successor lists the line. Only who holds alone gives it: a reader leaves other readers behind.

use std::time::Duration;

use tokio::time::Instant;

use crate::session::{Acl, CreateMode, Op, Session, TreeEventKind, Watch, ZkError};

use super::own::Own;

/// Who held longer is waited for, more likely than not.
const TELL_AFTER: Duration = Duration::from_millis(10);

/// Whether the end of a hold is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Others may hold beside it, or nobody stands in line.
    Never,
    /// Nobody was before it when it came: while it is short, there will hardly be anybody behind.
    WhenLong,
    /// It has waited in line itself.
    Always,
}

impl Farewell {
    /// Whether to tell the end of what was taken at `since`.
    pub(super) fn is_due(self, since: Instant) -> bool {
        match self {
            Self::Never => false,
            Self::WhenLong => since.elapsed() > TELL_AFTER,
            Self::Always => true,
        }
    }
}

/// The name that is never there.
fn path_of(holder: &str) -> String {
    format!("{holder}-over")
}

/// What removes a held node; `tells`: and says so to the next in line.
pub(super) fn parting(own: &Own, tells: bool) -> Vec<Op> {
    let farewell = path_of(&own.path);
    let delete = |path| Op::Delete {
        path,
        version: None,
    };
    let create = Op::Create {
        path: farewell.clone(),
        data: Vec::new(),
        mode: CreateMode::Persistent,
        acl: Acl::Default,
    };
    let gone = delete(own.path.clone());
    match tells {
        true => vec![create, delete(farewell), gone],
        false => vec![gone],
    }
}

/// Removes a held node and says so. However that ends, [`Own::remove`] may follow.
pub(super) async fn tell(session: &Session, own: &Own) -> Result<(), ZkError> {
    Ok(session.multi(parting(own, true)).await.map(drop)?)
}

/// Whether no node has the name of the farewell of the node named `holder`: it would be taken for one.
pub(super) fn is_clear(names: &[String], holder: &str) -> bool {
    !names.contains(&path_of(holder))
}

/// Watches for the end of the node at `holder`, and for its farewell.
pub(super) async fn watch(session: &Session, holder: &str) -> Result<(Watch, Watch), ZkError> {
    session.watch_for(holder, &path_of(holder)).await
}

/// Resolves when the farewell has come, and never if it cannot come any more.
pub(super) async fn heard(farewell: Watch) {
    if farewell.event().await != Some(TreeEventKind::Created) {
        std::future::pending().await
    }
}
