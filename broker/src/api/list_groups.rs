//! ListGroups (key 16): the groups that this broker leads, by state and type.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::list_groups::{
    ListGroupsRequest, ListGroupsResponse, ListedGroup,
};

use super::{Context, Operation, Resource};
use crate::groups::Overview;

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: ListGroupsRequest) -> ListGroupsResponse {
    let groups = &cx.services.groups;
    let (error, listed) = groups.list(&request.states_filter, &request.types_filter);
    // Who may describe the cluster sees all groups, others those that they may describe.
    let all = cx.authorize(Operation::Describe, Resource::Cluster);
    let seen = |o: &Overview| all || cx.authorize(Operation::Describe, Resource::Group(&o.group));
    let shown = |o: Overview| ListedGroup {
        group_id: (*o.group).to_owned(),
        protocol_type: o.protocol_type,
        group_state: o.state.to_owned(),
        group_type: "classic".to_owned(),
    };
    ListGroupsResponse {
        throttle_time_ms: 0,
        error_code: error.map_or(ErrorCode::None, ErrorCode::from).code(),
        groups: listed.into_iter().filter(seen).map(shown).collect(),
    }
}
