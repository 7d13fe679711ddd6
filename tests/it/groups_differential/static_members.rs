//! Members with an identity of their own (KIP-345): fencing, and restarts without rebalance.

use nyala_client::wire::messages::heartbeat::HeartbeatRequest;
use nyala_client::wire::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use nyala_client::wire::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use nyala_client::wire::messages::offset_commit::OffsetCommitRequest;

use super::offsets::commit;
use super::talk::{Talk, join, protocol};

pub(super) fn script(talk: &mut Talk) {
    for version in [5, 8, 9] {
        restart(talk, version);
    }
    removal(talk);
}

fn member(group: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_instance_id: Some("box".to_owned()),
        ..join(group, "x")
    }
}

fn heartbeat(talk: &mut Talk, group: &str, member: &JoinGroupResponse, instance: &str) {
    let request = HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id: member.generation_id,
        member_id: member.member_id.clone(),
        group_instance_id: Some(instance.to_owned()),
    };
    talk.say(4, &request);
}

/// The same instance comes back without its id, as leader of a stable group.
fn restart(talk: &mut Talk, version: i16) {
    let group = format!("static-{version}");
    let first = talk.join(version, &member(&group));
    talk.sync(3, &group, &first);
    heartbeat(talk, &group, &first, "box");
    heartbeat(talk, &group, &first, "other");
    let second = talk.join(version, &member(&group));
    talk.sync(3, &group, &second);
    // The first one is fenced wherever it names its instance, and unknown where it does not.
    heartbeat(talk, &group, &first, "box");
    let old = JoinGroupRequest {
        member_id: first.member_id.clone(),
        ..member(&group)
    };
    talk.join(version, &old);
    let nameless = JoinGroupRequest {
        group_instance_id: None,
        ..old
    };
    talk.join(version, &nameless);
    let fenced = OffsetCommitRequest {
        member_id: first.member_id.clone(),
        generation_id_or_member_epoch: first.generation_id,
        group_instance_id: Some("box".to_owned()),
        ..commit(&group, &[(super::talk::TOPIC, 0, 5)])
    };
    talk.say(7, &fenced);
    heartbeat(talk, &group, &second, "box");
    // Once more, with another protocol in front: that changes the choice, so it rebalances.
    let changed = JoinGroupRequest {
        protocols: vec![protocol("sticky", "x"), protocol("range", "x")],
        ..member(&group)
    };
    let third = talk.join(version, &changed);
    heartbeat(talk, &group, &third, "box");
    // An instance that nobody holds, under an id that is known.
    let wrong = JoinGroupRequest {
        member_id: third.member_id.clone(),
        group_instance_id: Some("nobody".to_owned()),
        ..member(&group)
    };
    talk.join(version, &wrong);
}

/// An administrator removes members by their instance.
fn removal(talk: &mut Talk) {
    let group = "static-removal";
    let joined = talk.join(5, &member(group));
    talk.sync(3, group, &joined);
    let identity = |member_id: &str, instance: Option<&str>| MemberIdentity {
        member_id: member_id.to_owned(),
        group_instance_id: instance.map(str::to_owned),
        reason: None,
    };
    let members = [
        identity("", Some("nobody")),
        identity("somebody", Some("box")),
        identity(&joined.member_id, Some("nobody")),
        identity("", None),
        identity("", Some("box")),
        identity("", Some("box")),
    ];
    for version in 3..=5 {
        let request = LeaveGroupRequest {
            group_id: group.to_owned(),
            members: members.to_vec(),
            ..LeaveGroupRequest::default()
        };
        talk.say(version, &request);
    }
    heartbeat(talk, group, &joined, "box");
}
