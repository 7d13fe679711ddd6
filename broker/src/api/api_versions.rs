//! ApiVersions (key 18): what this broker serves, straight from the table.
//!
//! Versions from the future are answered by the dispatcher (KIP-511). No feature is ever finalized:
//! the cluster is one of Kafka 3.9 on ZooKeeper.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse,
};

use super::{Api, Context, TABLE, is_between_brokers};

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let named = is_software_word(&request.client_software_name)
        && is_software_word(&request.client_software_version);
    if cx.version >= 3 && !named {
        return ApiVersionsResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            ..ApiVersionsResponse::default()
        };
    }
    let between_brokers = cx.services.of_brokers(&cx.listener_name);
    let served = TABLE
        .iter()
        .filter(|api| between_brokers || !is_between_brokers(api.key));
    ApiVersionsResponse {
        api_keys: served.map(range).collect(),
        ..ApiVersionsResponse::default()
    }
}

fn range(api: &Api) -> ApiVersion {
    ApiVersion {
        api_key: api.key.code(),
        min_version: api.min,
        max_version: api.max,
    }
}

/// Letters, digits, `-` and `.`, the last two not at either end.
fn is_software_word(text: &str) -> bool {
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    let outer = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    outer(bytes.first()) && outer(bytes.last()) && bytes.iter().all(inner)
}

#[cfg(test)]
mod tests {
    use nyala_client::wire::ApiKey;

    use super::*;

    #[test]
    fn software_words_are_kafkas() {
        for good in ["a", "librdkafka", "v2.3.0-RC1", "9"] {
            assert!(is_software_word(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "é", "a_b"] {
            assert!(!is_software_word(bad), "{bad}");
        }
    }

    /// Traps that clients have fallen into: see KAFKA-18659, KAFKA-19444, KIP-511.
    #[test]
    fn versions_that_clients_test_for_are_there() {
        let range = |key| {
            let api = TABLE.iter().find(|api| api.key == key);
            api.map(|api| (api.min, api.max))
        };
        assert_eq!(range(ApiKey::Produce), Some((0, 11)));
        assert_eq!(range(ApiKey::Fetch), Some((4, 17)));
        for api in TABLE {
            assert!(api.key.max_version() >= api.max, "{:?}", api.key);
            assert!(api.key == ApiKey::Produce || api.key.min_version() <= api.min);
        }
        assert!(TABLE.is_sorted_by_key(|api| api.key));
    }
}
