//! The watches of one connection, by the path that they wait for. Pure, but for whom they wake.
//!
//! The server has one watch of a kind for a path, however often it was asked for, and forgets it when it has fired;
//! tree watches stay. Whoever gives one up says nothing: it mostly fires soon. What nobody has wanted from one
//! [`sweep`](Watchers::sweep) to the next is taken back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::super::ops::{TreeEvent, TreeEventKind};
use super::answers::{Event, relative};
use super::requests::Selector;

pub(super) type Once = oneshot::Sender<Option<TreeEventKind>>;

/// A watch that was asked for, to be kept from the server's answer on, or at once where that says nothing of it.
/// Paths are absolute.
#[derive(Debug)]
pub(super) enum Asked {
    Node {
        path: String,
        wakes: Once,
        /// The server keeps it for a node that is not there, too.
        if_missing: bool,
    },
    Children {
        path: String,
        wakes: Once,
    },
    Tree {
        path: String,
        wakes: Tree,
    },
}

impl Asked {
    fn path(&self) -> &str {
        let (Self::Node { path, .. } | Self::Children { path, .. } | Self::Tree { path, .. }) =
            self;
        path
    }
}

/// Who waits for all that happens in a tree.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) events: mpsc::Sender<TreeEvent>,
    pub(super) chroot: Arc<str>,
}

/// Those who wait for one kind of thing at one path.
#[derive(Debug)]
struct Waiters<T> {
    wakes: Vec<T>,
    /// Nobody did at the last sweep.
    was_unwanted: bool,
}

impl<T> Waiters<T> {
    fn add(waiters: &mut Option<Self>, wakes: T) {
        let waiters = waiters.get_or_insert_with(|| Self {
            wakes: Vec::new(),
            was_unwanted: false,
        });
        waiters.wakes.push(wakes);
        waiters.was_unwanted = false;
    }

    /// Whether there are none, or none that anybody has wanted since the last sweep.
    fn sweep(waiters: &mut Option<Self>, is_gone: impl Fn(&T) -> bool) -> bool {
        let Some(waiters) = waiters else { return true };
        waiters.wakes.retain(|wakes| !is_gone(wakes));
        let is_unwanted = waiters.wakes.is_empty();
        std::mem::replace(&mut waiters.was_unwanted, is_unwanted) && is_unwanted
    }
}

/// What the server watches at one path, by kind.
#[derive(Debug, Default)]
struct Watched {
    node: Option<Waiters<Once>>,
    children: Option<Waiters<Once>>,
    tree: Option<Waiters<Tree>>,
}

impl Watched {
    fn is_empty(&self) -> bool {
        self.node.is_none() && self.children.is_none() && self.tree.is_none()
    }

    /// What of it the server may forget: a selector must not reach what is still wanted, and each reaches the
    /// tree's watch, which a server keeps among those of nodes and among those of children.
    fn sweep(&mut self) -> Vec<Selector> {
        let node = Waiters::sweep(&mut self.node, Once::is_closed);
        let children = Waiters::sweep(&mut self.children, Once::is_closed);
        let tree = Waiters::sweep(&mut self.tree, |tree| tree.events.is_closed());
        match (&self.tree, node, children, tree) {
            (Some(_), true, true, true) => {
                *self = Self::default();
                vec![Selector::Any]
            }
            (Some(_), ..) => Vec::new(),
            (None, ..) => {
                let node = self.node.take_if(|_| node);
                let children = self.children.take_if(|_| children);
                let node = node.map(|_| Selector::Node);
                let children = children.map(|_| Selector::Children);
                node.into_iter().chain(children).collect()
            }
        }
    }
}

/// All watches of a connection, by path.
#[derive(Debug, Default)]
pub(super) struct Watchers(HashMap<String, Watched>);

impl Watchers {
    pub(super) fn add(&mut self, asked: Asked) {
        match asked {
            Asked::Node { path, wakes, .. } => Waiters::add(&mut self.at(path).node, wakes),
            Asked::Children { path, wakes } => Waiters::add(&mut self.at(path).children, wakes),
            Asked::Tree { path, wakes } => Waiters::add(&mut self.at(path).tree, wakes),
        }
    }

