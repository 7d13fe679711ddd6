//! Following settings: the latest good value of one key, or of a whole tree.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;

use super::value::{Value, ValueError};
use super::{ConfigError, Versioned};
use crate::recipes::error::RecipeError;
use crate::recipes::tree_view::{Tree, TreeNode, TreeView};
use crate::session::Session;

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The latest good value; `None` if the key is not there.
    pub value: Option<Versioned<T>>,
    /// Why what is there now is not it.
    pub error: Option<ValueError>,
    /// Whether ZooKeeper confirms it at this moment.
    pub fresh: bool,
}

/// Follows one key until it is dropped.
#[derive(Debug)]
pub struct KeyWatcher<T> {
    trees: watch::Receiver<Arc<Tree>>,
    setting: Setting<T>,
    told: bool,
    _view: TreeView,
}

impl<T: Value + Clone + PartialEq> KeyWatcher<T> {
    /// The setting as [`next`](Self::next) last gave it; before that, as it was read first.
    #[must_use]
    pub fn current(&self) -> &Setting<T> {
        &self.setting
    }

    /// The next state that differs from the last one; at first the one that was read. `None` when the
    /// runtime ends. Cancel-safe.
    pub async fn next(&mut self) -> Option<Setting<T>> {
        while self.told {
            self.trees.changed().await.ok()?;
            let tree = Arc::clone(&self.trees.borrow_and_update());
            let now = take_over(&tree, self.setting.value.as_ref());
            self.told = now == self.setting;
            self.setting = now;
        }
        self.told = true;
        Some(self.setting.clone())
    }
}

impl<T: Value> KeyWatcher<T> {
    pub(super) async fn start(session: &Session, node: String) -> Result<Self, ConfigError>
    where
        T: Clone,
    {
        let view = TreeView::start(session.clone(), node.clone()).await;
        let view = view.map_err(RecipeError::at(&node))?;
        Ok(Self {
            trees: view.subscribe(),
            setting: take_over(&view.current(), None),
            told: false,
            _view: view,
        })
    }
}

/// The setting that a tree shows, with `last` for what cannot be understood.
fn take_over<T: Value + Clone>(tree: &Tree, last: Option<&Versioned<T>>) -> Setting<T> {
    let fresh = tree.fresh;
    let Some(node) = tree.nodes.get("") else {
        return Setting {
            value: None,
            error: None,
            fresh,
        };
    };
    let version = node.stat.version;
    let (value, error) = match T::decode(&node.data) {
        Ok(value) => (Some(Versioned { value, version }), None),
        Err(error) => (last.cloned(), Some(error)),
    };
    Setting {
        value,
        error,
        fresh,
    }
}

/// What happened to a key of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeChange {
    /// It has this value now.
    Set {
        /// Relative to the root; empty for the root itself.
        key: String,
        /// Its value and version.
        value: Versioned<Vec<u8>>,
    },
    /// It is gone.
    Removed {
        /// Relative to the root; empty for the root itself.
        key: String,
    },
    /// ZooKeeper is away: the last values stay.
    Away,
    /// It is back, and everything was read again.
    Back,
}

/// Follows all keys below a root until it is dropped.
#[derive(Debug)]
pub struct TreeWatcher {
    trees: watch::Receiver<Arc<Tree>>,
    told: Arc<Tree>,
    untold: VecDeque<TreeChange>,
    view: TreeView,
}

impl TreeWatcher {
    pub(super) async fn start(session: &Session, root: String) -> Result<Self, ConfigError> {
        let view = TreeView::start(session.clone(), root.clone()).await;
        let view = view.map_err(RecipeError::at(&root))?;
        let mut trees = view.subscribe();
        trees.mark_changed();
        let told = Tree {
            fresh: true,
            ..Tree::default()
        };
        Ok(Self {
            trees,
            told: Arc::new(told),
            untold: VecDeque::new(),
            view,
        })
    }

    /// All keys now, and whether ZooKeeper confirms them at this moment.
    #[must_use]
    pub fn current(&self) -> (BTreeMap<String, Versioned<Vec<u8>>>, bool) {
        let tree = self.view.current();
        let pair = |(key, node): (&String, &Arc<TreeNode>)| (key.clone(), versioned(node));
        (tree.nodes.iter().map(pair).collect(), tree.fresh)
    }

    /// The next change; the first ones are what is there already. `None` when the runtime ends.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<TreeChange> {
        loop {
            if let Some(change) = self.untold.pop_front() {
                return Some(change);
            }
            self.trees.changed().await.ok()?;
            let tree = Arc::clone(&self.trees.borrow_and_update());
            self.untold.extend(changes(&self.told, &tree));
            self.told = tree;
        }
    }
}

fn versioned(node: &TreeNode) -> Versioned<Vec<u8>> {
    Versioned {
        value: node.data.clone(),
        version: node.stat.version,
    }
}

fn changes(old: &Tree, new: &Tree) -> Vec<TreeChange> {
    let mut changes = Vec::new();
    for key in old.nodes.keys().filter(|key| !new.nodes.contains_key(*key)) {
        changes.push(TreeChange::Removed { key: key.clone() });
    }
    for (key, node) in &new.nodes {
        let same = |before: &Arc<TreeNode>| {
            (before.stat.czxid, before.stat.mzxid) == (node.stat.czxid, node.stat.mzxid)
        };
        if !old.nodes.get(key).is_some_and(same) {
            let (key, value) = (key.clone(), versioned(node));
            changes.push(TreeChange::Set { key, value });
        }
    }
    match (old.fresh, new.fresh) {
        (true, false) => changes.push(TreeChange::Away),
        (false, true) => changes.push(TreeChange::Back),
        _ => {}
    }
    changes
}
