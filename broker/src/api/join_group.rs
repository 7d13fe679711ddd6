//! JoinGroup (key 11): a member asks to be part of the group's next generation. The answer comes
//! when all members have joined, so it may take as long as a rebalance.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::join_group::{
    JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember,
};

use super::{Context, Operation, Resource};
use crate::groups::{Client, JoinRequest, Joined};

/// Since version 4 clients know that a first join may only give them an id (KIP-394).
const FIRST_VERSION_WITH_REQUIRED_ID: i16 = 4;
/// Since version 7 the protocol may be null in the answer.
const FIRST_VERSION_WITHOUT_PROTOCOL: i16 = 7;
/// Since version 9 a leader may be told not to assign (KIP-814).
const FIRST_VERSION_WITH_SKIP: i16 = 9;

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: JoinGroupRequest) -> JoinGroupResponse {
    if !cx.authorize(Operation::Read, Resource::Group(&request.group_id)) {
        let error = ErrorCode::GroupAuthorizationFailed;
        return refused(cx, request.member_id, error);
    }
    let group = request.group_id.clone();
    tracing::debug!(
        group,
        member = request.member_id,
        instance = request.group_instance_id,
        reason = request.reason,
        "join"
    );
    match cx.services.groups.join(&group, read(cx, request)).await {
        Ok(joined) => accepted(joined),
        Err(refusal) => {
            let member = refusal.member.as_str().to_owned();
            refused(cx, member, refusal.error.into())
        }
    }
}

fn read(cx: &Context, request: JoinGroupRequest) -> JoinRequest {
    let protocols = request.protocols.into_iter();
    JoinRequest {
        member: request.member_id,
        instance: request.group_instance_id,
        knows_member_id_required: cx.version >= FIRST_VERSION_WITH_REQUIRED_ID,
        can_skip_assignment: cx.version >= FIRST_VERSION_WITH_SKIP,
        client: Client {
            id: cx.client_id.as_deref().unwrap_or("").into(),
            // Java prints an address without a name like this, and the log holds it so.
            host: format!("/{}", cx.client_host).into(),
        },
        session_timeout_ms: request.session_timeout_ms,
        // Version 0 has one timeout for both.
        rebalance_timeout_ms: match cx.version {
            0 => request.session_timeout_ms,
            _ => request.rebalance_timeout_ms,
        },
        protocol_type: request.protocol_type,
        protocols: protocols.map(|p| (p.name, p.metadata)).collect(),
    }
}

fn accepted(joined: Joined) -> JoinGroupResponse {
    let member = |m: crate::groups::JoinedMember| JoinGroupResponseMember {
        member_id: m.member.as_str().to_owned(),
        group_instance_id: m.instance.as_deref().map(str::to_owned),
        metadata: m.metadata,
    };
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.as_deref().map(str::to_owned),
        protocol_name: joined.protocol.as_deref().map(str::to_owned),
        leader: joined.leader.as_str().to_owned(),
        skip_assignment: joined.skip_assignment,
        member_id: joined.member.as_str().to_owned(),
        members: joined.members.into_iter().map(member).collect(),
        ..JoinGroupResponse::default()
    }
}

fn refused(cx: &Context, member_id: String, error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: error.code(),
        generation_id: -1,
        protocol_name: (cx.version < FIRST_VERSION_WITHOUT_PROTOCOL).then(String::new),
        member_id,
        ..JoinGroupResponse::default()
    }
}
