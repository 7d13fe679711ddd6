//! The calls of a [`Session`]: one function an operation, paths relative to the chroot.

use futures::future::join_all;

use super::client::Client;
use super::error::{MultiError, ZkError};
use super::handle::Session;
use super::ops::{Acl, Children, CreateMode, Created, Node, Op, OpResult, Stat, TreeWatch, Watch};

/// Most bytes of data and path that are sent at once: what fits ZooKeeper's `jute.maxbuffer` (0xfffff) for certain.
/// Refused before there is a connection to wait for.
const PACKET_BYTES_MAX: usize = 1_000_000;

/// Reads that [`Session::get_many`] has on the way at a time.
const PIPELINE: usize = 512;

/// How often [`Session::delete_tree`] looks for what others have made meanwhile.
const DELETE_ROUNDS: usize = 16;

type GotOrWatch<T> = (Option<T>, Watch);

impl Session {
    /// Reads a node.
    pub async fn get(&self, path: &str) -> Result<Node, ZkError> {
        self.get_if_exists(path).await?.ok_or(ZkError::NoNode)
    }

    /// Reads a node that may be missing.
    pub async fn get_if_exists(&self, path: &str) -> Result<Option<Node>, ZkError> {
        self.read(|client| async move { client.get(path).await })
            .await
    }

    /// Reads many nodes, pipelined, in the order of `paths`; `None` for those that are missing.
    ///
    /// The reads are not one transaction: each node is as it was at its own moment.
    pub async fn get_many(&self, paths: &[String]) -> Result<Vec<Option<Node>>, ZkError> {
        let mut nodes = Vec::with_capacity(paths.len());
        for chunk in paths.chunks(PIPELINE) {
            let got = self
                .read(|client| async move {
                    let reads = chunk.iter().map(|path| client.get(path));
                    let read = join_all(reads).await.into_iter();
                    read.collect::<Result<Vec<_>, _>>()
                })
                .await?;
            nodes.extend(got);
        }
        Ok(nodes)
    }

    /// Reads a node that may be missing; the watch fires when it is made, changed or deleted.
    pub async fn get_watch(&self, path: &str) -> Result<GotOrWatch<Node>, ZkError> {
        self.read(|client| async move {
            loop {
                if let Some((node, watch)) = client.get_watch(path).await? {
                    return Ok((Some(node), watch));
                }
                if let (None, watch) = client.exists_watch(path).await? {
                    return Ok((None, watch));
                }
            }
        })
        .await
    }

    /// Whether a node is there, and its stat.
    pub async fn exists(&self, path: &str) -> Result<Option<Stat>, ZkError> {
        self.read(|client| async move { client.exists(path).await })
            .await
    }

    /// As [`exists`](Self::exists); the watch fires when the node is made, changed or deleted.
    pub async fn exists_watch(&self, path: &str) -> Result<GotOrWatch<Stat>, ZkError> {
        self.read(|client| async move { client.exists_watch(path).await })
            .await
    }

    /// Watches that the node `gone` goes, and that `made`, which is not there, comes: by one request, whose
    /// answer is not waited for. A watch fires at once if it is so already, the first one also when data is set.
    pub(crate) async fn watch_for(
        &self,
        gone: &str,
        made: &str,
    ) -> Result<(Watch, Watch), ZkError> {
        self.read(|client| async move { client.watch_for(gone, made) })
            .await
    }

    /// Names of a node's children, sorted.
    pub async fn children(&self, path: &str) -> Result<Vec<String>, ZkError> {
        Ok(self.list(path).await?.names)
    }

    /// Names of a node's children, sorted, and the node's stat, from one read.
    pub async fn list(&self, path: &str) -> Result<Children, ZkError> {
        let listed = self
            .read(|client| async move { client.children(path).await })
            .await?;
        listed.ok_or(ZkError::NoNode)
    }

    /// Children of a node that may be missing; the watch fires when the list changes or the node
    /// comes or goes.
    pub async fn children_watch(&self, path: &str) -> Result<GotOrWatch<Children>, ZkError> {
        self.read(|client| async move {
            loop {
                if let Some((listed, watch)) = client.children_watch(path).await? {
                    return Ok((Some(listed), watch));
                }
                if let (None, watch) = client.exists_watch(path).await? {
                    return Ok((None, watch));
                }
            }
        })
        .await
    }

