//! Whose settings a request means, and the refusals that all three config APIs share.

use nyala_client::wire::ErrorCode;
use nyala_coordinator::ids::BrokerId;

use super::brief::brief;

/// Whose settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConfigResource<'a> {
    /// A topic's, by a name that is not checked yet.
    Topic(&'a str),
    /// This broker's.
    Broker,
    /// All brokers'.
    BrokerDefault,
    /// Levels of logging of this broker.
    BrokerLogger,
}

/// Why a resource was not described or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) error: ErrorCode,
    pub(super) message: Option<String>,
}

impl Refusal {
    /// No refusal at all.
    pub(super) fn none() -> Self {
        Self {
            error: ErrorCode::None,
            message: None,
        }
    }

    /// The request makes no sense.
    pub(super) fn invalid(message: impl ToString) -> Self {
        Self {
            error: ErrorCode::InvalidRequest,
            message: Some(brief(&message)),
        }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        Self {
            error,
            message: Some(error.message().to_owned()),
        }
    }
}

/// Numbers of Kafka's `ConfigResource.Type`.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
pub(super) const BROKER_LOGGER: i8 = 8;

impl<'a> ConfigResource<'a> {
    /// Reads type and name, as `this` broker may answer them.
    /// `or_empty` is what Kafka adds about brokers: only a description says that none is all.
    pub(super) fn parse(
        kind: i8,
        name: &'a str,
        this: BrokerId,
        or_empty: &str,
    ) -> Result<Self, Refusal> {
        let own = |or_empty: &str| match name.parse::<i32>() {
            Ok(id) if id == this.0 => Ok(()),
            Ok(_) => Err(Refusal::invalid(format!(
                "Unexpected broker id, expected {this}{or_empty}but received {name}"
            ))),
            Err(_) => Err(Refusal::invalid(format!(
                "Broker id must be an integer, but it is: {name}"
            ))),
        };
        match kind {
            TOPIC => Ok(Self::Topic(name)),
            BROKER if name.is_empty() => Ok(Self::BrokerDefault),
            BROKER => own(or_empty).map(|()| Self::Broker),
            BROKER_LOGGER if name.is_empty() => {
                Err(Refusal::invalid("Broker id must not be empty"))
            }
            BROKER_LOGGER => own(" ").map(|()| Self::BrokerLogger),
            _ => Err(ErrorCode::InvalidRequest.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_read_as_this_broker_may_answer_them() {
        let parse = |kind, name| ConfigResource::parse(kind, name, BrokerId(3), ", ");
        assert_eq!(parse(2, "t"), Ok(ConfigResource::Topic("t")));
        assert_eq!(parse(4, ""), Ok(ConfigResource::BrokerDefault));
        assert_eq!(parse(4, "3"), Ok(ConfigResource::Broker));
        assert_eq!(parse(8, "3"), Ok(ConfigResource::BrokerLogger));
        for (kind, name) in [(4, "4"), (4, "x"), (8, ""), (8, "1"), (0, ""), (16, "c")] {
            let refusal = parse(kind, name).expect_err("refused");
            assert_eq!(refusal.error, ErrorCode::InvalidRequest, "{kind} {name}");
        }
    }
}
