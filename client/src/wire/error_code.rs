//! Kafka's error codes with their names, default messages and whether a client may retry.
//!
//! The list is generated from `schema/errors.txt`. On the wire an error is an `i16`; messages keep
//! that number, so that a code from the future survives.

#![allow(clippy::too_many_lines, reason = "the generated table is one match")]

use std::fmt;

include!(concat!(env!("OUT_DIR"), "/errors.rs"));

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The error with this number; `UnknownServerError` for numbers that Kafka 3.9 does not know.
    #[must_use]
    pub fn from_code(code: i16) -> Self {
        // The list ascends from -1 without a gap, which a test holds.
        let at = usize::try_from(i32::from(code) + 1);
        let found = at.ok().and_then(|at| Self::ALL.get(at));
        found.copied().unwrap_or(Self::UnknownServerError)
    }

    /// Kafka's name, such as `UNKNOWN_TOPIC_OR_PARTITION`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn retriable(self) -> bool {
        self.facts().1
    }

    /// Kafka's default message.
    #[must_use]
    pub const fn message(self) -> &'static str {
        self.facts().2
    }

    /// Whether this is an error at all.
    #[must_use]
    pub fn is_error(self) -> bool {
        self != Self::None
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> Self {
        error.code()
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> Self {
        Self::from_code(code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn every_code_finds_itself() {
        for (at, error) in (-1_i16..).zip(ErrorCode::ALL) {
            assert_eq!(error.code(), at);
            assert_eq!(ErrorCode::from_code(at), error);
        }
        assert_eq!(
            ErrorCode::from_code(i16::MAX),
            ErrorCode::UnknownServerError
        );
        assert_eq!(
            ErrorCode::from_code(i16::MIN),
            ErrorCode::UnknownServerError
        );
    }

    #[test]
    fn no_error_is_the_default() {
        assert_eq!(ErrorCode::default(), ErrorCode::None);
        assert_eq!(ErrorCode::None.code(), 0);
    }

    #[test]
    fn names_messages_and_retries_are_kafkas() {
        let error = ErrorCode::NotLeaderOrFollower;
        assert_eq!(error.to_string(), "NOT_LEADER_OR_FOLLOWER (6)");
        assert!(error.retriable());
        assert!(!ErrorCode::InvalidTopicException.retriable());
        assert_eq!(
            ErrorCode::UnknownTopicOrPartition.message(),
            "This server does not host this topic-partition."
        );
    }
}
