//! Identifiers that the whole workspace shares: brokers, topics, partitions, epochs.
//!
//! Newtypes, so that an epoch never stands where an offset belongs. Nothing here talks to
//! ZooKeeper or to the wire; both give and take these types.

use std::fmt;
use std::sync::Arc;

/// `broker.id`: 0 or more for a broker of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerId(pub i32);

/// Number of a partition within its topic, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionIndex(pub i32);

/// Epoch of a partition's leader: strictly increases with every change of leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaderEpoch(pub i32);

/// Epoch of the controller, kept in `/controller_epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ControllerEpoch(pub i32);

/// Epoch of one incarnation of a broker: the czxid of its `/brokers/ids/N` (KIP-380).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerEpoch(pub i64);

macro_rules! display_inner {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_inner!(
    BrokerId,
    PartitionIndex,
    LeaderEpoch,
    ControllerEpoch,
    BrokerEpoch
);

/// A legal topic name: 1 to 249 of `[a-zA-Z0-9._-]`, not `.` or `..`. Cheap to clone.
///
/// A path may be built from it without further checks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// Longest topic name, in bytes, as in Kafka: `name-partition` must fit a file name.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Why a name is no topic name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// The name is empty.
    #[error("topic name is empty")]
    Empty,
    /// The name is `.` or `..`.
    #[error("topic name cannot be \".\" or \"..\"")]
    Dots,
    /// The name is longer than [`TOPIC_NAME_BYTES_MAX`].
    #[error("topic name has {0} bytes, at most {TOPIC_NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The name has a character outside of `[a-zA-Z0-9._-]`.
    #[error("topic name {0:?} has a character other than ASCII letters, digits, '.', '_' and '-'")]
    Character(String),
}

impl TopicName {
    /// Checks `name` by Kafka's rules.
    pub fn new(name: &str) -> Result<Self, TopicNameError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        match name {
            "" => Err(TopicNameError::Empty),
            "." | ".." => Err(TopicNameError::Dots),
            _ if name.len() > TOPIC_NAME_BYTES_MAX => Err(TopicNameError::TooLong(name.len())),
            _ if !name.bytes().all(legal) => Err(TopicNameError::Character(name.to_owned())),
            _ => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// One partition of one topic. Displays as Kafka names its folder: `topic-3`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Topic.
    pub topic: TopicName,
    /// Partition within it.
    pub partition: PartitionIndex,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Topic id (KIP-516): a 128-bit uuid; its text is 22 characters of URL-safe base64.
///
/// The zero id means "none" on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub [u8; 16]);

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl TopicId {
    /// "No id" on the wire.
    pub const ZERO: Self = Self([0; 16]);

    /// A fresh random id whose text does not start with `-`, as in Kafka.
    #[must_use]
    pub fn random() -> Self {
        loop {
            let id = Self(*uuid::Uuid::new_v4().as_bytes());
            if id != Self::ZERO && !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    /// Reads the 22-character text form; `None` when it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 22 {
            return None;
        }
        let mut bits: u128 = 0;
        for (i, b) in text.bytes().enumerate() {
            let digit = BASE64_URL.iter().position(|&c| c == b)? as u128;
            // The last of the 22 digits carries 2 bits of the id and 4 of padding.
            bits = if i < 21 {
                (bits << 6) | digit
            } else {
                (bits << 2) | (digit >> 4)
            };
        }
        Some(Self(bits.to_be_bytes()))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        for i in 0..22_u32 {
            let digit = if i < 21 {
                (bits >> (122 - 6 * i)) & 63
            } else {
                (bits & 3) << 4
            };
            let c = BASE64_URL
                .get(usize::try_from(digit).unwrap_or(0))
                .copied()
                .unwrap_or(b'A');
            write!(f, "{}", char::from(c))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_id_text_is_kafkas() {
        let id = TopicId::parse("VATKTL-xQ86vSWHGbIMG8w").expect("a real broker wrote it");
        assert_eq!(id.to_string(), "VATKTL-xQ86vSWHGbIMG8w");
        assert_eq!(id.0[0], 0x54);
        let id = TopicId::random();
        assert_eq!(TopicId::parse(&id.to_string()), Some(id));
        assert_eq!(TopicId::parse("short"), None);
    }

    #[test]
    fn topic_names_follow_kafkas_rules() {
        for bad in ["", ".", "..", "a/b", "a\0", "../x", "ü", &"x".repeat(250)] {
            assert!(TopicName::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "__consumer_offsets", "A.b-c_9", &"x".repeat(249)] {
            assert!(TopicName::new(good).is_ok(), "{good:?}");
        }
    }
}
