//! Configuration: typed values that many read, few write, and nobody overwrites by accident.
//!
//! ```text
//!   ROOT/<key>          persistent; the value as text (or JSON); its version counts the writes
//!   ROOT/<key>/<key>    keys may have keys below them
//! ```
//!
//! **Guarantee.** A write that names a version is done only over that version. A watcher's value is one
//! that was read; it may skip values that were replaced quickly, and never goes back to an older one.
//! **On session loss**, and while ZooKeeper is away, a watcher keeps the last good value, marked as not
//! fresh; so it does when a new value cannot be understood, with the reason in [`Setting::error`].
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use nyala_coordinator::recipes::config::{Config, Expect};
//!
//! let config = Config::new(session, "/app/config")?;
//! config.set("limits/rate", &100_u32, Expect::Absent).await?;
//! config.update("limits/rate", |old: Option<u32>| old.unwrap_or(100) * 2).await?;
//! let mut rate = config.watch::<u32>("limits/rate").await?;
//! while let Some(setting) = rate.next().await {
//!     apply(setting.value.map(|value| value.value));
//! }
//! # Ok(()) }
//! # fn apply(_: Option<u32>) {}
//! ```

mod value;
mod watcher;

use super::error::RecipeError;
use super::own::{child, parent};
use super::path::usable;
use crate::session::{Acl, CreateMode, Node, Session, Stat, ZkError};

pub use value::{Json, Value, ValueError};
pub use watcher::{KeyWatcher, Setting, TreeChange, TreeWatcher};

/// What a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything, or nothing.
    Any,
    /// No such key.
    Absent,
    /// The key at this version.
    Version(i32),
}

/// A value with the version that it was read at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// Of its node: a compare-and-set names it.
    pub version: i32,
}

/// Why a setting was not read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// ZooKeeper refused, or the path cannot be used.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// What is there is not of the type that was asked for.
    #[error("{path}: {source}")]
    Value {
        /// The key's node.
        path: String,
        /// What is wrong with it.
        source: ValueError,
    },
    /// The key is at another version than the write expected.
    #[error("{path} is {}, not {}", found_words(*found), expected_words(*expected))]
    Conflict {
        /// The key's node.
        path: String,
        /// What was expected.
        expected: Expect,
        /// What is there; `None` for nothing.
        found: Option<i32>,
    },
}

fn found_words(found: Option<i32>) -> String {
    found.map_or_else(|| "absent".to_owned(), |v| format!("at version {v}"))
}

fn expected_words(expected: Expect) -> String {
    match expected {
        Expect::Any => "anything".to_owned(),
        Expect::Absent => "absent".to_owned(),
        Expect::Version(v) => format!("at version {v}"),
    }
}

/// The keys below a path. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Config {
    session: Session,
    root: String,
}

impl Config {
    /// At `path` (absolute, below the session's chroot); makes no znode yet. Fails if the path cannot be
    /// used.
    pub fn new(session: Session, root: &str) -> Result<Self, RecipeError> {
        let root = usable(root)?;
        Ok(Self { session, root })
    }

    /// The root itself is the key of no name.
    fn node(&self, key: &str) -> Result<String, RecipeError> {
        if key.is_empty() {
            return Ok(self.root.clone());
        }
        usable(&child(&self.root, key))
    }

    /// Reads a key; `None` if it is not there.
    pub async fn get<T: Value>(&self, key: &str) -> Result<Option<Versioned<T>>, ConfigError> {
        let path = self.node(key)?;
        let node = self.session.get_if_exists(&path).await;
        let Some(node) = node.map_err(RecipeError::at(&path))? else {
            return Ok(None);
        };
        let version = node.stat.version;
        match T::decode(&node.data) {
            Ok(value) => Ok(Some(Versioned { value, version })),
            Err(source) => Err(ConfigError::Value { path, source }),
        }
    }

