//! The JSON of every znode, as Kafka 3.9 writes and reads it.
//!
//! Encoding gives Kafka's fields in Kafka's order. Decoding takes every version that Kafka takes,
//! ignores fields that it does not know, and turns everything else into a [`PayloadError`]: these
//! nodes can be edited by hand. Only bytes and values here, no ZooKeeper.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{BrokerId, ControllerEpoch, LeaderEpoch, PartitionIndex, TopicId};

mod admin;
mod small;

pub use admin::*;
pub use small::*;

/// Why a node's data cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Not the JSON that belongs there.
    #[error("cannot read {what}: {reason}")]
    Json {
        /// What should be there.
        what: &'static str,
        /// The parser's words.
        reason: String,
    },
    /// JSON, but a value is out of bounds.
    #[error("cannot read {what}: {field} is {value:?}")]
    Value {
        /// What should be there.
        what: &'static str,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
    },
}

fn parse<'a, T: Deserialize<'a>>(what: &'static str, data: &'a [u8]) -> Result<T, PayloadError> {
    serde_json::from_slice(data).map_err(|e| PayloadError::Json {
        what,
        reason: e.to_string(),
    })
}

fn bad(what: &'static str, field: &'static str, value: impl ToString) -> PayloadError {
    PayloadError::Value {
        what,
        field,
        value: value.to_string(),
    }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain structs with text keys always have a JSON form")
}

/// One address of a broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// `PLAINTEXT`, `INTERNAL` ...
    pub listener_name: String,
    /// `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    pub security_protocol: String,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What a broker says of itself in `/brokers/ids/N`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerRegistration {
    /// All its addresses; never empty in a registration that can be read.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Milliseconds since 1970 of the registration.
    pub timestamp_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct BrokerJson {
    #[serde(default)]
    features: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    listener_security_protocol_map: BTreeMap<String, String>,
    #[serde(default)]
    endpoints: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rack: Option<String>,
    #[serde(default)]
    jmx_port: i64,
    #[serde(default)]
    port: i64,
    #[serde(default)]
    host: Option<String>,
    version: i32,
    #[serde(default)]
    timestamp: serde_json::Value,
}

const BROKER: &str = "a broker registration";

impl BrokerRegistration {
    /// Version 5, as Kafka 3.9 writes it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Old clients read only the first plaintext address, in fields of its own.
        let plain = self
            .endpoints
            .iter()
            .find(|e| e.security_protocol == "PLAINTEXT");
        encode(&BrokerJson {
            features: BTreeMap::new(),
            listener_security_protocol_map: self
                .endpoints
                .iter()
                .map(|e| (e.listener_name.clone(), e.security_protocol.clone()))
                .collect(),
            endpoints: self.endpoints.iter().map(Endpoint::to_url).collect(),
            rack: self.rack.clone(),
            jmx_port: -1,
            port: plain.map_or(-1, |e| i64::from(e.port)),
            host: plain.map(|e| e.host.clone()),
            version: 5,
            timestamp: self.timestamp_ms.to_string().into(),
        })
    }

    /// Versions 1 to 5 and later ones that keep the fields.
    pub fn decode(data: &[u8]) -> Result<Self, PayloadError> {
        let json: BrokerJson = parse(BROKER, data)?;
        if json.version < 1 {
            return Err(bad(BROKER, "version", json.version));
        }
        let protocols = &json.listener_security_protocol_map;
        let endpoints = if json.version == 1 {
            let host = json.host.ok_or_else(|| bad(BROKER, "host", ""))?;
            let port = u16::try_from(json.port).map_err(|_| bad(BROKER, "port", json.port))?;
            vec![Endpoint {
                listener_name: "PLAINTEXT".to_owned(),
                security_protocol: "PLAINTEXT".to_owned(),
                host,
                port,
            }]
        } else {
            let read = |url: &String| Endpoint::parse(url, protocols);
            json.endpoints.iter().map(read).collect::<Result<_, _>>()?
        };
        if endpoints.is_empty() {
            return Err(bad(BROKER, "endpoints", "[]"));
        }
        let timestamp = match &json.timestamp {
            serde_json::Value::String(s) => s.parse().unwrap_or(-1),
            other => other.as_i64().unwrap_or(-1),
        };
        Ok(Self {
            endpoints,
            rack: json.rack,
            timestamp_ms: timestamp,
        })
    }
}

impl Endpoint {
    fn to_url(&self) -> String {
        let Self {
            listener_name,
            host,
            port,
            ..
        } = self;
        if host.contains(':') {
            format!("{listener_name}://[{host}]:{port}")
        } else {
            format!("{listener_name}://{host}:{port}")
        }
    }

    fn parse(url: &str, protocols: &BTreeMap<String, String>) -> Result<Self, PayloadError> {
        let wrong = || bad(BROKER, "endpoints", url);
        let (listener_name, address) = url.split_once("://").ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        let known = |p: &str| matches!(p, "PLAINTEXT" | "SSL" | "SASL_PLAINTEXT" | "SASL_SSL");
        let security_protocol = match protocols.get(listener_name) {
            Some(protocol) => protocol.clone(),
            // Before version 4 the name of the listener was its protocol.
            None if known(listener_name) => listener_name.to_owned(),
            None => return Err(wrong()),
        };
        Ok(Self {
            listener_name: listener_name.to_owned(),
            security_protocol,
            host: host.to_owned(),
            port: port.parse().map_err(|_| wrong())?,
        })
    }
}

