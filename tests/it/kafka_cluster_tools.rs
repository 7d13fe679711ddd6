//! Kafka's tools for whole clusters - reassignment, leader election, under-replicated partitions -
//! against three brokers of ours on a real ZooKeeper.
//!
//! Set `NYALA_TEST_KAFKA=1` to run the same tests against real brokers, which is how they were made.

use std::fs;

use harness::brokers::{Brokers, Coordination, Maker, Options, SESSION};
use harness::kafka::{tool, tool_reading};
use harness::rdkafka::read_all;
use harness::wait;
use harness::wire::Caller;
use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use nyala_coordinator::clock;

const REASSIGN: &str = "reassign.ReassignPartitionsCommand";
const ELECT: &str = "LeaderElectionCommand";

struct Cluster(Brokers);

impl Cluster {
    fn start(settings: &[&str]) -> Self {
        let real = std::env::var_os("NYALA_TEST_KAFKA").is_some();
        let maker = if real { Maker::Kafka } else { Maker::Nyala };
        Self(Brokers::start(Options {
            makers: vec![maker; 3],
            coordination: Coordination::Real,
            settings: settings.iter().map(|&s| s.to_owned()).collect(),
            ..Options::default()
        }))
    }

    /// What a tool says, whether it succeeds or not.
    fn say(&self, class: &str, args: &[&str]) -> String {
        let bootstrap = self.0.bootstrap();
        let mut all = vec!["--bootstrap-server", &bootstrap];
        all.extend(args);
        let ended = tool(self.0.folder(), class, &all);
        format!("{}{}", ended.stdout, ended.stderr)
    }

    /// Runs a tool that must succeed.
    fn tool(&self, class: &str, args: &[&str]) -> String {
        let bootstrap = self.0.bootstrap();
        let mut all = vec!["--bootstrap-server", &bootstrap];
        all.extend(args);
        tool(self.0.folder(), class, &all).expect_success(&format!("{class} {args:?}"))
    }

    /// Creates a topic with its replicas by hand, such as `0:1,1:2`.
    fn create(&self, topic: &str, replicas: &str, config: &[&str]) {
        let mut args = vec![
            "--create",
            "--topic",
            topic,
            "--replica-assignment",
            replicas,
        ];
        for pair in config {
            args.extend(["--config", pair]);
        }
        self.tool("TopicCommand", &args);
        self.0.znodes().wait_for_full_isr(topic);
    }

    /// Writes records of a thousand bytes.
    fn produce(&self, topic: &str, count: usize) {
        let lines: Vec<String> = (0..count).map(|n| format!("{n:01000}")).collect();
        let bootstrap = self.0.bootstrap();
        let args = ["--bootstrap-server", &bootstrap, "--topic", topic];
        let text = lines.join("\n") + "\n";
        tool_reading(self.0.folder(), "kafka.tools.ConsoleProducer", &args, &text)
            .expect_success("ConsoleProducer");
    }

    fn count(&self, topic: &str, partitions: i32) -> usize {
        let bootstrap = self.0.bootstrap();
        (0..partitions)
            .map(|p| read_all(&bootstrap, topic, p).len())
            .sum()
    }

    /// A file in the test's folder; its path.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.folder().join(name);
        fs::write(&path, text).expect("writable");
        path.to_string_lossy().into_owned()
    }

    fn describe(&self, topic: &str, what: &str) -> String {
        self.tool("TopicCommand", &["--describe", "--topic", topic, what])
    }

    /// Waits until the tool says that all is verified.
    fn verified(&self, plan: &str) -> String {
        let args = ["--verify", "--reassignment-json-file", plan];
        wait::until("the reassignment to be completed", || {
            let out = self.say(REASSIGN, &args);
            match out.contains("is completed") && !out.contains("in progress") {
                true => Ok(out),
                false => Err(out),
            }
        })
    }
}

