//! Configuration as `DescribeConfigs` shows it: value, source, synonyms, type, meaning.
//!
//! Follows Kafka's `ConfigHelper`, with its quirk that synonyms are listed only from the key's own
//! name on (`retention.ms` without any override has none, since its default is in hours). Pure.

use super::key::{Change, Kind};
use super::{KEYS, Settings, TOPIC_KEYS, TopicConfig};

/// Where a value comes from; the number is the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// Override of the topic.
    DynamicTopicConfig = 1,
    /// Dynamic value of this broker.
    DynamicBrokerConfig = 2,
    /// Dynamic value of all brokers.
    DynamicDefaultBrokerConfig = 3,
    /// `server.properties` or command line.
    StaticBrokerConfig = 4,
    /// Built in.
    DefaultConfig = 5,
}

/// One place where a value could come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// Key, possibly of the broker.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where it is set.
    pub source: Source,
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Key.
    pub name: &'static str,
    /// Value in force; `None` is unset.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// Whether it cannot be changed by a request.
    pub read_only: bool,
    /// All places where it is set, the one in force first.
    pub synonyms: Vec<Synonym>,
    /// Type.
    pub kind: Kind,
    /// Meaning.
    pub doc: &'static str,
}

/// The broker keys that stand for `name`, finest unit first.
fn broker_synonyms(name: &'static str) -> &'static [&'static str] {
    TOPIC_KEYS
        .iter()
        .map(|key| key.broker_keys)
        .find(|keys| keys.len() > 1 && keys.first() == Some(&name))
        .unwrap_or(&[])
}

fn synonyms(settings: &Settings, name: &'static str) -> Vec<Synonym> {
    let own = [name];
    let names = match broker_synonyms(name) {
        [] => own.as_slice(),
        names => names,
    };
    let layers = settings.layers();
    let mut found = Vec::new();
    for (values, source) in [
        (&layers.dynamic, Source::DynamicBrokerConfig),
        (&layers.dynamic_default, Source::DynamicDefaultBrokerConfig),
        (&layers.fixed, Source::StaticBrokerConfig),
    ] {
        for &name in names {
            found.extend(values.get(name).map(|value| Synonym {
                name: name.to_owned(),
                value: value.clone(),
                source,
            }));
        }
    }
    for &name in names {
        let default = Settings::key(name).and_then(|key| key.default);
        found.extend(default.map(|value| Synonym {
            name: name.to_owned(),
            value: value.to_owned(),
            source: Source::DefaultConfig,
        }));
    }
    found.into_iter().skip_while(|s| s.name != name).collect()
}

fn source_of(synonyms: &[Synonym]) -> Source {
    synonyms.first().map_or(Source::DefaultConfig, |s| s.source)
}

/// Every key of a broker. `own`: of this broker; else only what is set for all brokers.
#[must_use]
pub fn describe_broker(settings: &Settings, own: bool) -> Vec<Described> {
    let shown = |s: &Synonym| own || s.source == Source::DynamicDefaultBrokerConfig;
    let describe = |key: &'static super::Key| {
        let synonyms: Vec<Synonym> = synonyms(settings, key.name)
            .into_iter()
            .filter(shown)
            .collect();
        Described {
            name: key.name,
            value: settings.show(key.name),
            source: source_of(&synonyms),
            read_only: key.change == Change::Fixed,
            synonyms,
            kind: key.kind,
            doc: key.doc,
        }
    };
    let listed = |d: &Described| own || !d.synonyms.is_empty();
    KEYS.iter().map(describe).filter(listed).collect()
}

impl TopicConfig {
    /// Every key of this topic.
    #[must_use]
    pub fn describe(&self, settings: &Settings) -> Vec<Described> {
        let describe = |key: &'static super::TopicKey| {
            let over = self.overrides.get(key.name).map(|value| Synonym {
                name: key.name.to_owned(),
                value: value.clone(),
                source: Source::DynamicTopicConfig,
            });
            let broker = key.broker_keys.first();
            let synonyms: Vec<Synonym> = over
                .into_iter()
                .chain(broker.map_or(Vec::new(), |name| synonyms(settings, name)))
                .collect();
            Described {
                name: key.name,
                value: self.show(key.name),
                source: source_of(&synonyms),
                read_only: false,
                synonyms,
                kind: key.kind,
                doc: key.doc,
            }
        };
        TOPIC_KEYS.iter().map(describe).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Properties, Values};

    fn settings(text: &str) -> Settings {
        let properties = Properties::parse(text.as_bytes()).expect("syntax");
        Settings::load(&properties).expect("legal").0
    }

    fn find(all: &[Described], name: &str) -> Described {
        all.iter().find(|d| d.name == name).expect("listed").clone()
    }

    #[test]
    fn sources_and_synonyms_of_a_topic_are_kafkas() {
        let s = settings("log.segment.bytes=5000");
        let over: Values = [("flush.ms".to_owned(), "7".to_owned())].into();
        let all = TopicConfig::resolve(&s, &over).expect("legal").describe(&s);
        let flush = find(&all, "flush.ms");
        assert_eq!(flush.source, Source::DynamicTopicConfig);
        assert_eq!(flush.synonyms.len(), 1, "{:?}", flush.synonyms);
        let segment = find(&all, "segment.bytes");
        assert_eq!(segment.source, Source::StaticBrokerConfig);
        let sources: Vec<Source> = segment.synonyms.iter().map(|s| s.source).collect();
        assert_eq!(sources, [Source::StaticBrokerConfig, Source::DefaultConfig]);
        let retention = find(&all, "retention.ms");
        assert_eq!(retention.value.as_deref(), Some("604800000"));
        assert_eq!(retention.source, Source::DefaultConfig);
        assert!(retention.synonyms.is_empty());
    }

    #[test]
    fn defaults_of_all_brokers_list_only_what_is_set() {
        let s = settings("num.partitions=3");
        let all: Values = [("log.retention.ms".to_owned(), "9".to_owned())].into();
        let s = s.with_dynamic(all, Values::new()).expect("legal");
        let listed = describe_broker(&s, false);
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].source, Source::DynamicDefaultBrokerConfig);
        let partitions = find(&describe_broker(&s, true), "num.partitions");
        assert!(partitions.read_only);
        assert_eq!(partitions.source, Source::StaticBrokerConfig);
    }
}
