//! Overrides of topics and brokers, kept current: `/config/topics`, `/config/brokers`.
//!
//! Level-triggered: a notice in `/config/changes` says whose overrides to read again; a new
//! connection reads all of them, since notices are purged after 15 minutes. What is stored and wrong
//! counts as absent and is logged once: a znode must not keep a broker from serving.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use nyala_coordinator::clock;
use nyala_coordinator::ids::{BrokerId, TopicName};
use nyala_coordinator::registry::{ConfigEntity, Registry, RegistryError};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::{Fault, Live, Settings, TopicConfig, Values};

/// Age at which notices are deleted, as in Kafka.
const NOTICE_AGE_MS: i64 = 15 * 60 * 1000;

/// Pause after a read that failed.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// Configuration of every topic, and the broker's dynamic settings through [`Live`].
#[derive(Debug)]
pub struct Configs {
    registry: Registry,
    live: Arc<Live>,
    this: BrokerId,
    topics: ArcSwap<Resolved>,
    /// One change at a time: a change reads the current value first.
    changing: Mutex<()>,
    version: watch::Sender<u64>,
}

/// Topic configurations over one version of the broker's settings.
#[derive(Debug)]
struct Resolved {
    settings: Arc<Settings>,
    defaults: Arc<TopicConfig>,
    topics: BTreeMap<TopicName, Arc<TopicConfig>>,
}

impl Resolved {
    fn new(settings: Arc<Settings>, overrides: &BTreeMap<TopicName, Values>) -> Self {
        let resolve = |(topic, values): (&TopicName, &Values)| {
            let (config, faults) = TopicConfig::resolve_stored(&settings, values);
            complain(&ConfigEntity::Topic(topic.clone()), &faults);
            (topic.clone(), Arc::new(config))
        };
        Self {
            defaults: Arc::new(TopicConfig::defaults(&settings)),
            topics: overrides.iter().map(resolve).collect(),
            settings,
        }
    }

    fn overrides(&self) -> BTreeMap<TopicName, Values> {
        let own = |(t, c): (&TopicName, &Arc<TopicConfig>)| (t.clone(), c.overrides().clone());
        self.topics.iter().map(own).collect()
    }
}

impl Configs {
    /// Reads everything once. [`Self::run`] follows from there.
    pub async fn load(
        registry: Registry,
        live: Arc<Live>,
        this: BrokerId,
    ) -> Result<Arc<Self>, RegistryError> {
        let empty = Resolved::new(live.get(), &BTreeMap::new());
        let (version, _) = watch::channel(0);
        let configs = Self {
            registry,
            live,
            this,
            topics: ArcSwap::from_pointee(empty),
            changing: Mutex::new(()),
            version,
        };
        configs.read_all().await?;
        Ok(Arc::new(configs))
    }

    /// The configuration of a topic, as of the last read.
    #[must_use]
    pub fn topic(&self, topic: &TopicName) -> Arc<TopicConfig> {
        let all = self.topics.load();
        Arc::clone(all.topics.get(topic).unwrap_or(&all.defaults))
    }

    /// The broker's settings.
    #[must_use]
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Changes whenever a configuration may have changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Reads topics again: those that were just made have no notice.
    pub async fn refresh(&self, topics: &[TopicName]) -> Result<(), RegistryError> {
        let (mut found, errors) = self.registry.topic_configs(topics).await?;
        for e in errors {
            warn!("overrides cannot be read and count as absent: {e}");
        }
        self.change(|overrides| {
            for topic in topics {
                match found.remove(topic) {
                    Some(values) => drop(overrides.insert(topic.clone(), values)),
                    None => drop(overrides.remove(topic)),
                }
            }
        });
        Ok(())
    }

