//! IncrementalAlterConfigs (key 44): sets, deletes, appends and subtracts key by key (KIP-339).

use nyala_client::wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::Context;
use super::alter_configs::{Wanted, carry_out, entity, refuse_nulls};
use super::config_resource::Refusal;
use crate::cluster::{Alter, AlterConfigs};

/// Numbers of Kafka's `AlterConfigOp.OpType`.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Answers one request.
pub(super) async fn handle(
    cx: &Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut wanted = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let change = alteration(cx, &resource, request.validate_only);
        let (kind, name) = (resource.resource_type, resource.resource_name);
        wanted.push(Wanted { kind, name, change });
    }
    let mut responses = Vec::with_capacity(wanted.len());
    for (wanted, told) in carry_out(cx, wanted).await {
        responses.push(AlterConfigsResourceResponse {
            error_code: told.error.code(),
            error_message: told.message,
            resource_type: wanted.kind,
            resource_name: wanted.name,
        });
    }
    IncrementalAlterConfigsResponse {
        throttle_time_ms: 0,
        responses,
    }
}

fn alteration(
    cx: &Context,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<AlterConfigs, Refusal> {
    let entity = entity(cx, resource.resource_type, &resource.resource_name)?;
    let missing = |c: &&AlterableConfig| c.value.is_none() && c.config_operation != DELETE;
    let missing = resource.configs.iter().filter(missing);
    refuse_nulls(missing.map(|config| config.name.clone()))?;
    let changes = resource.configs.iter().map(change);
    Ok(AlterConfigs {
        entity,
        replace_all: false,
        changes: changes.collect::<Result<_, _>>()?,
        validate_only,
    })
}

fn change(config: &AlterableConfig) -> Result<(String, Alter), Refusal> {
    let value = config.value.clone().unwrap_or_default();
    let change = match config.config_operation {
        SET => Alter::Set(value),
        DELETE => Alter::Delete,
        APPEND => Alter::Append(value),
        SUBTRACT => Alter::Subtract(value),
        unknown => {
            let message = format!("Unknown operation {unknown} on config key: {}", config.name);
            return Err(Refusal::invalid(message));
        }
    };
    Ok((config.name.clone(), change))
}
