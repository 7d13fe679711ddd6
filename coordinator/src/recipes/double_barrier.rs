//! A double barrier: all begin together, and nobody is done before all are.
//!
//! ```text
//!   PATH/party-<name>   ephemeral, one a member    } kazoo's and Curator's members are <uuid>,
//!   PATH/ready          persistent: it is open     } and take part
//! ```
//!
//! **Guarantee.** [`enter`](DoubleBarrier::enter) returns only after as many members as there are parties
//! were in at one moment, if all ask for the same number: the smallest one opens it for all;
//! [`leave`](Entered::leave) only after all have left or died. `ready` without any
//! member is what a round left whose members all died, and is cleared by the next who enters.
//! **On session loss** while entering: [`BarrierError::SessionLost`], enter again. While inside: the
//! others may leave without this member; [`Entered::is_valid`] and [`Entered::lost`] tell.
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use nyala_coordinator::recipes::double_barrier::DoubleBarrier;
//!
//! let barrier = DoubleBarrier::new(session, "/phase/2", 3)?;
//! let inside = barrier.enter("worker-7", Some(Duration::from_secs(60))).await?;
//! work().await;
//! inside.leave(None).await?;
//! # Ok(()) }
//! # async fn work() {}
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;

use super::claim::{claim, freed};
use super::error::RecipeError;
use super::hold::{Contender, Hold};
use super::own::child;
use super::path::{usable, usable_name};
use super::patience::{Patience, until_connected};
use super::{Fence, Loss};
use crate::session::{Acl, CreateMode, Session, TreeEventKind, TreeWatch, Watch, ZkError};

/// Ours; what others make has no such start.
const MEMBER: &str = "party-";
const READY: &str = "ready";

/// Why a barrier was not passed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarrierError {
    /// ZooKeeper refused, or the path cannot be used.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Not all came, or went, in time.
    #[error(
        "barrier {path}: {} of {parties} parties after {} ms{}",
        present.len(),
        waited.as_millis(),
        words(missing)
    )]
    TimedOut {
        /// The barrier.
        path: String,
        /// The limit.
        waited: Duration,
        /// Who is in.
        present: Vec<String>,
        /// How many there must be.
        parties: usize,
        /// Who is not, if the parties were named.
        missing: Vec<String>,
    },
    /// Somebody of that name is in, and did not go in time.
    #[error("barrier {path}: there is a member named {name} already")]
    NameTaken {
        /// The barrier.
        path: String,
        /// The name.
        name: String,
    },
    /// The session ended meanwhile.
    #[error("barrier {path}: this member is not in it any more: {loss}")]
    SessionLost {
        /// The barrier.
        path: String,
        /// What became of it.
        loss: Loss,
    },
}

fn words(missing: &[String]) -> String {
    match missing {
        [] => String::new(),
        names => format!("; missing: {}", names.join(", ")),
    }
}

/// A double barrier at a path. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DoubleBarrier {
    session: Session,
    path: String,
    parties: usize,
    expected: Vec<String>,
}

impl DoubleBarrier {
    /// For so many members, whoever they are.
    pub fn new(session: Session, path: &str, parties: usize) -> Result<Self, RecipeError> {
        Ok(Self {
            session,
            path: usable(path)?,
            parties: parties.max(1),
            expected: Vec::new(),
        })
    }

    /// For members of these names: an error can tell who is missing.
    pub fn of(session: Session, path: &str, names: &[&str]) -> Result<Self, RecipeError> {
        for name in names {
            usable_name(name)?;
        }
        let expected = names.iter().map(|name| (*name).to_owned()).collect();
        let barrier = Self::new(session, path, names.len())?;
        Ok(Self {
            expected,
            ..barrier
        })
    }

    /// Who is in at this moment.
    pub async fn present(&self) -> Result<Vec<String>, RecipeError> {
        match self.session.children(&self.path).await {
            Ok(names) => Ok(members(&names).map(|n| shown(n)).collect()),
            Err(ZkError::NoNode) => Ok(Vec::new()),
            Err(e) => Err(RecipeError::at(&self.path)(e)),
        }
    }

