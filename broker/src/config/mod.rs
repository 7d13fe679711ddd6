//! Every setting: broker keys (`Settings`) and topic keys (`TopicConfig`), under Kafka's names.
//!
//! `properties` reads the file, `key` says what a key and a value are, `table` lists the broker
//! keys, `topic` the topic keys, `settings` layers file and dynamic values and checks across
//! keys, `refused` names those of Kafka that it must not ignore, `release` knows Kafka's releases, `describe`
//! shows them as `DescribeConfigs` does. Knows nothing of sockets, logs or znodes.

mod addresses;
mod describe;
mod key;
mod listener;
mod live;
mod parts;
mod properties;
mod refused;
mod release;
mod settings;
mod table;
mod topic;
mod values;

pub use describe::{Described, Source, Synonym, describe_broker};
pub use key::{Bound, Change, Fault, Faults, Key, Kind};
pub use listener::{Listener, SecurityProtocol};
pub use live::Live;
pub use properties::{Properties, PropertiesError};
pub use release::Release;
pub use settings::Layers;
pub use table::{KEYS, Settings};
pub use topic::{TOPIC_KEYS, TopicConfig, TopicKey, topic_key};
pub use values::{CleanupPolicy, CompressionType, TimestampType};

/// Text values by key, as a file, a znode or a request carries them.
pub type Values = std::collections::BTreeMap<String, String>;
