//! The nodes with little in them: controller, cluster id, overrides and their notices, producer ids,
//! groups. As `payloads.rs`, of which they are a part.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{PayloadError, bad, encode, one, parse};
use crate::ids::{BrokerId, ControllerEpoch};

/// Most bytes of what is no offset that an error shows.
const SHOWN_BYTES_MAX: usize = 64;

#[derive(Serialize, Deserialize)]
struct ControllerJson {
    #[serde(default = "one")]
    version: i32,
    brokerid: i32,
    #[serde(default)]
    timestamp: serde_json::Value,
    #[serde(default = "minus_one", rename = "kraftControllerEpoch")]
    kraft_controller_epoch: i32,
}

fn minus_one() -> i32 {
    -1
}

/// `/controller`, version 2.
#[must_use]
pub fn encode_controller(broker: BrokerId, timestamp_ms: i64) -> Vec<u8> {
    encode(&ControllerJson {
        version: 2,
        brokerid: broker.0,
        timestamp: timestamp_ms.to_string().into(),
        kraft_controller_epoch: -1,
    })
}

/// Which broker `/controller` names.
pub fn decode_controller(data: &[u8]) -> Result<BrokerId, PayloadError> {
    let json: ControllerJson = parse("the controller", data)?;
    Ok(BrokerId(json.brokerid))
}

/// `/controller_epoch`: decimal text.
#[must_use]
pub fn encode_controller_epoch(epoch: ControllerEpoch) -> Vec<u8> {
    epoch.to_string().into_bytes()
}

/// Reads `/controller_epoch`.
pub fn decode_controller_epoch(data: &[u8]) -> Result<ControllerEpoch, PayloadError> {
    let text = String::from_utf8_lossy(data);
    let wrong = || bad("the controller epoch", "text", &text);
    text.parse().map(ControllerEpoch).map_err(|_| wrong())
}

#[derive(Serialize, Deserialize)]
struct ClusterIdJson {
    #[serde(default)]
    version: serde_json::Value,
    id: String,
}

/// `/cluster/id`.
#[must_use]
pub fn encode_cluster_id(id: &str) -> Vec<u8> {
    encode(&ClusterIdJson {
        version: "1".into(),
        id: id.to_owned(),
    })
}

/// Reads `/cluster/id`.
pub fn decode_cluster_id(data: &[u8]) -> Result<String, PayloadError> {
    parse::<ClusterIdJson>("the cluster id", data).map(|json| json.id)
}

/// `/feature` of a cluster without finalized features.
pub const FEATURE: &[u8] = br#"{"features":{},"version":2,"status":1}"#;

#[derive(Serialize, Deserialize)]
struct ConfigJson {
    #[serde(default = "one")]
    version: i32,
    config: BTreeMap<String, String>,
}

/// The overrides of one entity, version 1.
#[must_use]
pub fn encode_config(config: &BTreeMap<String, String>) -> Vec<u8> {
    encode(&ConfigJson {
        version: 1,
        config: config.clone(),
    })
}

/// Reads the overrides of one entity; a node without data has none.
pub fn decode_config(data: &[u8]) -> Result<BTreeMap<String, String>, PayloadError> {
    const WHAT: &str = "overrides";
    if data.is_empty() {
        return Ok(BTreeMap::new());
    }
    let json: ConfigJson = parse(WHAT, data)?;
    if json.version != 1 {
        return Err(bad(WHAT, "version", json.version));
    }
    Ok(json.config)
}

#[derive(Serialize, Deserialize)]
struct ChangeJson {
    version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entity_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entity_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entity_name: Option<String>,
}

/// A notice in `/config/changes`, version 2.
#[must_use]
pub fn encode_config_change(entity_path: &str) -> Vec<u8> {
    encode(&ChangeJson {
        version: 2,
        entity_path: Some(entity_path.to_owned()),
        entity_type: None,
        entity_name: None,
    })
}

/// Which entity path (`topics/T`, `brokers/<default>` ...) a notice names. Versions 1 and 2.
pub fn decode_config_change(data: &[u8]) -> Result<String, PayloadError> {
    const WHAT: &str = "a config change";
    let json: ChangeJson = parse(WHAT, data)?;
    match (
        json.version,
        json.entity_path,
        json.entity_type,
        json.entity_name,
    ) {
        (1, _, Some(kind), Some(name)) => Ok(format!("{kind}/{name}")),
        (2, Some(path), _, _) => Ok(path),
        (version, ..) => Err(bad(WHAT, "version", version)),
    }
}

/// A range of producer ids, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// Who claimed it; -1 for nobody.
    pub broker: BrokerId,
    /// First id.
    pub first: i64,
    /// Last id; `first - 1` for an empty block.
    pub last: i64,
}

#[derive(Serialize, Deserialize)]
struct BlockJson {
    #[serde(default = "one")]
    version: i32,
    broker: i32,
    block_start: String,
    block_end: String,
}

impl ProducerIdBlock {
    /// Version 1.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(&BlockJson {
            version: 1,
            broker: self.broker.0,
            block_start: self.first.to_string(),
            block_end: self.last.to_string(),
        })
    }

    /// Version 1.
    pub fn decode(data: &[u8]) -> Result<Self, PayloadError> {
        const WHAT: &str = "a block of producer ids";
        let json: BlockJson = parse(WHAT, data)?;
        let number = |field, text: &str| match text.parse::<i64>() {
            Ok(n) if n >= -1 => Ok(n),
            _ => Err(bad(WHAT, field, text)),
        };
        let first = number("block_start", &json.block_start)?;
        let last = number("block_end", &json.block_end)?;
        if first < 0 || last < first - 1 {
            return Err(bad(WHAT, "block_end", json.block_end));
        }
        Ok(Self {
            broker: BrokerId(json.broker),
            first,
            last,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct MemberJson {
    #[serde(default = "one")]
    version: i32,
    subscription: BTreeMap<String, i32>,
    #[serde(default)]
    pattern: String,
    #[serde(default)]
    timestamp: serde_json::Value,
}

/// `/consumers/G/ids/C`: topics with the number of streams each.
#[must_use]
pub fn encode_group_member(subscription: &BTreeMap<String, i32>, timestamp_ms: i64) -> Vec<u8> {
    encode(&MemberJson {
        version: 1,
        subscription: subscription.clone(),
        pattern: "static".to_owned(),
        timestamp: timestamp_ms.to_string().into(),
    })
}

/// Topics of a member, with the number of streams each.
pub fn decode_group_member(data: &[u8]) -> Result<BTreeMap<String, i32>, PayloadError> {
    parse::<MemberJson>("a group member", data).map(|json| json.subscription)
}

/// A committed offset in `/consumers/G/offsets/T/P`: decimal text. The error shows the beginning of
/// what is there instead.
pub fn decode_group_offset(data: &[u8]) -> Result<i64, PayloadError> {
    let offset = std::str::from_utf8(data).ok().and_then(|t| t.parse().ok());
    if let Some(offset @ 0..) = offset {
        return Ok(offset);
    }
    let shown = data.get(..SHOWN_BYTES_MAX).unwrap_or(data);
    let text = String::from_utf8_lossy(shown);
    Err(bad("a group's offset", "text", text))
}
