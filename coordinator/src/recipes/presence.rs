//! A session's own mark below a recipe: it makes writes that are sent twice happen once.
//!
//! ```text
//!   PARENT/<guid>     ephemeral; its version counts the writes that went with it
//! ```
//!
//! A connection that is lost during a create leaves its outcome unknown, and a sequential node has no
//! name to find it by. So each write goes in one multi with a `set` of the mark, at the version that
//! the mark must have: sent again, it is refused if the first attempt came through, and a request that
//! was held up on a dead connection is refused too. The mark goes with its session, and with it
//! everything that was to be done in that session's name.

use tokio::sync::Mutex;
use uuid::Uuid;

use super::own::child;
use crate::session::{Acl, CreateMode, MultiError, Op, OpResult, Session, ZkError};

/// Makes the writes of one recipe happen once. One write at a time; open several to pipeline.
#[derive(Debug)]
pub(super) struct Presence {
    session: Session,
    parent: String,
    mark: Mutex<Option<Mark>>,
}

/// The mark of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Its node.
    pub(super) path: String,
    /// One of a kind: what the session makes may carry it, to be known again.
    pub(super) guid: String,
    /// The session that it lives with.
    pub(super) session_id: i64,
    version: i32,
    /// A write was begun and its end not seen.
    uncertain: bool,
}

impl Mark {
    /// Succeeds in a multi only while the mark's session lives.
    pub(super) fn check(&self) -> Op {
        Op::Check {
            path: self.path.clone(),
            version: -1,
        }
    }
}

/// A write that was done.
#[derive(Debug)]
pub(super) struct Done {
    /// The mark that it went with.
    pub(super) mark: Mark,
    /// Of each operation; `None` when only the fact is known, the answer having been lost.
    pub(super) results: Option<Vec<OpResult>>,
}

impl Presence {
    /// Below `parent`, which is made on first use.
    pub(super) fn new(session: Session, parent: String) -> Self {
        Self {
            session,
            parent,
            mark: Mutex::new(None),
        }
    }

    /// The current session's mark.
    pub(super) async fn mark(&self) -> Result<Mark, ZkError> {
        let mut slot = self.mark.lock().await;
        Ok(self.current(&mut slot).await?.clone())
    }

    /// Does all that `ops` asks for the current mark, exactly once, or nothing of it.
    ///
    /// [`ZkError::Unknown`] only when the session ended, or ZooKeeper stayed away, before an attempt
    /// that may have come through was answered for.
    pub(super) async fn commit(&self, ops: impl Fn(&Mark) -> Vec<Op>) -> Result<Done, MultiError> {
        let mut slot = self.mark.lock().await;
        let mut sent: Option<Mark> = None;
        loop {
            let mark = match self.current(&mut slot).await {
                Ok(mark) => mark,
                Err(_) if sent.is_some() => return Err(ZkError::Unknown.into()),
                Err(e) => return Err(e.into()),
            };
            let at = mark.clone();
            if sent.as_ref().is_some_and(|sent| sent.path != at.path) {
                return Err(ZkError::Unknown.into());
            }
            let mut all = vec![set(&at)];
            all.extend(ops(&at));
            // Cleared when the end is seen: a caller that goes away leaves it.
            mark.uncertain = true;
            let outcome = self.session.multi(all).await;
            let known = |mark: &mut Mark, done: i32| {
                mark.version += done;
                mark.uncertain = false;
            };
            match outcome {
                Ok(mut results) => {
                    known(mark, 1);
                    let results = Some(results.drain(1.min(results.len())..).collect());
                    return Ok(Done { mark: at, results });
                }
                Err(MultiError {
                    index: Some(0),
                    error,
                }) => match error {
                    ZkError::BadVersion if sent.is_some() => {
                        known(mark, 1);
                        let results = None;
                        return Ok(Done { mark: at, results });
                    }
                    ZkError::NoNode | ZkError::BadVersion => {
                        *slot = None;
                        if sent.is_some() {
                            return Err(ZkError::Unknown.into());
                        }
                    }
                    _ if sent.is_some() => return Err(ZkError::Unknown.into()),
                    error => return Err(error.into()),
                },
                Err(e) if e.error == ZkError::Unknown => {
                    mark.uncertain = false;
                    sent = Some(at);
                }
                Err(MultiError { error, .. }) if sent.is_some() && gone(&error) => {
                    return Err(ZkError::Unknown.into());
                }
                Err(MultiError { index, error }) => {
                    known(mark, 0);
                    let index = index.and_then(|i| i.checked_sub(1));
                    return Err(MultiError { index, error });
                }
            }
        }
    }

    /// The mark of the session that is current, with a version that is certain.
    ///
    /// The slot is changed only when that is done: a caller that goes away meanwhile must not make
    /// this forget a mark by whose name something is held.
    async fn current<'a>(&self, slot: &'a mut Option<Mark>) -> Result<&'a mut Mark, ZkError> {
        let alive = |mark: &&Mark| self.session.session_id() == Some(mark.session_id);
        let settled = match slot.as_ref().filter(alive) {
            Some(mark) if mark.uncertain => self.settle(mark.clone()).await?,
            Some(mark) => Some(mark.clone()),
            None => None,
        };
        let mark = match settled {
            Some(mark) => mark,
            None => self.make().await?,
        };
        Ok(slot.insert(mark))
    }

    /// Moves the version on, so that a write that was given up can no longer come through.
    async fn settle(&self, mut mark: Mark) -> Result<Option<Mark>, ZkError> {
        loop {
            self.session.sync(&mark.path).await?;
            let Some(node) = self.session.get_if_exists(&mark.path).await? else {
                return Ok(None);
            };
            let at = Some(node.stat.version);
            match self.session.set(&mark.path, b"", at).await {
                Ok(stat) => {
                    mark.version = stat.version;
                    mark.uncertain = false;
                    return Ok(Some(mark));
                }
                Err(ZkError::BadVersion | ZkError::Unknown) => {}
                Err(ZkError::NoNode) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }

    async fn make(&self) -> Result<Mark, ZkError> {
        loop {
            // A name per attempt: one that was made unknown to us goes with the session.
            let guid = Uuid::new_v4().simple().to_string();
            let path = child(&self.parent, &guid);
            let created = self
                .session
                .create(&path, b"", CreateMode::Ephemeral, Acl::Default)
                .await;
            match created {
                Ok(created) => {
                    return Ok(Mark {
                        path,
                        guid,
                        session_id: created.stat.ephemeral_owner,
                        version: 0,
                        uncertain: false,
                    });
                }
                Err(ZkError::NoNode) => self.session.ensure_path(&self.parent).await?,
                Err(ZkError::Unknown | ZkError::NodeExists) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl Drop for Presence {
    /// Takes the mark away.
    fn drop(&mut self) {
        let Some(mark) = self.mark.get_mut().take() else {
            return;
        };
        let session = self.session.clone();
        self.session.in_background(async move {
            // What is left goes with the session.
            let _ = session.delete(&mark.path, None).await;
        });
    }
}

fn set(mark: &Mark) -> Op {
    Op::Set {
        path: mark.path.clone(),
        data: Vec::new(),
        version: Some(mark.version),
    }
}

/// Whether the error says nothing about an earlier attempt.
fn gone(error: &ZkError) -> bool {
    matches!(
        error,
        ZkError::SessionExpired | ZkError::NotConnected { .. } | ZkError::Closed
    )
}
