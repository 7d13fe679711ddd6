//! The real Apache Kafka 3.9.1 and its own tools, run from the jars that `tests/kafka/fetch` keeps.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::cluster::name_of;
use crate::ports::free_port;
use crate::process::{Ended, Process, run, run_reading};
use crate::wait;

/// Folder of the scripts and settings that come with the tests.
fn kafka_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka")
}

/// Class path of Kafka and ZooKeeper; fetched on first use unless it is in the cache.
#[must_use]
pub fn class_path() -> &'static str {
    static CLASS_PATH: OnceLock<String> = OnceLock::new();
    CLASS_PATH.get_or_init(|| {
        let output = Command::new(kafka_folder().join("fetch"))
            .output()
            .expect("tests/kafka/fetch runs");
        assert!(
            output.status.success(),
            "cannot fetch Apache Kafka: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}

/// `java CLASS ARGS...`, ready to be run.
#[must_use]
pub fn java(heap: &str, class: &str, args: &[&str]) -> Command {
    java_by(Command::new("java"), heap, class, args)
}

/// As [`java`], where `command` starts Java.
#[must_use]
pub fn java_by(mut command: Command, heap: &str, class: &str, args: &[&str]) -> Command {
    let log4j = kafka_folder().join("log4j.properties");
    command
        .arg(format!("-Xmx{heap}"))
        // Short-lived tools on few cores: the simple collector and the quick compiler start sooner.
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg(format!("-Dlog4j.configuration=file:{}", log4j.display()))
        .args(["-cp", class_path(), class])
        .args(args);
    command
}

/// Full name of a tool: short names are those of `org.apache.kafka.tools`.
fn tool_class(class: &str) -> String {
    if class.starts_with("kafka.") || class.starts_with("org.") {
        class.to_owned()
    } else {
        format!("org.apache.kafka.tools.{class}")
    }
}

/// Runs one of Kafka's own tools to its end.
#[must_use]
pub fn tool(folder: &Path, class: &str, args: &[&str]) -> Ended {
    let mut command = java("256m", &tool_class(class), args);
    command.current_dir(folder);
    run(
        &name_of("tool", &[class]),
        folder,
        &mut command,
        Duration::from_secs(120),
    )
}

/// Runs one of Kafka's own tools to its end with `input` as its standard input.
#[must_use]
pub fn tool_reading(folder: &Path, class: &str, args: &[&str], input: &str) -> Ended {
    let mut command = java("256m", &tool_class(class), args);
    command.current_dir(folder);
    run_reading(&name_of("tool", &[class]), folder, &mut command, input)
}

/// Starts one of Kafka's own tools that runs until it is stopped.
#[must_use]
pub fn start_tool(folder: &Path, class: &str, args: &[&str]) -> Process {
    let mut command = java("256m", &tool_class(class), args);
    command.current_dir(folder);
    Process::start(&name_of("tool", &[class]), folder, &mut command)
}

pub(crate) fn wait_for_port(process: &mut Process, address: &str) {
    wait::until("an answer on the port", || {
        assert!(process.is_running(), "it ended: {}", process.stderr());
        std::net::TcpStream::connect(address)
    });
}

/// Waits until the broker sees itself in its metadata: its port answers before that, and until then
/// it refuses to create topics for want of brokers.
pub(crate) fn wait_for_itself(address: &str) {
    let client: BaseConsumer = crate::rdkafka::config(address, &[])
        .create()
        .expect("legal settings");
    wait::until("the broker in its own metadata", || {
        match client.fetch_metadata(None, Duration::from_secs(5)) {
            Ok(metadata) if metadata.brokers().is_empty() => Err("no broker".to_owned()),
            Ok(_) => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    });
}

/// A real Kafka broker in ZooKeeper mode.
#[derive(Debug)]
pub struct KafkaBroker {
    /// The process.
    pub process: Process,
    /// `127.0.0.1:port`.
    pub address: String,
    /// Its log folder.
    pub log_folder: PathBuf,
}

impl KafkaBroker {
    /// Starts broker `id` on `zookeeper`, with its files in `folder` and `key=value` settings on top.
    #[must_use]
    pub fn start(folder: &Path, id: u32, zookeeper: &str, settings: &[&str]) -> Self {
        let port = free_port();
        let log_folder = folder.join(format!("kafka-{id}"));
        let address = format!("127.0.0.1:{port}");
        let mut text = format!(
            "broker.id={id}\nlisteners=PLAINTEXT://{address}\nlog.dirs={}\nzookeeper.connect={zookeeper}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n",
            log_folder.display()
        );
        for pair in settings {
            text.push_str(pair);
            text.push('\n');
        }
        let file = folder.join(format!("kafka-{id}.properties"));
        std::fs::write(&file, text).expect("properties file");
        let mut command = java("512m", "kafka.Kafka", &[&file.to_string_lossy()]);
        let mut process = Process::start(&format!("kafka-{id}"), folder, &mut command);
        wait_for_port(&mut process, &address);
        wait_for_itself(&address);
        Self {
            process,
            address,
            log_folder,
        }
    }
}
