//! What changes nothing: reads, and the operations on watches.
//!
//! A part of the engine: called under its lock, writes the body of the answer. Every read is
//! checked against the node's ACL, `getACL` and the catching up of watches included.

use super::acl;
use super::engine::{Engine, Failure, Refusal, event_frame};
use super::node::{EventKind, Node};
use super::records::{ErrorCode, Id, perms, write_acls};
use super::requests::{ReadOp, SetWatches, WatchOp};
use super::watches::{ConnectionId, Mode, Selector, Side};
use super::writes::{write_multi_end, write_multi_header};
use crate::protocol::jute::Writer;
use crate::protocol::paths;

impl Engine {
    pub(super) fn read(
        &mut self,
        id: ConnectionId,
        op: &ReadOp,
        w: &mut Writer,
    ) -> Result<(), Failure> {
        match op {
            ReadOp::Exists { path, watch } => {
                paths::validate(path)?;
                if let Some(node) = self.tree.get(path) {
                    acl::check(&node.acl, perms::READ, self.who(id))?;
                    node.stat().write(w);
                }
                // The one watch that may be left on a node that is not there.
                self.arm_if(*watch, Side::Data, path, id)?;
                self.tree.node(path)?;
            }
            ReadOp::GetData { path, watch } => {
                let node = self.readable(id, path)?;
                w.buffer(node.data.as_deref());
                node.stat().write(w);
                self.arm_if(*watch, Side::Data, path, id)?;
            }
            ReadOp::GetChildren { path, watch } => {
                self.write_children(id, path, w)?;
                self.arm_if(*watch, Side::Child, path, id)?;
            }
            ReadOp::GetChildren2 { path, watch } => {
                self.write_children(id, path, w)?.stat().write(w);
                self.arm_if(*watch, Side::Child, path, id)?;
            }
            ReadOp::GetAcl { path } => {
                paths::validate(path)?;
                let node = self.tree.node(path)?;
                let who = self.who(id);
                acl::check(&node.acl, perms::READ | perms::ADMIN, who)?;
                write_acls(w, &acl::shown(&node.acl, who));
                node.stat().write(w);
            }
            ReadOp::GetAllChildrenNumber { path } => {
                self.readable(id, path)?;
                let count = self.tree.descendants(path);
                w.int(i32::try_from(count).unwrap_or(i32::MAX));
            }
            ReadOp::GetEphemerals { prefix } => self.write_ephemerals(id, prefix, w)?,
            ReadOp::WhoAmI => {
                let who = self.who(id);
                w.count(who.len());
                for id in who {
                    w.string(&id.scheme).string(acl::user_of(id));
                }
            }
            ReadOp::Sync { path } => {
                w.string(path);
            }
        }
        Ok(())
    }

    /// Each read for itself: one that fails does not fail the others. None leaves a watch: the
    /// flag is in the request, but ZooKeeper passes over it.
    pub(super) fn multi_read(
        &mut self,
        id: ConnectionId,
        ops: &[ReadOp],
        w: &mut Writer,
    ) -> Result<(), Failure> {
        for op in ops {
            let kind = match op {
                ReadOp::GetChildren { .. } => 8,
                _ => 4,
            };
            let mut body = Writer::new();
            match self.read(id, op, &mut body) {
                Ok(()) => {
                    write_multi_header(w, kind, 0);
                    w.raw(&body.into_bytes());
                }
                Err(Failure::Code(code)) => {
                    write_multi_header(w, -1, code.number());
                    w.int(code.number());
                }
                Err(close) => return Err(close),
            }
            self.check_size(w.len())?;
        }
        write_multi_end(w);
        Ok(())
    }

    pub(super) fn watch(
        &mut self,
        id: ConnectionId,
        op: WatchOp,
        w: &mut Writer,
    ) -> Result<(), Failure> {
        match op {
            WatchOp::Add { path, mode } => {
                paths::validate(&path)?;
                let mode = match mode {
                    0 => Mode::Persistent,
                    1 => Mode::Recursive,
                    _ => return Err(ErrorCode::MarshallingError.into()),
                };
                self.check_watches(id)?;
                self.watches.add(mode, &path, id);
                w.int(0);
            }
            WatchOp::Check { path, selector } => {
                let selector = Selector::from_number(selector);
                let selector = selector.ok_or(ErrorCode::MarshallingError)?;
                if !self.watches.contains(selector, &path, id) {
                    return Err(ErrorCode::NoWatcher.into());
                }
            }
            WatchOp::Remove { path, selector } => {
                let selector = Selector::from_number(selector);
                let selector = selector.ok_or(ErrorCode::MarshallingError)?;
                if !self.watches.remove(selector, &path, id) {
                    return Err(ErrorCode::NoWatcher.into());
                }
            }
            WatchOp::Set(watches) => self.set_watches(id, &watches)?,
        }
        Ok(())
    }