/// A plan as the tool reads it: topic, partition, replicas.
fn plan(rows: &[(&str, i32, &str)]) -> String {
    let rows: Vec<String> = rows
        .iter()
        .map(|(topic, partition, replicas)| {
            format!(r#"{{"topic":"{topic}","partition":{partition},"replicas":[{replicas}]}}"#)
        })
        .collect();
    format!(r#"{{"version":1,"partitions":[{}]}}"#, rows.join(","))
}

#[test]
fn partitions_are_moved_throttled_and_verified() {
    let cluster = Cluster::start(&[]);
    cluster.create("move", "0:1,1:2", &[]);
    cluster.produce("move", 2000);

    let topics = cluster.file(
        "topics.json",
        r#"{"topics":[{"topic":"move"}],"version":1}"#,
    );
    let generate = [
        "--generate",
        "--topics-to-move-json-file",
        &topics,
        "--broker-list",
        "1,2",
    ];
    let out = cluster.tool(REASSIGN, &generate);
    assert!(
        out.contains("Proposed partition reassignment configuration"),
        "{out}"
    );

    let wanted = plan(&[("move", 0, "2,1"), ("move", 1, "0,2")]);
    let file = cluster.file("plan.json", &wanted);
    let execute = [
        "--execute",
        "--reassignment-json-file",
        &file,
        "--throttle",
        "50000000",
    ];
    let out = cluster.tool(REASSIGN, &execute);
    assert!(
        out.contains("Successfully started partition reassignments for move-0,move-1"),
        "{out}"
    );
    let out = cluster.verified(&file);
    assert!(
        out.contains("Reassignment of partition move-0 is completed."),
        "{out}"
    );
    assert!(
        out.contains("Clearing topic-level throttles on topic move"),
        "{out}"
    );
    let out = cluster.tool(REASSIGN, &["--list"]);
    assert!(out.contains("No partition reassignments found."), "{out}");

    let mut znodes = cluster.0.znodes();
    let replicas = znodes.replicas("move");
    assert_eq!(replicas.get(&0), Some(&vec![2, 1]));
    assert_eq!(replicas.get(&1), Some(&vec![0, 2]));
    znodes.wait_for_full_isr("move");
    assert_eq!(cluster.count("move", 2), 2000);
    // A replica that moved away leaves nothing behind.
    let left = cluster.0.nodes[0].log_folder.join("move-0");
    wait::until("the old replica to be gone", || {
        if left.exists() {
            Err(left.clone())
        } else {
            Ok(())
        }
    });
}

#[test]
fn a_move_that_the_throttle_holds_up_is_listed_and_cancelled() {
    let cluster = Cluster::start(&[]);
    cluster.create("stuck", "0:1", &[]);
    // More than one fetch of a follower takes: the first is free.
    cluster.produce("stuck", 8000);
    let file = cluster.file("plan.json", &plan(&[("stuck", 0, "0,2")]));
    let execute = [
        "--execute",
        "--reassignment-json-file",
        &file,
        "--throttle",
        "1",
    ];
    let out = cluster.tool(REASSIGN, &execute);
    assert!(
        out.contains("Successfully started partition reassignment"),
        "{out}"
    );
    let out = cluster.tool(REASSIGN, &["--list"]);
    assert!(
        out.contains("stuck-0: replicas: 0,2,1. adding: 2. removing: 1."),
        "{out}"
    );
    let verify = ["--verify", "--reassignment-json-file", &file];
    let out = cluster.say(REASSIGN, &verify);
    assert!(out.contains("stuck-0 is still in progress"), "{out}");
    let out = cluster.tool(REASSIGN, &["--cancel", "--reassignment-json-file", &file]);
    assert!(
        out.contains("Successfully cancelled partition reassignment for: stuck-0"),
        "{out}"
    );
    let out = cluster.tool(REASSIGN, &["--list"]);
    assert!(out.contains("No partition reassignments found."), "{out}");
    let replicas = cluster.0.znodes().replicas("stuck");
    assert_eq!(replicas.get(&0), Some(&vec![0, 1]));
    assert_eq!(cluster.count("stuck", 1), 8000);
}

#[test]
fn preferred_leaders_are_elected() {
    let mut cluster = Cluster::start(&[]);
    cluster.create("lead", "0:1:2,1:2:0", &[]);
    cluster.0.node(0).stop();
    let mut znodes = cluster.0.znodes();
    znodes.wait_for_state("lead", 0, "another leader", |s| s.leader > 0);
    cluster.0.node(0).start();
    znodes.wait_for_full_isr("lead");
    let one = [
        "--election-type",
        "preferred",
        "--topic",
        "lead",
        "--partition",
        "0",
    ];
    let out = cluster.tool(ELECT, &one);
    assert!(
        out.contains("Successfully completed leader election (PREFERRED) for partitions lead-0"),
        "{out}"
    );
    assert_eq!(znodes.state("lead", 0).map(|s| s.leader), Some(0));
    let out = cluster.tool(ELECT, &one);
    assert!(
        out.contains("Valid replica already elected for partitions lead-0"),
        "{out}"
    );
    let all = ["--election-type", "preferred", "--all-topic-partitions"];
    cluster.tool(ELECT, &all);
    let unknown = [
        "--election-type",
        "preferred",
        "--topic",
        "nothing",
        "--partition",
        "0",
    ];
    let out = cluster.say(ELECT, &unknown);
    assert!(out.contains("UnknownTopicOrPartitionException"), "{out}");
}

/// A topic `last` with ten records on brokers 0 and 1, of which the first is the only one in sync by now.
fn one_left_in_sync() -> Cluster {
    let mut cluster = Cluster::start(&["min.insync.replicas=1"]);
    cluster.create("last", "0:1", &[]);
    cluster.produce("last", 10);
    cluster.0.node(1).stop();
    let mut znodes = cluster.0.znodes();
    znodes.wait_for_state("last", 0, "the leader alone", |s| s.isr == [0]);
    cluster
}

#[test]
fn an_unclean_leader_is_elected_by_hand_only() {
    let mut cluster = one_left_in_sync();
    let mut znodes = cluster.0.znodes();
    cluster.produce("last", 5);
    cluster.0.node(0).kill();
    znodes.wait_for_state("last", 0, "no leader", |s| s.leader == -1);
    cluster.0.node(1).start();
    let out = cluster.describe("last", "--unavailable-partitions");
    assert!(out.contains("Leader: none"), "{out}");
    assert!(out.contains("Isr: 0"), "{out}");
    elect_the_unclean(&cluster);
    let state = znodes.state("last", 0).expect("there");
    assert_eq!((state.leader, state.isr), (1, vec![1]));
    assert_eq!(
        cluster.count("last", 1),
        10,
        "what only the other had is lost"
    );
}

fn elect_the_unclean(cluster: &Cluster) {
    let elect = [
        "--election-type",
        "unclean",
        "--topic",
        "last",
        "--partition",
        "0",
    ];
    let out = cluster.tool(ELECT, &elect);
    assert!(
        out.contains("Successfully completed leader election (UNCLEAN) for partitions last-0"),
        "{out}"
    );
}

/// As with Kafka: what waits for a broker that is down is gone for everybody else.
#[test]
fn a_topic_is_deleted_while_one_of_its_brokers_is_down() {
    let mut cluster = Cluster::start(&[
        "default.replication.factor=1",
        "auto.create.topics.enable=true",
    ]);
    cluster.create("last", "0:1", &[]);
    cluster.create("kept", "0:1", &[]);
    cluster.produce("last", 10);
    cluster.0.node(1).stop();
    cluster.tool("TopicCommand", &["--delete", "--topic", "last"]);
    let listed = cluster.tool("TopicCommand", &["--list"]);
    assert_eq!(listed.trim(), "kept");
    let again = ["--create", "--topic", "last", "--replica-assignment", "0:2"];
    let out = cluster.say("TopicCommand", &again);
    assert!(
        out.contains("Topic 'last' is marked for deletion."),
        "{out}"
    );
    // Who would have it made by asking is to ask again.
    let asked = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("last".into()),
            ..MetadataRequestTopic::default()
        }]),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    let address = cluster.0.node(0).address.clone();
    let answer = Caller::connect(&address, "asks").call(9, &asked);
    let error = ErrorCode::from(answer.topics[0].error_code);
    assert_eq!(error, ErrorCode::LeaderNotAvailable);
    // One that led it starts at once, and leads nothing of it.
    cluster.0.node(0).stop();
    cluster.0.node(0).start();
    assert_eq!(cluster.tool("TopicCommand", &["--list"]).trim(), "kept");
    cluster.0.node(1).start();
    let mut znodes = cluster.0.znodes();
    wait::until("its znode to go", || match znodes.state("last", 0) {
        None => Ok(()),
        state => Err(state),
    });
    cluster.create("last", "0:1", &[]);
    assert_eq!(cluster.count("last", 1), 0);
}

