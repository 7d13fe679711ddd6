//! API keys, and what the schema says about each: name, versions, header versions.
//!
//! These are the versions that the codec can carry. What a broker advertises is the broker's
//! table; it must lie within.

use std::ops::RangeInclusive;

include!(concat!(env!("OUT_DIR"), "/api.rs"));

struct Facts {
    name: &'static str,
    low: i16,
    high: i16,
    flexible: i16,
}

/// The number of an API whose messages this crate does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown api key {0}")]
pub struct UnknownApiKey(pub i16);

impl ApiKey {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Kafka's name, such as `Metadata`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Lowest version that the codec carries.
    #[must_use]
    pub const fn min_version(self) -> i16 {
        self.facts().low
    }

    /// Highest version that the codec carries.
    #[must_use]
    pub const fn max_version(self) -> i16 {
        self.facts().high
    }

    /// All versions that the codec carries.
    #[must_use]
    pub const fn versions(self) -> RangeInclusive<i16> {
        self.min_version()..=self.max_version()
    }

    /// Whether this version has compact lengths and tagged fields (KIP-482).
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.facts().flexible
    }

    /// Version of the request header that goes with `version`.
    #[must_use]
    pub const fn request_header_version(self, version: i16) -> i16 {
        match self {
            // The oldest request of all has no client id.
            Self::ControlledShutdown if version == 0 => 0,
            _ if self.is_flexible(version) => 2,
            _ => 1,
        }
    }

    /// Version of the response header that goes with `version`.
    #[must_use]
    pub const fn response_header_version(self, version: i16) -> i16 {
        match self {
            // A client that asks for versions cannot know yet which header we speak (KIP-511).
            Self::ApiVersions => 0,
            _ if self.is_flexible(version) => 1,
            _ => 0,
        }
    }
}

impl TryFrom<i16> for ApiKey {
    type Error = UnknownApiKey;

    fn try_from(code: i16) -> Result<Self, UnknownApiKey> {
        let at = Self::ALL.binary_search_by_key(&code, |key| key.code());
        let found = at.ok().and_then(|at| Self::ALL.get(at));
        found.copied().ok_or(UnknownApiKey(code))
    }
}
