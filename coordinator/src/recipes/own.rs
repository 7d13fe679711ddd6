//! An ephemeral znode that is certainly ours: made although answers get lost, and removed for sure.
//!
//! A create without an answer may have happened. The node is found again by a part of its name that
//! nobody else uses, and only counts if the session that is alive owns it: a node of our last session,
//! which ZooKeeper is about to delete, has the same name part (CURATOR-498, CURATOR-696).

use crate::session::{
    Acl, Children, CreateMode, Op, OpResult, Session, SessionState, Stat, ZkError,
};

use super::fence::Fence;

/// An ephemeral node of this session. Plain data: `hold.rs` looks after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Own {
    /// Whole path.
    pub(super) path: String,
    /// Transaction that made it.
    pub(super) fence: Fence,
    /// Session that it lives with, as the states count it.
    generation: u64,
    /// Nobody else makes a node of this name.
    unique: bool,
}

/// What is to be made.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Folder, made when it is missing.
    pub(super) parent: String,
    /// Start of the name, used by nobody else; ten digits follow.
    pub(super) prefix: String,
    /// Data of the node.
    pub(super) data: Vec<u8>,
}

/// A node and the children of its folder, if a list that has the node in it came with it.
pub(super) type OwnAmong = (Own, Option<Children>);
/// As [`OwnAmong`], with their names only.
pub(super) type OwnAmongNames = (Own, Option<Vec<String>>);

