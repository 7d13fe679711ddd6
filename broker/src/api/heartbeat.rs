//! Heartbeat (key 12): a member is alive, and hears whether it has to rejoin.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::error_code::code_of;
use super::{Context, Operation, Resource};

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: HeartbeatRequest) -> HeartbeatResponse {
    let group = &request.group_id;
    let error_code = if cx.authorize(Operation::Read, Resource::Group(group)) {
        let (member, instance) = (&request.member_id, request.group_instance_id.as_deref());
        let groups = &cx.services.groups;
        code_of(&groups.heartbeat(group, member, instance, request.generation_id))
    } else {
        ErrorCode::GroupAuthorizationFailed.code()
    };
    HeartbeatResponse {
        throttle_time_ms: 0,
        error_code,
    }
}
