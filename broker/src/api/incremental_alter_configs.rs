//! IncrementalAlterConfigs (key 44): sets, deletes, appends and subtracts key by key (KIP-339).

use nyala_client::wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::Context;
use super::alter_configs::{carry_out, entity, refuse_nulls};
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
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let outcome = alter(cx, &resource, request.validate_only).await;
        let refusal = outcome.err().unwrap_or_else(Refusal::none);
        responses.push(AlterConfigsResourceResponse {
            error_code: refusal.error.code(),
            error_message: refusal.message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        });
    }
    IncrementalAlterConfigsResponse {
        throttle_time_ms: 0,
        responses,
    }
}

async fn alter(
    cx: &Context,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let entity = entity(cx, resource.resource_type, &resource.resource_name)?;
    let missing = |c: &&AlterableConfig| c.value.is_none() && c.config_operation != DELETE;
    let missing = resource.configs.iter().filter(missing);
    refuse_nulls(missing.map(|config| config.name.clone()))?;
    let changes = resource
        .configs
        .iter()
        .map(change)
        .collect::<Result<_, _>>()?;
    let change = AlterConfigs {
        entity,
        replace_all: false,
        changes,
        validate_only,
    };
    carry_out(cx, &change).await
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
