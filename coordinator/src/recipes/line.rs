//! Waiting in line: enter, look who is before, wait for that one only, look again.
//!
//! Only the node right before a contender is watched, so one that leaves wakes one (no herd). Unless it
//! says that it held until now (`farewell.rs`), a list is read again before anything is taken: the one
//! before may have left without ever having held. Who shares our session says so to us itself
//! (`session/neighbours.rs`): nobody stands between us, so that it need be neither written first nor watched.

use std::time::Duration;

use crate::session::{Children, Node, Session, Word, ZkError};

use super::error::{RecipeError, usable_path, within};
use super::farewell::{self, Farewell};
use super::fence::Fence;
use super::hold::{Busy, Contender, Hold};
use super::own::{Plan, child};
use super::turn::{self, Kind, Layout, Turn};

/// So long we rely on one who shares our session to say itself that it goes. Then its node is watched, too:
/// somebody else may have deleted it.
pub(super) const NEIGHBOUR_FIRST: Duration = Duration::from_millis(100);

/// Who has waited for so long looks whether it may see whom it waits for.
const LOOK_AFTER: Duration = Duration::from_secs(1);

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

/// How the one before went.
enum Left {
    /// It held and let go: nobody is before us.
    Told,
    /// It may have held, or not; it may still be there.
    Unknown,
}

impl Kind {
    /// What one of this kind says when it lets go, having `waited` for its turn or not.
    fn farewell(self, waited: bool) -> Farewell {
        match self {
            // Others of its kind may hold beside it.
            Self::Read | Self::Permit => Farewell::Never,
            Self::Lock | Self::Write | Self::Latch if waited => Farewell::Always,
            Self::Lock | Self::Write | Self::Latch => Farewell::WhenLong,
        }
    }
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

    /// Lets go of `hold` and waits for the next turn, from the end of the line: in one write, if `hold` is of this
    /// handle.
    pub(super) async fn pass_on(&self, kind: Kind, mut hold: Hold) -> Result<Hold, RecipeError> {
        let Some(entry) = hold.take_entry(&self.busy) else {
            hold.release().await?;
            return self.acquire(kind, None).await;
        };
        let entered = hold.requeue(self.plan(kind)).await;
        let entered = entered.map_err(RecipeError::at(&self.path))?;
        let hold = self.wait_from(kind, Some(entered)).await?;
        Ok(hold.with_entry(entry))
    }

