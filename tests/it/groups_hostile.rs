//! Hostile group requests over the wire (`hostile-inputs.md`, 46 to 49): each has its code, the
//! broker lives on, and others are served.

use std::collections::HashSet;
use std::fs;

use harness::cluster::Dev;
use harness::wait;
use harness::wire::Caller;
use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::find_coordinator::FindCoordinatorRequest;
use nyala_client::wire::messages::heartbeat::HeartbeatRequest;
use nyala_client::wire::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use nyala_client::wire::messages::list_groups::ListGroupsRequest;
use nyala_client::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use nyala_client::wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

/// A broker with `__consumer_offsets` of one partition, which is loaded.
fn broker(overrides: &[&str]) -> (Dev, Caller) {
    let quick = [
        "group.initial.rebalance.delay.ms=0",
        "offsets.topic.num.partitions=1",
    ];
    let dev = Dev::start_with_overrides(&[&quick[..], overrides].concat());
    let mut caller = Caller::connect(&dev.bootstrap(), "hostile");
    wait::until("a coordinator", || {
        let find = FindCoordinatorRequest {
            key: "g".to_owned(),
            ..FindCoordinatorRequest::default()
        };
        let found = caller.call(2, &find).error_code;
        let listed = caller.call(0, &ListGroupsRequest::default()).error_code;
        if (found, listed) == (0, 0) {
            Ok(())
        } else {
            Err((found, listed))
        }
    });
    (dev, caller)
}

fn join(group: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: vec![1, 2, 3].into(),
        }],
        ..JoinGroupRequest::default()
    }
}

fn code(answer: &JoinGroupResponse) -> ErrorCode {
    ErrorCode::from_code(answer.error_code)
}

/// The broker serves others as before.
fn lives(dev: &Dev) {
    let mut caller = Caller::connect(&dev.bootstrap(), "other");
    let joined = caller.call(3, &join("lives"));
    assert_eq!(code(&joined), ErrorCode::None);
}

#[test]
fn hostile_46_joins_out_of_bounds_are_refused() {
    let (dev, mut caller) = broker(&[]);
    for session_timeout_ms in [i32::MIN, 0, 5999, 1_800_001, i32::MAX] {
        let request = JoinGroupRequest {
            session_timeout_ms,
            ..join("g")
        };
        assert_eq!(
            code(&caller.call(5, &request)),
            ErrorCode::InvalidSessionTimeout
        );
    }
    assert_eq!(code(&caller.call(5, &join(""))), ErrorCode::InvalidGroupId);
    let huge = JoinGroupRequest {
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: vec![0; 10 << 20].into(),
        }],
        ..join("g")
    };
    assert_eq!(code(&caller.call(5, &huge)), ErrorCode::InvalidRequest);
    let listed = caller.call(0, &ListGroupsRequest::default());
    assert!(listed.groups.is_empty(), "{listed:?}");
    lives(&dev);
}

#[test]
fn hostile_46_joins_without_follow_up_get_ids_and_leave_nothing() {
    let (dev, mut caller) = broker(&["group.max.size=2", "group.min.session.timeout.ms=100"]);
    let mut ids = HashSet::new();
    let flood = JoinGroupRequest {
        session_timeout_ms: 2000,
        ..join("flood")
    };
    for _ in 0..5000 {
        let answer = caller.call(4, &flood);
        assert_eq!(code(&answer), ErrorCode::MemberIdRequired);
        assert!(ids.insert(answer.member_id), "an id was given twice");
    }
    // The announced ones are forgotten, and so is the group that never was.
    wait::until("the group to be gone", || {
        let listed = caller.call(0, &ListGroupsRequest::default()).groups;
        if listed.is_empty() {
            Ok(())
        } else {
            Err(listed)
        }
    });
    // Above group.max.size nobody comes in.
    let mut others: Vec<Caller> = (0..2)
        .map(|n| Caller::connect(&dev.bootstrap(), &format!("m{n}")))
        .collect();
    let sent: Vec<i32> = others
        .iter_mut()
        .map(|c| c.send(3, &join("full")))
        .collect();
    wait::until("two members", || {
        let answer = caller.call(3, &join("full"));
        match code(&answer) {
            ErrorCode::GroupMaxSizeReached => Ok(()),
            other => Err(other),
        }
    });
    drop((others, sent));
    lives(&dev);
}

