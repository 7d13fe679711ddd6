//! The znodes: one flat map from path to node. Pure: no clock, no disk, no permission checks.
//!
//! A [`Change`] is applied with its [`Stamp`] and is deterministic: applying the journal's changes
//! to the snapshot's tree gives the same tree again. Each gives back what undoes it, so that a
//! multi that fails half way leaves no trace.
//!
//! Invariants, for every node but the root: its parent exists and names it in `children`; no
//! ephemeral node has children; `ephemerals`, `containers` and `ttls` list exactly the nodes of
//! their kind.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use super::node::{Change, Event, EventKind, Kind, Node};
use super::records::{Acl, AclList, ErrorCode, Id, Stamp, perms};
use crate::protocol::paths;

/// Takes one applied [`Change`] back. Valid only while it is the last one applied.
#[derive(Debug)]
pub(super) struct Undo(Step);

#[derive(Debug)]
enum Step {
    Created {
        path: String,
        creations: i32,
        pzxid: i64,
    },
    Deleted {
        path: String,
        node: Box<Node>,
        pzxid: i64,
    },
    DataSet {
        path: String,
        data: Option<Bytes>,
        version: i32,
        modified: Stamp,
    },
    AclSet {
        path: String,
        acl: AclList,
        aversion: i32,
    },
}

/// All znodes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tree {
    nodes: HashMap<Box<str>, Node>,
    ephemerals: HashMap<i64, BTreeSet<Box<str>>>,
    containers: BTreeSet<Box<str>>,
    ttls: BTreeSet<Box<str>>,
    data_bytes: usize,
}

impl Tree {
    /// A fresh tree: the root and ZooKeeper's own nodes.
    pub(super) fn new() -> Self {
        let open: AclList = [Acl {
            perms: perms::ALL,
            id: Id::new("world", "anyone"),
        }]
        .into();
        let read: AclList = [Acl {
            perms: perms::READ,
            id: Id::new("world", "anyone"),
        }]
        .into();
        let start = Stamp {
            zxid: 0,
            time_ms: 0,
        };
        let mut tree = Self {
            nodes: HashMap::new(),
            ephemerals: HashMap::new(),
            containers: BTreeSet::new(),
            ttls: BTreeSet::new(),
            data_bytes: 0,
        };
        let some = || Some(Bytes::new());
        for (path, acl) in [
            ("/", &open),
            ("/zookeeper", &open),
            ("/zookeeper/quota", &open),
            ("/zookeeper/config", &read),
        ] {
            tree.insert(
                path,
                Node::new(some(), acl.clone(), Kind::Persistent, start),
            );
        }
        tree.adopt_all();
        tree
    }

    /// A tree of a snapshot's nodes, given in any order and without their `children`.
    /// `None` when some node has no parent, or there is no root.
    pub(super) fn from_nodes(nodes: impl IntoIterator<Item = (String, Node)>) -> Option<Self> {
        let mut tree = Self {
            nodes: HashMap::new(),
            ephemerals: HashMap::new(),
            containers: BTreeSet::new(),
            ttls: BTreeSet::new(),
            data_bytes: 0,
        };
        for (path, node) in nodes {
            tree.insert(&path, node);
        }
        (tree.nodes.contains_key("/") && tree.adopt_all()).then_some(tree)
    }

    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The node, or the error that clients get for its absence.
    pub(super) fn node(&self, path: &str) -> Result<&Node, ErrorCode> {
        self.nodes.get(path).ok_or(ErrorCode::NoNode)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (&**path, node))
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of all paths and data: about what a snapshot takes.
    pub(super) fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    pub(super) fn ephemeral_count(&self) -> usize {
        self.ephemerals.values().map(BTreeSet::len).sum()
    }

    /// Paths of the nodes that live with `session`.
    pub(super) fn ephemerals_of(&self, session: i64) -> impl Iterator<Item = &str> {
        let paths = self.ephemerals.get(&session);
        paths.into_iter().flatten().map(|path| &**path)
    }