    /// Takes the turn if it is free now.
    pub(super) async fn try_acquire(&self, kind: Kind) -> Result<Option<Hold>, RecipeError> {
        let entry = self.busy.enter(&self.path)?;
        let look = async {
            loop {
                let (contender, listed) = self.enter(kind).await?;
                let listed = listed.map(|listed| listed.names);
                let names = self.names(&contender, listed).await?;
                self.seen_by_all(&names, &contender)?;
                match turn::turn(&names, contender.name()) {
                    Turn::Missing => {}
                    Turn::Mine => {
                        let farewell = kind.farewell(false);
                        if let Some(hold) = contender.hold_and_say(farewell).await {
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

    /// Makes our node; with a list that has it in it, if one came along.
    pub(super) async fn enter(
        &self,
        kind: Kind,
    ) -> Result<(Contender, Option<Children>), RecipeError> {
        let entered = Contender::enter(&self.session, self.plan(kind)).await;
        entered.map_err(RecipeError::at(&self.path))
    }

    fn plan(&self, kind: Kind) -> Plan {
        Plan {
            parent: self.path.clone(),
            prefix: kind.prefix(self.layout),
            data: self.data.clone(),
        }
    }

    async fn wait(&self, kind: Kind) -> Result<Hold, RecipeError> {
        self.wait_from(kind, None).await
    }

    /// As [`wait`](Self::wait), from a place in line, if there is one.
    async fn wait_from(
        &self,
        kind: Kind,
        mut entered: Option<(Contender, Option<Vec<String>>)>,
    ) -> Result<Hold, RecipeError> {
        loop {
            let (contender, mut listed) = match entered.take() {
                Some(entered) => entered,
                None => {
                    let (contender, listed) = self.enter(kind).await?;
                    (contender, listed.map(|listed| listed.names))
                }
            };
            let mut waited = false;
            let mine = loop {
                let names = self.names(&contender, listed.take()).await?;
                self.seen_by_all(&names, &contender)?;
                match turn::turn(&names, contender.name()) {
                    // The session ended, or somebody deleted our node: back to the end of the line.
                    Turn::Missing => break false,
                    Turn::Mine => break true,
                    Turn::Behind(name) => {
                        waited = true;
                        tokio::select! {
                            biased;
                            _ = contender.lost() => break false,
                            () = contender.deleted() => {}
                            left = self.leaves(name, farewell::is_clear(&names, name)) => match left? {
                                Left::Told => break true,
                                Left::Unknown => {}
                            },
                        }
                    }
                }
            };
            if mine && let Some(hold) = contender.hold_and_say(kind.farewell(waited)).await {
                return Ok(hold);
            }
        }
    }

    /// Those in line, from a list read after `contender` came; empty when the folder is gone.
    pub(super) async fn names(
        &self,
        contender: &Contender,
        listed: Option<Vec<String>>,
    ) -> Result<Vec<String>, RecipeError> {
        if let Some(names) = listed {
            return Ok(names);
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
    pub(super) fn seen_by_all(
        &self,
        names: &[String],
        contender: &Contender,
    ) -> Result<(), RecipeError> {
        match turn::stranger(names, contender.name()) {
            None => Ok(()),
            Some(name) => Err(RecipeError::OtherLayout {
                path: self.path.clone(),
                name: name.to_owned(),
            }),
        }
    }

    /// Waits until something happened to the node of this name; `tells`: its farewell can be relied on.
    async fn leaves(&self, name: &str, tells: bool) -> Result<Left, RecipeError> {
        let path = child(&self.path, name);
        let mut neighbour = self.session.neighbours().listen(&path);
        let stands = neighbour.stands();
        let by_zookeeper = async {
            if stands {
                tokio::time::sleep(NEIGHBOUR_FIRST).await;
            }
            self.leaves_zookeeper(&path, tells).await
        };
        tokio::select! {
            biased;
            word = neighbour.heard() => Ok(match word {
                Word::Held => Left::Told,
                Word::Left => Left::Unknown,
            }),
            left = by_zookeeper => left,
        }
    }

    /// As [`leaves`](Self::leaves), told by ZooKeeper only.
    async fn leaves_zookeeper(&self, path: &str, tells: bool) -> Result<Left, RecipeError> {
        match farewell::watch(&self.session, path).await {
            Ok((gone, farewell)) => tokio::select! {
                // Its event comes before that of the node's end.
                biased;
                () = farewell::heard(farewell), if tells => Ok(Left::Told),
                () = gone.changed() => Ok(Left::Unknown),
                left = self.late_look(path) => left,
            },
            Err(e) if e.is_transient() => Ok(Left::Unknown),
            Err(e) => Err(RecipeError::at(path)(e)),
        }
    }

    /// Who waits long asks once whether it may see what it waits for: ZooKeeper tells nothing of what it may not.
    async fn late_look(&self, path: &str) -> Result<Left, RecipeError> {
        tokio::time::sleep(LOOK_AFTER).await;
        match self.session.exists(path).await {
            Ok(Some(_)) => std::future::pending().await,
            Ok(None) => Ok(Left::Unknown),
            Err(e) if e.is_transient() => Ok(Left::Unknown),
            Err(e) => Err(RecipeError::at(path)(e)),
        }
    }

    /// All in line, in order, the first of them first. It may be one that has let go, and whose node is on
    /// its way out.
    pub(super) async fn entrants(&self) -> Result<Vec<Entrant>, RecipeError> {
        let names = match self.session.children(&self.path).await {
            Ok(names) => names,
            Err(ZkError::NoNode) => Vec::new(),
            Err(e) => return Err(RecipeError::at(&self.path)(e)),
        };
        let order = turn::in_order(&names);
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