    /// Writes a key and gives its new version. A lost answer is found out.
    ///
    /// Should another writer write the very same value over the same version meanwhile, both succeed.
    pub async fn set<T: Value>(
        &self,
        key: &str,
        value: &T,
        expected: Expect,
    ) -> Result<i32, ConfigError> {
        let path = self.node(key)?;
        let data = value.encode();
        let mut sent = false;
        loop {
            let written = match expected {
                Expect::Version(version) => self.session.set(&path, &data, Some(version)).await,
                Expect::Absent => self.create(&path, &data).await,
                Expect::Any => match self.session.set(&path, &data, None).await {
                    Err(ZkError::NoNode) => self.create(&path, &data).await,
                    other => other,
                },
            };
            match written {
                Ok(stat) => return Ok(stat.version),
                Err(ZkError::Unknown) => sent = true,
                Err(ZkError::NodeExists) if expected == Expect::Any => {}
                Err(ZkError::BadVersion | ZkError::NodeExists | ZkError::NoNode) => {
                    return self
                        .conflict(path, expected, sent.then_some(data.as_slice()))
                        .await;
                }
                Err(e) => return Err(RecipeError::at(&path)(e).into()),
            }
        }
    }

    async fn create(&self, path: &str, data: &[u8]) -> Result<Stat, ZkError> {
        loop {
            let mode = CreateMode::Persistent;
            match self.session.create(path, data, mode, Acl::Default).await {
                Err(ZkError::NoNode) => {
                    self.session.ensure_path(parent(path)).await?;
                }
                other => return other.map(|created| created.stat),
            }
        }
    }

    /// What stands in the way; or our own write, if it was sent before and found now.
    async fn conflict(
        &self,
        path: String,
        expected: Expect,
        sent: Option<&[u8]>,
    ) -> Result<i32, ConfigError> {
        let node = self.session.get_if_exists(&path).await;
        let node = node.map_err(RecipeError::at(&path))?;
        let ours = |node: &&Node| {
            let next = match expected {
                Expect::Version(version) => version.wrapping_add(1),
                Expect::Absent | Expect::Any => 0,
            };
            sent == Some(node.data.as_slice()) && node.stat.version == next
        };
        if let Some(node) = node.as_ref().filter(ours) {
            return Ok(node.stat.version);
        }
        let found = node.map(|n| n.stat.version);
        Err(ConfigError::Conflict {
            path,
            expected,
            found,
        })
    }

    /// Reads, changes and writes until nobody came between; gives the value written.
    pub async fn update<T: Value>(
        &self,
        key: &str,
        change: impl Fn(Option<T>) -> T,
    ) -> Result<Versioned<T>, ConfigError> {
        loop {
            let old = self.get::<T>(key).await?;
            let expected = match &old {
                Some(old) => Expect::Version(old.version),
                None => Expect::Absent,
            };
            let value = change(old.map(|old| old.value));
            match self.set(key, &value, expected).await {
                Ok(version) => return Ok(Versioned { value, version }),
                Err(ConfigError::Conflict { .. }) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Removes a key that has none below it; `false` if it was not there.
    pub async fn remove(&self, key: &str, expected: Expect) -> Result<bool, ConfigError> {
        let path = self.node(key)?;
        let version = match expected {
            Expect::Version(version) => Some(version),
            Expect::Any | Expect::Absent => None,
        };
        let mut sent = false;
        loop {
            match self.session.delete(&path, version).await {
                Ok(()) => return Ok(true),
                Err(ZkError::NoNode) => return Ok(sent),
                Err(ZkError::Unknown) => sent = true,
                Err(ZkError::BadVersion) => {
                    return self.conflict(path, expected, None).await.map(|_| false);
                }
                Err(e) => return Err(RecipeError::at(&path)(e).into()),
            }
        }
    }

    /// Follows one key.
    pub async fn watch<T: Value + Clone>(&self, key: &str) -> Result<KeyWatcher<T>, ConfigError> {
        KeyWatcher::start(&self.session, self.node(key)?).await
    }

    /// Follows all keys below the root.
    pub async fn watch_all(&self) -> Result<TreeWatcher, ConfigError> {
        TreeWatcher::start(&self.session, self.root.clone()).await
    }
}

#[cfg(test)]
mod tests;
