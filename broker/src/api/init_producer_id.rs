//! InitProducerId (key 22): an id and an epoch for an idempotent producer (KIP-98).
//!
//! Transactional producers are refused: this broker has no transactions.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::init_producer_id::{
    InitProducerIdRequest, InitProducerIdResponse,
};

use super::{Context, Operation, Resource};

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let (error, producer_id, producer_epoch) = match make(cx, &request).await {
        Ok(producer_id) => (ErrorCode::None, producer_id, 0),
        Err(error) => (error, -1, -1),
    };
    InitProducerIdResponse {
        throttle_time_ms: 0,
        error_code: error.code(),
        producer_id,
        producer_epoch,
    }
}

/// A new id. One that the producer had before makes no difference: only a transactional producer
/// keeps its id.
async fn make(cx: &Context, request: &InitProducerIdRequest) -> Result<i64, ErrorCode> {
    match request.transactional_id.as_deref() {
        Some("") => return Err(ErrorCode::InvalidRequest),
        Some(_) => return Err(ErrorCode::UnsupportedVersion),
        None => {}
    }
    let half_known = (request.producer_id == -1) != (request.producer_epoch == -1);
    if half_known {
        return Err(ErrorCode::InvalidRequest);
    }
    if !cx.authorize(Operation::IdempotentWrite, Resource::Cluster) {
        return Err(ErrorCode::ClusterAuthorizationFailed);
    }
    cx.services
        .cluster
        .next_producer_id()
        .await
        .map_err(|error| ErrorCode::from(&error))
}
