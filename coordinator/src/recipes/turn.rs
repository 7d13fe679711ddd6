//! Waiting in line: enter, look who is before, wait for that one only, look again.
//!
//! Only the node right before a contender is watched, so one that leaves wakes one (no herd). A list is
//! read again before anything is taken: the one before may have left without ever having held.

use std::time::Duration;

use crate::session::{Children, Node, Session, ZkError};

use super::error::{RecipeError, usable_path, within};
use super::fence::Fence;
use super::hold::{Busy, Contender, Hold};
use super::line::{self, Kind, Layout, Turn};
use super::own::{Plan, child};

/// One who holds or waits, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrant {
    /// Name of its node.
    pub name: String,
    /// What it says of itself.
    pub data: Vec<u8>,
    /// Its token, if it holds or comes to hold.
    pub fence: Fence,
    /// Its session.
    pub session_id: i64,
}

/// A folder in which contenders stand in line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) session: Session,
    pub(super) path: String,
    pub(super) data: Vec<u8>,
    pub(super) layout: Layout,
    pub(super) busy: Busy,
}

impl Line {
    pub(super) fn new(session: &Session, path: String) -> Result<Self, RecipeError> {
        usable_path(&path)?;
        Ok(Self {
            session: session.clone(),
            path,
            data: Vec::new(),
            layout: Layout::default(),
            busy: Busy::default(),
        })
    }

    /// Waits for the turn, through lost connections and sessions, at most `limit`.
    pub(super) async fn acquire(
        &self,
        kind: Kind,
        limit: Option<Duration>,
    ) -> Result<Hold, RecipeError> {
        let entry = self.busy.enter(&self.path)?;
        let hold = within(&self.path, limit, self.wait(kind)).await?;
        Ok(hold.with_entry(entry))
    }

    /// Takes the turn if it is free now.
    pub(super) async fn try_acquire(&self, kind: Kind) -> Result<Option<Hold>, RecipeError> {
        let entry = self.busy.enter(&self.path)?;
        let look = async {
            loop {
                let (contender, listed) = self.enter(kind).await?;
                let names = self.names(&contender, listed).await?;
                self.seen_by_all(&names, &contender)?;
                match line::turn(&names, contender.name()) {
                    Turn::Missing => {}
                    Turn::Mine => {
                        if let Some(hold) = contender.hold().await {
                            return Ok(Some(hold));
                        }
                    }
                    Turn::Behind(_) => {
                        let left = contender.leave().await;
                        left.map_err(RecipeError::at(&self.path))?;
                        return Ok(None);
                    }
                }
            }
        };
        let limit = self.session.config().op_timeout;
        let hold = within(&self.path, Some(limit), look).await?;
        Ok(hold.map(|hold| hold.with_entry(entry)))
    }

    /// Makes our node. What it stands among is checked for names that would not see it.
    pub(super) async fn enter(
        &self,
        kind: Kind,
    ) -> Result<(Contender, Option<Children>), RecipeError> {
        let plan = Plan {
            parent: self.path.clone(),
            prefix: kind.prefix(self.layout),
            data: self.data.clone(),
        };
        let entered = Contender::enter(&self.session, plan).await;
        entered.map_err(RecipeError::at(&self.path))
    }

    async fn wait(&self, kind: Kind) -> Result<Hold, RecipeError> {
        loop {
            let (contender, mut listed) = self.enter(kind).await?;
            loop {
                let names = self.names(&contender, listed.take()).await?;
                self.seen_by_all(&names, &contender)?;
                match line::turn(&names, contender.name()) {
                    // The session ended, or somebody deleted our node: back to the end of the line.
                    Turn::Missing => break,
                    Turn::Mine => match contender.hold().await {
                        Some(hold) => return Ok(hold),
                        None => break,
                    },
                    Turn::Behind(name) => tokio::select! {
                        gone = self.gone(name) => gone?,
                        _ = contender.lost() => break,
                    },
                }
            }
        }
    }

    /// Those in line, from a list read after `contender` came; empty when the folder is gone.
    pub(super) async fn names(
        &self,
        contender: &Contender,
        listed: Option<Children>,
    ) -> Result<Vec<String>, RecipeError> {
        if let Some(listed) = listed {
            return Ok(listed.names);
        }
        loop {
            let read = tokio::select! {
                read = self.session.children(&self.path) => read,
                _ = contender.lost() => return Ok(Vec::new()),
            };
            match read {
                Ok(names) => return Ok(names),
                Err(ZkError::NoNode) => return Ok(Vec::new()),
                Err(e) if e.is_transient() => {}
                Err(e) => return Err(RecipeError::at(&self.path)(e)),
            }
        }
    }

    /// Refuses to contend with those who would not wait for us.
    fn seen_by_all(&self, names: &[String], contender: &Contender) -> Result<(), RecipeError> {
        match line::blind_to(names, contender.name()) {
            None => Ok(()),
            Some(name) => Err(RecipeError::OtherLayout {
                path: self.path.clone(),
                name: name.to_owned(),
            }),
        }
    }

    /// Waits until something happened to the node of this name.
    async fn gone(&self, name: &str) -> Result<(), RecipeError> {
        let path = child(&self.path, name);
        loop {
            match self.session.exists_watch(&path).await {
                Ok((Some(_), watch)) => {
                    watch.changed().await;
                    return Ok(());
                }
                Ok((None, _)) => return Ok(()),
                Err(e) if e.is_transient() => {}
                Err(e) => return Err(RecipeError::at(&path)(e)),
            }
        }
    }

    /// All in line, in order, the first of them first.
    pub(super) async fn entrants(&self) -> Result<Vec<Entrant>, RecipeError> {
        let names = match self.session.children(&self.path).await {
            Ok(names) => names,
            Err(ZkError::NoNode) => Vec::new(),
            Err(e) => return Err(RecipeError::at(&self.path)(e)),
        };
        let order = line::in_order(&names);
        let paths: Vec<String> = order.iter().map(|name| child(&self.path, name)).collect();
        let found = self.session.get_many(&paths).await;
        let found = found.map_err(RecipeError::at(&self.path))?;
        let entrant = |(name, node): (&str, Option<Node>)| Some(Entrant::of(name, node?));
        Ok(order.into_iter().zip(found).filter_map(entrant).collect())
    }
}

impl Entrant {
    pub(super) fn of(name: &str, node: Node) -> Self {
        Self {
            name: name.to_owned(),
            fence: Fence(node.stat.czxid),
            session_id: node.stat.ephemeral_owner,
            data: node.data,
        }
    }
}
