//! The place of one consumer: who reads as it, and up to where it has acknowledged.
//!
//! The version of the consumer's node fences: attaching sets the node, so the version that an earlier
//! process knows is out of date from then on, and its acknowledgements are refused.

use std::sync::Arc;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::life::{Claim, Life};
use super::{ATTACHED, FanoutError, ITEM, Shared, Start, Subscribe};
use crate::recipes::error::RecipeError;
use crate::recipes::own::child;
use crate::recipes::path::sequence;
use crate::recipes::patience::{Patience, until_connected};
use crate::session::{Acl, CreateMode, Op, Watch, ZkError};

/// The place of a consumer, held by this process. Dropping it gives it up, in the background.
#[derive(Debug)]
pub(super) struct Cursor {
    shared: Arc<Shared>,
    node: String,
    name: String,
    /// What the `attached` node holds, to be known again.
    guid: String,
    transient: bool,
    session_id: i64,
    version: i32,
    /// The first number that is not acknowledged.
    pub(super) position: u64,
    /// The items' folder that the position is of.
    pub(super) life: Life,
    released: bool,
}

/// What came of an attempt to attach.
enum Attempt {
    Attached,
    /// An earlier attempt of ours, the answer to which was lost or not waited for.
    Kept,
    /// Another process is; the watch fires when it goes. `None`: it has gone just now.
    Busy(Option<Watch>),
}

impl Cursor {
    /// Takes the place, waiting for it as long as `how` says.
    pub(super) async fn take(
        shared: &Arc<Shared>,
        name: &str,
        how: Subscribe,
    ) -> Result<Self, FanoutError> {
        let (answer, taken) = oneshot::channel();
        let cursor = Self {
            node: child(&shared.consumers, name),
            name: name.to_owned(),
            guid: Uuid::new_v4().simple().to_string(),
            transient: how.transient,
            session_id: 0,
            version: 0,
            position: 0,
            life: Life::default(),
            released: false,
            shared: Arc::clone(shared),
        };
        let attached = || FanoutError::Attached {
            path: shared.path.clone(),
            name: name.to_owned(),
        };
        let patience = Patience::new(Some(how.wait.unwrap_or_default()));
        tokio::spawn(async move {
            let mut cursor = cursor;
            let done = cursor.attach_when_free(how.start, patience).await;
            // If nobody waits any more, the place comes back and is given up.
            let _ = answer.send(done.map(|free| free.then_some(cursor)));
        });
        match taken.await.unwrap_or(Err(ZkError::Closed)) {
            Ok(Some(cursor)) => Ok(cursor),
            Ok(None) => Err(attached()),
            Err(e) => Err(RecipeError::at(&shared.path)(e).into()),
        }
    }

