//! AllocateProducerIds (key 67): a broker asks the controller for a block of producer ids (KIP-730).
//!
//! Ours take theirs from ZooKeeper themselves; Kafka's ask from 3.0 on.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::allocate_producer_ids::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse,
};
use nyala_coordinator::ids::{BrokerEpoch, BrokerId};

use super::{Context, Operation, Resource};

/// Answers one request.
pub(super) async fn handle(
    cx: &Context,
    request: AllocateProducerIdsRequest,
) -> AllocateProducerIdsResponse {
    let refused = |error: ErrorCode| AllocateProducerIdsResponse {
        error_code: error.code(),
        ..AllocateProducerIdsResponse::default()
    };
    if !cx.authorize(Operation::ClusterAction, Resource::Cluster) {
        return refused(ErrorCode::ClusterAuthorizationFailed);
    }
    let (broker, epoch) = (
        BrokerId(request.broker_id),
        BrokerEpoch(request.broker_epoch),
    );
    match cx
        .services
        .cluster
        .allocate_producer_ids(broker, epoch)
        .await
    {
        Ok(block) => AllocateProducerIdsResponse {
            producer_id_start: block.first,
            // Both are from 0 and a block is short.
            producer_id_len: i32::try_from(block.last - block.first + 1).unwrap_or(0),
            ..AllocateProducerIdsResponse::default()
        },
        Err(error) => refused((&error).into()),
    }
}
