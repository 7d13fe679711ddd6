//! Election: candidates in order, one leader, known to all.
//!
//! ```text
//! PATH/5f0c...e1__lock__0000000004   ephemeral, data "host 7": leads; its czxid is the token
//! PATH/a93b...07__lock__0000000005   ephemeral, data "host 9": stands by, watches ...04
//! ```
//!
//! *Guarantee*: one leader is valid at a time; who stood longest follows; each leader's token is larger than
//! all before. Stands with kazoo's `Election`, or with Curator's `LeaderLatch` under [`Layout::Curator`].
//! *On session loss*: leadership ends at once, or when the lease runs out while ZooKeeper is out of reach; a
//! [`Candidate`] stands again by itself, at the end of the line. A node of an earlier session never makes a
//! leader (CURATOR-498, 620, 653, 696).
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use nyala_coordinator::recipes::Election;
//!
//! let election = Election::new(&session, "/election")?;
//! let candidate = election.stand("host 7");
//! let term = candidate.elected().await?;
//! while term.is_valid() {
//!     println!("leading with token {}", term.fence());
//! #   break;
//! }
//! println!("the leader is {:?}", election.leader().await?);
//! candidate.resign().await?;
//! # Ok(()) }
//! ```

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::session::{Session, Watch, ZkError};
use crate::watched::Watched;

use super::error::RecipeError;
use super::fence::Fence;
use super::hold::{Hold, Validity};
use super::line::{Entrant, Line};
use super::own::child;
use super::turn::{self, Kind, Layout};

/// An election at a path. Cheap to clone; each candidacy is one of its own.
#[derive(Clone, Debug)]
pub struct Election {
    line: Line,
}

impl Election {
    /// At `path`, whose folder is made with the first candidate.
    pub fn new(session: &Session, path: impl Into<String>) -> Result<Self, RecipeError> {
        let line = Line::new(session, path.into())?;
        Ok(Self { line })
    }

    /// Under whose names to stand; everybody at one path must agree.
    #[must_use]
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.line.layout = layout;
        self
    }

    /// Stands until elected, for one term: it ends with the hold. At most so long, if there is a limit.
    pub async fn lead(
        &self,
        data: impl Into<Vec<u8>>,
        limit: Option<Duration>,
    ) -> Result<Hold, RecipeError> {
        self.line_of(data.into()).acquire(Kind::Latch, limit).await
    }

    /// Leads for one term if nobody stands; `None` if somebody does.
    pub async fn try_lead(&self, data: impl Into<Vec<u8>>) -> Result<Option<Hold>, RecipeError> {
        self.line_of(data.into()).try_acquire(Kind::Latch).await
    }

    /// Stands, leads when its turn comes, and stands again when leadership is lost, until it resigns.
    /// To be called on a tokio runtime.
    #[must_use]
    pub fn stand(&self, data: impl Into<Vec<u8>>) -> Candidate {
        let (publish, roles) = watch::channel(Role::StandingBy);
        let (resign, resigned) = watch::channel(false);
        let task = tokio::spawn(campaign(self.line_of(data.into()), publish, resigned));
        Candidate {
            roles,
            resign,
            task: AbortOnDropHandle::new(task),
        }
    }

    fn line_of(&self, data: Vec<u8>) -> Line {
        Line {
            data,
            busy: Default::default(),
            ..self.line.clone()
        }
    }

    /// All candidates, the leader first.
    pub async fn candidates(&self) -> Result<Vec<Entrant>, RecipeError> {
        self.line.entrants().await
    }

    /// The leader, if there is one. It may just have resigned: if it matters, compare fences.
    pub async fn leader(&self) -> Result<Option<Entrant>, RecipeError> {
        let (leader, _) = read_leader(&self.line.session, &self.line.path).await?;
        Ok(leader)
    }

    /// The leader now and all later ones, without standing. Watches the leader's node only.
    pub async fn observe(&self) -> Result<Watched<Option<Entrant>>, RecipeError> {
        let (session, path) = (self.line.session.clone(), self.line.path.clone());
        Watched::start(move || {
            let (session, path) = (session.clone(), path.clone());
            async move { read_leader(&session, &path).await }
        })
        .await
    }
}

