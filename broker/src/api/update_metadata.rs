//! UpdateMetadata (key 6): the controller tells every broker what clients shall be told.
//!
//! This broker reads the same from ZooKeeper, so the request is checked and acknowledged; an answer
//! of success must not come from one that another controller or incarnation was meant for.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::update_metadata::{
    UpdateMetadataRequest, UpdateMetadataResponse,
};
use nyala_coordinator::ids::{BrokerEpoch, BrokerId, ControllerEpoch};

use super::{Context, Operation, Resource};
use crate::cluster::ControlHead;

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: UpdateMetadataRequest) -> UpdateMetadataResponse {
    let code = if cx.authorize(Operation::ClusterAction, Resource::Cluster) {
        let head = ControlHead {
            controller: BrokerId(request.controller_id),
            controller_epoch: ControllerEpoch(request.controller_epoch),
            broker_epoch: (request.broker_epoch >= 0).then_some(BrokerEpoch(request.broker_epoch)),
        };
        match cx.services.cluster.update_metadata(&head) {
            Ok(()) => ErrorCode::None,
            Err(error) => (&error).into(),
        }
    } else {
        ErrorCode::ClusterAuthorizationFailed
    };
    UpdateMetadataResponse {
        error_code: code.code(),
    }
}
