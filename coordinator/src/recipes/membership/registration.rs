//! Being a member: the node is made, kept, made again under the next session, and removed.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::debug;

use crate::recipes::Fence;
use crate::recipes::claim::{claim, freed};
use crate::recipes::error::{RecipeError, within};
use crate::recipes::hold::Contender;
use crate::recipes::own::child;
use crate::recipes::path::{usable, usable_name};
use crate::recipes::patience::until_connected;
use crate::session::{Session, Watch, ZkError};

/// Heartbeats and new data that wait to be written.
const WRITES_MAX: usize = 16;

/// Why somebody is not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// ZooKeeper refused, or the path cannot be used.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Another session has the id and did not go in time.
    #[error("{path}: the id {id} is another member's, not free within {} ms", waited.as_millis())]
    IdTaken {
        /// Where.
        path: String,
        /// The id.
        id: String,
        /// The limit.
        waited: Duration,
    },
    /// The registration was given up, or its runtime ends.
    #[error("{path}: {id} is not registered any more")]
    Gone {
        /// Where.
        path: String,
        /// The id.
        id: String,
    },
}

/// Where a registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The node is there.
    Registered(Fence),
    /// The session is lost, or the node was deleted: it is being made again.
    Away,
    /// Meanwhile another member took the id: it is made again when that one goes.
    Displaced,
}

/// A write that is wanted.
struct Write {
    data: Option<Vec<u8>>,
    done: oneshot::Sender<Result<(), ZkError>>,
}

/// Being registered. Dropping it ends that, in the background.
#[derive(Debug)]
pub struct Registration {
    path: String,
    id: String,
    writes: mpsc::Sender<Write>,
    standing: watch::Receiver<Standing>,
}

impl Registration {
    /// Registers `id` with `data`; waits up to `timeout` (`None`: however long it takes) while another
    /// session has the id, as the last one of a process that was killed does.
    pub async fn register(
        session: &Session,
        path: &str,
        id: &str,
        data: &[u8],
        timeout: Option<Duration>,
    ) -> Result<Self, MembershipError> {
        let path = usable(path)?;
        usable_name(id)?;
        let (writes, wanted) = mpsc::channel(WRITES_MAX);
        let (publish, mut standing) = watch::channel(Standing::Away);
        let (failed, failure) = oneshot::channel();
        let keeper = Keeper {
            session: session.clone(),
            node: child(&path, id),
            data: data.to_vec(),
            wanted,
            standing: publish,
        };
        tokio::spawn(async move {
            if let Err(e) = keeper.run().await {
                debug!("a registration ends: {e}");
                // Only the first registering listens.
                let _ = failed.send(e);
            }
        });
        let registered = async {
            let stands = |s: &Standing| matches!(s, Standing::Registered(_));
            if standing.wait_for(stands).await.is_ok() {
                return Ok(());
            }
            let error = failure.await.unwrap_or(ZkError::Closed);
            Err(RecipeError::at(&path)(error))
        };
        match within(&path, timeout, registered).await {
            Ok(()) => {}
            Err(RecipeError::TimedOut { path, waited })
                if *standing.borrow() == Standing::Displaced =>
            {
                let id = id.to_owned();
                return Err(MembershipError::IdTaken { path, id, waited });
            }
            Err(e) => return Err(e.into()),
        }
        Ok(Self {
            id: id.to_owned(),
            path,
            writes,
            standing,
        })
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it stands, now and later.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Fencing token of the registration that stands, if one does.
    #[must_use]
    pub fn fence(&self) -> Option<Fence> {
        match *self.standing.borrow() {
            Standing::Registered(fence) => Some(fence),
            _ => None,
        }
    }

    /// Replaces the data. It is also what a later session registers.
    pub async fn update(&self, data: &[u8]) -> Result<(), MembershipError> {
        self.write(Some(data.to_vec())).await
    }

    /// Tells the others that this member is well.
    pub async fn beat(&self) -> Result<(), MembershipError> {
        self.write(None).await
    }

    async fn write(&self, data: Option<Vec<u8>>) -> Result<(), MembershipError> {
        let (done, written) = oneshot::channel();
        let gone = || MembershipError::Gone {
            path: self.path.clone(),
            id: self.id.clone(),
        };
        let write = Write { data, done };
        self.writes.send(write).await.map_err(|_| gone())?;
        let written = written.await.map_err(|_| gone())?;
        Ok(written.map_err(RecipeError::at(&child(&self.path, &self.id)))?)
    }

    /// Ends it and waits until the node is gone.
    pub async fn leave(self) {
        let Self {
            writes,
            mut standing,
            ..
        } = self;
        drop(writes);
        // The task's end closes it.
        while standing.changed().await.is_ok() {}
    }
}

/// The task behind a registration.
struct Keeper {
    session: Session,
    node: String,
    data: Vec<u8>,
    wanted: mpsc::Receiver<Write>,
    standing: watch::Sender<Standing>,
}

/// Why the node is not kept any more.
enum End {
    Lost,
    NotWanted,
}

impl Keeper {
    /// Until it is not wanted any more.
    async fn run(mut self) -> Result<(), ZkError> {
        let (session, node) = (self.session.clone(), self.node.clone());
        loop {
            let data = self.data.clone();
            let claimed = tokio::select! {
                claimed = claim(&session, &node, &data) => claimed?,
                () = self.not_wanted() => return Ok(()),
            };
            let Some(member) = claimed else {
                self.standing.send_replace(Standing::Displaced);
                tokio::select! {
                    freed = freed(&session, &node) => freed?,
                    () = self.not_wanted() => return Ok(()),
                }
                continue;
            };
            let end = self.keep(&member).await?;
            self.standing.send_replace(Standing::Away);
            if matches!(end, End::NotWanted) {
                return member.leave().await;
            }
        }
    }

