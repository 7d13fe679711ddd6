//! AlterConfigs (key 33): replaces all overrides of a topic or of brokers; and what it shares with
//! IncrementalAlterConfigs.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use nyala_coordinator::ids::TopicName;
use nyala_coordinator::registry::ConfigEntity;

use super::brief::brief;
use super::config_resource::{BROKER_LOGGER, ConfigResource, Refusal};
use super::{Context, Operation, Resource};
use crate::cluster::{Alter, AlterConfigs, ConfigError};
use crate::config::{Change, Faults, Settings};

/// A change of one resource, as it came in.
pub(super) struct Wanted {
    /// Number of Kafka's `ConfigResource.Type`.
    pub(super) kind: i8,
    /// Name of the resource.
    pub(super) name: String,
    /// What to do, or why that is refused at once.
    pub(super) change: Result<AlterConfigs, Refusal>,
}

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let wanted = request.resources.into_iter().map(|resource| Wanted {
        kind: resource.resource_type,
        change: change(cx, &resource, request.validate_only),
        name: resource.resource_name,
    });
    let told = carry_out(cx, wanted.collect()).await;
    let response = |(wanted, told): (Wanted, Refusal)| AlterConfigsResourceResponse {
        error_code: told.error.code(),
        error_message: told.message,
        resource_type: wanted.kind,
        resource_name: wanted.name,
    };
    AlterConfigsResponse {
        throttle_time_ms: 0,
        responses: told.into_iter().map(response).collect(),
    }
}

fn change(
    cx: &Context,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<AlterConfigs, Refusal> {
    let kind = resource.resource_type;
    if kind == BROKER_LOGGER {
        return Err(Refusal::invalid(format!("Unknown resource type {kind}")));
    }
    let entity = entity(cx, kind, &resource.resource_name)?;
    let configs = resource.configs.iter();
    refuse_nulls(
        configs
            .clone()
            .filter(|c| c.value.is_none())
            .map(|c| c.name.clone()),
    )?;
    let set = |value: &Option<String>| Alter::Set(value.clone().unwrap_or_default());
    Ok(AlterConfigs {
        entity,
        replace_all: true,
        changes: configs.map(|c| (c.name.clone(), set(&c.value))).collect(),
        validate_only,
    })
}

/// Makes the changes one by one; says of each whether, and why not, in their order.
pub(super) async fn carry_out(cx: &Context, wanted: Vec<Wanted>) -> Vec<(Wanted, Refusal)> {
    let mut told = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let outcome = match &wanted.change {
            Ok(change) => {
                let altered = cx.services.cluster.alter_configs(change).await;
                altered.map_err(|error| refusal(&change.entity, &error))
            }
            Err(refusal) => Err(refusal.clone()),
        };
        told.push((wanted, outcome.err().unwrap_or_else(Refusal::none)));
    }
    told
}

fn refusal(entity: &ConfigEntity, error: &ConfigError) -> Refusal {
    let message = match error {
        ConfigError::InvalidConfig(faults) => words(entity, faults),
        other => other.to_string(),
    };
    Refusal {
        error: match (entity, error) {
            (ConfigEntity::Topic(_), _) => ErrorCode::from(error),
            // Kafka's word for a setting of a broker that cannot be.
            (_, ConfigError::InvalidConfig(_)) => ErrorCode::InvalidRequest,
            _ => ErrorCode::from(error),
        },
        message: Some(brief(&message)),
    }
}

/// Kafka names the resource as Java shows it, and all settings that are fixed as Scala does.
fn words(entity: &ConfigEntity, faults: &Faults) -> String {
    let fixed = faults
        .0
        .iter()
        .filter(|fault| Settings::key(&fault.key).is_some_and(|key| key.change == Change::Fixed));
    let fixed: Vec<_> = fixed.map(|fault| fault.key.as_str()).collect();
    let (kind, name) = match entity {
        ConfigEntity::Topic(name) => ("TOPIC", name.to_string()),
        _ if !fixed.is_empty() => {
            let keys = fixed.join(", ");
            return format!("Cannot update these configs dynamically: Set({keys})");
        }
        ConfigEntity::Broker(id) => ("BROKER", id.to_string()),
        ConfigEntity::BrokerDefault | ConfigEntity::Other(_) => ("BROKER", String::new()),
    };
    format!(
        "Invalid config value for resource ConfigResource(type={kind}, name='{name}'): {faults}"
    )
}

/// Whose overrides are meant, if the principal may change them.
pub(super) fn entity(cx: &Context, kind: i8, name: &str) -> Result<ConfigEntity, Refusal> {
    let this = cx.services.cluster.this_broker();
    let resource = ConfigResource::parse(kind, name, this, ", ")?;
    if let ConfigResource::Topic(name) = resource {
        if !cx.authorize(Operation::AlterConfigs, Resource::Topic(name)) {
            return Err(ErrorCode::TopicAuthorizationFailed.into());
        }
        // A name that no topic can have is the name of no topic.
        let unknown = |_| Refusal {
            error: ErrorCode::UnknownTopicOrPartition,
            message: Some(brief(&format!("The topic '{name}' does not exist."))),
        };
        return TopicName::new(name)
            .map(ConfigEntity::Topic)
            .map_err(unknown);
    }
    if !cx.authorize(Operation::AlterConfigs, Resource::Cluster) {
        return Err(ErrorCode::ClusterAuthorizationFailed.into());
    }
    match resource {
        ConfigResource::Broker => Ok(ConfigEntity::Broker(this)),
        ConfigResource::BrokerDefault => Ok(ConfigEntity::BrokerDefault),
        ConfigResource::BrokerLogger | ConfigResource::Topic(_) => Err(Refusal::invalid(
            "AlterConfigs is only supported for topics and brokers, but resource type is BROKER_LOGGER",
        )),
    }
}

/// Null is no value: deleting is another operation.
pub(super) fn refuse_nulls(names: impl Iterator<Item = String>) -> Result<(), Refusal> {
    let names: Vec<_> = names.collect();
    match names.is_empty() {
        true => Ok(()),
        false => Err(Refusal::invalid(format!(
            "Null value not supported for : {}",
            names.join(",")
        ))),
    }
}
