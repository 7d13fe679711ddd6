//! Members without an identity of their own: refusals, generations, rebalances, leaving.

use nyala_client::wire::messages::heartbeat::HeartbeatRequest;
use nyala_client::wire::messages::join_group::JoinGroupRequest;
use nyala_client::wire::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use nyala_client::wire::messages::sync_group::SyncGroupRequest;

use super::talk::{Talk, join, protocol, sync};

pub(super) fn script(talk: &mut Talk) {
    refused_joins(talk);
    for version in 0..=9 {
        one_member(talk, version);
    }
    two_members(talk);
    unknown_groups(talk);
}

fn refused_joins(talk: &mut Talk) {
    let base = join("refused", "x");
    for session_timeout_ms in [-1, 0, 5999, 1_800_001] {
        let request = JoinGroupRequest {
            session_timeout_ms,
            ..base.clone()
        };
        talk.join(5, &request);
    }
    talk.join(
        5,
        &JoinGroupRequest {
            group_id: String::new(),
            ..base.clone()
        },
    );
    talk.join(
        5,
        &JoinGroupRequest {
            member_id: "nobody".to_owned(),
            ..base.clone()
        },
    );
    for version in [0, 3, 4, 5, 7, 9] {
        talk.join(
            version,
            &JoinGroupRequest {
                protocols: Vec::new(),
                ..base.clone()
            },
        );
        talk.join(
            version,
            &JoinGroupRequest {
                protocol_type: String::new(),
                ..base.clone()
            },
        );
    }
}

/// The whole life of a member, in one version of JoinGroup.
fn one_member(talk: &mut Talk, version: i16) {
    let group = format!("one-{version}");
    let mut joined = talk.join(version, &join(&group, "x"));
    if joined.error_code == 79 {
        let request = JoinGroupRequest {
            member_id: joined.member_id,
            ..join(&group, "x")
        };
        joined = talk.join(version, &request);
    }
    let sync_version = version.min(5);
    heartbeats(talk, &group, &joined.member_id, joined.generation_id);
    // Others that do not fit.
    let other = JoinGroupRequest {
        protocols: vec![protocol("sticky", "y")],
        ..join(&group, "y")
    };
    talk.join(version, &other);
    let other = JoinGroupRequest {
        protocol_type: "connect".to_owned(),
        ..join(&group, "y")
    };
    talk.join(version, &other);
    // The same member once more, while the group waits for the leader.
    let again = JoinGroupRequest {
        member_id: joined.member_id.clone(),
        ..join(&group, "x")
    };
    talk.join(version, &again);
    refused_syncs(
        talk,
        sync_version,
        &sync(sync_version, &group, &joined, "no"),
    );
    talk.sync(sync_version, &group, &joined);
    talk.sync(sync_version, &group, &joined);
    heartbeats(talk, &group, &joined.member_id, joined.generation_id);
    // The leader joins again: a new generation.
    let joined = talk.join(version, &again);
    talk.sync(sync_version, &group, &joined);
    leave(talk, version.min(5), &group, &joined.member_id);
    heartbeats(talk, &group, &joined.member_id, joined.generation_id);
    talk.join(version, &again);
}

fn refused_syncs(talk: &mut Talk, version: i16, good: &SyncGroupRequest) {
    let bad = [
        SyncGroupRequest {
            member_id: "nobody".to_owned(),
            ..good.clone()
        },
        SyncGroupRequest {
            generation_id: 77,
            ..good.clone()
        },
        SyncGroupRequest {
            group_id: String::new(),
            ..good.clone()
        },
        SyncGroupRequest {
            group_id: "no such group".to_owned(),
            ..good.clone()
        },
    ];
    for request in bad {
        talk.say(version, &request);
    }
    if version >= 3 {
        let instance = Some("nobody".to_owned());
        talk.say(
            version,
            &SyncGroupRequest {
                group_instance_id: instance,
                ..good.clone()
            },
        );
    }
    if version >= 5 {
        talk.say(
            version,
            &SyncGroupRequest {
                protocol_type: None,
                ..good.clone()
            },
        );
        talk.say(
            version,
            &SyncGroupRequest {
                protocol_name: None,
                ..good.clone()
            },
        );
        let other = Some("other".to_owned());
        talk.say(
            version,
            &SyncGroupRequest {
                protocol_type: other.clone(),
                ..good.clone()
            },
        );
        talk.say(
            version,
            &SyncGroupRequest {
                protocol_name: other,
                ..good.clone()
            },
        );
    }
}