    /// While the node stands.
    async fn keep(&mut self, member: &Contender) -> Result<End, ZkError> {
        loop {
            let stat = match self.session.exists_watch(&self.node).await {
                Ok((Some(stat), watch)) => Some((stat, watch)),
                Ok((None, _)) => None,
                Err(ZkError::SessionExpired) => None,
                Err(e) if e.is_transient() => {
                    tokio::select! {
                        _ = member.lost() => return Ok(End::Lost),
                        () = until_connected(&self.session) => continue,
                    }
                }
                Err(e) => return Err(e),
            };
            let own = |id| self.session.session_id() == Some(id);
            let Some((stat, watch)) = stat.filter(|(s, _)| own(s.ephemeral_owner)) else {
                return Ok(End::Lost);
            };
            self.standing.send_if_modified(|standing| {
                let now = Standing::Registered(Fence(stat.czxid));
                std::mem::replace(standing, now) != now
            });
            if let Some(end) = self.serve(member, watch).await {
                return Ok(end);
            }
        }
    }

    /// Writes what is wanted until the node may have changed.
    async fn serve(&mut self, member: &Contender, mut watch: Watch) -> Option<End> {
        loop {
            tokio::select! {
                _ = member.lost() => return Some(End::Lost),
                () = watch.wait() => return None,
                write = self.wanted.recv() => match write {
                    None => return Some(End::NotWanted),
                    Some(write) => self.write(write).await,
                },
            }
        }
    }

    async fn write(&mut self, write: Write) {
        if let Some(data) = write.data {
            self.data = data;
        }
        // A heartbeat or data sent twice does no harm; under another session it is written anyway.
        let written = loop {
            match self.session.set(&self.node, &self.data, None).await {
                Err(ZkError::Unknown) => {}
                Err(ZkError::NoNode | ZkError::SessionExpired) => break Ok(()),
                other => break other.map(drop),
            }
        };
        // Whoever asked may have gone.
        let _ = write.done.send(written);
    }

    /// Resolves when the owner is gone; keeps the latest data for later.
    async fn not_wanted(&mut self) {
        while let Some(write) = self.wanted.recv().await {
            if let Some(data) = write.data {
                self.data = data;
            }
            let _ = write.done.send(Ok(()));
        }
    }
}
