//! `/config`: overrides of topics, brokers and clients, and the notices that they have changed.
//!
//! The overrides are the truth; a notice only says where to look. Whoever follows them reads the
//! entity again, whatever the notice's age.

use std::collections::BTreeMap;

use super::payloads::{decode_config, decode_config_change, encode_config, encode_config_change};
use super::{At, Registry, RegistryError, paths};
use crate::ids::{BrokerId, TopicName};
use crate::session::{Acl, Children, CreateMode, Watch, ZkError};

/// Whose overrides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigEntity {
    /// A topic.
    Topic(TopicName),
    /// One broker.
    Broker(BrokerId),
    /// All brokers (`<default>`).
    BrokerDefault,
    /// Something else (users, clients, ips), by its path below `/config`.
    Other(String),
}

impl ConfigEntity {
    /// As notices name it: `topics/T`, `brokers/1`, `brokers/<default>`.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Topic(topic) => format!("topics/{topic}"),
            Self::Broker(id) => format!("brokers/{id}"),
            Self::BrokerDefault => "brokers/<default>".to_owned(),
            Self::Other(path) => path.clone(),
        }
    }

    /// Reads what a notice names.
    #[must_use]
    pub fn parse(path: &str) -> Self {
        let other = || Self::Other(path.to_owned());
        match path.split_once('/') {
            Some(("topics", name)) => TopicName::new(name).map_or_else(|_| other(), Self::Topic),
            Some(("brokers", "<default>")) => Self::BrokerDefault,
            Some(("brokers", id)) => paths::parse_broker(id).map_or_else(other, Self::Broker),
            _ => other(),
        }
    }

    fn node(&self) -> String {
        format!("{}/{}", paths::CONFIG, self.path())
    }
}

/// A notice in `/config/changes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// Its number, ascending.
    pub sequence: u64,
    /// Whose overrides have changed; `None` if the notice cannot be read.
    pub entity: Option<ConfigEntity>,
    /// Milliseconds since 1970 at which it was written.
    pub ctime_ms: i64,
}

impl Registry {
    /// The overrides of an entity and the version of their node; none and `None` if it has none.
    pub async fn config(
        &self,
        entity: &ConfigEntity,
    ) -> Result<(BTreeMap<String, String>, Option<i32>), RegistryError> {
        let path = entity.node();
        match self.session.get_if_exists(&path).await.at(&path)? {
            Some(node) => Ok((
                decode_config(&node.data).at(&path)?,
                Some(node.stat.version),
            )),
            None => Ok((BTreeMap::new(), None)),
        }
    }

    /// Overrides of many topics, pipelined. A topic whose node cannot be read is left out, with the
    /// error in the second list.
    pub async fn topic_configs(
        &self,
        topics: &[TopicName],
    ) -> Result<
        (
            BTreeMap<TopicName, BTreeMap<String, String>>,
            Vec<RegistryError>,
        ),
        RegistryError,
    > {
        let nodes: Vec<String> = topics
            .iter()
            .map(|t| paths::config("topics", t.as_str()))
            .collect();
        let found = self.session.get_many(&nodes).await.at(paths::CONFIG)?;
        let mut configs = BTreeMap::new();
        let mut errors = Vec::new();
        for ((topic, path), node) in topics.iter().zip(&nodes).zip(found) {
            let Some(node) = node else { continue };
            match decode_config(&node.data).at(path) {
                Ok(config) => drop(configs.insert(topic.clone(), config)),
                Err(e) => errors.push(e),
            }
        }
        Ok((configs, errors))
    }

    /// Replaces an entity's overrides if their node still has `version`, and tells the brokers.
    pub async fn set_config(
        &self,
        entity: &ConfigEntity,
        config: &BTreeMap<String, String>,
        version: Option<i32>,
    ) -> Result<(), RegistryError> {
        let path = entity.node();
        let data = encode_config(config);
        let written = match version {
            Some(version) => self
                .session
                .set(&path, &data, Some(version))
                .await
                .map(drop),
            None => {
                let mode = CreateMode::Persistent;
                let made = self.session.create(&path, &data, mode, Acl::Default).await;
                made.map(drop)
            }
        };
        match written {
            Err(ZkError::Unknown) if self.config(entity).await?.0 == *config => {}
            other => other.at(&path)?,
        }
        self.announce_config_change(entity).await
    }