/// Which brokers hold which partitions of a topic: `/brokers/topics/T`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicAssignment {
    /// `None` for a topic from before KIP-516.
    pub id: Option<TopicId>,
    /// Replicas of each partition, the preferred leader first.
    pub replicas: BTreeMap<PartitionIndex, Vec<BrokerId>>,
    /// Replicas that a reassignment adds.
    pub adding_replicas: BTreeMap<PartitionIndex, Vec<BrokerId>>,
    /// Replicas that a reassignment removes.
    pub removing_replicas: BTreeMap<PartitionIndex, Vec<BrokerId>>,
}

#[derive(Serialize, Deserialize)]
struct TopicJson {
    partitions: BTreeMap<PartitionKey, Vec<i32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic_id: Option<String>,
    #[serde(default)]
    adding_replicas: BTreeMap<PartitionKey, Vec<i32>>,
    #[serde(default)]
    removing_replicas: BTreeMap<PartitionKey, Vec<i32>>,
    version: i32,
}

/// A partition number as the text key of a JSON object.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
struct PartitionKey(i32);

const TOPIC: &str = "a topic's assignment";

type Replicas = BTreeMap<PartitionIndex, Vec<BrokerId>>;

impl TopicAssignment {
    /// Version 3, as Kafka 3.9 writes it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let json = |map: &Replicas| {
            map.iter()
                .map(|(p, brokers)| (PartitionKey(p.0), brokers.iter().map(|b| b.0).collect()))
                .collect()
        };
        encode(&TopicJson {
            partitions: json(&self.replicas),
            topic_id: self.id.map(|id| id.to_string()),
            adding_replicas: json(&self.adding_replicas),
            removing_replicas: json(&self.removing_replicas),
            version: 3,
        })
    }

    /// Versions 1 to 3.
    pub fn decode(data: &[u8]) -> Result<Self, PayloadError> {
        let json: TopicJson = parse(TOPIC, data)?;
        let id = match &json.topic_id {
            Some(text) => Some(TopicId::parse(text).ok_or_else(|| bad(TOPIC, "topic_id", text))?),
            None => None,
        };
        Ok(Self {
            id,
            replicas: Self::typed(&json.partitions)?,
            adding_replicas: Self::typed(&json.adding_replicas)?,
            removing_replicas: Self::typed(&json.removing_replicas)?,
        })
    }

    fn typed(map: &BTreeMap<PartitionKey, Vec<i32>>) -> Result<Replicas, PayloadError> {
        let mut typed = Replicas::new();
        for (partition, brokers) in map {
            if partition.0 < 0 {
                return Err(bad(TOPIC, "partition", partition.0));
            }
            if let Some(broker) = brokers.iter().find(|b| **b < 0) {
                return Err(bad(TOPIC, "replica", broker));
            }
            let brokers = brokers.iter().copied().map(BrokerId).collect();
            typed.insert(PartitionIndex(partition.0), brokers);
        }
        Ok(typed)
    }
}

/// Who leads a partition, and who is in sync: `/brokers/topics/T/partitions/P/state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// `None` while no replica can lead (-1 in the JSON).
    pub leader: Option<BrokerId>,
    /// Grows with every change of the leader.
    pub leader_epoch: LeaderEpoch,
    /// In-sync replicas.
    pub isr: Vec<BrokerId>,
    /// Epoch of the controller that wrote it.
    pub controller_epoch: ControllerEpoch,
}

#[derive(Serialize, Deserialize)]
struct StateJson {
    controller_epoch: i32,
    leader: i32,
    #[serde(default = "one")]
    version: i32,
    leader_epoch: i32,
    isr: Vec<i32>,
}

fn one() -> i32 {
    1
}

const STATE: &str = "a partition's state";

impl PartitionState {
    /// Version 1, as Kafka 3.9 writes it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(&StateJson {
            controller_epoch: self.controller_epoch.0,
            leader: self.leader.map_or(-1, |b| b.0),
            version: 1,
            leader_epoch: self.leader_epoch.0,
            isr: self.isr.iter().map(|b| b.0).collect(),
        })
    }

    /// Version 1.
    pub fn decode(data: &[u8]) -> Result<Self, PayloadError> {
        let json: StateJson = parse(STATE, data)?;
        if json.leader_epoch < 0 {
            return Err(bad(STATE, "leader_epoch", json.leader_epoch));
        }
        if let Some(broker) = json.isr.iter().find(|b| **b < 0) {
            return Err(bad(STATE, "isr", broker));
        }
        Ok(Self {
            // -2 marks a topic in deletion in some Kafka versions; nobody leads either way.
            leader: (json.leader >= 0).then_some(BrokerId(json.leader)),
            leader_epoch: LeaderEpoch(json.leader_epoch),
            isr: json.isr.into_iter().map(BrokerId).collect(),
            controller_epoch: ControllerEpoch(json.controller_epoch),
        })
    }
}

#[cfg(test)]
mod tests;
