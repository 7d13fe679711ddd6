//! Commits and fetches of offsets: with a group, without one, and with all that can be wrong.

use nyala_client::wire::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use nyala_client::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use nyala_client::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};

use super::talk::{TOPIC, Talk, join};

pub(super) fn script(talk: &mut Talk) {
    outside_of_groups(talk);
    within_a_group(talk);
    odd_requests(talk);
}

/// A commit from outside of group management.
pub(super) fn commit(group: &str, offsets: &[(&str, i32, i64)]) -> OffsetCommitRequest {
    let mut request = OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: -1,
        retention_time_ms: -1,
        ..OffsetCommitRequest::default()
    };
    for (topic, partition, offset) in offsets {
        request.topics.push(OffsetCommitRequestTopic {
            name: (*topic).to_owned(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: *partition,
                committed_offset: *offset,
                committed_leader_epoch: -1,
                committed_metadata: Some("words".to_owned()),
            }],
        });
    }
    request
}

/// Fetches in every version: some partitions, and all.
pub(super) fn fetch(talk: &mut Talk, group: &str) {
    let wanted = [(TOPIC, vec![0, 1, 7]), ("no-such-topic", vec![0])];
    for version in 1..=7 {
        let topics = wanted
            .iter()
            .map(|(name, indexes)| OffsetFetchRequestTopic {
                name: (*name).to_owned(),
                partition_indexes: indexes.clone(),
            });
        // One topic a request: the order of topics is nobody's promise.
        for topic in topics {
            let request = OffsetFetchRequest {
                group_id: group.to_owned(),
                topics: Some(vec![topic]),
                require_stable: version >= 7,
                ..OffsetFetchRequest::default()
            };
            fetch_sorted(talk, version, &request);
        }
        if version >= 2 {
            let all = OffsetFetchRequest {
                group_id: group.to_owned(),
                topics: None,
                ..OffsetFetchRequest::default()
            };
            fetch_sorted(talk, version, &all);
        }
    }
    for version in 8..=9 {
        let topics = OffsetFetchRequestTopics {
            name: TOPIC.to_owned(),
            partition_indexes: vec![0, 1],
        };
        let of = |group_id: &str, topics| OffsetFetchRequestGroup {
            group_id: group_id.to_owned(),
            member_id: None,
            member_epoch: -1,
            topics,
        };
        let request = OffsetFetchRequest {
            groups: vec![
                of(group, Some(vec![topics.clone()])),
                of(group, None),
                of("no such group", Some(vec![topics])),
                of("no such group", None),
            ],
            ..OffsetFetchRequest::default()
        };
        fetch_sorted(talk, version, &request);
    }
}

/// The order of partitions is nobody's promise.
fn fetch_sorted(talk: &mut Talk, version: i16, request: &OffsetFetchRequest) {
    let mut answer = talk.main.call(version, request);
    for topic in &mut answer.topics {
        topic.partitions.sort_by_key(|p| p.partition_index);
    }
    for topic in answer.groups.iter_mut().flat_map(|g| g.topics.iter_mut()) {
        topic.partitions.sort_by_key(|p| p.partition_index);
    }
    talk.note(&format!("OffsetFetch v{version}"), &answer);
}

fn outside_of_groups(talk: &mut Talk) {
    let group = "simple";
    fetch(talk, group);
    for version in 2..=9 {
        let offset = i64::from(version);
        talk.say(version, &commit(group, &[(TOPIC, 0, offset)]));
    }
    fetch(talk, group);
    let mut with_epoch = commit(group, &[(TOPIC, 1, 99)]);
    with_epoch.topics[0].partitions[0].committed_leader_epoch = 3;
    with_epoch.topics[0].partitions[0].committed_metadata = None;
    talk.say(6, &with_epoch);
    fetch(talk, group);
    // A generation or a member needs a group that has them.
    for (generation, member) in [(0, ""), (5, "x"), (-1, "x")] {
        let request = OffsetCommitRequest {
            generation_id_or_member_epoch: generation,
            member_id: member.to_owned(),
            ..commit(group, &[(TOPIC, 0, 1)])
        };
        talk.say(5, &request);
        talk.say(
            5,
            &OffsetCommitRequest {
                group_id: "never seen".to_owned(),
                ..request
            },
        );
    }
}

fn within_a_group(talk: &mut Talk) {
    let group = "members";
    let joined = talk.join(3, &join(group, "x"));
    let of = |joined: &JoinGroupResponse| OffsetCommitRequest {
        generation_id_or_member_epoch: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..commit(group, &[(TOPIC, 0, 10)])
    };
    // While the group waits for its leader nobody may commit.
    talk.say(5, &of(&joined));
    talk.sync(2, group, &joined);
    talk.say(5, &of(&joined));
    let refused = [
        OffsetCommitRequest {
            generation_id_or_member_epoch: 77,
            ..of(&joined)
        },
        OffsetCommitRequest {
            generation_id_or_member_epoch: -1,
            ..of(&joined)
        },
        OffsetCommitRequest {
            member_id: "nobody".to_owned(),
            ..of(&joined)
        },
        OffsetCommitRequest {
            member_id: String::new(),
            ..of(&joined)
        },
        commit(group, &[(TOPIC, 0, 1)]),
    ];
    for request in refused {
        talk.say(5, &request);
    }
    let instance = OffsetCommitRequest {
        group_instance_id: Some("nobody".to_owned()),
        ..of(&joined)
    };
    talk.say(7, &instance);
    fetch(talk, group);
    let again = JoinGroupRequest {
        member_id: joined.member_id.clone(),
        ..join(group, "x")
    };
    let next = talk.join(3, &again);
    talk.sync(2, group, &next);
    // The generation before is fenced.
    talk.say(5, &of(&joined));
    talk.say(5, &of(&next));
}

fn odd_requests(talk: &mut Talk) {
    let group = "odd";
    talk.say(5, &commit(group, &[]));
    talk.say(5, &commit(group, &[(TOPIC, 7, 1)]));
    talk.say(5, &commit(group, &[("no-such-topic", 0, 1)]));
    talk.say(5, &commit(group, &[("not/a/topic", 0, 1)]));
    talk.say(5, &commit("", &[(TOPIC, 0, 1)]));
    for length in [4096, 4097] {
        let mut long = commit(group, &[(TOPIC, 0, 1)]);
        long.topics[0].partitions[0].committed_metadata = Some("x".repeat(length));
        talk.say(5, &long);
    }
    let mut no_partitions = commit(group, &[(TOPIC, 0, 1)]);
    no_partitions.topics[0].partitions.clear();
    let answer = talk.main.call(5, &no_partitions);
    let codes: Vec<i16> = answer
        .topics
        .iter()
        .flat_map(|t| &t.partitions)
        .map(|p| p.error_code)
        .collect();
    talk.note("no partitions", &codes);
    fetch(talk, "");
    // A time of its own, which only versions 2 to 4 have.
    let own = OffsetCommitRequest {
        retention_time_ms: 3_600_000,
        ..commit(group, &[(TOPIC, 0, 8)])
    };
    talk.say(2, &own);
    fetch(talk, group);
}
