//! Values that are words: compression, timestamp type, cleanup policy.
//!
//! Each is a type, so that nobody compares texts later. Pure.

use super::key::{Kind, Setting, list};

/// `compression.type`: what the log keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent it.
    Producer,
    /// Not compressed.
    Uncompressed,
    /// Gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl CompressionType {
    pub(crate) const WORDS: &[&str] =
        &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
    const ALL: [Self; 6] = [
        Self::Uncompressed,
        Self::Zstd,
        Self::Lz4,
        Self::Snappy,
        Self::Gzip,
        Self::Producer,
    ];

    /// Kafka's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Uncompressed => "uncompressed",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl Setting for CompressionType {
    const KIND: Kind = Kind::String;
    fn parse(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|c| c.as_str() == text)
            .ok_or_else(|| format!("String must be one of: {}", Self::WORDS.join(", ")))
    }
    fn show(&self) -> Option<String> {
        Some(self.as_str().to_owned())
    }
}

/// `message.timestamp.type`: whose clock stamps a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The leader's, at append.
    LogAppendTime,
}

impl Setting for TimestampType {
    const KIND: Kind = Kind::String;
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "CreateTime" => Ok(Self::CreateTime),
            "LogAppendTime" => Ok(Self::LogAppendTime),
            _ => Err("String must be one of: CreateTime, LogAppendTime".to_owned()),
        }
    }
    fn show(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

/// `cleanup.policy`: how old records go. Both may be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Old segments are deleted.
    pub delete: bool,
    /// Only the last record of each key is kept.
    pub compact: bool,
}

impl Setting for CleanupPolicy {
    const KIND: Kind = Kind::List;
    fn parse(text: &str) -> Result<Self, String> {
        let mut policy = Self {
            delete: false,
            compact: false,
        };
        for word in list(text) {
            match word {
                "delete" => policy.delete = true,
                "compact" => policy.compact = true,
                _ => return Err("String must be one of: compact, delete".to_owned()),
            }
        }
        Ok(policy)
    }
    fn show(&self) -> Option<String> {
        Some(
            match (self.compact, self.delete) {
                (true, true) => "compact,delete",
                (true, false) => "compact",
                (false, true) => "delete",
                (false, false) => "",
            }
            .to_owned(),
        )
    }
}
