//! Describing, listing, deleting groups, and deleting their offsets.

use nyala_client::wire::messages::delete_groups::DeleteGroupsRequest;
use nyala_client::wire::messages::describe_groups::DescribeGroupsRequest;
use nyala_client::wire::messages::join_group::JoinGroupRequest;
use nyala_client::wire::messages::leave_group::LeaveGroupRequest;
use nyala_client::wire::messages::list_groups::ListGroupsRequest;
use nyala_client::wire::messages::offset_commit::OffsetCommitRequest;
use nyala_client::wire::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

use super::offsets::{commit, fetch};
use super::talk::{TOPIC, Talk, join, protocol};

pub(super) fn script(talk: &mut Talk) {
    let group = "described";
    let joined = talk.join(3, &join(group, "x"));
    describe(talk, group);
    list(talk, group);
    talk.sync(2, group, &joined);
    describe(talk, group);
    list(talk, group);
    let own = OffsetCommitRequest {
        generation_id_or_member_epoch: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..commit(group, &[(TOPIC, 0, 10)])
    };
    talk.say(5, &own);
    let topics = commit(group, &[(TOPIC, 1, 11)]).topics;
    talk.say(5, &OffsetCommitRequest { topics, ..own });
    delete(talk, group);
    delete_offsets(talk, group);
    let leave = LeaveGroupRequest {
        group_id: group.to_owned(),
        member_id: joined.member_id,
        ..LeaveGroupRequest::default()
    };
    talk.say(0, &leave);
    describe(talk, group);
    list(talk, group);
    delete_offsets(talk, group);
    fetch(talk, group);
    delete(talk, group);
    describe(talk, group);
    list(talk, group);
    other_kinds(talk);
}

fn describe(talk: &mut Talk, group: &str) {
    for version in 0..=5 {
        for name in [group, "no such group", ""] {
            let request = DescribeGroupsRequest {
                groups: vec![name.to_owned()],
                include_authorized_operations: version >= 3 && name == group,
            };
            talk.say(version, &request);
        }
    }
}

/// Only this group: others are there, too.
fn list(talk: &mut Talk, group: &str) {
    for version in 0..=5 {
        let mut requests = vec![ListGroupsRequest::default()];
        let texts = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        if version >= 4 {
            for states in [
                &["Stable"][..],
                &["empty", "completingrebalance"],
                &["nonsense"],
            ] {
                requests.push(ListGroupsRequest {
                    states_filter: texts(states),
                    ..ListGroupsRequest::default()
                });
            }
        }
        if version >= 5 {
            for types in [
                &["classic"][..],
                &["Classic", "consumer"],
                &["consumer"],
                &["nonsense"],
            ] {
                requests.push(ListGroupsRequest {
                    types_filter: texts(types),
                    ..ListGroupsRequest::default()
                });
            }
        }
        for request in requests {
            let mut answer = talk.main.call(version, &request);
            answer.groups.retain(|g| g.group_id == group);
            talk.note(&format!("ListGroups v{version} {request:?}"), &answer);
        }
    }
}

fn delete(talk: &mut Talk, group: &str) {
    for version in 0..=2 {
        for name in [group, "no such group", ""] {
            let request = DeleteGroupsRequest {
                groups_names: vec![name.to_owned()],
            };
            talk.say(version, &request);
        }
    }
    let twice = DeleteGroupsRequest {
        groups_names: vec![group.to_owned(), group.to_owned()],
    };
    talk.say(1, &twice);
}

fn delete_offsets(talk: &mut Talk, group: &str) {
    for name in [group, "no such group", ""] {
        for (topic, partition) in [(TOPIC, 1), (TOPIC, 7), ("no-such-topic", 0)] {
            let request = OffsetDeleteRequest {
                group_id: name.to_owned(),
                topics: vec![OffsetDeleteRequestTopic {
                    name: topic.to_owned(),
                    partitions: vec![OffsetDeleteRequestPartition {
                        partition_index: partition,
                    }],
                }],
            };
            talk.say(0, &request);
        }
    }
}

/// A group of another kind, and one that only keeps offsets.
fn other_kinds(talk: &mut Talk) {
    let group = "workers";
    let request = JoinGroupRequest {
        protocol_type: "connect".to_owned(),
        protocols: vec![protocol("range", "x")],
        ..join(group, "x")
    };
    let joined = talk.join(3, &request);
    talk.sync(2, group, &joined);
    describe(talk, group);
    list(talk, group);
    delete_offsets(talk, group);
    talk.say(5, &commit("keeper", &[(TOPIC, 0, 1)]));
    describe(talk, "keeper");
    list(talk, "keeper");
    delete_offsets(talk, "keeper");
    delete(talk, "keeper");
    delete(talk, "keeper");
}
