//! Who watches what: one-shot, persistent and persistent recursive watches of connections. Pure.
//!
//! Two tables, as in ZooKeeper: `data` hears of a node itself, `child` of its list of children.
//! Every watch is bounded in number by its connection and gone with it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::node::{Event, EventKind};
use crate::protocol::paths;

/// One connection of this run of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ConnectionId(pub(super) u64);

/// Which table a one-shot watch goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Data,
    Child,
}

/// What `addWatch` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Persistent,
    Recursive,
}

/// What `checkWatches` and `removeWatches` mean (`Watcher.WatcherType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selector {
    Children,
    Data,
    Any,
    Persistent,
    Recursive,
}

impl Selector {
    pub(super) fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Children,
            2 => Self::Data,
            3 => Self::Any,
            4 => Self::Persistent,
            5 => Self::Recursive,
            _ => return None,
        })
    }
}

/// The watches of one connection on one path, as bits.
type Modes = u8;
const ONE_SHOT: Modes = 1;
const PERSISTENT: Modes = 2;
const RECURSIVE: Modes = 4;
const ALL: Modes = ONE_SHOT | PERSISTENT | RECURSIVE;

#[derive(Debug, Default)]
struct Table {
    by_path: HashMap<Box<str>, BTreeMap<ConnectionId, Modes>>,
    by_connection: HashMap<ConnectionId, Paths>,
}

/// What one connection watches.
#[derive(Debug, Default)]
struct Paths {
    paths: HashSet<Box<str>>,
    bytes: usize,
}

impl Table {
    fn add(&mut self, path: &str, who: ConnectionId, mode: Modes) {
        let modes = self.by_path.entry(path.into()).or_default();
        let modes = modes.entry(who).or_default();
        if *modes == 0 {
            let theirs = self.by_connection.entry(who).or_default();
            theirs.paths.insert(path.into());
            theirs.bytes += path.len();
        }
        *modes |= mode;
    }

    fn modes(&self, path: &str, who: ConnectionId) -> Modes {
        let modes = self.by_path.get(path).and_then(|modes| modes.get(&who));
        modes.copied().unwrap_or(0)
    }

    /// Takes `mode` away; true when something of it was there.
    fn remove(&mut self, path: &str, who: ConnectionId, mode: Modes) -> bool {
        let Some(watchers) = self.by_path.get_mut(path) else {
            return false;
        };
        let Some(modes) = watchers.get_mut(&who) else {
            return false;
        };
        let before = *modes;
        *modes &= !mode;
        if *modes == 0 {
            watchers.remove(&who);
            if watchers.is_empty() {
                self.by_path.remove(path);
            }
            if let Some(theirs) = self.by_connection.get_mut(&who) {
                theirs.paths.remove(path);
                theirs.bytes -= path.len();
                if theirs.paths.is_empty() {
                    self.by_connection.remove(&who);
                }
            }
        }
        before & mode != 0
    }

    fn remove_all(&mut self, who: ConnectionId) {
        let theirs = self.by_connection.remove(&who).unwrap_or_default();
        for path in theirs.paths {
            if let Some(watchers) = self.by_path.get_mut(&path) {
                watchers.remove(&who);
                if watchers.is_empty() {
                    self.by_path.remove(&path);
                }
            }
        }
    }

    /// Everyone who watches exactly `path`; their one-shot watches are spent.
    fn fire(&mut self, path: &str) -> Vec<ConnectionId> {
        let who: Vec<_> = match self.by_path.get(path) {
            Some(watchers) => watchers.keys().copied().collect(),
            None => return Vec::new(),
        };
        for &connection in &who {
            self.remove(path, connection, ONE_SHOT);
        }
        who
    }

    fn count_of(&self, who: ConnectionId) -> usize {
        self.by_connection.get(&who).map_or(0, |p| p.paths.len())
    }

    fn count(&self) -> usize {
        self.by_connection.values().map(|p| p.paths.len()).sum()
    }
}

/// All watches of all connections.
#[derive(Debug, Default)]
pub(super) struct Watches {
    data: Table,
    child: Table,
    /// Recursive watches at present: without any, no event looks at its ancestors.
    recursive: usize,
}

