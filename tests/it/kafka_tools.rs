//! Kafka's own tools against `nyala dev`: what their users see must be what Kafka would show.
//!
//! Set `NYALA_TEST_KAFKA=1` to run the same tests against a real Kafka, which is how they were made.

use std::path::{Path, PathBuf};

use harness::cluster::Dev;
use harness::folder::in_memory;
use harness::kafka::{KafkaBroker, tool, tool_reading};
use harness::zookeeper::RealZooKeeper;
use tempfile::TempDir;

/// The broker under test.
enum Peer {
    Ours(Dev),
    Kafka {
        broker: KafkaBroker,
        _zookeeper: RealZooKeeper,
        folder: TempDir,
    },
}

impl Peer {
    fn start() -> Self {
        if std::env::var_os("NYALA_TEST_KAFKA").is_none() {
            return Self::Ours(Dev::start());
        }
        let folder = in_memory();
        let zookeeper = RealZooKeeper::start(folder.path());
        let broker = KafkaBroker::start(folder.path(), 0, &zookeeper.address, &[]);
        Self::Kafka {
            broker,
            _zookeeper: zookeeper,
            folder,
        }
    }

    fn bootstrap(&self) -> String {
        match self {
            Self::Ours(dev) => dev.bootstrap(),
            Self::Kafka { broker, .. } => broker.address.clone(),
        }
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Ours(dev) => dev.folder(),
            Self::Kafka { folder, .. } => folder.path(),
        }
    }

    fn log_folder(&self) -> PathBuf {
        match self {
            Self::Ours(dev) => dev.log_folder(0),
            Self::Kafka { broker, .. } => broker.log_folder.clone(),
        }
    }

    fn stop(&mut self) {
        match self {
            Self::Ours(dev) => drop(dev.stop()),
            Self::Kafka { broker, .. } => drop(broker.process.terminate()),
        }
    }

    /// Runs a tool with `--bootstrap-server` and must see it succeed.
    fn tool(&self, class: &str, args: &[&str]) -> String {
        let bootstrap = self.bootstrap();
        let mut all = vec!["--bootstrap-server", &bootstrap];
        all.extend(args);
        tool(self.folder(), class, &all).expect_success(&format!("{class} {args:?}"))
    }

    fn create(&self, topic: &str, partitions: &str) {
        let args = ["--create", "--topic", topic, "--partitions", partitions];
        self.tool("TopicCommand", &args);
    }

    fn produce(&self, topic: &str, lines: &str) {
        let bootstrap = self.bootstrap();
        let args = ["--bootstrap-server", &bootstrap, "--topic", topic];
        tool_reading(self.folder(), "kafka.tools.ConsoleProducer", &args, lines)
            .expect_success("ConsoleProducer");
    }

    fn consume(&self, topic: &str, count: usize, more: &[&str]) -> Vec<String> {
        let count = count.to_string();
        let mut args = vec![
            "--topic",
            topic,
            "--max-messages",
            &count,
            "--timeout-ms",
            "30000",
        ];
        args.extend(more);
        let out = self.tool("consumer.ConsoleConsumer", &args);
        out.lines().map(str::to_owned).collect()
    }
}

fn numbered(count: usize) -> (String, Vec<String>) {
    let lines: Vec<String> = (0..count).map(|n| format!("record {n}")).collect();
    (lines.join("\n") + "\n", lines)
}

