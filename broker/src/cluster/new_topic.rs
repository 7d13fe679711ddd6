//! What clients ask of topics, as it came, and what they are told of one that was made.

use std::collections::BTreeMap;
use std::sync::Arc;

use nyala_coordinator::ids::TopicId;

use crate::config::{TopicConfig, Values};

/// A topic to be made.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    /// Its name, unchecked.
    pub name: String,
    /// Number of partitions; -1: `num.partitions`.
    pub partitions: i32,
    /// Replicas of each; -1: `default.replication.factor`.
    pub replication_factor: i16,
    /// Replicas by hand, instead of the two numbers; empty: none.
    pub assignment: BTreeMap<i32, Vec<i32>>,
    /// Overrides.
    pub configs: Values,
}

/// A topic that was made, or would be.
#[derive(Clone, Debug)]
pub struct CreatedTopic {
    /// Its id; zero when it was only validated.
    pub id: TopicId,
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas of each.
    pub replication_factor: i16,
    /// Its configuration.
    pub config: Arc<TopicConfig>,
}

/// A topic by name or by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicRef {
    /// By name, unchecked.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// More partitions for a topic.
#[derive(Clone, Debug, Default)]
pub struct NewPartitions {
    /// Name of the topic, unchecked.
    pub topic: String,
    /// How many it shall have in all.
    pub count: i32,
    /// Replicas of the new ones by hand, in order; `None`: placed automatically.
    pub assignments: Option<Vec<Vec<i32>>>,
}
