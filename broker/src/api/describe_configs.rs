//! DescribeConfigs (key 32): the settings of topics and of this broker, with their sources.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use nyala_coordinator::ids::TopicName;

use super::brief::brief;
use super::config_resource::{ConfigResource, Refusal};
use super::distinct::distinct;
use super::{Context, Operation, Resource};
use crate::cluster::invalid_name;
use crate::config::{Described, Kind, describe_broker};

/// Answers one request.
pub(super) async fn handle(
    cx: &Context,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let shown = Shown {
        synonyms: request.include_synonyms,
        documentation: request.include_documentation,
    };
    let resources = distinct(request.resources, |r| {
        (
            r.resource_type,
            r.resource_name.clone(),
            r.configuration_keys.clone(),
        )
    });
    let results = resources.into_iter().map(|resource| {
        let (outcome, configs) = match describe(cx, &resource) {
            Ok(described) => (Refusal::none(), entries(described, &resource, shown)),
            Err(refusal) => (refusal, Vec::new()),
        };
        DescribeConfigsResult {
            error_code: outcome.error.code(),
            // Kafka says the empty string where there is nothing to say.
            error_message: Some(outcome.message.unwrap_or_default()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs,
        }
    });
    DescribeConfigsResponse {
        throttle_time_ms: 0,
        results: results.collect(),
    }
}

/// What of a setting was asked for.
#[derive(Clone, Copy)]
struct Shown {
    synonyms: bool,
    documentation: bool,
}

fn describe(cx: &Context, asked: &DescribeConfigsResource) -> Result<Vec<Described>, Refusal> {
    let broker = cx.services.cluster.this_broker();
    let settings = cx.services.cluster.live().get();
    let name = asked.resource_name.as_str();
    match ConfigResource::parse(asked.resource_type, name, broker, " or empty string, ")? {
        ConfigResource::Topic(name) => {
            if !cx.authorize(Operation::DescribeConfigs, Resource::Topic(name)) {
                return Err(ErrorCode::TopicAuthorizationFailed.into());
            }
            let name = TopicName::new(name).map_err(|error| Refusal {
                error: ErrorCode::InvalidTopicException,
                message: Some(brief(&invalid_name(name, &error))),
            })?;
            if !cx.services.cluster.snapshot().topics.contains_key(&name) {
                return Err(Refusal {
                    error: ErrorCode::UnknownTopicOrPartition,
                    message: None,
                });
            }
            Ok(cx.services.cluster.topic_config(&name).describe(&settings))
        }
        other => {
            if !cx.authorize(Operation::DescribeConfigs, Resource::Cluster) {
                return Err(ErrorCode::ClusterAuthorizationFailed.into());
            }
            match other {
                ConfigResource::Broker => Ok(describe_broker(&settings, true)),
                ConfigResource::BrokerDefault => Ok(describe_broker(&settings, false)),
                // Levels of logging are set by the environment, not by request: there is nothing to show.
                ConfigResource::BrokerLogger | ConfigResource::Topic(_) => Ok(Vec::new()),
            }
        }
    }
}

fn entries(
    described: Vec<Described>,
    asked: &DescribeConfigsResource,
    shown: Shown,
) -> Vec<DescribeConfigsResourceResult> {
    let wanted = |name: &str| match &asked.configuration_keys {
        // As in Kafka, an empty list asks for all.
        Some(keys) if !keys.is_empty() => keys.iter().any(|key| key == name),
        _ => true,
    };
    let described = described.into_iter().filter(|config| wanted(config.name));
    described.map(|config| entry(config, shown)).collect()
}

fn entry(config: Described, shown: Shown) -> DescribeConfigsResourceResult {
    let synonyms = config.synonyms.into_iter().filter(|_| shown.synonyms);
    DescribeConfigsResourceResult {
        name: config.name.to_owned(),
        value: config.value,
        read_only: config.read_only,
        config_source: config.source as i8,
        // No key holds a secret before security arrives.
        is_sensitive: false,
        synonyms: synonyms
            .map(|synonym| DescribeConfigsSynonym {
                name: synonym.name,
                value: Some(synonym.value),
                source: synonym.source as i8,
            })
            .collect(),
        config_type: wire_type(config.kind),
        documentation: shown.documentation.then(|| config.doc.trim().to_owned()),
    }
}

/// Number of a type in Kafka's `DescribeConfigsResponse.ConfigType`.
fn wire_type(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::String => 2,
        Kind::Int => 3,
        Kind::Short => 4,
        Kind::Long => 5,
        Kind::Double => 6,
        Kind::List => 7,
    }
}
