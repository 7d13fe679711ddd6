//! `__consumer_offsets` as a file: Kafka's own tools read ours, and folders move both ways.

use std::fs;
use std::path::Path;

use harness::cluster::{Dev, kcat};
use harness::folder::in_memory;
use harness::kafka::{KafkaBroker, tool};
use harness::wait;
use harness::wire::Caller;
use harness::zookeeper::RealZooKeeper;
use nyala_client::wire::messages::describe_groups::DescribeGroupsRequest;
use nyala_client::wire::messages::heartbeat::HeartbeatRequest;
use nyala_client::wire::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use nyala_client::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use nyala_client::wire::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use nyala_client::wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

const OVERRIDES: &[&str] = &[
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=1",
];

/// Runs a tool that must end well; its output.
fn ok(folder: &Path, class: &str, args: &[&str]) -> String {
    tool(folder, class, args).expect_success(&format!("{class} {args:?}"))
}

fn create(folder: &Path, bootstrap: &str) {
    let args = ["--create", "--topic", "t", "--partitions", "1"];
    let args = [&["--bootstrap-server", bootstrap], &args[..]].concat();
    ok(folder, "TopicCommand", &args);
}

fn commit(group: &str, offset: i64, metadata: &str) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: -1,
        retention_time_ms: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".to_owned(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: offset,
                committed_leader_epoch: 4,
                committed_metadata: Some(metadata.to_owned()),
            }],
        }],
        ..OffsetCommitRequest::default()
    }
}

/// A stable group of one static member, with an offset; and one that only keeps an offset.
fn fill(address: &str) -> JoinGroupResponse {
    let mut caller = Caller::connect(address, "client");
    let simple = commit("simple", 7, "just so");
    wait::until("a coordinator", || {
        let find = nyala_client::wire::messages::find_coordinator::FindCoordinatorRequest {
            key: "simple".to_owned(),
            ..Default::default()
        };
        let found = caller.call(2, &find).error_code;
        let code = caller.call(6, &simple).topics[0].partitions[0].error_code;
        if code == 0 {
            Ok(())
        } else {
            Err((found, code))
        }
    });
    let join = JoinGroupRequest {
        group_id: "g".to_owned(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 70_000,
        group_instance_id: Some("box".to_owned()),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: vec![0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 0].into(),
        }],
        ..JoinGroupRequest::default()
    };
    let joined = caller.call(5, &join);
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    // One partition of one topic, in the form of consumers.
    let mut share = vec![0, 0, 0, 0, 0, 1, 0, 1, b't'];
    share.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let sync = SyncGroupRequest {
        group_id: "g".to_owned(),
        generation_id: 1,
        member_id: joined.member_id.clone(),
        group_instance_id: Some("box".to_owned()),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: joined.member_id.clone(),
            assignment: share.into(),
        }],
        ..SyncGroupRequest::default()
    };
    assert_eq!(caller.call(3, &sync).error_code, 0);
    let own = OffsetCommitRequest {
        generation_id_or_member_epoch: 1,
        member_id: joined.member_id.clone(),
        ..commit("g", 42, "of the group")
    };
    assert_eq!(caller.call(6, &own).topics[0].partitions[0].error_code, 0);
    joined
}

/// What `fill` wrote is known: the member lives, the offsets are there.
fn check(address: &str, joined: &JoinGroupResponse) {
    let mut caller = Caller::connect(address, "client");
    let heartbeat = HeartbeatRequest {
        group_id: "g".to_owned(),
        generation_id: 1,
        member_id: joined.member_id.clone(),
        group_instance_id: Some("box".to_owned()),
    };
    let describe = DescribeGroupsRequest {
        groups: vec!["g".to_owned()],
        include_authorized_operations: false,
    };
    let group = wait::until("the groups to be loaded", || {
        let group = caller.call(5, &describe).groups.remove(0);
        if group.error_code == 0 {
            Ok(group)
        } else {
            Err(group.error_code)
        }
    });
    assert_eq!(caller.call(3, &heartbeat).error_code, 0);
    assert_eq!(
        (&*group.group_state, &*group.protocol_data),
        ("Stable", "range")
    );
    let member = &group.members[0];
    assert_eq!(member.member_id, joined.member_id);
    assert_eq!(member.group_instance_id.as_deref(), Some("box"));
    assert_eq!(
        (&*member.client_id, &*member.client_host),
        ("client", "/127.0.0.1")
    );
    assert_eq!(
        (member.member_metadata.len(), member.member_assignment.len()),
        (13, 21)
    );
    for (group, offset, words) in [("g", 42, "of the group"), ("simple", 7, "just so")] {
        let fetch = OffsetFetchRequest {
            group_id: group.to_owned(),
            topics: Some(vec![OffsetFetchRequestTopic {
                name: "t".to_owned(),
                partition_indexes: vec![0],
            }]),
            ..OffsetFetchRequest::default()
        };
        let fetched = caller.call(5, &fetch);
        let partition = &fetched.topics[0].partitions[0];
        assert_eq!(
            (partition.committed_offset, partition.committed_leader_epoch),
            (offset, 4)
        );
        assert_eq!(partition.metadata.as_deref(), Some(words));
    }
}

