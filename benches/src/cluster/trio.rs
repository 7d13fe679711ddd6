//! Three brokers of one side and their ZooKeeper, as processes on loopback.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rustix::process::{Pid, Signal, kill_process};

use super::SESSION;
use super::metadata::Metadata;
use crate::target::{Side, free_port, kafka_class_path, nyala_binary, wait_for_port, workspace};
use crate::{block_on, page_cache, usage};

/// Patience with anything that ought to happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// One broker.
#[derive(Debug)]
struct Broker {
    address: String,
    properties: PathBuf,
    child: Option<Child>,
}

/// Three brokers.
#[derive(Debug)]
pub(super) struct Trio {
    side: Side,
    class_path: String,
    binary: PathBuf,
    zookeeper: Child,
    zookeeper_address: String,
    brokers: Vec<Broker>,
    folder: PathBuf,
}

impl Trio {
    /// Starts all with data under `out` and waits until they see each other.
    pub(super) fn start(side: Side, out: &Path) -> Result<Self> {
        let folder = out.join(format!("cluster-{}", side.name()));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let class_path = kafka_class_path()?;
        let binary = match side {
            Side::Nyala => nyala_binary()?,
            Side::Kafka => PathBuf::new(),
        };
        let port = free_port()?;
        let config = folder.join("zoo.cfg");
        let text = format!(
            "tickTime=500\nminSessionTimeout=1000\nmaxSessionTimeout=60000\ndataDir={}\n\
             clientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
             4lw.commands.whitelist=*\nmaxClientCnxns=0\n",
            folder.join("zookeeper").display()
        );
        fs::write(&config, text)?;
        let zookeeper = java(&class_path, &["-Xmx256m"])
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&config)
            .stderr(fs::File::create(folder.join("zookeeper.log"))?)
            .spawn()?;
        wait_for_port(port)?;
        let mut trio = Self {
            side,
            class_path,
            binary,
            zookeeper,
            zookeeper_address: format!("127.0.0.1:{port}"),
            brokers: Vec::new(),
            folder,
        };
        for id in 0..3 {
            trio.prepare(id)?;
            trio.restart(id)?;
        }
        for id in 0..3 {
            trio.wait_for_brokers(id, 3)?;
        }
        Ok(trio)
    }

    fn prepare(&mut self, id: usize) -> Result<()> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let properties = self.folder.join(format!("broker-{id}.properties"));
        let text = format!(
            "broker.id={id}\nlisteners=PLAINTEXT://{address}\nlog.dirs={}\nzookeeper.connect={}\n\
             zookeeper.session.timeout.ms={}\nmin.insync.replicas=2\nmessage.max.bytes=2000000\n\
             auto.leader.rebalance.enable=false\nlog.retention.check.interval.ms=1000\n\
             log.initial.task.delay.ms=1000\nlog.segment.delete.delay.ms=1000\n",
            self.folder.join(format!("logs-{id}")).display(),
            self.zookeeper_address,
            SESSION.as_millis()
        );
        fs::write(&properties, text)?;
        self.brokers.push(Broker {
            address,
            properties,
            child: None,
        });
        Ok(())
    }

    /// Starts a broker that does not run, and waits for its port.
    pub(super) fn restart(&mut self, id: usize) -> Result<()> {
        let broker = &mut self.brokers[id];
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("broker-{id}.log")))?;
        let mut command = match self.side {
            Side::Nyala => {
                let mut command = Command::new(&self.binary);
                command.args(["broker", "--config"]);
                command
            }
            Side::Kafka => {
                let collector = ["-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"];
                let heap = [&["-Xmx1G", "-Xms1G"][..], &collector].concat();
                let mut command = java(&self.class_path, &heap);
                command.arg("kafka.Kafka");
                command
            }
        };
        command
            .arg(&broker.properties)
            .stdout(Stdio::null())
            .stderr(log);
        broker.child = Some(command.spawn()?);
        let (_, port) = broker.address.rsplit_once(':').context("host:port")?;
        wait_for_port(port.parse()?)
    }

    /// Where all data lies.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Addresses of all brokers.
    pub(super) fn bootstrap(&self) -> String {
        let addresses: Vec<&str> = self.brokers.iter().map(|b| b.address.as_str()).collect();
        addresses.join(",")
    }

    /// Address of one broker.
    pub(super) fn address(&self, id: usize) -> &str {
        &self.brokers[id].address
    }

    /// Brokers that run.
    pub(super) fn running(&self) -> Vec<usize> {
        let ids = 0..self.brokers.len();
        ids.filter(|id| self.brokers[*id].child.is_some()).collect()
    }

    /// kill -9.
    pub(super) fn kill(&mut self, id: usize) -> Result<()> {
        let mut child = self.brokers[id].child.take().context("it runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub(super) fn stop(&mut self, id: usize) -> Result<()> {
        let mut child = self.brokers[id].child.take().context("it runs")?;
        let pid = Pid::from_raw(i32::try_from(child.id())?).context("a process id")?;
        kill_process(pid, Signal::TERM)?;
        let status = child.wait()?;
        // A JVM that is asked to end says 143.
        ensure!(
            status.success() || self.side == Side::Kafka,
            "it ended with {status}"
        );
        Ok(())
    }

    /// CPU seconds of all brokers so far.
    pub(super) fn cpu_s(&self) -> f64 {
        let children = self.brokers.iter().filter_map(|b| b.child.as_ref());
        children.map(|child| usage::of(child.id()).cpu_s).sum()
    }

    /// Creates a topic whose partitions all have broker 0 as their preferred leader and all three
    /// as replicas; with `settings`, pairs of key and value.
    pub(super) fn create_topic(
        &self,
        name: &str,
        partitions: usize,
        settings: &[(&str, &str)],
    ) -> Result<()> {
        let assignment: Vec<&[i32]> = vec![&[0, 1, 2]; partitions];
        let count = i32::try_from(partitions)?;
        let mut topic = NewTopic::new(name, count, TopicReplication::Variable(&assignment));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        self.create(&topic)?;
        self.wait_for("the whole ISR", || {
            let seen = Metadata::of(self.address(0), name)?;
            Ok(seen.partitions.len() == partitions && seen.fully_in_sync())
        })
    }

    /// Creates a topic.
    pub(super) fn create(&self, topic: &NewTopic<'_>) -> Result<()> {
        let admin = self.admin()?;
        for result in block_on(admin.create_topics([topic], &patiently()))? {
            result.map_err(|(name, code)| anyhow::anyhow!("cannot create {name}: {code}"))?;
        }
        Ok(())
    }

    /// Deletes a topic and waits until its files are gone.
    pub(super) fn delete_topic(&self, name: &str) -> Result<()> {
        let admin = self.admin()?;
        for result in block_on(admin.delete_topics(&[name], &patiently()))? {
            result.map_err(|(name, code)| anyhow::anyhow!("cannot delete {name}: {code}"))?;
        }
        self.wait_for("the end of a topic's files", || {
            Ok(!page_cache::has_logs(&self.folder, name))
        })
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        let mut config = ClientConfig::new();
        Ok(config.set("bootstrap.servers", self.bootstrap()).create()?)
    }

    /// Waits until broker `id` sees `count` brokers.
    pub(super) fn wait_for_brokers(&self, id: usize, count: usize) -> Result<()> {
        self.wait_for("all brokers", || {
            Ok(Metadata::of(self.address(id), "")?.brokers == count)
        })
    }

    /// Waits until `look` says yes; what goes wrong meanwhile counts as no.
    pub(super) fn wait_for(&self, what: &str, look: impl Fn() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = look();
            if matches!(seen, Ok(true)) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{what}: not within {PATIENCE:?}, last {seen:?}; see {}",
                self.folder.display()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the registration of broker `id` is gone from ZooKeeper.
    pub(super) fn wait_for_end_of_session(&self, id: usize) -> Result<()> {
        let path = format!("/brokers/ids/{id}\n");
        self.wait_for("the end of a session", || {
            let mut socket = TcpStream::connect(&self.zookeeper_address)?;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            socket.write_all(b"dump")?;
            let mut text = String::new();
            socket.read_to_string(&mut text)?;
            Ok(text.contains("phemerals") && !text.contains(&path))
        })
    }
}

impl Drop for Trio {
    fn drop(&mut self) {
        let brokers = self.brokers.iter_mut().filter_map(|b| b.child.as_mut());
        for child in brokers.chain([&mut self.zookeeper]) {
            // A killed benchmark target has nothing to lose; its folder goes with it.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn java(class_path: &str, settings: &[&str]) -> Command {
    let log4j = workspace().join("tests/kafka/log4j.properties");
    let mut command = Command::new("java");
    command
        .args(settings)
        .arg(format!("-Dlog4j.configuration=file:{}", log4j.display()))
        .args(["-Djava.awt.headless=true", "-cp", class_path])
        .stdout(Stdio::null());
    command
}

fn patiently() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}
