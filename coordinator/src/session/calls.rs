//! The calls of a [`Session`]: one function an operation, paths relative to the chroot.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use futures::future::join_all;
use tokio::sync::mpsc;
use zookeeper_client as zk;

use super::error::{MultiError, ZkError};
use super::handle::{Attached, Session};
use super::ops::{
    Acl, Children, CreateMode, Created, Node, Op, OpResult, Stat, TREE_EVENTS_MAX, TreeEvent,
    TreeEventKind, TreeWatch, Watch,
};

/// Largest packet sent: ZooKeeper's `jute.maxbuffer` (0xfffff) less room for heads.
pub(super) const PACKET_BYTES_MAX: usize = 1_000_000;

/// Reads that [`Session::get_many`] has on the way at a time.
const PIPELINE: usize = 512;

type GotOrWatch<T> = (Option<T>, Watch);

impl Session {
    /// Reads a node.
    pub async fn get(&self, path: &str) -> Result<Node, ZkError> {
        self.get_if_exists(path).await?.ok_or(ZkError::NoNode)
    }

    /// Reads a node that may be missing.
    pub async fn get_if_exists(&self, path: &str) -> Result<Option<Node>, ZkError> {
        self.read(|client| async move { read_node(&client, path).await })
            .await
    }

    /// Reads many nodes, pipelined, in the order of `paths`; `None` for those that are missing.
    ///
    /// The first error other than a missing node fails all.
    pub async fn get_many(&self, paths: &[String]) -> Result<Vec<Option<Node>>, ZkError> {
        let mut nodes = Vec::with_capacity(paths.len());
        for chunk in paths.chunks(PIPELINE) {
            let got = self
                .read(|client| async move {
                    let reads = chunk.iter().map(|path| read_node(&client, path));
                    join_all(reads)
                        .await
                        .into_iter()
                        .collect::<Result<Vec<_>, _>>()
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
                match client.get_and_watch_data(path).await {
                    Ok((data, stat, watcher)) => {
                        let stat = stat.into();
                        return Ok((Some(Node { data, stat }), client.forward(watcher)));
                    }
                    Err(zk::Error::NoNode) => {
                        let (stat, watcher) =
                            client.check_and_watch_stat(path).await.map_err(lift)?;
                        if stat.is_none() {
                            return Ok((None, client.forward(watcher)));
                        }
                    }
                    Err(e) => return Err(lift(e)),
                }
            }
        })
        .await
    }

    /// Whether a node is there, and its stat.
    pub async fn exists(&self, path: &str) -> Result<Option<Stat>, ZkError> {
        self.read(|client| async move {
            let stat = client.check_stat(path).await.map_err(lift)?;
            Ok(stat.map(Stat::from))
        })
        .await
    }

    /// As [`exists`](Self::exists); the watch fires when the node is made, changed or deleted.
    pub async fn exists_watch(&self, path: &str) -> Result<GotOrWatch<Stat>, ZkError> {
        self.read(|client| async move {
            let (stat, watcher) = client.check_and_watch_stat(path).await.map_err(lift)?;
            Ok((stat.map(Stat::from), client.forward(watcher)))
        })
        .await
    }

    /// Names of a node's children, sorted.
    pub async fn children(&self, path: &str) -> Result<Vec<String>, ZkError> {
        self.read(|client| async move {
            let mut names = client.list_children(path).await.map_err(lift)?;
            names.sort_unstable();
            Ok(names)
        })
        .await
    }

    /// Names of a node's children, sorted, and the node's stat, from one read.
    pub async fn list(&self, path: &str) -> Result<Children, ZkError> {
        self.read(|client| async move {
            let (mut names, stat) = client.get_children(path).await.map_err(lift)?;
            names.sort_unstable();
            let stat = stat.into();
            Ok(Children { names, stat })
        })
        .await
    }