impl Watches {
    /// Arms a one-shot watch.
    pub(super) fn arm(&mut self, side: Side, path: &str, who: ConnectionId) {
        self.table(side).add(path, who, ONE_SHOT);
    }

    /// Adds a watch that stays.
    pub(super) fn add(&mut self, mode: Mode, path: &str, who: ConnectionId) {
        match mode {
            Mode::Persistent => {
                self.data.add(path, who, PERSISTENT);
                self.child.add(path, who, PERSISTENT);
            }
            Mode::Recursive => {
                if self.data.modes(path, who) & RECURSIVE == 0 {
                    self.recursive += 1;
                }
                self.data.add(path, who, RECURSIVE);
            }
        }
    }

    pub(super) fn contains(&self, selector: Selector, path: &str, who: ConnectionId) -> bool {
        let (data, child) = masks(selector);
        self.data.modes(path, who) & data != 0 || self.child.modes(path, who) & child != 0
    }

    /// Takes watches away; true when there was one.
    pub(super) fn remove(&mut self, selector: Selector, path: &str, who: ConnectionId) -> bool {
        let (data, child) = masks(selector);
        if self.data.modes(path, who) & data & RECURSIVE != 0 {
            self.recursive -= 1;
        }
        let from_data = self.data.remove(path, who, data);
        let from_child = self.child.remove(path, who, child);
        from_data || from_child
    }

    /// Takes all watches of a closed connection away.
    pub(super) fn remove_connection(&mut self, who: ConnectionId) {
        if self.recursive > 0 {
            let theirs = self.data.by_connection.get(&who);
            let paths = theirs.into_iter().flat_map(|theirs| &theirs.paths);
            let gone = paths.filter(|path| self.data.modes(path, who) & RECURSIVE != 0);
            self.recursive -= gone.count();
        }
        self.data.remove_all(who);
        self.child.remove_all(who);
    }

    /// Who hears of `event`, each once. One-shot watches that hear of it are spent.
    pub(super) fn fire(&mut self, event: &Event) -> Vec<ConnectionId> {
        if event.kind == EventKind::ChildrenChanged {
            return self.child.fire(&event.path);
        }
        let mut who = self.data.fire(&event.path);
        if event.kind == EventKind::Deleted {
            who.extend(self.child.fire(&event.path));
        }
        if self.recursive > 0 {
            let ancestors = std::iter::successors(paths::parent(&event.path), |p| paths::parent(p));
            for path in ancestors {
                let watchers = self.data.by_path.get(path).into_iter().flatten();
                let recursive = watchers.filter(|(_, modes)| **modes & RECURSIVE != 0);
                who.extend(recursive.map(|(who, _)| *who));
            }
        }
        who.sort_unstable();
        who.dedup();
        who
    }

    /// Watched paths of one connection.
    pub(super) fn count_of(&self, who: ConnectionId) -> usize {
        self.data.count_of(who) + self.child.count_of(who)
    }

    /// Bytes of the watched paths of one connection.
    pub(super) fn bytes_of(&self, who: ConnectionId) -> usize {
        let of = |table: &Table| table.by_connection.get(&who).map_or(0, |p| p.bytes);
        of(&self.data) + of(&self.child)
    }

    /// Watched paths of all connections.
    pub(super) fn count(&self) -> usize {
        self.data.count() + self.child.count()
    }

    fn table(&mut self, side: Side) -> &mut Table {
        match side {
            Side::Data => &mut self.data,
            Side::Child => &mut self.child,
        }
    }
}

/// What a selector means in the data table and in the child table.
fn masks(selector: Selector) -> (Modes, Modes) {
    match selector {
        Selector::Children => (0, ONE_SHOT),
        Selector::Data => (ONE_SHOT, 0),
        Selector::Any => (ALL, ALL),
        Selector::Persistent => (PERSISTENT, PERSISTENT),
        Selector::Recursive => (RECURSIVE, 0),
    }
}

#[cfg(test)]
mod tests;