    /// Watches of a client that was away: what it missed is told now, the rest is armed again.
    fn set_watches(&mut self, id: ConnectionId, set: &SetWatches) -> Result<(), Failure> {
        // A client cannot have seen what has not happened yet.
        let since = set.relative_zxid.min(self.zxid);
        for path in &set.data {
            let missed = match self.seen(id, path) {
                Seen::Gone => Some(EventKind::Deleted),
                Seen::Node(node) if node.modified.zxid > since => Some(EventKind::DataChanged),
                _ => None,
            };
            self.catch_up(id, Side::Data, path, missed)?;
        }
        for path in &set.exist {
            let missed = match self.seen(id, path) {
                Seen::Node(_) => Some(EventKind::Created),
                _ => None,
            };
            self.catch_up(id, Side::Data, path, missed)?;
        }
        for path in &set.child {
            let missed = match self.seen(id, path) {
                Seen::Gone => Some(EventKind::Deleted),
                Seen::Node(node) if node.pzxid > since => Some(EventKind::ChildrenChanged),
                _ => None,
            };
            self.catch_up(id, Side::Child, path, missed)?;
        }
        let persistent = set.persistent.iter().map(|path| (Mode::Persistent, path));
        let recursive = set.recursive.iter().map(|path| (Mode::Recursive, path));
        for (mode, path) in persistent.chain(recursive) {
            self.check_watches(id)?;
            self.watches.add(mode, path, id);
        }
        Ok(())
    }

    fn catch_up(
        &mut self,
        id: ConnectionId,
        side: Side,
        path: &str,
        missed: Option<EventKind>,
    ) -> Result<(), Failure> {
        match missed {
            None => self.arm_if(true, side, path, id),
            Some(kind) => {
                // Bounded by the request that asks for it, so it is no reason to close.
                if let Some(peer) = self.peers.get(&id) {
                    peer.outbox.reply(self.zxid, event_frame(kind, path), None);
                }
                Ok(())
            }
        }
    }

    fn seen(&self, id: ConnectionId, path: &str) -> Seen<'_> {
        match self.tree.get(path) {
            None => Seen::Gone,
            Some(node) if acl::check(&node.acl, perms::READ, self.who(id)).is_err() => Seen::Hidden,
            Some(node) => Seen::Node(node),
        }
    }

    fn who(&self, id: ConnectionId) -> &[Id] {
        self.peers.get(&id).map_or(&[], |peer| &peer.who)
    }

    fn readable(&self, id: ConnectionId, path: &str) -> Result<&Node, ErrorCode> {
        paths::validate(path)?;
        let node = self.tree.node(path)?;
        acl::check(&node.acl, perms::READ, self.who(id))?;
        Ok(node)
    }

    fn write_children(
        &self,
        id: ConnectionId,
        path: &str,
        w: &mut Writer,
    ) -> Result<&Node, Failure> {
        let node = self.readable(id, path)?;
        self.check_size(node.children.iter().map(|name| name.len() + 4).sum())?;
        w.count(node.children.len());
        for name in &node.children {
            w.string(name);
        }
        Ok(node)
    }

    fn write_ephemerals(
        &self,
        id: ConnectionId,
        prefix: &str,
        w: &mut Writer,
    ) -> Result<(), Failure> {
        let session = self.peers.get(&id).and_then(|peer| peer.session);
        let all = self.tree.ephemerals_of(session.unwrap_or(0));
        let prefix = match prefix.trim() {
            "" | "/" => "",
            _ => prefix,
        };
        let paths: Vec<_> = all.filter(|path| path.starts_with(prefix)).collect();
        self.check_size(paths.iter().map(|path| path.len() + 4).sum())?;
        w.count(paths.len());
        for path in paths {
            w.string(path);
        }
        Ok(())
    }

    fn arm_if(
        &mut self,
        watch: bool,
        side: Side,
        path: &str,
        id: ConnectionId,
    ) -> Result<(), Failure> {
        if watch {
            self.check_watches(id)?;
            self.watches.arm(side, path, id);
        }
        Ok(())
    }

    fn check_watches(&self, id: ConnectionId) -> Result<(), Failure> {
        let limit = self.limits.watches_max;
        let limit_bytes = self.limits.watch_bytes_max;
        let fits = self.watches.count_of(id) < limit && self.watches.bytes_of(id) < limit_bytes;
        match fits {
            true => Ok(()),
            false => Err(Failure::Close(Refusal::TooManyWatches {
                limit,
                limit_bytes,
            })),
        }
    }

    fn check_size(&self, bytes: usize) -> Result<(), Failure> {
        let limit = self.limits.reply_bytes_max;
        match bytes <= limit {
            true => Ok(()),
            false => Err(Failure::Close(Refusal::ReplyTooLarge { limit })),
        }
    }
}

/// A node as one client may see it.
enum Seen<'a> {
    Gone,
    Hidden,
    Node(&'a Node),
}
