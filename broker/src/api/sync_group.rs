//! SyncGroup (key 14): the leader brings the shares of all members, every member fetches its own.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::{Context, Operation, Resource};
use crate::groups::{self, MemberId};

/// Since version 5 the client has to say what protocol it believes in (KIP-559).
const FIRST_VERSION_WITH_PROTOCOL: i16 = 5;

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: SyncGroupRequest) -> SyncGroupResponse {
    let named = request.protocol_type.is_some() && request.protocol_name.is_some();
    if cx.version >= FIRST_VERSION_WITH_PROTOCOL && !named {
        return refused(ErrorCode::InconsistentGroupProtocol);
    }
    if !cx.authorize(Operation::Read, Resource::Group(&request.group_id)) {
        return refused(ErrorCode::GroupAuthorizationFailed);
    }
    let shares = request.assignments.into_iter();
    let sync = groups::Sync {
        member: MemberId::from(request.member_id),
        instance: request.group_instance_id.map(Into::into),
        generation: request.generation_id,
        protocol_type: request.protocol_type,
        protocol: request.protocol_name,
        assignment: groups::shares(shares.map(|s| (s.member_id, s.assignment))),
    };
    match cx.services.groups.sync(&request.group_id, sync).await {
        Ok(synced) => SyncGroupResponse {
            protocol_type: synced.protocol_type.as_deref().map(str::to_owned),
            protocol_name: synced.protocol.as_deref().map(str::to_owned),
            assignment: synced.assignment,
            ..SyncGroupResponse::default()
        },
        Err(error) => refused(error.into()),
    }
}

fn refused(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse {
        error_code: error.code(),
        ..SyncGroupResponse::default()
    }
}