    fn at(&mut self, path: String) -> &mut Watched {
        self.0.entry(path).or_default()
    }

    /// Tells the trees, and gives those who are to be told once.
    pub(super) fn fire(&mut self, event: &Event) -> Vec<Once> {
        let mut once = Vec::new();
        if let Some(watched) = self.0.get_mut(&event.path) {
            let node = watched.node.take_if(|_| event.kind.is_some());
            let of_children = matches!(event.kind, None | Some(TreeEventKind::Deleted));
            let children = watched.children.take_if(|_| of_children);
            let fired = node.into_iter().chain(children);
            once.extend(fired.flat_map(|waiters| waiters.wakes));
            if watched.is_empty() {
                self.0.remove(&event.path);
            }
        }
        if let Some(kind) = event.kind {
            for root in roots(&event.path) {
                let watched = self.0.get_mut(root);
                if let Some(trees) = watched.and_then(|watched| watched.tree.as_mut()) {
                    // One whose queue is full has its end told, and reads everything again.
                    trees.wakes.retain(|tree| tree.tell(&event.path, kind));
                }
            }
        }
        once
    }

    /// What the server may forget, unless it is being asked for.
    pub(super) fn sweep<'a>(
        &mut self,
        asked: impl Iterator<Item = &'a Asked>,
    ) -> Vec<(String, Selector)> {
        let asked: HashSet<&str> = asked.map(Asked::path).collect();
        let mut unwanted = Vec::new();
        self.0.retain(|path, watched| {
            if !asked.contains(path.as_str()) {
                let selectors = watched.sweep().into_iter();
                unwanted.extend(selectors.map(|selector| (path.clone(), selector)));
            }
            !watched.is_empty()
        });
        unwanted
    }
}

impl Tree {
    fn tell(&self, path: &str, kind: TreeEventKind) -> bool {
        let Some(path) = relative(&self.chroot, path) else {
            return true;
        };
        let path = path.to_owned();
        self.events.try_send(TreeEvent { path, kind }).is_ok()
    }
}

