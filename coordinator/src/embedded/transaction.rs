//! One transaction in the making: checks each operation, applies it at once, and can take all back.
//!
//! Used by `writes` for single operations and for multi alike; permission checks are here, in
//! ZooKeeper's order. What comes out are the changes for the journal and the events for watches.

use bytes::Bytes;

use super::acl;
use super::node::{Change, Event, Kind, TTL_MS_MAX};
use super::records::{Acl, ErrorCode, Id, Stamp, Stat, perms};
use super::requests::{Create, CreateOp};
use super::tree::{Tree, Undo};
use crate::protocol::paths;

/// Applied changes that are not yet committed.
#[derive(Debug)]
pub(super) struct Transaction<'a> {
    tree: &'a mut Tree,
    stamp: Stamp,
    session: i64,
    who: &'a [Id],
    changes: Vec<Change>,
    undo: Vec<Undo>,
    events: Vec<Event>,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(tree: &'a mut Tree, stamp: Stamp, session: i64, who: &'a [Id]) -> Self {
        Self {
            tree,
            stamp,
            session,
            who,
            changes: Vec::new(),
            undo: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Creates a node; returns its path, which has a number for sequential ones.
    pub(super) fn create(&mut self, create: &Create) -> Result<(String, Stat), ErrorCode> {
        let (kind, sequential) = self.kind_of(create)?;
        // A sequential node may be asked for as "/queue/": its name is then the number alone.
        let mut path = create.path.clone();
        if sequential {
            path.push('1');
        }
        paths::validate(&path)?;
        let acl = acl::fix_up(&create.acl, self.who)?;
        let Some(parent_path) = paths::parent(&path) else {
            return Err(ErrorCode::NodeExists);
        };
        let parent = self.tree.node(parent_path)?;
        acl::check(&parent.acl, perms::CREATE, self.who)?;
        if sequential {
            path.pop();
            path.push_str(&format!("{:010}", parent.creations));
        }
        let data = create.data.clone();
        let created = path.clone();
        self.apply(Change::Create {
            path,
            data,
            acl,
            kind,
        })?;
        let stat = self.tree.node(&created)?.stat();
        Ok((created, stat))
    }

    pub(super) fn delete(&mut self, path: &str, version: i32) -> Result<(), ErrorCode> {
        paths::validate(path)?;
        let own = ["/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
        let parent = paths::parent(path).filter(|_| !own.contains(&path));
        let parent = self.tree.node(parent.ok_or(ErrorCode::BadArguments)?)?;
        acl::check(&parent.acl, perms::DELETE, self.who)?;
        check_version(self.tree.node(path)?.version, version)?;
        self.apply(Change::Delete { path: path.into() })
    }

    pub(super) fn set_data(
        &mut self,
        path: &str,
        data: Option<Bytes>,
        version: i32,
    ) -> Result<Stat, ErrorCode> {
        paths::validate(path)?;
        let node = self.tree.node(path)?;
        acl::check(&node.acl, perms::WRITE, self.who)?;
        check_version(node.version, version)?;
        let path = path.to_owned();
        self.apply(Change::SetData {
            path: path.clone(),
            data,
        })?;
        Ok(self.tree.node(&path)?.stat())
    }

    pub(super) fn set_acl(
        &mut self,
        path: &str,
        asked: &[Acl],
        version: i32,
    ) -> Result<Stat, ErrorCode> {
        paths::validate(path)?;
        let fixed = acl::fix_up(asked, self.who)?;
        let node = self.tree.node(path)?;
        acl::check(&node.acl, perms::ADMIN, self.who)?;
        check_version(node.aversion, version)?;
        let path = path.to_owned();
        self.apply(Change::SetAcl {
            path: path.clone(),
            acl: fixed,
        })?;
        Ok(self.tree.node(&path)?.stat())
    }

    pub(super) fn check(&self, path: &str, version: i32) -> Result<(), ErrorCode> {
        paths::validate(path)?;
        let node = self.tree.node(path)?;
        acl::check(&node.acl, perms::READ, self.who)?;
        check_version(node.version, version)
    }

    /// Deletes whatever can be deleted of `paths`, asking nobody: the end of a session or of an
    /// idle container.
    pub(super) fn purge(&mut self, paths: Vec<String>) {
        for path in paths {
            // A node that got children meanwhile stays.
            let _refused = self.apply(Change::Delete { path });
        }
    }

    /// Keeps what was applied.
    pub(super) fn finish(self) -> (Vec<Change>, Vec<Event>) {
        (self.changes, self.events)
    }

    /// Takes back what was applied, last first.
    pub(super) fn roll_back(self) {
        for undo in self.undo.into_iter().rev() {
            self.tree.undo(undo);
        }
    }

    fn apply(&mut self, change: Change) -> Result<(), ErrorCode> {
        let undo = self.tree.apply(&change, self.stamp, &mut self.events)?;
        self.undo.push(undo);
        self.changes.push(change);
        Ok(())
    }

    /// What kind of node the flags of a create ask for (`CreateMode`), and whether it is numbered.
    fn kind_of(&self, create: &Create) -> Result<(Kind, bool), ErrorCode> {
        let ephemeral = Kind::Ephemeral(self.session);
        let plain = matches!(create.op, CreateOp::Create | CreateOp::Create2);
        Ok(match (create.op, create.flags) {
            (_, 0) if plain => (Kind::Persistent, false),
            (_, 1) if plain => (ephemeral, false),
            (_, 2) if plain => (Kind::Persistent, true),
            (_, 3) if plain => (ephemeral, true),
            // Clients that lack `createContainer` ask for a container by the flag alone.
            (CreateOp::CreateContainer, 0 | 4) => (Kind::Container, false),
            (_, 4) if plain => (Kind::Container, false),
            (CreateOp::CreateTtl, 5 | 6) if (1..=TTL_MS_MAX).contains(&create.ttl_ms) => {
                (Kind::Ttl(create.ttl_ms), create.flags == 6)
            }
            _ => return Err(ErrorCode::BadArguments),
        })
    }
}

/// -1 means any version.
fn check_version(is: i32, expected: i32) -> Result<(), ErrorCode> {
    if expected == -1 || expected == is {
        Ok(())
    } else {
        Err(ErrorCode::BadVersion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequential(tree: &mut Tree, path: &str) -> Result<String, ErrorCode> {
        let create = Create {
            op: CreateOp::Create,
            path: path.to_owned(),
            data: None,
            acl: tree.get("/").expect("the root").acl.to_vec(),
            flags: 2,
            ttl_ms: -1,
        };
        let stamp = Stamp {
            zxid: 1,
            time_ms: 0,
        };
        let mut step = Transaction::new(tree, stamp, 0, &[]);
        step.create(&create).map(|(path, _)| path)
    }

    #[test]
    fn the_sequence_wraps_after_two_to_the_31() {
        let fresh = Tree::new();
        let mut root = fresh.get("/").expect("the root").clone();
        root.creations = i32::MAX;
        root.children.clear();
        let mut tree = Tree::from_nodes([("/".to_owned(), root)]).expect("a root");
        for name in ["/q-2147483647", "/q--2147483648", "/q--2147483647"] {
            assert_eq!(sequential(&mut tree, "/q-").as_deref(), Ok(name));
        }
        assert_eq!(sequential(&mut tree, "/").as_deref(), Ok("/-2147483646"));
    }
}