#[test]
fn kafkas_tools_read_our_offsets_partition() {
    let mut dev = Dev::start_with_overrides(OVERRIDES);
    create(dev.folder(), &dev.bootstrap());
    let joined = fill(&dev.bootstrap());
    // As records, through Kafka's own formatters.
    let formatted = |formatter: &str| {
        let formatter = format!("kafka.coordinator.group.GroupMetadataManager${formatter}");
        let args = [
            "--bootstrap-server",
            &dev.bootstrap(),
            "--topic",
            "__consumer_offsets",
            "--from-beginning",
            "--max-messages",
            "3",
            "--timeout-ms",
            "30000",
            "--formatter",
            &formatter,
        ];
        ok(dev.folder(), "consumer.ConsoleConsumer", &args)
    };
    let offsets = formatted("OffsetsMessageFormatter");
    assert!(
        offsets.contains(
            "[g,t,0]::OffsetAndMetadata(offset=42, leaderEpoch=Optional[4], metadata=of the group"
        ),
        "{offsets}"
    );
    assert!(
        offsets.contains(
            "[simple,t,0]::OffsetAndMetadata(offset=7, leaderEpoch=Optional[4], metadata=just so"
        ),
        "{offsets}"
    );
    let groups = formatted("GroupMetadataMessageFormatter");
    let id = &joined.member_id;
    for part in [
        "g::GroupMetadata(groupId=g, generation=1, protocolType=Some(consumer), currentState=Stable",
        &format!(
            "memberId={id}, groupInstanceId=Some(box), clientId=client, clientHost=/127.0.0.1"
        ),
        "sessionTimeoutMs=60000, rebalanceTimeoutMs=70000, supportedProtocols=List(range)",
    ] {
        assert!(groups.contains(part), "{part} is not in {groups}");
    }
    // As a file.
    dev.stop();
    let log = dev
        .log_folder(0)
        .join("__consumer_offsets-0/00000000000000000000.log");
    let args = [
        "--files",
        &log.to_string_lossy(),
        "--offsets-decoder",
        "--deep-iteration",
    ];
    let dump = ok(dev.folder(), "kafka.tools.DumpLogSegments", &args);
    for part in [
        r#"key: {"type":"1","data":{"group":"g","topic":"t","partition":0}}"#,
        r#""offset":42,"leaderEpoch":4,"metadata":"of the group""#,
        r#"key: {"type":"2","data":{"group":"g"}}"#,
        r#""protocolType":"consumer","generation":1,"protocol":"range""#,
    ] {
        assert!(dump.contains(part), "{part} is not in {dump}");
    }
}