    /// Comes in as `name` and waits until all are in. Dropping the future goes out again. A `timeout` of
    /// `None`: however long it takes; otherwise the error says who is missing.
    ///
    /// A member of the same name is waited for: the last one of a process that was killed goes with
    /// its session.
    pub async fn enter(
        &self,
        name: &str,
        timeout: Option<Duration>,
    ) -> Result<Entered, BarrierError> {
        usable_name(&format!("{MEMBER}{name}"))?;
        let patience = Patience::new(timeout);
        let named = AtomicBool::new(false);
        match patience.of(self.come_in(name, &named)).await {
            Some(entered) => entered,
            None if named.into_inner() => Err(self.overdue(timeout).await),
            None => {
                let (path, name) = (self.path.clone(), name.to_owned());
                Err(BarrierError::NameTaken { path, name })
            }
        }
    }

    async fn overdue(&self, timeout: Option<Duration>) -> BarrierError {
        let present = self.present().await.unwrap_or_default();
        let missing = self.expected.iter().filter(|name| !present.contains(name));
        BarrierError::TimedOut {
            path: self.path.clone(),
            waited: timeout.unwrap_or_default(),
            missing: missing.cloned().collect(),
            present,
            parties: self.parties,
        }
    }

    /// `named` turns false while another member of that name is waited for.
    async fn come_in(&self, name: &str, named: &AtomicBool) -> Result<Entered, BarrierError> {
        let at = RecipeError::at;
        named.store(true, Ordering::Relaxed);
        let mut ready = self.watch_ready().await?;
        self.clear_leftover().await.map_err(at(&self.path))?;
        let node = child(&self.path, &format!("{MEMBER}{name}"));
        let member = loop {
            let claimed = claim(&self.session, &node, name.as_bytes()).await;
            if let Some(member) = claimed.map_err(at(&node))? {
                break member;
            }
            named.store(false, Ordering::Relaxed);
            freed(&self.session, &node).await.map_err(at(&node))?;
            named.store(true, Ordering::Relaxed);
        };
        tokio::select! {
            opened = self.opened(&mut ready) => opened?,
            loss = member.lost() => {
                let path = self.path.clone();
                return Err(BarrierError::SessionLost { path, loss });
            }
        }
        self.inside(member).await
    }

    async fn inside(&self, member: Contender) -> Result<Entered, BarrierError> {
        match member.hold().await {
            Some(hold) => Ok(Entered {
                barrier: self.clone(),
                hold,
            }),
            None => Err(BarrierError::SessionLost {
                path: self.path.clone(),
                loss: Loss::SessionEnded,
            }),
        }
    }

    /// Armed before coming in, so that an opening is seen although others leave at once.
    async fn watch_ready(&self) -> Result<TreeWatch, RecipeError> {
        let ready = child(&self.path, READY);
        loop {
            match self.session.watch_tree(&ready).await {
                Ok(watch) => return Ok(watch),
                Err(e) if e.is_transient() => until_connected(&self.session).await,
                Err(e) => return Err(RecipeError::at(&ready)(e)),
            }
        }
    }

    /// Takes `ready` away if nobody is in: it is what a round left whose members all died.
    async fn clear_leftover(&self) -> Result<(), ZkError> {
        loop {
            let cleared = match self.session.children(&self.path).await {
                Ok(names) if names.iter().any(|n| n == READY) && members(&names).count() == 0 => {
                    delete_ready(&self.session, &self.path).await
                }
                Err(ZkError::NoNode) => self.session.ensure_path(&self.path).await,
                other => other.map(drop),
            };
            match cleared {
                Err(e) if e.is_transient() => until_connected(&self.session).await,
                done => return done,
            }
        }
    }

    /// Waits until all are in, or `ready` was made by somebody who saw all.
    async fn opened(&self, ready: &mut TreeWatch) -> Result<(), RecipeError> {
        loop {
            let (names, changed) = match self.children().await {
                Ok(read) => read,
                Err(e) if e.is_transient() => {
                    until_connected(&self.session).await;
                    continue;
                }
                Err(e) => return Err(RecipeError::at(&self.path)(e)),
            };
            let seen = seen(ready).now_or_never();
            if seen == Some(true) || names.iter().any(|n| n == READY) {
                return Ok(());
            }
            if members(&names).count() >= self.parties && self.make_ready().await? {
                return Ok(());
            }
            tokio::select! {
                biased;
                made = seen_unless(ready, seen) => match made {
                    true => return Ok(()),
                    // The connection was replaced: watch first, then look.
                    false => *ready = self.watch_ready().await?,
                },
                () = changed.changed() => {}
            }
        }
    }