#[test]
fn topic_command_creates_describes_alters_and_deletes() {
    let peer = Peer::start();
    let config = [
        "--config",
        "segment.bytes=1048576",
        "--config",
        "cleanup.policy=compact,delete",
    ];
    let mut create = vec!["--create", "--topic", "orders", "--partitions", "3"];
    create.extend(config);
    let out = peer.tool("TopicCommand", &create);
    assert!(out.contains("Created topic orders."), "{out}");

    let out = peer.tool("TopicCommand", &["--describe", "--topic", "orders"]);
    assert!(out.contains("PartitionCount: 3"), "{out}");
    assert!(out.contains("ReplicationFactor: 1"), "{out}");
    assert!(out.contains("segment.bytes=1048576"), "{out}");
    assert!(out.contains("cleanup.policy=compact,delete"), "{out}");
    assert_eq!(out.matches("Leader: 0").count(), 3, "{out}");
    assert_eq!(out.matches("Isr: 0").count(), 3, "{out}");

    peer.tool(
        "TopicCommand",
        &["--alter", "--topic", "orders", "--partitions", "5"],
    );
    let out = peer.tool("TopicCommand", &["--describe", "--topic", "orders"]);
    assert!(out.contains("PartitionCount: 5"), "{out}");

    let bootstrap = peer.bootstrap();
    let again = [
        "--bootstrap-server",
        &bootstrap,
        "--create",
        "--topic",
        "orders",
    ];
    let refused = tool(peer.folder(), "TopicCommand", &again);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("Topic 'orders' already exists."), "{said}");
    let bad = [
        "--bootstrap-server",
        &bootstrap,
        "--create",
        "--topic",
        "x",
        "--config",
        "retention.ms=-5",
    ];
    let refused = tool(peer.folder(), "TopicCommand", &bad);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(
        said.contains("Invalid value -5 for configuration retention.ms"),
        "{said}"
    );

    peer.tool("TopicCommand", &["--delete", "--topic", "orders"]);
    let out = harness::wait::until("the topic to be gone", || {
        let out = peer.tool("TopicCommand", &["--list"]);
        if out.contains("orders") {
            Err(out)
        } else {
            Ok(out)
        }
    });
    assert!(!out.contains("orders"), "{out}");
}

#[test]
fn console_tools_and_groups() {
    let peer = Peer::start();
    peer.create("words", "1");
    let (text, lines) = numbered(500);
    peer.produce("words", &text);
    let got = peer.consume("words", 500, &["--from-beginning", "--group", "readers"]);
    assert_eq!(got, lines);

    let group = ["--describe", "--group", "readers"];
    let out = peer.tool("consumer.group.ConsumerGroupCommand", &group);
    let row = out.lines().find(|l| l.starts_with("readers")).unwrap_or("");
    let fields: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(
        fields.get(1..6),
        Some(["words", "0", "500", "500", "0"].as_slice()),
        "{out}"
    );
    let out = peer.tool(
        "consumer.group.ConsumerGroupCommand",
        &["--list", "--state"],
    );
    assert!(out.contains("readers"), "{out}");

    let reset = [
        "--group",
        "readers",
        "--topic",
        "words",
        "--reset-offsets",
        "--to-offset",
        "490",
        "--execute",
    ];
    peer.tool("consumer.group.ConsumerGroupCommand", &reset);
    let got = peer.consume("words", 10, &["--group", "readers"]);
    assert_eq!(got, lines[490..]);

    peer.tool(
        "consumer.group.ConsumerGroupCommand",
        &["--delete", "--group", "readers"],
    );
    let out = peer.tool("consumer.group.ConsumerGroupCommand", &["--list"]);
    assert!(!out.contains("readers"), "{out}");
}

#[test]
fn config_command_changes_a_topic_and_a_broker() {
    let peer = Peer::start();
    peer.create("logs", "1");
    let topic = ["--entity-type", "topics", "--entity-name", "logs"];
    let run = |more: &[&str]| {
        let mut args = topic.to_vec();
        args.extend(more);
        peer.tool("kafka.admin.ConfigCommand", &args)
    };
    let out = run(&[
        "--alter",
        "--add-config",
        "retention.ms=60000,max.message.bytes=2000000",
    ]);
    assert!(
        out.contains("Completed updating config for topic logs."),
        "{out}"
    );
    let out = run(&["--describe"]);
    assert!(out.contains("retention.ms=60000"), "{out}");
    assert!(out.contains("DYNAMIC_TOPIC_CONFIG:max.message.bytes=2000000, DEFAULT_CONFIG:message.max.bytes=1048588"), "{out}");
    run(&["--alter", "--delete-config", "retention.ms"]);
    let out = run(&["--describe"]);
    assert!(!out.contains("retention.ms"), "{out}");
    let out = run(&["--describe", "--all"]);
    assert!(
        out.contains("retention.ms=604800000 sensitive=false synonyms={}"),
        "{out}"
    );

    let broker = ["--entity-type", "brokers", "--entity-name", "0"];
    let mut alter = broker.to_vec();
    alter.extend(["--alter", "--add-config", "log.retention.ms=70000"]);
    peer.tool("kafka.admin.ConfigCommand", &alter);
    harness::wait::until("the broker to show it", || {
        let mut describe = broker.to_vec();
        describe.push("--describe");
        let out = peer.tool("kafka.admin.ConfigCommand", &describe);
        if out.contains("log.retention.ms=70000") {
            Ok(())
        } else {
            Err(out)
        }
    });
}