/// What a candidate is.
#[derive(Clone, Debug)]
pub enum Role {
    /// It waits for its turn.
    StandingBy,
    /// It was elected; whether it still leads, the term knows best.
    Leading(Validity),
    /// It has resigned.
    Resigned,
    /// ZooKeeper refuses it, for a reason that will not go by itself.
    Failed(RecipeError),
}

/// One candidacy. Dropping it resigns, in the background.
#[derive(Debug)]
pub struct Candidate {
    roles: watch::Receiver<Role>,
    resign: watch::Sender<bool>,
    task: AbortOnDropHandle<Result<(), RecipeError>>,
}

impl Candidate {
    /// The token, if it certainly leads at this moment.
    #[must_use]
    pub fn is_leader(&self) -> Option<Fence> {
        match &*self.roles.borrow() {
            Role::Leading(term) if term.is_valid() => Some(term.fence()),
            _ => None,
        }
    }

    /// The role now and all later ones (the latest wins: compare fences).
    #[must_use]
    pub fn roles(&self) -> watch::Receiver<Role> {
        self.roles.clone()
    }

    /// Waits until it leads; the term says for how long.
    pub async fn elected(&self) -> Result<Validity, RecipeError> {
        let mut roles = self.roles.clone();
        loop {
            match &*roles.borrow_and_update() {
                Role::Leading(term) if term.is_valid() => return Ok(term.clone()),
                Role::Failed(error) => return Err(error.clone()),
                _ => {}
            }
            if roles.changed().await.is_err() {
                return Err(RecipeError::at("election")(ZkError::Closed));
            }
        }
    }

    /// Gives leadership up: the next one can lead when this returns. A place in line is given up in the
    /// background.
    pub async fn resign(self) -> Result<(), RecipeError> {
        self.resign.send_replace(true);
        // An error means that the runtime ends, and with it the session.
        self.task.await.unwrap_or(Ok(()))
    }
}

/// Stands again and again, until resigned.
async fn campaign(
    line: Line,
    publish: watch::Sender<Role>,
    mut resigned: watch::Receiver<bool>,
) -> Result<(), RecipeError> {
    loop {
        let elected = tokio::select! {
            biased;
            () = resignation(&mut resigned) => {
                publish.send_replace(Role::Resigned);
                return Ok(());
            }
            elected = line.acquire(Kind::Latch, None) => elected,
        };
        let hold = match elected {
            Ok(hold) => hold,
            Err(error) => {
                publish.send_replace(Role::Failed(error.clone()));
                return Err(error);
            }
        };
        publish.send_replace(Role::Leading(hold.validity()));
        tokio::select! {
            biased;
            () = resignation(&mut resigned) => {
                publish.send_replace(Role::Resigned);
                return hold.release().await;
            }
            _ = hold.lost() => {
                publish.send_replace(Role::StandingBy);
            }
        }
    }
}

/// Resolves when the candidate resigns.
async fn resignation(resigned: &mut watch::Receiver<bool>) {
    // An error means that the candidate was dropped.
    let _ = resigned.wait_for(|r| *r).await;
}

/// The first in line, and a watch that fires when that may have changed.
async fn read_leader(
    session: &Session,
    path: &str,
) -> Result<(Option<Entrant>, Watch), RecipeError> {
    loop {
        let names = match session.children(path).await {
            Ok(names) => names,
            Err(ZkError::NoNode) => Vec::new(),
            Err(e) => return Err(RecipeError::at(path)(e)),
        };
        let Some(first) = turn::in_order(&names).first().copied() else {
            let listed = session.children_watch(path).await;
            let (children, watch) = listed.map_err(RecipeError::at(path))?;
            match children.is_some_and(|c| !turn::in_order(&c.names).is_empty()) {
                true => continue,
                false => return Ok((None, watch)),
            }
        };
        let node = child(path, first);
        let (found, watch) = session
            .get_watch(&node)
            .await
            .map_err(RecipeError::at(&node))?;
        if let Some(found) = found {
            return Ok((Some(Entrant::of(first, found)), watch));
        }
    }
}

#[cfg(test)]
mod tests;