    async fn attach_when_free(
        &mut self,
        start: Start,
        patience: Patience,
    ) -> Result<bool, ZkError> {
        loop {
            match self.attach(Some(start)).await {
                Ok(Attempt::Attached | Attempt::Kept) => return Ok(true),
                Ok(Attempt::Busy(None)) => {}
                Ok(Attempt::Busy(Some(watch))) => {
                    if patience.of(watch.changed()).await.is_none() {
                        return Ok(false);
                    }
                }
                Err(e) if e.is_transient() => {
                    if patience
                        .of(until_connected(&self.shared.session))
                        .await
                        .is_none()
                    {
                        return Err(e);
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Without a `start` only if it is registered.
    async fn attach(&mut self, start: Option<Start>) -> Result<Attempt, ZkError> {
        match self.transient {
            true => self.attach_transient(start.unwrap_or_default()).await,
            false => self.attach_durable(start).await,
        }
    }

    async fn attach_durable(&mut self, start: Option<Start>) -> Result<Attempt, ZkError> {
        let session = &self.shared.session;
        let attached = child(&self.node, ATTACHED);
        loop {
            let Some(node) = session.get_if_exists(&self.node).await? else {
                let start = start.ok_or(ZkError::NoNode)?;
                self.create(start, CreateMode::Persistent).await?;
                continue;
            };
            if node.stat.ephemeral_owner != 0 {
                // A transient consumer of this name.
                return self.busy(&self.node).await;
            }
            let said = Claim::read(&node.data);
            let claim = said.within(&self.shared.folder().await?);
            let take = Op::Create {
                path: attached.clone(),
                data: self.guid.clone().into_bytes(),
                mode: CreateMode::Ephemeral,
                acl: Acl::Default,
            };
            let fence = Op::Set {
                path: self.node.clone(),
                // Of the folder that is there now, so that it does not seem to count later.
                data: claim.write(),
                version: Some(node.stat.version),
            };
            match session.multi(vec![take, fence]).await.map_err(|e| e.error) {
                Ok(_) => {
                    let version = node.stat.version.wrapping_add(1);
                    self.found(version).await?;
                    self.go_on_at(said, claim);
                    return Ok(Attempt::Attached);
                }
                Err(ZkError::NodeExists) => match session.get_if_exists(&attached).await? {
                    Some(place) if place.data == self.guid.as_bytes() => {
                        self.found(node.stat.version).await?;
                        self.go_on_at(said, claim);
                        return Ok(Attempt::Kept);
                    }
                    Some(_) => return self.busy(&attached).await,
                    None => {}
                },
                Err(ZkError::BadVersion | ZkError::NoNode | ZkError::Unknown) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Attached: notes under which session, which is that of the node.
    async fn found(&mut self, version: i32) -> Result<(), ZkError> {
        let session = &self.shared.session;
        let place = session.exists(&child(&self.node, ATTACHED)).await?;
        self.session_id = place.ok_or(ZkError::SessionExpired)?.ephemeral_owner;
        self.version = version;
        Ok(())
    }

    /// Takes `claim` over, which is what `said` comes to in the folder that is there.
    fn go_on_at(&mut self, said: Claim, claim: Claim) {
        self.position = claim.position;
        self.life = claim.life.unwrap_or_default();
        if claim.position < said.position {
            self.warn_of_restart(said.position);
        }
    }

    /// The items' folder is another one by now: nothing of it was acknowledged.
    pub(super) fn restart(&mut self, life: Life) {
        if life != self.life {
            let position = std::mem::take(&mut self.position);
            self.life = life;
            self.warn_of_restart(position);
        }
    }

    fn warn_of_restart(&self, position: u64) {
        tracing::warn!(
            queue = self.shared.path,
            consumer = self.name,
            position,
            "the items were numbered anew: this consumer starts again from the oldest item there is"
        );
    }

    async fn attach_transient(&mut self, start: Start) -> Result<Attempt, ZkError> {
        let created = self.create(start, CreateMode::Ephemeral).await?;
        let node = self.shared.session.get_if_exists(&self.node).await?;
        let node = node.ok_or(ZkError::SessionExpired)?;
        let owner = node.stat.ephemeral_owner;
        if !created || Some(owner) != self.shared.session.session_id() {
            return self.busy(&self.node).await;
        }
        self.session_id = owner;
        self.version = node.stat.version;
        let said = Claim::read(&node.data);
        let claim = said.within(&self.shared.folder().await?);
        self.go_on_at(said, claim);
        Ok(Attempt::Attached)
    }

    async fn busy(&self, path: &str) -> Result<Attempt, ZkError> {
        let (there, watch) = self.shared.session.exists_watch(path).await?;
        Ok(Attempt::Busy(there.map(|_| watch)))
    }

    /// Registers the consumer; `false` if there is one of that name.
    async fn create(&self, start: Start, mode: CreateMode) -> Result<bool, ZkError> {
        let session = &self.shared.session;
        // Before the number: if the folder changes between, it is the older one that is claimed.
        let life = Some(self.shared.folder().await?.life);
        let (position, join) = match start {
            Start::Oldest => (0, None),
            Start::Next => {
                let (next, join) = self.next_number().await?;
                (next, Some(join))
            }
        };
        let data = Claim { position, life }.write();
        let mut sent = false;
        let created = loop {
            let made = session.create(&self.node, &data, mode, Acl::Default);
            match made.await {
                Ok(_) => break Ok(true),
                Err(ZkError::NodeExists) => break Ok(sent),
                Err(ZkError::Unknown) => sent = true,
                Err(e) => break Err(e),
            }
        };
        if let Some(join) = join {
            // It goes with the session at the latest.
            let _ = session.delete(&join, None).await;
        }
        created
    }

    /// The number that the next item gets, by taking one in the same row.
    async fn next_number(&self) -> Result<(u64, String), ZkError> {
        let path = child(&self.shared.items, "join-");
        let mode = CreateMode::EphemeralSequential;
        let created = self.shared.session.create(&path, b"", mode, Acl::Default);
        let created = created.await?.path;
        let name = created.rsplit('/').next().unwrap_or_default();
        let number = sequence(name, "join-").map(|n| n + 1);
        let number = number.ok_or_else(|| {
            ZkError::Refused(format!(
                "{created} has no number that items can follow, as {ITEM}"
            ))
        });
        Ok((number?, created))
    }

    /// Attached under the current session, again if need be.
    pub(super) async fn keep(&mut self) -> Result<(), FanoutError> {
        if self.shared.session.session_id() == Some(self.session_id) {
            return Ok(());
        }
        if self.transient {
            return Err(self.displaced());
        }
        let (version, before, life) = (self.version, self.position, self.life);
        // A place that was taken meanwhile shows in the version.
        match self.attach(None).await {
            Ok(Attempt::Kept) => Ok(()),
            Ok(Attempt::Attached) if self.version == version.wrapping_add(1) => Ok(()),
            Ok(Attempt::Attached) => {
                if self.life == life {
                    self.position = before.max(self.position);
                }
                Err(self.displaced())
            }
            Ok(Attempt::Busy(_)) | Err(ZkError::NoNode) => Err(self.displaced()),
            Err(e) => Err(RecipeError::at(&self.node)(e).into()),
        }
    }

    fn displaced(&self) -> FanoutError {
        FanoutError::Displaced {
            path: self.shared.path.clone(),
            name: self.name.clone(),
        }
    }

    /// Everything below `end` is acknowledged.
    pub(super) async fn advance(&mut self, end: u64) -> Result<(), FanoutError> {
        if end <= self.position {
            return Ok(());
        }
        let (position, life) = (end, Some(self.life));
        let data = Claim { position, life }.write();
        let mut sent = false;
        loop {
            let session = &self.shared.session;
            let set = session.set(&self.node, &data, Some(self.version)).await;
            match set {
                Ok(stat) => {
                    self.version = stat.version;
                    break;
                }
                Err(ZkError::Unknown) => sent = true,
                Err(ZkError::BadVersion) if sent => match session.get_if_exists(&self.node).await {
                    Ok(Some(node))
                        if node.data == data
                            && node.stat.version == self.version.wrapping_add(1) =>
                    {
                        self.version = node.stat.version;
                        break;
                    }
                    Ok(_) => return Err(self.displaced()),
                    Err(e) if e.is_transient() => until_connected(session).await,
                    Err(e) => return Err(RecipeError::at(&self.node)(e).into()),
                },
                Err(ZkError::BadVersion | ZkError::NoNode) => return Err(self.displaced()),
                Err(ZkError::NotConnected { .. }) => until_connected(session).await,
                Err(ZkError::SessionExpired) if !self.transient => {}
                Err(ZkError::SessionExpired) => return Err(self.displaced()),
                Err(e) => return Err(RecipeError::at(&self.node)(e).into()),
            }
        }
        self.position = end;
        Ok(())
    }

    /// Gives the place up and waits until that is done.
    pub(super) async fn release(mut self) -> Result<(), FanoutError> {
        self.released = true;
        let (node, place) = (self.node.clone(), self.place());
        let released = place.release(&self.shared).await;
        Ok(released.map_err(RecipeError::at(&node))?)
    }

    fn place(&self) -> Place {
        Place {
            node: self.node.clone(),
            owner: match self.transient {
                true => Owner::Session(self.session_id),
                false => Owner::Guid(self.guid.clone()),
            },
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        let (shared, place) = (Arc::clone(&self.shared), self.place());
        self.shared.session.in_background(async move {
            // It is free at the latest with the end of the session.
            let _ = place.release(&shared).await;
        });
    }
}

/// What is given up, and how it is known to be ours still.
struct Place {
    node: String,
    owner: Owner,
}

enum Owner {
    /// Of a transient consumer's node.
    Session(i64),
    /// In the `attached` node of a durable one.
    Guid(String),
}

impl Place {
    /// However often it takes, while the session lives.
    async fn release(&self, shared: &Shared) -> Result<(), ZkError> {
        loop {
            let released = match self.claim(shared).await {
                Ok(Some(ops)) => shared
                    .session
                    .multi(ops)
                    .await
                    .map_err(|e| e.error)
                    .map(drop),
                Ok(None) => return Ok(()),
                Err(e) => Err(e),
            };
            match released {
                // Read again: it was another's, or the first attempt came through.
                Ok(()) | Err(ZkError::NoNode | ZkError::BadVersion) => {}
                Err(e) if e.is_transient() => until_connected(&shared.session).await,
                Err(e) => return Err(e),
            }
        }
    }

    /// What takes it away at the version it has now; `None` if it is not ours.
    async fn claim(&self, shared: &Shared) -> Result<Option<Vec<Op>>, ZkError> {
        let session = &shared.session;
        let attached = child(&self.node, ATTACHED);
        let Some(node) = session.get_if_exists(&self.node).await? else {
            return Ok(None);
        };
        let path = self.node.clone();
        let version = Some(node.stat.version);
        match &self.owner {
            // A place that was never taken has no session, and a durable node no owner.
            Owner::Session(id) if *id != 0 && node.stat.ephemeral_owner == *id => {
                Ok(Some(vec![Op::Delete { path, version }]))
            }
            Owner::Session(_) => Ok(None),
            Owner::Guid(guid) => {
                let place = session.get_if_exists(&attached).await?;
                if place.is_none_or(|place| place.data != guid.as_bytes()) {
                    return Ok(None);
                }
                // Whoever attaches later sets the node too: this is refused then.
                let data = node.data;
                let fence = Op::Set {
                    path,
                    data,
                    version,
                };
                let version = None;
                let place = Op::Delete {
                    path: attached,
                    version,
                };
                Ok(Some(vec![fence, place]))
            }
        }
    }
}