#[test]
fn hostile_47_syncs_of_followers_and_strangers_change_nothing() {
    let (dev, mut caller) = broker(&["group.initial.rebalance.delay.ms=500"]);
    let mut other = Caller::connect(&dev.bootstrap(), "other");
    let (first, second) = (caller.send(3, &join("g")), other.send(3, &join("g")));
    let mine = caller
        .receive::<JoinGroupRequest>(3, first)
        .expect("an answer");
    let theirs = other
        .receive::<JoinGroupRequest>(3, second)
        .expect("an answer");
    assert_eq!((mine.generation_id, theirs.generation_id), (1, 1));
    let (leader, follower) = match mine.leader == mine.member_id {
        true => ((&mut caller, &mine), (&mut other, &theirs)),
        false => ((&mut other, &theirs), (&mut caller, &mine)),
    };
    let sync = |member: &str, share: &'static str| SyncGroupRequest {
        group_id: "g".to_owned(),
        generation_id: 1,
        member_id: member.to_owned(),
        assignments: [&mine, &theirs]
            .iter()
            .map(|joined| SyncGroupRequestAssignment {
                member_id: joined.member_id.clone(),
                assignment: share.into(),
            })
            .collect(),
        ..SyncGroupRequest::default()
    };
    let stranger = Caller::connect(&dev.bootstrap(), "stranger").call(2, &sync("nobody", "x"));
    assert_eq!(stranger.error_code, ErrorCode::UnknownMemberId.code());
    let waiting = follower
        .0
        .send(2, &sync(&follower.1.member_id, "the follower's"));
    let synced = leader.0.call(2, &sync(&leader.1.member_id, "the leader's"));
    assert_eq!(synced.assignment, "the leader's");
    let synced = follower
        .0
        .receive::<SyncGroupRequest>(2, waiting)
        .expect("an answer");
    assert_eq!(synced.assignment, "the leader's");
}

#[test]
fn hostile_48_commits_are_answered_one_by_one() {
    let (dev, mut caller) = broker(&[]);
    let topic = ["--bootstrap", &dev.bootstrap(), "--partitions", "1"];
    harness::cluster::nyala(
        dev.folder(),
        &[&["topic", "create", "t"], &topic[..]].concat(),
    )
    .expect_success("topic create");
    let partition = |offset: i64, metadata: String| OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: offset,
        committed_leader_epoch: -1,
        committed_metadata: Some(metadata),
    };
    let commit = |partitions| OffsetCommitRequest {
        group_id: "g".to_owned(),
        generation_id_or_member_epoch: -1,
        retention_time_ms: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".to_owned(),
            partitions,
        }],
        ..OffsetCommitRequest::default()
    };
    let nothing = OffsetCommitRequest {
        topics: Vec::new(),
        ..commit(Vec::new())
    };
    assert!(caller.call(5, &nothing).topics.is_empty());
    assert!(
        caller.call(5, &commit(Vec::new())).topics[0]
            .partitions
            .is_empty()
    );
    let partitions = vec![
        partition(-7, String::new()),
        partition(1, "x".repeat(4097)),
        partition(2, "x".repeat(4096)),
        partition(3, String::new()),
    ];
    let answer = caller.call(5, &commit(partitions));
    let codes: Vec<i16> = answer.topics[0]
        .partitions
        .iter()
        .map(|p| p.error_code)
        .collect();
    assert_eq!(codes, [42, 12, 0, 0]);
    lives(&dev);
}

#[test]
fn hostile_49_a_storm_of_heartbeats_is_answered_and_costs_no_memory() {
    let (mut dev, mut caller) = broker(&[]);
    let joined = caller.call(3, &join("g"));
    let heartbeat = HeartbeatRequest {
        group_id: "g".to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id,
        group_instance_id: None,
    };
    let before = anonymous_kb(dev.process().pid());
    let mut others: Vec<Caller> = (0..4)
        .map(|n| Caller::connect(&dev.bootstrap(), &format!("s{n}")))
        .collect();
    for _ in 0..50 {
        // A hundred at a time on each of four connections.
        let sent: Vec<Vec<i32>> = others
            .iter_mut()
            .map(|c| (0..100).map(|_| c.send(3, &heartbeat)).collect())
            .collect();
        for (caller, sent) in others.iter_mut().zip(sent) {
            for correlation in sent {
                let answer = caller.receive::<HeartbeatRequest>(3, correlation);
                assert_eq!(answer.expect("an answer").error_code, 0);
            }
        }
    }
    let after = anonymous_kb(dev.process().pid());
    assert!(after < before + 32 * 1024, "from {before} to {after} kB");
    lives(&dev);
}

/// Anonymous memory of a process.
fn anonymous_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find(|l| l.starts_with("RssAnon:"))
        .expect("a line");
    line.split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number")
}