#[test]
fn a_group_moves_from_kafka_to_ours_and_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = in_memory();
    let zookeeper = RealZooKeeper::start(memory.path());
    let settings = ["offsets.topic.num.partitions=1"];
    let mut kafka = KafkaBroker::start(folder.path(), 0, &zookeeper.address, &settings);
    create(folder.path(), &kafka.address);
    let joined = fill(&kafka.address);
    check(&kafka.address, &joined);
    let ended = kafka.process.terminate();
    assert!(ended.stderr.is_empty() || ended.status.code().is_some());
    let theirs = kafka
        .log_folder
        .join("__consumer_offsets-0/00000000000000000000.log");
    let written = fs::read(&theirs).expect("Kafka's file");

    // The same bytes under our own partition: both write them in the same form.
    let mut dev = Dev::start_with_overrides(OVERRIDES);
    create(dev.folder(), &dev.bootstrap());
    let ours = fill(&dev.bootstrap());
    dev.stop();
    let file = dev
        .log_folder(0)
        .join("__consumer_offsets-0/00000000000000000000.log");
    fs::write(&file, &written).expect("our folder");
    for stale in ["index", "timeindex", "snapshot"] {
        let _ = fs::remove_file(file.with_extension(stale));
    }
    dev.restart();
    check(&dev.bootstrap(), &joined);
    assert_ne!(ours.member_id, joined.member_id);

    // And back: Kafka reads what we wrote behind its own records.
    let mut caller = Caller::connect(&dev.bootstrap(), "client");
    let later = commit("simple", 8, "just so");
    assert_eq!(caller.call(6, &later).topics[0].partitions[0].error_code, 0);
    let back = commit("simple", 7, "just so");
    assert_eq!(caller.call(6, &back).topics[0].partitions[0].error_code, 0);
    dev.stop();
    let written = fs::read(&file).expect("our file");
    fs::write(&theirs, &written).expect("Kafka's folder");
    for stale in ["index", "timeindex", "snapshot"] {
        let _ = fs::remove_file(theirs.with_extension(stale));
    }
    let _ = fs::remove_file(kafka.log_folder.join(".kafka_cleanshutdown"));
    drop(kafka);
    let kafka = KafkaBroker::start(folder.path(), 0, &zookeeper.address, &settings);
    check(&kafka.address, &joined);
}

#[test]
fn group_command_shows_members_and_deletes_offsets() {
    let dev = Dev::start_with_overrides(OVERRIDES);
    let (folder, bootstrap) = (dev.folder(), dev.bootstrap());
    create(folder, &bootstrap);
    let joined = fill(&bootstrap);
    let groups = |args: &[&str]| {
        let all = [&["--bootstrap-server", bootstrap.as_str()], args].concat();
        tool(folder, "consumer.group.ConsumerGroupCommand", &all)
    };
    let said = |args: &[&str]| {
        let ended = groups(args);
        ended.stdout + &ended.stderr
    };
    let out = said(&["--list", "--state"]);
    assert!(
        out.lines()
            .any(|l| l.split_whitespace().eq(["g", "Stable"])),
        "{out}"
    );
    assert!(
        out.lines()
            .any(|l| l.split_whitespace().eq(["simple", "Empty"])),
        "{out}"
    );
    let out = said(&["--describe", "--group", "g", "--members", "--verbose"]);
    assert!(
        out.contains(&joined.member_id) && out.contains("box") && out.contains("(0)"),
        "{out}"
    );
    let out = said(&["--describe", "--group", "g", "--state"]);
    assert!(out.contains("range") && out.contains("Stable"), "{out}");
    let out = said(&["--describe", "--all-groups"]);
    assert!(out.contains(" 42 ") && out.contains(" 7 "), "{out}");
    let out = said(&["--describe", "--group", "nobody"]);
    assert!(out.contains("nobody' does not exist"), "{out}");
    let out = said(&["--delete", "--group", "g"]);
    assert!(out.contains("GroupNotEmptyException"), "{out}");
    let out = said(&["--delete-offsets", "--group", "g", "--topic", "t"]);
    assert!(
        out.contains("GroupSubscribedToTopicException") || out.contains("subscribed"),
        "{out}"
    );
    let out = said(&["--delete-offsets", "--group", "simple", "--topic", "t"]);
    assert!(out.contains("Successful"), "{out}");
    let out = said(&["--list"]);
    assert!(!out.lines().any(|l| l == "simple"), "{out}");
}

#[test]
fn kcat_reads_as_a_member_of_a_group() {
    let dev = Dev::start_with_overrides(OVERRIDES);
    let (folder, bootstrap) = (dev.folder(), dev.bootstrap());
    create(folder, &bootstrap);
    let file = folder.join("lines");
    fs::write(&file, "one\ntwo\nthree\n").expect("a file");
    let lines = file.to_string_lossy().into_owned();
    kcat(folder, &["-b", &bootstrap, "-t", "t", "-P", "-l", &lines]).expect_success("kcat -P");
    let args = ["-b", &bootstrap, "-X", "auto.offset.reset=earliest", "-q"];
    let read = |count: &str| {
        let group = ["-c", count, "-G", "kcats", "t"];
        kcat(folder, &[&args[..], &group].concat()).expect_success("kcat -G")
    };
    assert_eq!(read("2"), "one\ntwo\n");
    assert_eq!(read("1"), "three\n");
}
