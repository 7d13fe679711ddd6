//! ControlledShutdown (key 7): a broker that stops asks the controller to move what it leads.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::controlled_shutdown::{
    ControlledShutdownRequest, ControlledShutdownResponse, RemainingPartition,
};
use nyala_coordinator::ids::{BrokerEpoch, BrokerId};

use super::{Context, Operation, Resource};

/// Answers one request: what the broker still leads.
pub(super) async fn handle(
    cx: &Context,
    request: ControlledShutdownRequest,
) -> ControlledShutdownResponse {
    if !cx.authorize(Operation::ClusterAction, Resource::Cluster) {
        return answer(ErrorCode::ClusterAuthorizationFailed, Vec::new());
    }
    let epoch = (request.broker_epoch >= 0).then_some(BrokerEpoch(request.broker_epoch));
    let broker = BrokerId(request.broker_id);
    match cx.services.cluster.controlled_shutdown(broker, epoch).await {
        Ok(led) => {
            let remaining = led.into_iter().map(|tp| RemainingPartition {
                topic_name: tp.topic.to_string(),
                partition_index: tp.partition.0,
            });
            answer(ErrorCode::None, remaining.collect())
        }
        Err(error) => answer((&error).into(), Vec::new()),
    }
}

fn answer(
    error: ErrorCode,
    remaining_partitions: Vec<RemainingPartition>,
) -> ControlledShutdownResponse {
    ControlledShutdownResponse {
        error_code: error.code(),
        remaining_partitions,
    }
}