    /// Reads a node, and lists a folder at the same moment, by one request; `None` for what is missing.
    pub async fn get_and_list(
        &self,
        node: &str,
        folder: &str,
    ) -> Result<(Option<Node>, Option<Vec<String>>), ZkError> {
        self.read(|client| {
            async move {
                let mut reader = client.new_multi_reader();
                reader.add_get_data(node).map_err(lift)?;
                reader.add_get_children(folder).map_err(lift)?;
                let (mut got, mut listed) = (None, None);
                for result in reader.commit().await.map_err(lift)? {
                    match result {
                        zk::MultiReadResult::Data { data, stat } => {
                            let stat = stat.into();
                            got = Some(Node { data, stat });
                        }
                        zk::MultiReadResult::Children { children } => listed = Some(children),
                        zk::MultiReadResult::Error { err } if !matches!(err, zk::Error::NoNode) => {
                            return Err(lift(err));
                        }
                        // It is missing; other kinds were not asked for.
                        _ => {}
                    }
                }
                if let Some(names) = &mut listed {
                    names.sort_unstable();
                }
                Ok((got, listed))
            }
        })
        .await
    }

    /// Children of a node that may be missing; the watch fires when the list changes or the node
    /// comes or goes.
    pub async fn children_watch(&self, path: &str) -> Result<GotOrWatch<Children>, ZkError> {
        self.read(|client| async move {
            loop {
                match client.get_and_watch_children(path).await {
                    Ok((mut names, stat, watcher)) => {
                        names.sort_unstable();
                        let stat = stat.into();
                        return Ok((Some(Children { names, stat }), client.forward(watcher)));
                    }
                    Err(zk::Error::NoNode) => {
                        let (stat, watcher) =
                            client.check_and_watch_stat(path).await.map_err(lift)?;
                        if stat.is_none() {
                            return Ok((None, client.forward(watcher)));
                        }
                    }
                    Err(e) => return Err(lift(e)),
                }
            }
        })
        .await
    }

    /// Watches a node and all below it. Arm first, then read.
    pub async fn watch_tree(&self, path: &str) -> Result<TreeWatch, ZkError> {
        self.read(|client| async move {
            let watcher = client
                .watch(path, zk::AddWatchMode::PersistentRecursive)
                .await
                .map_err(lift)?;
            Ok(client.forward_tree(watcher))
        })
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
        self.write(|client| async move {
            let options = mode.to_client().with_acls(acl.to_client(secure));
            let (stat, sequence) = client.create(path, data, &options).await.map_err(lift)?;
            let path = match mode {
                CreateMode::Persistent | CreateMode::Ephemeral => path.to_owned(),
                _ => format!("{path}{sequence}"),
            };
            Ok(Created {
                path,
                stat: stat.into(),
            })
        })
        .await
    }

    /// Makes a persistent node and its missing parents; fine if it is there already.
    pub async fn ensure_path(&self, path: &str) -> Result<(), ZkError> {
        let secure = self.config().secure_acls;
        self.read(
            |client| async move { make_path(&client, path, Acl::Default.to_client(secure)).await },
        )
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
        self.write(|client| async move {
            let stat = client.set_data(path, data, version).await.map_err(lift)?;
            Ok(stat.into())
        })
        .await
    }

    /// Deletes a node if it has `version` (`None`: any).
    pub async fn delete(&self, path: &str, version: Option<i32>) -> Result<(), ZkError> {
        self.write(|client| async move { client.delete(path, version).await.map_err(lift) })
            .await
    }

    /// Deletes a node and all below it, from the leaves up; fine if it is not there. The root itself, that
    /// of the chroot if there is one, stays.
    pub async fn delete_tree(&self, path: &str) -> Result<(), ZkError> {
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
        self.write(|client| async move { Ok(commit(&client, &ops, secure).await) })
            .await?
    }

    /// Waits until this connection's server has seen what the leader had committed before.
    pub async fn sync(&self, path: &str) -> Result<(), ZkError> {
        self.read(|client| async move { client.sync(path).await.map_err(lift) })
            .await
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is the argument of map_err"
)]
fn lift(error: zk::Error) -> ZkError {
    ZkError::from_client(&error)
}

fn fits(bytes: usize) -> Result<(), ZkError> {
    let max = PACKET_BYTES_MAX;
    if bytes > max {
        return Err(ZkError::TooLarge { bytes, max });
    }
    Ok(())
}

async fn read_node(client: &zk::Client, path: &str) -> Result<Option<Node>, ZkError> {
    match client.get_data(path).await {
        Ok((data, stat)) => Ok(Some(Node {
            data,
            stat: stat.into(),
        })),
        Err(zk::Error::NoNode) => Ok(None),
        Err(e) => Err(lift(e)),
    }
}

