//! Kafka 3.9.1's own tools against ours: what an operator types works unchanged.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::cluster::Dev;
use harness::kafka::{java, start_tool, tool};
use harness::wait;

/// Runs a tool that must end well; its output.
fn ok(folder: &Path, class: &str, args: &[&str]) -> String {
    tool(folder, class, args).expect_success(&format!("{class} {args:?}"))
}

/// Runs a tool with `input` as its standard input.
fn pipe(folder: &Path, class: &str, args: &[&str], input: &str) {
    let file = folder.join("stdin");
    fs::write(&file, input).expect("input file");
    let mut command: Command = java("256m", class, args);
    let status = command
        .stdin(fs::File::open(&file).expect("just written"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("java runs");
    assert!(status.success(), "{class} {args:?}: {status}");
}

fn create(folder: &Path, bootstrap: &str, topic: &str, partitions: &str) {
    let args = [
        "--bootstrap-server",
        bootstrap,
        "--create",
        "--topic",
        topic,
        "--partitions",
    ];
    let out = ok(folder, "TopicCommand", &[&args[..], &[partitions]].concat());
    assert!(out.contains(&format!("Created topic {topic}.")), "{out}");
}

#[test]
fn topic_command_creates_describes_alters_and_deletes() {
    let dev = Dev::start();
    let (folder, bootstrap) = (dev.folder(), dev.bootstrap());
    let topics = |args: &[&str]| {
        let all = [&["--bootstrap-server", bootstrap.as_str()], args].concat();
        tool(folder, "TopicCommand", &all)
    };
    let args = [
        "--create",
        "--topic",
        "orders",
        "--partitions",
        "3",
        "--replication-factor",
        "1",
    ];
    let with_config = [&args[..], &["--config", "retention.ms=3600000"]].concat();
    let out = topics(&with_config).expect_success("create");
    assert!(out.contains("Created topic orders."), "{out}");
    let again = topics(&args);
    assert!(!again.status.success());
    let said = again.stdout + &again.stderr;
    assert!(said.contains("Topic 'orders' already exists"), "{said}");

    let out = topics(&["--describe", "--topic", "orders"]).expect_success("describe");
    assert!(out.contains("PartitionCount: 3"), "{out}");
    assert!(out.contains("ReplicationFactor: 1"), "{out}");
    assert!(out.contains("retention.ms=3600000"), "{out}");
    assert_eq!(out.matches("Leader: ").count(), 3, "{out}");
    assert!(!out.contains("Leader: none"), "{out}");

    topics(&["--alter", "--topic", "orders", "--partitions", "5"]).expect_success("alter");
    wait::until("five partitions with leaders", || {
        let out = topics(&["--describe", "--topic", "orders"]).expect_success("describe");
        let five = out.contains("PartitionCount: 5") && !out.contains("Leader: none");
        if five { Ok(()) } else { Err(out) }
    });
    let out = topics(&["--list"]).expect_success("list");
    assert!(out.lines().any(|l| l == "orders"), "{out}");
    let out = topics(&["--describe", "--unavailable-partitions"]).expect_success("unavailable");
    assert_eq!(out.trim(), "");
    topics(&["--delete", "--topic", "orders"]).expect_success("delete");
    wait::until("the topic to be gone", || {
        let out = topics(&["--list"]).expect_success("list");
        if out.lines().any(|l| l == "orders") {
            Err(out)
        } else {
            Ok(())
        }
    });
    wait::until("its folders to be gone or renamed", || {
        let names = fs::read_dir(dev.log_folder(0)).map_err(|e| e.to_string())?;
        let names = names
            .map_while(Result::ok)
            .map(|e| e.file_name().into_string());
        let left: Vec<_> = names
            .filter_map(Result::ok)
            .filter(|n| n.starts_with("orders-"))
            .collect();
        if left.iter().all(|n| n.ends_with("-delete")) {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

#[test]
fn console_producer_and_consumer_pass_records_in_a_group() {
    let dev = Dev::start();
    let (folder, bootstrap) = (dev.folder(), dev.bootstrap());
    create(folder, &bootstrap, "chat", "2");
    let lines: String = (0..500)
        .map(|n| format!("key{}\tline {n}\n", n % 7))
        .collect();
    let args = [
        "--bootstrap-server",
        &bootstrap,
        "--topic",
        "chat",
        "--property",
        "parse.key=true",
    ];
    let codec = ["--compression-codec", "zstd"];
    pipe(
        folder,
        "kafka.tools.ConsoleProducer",
        &[&args[..], &codec].concat(),
        &lines,
    );
    let consume = |n: &str, extra: &[&str]| {
        let args = [
            "--bootstrap-server",
            &bootstrap,
            "--topic",
            "chat",
            "--group",
            "readers",
        ];
        let all = [
            &args[..],
            &["--max-messages", n, "--timeout-ms", "30000"],
            extra,
        ]
        .concat();
        ok(folder, "consumer.ConsoleConsumer", &all)
    };
    let mut got: Vec<String> = consume("500", &["--from-beginning"])
        .lines()
        .map(str::to_owned)
        .collect();
    let mut sent: Vec<String> = (0..500).map(|n| format!("line {n}")).collect();
    got.sort();
    sent.sort();
    assert_eq!(got, sent);
    // The group goes on behind what it has read.
    pipe(
        folder,
        "kafka.tools.ConsoleProducer",
        &args,
        "k\tone more\n",
    );
    assert_eq!(consume("1", &[]).trim(), "one more");
}

#[test]
fn consumer_group_command_describes_and_resets() {
    let dev = Dev::start();
    let (folder, bootstrap) = (dev.folder(), dev.bootstrap());
    create(folder, &bootstrap, "events", "1");
    let lines: String = (0..50).map(|n| format!("{n}\n")).collect();
    let args = ["--bootstrap-server", &bootstrap, "--topic", "events"];
    pipe(folder, "kafka.tools.ConsoleProducer", &args, &lines);
    let group = ["--group", "g", "--from-beginning", "--max-messages", "50"];
    ok(
        folder,
        "consumer.ConsoleConsumer",
        &[&args[..], &group].concat(),
    );
    let groups = |args: &[&str]| {
        let all = [&["--bootstrap-server", bootstrap.as_str()], args].concat();
        ok(folder, "consumer.group.ConsumerGroupCommand", &all)
    };
    assert_eq!(groups(&["--list"]).trim(), "g");
    let out = groups(&["--describe", "--group", "g"]);
    let row: Vec<&str> = out
        .lines()
        .find(|l| l.starts_with("g "))
        .unwrap_or("")
        .split_whitespace()
        .collect();
    // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG ...
    assert_eq!(
        row.get(1..6),
        Some(&["events", "0", "50", "50", "0"][..]),
        "{out}"
    );
    let out = groups(&["--describe", "--group", "g", "--state"]);
    assert!(out.contains("Empty"), "{out}");
    let reset = [
        "--reset-offsets",
        "--group",
        "g",
        "--topic",
        "events",
        "--to-offset",
        "20",
    ];
    groups(&[&reset[..], &["--execute"]].concat());
    let out = groups(&["--describe", "--group", "g"]);
    assert!(out.contains(" 20 "), "{out}");
    groups(&["--delete", "--group", "g"]);
    assert_eq!(groups(&["--list"]).trim(), "");
}

#[test]
fn config_command_alters_a_topic() {
    let dev = Dev::start();
    let (folder, bootstrap) = (dev.folder(), dev.bootstrap());
    create(folder, &bootstrap, "settings", "1");
    let config = |args: &[&str]| {
        let entity = ["--bootstrap-server", &bootstrap, "--entity-type", "topics"];
        let all = [&entity[..], &["--entity-name", "settings"], args].concat();
        tool(folder, "kafka.admin.ConfigCommand", &all)
    };
    config(&[
        "--alter",
        "--add-config",
        "retention.ms=1234567,max.message.bytes=5000",
    ])
    .expect_success("add");
    let out = config(&["--describe"]).expect_success("describe");
    assert!(out.contains("retention.ms=1234567"), "{out}");
    assert!(out.contains("DYNAMIC_TOPIC_CONFIG"), "{out}");
    let refused = config(&["--alter", "--add-config", "retention.ms=soon"]);
    let said = refused.stdout + &refused.stderr;
    assert!(said.contains("retention.ms"), "{said}");
    config(&["--alter", "--delete-config", "retention.ms"]).expect_success("delete");
    let out = config(&["--describe"]).expect_success("describe");
    assert!(!out.contains("retention.ms=1234567"), "{out}");
    assert!(out.contains("max.message.bytes=5000"), "{out}");
    let out = config(&["--describe", "--all"]).expect_success("describe all");
    assert!(out.contains("segment.bytes=1073741824"), "{out}");
}

#[test]
fn verifiable_producer_and_consumer_agree() {
    let dev = Dev::start();
    let (folder, bootstrap) = (dev.folder(), dev.bootstrap());
    create(folder, &bootstrap, "verified", "3");
    let args = ["--bootstrap-server", &bootstrap, "--topic", "verified"];
    let out = ok(
        folder,
        "VerifiableProducer",
        &[&args[..], &["--max-messages", "5000"]].concat(),
    );
    let acked = out.matches("\"name\":\"producer_send_success\"").count();
    assert_eq!(acked, 5000, "{}", &out[out.len().saturating_sub(2000)..]);
    assert!(
        !out.contains("producer_send_error"),
        "no record was refused"
    );
    let group = [
        "--group-id",
        "verifiers",
        "--reset-policy",
        "earliest",
        "--max-messages",
        "5000",
    ];
    let mut consumer = start_tool(folder, "VerifiableConsumer", &[&args[..], &group].concat());
    let ended = consumer.wait(Duration::from_secs(60));
    let count = |line: &str| {
        let behind = line.split("\"name\":\"records_consumed\"").nth(1)?;
        let behind = behind.split("\"count\":").nth(1)?;
        behind
            .split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse::<usize>()
            .ok()
    };
    let read: usize = ended.stdout.lines().filter_map(count).sum();
    assert_eq!(read, 5000, "{}", ended.stdout);
}

#[test]
fn producer_performance_and_get_offset_shell_count_the_same() {
    let dev = Dev::start();
    let (folder, bootstrap) = (dev.folder(), dev.bootstrap());
    create(folder, &bootstrap, "speed", "2");
    let server = format!("bootstrap.servers={bootstrap}");
    let args = [
        "--topic",
        "speed",
        "--num-records",
        "100000",
        "--record-size",
        "100",
    ];
    let props = [
        "--throughput",
        "-1",
        "--producer-props",
        &server,
        "acks=all",
    ];
    let out = ok(folder, "ProducerPerformance", &[&args[..], &props].concat());
    assert!(out.contains("100000 records sent"), "{out}");
    let shell = |time: &str| {
        let args = [
            "--bootstrap-server",
            &bootstrap,
            "--topic",
            "speed",
            "--time",
            time,
        ];
        let out = ok(folder, "GetOffsetShell", &args);
        out.lines()
            .filter_map(|l| l.rsplit(':').next()?.parse::<i64>().ok())
            .sum::<i64>()
    };
    assert_eq!(shell("latest"), 100_000);
    assert_eq!(shell("earliest"), 0);
}

#[test]
fn dump_log_segments_reads_our_files() {
    let mut dev = Dev::start();
    let bootstrap = dev.bootstrap();
    create(dev.folder(), &bootstrap, "dumped", "1");
    let server = format!("bootstrap.servers={bootstrap}");
    let args = [
        "--topic",
        "dumped",
        "--num-records",
        "20000",
        "--record-size",
        "100",
    ];
    let props = [
        "--throughput",
        "-1",
        "--producer-props",
        &server,
        "compression.type=lz4",
    ];
    ok(
        dev.folder(),
        "ProducerPerformance",
        &[&args[..], &props].concat(),
    );
    dev.stop();
    let partition = dev.log_folder(0).join("dumped-0");
    let file = |name: &str| partition.join(name).to_string_lossy().into_owned();
    let log = file("00000000000000000000.log");
    let dump = |args: &[&str]| ok(dev.folder(), "kafka.tools.DumpLogSegments", args);
    let out = dump(&["--deep-iteration", "--files", &log]);
    assert_eq!(
        out.matches("| offset: ").count(),
        20_000,
        "one line a record"
    );
    assert!(!out.contains("isvalid: false"));
    let rest = [
        "00000000000000000000.index",
        "00000000000000000000.timeindex",
    ]
    .map(file);
    for name in &rest {
        let out = dump(&["--index-sanity-check", "--files", name]);
        assert!(
            !out.contains("mismatch") && !out.contains("corrupt"),
            "{out}"
        );
        let out = dump(&["--verify-index-only", "--files", name]);
        assert!(
            !out.contains("Mismatches") && !out.contains("non monotonic"),
            "{out}"
        );
    }
}

#[test]
fn log_dirs_command_sees_sizes() {
    let dev = Dev::start();
    let (folder, bootstrap) = (dev.folder(), dev.bootstrap());
    create(folder, &bootstrap, "sized", "1");
    let args = ["--bootstrap-server", &bootstrap, "--topic", "sized"];
    pipe(
        folder,
        "kafka.tools.ConsoleProducer",
        &args,
        &"x".repeat(1000),
    );
    let args = [
        "--bootstrap-server",
        &bootstrap,
        "--describe",
        "--topic-list",
        "sized",
    ];
    let out = ok(folder, "LogDirsCommand", &args);
    let size = out
        .split("\"partition\":\"sized-0\",\"size\":")
        .nth(1)
        .unwrap_or("");
    let size: u64 = size
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap_or("")
        .parse()
        .unwrap_or(0);
    assert!((1000..2000).contains(&size), "{out}");
}
