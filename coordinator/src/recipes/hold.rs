//! [`Hold`]: the guard of everything that is held, and the task behind it that keeps it honest.
//!
//! One task a contender makes the node, watches over it and removes it, so that a caller who stops
//! waiting at any point, or a guard that is dropped anywhere, leaves nothing behind. A hold ends once
//! and for good: with its session, when the session's lease runs out while it is suspended (2/3 of the
//! session timeout, before anybody else can be given it), when somebody deletes its node, or when
//! it is released.
//!
//! *Invariant*: `is_valid` implies that the node was there one lease ago at most and that the session
//! lived; nobody who holds the same thing has a smaller fence and is valid.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::debug;

use crate::session::{Children, Session, ZkError};

use super::error::RecipeError;
use super::fence::Fence;
use super::own::{Own, Plan};

/// A hold shorter than this costs no watch on its own node; a longer one notices its deletion.
const WATCH_AFTER: Duration = Duration::from_millis(100);
/// How often a contender whose turn it is looks whether the lease runs again.
const LEASE_LOOK: Duration = Duration::from_millis(20);

/// Why a hold ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// ZooKeeper ended the session.
    #[error("the session ended")]
    SessionEnded,
    /// The session was out of touch for longer than its lease.
    #[error("no contact with ZooKeeper for longer than the lease")]
    LeaseRanOut,
    /// Its node was deleted by somebody else.
    #[error("its node was deleted")]
    Deleted,
    /// It was released.
    #[error("released")]
    Released,
}

/// What the owner wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// Keep the place in line.
    Wait,
    /// It is our turn: mind the lease as well.
    Hold,
    Leave,
}

/// What has become of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Standing,
    Lost(Loss),
    /// Removed, or gone with its session; or it could not be removed.
    Gone(Loss, Result<(), ZkError>),
}

/// A node that waits for its turn. Dropping it removes the node, in the background.
#[derive(Debug)]
pub(super) struct Contender {
    validity: Validity,
    wish: watch::Sender<Wish>,
}

impl Contender {
    /// Makes the node. The list, if there is one, has the node in it.
    pub(super) async fn enter(
        session: &Session,
        plan: Plan,
    ) -> Result<(Self, Option<Children>), ZkError> {
        let (wish, wishes) = watch::channel(Wish::Wait);
        let (made, entered) = oneshot::channel();
        let task_session = session.clone();
        tokio::spawn(async move {
            let session = task_session;
            let given_up = || wishes.has_changed().is_err();
            let (own, listed) = match Own::create(&session, &plan, given_up).await {
                Ok(Some(among)) => among,
                Ok(None) => return,
                Err(e) => {
                    // Nobody listens when the caller gave up.
                    let _ = made.send(Err(e));
                    return;
                }
            };
            let own = Arc::new(own);
            let (stages, stage) = watch::channel(Stage::Standing);
            let validity = Validity {
                session: session.clone(),
                own: Arc::clone(&own),
                stage,
            };
            // If the caller gave up, its wish is gone too and the node goes at once.
            let _ = made.send(Ok((validity, listed)));
            keep(session, own, wishes, stages).await;
        });
        match entered.await {
            Ok(Ok((validity, listed))) => Ok((Self { validity, wish }, listed)),
            Ok(Err(e)) => Err(e),
            // The runtime ends, or the session was closed.
            Err(_) => Err(ZkError::Closed),
        }
    }

    /// A node that is held from the start, as one of a fixed name is.
    pub(super) fn adopt(session: &Session, own: Own) -> Self {
        let (wish, wishes) = watch::channel(Wish::Wait);
        let (stages, stage) = watch::channel(Stage::Standing);
        let own = Arc::new(own);
        let validity = Validity {
            session: session.clone(),
            own: Arc::clone(&own),
            stage,
        };
        tokio::spawn(keep(session.clone(), own, wishes, stages));
        Self { validity, wish }
    }

    /// Name of the node in its folder.
    pub(super) fn name(&self) -> &str {
        self.validity.own.name()
    }

    /// Path of the node.
    pub(super) fn path(&self) -> &str {
        &self.validity.own.path
    }

    /// Transaction that made the node.
    pub(super) fn fence(&self) -> Fence {
        self.validity.own.fence
    }

    /// Resolves when the place in line is lost.
    pub(super) async fn lost(&self) -> Loss {
        self.validity.lost().await
    }

    /// Its turn has come: makes it a hold, once the lease runs. `None`: the place was lost.
    pub(super) async fn hold(self) -> Option<Hold> {
        self.wish.send_replace(Wish::Hold);
        while !self.validity.is_valid() {
            tokio::select! {
                _ = self.validity.lost() => return None,
                () = sleep(LEASE_LOOK) => {}
            }
        }
        Some(Hold {
            contender: self,
            entry: None,
        })
    }

    /// Removes the node and waits until that is done.
    pub(super) async fn leave(self) -> Result<(), ZkError> {
        self.wish.send_replace(Wish::Leave);
        let mut stage = self.validity.stage.clone();
        match stage.wait_for(|s| matches!(s, Stage::Gone(..))).await {
            Ok(stage) => match &*stage {
                Stage::Gone(_, removed) => removed.clone(),
                _ => Ok(()),
            },
            // The runtime ends: so does the session, and the node with it.
            Err(_) => Ok(()),
        }
    }
}