impl Own {
    /// Makes a sequential node, through lost connections and lost sessions.
    ///
    /// Create and list leave together: ZooKeeper serves one session's calls in order, so the list mostly
    /// has the new node in it. Dropping the future may leave a node: `find` knows.
    pub(super) async fn create(session: &Session, plan: &Plan) -> Result<OwnAmong, ZkError> {
        let start = child(&plan.parent, &plan.prefix);
        loop {
            let create = session.create(
                &start,
                &plan.data,
                CreateMode::EphemeralSequential,
                Acl::Default,
            );
            let (made, listed) = tokio::join!(create, session.list(&plan.parent));
            match made {
                Ok(created) => {
                    let Some(own) = Self::of(session, created.path, &created.stat, true) else {
                        continue;
                    };
                    let among = |all: &Children| all.names.iter().any(|n| n == own.name());
                    let listed = listed.ok().filter(among);
                    return Ok((own, listed));
                }
                Err(ZkError::NoNode) => match session.ensure_path(&plan.parent).await {
                    Ok(()) => {}
                    Err(e) if e.is_transient() => {}
                    Err(e) => return Err(e),
                },
                Err(ZkError::Unknown) => {
                    if let Some(own) = Self::find(session, plan).await? {
                        return Ok((own, None));
                    }
                }
                // Nothing was sent, or it went with its session.
                Err(ZkError::NotConnected { .. } | ZkError::SessionExpired) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Makes a sequential node by the transaction that removes `old`, which is what `going` does; tried once.
    /// `None`: it went again, with its session.
    ///
    /// An error leaves both nodes as they were, or as they were to be; so does dropping the future. `find` knows.
    pub(super) async fn create_in_stead(
        session: &Session,
        old: &Self,
        mut going: Vec<Op>,
        plan: &Plan,
    ) -> Result<Option<OwnAmongNames>, ZkError> {
        if old.is_over(session) {
            return Err(ZkError::SessionExpired);
        }
        going.push(Op::Create {
            path: child(&plan.parent, &plan.prefix),
            data: plan.data.clone(),
            mode: CreateMode::EphemeralSequential,
            acl: Acl::Default,
        });
        // They leave together, as in `create`.
        let (done, listed) = tokio::join!(session.multi(going), session.children(&plan.parent));
        let Some(OpResult::Created { path, stat }) = done?.into_iter().next_back() else {
            return Ok(None);
        };
        let stat = match stat {
            Some(stat) => Some(stat),
            None => session.exists(&path).await?,
        };
        let own = stat.and_then(|stat| Self::of(session, path, &stat, true));
        Ok(own.map(|own| {
            let among = |all: &Vec<String>| all.iter().any(|name| name == own.name());
            let listed = listed.ok().filter(among);
            (own, listed)
        }))
    }

    /// The node that a create without an answer has left, if it has.
    pub(super) async fn find(session: &Session, plan: &Plan) -> Result<Option<Self>, ZkError> {
        loop {
            let names = match session.children(&plan.parent).await {
                Ok(names) => names,
                // What was made went with the folder, or with the session.
                Err(ZkError::NoNode | ZkError::SessionExpired) => return Ok(None),
                Err(e) if e.is_transient() => continue,
                Err(e) => return Err(e),
            };
            let ours = |name: &&String| name.starts_with(&plan.prefix);
            let mut again = false;
            for name in names.iter().filter(ours) {
                let path = child(&plan.parent, name);
                match session.exists(&path).await {
                    Ok(Some(stat)) => {
                        if let Some(own) = Self::of(session, path, &stat, true) {
                            return Ok(Some(own));
                        }
                    }
                    Ok(None) => {}
                    Err(ZkError::SessionExpired) => return Ok(None),
                    Err(e) if e.is_transient() => again = true,
                    Err(e) => return Err(e),
                }
            }
            if !again {
                return Ok(None);
            }
        }
    }

    /// Makes a node of a fixed name; `None` if it is there and somebody else's.
    pub(super) async fn claim(
        session: &Session,
        path: &str,
        data: &[u8],
    ) -> Result<Option<Self>, ZkError> {
        // Without a lost answer, a node that is there is that of somebody else, if only in this session.
        let mut unsure = false;
        loop {
            let mode = CreateMode::Ephemeral;
            match session.create(path, data, mode, Acl::Default).await {
                Ok(created) => {
                    if let Some(own) = Self::of(session, created.path, &created.stat, false) {
                        return Ok(Some(own));
                    }
                }
                Err(ZkError::NodeExists) if !unsure => return Ok(None),
                Err(ZkError::NodeExists) => match session.exists(path).await {
                    Ok(Some(stat)) if session.neighbours().has(path, stat.czxid) => {
                        return Ok(None);
                    }
                    Ok(Some(stat)) => return Ok(Self::of(session, path.to_owned(), &stat, false)),
                    Ok(None) => {}
                    Err(e) if e.is_transient() => {}
                    Err(e) => return Err(e),
                },
                Err(ZkError::NoNode) => match session.ensure_path(parent(path)).await {
                    Ok(()) => {}
                    Err(e) if e.is_transient() => {}
                    Err(e) => return Err(e),
                },
                Err(ZkError::Unknown) => unsure = true,
                Err(e) if e.is_transient() => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The node as this session's own, if it is.
    fn of(session: &Session, path: String, stat: &Stat, unique: bool) -> Option<Self> {
        let before = session.state();
        if session.session_id() != Some(stat.ephemeral_owner) {
            return None;
        }
        let own = Self {
            path,
            fence: Fence(stat.czxid),
            generation: before.generation(),
            unique,
        };
        (!own.is_over(session)).then_some(own)
    }

    /// Name without the folder.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// Whether its session has ended, and the node with it.
    pub(super) fn is_over(&self, session: &Session) -> bool {
        ended(session.state(), self.generation)
    }

    /// Resolves when its session has ended.
    pub(super) async fn over(&self, session: &Session) {
        let mut states = session.states();
        let generation = self.generation;
        // An error means that the session's thread has ended, and with it the session.
        let _ = states.wait_for(|state| ended(*state, generation)).await;
    }

    /// Deletes it, however often that takes; fine if it is gone.
    pub(super) async fn remove(&self, session: &Session) -> Result<(), ZkError> {
        while !self.is_over(session) {
            if !self.unique {
                match session.exists(&self.path).await {
                    Ok(Some(stat)) if stat.czxid == self.fence.0 => {}
                    Ok(_) => return Ok(()),
                    Err(e) if e.is_transient() => continue,
                    Err(e) => return Err(e),
                }
            }
            match session.delete(&self.path, None).await {
                Ok(()) | Err(ZkError::NoNode | ZkError::SessionExpired | ZkError::Closed) => break,
                Err(ZkError::Unknown | ZkError::NotConnected { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Whether the session numbered `generation` has ended.
fn ended(state: SessionState, generation: u64) -> bool {
    match state {
        SessionState::Lost { generation: g } => g >= generation,
        other => other.generation() != generation,
    }
}

/// Path of the folder that a node is in: the root's is the root.
pub(super) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((parent, _)) => parent,
    }
}

/// Path of a child.
pub(super) fn child(parent: &str, name: &str) -> String {
    match parent {
        "/" => format!("/{name}"),
        _ => format!("{parent}/{name}"),
    }
}