    async fn children(&self) -> Result<(Vec<String>, Watch), ZkError> {
        let (children, watch) = self.session.children_watch(&self.path).await?;
        Ok((children.map(|c| c.names).unwrap_or_default(), watch))
    }

    /// `false`: it is not known whether it was made.
    async fn make_ready(&self) -> Result<bool, RecipeError> {
        let path = child(&self.path, READY);
        let create = self
            .session
            .create(&path, b"", CreateMode::Persistent, Acl::Default);
        match create.await {
            Ok(_) | Err(ZkError::NodeExists) => Ok(true),
            Err(e) if e.is_transient() => Ok(false),
            Err(e) => Err(RecipeError::at(&path)(e)),
        }
    }
}

/// `true`: `ready` was made. `false`: the watch is gone.
async fn seen(ready: &mut TreeWatch) -> bool {
    let mut events = Vec::new();
    while ready.next(&mut events).await {
        if events.drain(..).any(|e| e.kind == TreeEventKind::Created) {
            return true;
        }
    }
    false
}

/// As [`seen`], unless that was asked already and had an answer.
async fn seen_unless(ready: &mut TreeWatch, before: Option<bool>) -> bool {
    match before {
        Some(answer) => answer,
        None => seen(ready).await,
    }
}

async fn delete_ready(session: &Session, path: &str) -> Result<(), ZkError> {
    match session.delete(&child(path, READY), None).await {
        Ok(()) | Err(ZkError::NoNode) => Ok(()),
        Err(e) => Err(e),
    }
}

fn members(names: &[String]) -> impl Iterator<Item = &String> {
    names.iter().filter(|name| *name != READY)
}

fn shown(name: &str) -> String {
    name.strip_prefix(MEMBER).unwrap_or(name).to_owned()
}

/// Being inside. Dropping it goes out without waiting for the others.
#[derive(Debug)]
pub struct Entered {
    barrier: DoubleBarrier,
    hold: Hold,
}

impl Entered {
    /// Fencing token of this member.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.hold.fence()
    }

    /// Whether this member is certainly still in.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.hold.is_valid()
    }

    /// Resolves when this member is not certainly in any more.
    pub async fn lost(&self) -> Loss {
        self.hold.lost().await
    }

    /// Goes out and waits until all the others have, or are dead. A `timeout` of `None`: however long it
    /// takes; otherwise the error says who is still in.
    pub async fn leave(self, timeout: Option<Duration>) -> Result<(), BarrierError> {
        let Self { barrier, hold } = self;
        let patience = Patience::new(timeout);
        if !hold.is_valid() {
            let (path, loss) = (barrier.path, hold.lost().await);
            return Err(BarrierError::SessionLost { path, loss });
        }
        match patience.of(go_out(&barrier, hold)).await {
            Some(done) => Ok(done?),
            None => Err(barrier.overdue(timeout).await),
        }
    }
}

async fn go_out(barrier: &DoubleBarrier, hold: Hold) -> Result<(), RecipeError> {
    let session = &barrier.session;
    let foreign = |names: &[String]| members(names).any(|name| !name.starts_with(MEMBER));
    let mut hold = Some(hold);
    loop {
        let step = async {
            let (names, changed) = barrier.children().await?;
            if let Some(hold) = hold.take() {
                // kazoo's members wait for everything in the folder to go, `ready` too.
                if foreign(&names) {
                    delete_ready(session, &barrier.path).await?;
                }
                // If it cannot be removed, the session is about to end, and it with it.
                let _ = hold.release().await;
                return Ok(false);
            }
            if members(&names).count() > 0 {
                changed.changed().await;
                return Ok(false);
            }
            delete_ready(session, &barrier.path).await.map(|()| true)
        };
        match step.await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(e) if ZkError::is_transient(&e) => until_connected(session).await,
            Err(e) => return Err(RecipeError::at(&barrier.path)(e)),
        }
    }
}

#[cfg(test)]
mod tests;
