//! Changing overrides: the whole set (AlterConfigs) or key by key (IncrementalAlterConfigs, KIP-339).
//!
//! The new set is computed from what is stored now, checked as a whole, and written only if nobody
//! has written meanwhile; then every broker is told.

use std::collections::BTreeSet;

use nyala_coordinator::registry::{ConfigEntity, RegistryError};
use nyala_coordinator::session::ZkError;

use super::{Cluster, ConfigError};
use crate::config::{Fault, Faults, Kind, Settings, TopicConfig, Values, topic_key};

/// Attempts to write before a change that others keep overtaking is given up.
const ATTEMPTS: usize = 10;

/// What to do with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alter {
    /// Set it.
    Set(String),
    /// Back to the default.
    Delete,
    /// Add to a list.
    Append(String),
    /// Take out of a list.
    Subtract(String),
}

/// A change of one entity's overrides.
#[derive(Clone, Debug)]
pub struct AlterConfigs {
    /// Whose.
    pub entity: ConfigEntity,
    /// Forget what was set before (AlterConfigs).
    pub replace_all: bool,
    /// Key by key.
    pub changes: Vec<(String, Alter)>,
    /// Only check.
    pub validate_only: bool,
}

impl Cluster {
    /// Changes overrides of a topic, of this broker or of all brokers.
    pub async fn alter_configs(&self, request: &AlterConfigs) -> Result<(), ConfigError> {
        self.check_entity(request).await?;
        let mut keys = BTreeSet::new();
        if !request.changes.iter().all(|(key, _)| keys.insert(key)) {
            let text = "Error due to duplicate config keys".to_owned();
            return Err(ConfigError::InvalidRequest(text));
        }
        for _ in 0..ATTEMPTS {
            let (old, version) = self.registry.config(&request.entity).await?;
            let settings = self.live().get();
            let new = apply(request, &old, &settings)?;
            check(&request.entity, &new, &settings)?;
            if request.validate_only || (new == old && version.is_some()) {
                return Ok(());
            }
            match self
                .registry
                .set_config(&request.entity, &new, version)
                .await
            {
                Err(RegistryError::Zk {
                    source: ZkError::BadVersion | ZkError::NodeExists | ZkError::NoNode,
                    ..
                }) => {}
                Err(e) => return Err(e.into()),
                Ok(()) => {
                    if let ConfigEntity::Topic(topic) = &request.entity {
                        self.configs.refresh(std::slice::from_ref(topic)).await?;
                    }
                    return Ok(());
                }
            }
        }
        let text = "The overrides were changed by others over and over; try again.".to_owned();
        Err(ConfigError::InvalidRequest(text))
    }

    async fn check_entity(&self, request: &AlterConfigs) -> Result<(), ConfigError> {
        match &request.entity {
            ConfigEntity::Topic(topic) => {
                let known = self.snapshot().topics.contains_key(topic);
                if !known && self.registry.topic(topic).await?.is_none() {
                    return Err(ConfigError::UnknownTopic(topic.to_string()));
                }
            }
            ConfigEntity::BrokerDefault => {}
            ConfigEntity::Broker(id) if *id == self.this => {}
            ConfigEntity::Broker(id) => {
                return Err(ConfigError::InvalidRequest(format!(
                    "Unexpected broker id, expected {}, but received {id}",
                    self.this
                )));
            }
            ConfigEntity::Other(path) => {
                let text = format!("Overrides of {path} cannot be changed here.");
                return Err(ConfigError::InvalidRequest(text));
            }
        }
        Ok(())
    }
}

/// The overrides after the change.
fn apply(request: &AlterConfigs, old: &Values, settings: &Settings) -> Result<Values, ConfigError> {
    let mut new = if request.replace_all {
        Values::new()
    } else {
        old.clone()
    };
    for (key, change) in &request.changes {
        match change {
            Alter::Set(value) => drop(new.insert(key.clone(), value.clone())),
            Alter::Delete => drop(new.remove(key)),
            Alter::Append(_) | Alter::Subtract(_) => {
                let list = list_of(&request.entity, key, &new, settings)?;
                new.insert(key.clone(), edit_list(&list, change));
            }
        }
    }
    Ok(new)
}

/// The current value of a list, set or default.
fn list_of(
    entity: &ConfigEntity,
    key: &str,
    overrides: &Values,
    settings: &Settings,
) -> Result<String, ConfigError> {
    let kind = match entity {
        ConfigEntity::Topic(_) => topic_key(key).map(|k| k.kind),
        _ => Settings::key(key).map(|k| k.kind),
    };
    if kind != Some(Kind::List) {
        let text = format!("Config value append is not allowed for config key: {key}");
        return Err(ConfigError::Refused(text));
    }
    if let Some(value) = overrides.get(key) {
        return Ok(value.clone());
    }
    Ok(match entity {
        ConfigEntity::Topic(_) => {
            let described = TopicConfig::defaults(settings).describe(settings);
            let found = described.into_iter().find(|d| d.name == key);
            found.and_then(|d| d.value).unwrap_or_default()
        }
        _ => String::new(),
    })
}

fn edit_list(list: &str, change: &Alter) -> String {
    let items = |text: &str| -> Vec<String> {
        let items = text.split(',').map(str::trim).filter(|i| !i.is_empty());
        items.map(str::to_owned).collect()
    };
    let mut now = items(list);
    match change {
        Alter::Append(more) => {
            for item in items(more) {
                if !now.contains(&item) {
                    now.push(item);
                }
            }
        }
        Alter::Subtract(less) => {
            let less = items(less);
            now.retain(|item| !less.contains(item));
        }
        Alter::Set(_) | Alter::Delete => {}
    }
    now.join(",")
}

/// All overrides together must make sense.
fn check(entity: &ConfigEntity, new: &Values, settings: &Settings) -> Result<(), ConfigError> {
    let checked = match entity {
        ConfigEntity::Topic(_) => TopicConfig::resolve(settings, new).map(drop),
        _ => settings.check_dynamic(new),
    };
    checked.map_err(|faults| refuse(entity, faults))
}

/// Kafka's words for the commonest mistake.
fn refuse(entity: &ConfigEntity, Faults(faults): Faults) -> ConfigError {
    let unknown = |fault: &&Fault| topic_key(&fault.key).is_none();
    match (entity, faults.iter().find(unknown)) {
        (ConfigEntity::Topic(_), Some(fault)) => {
            ConfigError::Refused(format!("Unknown topic config name: {}", fault.key))
        }
        _ => ConfigError::InvalidConfig(Faults(faults)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_their_order_and_their_items_once() {
        let append = |s: &str| Alter::Append(s.to_owned());
        let subtract = |s: &str| Alter::Subtract(s.to_owned());
        assert_eq!(edit_list("delete", &append("compact")), "delete,compact");
        assert_eq!(edit_list("delete", &append("delete")), "delete");
        assert_eq!(edit_list("", &append("a, b")), "a,b");
        assert_eq!(edit_list("a,b,c", &subtract("b")), "a,c");
        assert_eq!(edit_list("a", &subtract("a,x")), "");
    }
}