fn heartbeats(talk: &mut Talk, group: &str, member: &str, generation: i32) {
    let good = HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id: generation,
        member_id: member.to_owned(),
        group_instance_id: None,
    };
    for version in 0..=4 {
        talk.say(version, &good);
    }
    talk.say(
        4,
        &HeartbeatRequest {
            generation_id: generation + 1,
            ..good.clone()
        },
    );
    talk.say(
        4,
        &HeartbeatRequest {
            generation_id: -1,
            ..good.clone()
        },
    );
    talk.say(
        4,
        &HeartbeatRequest {
            member_id: "nobody".to_owned(),
            ..good.clone()
        },
    );
    talk.say(
        4,
        &HeartbeatRequest {
            group_instance_id: Some("i".to_owned()),
            ..good.clone()
        },
    );
    talk.say(
        4,
        &HeartbeatRequest {
            group_id: String::new(),
            ..good
        },
    );
}

fn leave(talk: &mut Talk, version: i16, group: &str, member: &str) {
    let identity = |id: &str| MemberIdentity {
        member_id: id.to_owned(),
        ..MemberIdentity::default()
    };
    let mut request = LeaveGroupRequest {
        group_id: group.to_owned(),
        ..LeaveGroupRequest::default()
    };
    if version < 3 {
        request.member_id = "nobody".to_owned();
        talk.say(version, &request);
        request.member_id = member.to_owned();
        talk.say(version, &request);
    } else {
        let nobody = MemberIdentity {
            group_instance_id: Some("nobody".to_owned()),
            ..identity("")
        };
        request.members = vec![
            identity("nobody"),
            nobody,
            identity(member),
            identity(member),
        ];
        talk.say(version, &request);
    }
}

/// A second member comes: the first hears it, commits, rejoins, and both have a generation.
fn two_members(talk: &mut Talk) {
    let group = "two";
    let first = talk.join(3, &join(group, "x"));
    talk.sync(2, group, &first);
    let mut other = talk.connect("other");
    let correlation = other.send(3, &join(group, "y"));
    let heartbeat = HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id: first.generation_id,
        member_id: first.member_id.clone(),
        group_instance_id: None,
    };
    harness::wait::until("the rebalance", || {
        match talk.main.call(1, &heartbeat).error_code {
            27 => Ok(()),
            other => Err(other),
        }
    });
    talk.say(1, &heartbeat);
    talk.sync(2, group, &first);
    let again = JoinGroupRequest {
        member_id: first.member_id.clone(),
        ..join(group, "x")
    };
    let first = talk.join(3, &again);
    let mut second = other
        .receive::<JoinGroupRequest>(3, correlation)
        .expect("an answer");
    talk.note_join(3, &mut second);
    // The follower syncs first and waits; what it brings as assignment counts for nothing.
    let correlation = other.send(2, &sync(2, group, &second, "from a follower"));
    let mut shares = sync(2, group, &first, "of the leader");
    shares
        .assignments
        .extend(sync(2, group, &second, "of the follower").assignments);
    talk.say(2, &shares);
    let synced = other
        .receive::<SyncGroupRequest>(2, correlation)
        .expect("an answer");
    talk.note("SyncGroup of the follower", &synced);
    // A follower that joins with nothing new gets its generation, with something new a rebalance.
    let follower = JoinGroupRequest {
        member_id: second.member_id.clone(),
        ..join(group, "y")
    };
    let mut answer = other.call(3, &follower);
    talk.note_join(3, &mut answer);
    leave(talk, 0, group, &second.member_id);
    let again = JoinGroupRequest {
        member_id: first.member_id,
        ..join(group, "x")
    };
    talk.join(3, &again);
}

fn unknown_groups(talk: &mut Talk) {
    let identity = MemberIdentity {
        member_id: "x".to_owned(),
        ..MemberIdentity::default()
    };
    for group in ["no such group", ""] {
        for version in 0..=5 {
            let request = LeaveGroupRequest {
                group_id: group.to_owned(),
                member_id: if version < 3 {
                    "x".to_owned()
                } else {
                    String::new()
                },
                members: if version < 3 {
                    Vec::new()
                } else {
                    vec![identity.clone()]
                },
            };
            talk.say(version, &request);
        }
    }
    let empty = LeaveGroupRequest {
        group_id: "two".to_owned(),
        ..LeaveGroupRequest::default()
    };
    talk.say(5, &empty);
}
