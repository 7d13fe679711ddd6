//! DeleteGroups (key 42): groups without members, and their offsets (KIP-229).

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};

use super::error_code::code_of;
use super::{Context, Operation, Resource};

/// Answers one request. A group that is named twice is deleted and answered once.
pub(super) async fn handle(cx: &Context, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut seen = std::collections::HashSet::new();
    let names = request.groups_names.into_iter();
    let distinct = names.filter(|name| seen.insert(name.clone()));
    let delete = |group_id: String| {
        let error_code = match cx.authorize(Operation::Delete, Resource::Group(&group_id)) {
            true => code_of(&cx.services.groups.delete(&group_id)),
            false => ErrorCode::GroupAuthorizationFailed.code(),
        };
        DeletableGroupResult {
            group_id,
            error_code,
        }
    };
    DeleteGroupsResponse {
        throttle_time_ms: 0,
        results: distinct.map(delete).collect(),
    }
}