/// It was the only one in sync: if it led with nothing, the other copy would be cut down to that.
#[test]
fn a_replaced_disk_is_not_trusted_however_often_its_broker_starts() {
    let mut cluster = one_left_in_sync();
    let mut znodes = cluster.0.znodes();
    let node = cluster.0.node(0);
    node.kill();
    fs::remove_dir_all(&node.log_folder).expect("removable");
    znodes.wait_for_state("last", 0, "no leader", |s| s.leader == -1);
    cluster.0.node(1).start();
    for round in 0..3 {
        cluster.0.node(0).start();
        // It may be named, and declines.
        let begun = clock::now();
        wait::until("a session's time", || {
            (begun.elapsed() > SESSION).then_some(()).ok_or(())
        });
        znodes.wait_for_state("last", 0, "no leader", |s| s.leader == -1);
        if round == 0 {
            // A move that would leave nothing but the lost one does not end while that does not lead.
            let file = cluster.file("to-0.json", &plan(&[("last", 0, "0")]));
            cluster.tool(REASSIGN, &["--execute", "--reassignment-json-file", &file]);
        }
        if round < 2 {
            cluster.0.node(0).kill();
        }
    }
    assert_eq!(znodes.replicas("last").get(&0), Some(&vec![0, 1]));
    let file = cluster.file("to-0.json", &plan(&[("last", 0, "0")]));
    let cancel = ["--cancel", "--reassignment-json-file", &file];
    let out = cluster.tool(REASSIGN, &cancel);
    assert!(out.contains("Successfully cancelled"), "{out}");
    elect_the_unclean(&cluster);
    znodes.wait_for_full_isr("last");
    assert_eq!(cluster.count("last", 1), 10);
    // Trusted again, it leads when it is alone.
    cluster.0.node(1).stop();
    znodes.wait_for_state("last", 0, "it leads", |s| s.leader == 0);
    cluster.0.node(0).kill();
    cluster.0.node(0).start();
    znodes.wait_for_state("last", 0, "it leads", |s| s.leader == 0);
    assert_eq!(cluster.count("last", 1), 10);
}

