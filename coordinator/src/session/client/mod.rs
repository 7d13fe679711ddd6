//! The client's side of ZooKeeper's protocol: a [`Client`] is one connection, from its handshake to its end.
//!
//! After its handshake it knows no patience: no retries, no deadlines, no second server; that is `attach.rs` and
//! `handle.rs`.
//! `requests` and `answers` are bytes only, `watchers` says who is to be told of an event, `wire` has all
//! of it on one socket, `reading` waits for that socket. What a server sends is not trusted: what is no answer ends the connection.

mod answers;
mod handshake;
mod reading;
mod requests;
mod watchers;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub(super) use handshake::{Identity, Refused};
pub(super) use reading::{Reading, home};
pub(super) use wire::Ended;

use super::error::{MultiError, ZkError};
use super::ops::{
    Acl, Children, CreateMode, Created, Node, Op, OpResult, Stat, TREE_EVENTS_MAX, TreeWatch, Watch,
};
use crate::protocol::jute::{Malformed, Reader};
use answers::{children, created, multi, node, stat};
use requests::{Request, absolute, absolute_new, absolute_of, absolute_old};
use watchers::{Asked, Once, Tree};
use wire::{Reply, Wire};

/// One connection to one server, and the paths below a chroot. Cheap to clone; any thread.
#[derive(Clone, Debug)]
pub(super) struct Client {
    wire: Arc<Wire>,
    session: Arc<Identity>,
    /// Empty, or a path that starts with `/` and does not end with it.
    chroot: Arc<str>,
}

impl Client {
    /// Connects to `address` within `patience`, for a new session of `timeout` or for `again`. To be called on the
    /// runtime that is to read first. The connection lives as long as its [`Reading`] is kept.
    pub(super) async fn connect(
        address: &str,
        timeout: Duration,
        again: Option<&Identity>,
        patience: Duration,
    ) -> Result<(Self, Reading), Refused> {
        let connected = handshake::connect(address, timeout, again);
        let connected = tokio::time::timeout(patience, connected).await;
        let (stream, session) = connected.unwrap_or(Err(Refused::Silent(patience)))?;
        let wire = Arc::new(Wire::new(stream.into_std()?));
        let reading = Reading::start(Arc::clone(&wire));
        let client = Self {
            wire,
            session: Arc::new(session),
            chroot: Arc::from(""),
        };
        Ok((client, reading))
    }

    /// The same connection, its paths below `chroot`.
    pub(super) fn below(&self, chroot: &str) -> Self {
        Self {
            chroot: Arc::from(chroot),
            ..self.clone()
        }
    }

    /// The session that the connection is for.
    pub(super) fn session(&self) -> &Identity {
        &self.session
    }

    /// Resolves when the connection has ended, and says how.
    pub(super) async fn ended(&self) -> Ended {
        self.wire.ended().await
    }

    /// Takes back watches that nobody has wanted since the last time.
    pub(super) fn sweep(&self) {
        self.wire.sweep();
    }

    /// Says who we are, in ZooKeeper's `digest` scheme. `false`: refused.
    pub(super) async fn authenticate(&self, user: &str, password: &str) -> Result<bool, ZkError> {
        let secret = format!("{user}:{password}");
        let request = Request::Auth {
            scheme: "digest",
            secret: secret.as_bytes(),
        };
        let reply = self.ask(&request, None).await?;
        Ok(reply.error == 0)
    }

    /// Ends the session. The server closes the connection then.
    pub(super) async fn close(&self) -> Result<(), ZkError> {
        self.done(&Request::Close).await
    }

