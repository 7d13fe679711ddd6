//! A node and all below it as a current snapshot: what configuration, membership and progress read.
//!
//! One recursive watch (ZooKeeper 3.6 and later) says which nodes to read again; a new connection
//! reads all of them. While ZooKeeper is away the last good snapshot stays, marked as not fresh. An
//! event is only a hint: every value published was read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::own::child;
use crate::clock;
use crate::session::{Node, Session, Stat, TreeEvent, TreeWatch, ZkError};

/// Pause after a read that failed.
const RETRY_EVERY: Duration = Duration::from_millis(100);
/// Lists of children that are on the way at a time.
const PIPELINE: usize = 128;

/// Keeps a [`Tree`] current until it is dropped.
#[derive(Debug)]
pub(super) struct TreeView {
    current: watch::Receiver<Arc<Tree>>,
    _task: AbortOnDropHandle<()>,
}

/// A node and all below it, as they were read at one time. Paths are relative: `""`, `"a"`, `"a/b"`.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// What is there.
    pub(super) nodes: BTreeMap<String, Arc<TreeNode>>,
    /// Whether ZooKeeper confirms it at this moment; `false` for a last good snapshot.
    pub(super) fresh: bool,
}

/// A node of a [`Tree`].
#[derive(Debug)]
pub(super) struct TreeNode {
    pub(super) data: Vec<u8>,
    pub(super) stat: Stat,
    /// When this process first saw this version.
    pub(super) seen: Instant,
}

impl TreeView {
    /// Reads once, then follows. An error of the first read is given back, later ones are retried.
    pub(super) async fn start(session: Session, root: String) -> Result<Self, ZkError> {
        let mut follower = Follower::arm(&session, &root).await?;
        follower.read_all(&BTreeMap::new()).await?;
        let (publish, current) = watch::channel(Arc::new(follower.tree(true)));
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    followed = follower.follow() => {
                        let lost = followed.is_err();
                        publish.send_replace(Arc::new(follower.tree(!lost)));
                        if lost {
                            follower = follower.anew().await;
                            publish.send_replace(Arc::new(follower.tree(true)));
                        }
                    }
                    () = publish.closed() => return,
                }
            }
        });
        Ok(Self {
            current,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// The snapshot now.
    pub(super) fn current(&self) -> Arc<Tree> {
        Arc::clone(&self.current.borrow())
    }

    /// The snapshot now and all later ones.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Tree>> {
        self.current.clone()
    }
}

impl Tree {
    /// The direct children of the root, by name.
    pub(super) fn children(&self) -> impl Iterator<Item = (&String, &Arc<TreeNode>)> {
        let direct =
            |(name, _): &(&String, &Arc<TreeNode>)| !name.is_empty() && !name.contains('/');
        self.nodes.iter().filter(direct)
    }
}

/// Reads what hints name.
struct Follower {
    session: Session,
    root: String,
    watch: TreeWatch,
    events: Vec<TreeEvent>,
    nodes: BTreeMap<String, Arc<TreeNode>>,
}

impl Follower {
    async fn arm(session: &Session, root: &str) -> Result<Self, ZkError> {
        Ok(Self {
            session: session.clone(),
            root: root.to_owned(),
            watch: session.watch_tree(root).await?,
            events: Vec::new(),
            nodes: BTreeMap::new(),
        })
    }

    fn tree(&self, fresh: bool) -> Tree {
        Tree {
            nodes: self.nodes.clone(),
            fresh,
        }
    }

    /// Waits for hints and follows them. An error: start over with a new watch.
    async fn follow(&mut self) -> Result<(), ZkError> {
        if !self.watch.next(&mut self.events).await {
            return Err(ZkError::Unknown);
        }
        let root = self.root.as_str();
        let below = |event: TreeEvent| match event.path.strip_prefix(root) {
            Some("") => Some(String::new()),
            Some(rest) => rest.strip_prefix('/').map(str::to_owned),
            None => None,
        };
        let dirty: BTreeSet<String> = self.events.drain(..).filter_map(below).collect();
        let known = std::mem::take(&mut self.nodes);
        self.nodes.clone_from(&known);
        self.read(dirty.into_iter().collect(), &known).await?;
        Ok(())
    }

    /// A follower with a new watch that has read everything, however long it takes.
    async fn anew(self) -> Self {
        let known = self.nodes;
        loop {
            let read = async {
                let mut follower = Self::arm(&self.session, &self.root).await?;
                follower.read_all(&known).await?;
                Ok::<_, ZkError>(follower)
            };
            match read.await {
                Ok(follower) => return follower,
                Err(e) => debug!("{}: reading again: {e}", self.root),
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    /// Reads level by level, each pipelined. `known` tells since when a version is known.
    async fn read_all(&mut self, known: &BTreeMap<String, Arc<TreeNode>>) -> Result<(), ZkError> {
        let mut level = vec![String::new()];
        while !level.is_empty() {
            let parents = self.read(level, known).await?;
            level = self.list(&parents).await?;
        }
        Ok(())
    }

    /// Reads the nodes at `names`; gives those that have children.
    async fn read(
        &mut self,
        names: Vec<String>,
        known: &BTreeMap<String, Arc<TreeNode>>,
    ) -> Result<Vec<String>, ZkError> {
        let paths: Vec<String> = names.iter().map(|name| self.path(name)).collect();
        let found = self.session.get_many(&paths).await?;
        let now = clock::now();
        let mut parents = Vec::new();
        for (name, node) in names.into_iter().zip(found) {
            let Some(Node { data, stat }) = node else {
                self.nodes.remove(&name);
                continue;
            };
            if stat.num_children > 0 {
                parents.push(name.clone());
            }
            let same =
                |old: &&Arc<TreeNode>| (old.stat.czxid, old.stat.mzxid) == (stat.czxid, stat.mzxid);
            let seen = known.get(&name).filter(same).map_or(now, |old| old.seen);
            let node = TreeNode { data, stat, seen };
            self.nodes.insert(name, Arc::new(node));
        }
        Ok(parents)
    }

    /// Names of all children of `parents`.
    async fn list(&self, parents: &[String]) -> Result<Vec<String>, ZkError> {
        let mut below = Vec::new();
        for chunk in parents.chunks(PIPELINE) {
            let lists = chunk.iter().map(|parent| async move {
                match self.session.children(&self.path(parent)).await {
                    Ok(names) => Ok((parent, names)),
                    Err(ZkError::NoNode) => Ok((parent, Vec::new())),
                    Err(e) => Err(e),
                }
            });
            for list in join_all(lists).await {
                let (parent, names) = list?;
                let child = |name: String| match parent.as_str() {
                    "" => name,
                    parent => format!("{parent}/{name}"),
                };
                below.extend(names.into_iter().map(child));
            }
        }
        Ok(below)
    }

    fn path(&self, name: &str) -> String {
        match name {
            "" => self.root.clone(),
            name => child(&self.root, name),
        }
    }
}
