//! DescribeGroups (key 15): state, protocol and members of groups by name.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};

use super::distinct::distinct;
use super::{Context, Operation, Resource, operations};
use crate::groups::{MemberSummary, Summary};

/// Since version 6 a group that does not exist is an error (KIP-1043); before, it is Dead.
const FIRST_VERSION_WITH_NOT_FOUND: i16 = 6;
/// Answers one request.
pub(super) async fn handle(cx: &Context, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let with_operations = request.include_authorized_operations;
    let describe = |group| describe(cx, group, with_operations);
    DescribeGroupsResponse {
        throttle_time_ms: 0,
        groups: distinct(request.groups, String::clone)
            .into_iter()
            .map(describe)
            .collect(),
    }
}

fn describe(cx: &Context, group_id: String, with_operations: bool) -> DescribedGroup {
    let failed = |group_id: String, error: ErrorCode| DescribedGroup {
        error_code: error.code(),
        group_id,
        authorized_operations: operations::NOT_ASKED,
        ..DescribedGroup::default()
    };
    if !cx.authorize(Operation::Describe, Resource::Group(&group_id)) {
        return failed(group_id, ErrorCode::GroupAuthorizationFailed);
    }
    let found = match cx.services.groups.describe(&group_id) {
        Ok(found) => found,
        Err(error) => return failed(group_id, error.into()),
    };
    let group = Resource::Group(&group_id);
    let authorized_operations = operations::authorized(cx, group, with_operations);
    let described = match found {
        Some(summary) => shown(summary),
        None if cx.version >= FIRST_VERSION_WITH_NOT_FOUND => DescribedGroup {
            error_message: Some(format!("Group {group_id} not found.")),
            error_code: ErrorCode::GroupIdNotFound.code(),
            group_state: "Dead".to_owned(),
            ..DescribedGroup::default()
        },
        None => DescribedGroup {
            group_state: "Dead".to_owned(),
            ..DescribedGroup::default()
        },
    };
    DescribedGroup {
        group_id,
        authorized_operations,
        ..described
    }
}

fn shown(summary: Summary) -> DescribedGroup {
    let member = |m: MemberSummary| DescribedGroupMember {
        member_id: m.member.as_str().to_owned(),
        group_instance_id: m.instance.as_deref().map(str::to_owned),
        client_id: (*m.client.id).to_owned(),
        client_host: (*m.client.host).to_owned(),
        member_metadata: m.metadata,
        member_assignment: m.assignment,
    };
    DescribedGroup {
        group_state: summary.state.to_owned(),
        protocol_type: summary.protocol_type,
        protocol_data: summary.protocol,
        members: summary.members.into_iter().map(member).collect(),
        ..DescribedGroup::default()
    }
}