/// Something that is held. Dropping it lets go in the background; [`release`](Self::release) waits.
#[derive(Debug)]
pub struct Hold {
    contender: Contender,
    entry: Option<Entry>,
}

impl Hold {
    /// The fencing token: hand it to whatever is written under the hold.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.contender.validity.fence()
    }

    /// Whether it is certainly held at this moment. Turns false by itself, on any thread, when the
    /// session was out of touch for its lease.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.contender.validity.is_valid()
    }

    /// Resolves when it is not held any more, and says why.
    pub async fn lost(&self) -> Loss {
        self.contender.validity.lost().await
    }

    /// A cheap copy of the hold's state, for tasks that work under it.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.contender.validity.clone()
    }

    /// Path of the node.
    #[must_use]
    pub fn path(&self) -> &str {
        self.contender.path()
    }

    /// Lets go; the next in line can have it when this returns.
    pub async fn release(self) -> Result<(), RecipeError> {
        let path = self.path().to_owned();
        self.contender.leave().await.map_err(RecipeError::at(&path))
    }

    /// Keeps the handle that it was had through busy until it ends.
    pub(super) fn with_entry(mut self, entry: Entry) -> Self {
        self.entry = Some(entry);
        self
    }
}

/// Whether a handle holds or waits already: who asks twice would wait for himself for ever.
#[derive(Clone, Debug, Default)]
pub(super) struct Busy(Arc<AtomicBool>);

impl Busy {
    /// Takes the handle, or refuses re-entrant use of `path`.
    pub(super) fn enter(&self, path: &str) -> Result<Entry, RecipeError> {
        match self.0.swap(true, Ordering::AcqRel) {
            false => Ok(Entry(Arc::clone(&self.0))),
            true => Err(RecipeError::Reentrant {
                path: path.to_owned(),
            }),
        }
    }
}

/// Frees its handle when dropped.
#[derive(Debug)]
pub(super) struct Entry(Arc<AtomicBool>);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Whether a hold is still one. Cheap to clone; knows it after the guard is gone, too.
#[derive(Clone, Debug)]
pub struct Validity {
    session: Session,
    own: Arc<Own>,
    stage: watch::Receiver<Stage>,
}

impl Validity {
    /// The fencing token.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.own.fence
    }

    /// As [`Hold::is_valid`].
    #[must_use]
    pub fn is_valid(&self) -> bool {
        // In this order: a lease that a later session has renewed is followed by that session's state.
        self.session.lease().holds()
            && !self.own.is_over(&self.session)
            && *self.stage.borrow() == Stage::Standing
    }

    /// As [`Hold::lost`].
    pub async fn lost(&self) -> Loss {
        let mut stage = self.stage.clone();
        match stage.wait_for(|s| *s != Stage::Standing).await {
            Ok(stage) => match &*stage {
                Stage::Lost(loss) | Stage::Gone(loss, _) => loss.clone(),
                Stage::Standing => Loss::Released,
            },
            Err(_) => Loss::Released,
        }
    }
}

/// Watches over a node until it is lost or not wanted, then removes it.
async fn keep(
    session: Session,
    own: Arc<Own>,
    mut wishes: watch::Receiver<Wish>,
    stages: watch::Sender<Stage>,
) {
    let turn = wishes.clone();
    let loss = tokio::select! {
        biased;
        // An error means that the owner was dropped.
        _ = wishes.wait_for(|w| *w == Wish::Leave) => Loss::Released,
        loss = ends(&session, &own, turn) => loss,
    };
    stages.send_replace(Stage::Lost(loss.clone()));
    let removed = own.remove(&session).await;
    if let Err(error) = &removed {
        debug!(path = own.path, %error, "a node stays until its session ends");
    }
    stages.send_replace(Stage::Gone(loss, removed));
}

/// Resolves when the node does not stand for us any more.
async fn ends(session: &Session, own: &Own, mut turn: watch::Receiver<Wish>) -> Loss {
    let while_held = async {
        if turn.wait_for(|w| *w == Wish::Hold).await.is_err() {
            return std::future::pending().await;
        }
        tokio::select! {
            () = lapse(session) => Loss::LeaseRanOut,
            () = deletion(session, own) => Loss::Deleted,
        }
    };
    tokio::select! {
        biased;
        () = own.over(session) => Loss::SessionEnded,
        loss = while_held => loss,
    }
}

/// Resolves when the lease has run out.
async fn lapse(session: &Session) {
    let lease = session.lease();
    // It may not run yet when the turn comes right after a pause: then nothing is held so far.
    while !lease.holds() {
        sleep(LEASE_LOOK).await;
    }
    while lease.holds() {
        sleep_until(Instant::from_std(lease.until())).await;
    }
}

/// Resolves when the node is not there any more.
async fn deletion(session: &Session, own: &Own) {
    sleep(WATCH_AFTER).await;
    loop {
        match session.exists_watch(&own.path).await {
            Ok((Some(stat), watch)) if stat.czxid == own.fence.0 => watch.changed().await,
            Ok(_) => return,
            Err(error) if error.is_transient() => {}
            Err(error) => {
                debug!(path = own.path, %error, "cannot watch a node");
                return std::future::pending().await;
            }
        }
    }
}