/// A path and all above it.
fn roots(path: &str) -> impl Iterator<Item = &str> {
    let above = path
        .match_indices('/')
        .filter_map(|(end, _)| path.get(..end));
    let above = above.map(|root| if root.is_empty() { "/" } else { root });
    let itself = (path != "/").then_some(path);
    above.chain(itself)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Option<TreeEventKind>, path: &str) -> Event {
        let path = path.to_owned();
        Event { kind, path }
    }

    fn node(watchers: &mut Watchers, path: &str) -> oneshot::Receiver<Option<TreeEventKind>> {
        let (wakes, fired) = oneshot::channel();
        let path = path.to_owned();
        watchers.add(Asked::Node {
            path,
            wakes,
            if_missing: true,
        });
        fired
    }

    fn children(watchers: &mut Watchers, path: &str) -> oneshot::Receiver<Option<TreeEventKind>> {
        let (wakes, fired) = oneshot::channel();
        let path = path.to_owned();
        watchers.add(Asked::Children { path, wakes });
        fired
    }

    fn tree(watchers: &mut Watchers, chroot: &str, path: &str) -> mpsc::Receiver<TreeEvent> {
        let (events, told) = mpsc::channel(2);
        let chroot = chroot.into();
        let path = path.to_owned();
        let wakes = Tree { events, chroot };
        watchers.add(Asked::Tree { path, wakes });
        told
    }

    fn none() -> std::iter::Empty<&'static Asked> {
        std::iter::empty()
    }

    #[test]
    fn an_event_is_for_those_of_its_kind_and_once() {
        use TreeEventKind::{Created, DataChanged, Deleted};
        let mut watchers = Watchers::default();
        for (kind, nodes, lists) in [
            (Some(Created), 2, 0),
            (Some(DataChanged), 2, 0),
            (None, 0, 1),
            (Some(Deleted), 2, 1),
        ] {
            let mut watchers = Watchers::default();
            let _waiting = (
                node(&mut watchers, "/a"),
                node(&mut watchers, "/a"),
                node(&mut watchers, "/ab"),
                children(&mut watchers, "/a"),
            );
            assert_eq!(watchers.fire(&event(kind, "/a")).len(), nodes + lists);
            assert_eq!(watchers.fire(&event(kind, "/a")).len(), 0);
        }
        assert_eq!(watchers.fire(&event(Some(Created), "/a")).len(), 0);
    }

    #[test]
    fn a_tree_hears_of_itself_and_all_below_as_its_chroot_names_them() {
        let mut watchers = Watchers::default();
        let mut told = tree(&mut watchers, "/c", "/c/a");
        let mut all = tree(&mut watchers, "", "/");
        let mut paths = |path: &str, kind| {
            assert_eq!(watchers.fire(&event(kind, path)).len(), 0);
            let path = |got: &mut mpsc::Receiver<TreeEvent>| got.try_recv().ok().map(|e| e.path);
            (path(&mut told), path(&mut all))
        };
        let some = |path: &str| Some(path.to_owned());
        let created = Some(TreeEventKind::Created);
        assert_eq!(paths("/c/a", created), (some("/a"), some("/c/a")));
        assert_eq!(paths("/c/a/b", created), (some("/a/b"), some("/c/a/b")));
        assert_eq!(paths("/c/ab", created), (None, some("/c/ab")));
        assert_eq!(paths("/", created), (None, some("/")));
        assert_eq!(paths("/c/a", None), (None, None));
    }

    #[test]
    fn a_tree_whose_queue_is_full_ends() {
        let mut watchers = Watchers::default();
        let mut told = tree(&mut watchers, "", "/");
        for _ in 0..3 {
            let _ = watchers.fire(&event(Some(TreeEventKind::Created), "/a"));
        }
        assert!(told.try_recv().is_ok());
        assert!(told.try_recv().is_ok());
        assert_eq!(
            told.try_recv(),
            Err(mpsc::error::TryRecvError::Disconnected)
        );
    }

    #[test]
    fn what_nobody_wants_goes_at_the_second_sweep() {
        let mut watchers = Watchers::default();
        let kept = node(&mut watchers, "/kept");
        drop(node(&mut watchers, "/a"));
        drop(children(&mut watchers, "/a"));
        drop(tree(&mut watchers, "", "/t"));
        assert_eq!(watchers.sweep(none()), []);
        let mut gone = watchers.sweep(none());
        gone.sort_by_key(|(path, selector)| (path.clone(), *selector as i32));
        let gone: Vec<_> = gone.iter().map(|(p, s)| (p.as_str(), *s)).collect();
        assert_eq!(
            gone,
            [
                ("/a", Selector::Children),
                ("/a", Selector::Node),
                ("/t", Selector::Any)
            ]
        );
        assert_eq!(watchers.sweep(none()), []);
        drop(kept);
    }

    #[test]
    fn what_is_wanted_again_stays() {
        let mut watchers = Watchers::default();
        drop(node(&mut watchers, "/a"));
        assert_eq!(watchers.sweep(none()), []);
        let again = node(&mut watchers, "/a");
        assert_eq!(watchers.sweep(none()), []);
        drop(again);
        assert_eq!(watchers.sweep(none()), []);
        let (wakes, _fired) = oneshot::channel();
        let path = "/a".to_owned();
        let asked = [Asked::Children { path, wakes }];
        assert_eq!(watchers.sweep(asked.iter()), []);
        assert_eq!(watchers.sweep(none()).len(), 1);
    }

    #[test]
    fn a_selector_never_takes_what_another_wants() {
        let mut watchers = Watchers::default();
        let _tree = tree(&mut watchers, "", "/a");
        drop(node(&mut watchers, "/a"));
        let wanted = node(&mut watchers, "/b");
        drop(tree(&mut watchers, "", "/b"));
        for _ in 0..3 {
            assert_eq!(watchers.sweep(none()), []);
        }
        drop(wanted);
        assert_eq!(watchers.sweep(none()), []);
        assert_eq!(watchers.sweep(none()), [("/b".to_owned(), Selector::Any)]);
    }
}