    /// Follows the notices until dropped.
    pub async fn run(&self) {
        let mut states = self.registry.session().states();
        let mut last = None;
        loop {
            // Everything, since notices may have been purged while we were away.
            states.mark_unchanged();
            match self.follow(&mut last, &mut states).await {
                Ok(()) => {}
                Err(e) => {
                    info!("reading overrides again: {e}");
                    tokio::time::sleep(RETRY_EVERY).await;
                }
            }
        }
    }

    /// Ends when the connection was replaced.
    async fn follow(
        &self,
        last: &mut Option<u64>,
        states: &mut watch::Receiver<nyala_coordinator::session::SessionState>,
    ) -> Result<(), RegistryError> {
        // The notices first, then everything: what is written in between is read by both.
        let (changes, mut watch) = self.registry.config_changes(*last).await?;
        *last = changes.last().map(|c| c.sequence).or(*last);
        self.read_all().await?;
        loop {
            tokio::select! {
                () = watch.wait() => {}
                _ = states.changed() => if states.borrow_and_update().is_connected() {
                    return Ok(());
                } else {
                    continue;
                },
            }
            let (changes, next) = self.registry.config_changes(*last).await?;
            watch = next;
            let mut topics = Vec::new();
            let mut brokers = false;
            for change in &changes {
                *last = Some(change.sequence);
                match &change.entity {
                    Some(ConfigEntity::Topic(topic)) => topics.push(topic.clone()),
                    Some(ConfigEntity::Broker(_) | ConfigEntity::BrokerDefault) => brokers = true,
                    Some(ConfigEntity::Other(_)) => {}
                    None => warn!("config change {} cannot be read", change.sequence),
                }
            }
            if !topics.is_empty() {
                topics.sort_unstable();
                topics.dedup();
                self.refresh(&topics).await?;
            }
            if brokers {
                self.read_brokers().await?;
            }
            if !changes.is_empty() {
                self.purge().await?;
            }
        }
    }

    async fn purge(&self) -> Result<(), RegistryError> {
        let (all, _) = self.registry.config_changes(None).await?;
        let before = clock::wall_ms() - NOTICE_AGE_MS;
        self.registry.purge_config_changes(&all, before).await
    }

    async fn read_all(&self) -> Result<(), RegistryError> {
        self.read_brokers().await?;
        let topics = self.registry.topic_names().await?;
        let (found, errors) = self.registry.topic_configs(&topics).await?;
        for e in errors {
            warn!("overrides cannot be read and count as absent: {e}");
        }
        self.change(|overrides| *overrides = found);
        Ok(())
    }

    async fn read_brokers(&self) -> Result<(), RegistryError> {
        for entity in [ConfigEntity::BrokerDefault, ConfigEntity::Broker(self.this)] {
            let values = match self.registry.config(&entity).await {
                Ok((values, _)) => values,
                Err(e @ RegistryError::Payload { .. }) => {
                    warn!("overrides cannot be read and count as absent: {e}");
                    continue;
                }
                Err(e) => return Err(e),
            };
            let set = match entity {
                ConfigEntity::BrokerDefault => self.live.set_dynamic_default(values),
                _ => self.live.set_dynamic(values),
            };
            if let Err(faults) = set {
                complain(&entity, &faults.0);
            }
        }
        self.change(|_| ());
        Ok(())
    }

    /// Changes the overrides, resolves all over the settings of now, and publishes.
    fn change(&self, edit: impl FnOnce(&mut BTreeMap<TopicName, Values>)) {
        let _one = self.changing.lock();
        let old = self.topics.load();
        let before = old.overrides();
        let mut overrides = before.clone();
        edit(&mut overrides);
        let settings = self.live.get();
        if overrides == before && Arc::ptr_eq(&settings, &old.settings) {
            return;
        }
        self.topics
            .store(Arc::new(Resolved::new(settings, &overrides)));
        self.version.send_modify(|v| *v += 1);
    }
}

fn complain(entity: &ConfigEntity, faults: &[Fault]) {
    for fault in faults {
        warn!("override of {} counts as absent: {fault}", entity.path());
    }
}