#[test]
fn topic_command_shows_what_is_under_replicated() {
    let mut cluster = Cluster::start(&[]);
    cluster.create("under", "0:1:2,1:2:0", &["min.insync.replicas=2"]);
    let under = "--under-replicated-partitions";
    assert_eq!(cluster.describe("under", under).trim(), "");
    cluster.0.node(2).kill();
    let mut znodes = cluster.0.znodes();
    for partition in 0..2 {
        znodes.wait_for_state("under", partition, "two in sync", |s| s.isr.len() == 2);
    }
    let out = cluster.describe("under", under);
    assert_eq!(out.matches("Replicas:").count(), 2, "{out}");
    assert!(
        out.contains("Isr: 0,1") || out.contains("Isr: 1,0"),
        "{out}"
    );
    let out = cluster.describe("under", "--at-min-isr-partitions");
    assert_eq!(out.matches("Replicas:").count(), 2, "{out}");
    let fewer = "--under-min-isr-partitions";
    assert_eq!(cluster.describe("under", fewer).trim(), "");
    cluster.0.node(1).kill();
    for partition in 0..2 {
        znodes.wait_for_state("under", partition, "one in sync", |s| s.isr == [0]);
    }
    let out = cluster.describe("under", fewer);
    assert_eq!(out.matches("Replicas:").count(), 2, "{out}");
    cluster.0.node(1).start();
    cluster.0.node(2).start();
    znodes.wait_for_full_isr("under");
    wait::until("nothing under-replicated", || {
        let out = cluster.describe("under", under);
        if out.trim().is_empty() {
            Ok(())
        } else {
            Err(out)
        }
    });
}