    /// Number of nodes below `path`; the walk is a loop, so that depth costs no stack.
    pub(super) fn descendants(&self, path: &str) -> usize {
        if path == "/" {
            return self.nodes.len() - 1;
        }
        let mut count = 0;
        let mut open = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            let Some(node) = self.nodes.get(&*path) else {
                continue;
            };
            count += node.children.len();
            open.extend(node.children.iter().map(|name| paths::child(&path, name)));
        }
        count
    }

    /// Whether there are nodes that time or the loss of their children may remove.
    pub(super) fn has_reapable_kinds(&self) -> bool {
        !self.containers.is_empty() || !self.ttls.is_empty()
    }

    /// Containers that had children and have none now, and TTL nodes that outlived their time.
    pub(super) fn reapable(&self, wall_ms: i64) -> Vec<String> {
        let idle = |path: &str| self.get(path).filter(|node| node.children.is_empty());
        let containers = self
            .containers
            .iter()
            .filter(|path| idle(path).is_some_and(|node| node.creations != 0));
        let ttls = self.ttls.iter().filter(|path| {
            idle(path).is_some_and(|node| match node.kind {
                Kind::Ttl(ms) => wall_ms.saturating_sub(node.modified.time_ms) > ms,
                _ => false,
            })
        });
        containers
            .chain(ttls)
            .map(|path| path.to_string())
            .collect()
    }

    /// Applies `change`; appends what watches may hear of. Nothing is changed on an error.
    pub(super) fn apply(
        &mut self,
        change: &Change,
        at: Stamp,
        events: &mut Vec<Event>,
    ) -> Result<Undo, ErrorCode> {
        match change {
            Change::Create {
                path,
                data,
                acl,
                kind,
            } => {
                let node = Node::new(data.clone(), acl.clone(), *kind, at);
                self.create(path, node, at.zxid, events)
            }
            Change::Delete { path } => self.delete(path, at.zxid, events),
            Change::SetData { path, data } => self.set_data(path, data, at, events),
            Change::SetAcl { path, acl } => self.set_acl(path, acl),
        }
    }

    fn create(
        &mut self,
        path: &str,
        mut node: Node,
        zxid: i64,
        events: &mut Vec<Event>,
    ) -> Result<Undo, ErrorCode> {
        let parent_path = paths::parent(path).ok_or(ErrorCode::NodeExists)?;
        if self.nodes.contains_key(path) {
            return Err(ErrorCode::NodeExists);
        }
        let parent = self.nodes.get_mut(parent_path).ok_or(ErrorCode::NoNode)?;
        if matches!(parent.kind, Kind::Ephemeral(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let undo = Step::Created {
            path: path.to_owned(),
            creations: parent.creations,
            pzxid: parent.pzxid,
        };
        parent.creations = parent.creations.wrapping_add(1);
        parent.pzxid = zxid;
        parent.children.insert(paths::name(path).into());
        if parent.acl == node.acl {
            node.acl = parent.acl.clone();
        }
        events.push(Event::new(EventKind::Created, path, &node.acl));
        events.push(Event::new(
            EventKind::ChildrenChanged,
            parent_path,
            &parent.acl,
        ));
        self.insert(path, node);
        Ok(Undo(undo))
    }

    fn delete(
        &mut self,
        path: &str,
        zxid: i64,
        events: &mut Vec<Event>,
    ) -> Result<Undo, ErrorCode> {
        let parent_path = paths::parent(path).ok_or(ErrorCode::BadArguments)?;
        if !self.node(path)?.children.is_empty() {
            return Err(ErrorCode::NotEmpty);
        }
        let node = self.remove(path).ok_or(ErrorCode::NoNode)?;
        events.push(Event::new(EventKind::Deleted, path, &node.acl));
        let mut pzxid = 0;
        if let Some(parent) = self.nodes.get_mut(parent_path) {
            pzxid = std::mem::replace(&mut parent.pzxid, zxid);
            parent.children.remove(paths::name(path));
            events.push(Event::new(
                EventKind::ChildrenChanged,
                parent_path,
                &parent.acl,
            ));
        }
        let path = path.to_owned();
        let node = Box::new(node);
        Ok(Undo(Step::Deleted { path, node, pzxid }))
    }

    fn set_data(
        &mut self,
        path: &str,
        data: &Option<Bytes>,
        at: Stamp,
        events: &mut Vec<Event>,
    ) -> Result<Undo, ErrorCode> {
        let node = self.nodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
        let undo = Step::DataSet {
            path: path.to_owned(),
            data: std::mem::replace(&mut node.data, data.clone()),
            version: node.version,
            modified: node.modified,
        };
        node.version = next_version(node.version);
        node.modified = at;
        events.push(Event::new(EventKind::DataChanged, path, &node.acl));
        if let Step::DataSet { data: before, .. } = &undo {
            self.data_bytes += bytes_of(data);
            self.data_bytes -= bytes_of(before);
        }
        Ok(Undo(undo))
    }

    fn set_acl(&mut self, path: &str, acl: &AclList) -> Result<Undo, ErrorCode> {
        let node = self.nodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
        let undo = Step::AclSet {
            path: path.to_owned(),
            acl: std::mem::replace(&mut node.acl, acl.clone()),
            aversion: node.aversion,
        };
        node.aversion = next_version(node.aversion);
        Ok(Undo(undo))
    }

    /// Takes the last applied change back.
    pub(super) fn undo(&mut self, undo: Undo) {
        match undo.0 {
            Step::Created {
                path,
                creations,
                pzxid,
            } => {
                self.remove(&path);
                if let Some(parent) = paths::parent(&path).and_then(|p| self.nodes.get_mut(p)) {
                    parent.children.remove(paths::name(&path));
                    parent.creations = creations;
                    parent.pzxid = pzxid;
                }
            }
            Step::Deleted { path, node, pzxid } => {
                if let Some(parent) = paths::parent(&path).and_then(|p| self.nodes.get_mut(p)) {
                    parent.children.insert(paths::name(&path).into());
                    parent.pzxid = pzxid;
                }
                self.insert(&path, *node);
            }
            Step::DataSet {
                path,
                data,
                version,
                modified,
            } => {
                if let Some(node) = self.nodes.get_mut(&*path) {
                    self.data_bytes += bytes_of(&data);
                    self.data_bytes -= bytes_of(&node.data);
                    node.data = data;
                    node.version = version;
                    node.modified = modified;
                }
            }
            Step::AclSet {
                path,
                acl,
                aversion,
            } => {
                if let Some(node) = self.nodes.get_mut(&*path) {
                    node.acl = acl;
                    node.aversion = aversion;
                }
            }
        }
    }

    /// Puts a node into the map and the lists of its kind, not into its parent's `children`.
    fn insert(&mut self, path: &str, node: Node) {
        match node.kind {
            Kind::Persistent => {}
            Kind::Ephemeral(session) => {
                self.ephemerals
                    .entry(session)
                    .or_default()
                    .insert(path.into());
            }
            Kind::Container => {
                self.containers.insert(path.into());
            }
            Kind::Ttl(_) => {
                self.ttls.insert(path.into());
            }
        }
        self.data_bytes += path.len() + bytes_of(&node.data);
        self.nodes.insert(path.into(), node);
    }

    /// The reverse of `insert`.
    fn remove(&mut self, path: &str) -> Option<Node> {
        let node = self.nodes.remove(path)?;
        self.data_bytes -= path.len() + bytes_of(&node.data);
        match node.kind {
            Kind::Persistent => {}
            Kind::Ephemeral(session) => {
                if let Some(paths) = self.ephemerals.get_mut(&session) {
                    paths.remove(path);
                    if paths.is_empty() {
                        self.ephemerals.remove(&session);
                    }
                }
            }
            Kind::Container => {
                self.containers.remove(path);
            }
            Kind::Ttl(_) => {
                self.ttls.remove(path);
            }
        }
        Some(node)
    }

    /// Enters every node in its parent's `children`; false when a parent is missing.
    fn adopt_all(&mut self) -> bool {
        let all: Vec<Box<str>> = self.nodes.keys().cloned().collect();
        all.iter().all(|path| match paths::parent(path) {
            None => true,
            Some(parent) => match self.nodes.get_mut(parent) {
                None => false,
                Some(parent) => {
                    parent.children.insert(paths::name(path).into());
                    true
                }
            },
        })
    }
}

fn bytes_of(data: &Option<Bytes>) -> usize {
    data.as_ref().map_or(0, Bytes::len)
}

/// The version after `version`. It skips -1, which means "any" in requests (ZOOKEEPER-4743).
fn next_version(version: i32) -> i32 {
    match version.wrapping_add(1) {
        -1 => 0,
        next => next,
    }
}

#[cfg(test)]
mod tests;