/// Makes `path` and its parents, from the top down.
pub(super) async fn make_path(
    client: &zk::Client,
    path: &str,
    acl: zk::Acls<'static>,
) -> Result<(), ZkError> {
    if client.check_stat(path).await.map_err(lift)?.is_some() {
        return Ok(());
    }
    let options = zk::CreateMode::Persistent.with_acls(acl);
    let ends = path.match_indices('/').skip(1).map(|(i, _)| i);
    for end in ends.chain([path.len()]) {
        let part = path.get(..end).unwrap_or(path);
        match client.create(part, &[], &options).await {
            Ok(_) | Err(zk::Error::NodeExists) => {}
            Err(e) => return Err(lift(e)),
        }
    }
    Ok(())
}

async fn commit(
    client: &zk::Client,
    ops: &[Op],
    secure: bool,
) -> Result<Vec<OpResult>, MultiError> {
    let mut writer = client.new_multi_writer();
    for (index, op) in ops.iter().enumerate() {
        let added = match op {
            Op::Check { path, version } => writer.add_check_version(path, *version),
            Op::Create {
                path,
                data,
                mode,
                acl,
            } => {
                let options = mode.to_client().with_acls(acl.to_client(secure));
                writer.add_create(path, data, &options)
            }
            Op::Set {
                path,
                data,
                version,
            } => writer.add_set_data(path, data, *version),
            Op::Delete { path, version } => writer.add_delete(path, *version),
        };
        added.map_err(|e| MultiError {
            index: Some(index),
            error: lift(e),
        })?;
    }
    let results = writer.commit().await.map_err(|e| match e {
        zk::MultiWriteError::RequestFailed { source } => lift(source).into(),
        zk::MultiWriteError::OperationFailed { index, source } => MultiError {
            index: Some(index),
            error: lift(source),
        },
    })?;
    results.into_iter().map(result).collect()
}

fn result(done: zk::MultiWriteResult) -> Result<OpResult, MultiError> {
    Ok(match done {
        zk::MultiWriteResult::Check => OpResult::Checked,
        zk::MultiWriteResult::Delete => OpResult::Deleted,
        zk::MultiWriteResult::Create { path, stat } => OpResult::Created {
            path,
            stat: (!stat.is_invalid()).then(|| stat.into()),
        },
        zk::MultiWriteResult::SetData { stat } => OpResult::Set { stat: stat.into() },
        other => return Err(ZkError::Refused(format!("unknown result {other:?}")).into()),
    })
}

impl Attached {
    /// A watch that the end of the connection fires too: that is a hint as well.
    fn forward(&self, watcher: zk::OneshotWatcher) -> Watch {
        let over = self.over.clone();
        Watch::new(async move {
            tokio::select! {
                biased;
                () = over.cancelled() => None,
                // The library panics for who asks just while the connection ends.
                event = AssertUnwindSafe(watcher.changed()).catch_unwind() => {
                    event.ok().and_then(|event| kind(event.event_type))
                }
            }
        })
    }

    /// Moves the library's watcher, whose queue has no bound, into a task on the connection's runtime: it
    /// dies with the connection, and that ends the watch.
    fn forward_tree(&self, mut watcher: zk::PersistentWatcher) -> TreeWatch {
        let (events, watch) = mpsc::channel(TREE_EVENTS_MAX);
        let over = self.over.clone();
        self.runtime.spawn(async move {
            loop {
                let event = tokio::select! {
                    biased;
                    () = over.cancelled() => return,
                    () = events.closed() => return,
                    event = AssertUnwindSafe(watcher.changed()).catch_unwind() => match event {
                        Ok(event) => event,
                        Err(_) => return,
                    },
                };
                let kind = match kind(event.event_type) {
                    Some(kind) => kind,
                    None if event.event_type == zk::EventType::NodeChildrenChanged => continue,
                    // Disconnected or expired: this connection ends, and the watch with it.
                    None => return,
                };
                let event = TreeEvent {
                    path: event.path,
                    kind,
                };
                if events.try_send(event).is_err() {
                    return;
                }
            }
        });
        TreeWatch::new(watch)
    }
}

/// What an event says of the node itself.
fn kind(event: zk::EventType) -> Option<TreeEventKind> {
    match event {
        zk::EventType::NodeCreated => Some(TreeEventKind::Created),
        zk::EventType::NodeDeleted => Some(TreeEventKind::Deleted),
        zk::EventType::NodeDataChanged => Some(TreeEventKind::DataChanged),
        _ => None,
    }
}