#[test]
fn verifiable_producer_and_consumer() {
    let peer = Peer::start();
    peer.create("verified", "2");
    let args = [
        "--topic",
        "verified",
        "--max-messages",
        "2000",
        "--throughput",
        "-1",
    ];
    let out = peer.tool("VerifiableProducer", &args);
    assert_eq!(
        out.matches("producer_send_success").count(),
        2000,
        "{}",
        last_line(&out)
    );
    let args = [
        "--topic",
        "verified",
        "--group-id",
        "verifiers",
        "--max-messages",
        "2000",
        "--reset-policy",
        "earliest",
    ];
    let out = peer.tool("VerifiableConsumer", &args);
    let consumed: usize = out
        .lines()
        .filter(|l| l.contains("\"records_consumed\""))
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
        .filter_map(|v| v.get("count").and_then(serde_json::Value::as_u64))
        .filter_map(|count| usize::try_from(count).ok())
        .sum();
    assert!(consumed >= 2000, "{consumed} consumed: {}", last_line(&out));
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or("")
}

#[test]
fn performance_offsets_folders_and_a_dump_of_the_files() {
    let mut peer = Peer::start();
    peer.create("perf", "1");
    let bootstrap = format!("bootstrap.servers={}", peer.bootstrap());
    let args = [
        "--topic",
        "perf",
        "--num-records",
        "20000",
        "--record-size",
        "100",
        "--throughput",
        "-1",
        "--producer-props",
        &bootstrap,
        "acks=all",
        "compression.type=lz4",
    ];
    let out =
        tool(peer.folder(), "ProducerPerformance", &args).expect_success("ProducerPerformance");
    assert!(out.contains("20000 records sent"), "{out}");
    let out = peer.tool("GetOffsetShell", &["--topic", "perf"]);
    assert!(out.contains("perf:0:20000"), "{out}");
    let out = peer.tool("GetOffsetShell", &["--topic", "perf", "--time", "earliest"]);
    assert!(out.contains("perf:0:0"), "{out}");
    let out = peer.tool("LogDirsCommand", &["--describe", "--topic-list", "perf"]);
    let json = out.lines().find(|l| l.starts_with('{')).unwrap_or("{}");
    let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let size = json.pointer("/brokers/0/logDirs/0/partitions/0/size");
    assert!(
        size.and_then(serde_json::Value::as_u64) > Some(1000),
        "{out}"
    );

    peer.stop();
    let folder = peer.log_folder().join("perf-0");
    let files: Vec<String> = std::fs::read_dir(&folder)
        .expect("the partition's folder")
        .filter_map(|entry| Some(entry.ok()?.path().to_string_lossy().into_owned()))
        .filter(|path| {
            [".log", ".index", ".timeindex"]
                .iter()
                .any(|end| path.ends_with(end))
        })
        .collect();
    assert!(files.len() >= 3, "{files:?}");
    let args = ["--deep-iteration", "--files", &files.join(",")];
    let out =
        tool(peer.folder(), "kafka.tools.DumpLogSegments", &args).expect_success("DumpLogSegments");
    let records = out.lines().filter(|l| l.starts_with("| offset:")).count();
    assert_eq!(records, 20000, "{}", last_line(&out));
    assert!(out.contains("isvalid: true") && !out.contains("isvalid: false"));
    for complaint in [
        "Mismatches",
        "mismatches",
        "out of order",
        "non-consecutive",
        "Found timestamp mismatch",
    ] {
        assert!(!out.contains(complaint), "{complaint}");
    }
}
