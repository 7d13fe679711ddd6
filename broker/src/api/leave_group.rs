//! LeaveGroup (key 13): members leave, or an administrator removes them (KIP-345, KIP-571).

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
};

use super::error_code::code_of;
use super::{Context, Operation, Resource};
use crate::groups::{Leaving, MemberId};

/// Up to version 2 one member leaves, and its error is that of the whole request.
const FIRST_VERSION_WITH_MEMBERS: i16 = 3;

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let refused = |error: ErrorCode| LeaveGroupResponse {
        error_code: error.code(),
        ..LeaveGroupResponse::default()
    };
    if !cx.authorize(Operation::Read, Resource::Group(&request.group_id)) {
        return refused(ErrorCode::GroupAuthorizationFailed);
    }
    let members = match cx.version {
        FIRST_VERSION_WITH_MEMBERS.. => request.members,
        _ => vec![MemberIdentity {
            member_id: request.member_id,
            ..MemberIdentity::default()
        }],
    };
    for member in &members {
        let (id, instance) = (&member.member_id, member.group_instance_id.as_deref());
        let (group, reason) = (&request.group_id, member.reason.as_deref());
        tracing::debug!(group, member = id, instance, reason, "leave");
    }
    let leaving = members.iter().map(|m| Leaving {
        member: MemberId::from(m.member_id.as_str()),
        instance: m.group_instance_id.as_deref().map(Into::into),
    });
    let left = cx
        .services
        .groups
        .leave(&request.group_id, leaving.collect())
        .await;
    let results = match left {
        Ok(results) => results,
        Err(error) => return refused(error.into()),
    };
    if cx.version < FIRST_VERSION_WITH_MEMBERS {
        return LeaveGroupResponse {
            error_code: results.first().map_or(0, code_of),
            ..LeaveGroupResponse::default()
        };
    }
    let answers = members.into_iter().zip(&results);
    let answer = |(member, result): (MemberIdentity, &_)| MemberResponse {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        error_code: code_of(result),
    };
    LeaveGroupResponse {
        members: answers.map(answer).collect(),
        ..LeaveGroupResponse::default()
    }
}
