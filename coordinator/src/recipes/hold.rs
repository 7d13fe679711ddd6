//! [`Hold`]: the guard of everything that is held, and the task behind it that keeps it honest.
//!
//! A caller who stops waiting at any point, or a guard that is dropped anywhere, leaves nothing behind: a
//! task goes on in its stead, finds what may have been made, and removes it. A hold ends once
//! and for good: with its session, when the session's lease runs out while it is suspended (2/3 of the
//! session timeout, before anybody else can be given it), when somebody deletes its node, or when
//! it is released.
//!
//! *Invariant*: `is_valid` implies that the node was there one lease ago at most and that the session
//! lived; nobody who holds the same thing has a smaller fence and is valid. The exception: who deletes the
//! nodes of others breaks into what they hold, and they notice it after [`WATCH_AFTER`] and an answer.

mod requeue;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::debug;

use crate::session::{Children, Session, Word, ZkError};

use super::error::RecipeError;
use super::farewell::{self, Farewell};
use super::fence::Fence;
use super::own::{Own, Plan};

/// A hold shorter than this costs no watch on its own node; a longer one notices its deletion.
const WATCH_AFTER: Duration = Duration::from_millis(100);
/// How long one who waits relies on a list that had its node: less than a lease.
const RELY_ON_LIST: Duration = Duration::from_secs(1);
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

/// What has become of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Standing,
    Lost(Loss),
}

/// A node that waits for its turn. Dropping it removes the node, in the background.
#[derive(Debug)]
pub(super) struct Contender {
    session: Session,
    own: Arc<Own>,
    /// It is to be removed when this is dropped.
    stands: bool,
    /// How it goes, once it holds.
    parting: Option<Parting>,
}

/// What is said at the end of a hold.
#[derive(Debug)]
struct Parting {
    farewell: Farewell,
    /// Since when it is held.
    since: Instant,
    stage: watch::Receiver<Stage>,
}

/// A create on its way. Dropped before its answer, it finds and removes what may have been made.
struct Entering<'a> {
    session: &'a Session,
    /// Until there is an answer.
    plan: Option<Plan>,
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        let Some(plan) = self.plan.take() else {
            return;
        };
        let session = self.session.clone();
        self.session.in_background(async move {
            // Asked in the same session after the create, so the answer has in it whatever that has made;
            // and a later session has nothing to do with it.
            if let Ok(Some(own)) = Own::find(&session, &plan).await {
                remove_at_last(&session, &own, false).await;
            }
        });
    }
}

impl Contender {
    /// Makes the node. The list, if there is one, has the node in it.
    pub(super) async fn enter(
        session: &Session,
        plan: Plan,
    ) -> Result<(Self, Option<Children>), ZkError> {
        let mut entering = Entering {
            session,
            plan: Some(plan.clone()),
        };
        let made = Own::create(session, &plan).await;
        entering.plan = None;
        let (own, listed) = made?;
        Ok((Self::adopt(session, own), listed))
    }

    /// Takes care of a node that is ours.
    pub(super) fn adopt(session: &Session, own: Own) -> Self {
        session.neighbours().stand(&own.path, own.fence.0);
        Self {
            session: session.clone(),
            own: Arc::new(own),
            stands: true,
            parting: None,
        }
    }

    /// Name of the node in its folder.
    pub(super) fn name(&self) -> &str {
        self.own.name()
    }

    /// Path of the node.
    pub(super) fn path(&self) -> &str {
        &self.own.path
    }

    /// Transaction that made the node.
    pub(super) fn fence(&self) -> Fence {
        self.own.fence
    }

    /// Resolves when the place in line is lost, with the session.
    pub(super) async fn lost(&self) -> Loss {
        self.own.over(&self.session).await;
        Loss::SessionEnded
    }

    /// Resolves when its node is gone, though not at once: a list had it a moment ago.
    pub(super) async fn deleted(&self) {
        sleep(RELY_ON_LIST.min(self.session.session_timeout() / 3)).await;
        deletion(&self.session, &self.own).await;
    }

    /// Its turn has come: makes it a hold, once the lease runs. `None`: the place was lost.
    pub(super) async fn hold(self) -> Option<Hold> {
        self.hold_and_say(Farewell::Never).await
    }

    /// As [`hold`](Self::hold), and tells the next in line when it is let go.
    pub(super) async fn hold_and_say(mut self, farewell: Farewell) -> Option<Hold> {
        let lease = self.session.lease();
        while !lease.holds() {
            tokio::select! {
                _ = self.lost() => return None,
                () = sleep(LEASE_LOOK) => {}
            }
        }
        if self.own.is_over(&self.session) {
            return None;
        }
        let stages = Arc::new(watch::channel(Stage::Standing).0);
        let validity = Validity {
            session: self.session.clone(),
            own: Arc::clone(&self.own),
            stage: stages.subscribe(),
        };
        let keeping = keep(
            self.session.clone(),
            Arc::clone(&self.own),
            Arc::clone(&stages),
        );
        tokio::spawn(keeping);
        self.parting = Some(Parting {
            farewell,
            since: Instant::now(),
            stage: stages.subscribe(),
        });
        Some(Hold {
            contender: self,
            validity,
            term: Term(stages),
            entry: None,
        })
    }

    /// Removes the node and waits until that is done.
    pub(super) async fn leave(mut self) -> Result<(), ZkError> {
        // Given up halfway, it is dropped, and removed all the same.
        let tells = self.hand_over();
        let removed = remove(&self.session, &self.own, tells).await;
        self.stands = false;
        removed
    }