    /// Watches a node and all below it. Arm first, then read.
    pub async fn watch_tree(&self, path: &str) -> Result<TreeWatch, ZkError> {
        self.read(|client| async move { client.watch_tree(path).await })
            .await
    }

    /// Makes a node. A repeat after [`ZkError::Unknown`] may find its own node.
    pub async fn create(
        &self,
        path: &str,
        data: &[u8],
        mode: CreateMode,
        acl: Acl,
    ) -> Result<Created, ZkError> {
        fits(data.len() + path.len())?;
        let secure = self.config().secure_acls;
        self.write(|client| async move { client.create(path, data, mode, acl, secure).await })
            .await
    }

    /// Makes a persistent node and its missing parents; fine if it is there already.
    pub async fn ensure_path(&self, path: &str) -> Result<(), ZkError> {
        let secure = self.config().secure_acls;
        self.read(|client| async move { make_path(&client, path, secure).await })
            .await
    }

    /// Replaces a node's data if it has `version` (`None`: any).
    pub async fn set(
        &self,
        path: &str,
        data: &[u8],
        version: Option<i32>,
    ) -> Result<Stat, ZkError> {
        fits(data.len() + path.len())?;
        self.write(|client| async move { client.set(path, data, version).await })
            .await
    }

    /// Deletes a node if it has `version` (`None`: any).
    pub async fn delete(&self, path: &str, version: Option<i32>) -> Result<(), ZkError> {
        self.write(|client| async move { client.delete(path, version).await })
            .await
    }

    /// Deletes a node and all below it, from the leaves up; fine if it is not there. The root itself, that
    /// of the chroot if there is one, stays. What others make there meanwhile goes too, unless they make more and
    /// more: then [`ZkError::NotEmpty`] after [`DELETE_ROUNDS`].
    pub async fn delete_tree(&self, path: &str) -> Result<(), ZkError> {
        for _ in 1..DELETE_ROUNDS {
            match self.delete_what_is_there(path).await {
                Err(ZkError::NotEmpty) => {}
                done => return done,
            }
        }
        self.delete_what_is_there(path).await
    }

    async fn delete_what_is_there(&self, path: &str) -> Result<(), ZkError> {
        let mut order = vec![path.to_owned()];
        let mut next = 0;
        while let Some(parent) = order.get(next).cloned() {
            next += 1;
            match self.children(&parent).await {
                Ok(names) => {
                    let parent = parent.trim_end_matches('/');
                    order.extend(names.iter().map(|n| format!("{parent}/{n}")));
                }
                Err(ZkError::NoNode) => {}
                Err(e) => return Err(e),
            }
        }
        for node in order.iter().rev().filter(|node| *node != "/") {
            match self.delete(node, None).await {
                Ok(()) | Err(ZkError::NoNode) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// All of `ops` or none of them.
    pub async fn multi(&self, ops: Vec<Op>) -> Result<Vec<OpResult>, MultiError> {
        fits(ops.iter().map(Op::size).sum())?;
        let secure = self.config().secure_acls;
        self.write(|client| async move { Ok(client.multi(&ops, secure).await) })
            .await?
    }

    /// Waits until this connection's server has seen what the leader had committed before.
    pub async fn sync(&self, path: &str) -> Result<(), ZkError> {
        self.read(|client| async move { client.sync(path).await })
            .await
    }
}

fn fits(bytes: usize) -> Result<(), ZkError> {
    let max = PACKET_BYTES_MAX;
    if bytes > max {
        return Err(ZkError::TooLarge { bytes, max });
    }
    Ok(())
}

/// Makes `path` and its parents, from the top down.
pub(super) async fn make_path(client: &Client, path: &str, secure: bool) -> Result<(), ZkError> {
    if client.exists(path).await?.is_some() {
        return Ok(());
    }
    let ends = path.match_indices('/').skip(1).map(|(i, _)| i);
    for end in ends.chain([path.len()]) {
        let part = path.get(..end).unwrap_or(path);
        let (mode, acl) = (CreateMode::Persistent, Acl::Default);
        match client.create(part, &[], mode, acl, secure).await {
            Ok(_) | Err(ZkError::NodeExists) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