    /// Reads a node that may be missing.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Node>, ZkError> {
        let path = &absolute(&self.chroot, path)?;
        let request = Request::GetData { path, watch: false };
        self.read(&request, None, node).await
    }

    /// Reads and watches a node, if it is there.
    pub(super) async fn get_watch(&self, path: &str) -> Result<Option<(Node, Watch)>, ZkError> {
        let path = &absolute(&self.chroot, path)?;
        let (asked, fired) = node_watch(path, false);
        let request = Request::GetData { path, watch: true };
        let got = self.read(&request, Some(asked), node).await?;
        Ok(got.map(|got| (got, fired)))
    }

    /// Whether a node is there.
    pub(super) async fn exists(&self, path: &str) -> Result<Option<Stat>, ZkError> {
        let path = &absolute(&self.chroot, path)?;
        let request = Request::Exists { path, watch: false };
        self.read(&request, None, stat).await
    }

    /// Whether a node is there; it is watched in any case.
    pub(super) async fn exists_watch(&self, path: &str) -> Result<(Option<Stat>, Watch), ZkError> {
        let path = &absolute(&self.chroot, path)?;
        let (asked, fired) = node_watch(path, true);
        let request = Request::Exists { path, watch: true };
        let got = self.read(&request, Some(asked), stat).await?;
        Ok((got, fired))
    }

    /// Lists a node that may be missing.
    pub(super) async fn children(&self, path: &str) -> Result<Option<Children>, ZkError> {
        let path = &absolute(&self.chroot, path)?;
        let request = Request::GetChildren { path, watch: false };
        self.read(&request, None, children).await
    }

    /// Lists a node and watches the list, if it is there.
    pub(super) async fn children_watch(
        &self,
        path: &str,
    ) -> Result<Option<(Children, Watch)>, ZkError> {
        let path = &absolute(&self.chroot, path)?;
        let (wakes, fired) = once();
        let asked = Asked::Children {
            path: path.to_string(),
            wakes,
        };
        let request = Request::GetChildren { path, watch: true };
        let got = self.read(&request, Some(asked), children).await?;
        Ok(got.map(|got| (got, fired)))
    }

    /// Watches that `gone` goes, and that `made` comes, by one request: told at once if it is so already. The
    /// server's answer says nothing of it, and is not waited for.
    pub(super) fn watch_for(&self, gone: &str, made: &str) -> Result<(Watch, Watch), ZkError> {
        let gone = absolute(&self.chroot, gone)?;
        let made = absolute(&self.chroot, made)?;
        let request = Request::WatchFor {
            gone: &gone,
            made: &made,
        };
        let (gone, is_gone) = node_watch(&gone, true);
        let (made, is_made) = node_watch(&made, true);
        self.wire.watch_for(&request, [gone, made])?;
        Ok((is_gone, is_made))
    }

    /// Watches a node and all below it. Servers before 3.9 keep one watch of a connection for a path: one of
    /// another kind at the same path ends this one without a word (ZOOKEEPER-4466).
    pub(super) async fn watch_tree(&self, path: &str) -> Result<TreeWatch, ZkError> {
        let path = &absolute(&self.chroot, path)?;
        let (events, told) = mpsc::channel(TREE_EVENTS_MAX);
        let chroot = Arc::clone(&self.chroot);
        let asked = Asked::Tree {
            path: path.to_string(),
            wakes: Tree { events, chroot },
        };
        let request = Request::AddTreeWatch { path };
        let reply = self.ask(&request, Some(asked)).await?;
        self.decode(reply, |_| Ok(()))?;
        Ok(TreeWatch::new(told))
    }

    /// Makes a node.
    pub(super) async fn create(
        &self,
        path: &str,
        data: &[u8],
        mode: CreateMode,
        acl: Acl,
        secure: bool,
    ) -> Result<Created, ZkError> {
        let request = Request::Create {
            path: &absolute_new(&self.chroot, path, mode)?,
            data,
            mode,
            acl: acl.entry(secure),
        };
        let reply = self.ask(&request, None).await?;
        let (path, stat) = self.decode(reply, |r| created(r, &self.chroot))?;
        Ok(Created { path, stat })
    }

    /// Replaces a node's data.
    pub(super) async fn set(
        &self,
        path: &str,
        data: &[u8],
        version: Option<i32>,
    ) -> Result<Stat, ZkError> {
        let request = Request::SetData {
            path: &absolute(&self.chroot, path)?,
            data,
            version,
        };
        self.decode(self.ask(&request, None).await?, stat)
    }

    /// Deletes a node.
    pub(super) async fn delete(&self, path: &str, version: Option<i32>) -> Result<(), ZkError> {
        let path = &absolute_old(&self.chroot, path)?;
        self.done(&Request::Delete { path, version }).await
    }

    /// All of `ops` or none of them.
    pub(super) async fn multi(
        &self,
        ops: &[Op],
        secure: bool,
    ) -> Result<Vec<OpResult>, MultiError> {
        let mut paths = Vec::with_capacity(ops.len());
        for (index, op) in ops.iter().enumerate() {
            let path = absolute_of(&self.chroot, op);
            paths.push(path.map_err(|error| MultiError {
                index: Some(index),
                error,
            })?);
        }
        let request = Request::Multi {
            paths: &paths,
            ops,
            secure,
        };
        let reply = self.ask(&request, None).await?;
        self.decode(reply, |r| multi(r, &self.chroot))?
    }

    /// Waits until the server has seen what the leader had committed before.
    pub(super) async fn sync(&self, path: &str) -> Result<(), ZkError> {
        let path = &absolute(&self.chroot, path)?;
        self.done(&Request::Sync { path }).await
    }

    async fn ask(&self, request: &Request<'_>, watch: Option<Asked>) -> Result<Reply, ZkError> {
        let reply = self.wire.ask(request, watch)?;
        // The connection ended first.
        reply.await.map_err(|_| ZkError::Unknown)
    }

    async fn done(&self, request: &Request<'_>) -> Result<(), ZkError> {
        self.decode(self.ask(request, None).await?, |_| Ok(()))
    }

    /// Asks for what may be missing.
    async fn read<T>(
        &self,
        request: &Request<'_>,
        watch: Option<Asked>,
        decode: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
    ) -> Result<Option<T>, ZkError> {
        let reply = self.ask(request, watch).await?;
        match self.decode(reply, decode) {
            Ok(got) => Ok(Some(got)),
            Err(ZkError::NoNode) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What was asked for, or the server's error. What is no answer ends the connection.
    fn decode<T>(
        &self,
        reply: Reply,
        decode: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
    ) -> Result<T, ZkError> {
        if let Some(error) = ZkError::of(reply.error) {
            return Err(error);
        }
        decode(&mut Reader::new(&reply.body)).map_err(|Malformed| {
            let why = "the server sent what is no answer";
            self.wire.end(Ended::Lost(why));
            ZkError::Unknown
        })
    }
}

/// `if_missing`: the server watches for a node that is not there, too.
fn node_watch(path: &str, if_missing: bool) -> (Asked, Watch) {
    let (wakes, fired) = once();
    let asked = Asked::Node {
        path: path.to_owned(),
        wakes,
        if_missing,
    };
    (asked, fired)
}

fn once() -> (Once, Watch) {
    let (wakes, fired) = oneshot::channel();
    (wakes, Watch::new(fired))
}