    /// Gives the turn to the next in line, if there is one to give and that one shares our session; if not,
    /// whether it is to be told through ZooKeeper.
    fn hand_over(&self) -> bool {
        let gives = |parting: &&Parting| {
            // One that was lost in another way has no turn to give.
            *parting.stage.borrow() == Stage::Lost(Loss::Released)
                && parting.farewell != Farewell::Never
                && !self.own.is_over(&self.session)
        };
        let parting = self.parting.as_ref().filter(gives);
        let word = match parting {
            Some(_) => Word::Held,
            None => Word::Left,
        };
        let told = self.session.neighbours().tell(&self.own.path, word);
        parting.is_some_and(|parting| !told && parting.farewell.is_due(parting.since))
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        if !self.stands {
            return;
        }
        let tells = self.hand_over();
        if !self.own.is_over(&self.session) {
            let (session, own) = (self.session.clone(), Arc::clone(&self.own));
            let removed = async move { remove_at_last(&session, &own, tells).await };
            self.session.in_background(removed);
        }
    }
}

/// Removes the node; `tells`: whoever is next hears of it, if nothing comes between.
async fn remove(session: &Session, own: &Own, tells: bool) -> Result<(), ZkError> {
    if tells && !own.is_over(session) && farewell::tell(session, own).await.is_ok() {
        return Ok(());
    }
    own.remove(session).await
}

async fn remove_at_last(session: &Session, own: &Own, tells: bool) {
    if let Err(error) = remove(session, own, tells).await {
        debug!(path = own.path, %error, "a node stays until its session ends");
    }
}

/// Something that is held. Dropping it lets go in the background; [`release`](Self::release) waits.
#[derive(Debug)]
pub struct Hold {
    /// Ends before the node goes.
    term: Term,
    contender: Contender,
    validity: Validity,
    entry: Option<Entry>,
}

/// The time for which something is held: over when this is dropped.
#[derive(Debug)]
struct Term(Arc<watch::Sender<Stage>>);

impl Drop for Term {
    fn drop(&mut self) {
        end(&self.0, Loss::Released);
    }
}

impl Hold {
    /// The fencing token: hand it to whatever is written under the hold.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.validity.fence()
    }

    /// Whether it is certainly held at this moment. Turns false by itself, on any thread, when the
    /// session was out of touch for its lease.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.validity.is_valid()
    }

    /// Resolves when it is not held any more, and says why.
    pub async fn lost(&self) -> Loss {
        self.validity.lost().await
    }

    /// A cheap copy of the hold's state, for tasks that work under it.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity.clone()
    }

    /// Path of the node.
    #[must_use]
    pub fn path(&self) -> &str {
        self.contender.path()
    }

    /// Lets go; the next in line can have it when this returns.
    pub async fn release(self) -> Result<(), RecipeError> {
        let Self {
            contender,
            term,
            entry: _entry,
            ..
        } = self;
        drop(term);
        let path = contender.path().to_owned();
        contender.leave().await.map_err(RecipeError::at(&path))
    }

    /// Keeps the handle that it was had through busy until it ends.
    pub(super) fn with_entry(mut self, entry: Entry) -> Self {
        self.entry = Some(entry);
        self
    }

    /// What keeps `busy` so, if this was had through that handle.
    pub(super) fn take_entry(&mut self, busy: &Busy) -> Option<Entry> {
        self.entry.take_if(|entry| Arc::ptr_eq(&entry.0, &busy.0))
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
                Stage::Lost(loss) => loss.clone(),
                Stage::Standing => Loss::Released,
            },
            Err(_) => Loss::Released,
        }
    }
}

/// Ends a hold, once; whether it was this that ended it.
fn end(stages: &watch::Sender<Stage>, loss: Loss) -> bool {
    stages.send_if_modified(|stage| {
        let standing = *stage == Stage::Standing;
        if standing {
            *stage = Stage::Lost(loss);
        }
        standing
    })
}

/// Watches over a hold until it ends; one that is lost gives way to the next.
async fn keep(session: Session, own: Arc<Own>, stages: Arc<watch::Sender<Stage>>) {
    let mut stage = stages.subscribe();
    let loss = tokio::select! {
        biased;
        // Whoever let it go removes the node. We have a sender ourselves, so there is no error.
        _ = stage.wait_for(|s| *s != Stage::Standing) => return,
        loss = ends(&session, &own) => loss,
    };
    if end(&stages, loss) {
        remove_at_last(&session, &own, false).await;
    }
}

/// Resolves when the node does not stand for us any more.
async fn ends(session: &Session, own: &Own) -> Loss {
    tokio::select! {
        biased;
        () = own.over(session) => Loss::SessionEnded,
        () = lapse(session) => Loss::LeaseRanOut,
        () = late_deletion(session, own) => Loss::Deleted,
    }
}

/// Resolves when the lease has run out.
async fn lapse(session: &Session) {
    let lease = session.lease();
    while lease.holds() {
        sleep_until(Instant::from_std(lease.until())).await;
    }
}

/// As [`deletion`], once the hold is long enough to be worth a watch.
async fn late_deletion(session: &Session, own: &Own) {
    sleep(WATCH_AFTER).await;
    deletion(session, own).await;
}

/// Resolves when the node is not there any more.
async fn deletion(session: &Session, own: &Own) {
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
