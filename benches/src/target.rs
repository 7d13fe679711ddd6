//! The two sides: ours and a real Kafka 3.9.1, started the same way on free loopback ports.
//!
//! A [`Target`] stops the processes that it started, by pid, when it is dropped.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Which broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// `nyala dev`, with its ZooKeeper in the same process.
    Nyala,
    /// Apache Kafka with a ZooKeeper process of its own (whose CPU is not counted).
    Kafka,
}

impl Side {
    /// Name in tables and CSV.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nyala => "nyala",
            Self::Kafka => "kafka",
        }
    }
}

/// A running broker.
#[derive(Debug)]
pub(crate) struct Target {
    /// Which one it is.
    pub(crate) side: Side,
    /// `127.0.0.1:PORT` of the broker.
    pub(crate) address: String,
    /// Process whose CPU and memory are measured.
    pub(crate) pid: u32,
    /// From process start to a connection accepted, milliseconds; ZooKeeper's start included for
    /// ours, excluded for Kafka.
    pub(crate) ready_ms: f64,
    children: Vec<Child>,
    /// Everything of it: data, settings, output.
    pub(crate) folder: PathBuf,
}

impl Target {
    /// Starts `side` with its data under `folder` and waits until it accepts connections.
    pub(crate) fn start(side: Side, folder: &Path) -> Result<Self> {
        let folder = folder.join(side.name());
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        match side {
            Side::Nyala => start_nyala(folder),
            Side::Kafka => start_kafka(folder),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            // A killed benchmark target has nothing to lose; its folder goes with it.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds (or finds) the release binary; `NYALA_BINARY` names another.
pub(crate) fn nyala_binary() -> Result<PathBuf> {
    if let Ok(given) = std::env::var("NYALA_BINARY") {
        return Ok(given.into());
    }
    let built = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args([
            "build",
            "--release",
            "--quiet",
            "--package",
            "nyala",
            "--message-format=json",
        ])
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()?;
    if !built.status.success() {
        bail!("cargo build of the nyala binary failed");
    }
    String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
        .filter_map(|v| v["executable"].as_str().map(PathBuf::from))
        .next_back()
        .context("cargo named no executable")
}

/// Runs `nyala dev` on free ports.
fn start_nyala(folder: PathBuf) -> Result<Target> {
    let binary = nyala_binary()?;
    let started = Instant::now();
    let mut child = Command::new(binary)
        .args(["dev", "--port", "0", "--zookeeper-port", "0", "--data"])
        .arg(folder.join("data"))
        .args(["--override", "message.max.bytes=2000000"])
        .args(["--override", "log.retention.check.interval.ms=1000"])
        .args(["--override", "log.segment.delete.delay.ms=1000"])
        .stdout(Stdio::piped())
        .stderr(fs::File::create(folder.join("log"))?)
        .spawn()?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let ready = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .find(|l| l.starts_with("ready"))
        .with_context(|| format!("nyala did not get ready: see {}", folder.display()))?;
    let ready_ms = started.elapsed().as_secs_f64() * 1000.0;
    let address = ready
        .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ':')))
        .find(|w| w.starts_with("127.0.0.1:"))
        .with_context(|| format!("no broker address in {ready:?}"))?
        .to_owned();
    let pid = child.id();
    Ok(Target {
        side: Side::Nyala,
        address,
        pid,
        ready_ms,
        children: vec![child],
        folder,
    })
}

/// Class path of the real Kafka.
pub(crate) fn kafka_class_path() -> Result<String> {
    let fetched = Command::new(workspace().join("tests/kafka/fetch"))
        .stderr(Stdio::inherit())
        .output()
        .context("tests/kafka/fetch (it needs bash, java and mvn)")?;
    if !fetched.status.success() {
        bail!("tests/kafka/fetch failed");
    }
    Ok(String::from_utf8(fetched.stdout)?.trim().to_owned())
}

fn start_kafka(folder: PathBuf) -> Result<Target> {
    let class_path = kafka_class_path()?;
    let (zookeeper_port, port) = (free_port()?, free_port()?);
    let data = folder.join("zookeeper");
    let config = folder.join("zoo.cfg");
    let mut file = fs::File::create(&config)?;
    writeln!(
        file,
        "tickTime=2000\ndataDir={}\nclientPort={zookeeper_port}",
        data.display()
    )?;
    writeln!(
        file,
        "clientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0"
    )?;
    let java = |heap: &[&str], main: &str, config: &Path, log: &str| -> Result<Child> {
        Ok(Command::new("java")
            .args(heap)
            .arg(format!(
                "-Dlog4j.configuration=file:{}",
                workspace().join("tests/kafka/log4j.properties").display()
            ))
            .args(["-Djava.awt.headless=true", "-cp", &class_path, main])
            .arg(config)
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join(log))?)
            .spawn()?)
    };
    let quorum_peer = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
    let zookeeper = java(&["-Xmx256m"], quorum_peer, &config, "zookeeper.log")?;
    let mut children = vec![zookeeper];
    wait_for_port(zookeeper_port)?;
    let config = folder.join("server.properties");
    let mut file = fs::File::create(&config)?;
    writeln!(file, "broker.id=0\nlisteners=PLAINTEXT://127.0.0.1:{port}")?;
    writeln!(file, "log.dirs={}", folder.join("data").display())?;
    writeln!(
        file,
        "zookeeper.connect=127.0.0.1:{zookeeper_port}\nmessage.max.bytes=2000000"
    )?;
    writeln!(
        file,
        "offsets.topic.replication.factor=1\ngroup.initial.rebalance.delay.ms=0\n\
         log.retention.check.interval.ms=1000\nlog.initial.task.delay.ms=1000\n\
         log.segment.delete.delay.ms=1000"
    )?;
    let started = Instant::now();
    // Kafka's own start script uses these settings for the collector.
    let heap = [
        "-Xmx1G",
        "-Xms1G",
        "-server",
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=20",
    ];
    children.push(java(&heap, "kafka.Kafka", &config, "kafka.log")?);
    wait_for_port(port)?;
    let ready_ms = started.elapsed().as_secs_f64() * 1000.0;
    let pid = children.last().map_or(0, Child::id);
    Ok(Target {
        side: Side::Kafka,
        address: format!("127.0.0.1:{port}"),
        pid,
        ready_ms,
        children,
        folder,
    })
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub(crate) fn wait_for_port(port: u16) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > deadline {
            bail!("nothing listens on port {port} after 60 s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