    /// Writes the notice that makes every broker look at `entity` again.
    pub async fn announce_config_change(&self, entity: &ConfigEntity) -> Result<(), RegistryError> {
        let prefix = paths::config_change_prefix();
        let data = encode_config_change(&entity.path());
        loop {
            let mode = CreateMode::PersistentSequential;
            match self
                .session
                .create(&prefix, &data, mode, Acl::Default)
                .await
            {
                Ok(_) => return Ok(()),
                Err(ZkError::NoNode) => {
                    let parent = paths::CONFIG_CHANGES;
                    self.session.ensure_path(parent).await.at(parent)?;
                }
                // A second notice does no harm; none would.
                Err(ZkError::Unknown) => {}
                Err(e) => return Err(e).at(&prefix),
            }
        }
    }

    /// All notices above `after`, in order; the watch fires when there may be more.
    pub async fn config_changes(
        &self,
        after: Option<u64>,
    ) -> Result<(Vec<ConfigChange>, Watch), RegistryError> {
        let parent = paths::CONFIG_CHANGES;
        let (children, watch) = self.session.children_watch(parent).await.at(parent)?;
        let names = children
            .map(|Children { names, .. }| names)
            .unwrap_or_default();
        let mut numbered: Vec<(u64, String)> = names
            .iter()
            .filter_map(|name| {
                let digits = name.strip_prefix("config_change_")?;
                Some((digits.parse().ok()?, format!("{parent}/{name}")))
            })
            .filter(|(n, _)| after.is_none_or(|a| *n > a))
            .collect();
        numbered.sort_unstable();
        let nodes: Vec<String> = numbered.iter().map(|(_, path)| path.clone()).collect();
        let found = self.session.get_many(&nodes).await.at(parent)?;
        let mut changes = Vec::with_capacity(numbered.len());
        for ((sequence, _), node) in numbered.into_iter().zip(found) {
            // A notice that is gone was purged for its age: others have seen it, we start fresh.
            let Some(node) = node else { continue };
            let entity = decode_config_change(&node.data).ok();
            changes.push(ConfigChange {
                sequence,
                entity: entity.map(|path| ConfigEntity::parse(&path)),
                ctime_ms: node.stat.ctime,
            });
        }
        Ok((changes, watch))
    }

    /// Deletes notices written before `before_ms` (Kafka keeps them for 15 minutes).
    pub async fn purge_config_changes(
        &self,
        changes: &[ConfigChange],
        before_ms: i64,
    ) -> Result<(), RegistryError> {
        for change in changes.iter().filter(|c| c.ctime_ms < before_ms) {
            let path = format!("{}{:010}", paths::config_change_prefix(), change.sequence);
            match self.session.delete(&path, None).await {
                Ok(()) | Err(ZkError::NoNode | ZkError::Unknown) => {}
                Err(e) => return Err(e).at(&path),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_of_notices() {
        let topic = ConfigEntity::Topic(TopicName::new("t").expect("legal"));
        for (path, entity) in [
            ("topics/t", topic),
            ("brokers/7", ConfigEntity::Broker(BrokerId(7))),
            ("brokers/<default>", ConfigEntity::BrokerDefault),
            (
                "users/u/clients/c",
                ConfigEntity::Other("users/u/clients/c".to_owned()),
            ),
            ("topics/a b", ConfigEntity::Other("topics/a b".to_owned())),
            ("", ConfigEntity::Other(String::new())),
        ] {
            assert_eq!(ConfigEntity::parse(path), entity);
            assert_eq!(entity.path(), path);
        }
    }
}
