//! A cluster whose brokers are processes: ours and real ones, on loopback or each on a host of its
//! own, with an embedded ZooKeeper, a real one or an ensemble of three.
//!
//! Both kinds of broker start from the same `server.properties`, so that one may take the place of
//! the other on the same log folder.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nyala_coordinator::clock;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::cluster::nyala_binary;
use crate::folder::in_memory;
use crate::history::ReplicaLog;
use crate::kafka::{java_by, wait_for_itself, wait_for_port};
use crate::network::{Host, Network};
use crate::ports::free_port;
use crate::process::{Ended, Process};
use crate::rdkafka::config;
use crate::wait;
use crate::znodes::Znodes;
use crate::zookeeper::{EmbeddedZooKeeper, Ensemble, RealZooKeeper};

/// Who made a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// `nyala broker`.
    Nyala,
    /// A real Kafka 3.9.1.
    Kafka,
}

/// Which ZooKeeper a cluster has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coordination {
    /// Ours, in the test's own process.
    #[default]
    Embedded,
    /// A real one, alone.
    Real,
    /// Three real ones.
    Ensemble,
}

/// How to start a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// The makers of the brokers, which have the ids 0, 1 and so on.
    pub makers: Vec<Maker>,
    /// Its ZooKeeper.
    pub coordination: Coordination,
    /// Whether brokers and real ZooKeepers have hosts of their own.
    pub network: bool,
    /// `key=value` settings of all brokers, on top of short timeouts.
    pub settings: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            makers: vec![Maker::Nyala; 3],
            coordination: Coordination::default(),
            network: false,
            settings: Vec::new(),
        }
    }
}

/// Session timeout of all brokers, unless a test says otherwise.
pub const SESSION: Duration = Duration::from_secs(3);

/// The ZooKeeper that runs.
#[derive(Debug)]
pub enum ZooKeeper {
    /// In this process.
    Embedded(EmbeddedZooKeeper),
    /// A process; none while it is killed.
    Real(Option<RealZooKeeper>, PathBuf, u16),
    /// Three processes.
    Ensemble(Ensemble),
}

/// One broker.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub id: i32,
    /// Who made it; may be changed while it is down.
    pub maker: Maker,
    /// `host:port`.
    pub address: String,
    /// Its one log folder.
    pub log_folder: PathBuf,
    /// Its host, if it has one of its own.
    pub host: Option<Host>,
    folder: PathBuf,
    properties: BTreeMap<String, String>,
    process: Option<Process>,
}

/// A cluster; all its processes end with it.
#[derive(Debug)]
pub struct Brokers {
    /// The brokers, by id.
    pub nodes: Vec<Node>,
    /// Its ZooKeeper.
    pub zookeeper: ZooKeeper,
    /// Where ZooKeeper is.
    pub connect: String,
    network: Option<Network>,
    folder: TempDir,
    /// ZooKeeper's.
    memory: TempDir,
    /// Goes last, when all processes are gone.
    _turn: Option<SemaphorePermit<'static>>,
}

/// Several Java virtual machines that start at a time stall each other past their ZooKeeper sessions on two
/// cores: one test of this kind at a time, beside those of other kinds.
static TURN: Semaphore = Semaphore::const_new(1);

fn turn(options: &Options) -> Option<SemaphorePermit<'static>> {
    let heavy =
        options.makers.contains(&Maker::Kafka) || options.coordination == Coordination::Ensemble;
    let turn = || futures::executor::block_on(TURN.acquire());
    heavy.then(|| turn().expect("it is never closed"))
}

impl Brokers {
    /// Three of ours with `settings`, on loopback, on an embedded ZooKeeper.
    #[must_use]
    pub fn three(settings: &[&str]) -> Self {
        Self::start(Options {
            settings: settings.iter().map(|&s| s.to_owned()).collect(),
            ..Options::default()
        })
    }

    /// Starts as `options` say and waits until all brokers are ready.
    #[must_use]
    pub fn start(options: Options) -> Self {
        let mut brokers = Self::prepare(&options);
        brokers.start_all();
        brokers
    }

    /// Starts all brokers that are down and waits until all are ready, registered, and have a
    /// controller.
    pub fn start_all(&mut self) {
        for node in &mut self.nodes {
            if !node.is_running() {
                node.spawn();
            }
        }
        self.nodes.iter_mut().for_each(Node::wait_until_ready);
        let registered = self.nodes.len();
        let mut znodes = self.znodes();
        wait::until("all brokers registered, and a controller", || {
            let ids = znodes.children("/brokers/ids").unwrap_or_default();
            match znodes.controller() {
                Some(_) if ids.len() == registered => Ok(()),
                controller => Err((ids, controller)),
            }
        });
    }

    /// Starts ZooKeeper only; [`Node::start`] starts the brokers.
    #[must_use]
    pub fn prepare(options: &Options) -> Self {
        let turn = turn(options);
        let folder = tempfile::Builder::new()
            .prefix("nyala-cluster-")
            .tempdir()
            .expect("a folder for the test");
        let memory = in_memory();
        let mut network = options.network.then(Network::start);
        let (zookeeper, connect) = match options.coordination {
            Coordination::Embedded => {
                let embedded = EmbeddedZooKeeper::start(memory.path());
                let connect = embedded.address.clone();
                (ZooKeeper::Embedded(embedded), connect)
            }
            Coordination::Real => {
                let port = free_port();
                let real = RealZooKeeper::start_on(memory.path(), port);
                let connect = real.address.clone();
                let place = memory.path().to_owned();
                (ZooKeeper::Real(Some(real), place, port), connect)
            }
            Coordination::Ensemble => {
                let ensemble = Ensemble::start(memory.path(), network.as_mut());
                let connect = ensemble.connect();
                (ZooKeeper::Ensemble(ensemble), connect)
            }
        };
        assert!(
            network.is_none() || options.coordination == Coordination::Ensemble,
            "brokers on hosts of their own do not reach a ZooKeeper on loopback"
        );
        let mut brokers = Self {
            nodes: Vec::new(),
            zookeeper,
            connect,
            network,
            folder,
            memory,
            _turn: turn,
        };
        for maker in &options.makers {
            brokers.add(*maker, options);
        }
        brokers
    }

    /// One more broker, which is not started yet; its id.
    pub fn add(&mut self, maker: Maker, options: &Options) -> i32 {
        let id = i32::try_from(self.nodes.len()).expect("few");
        let host = self.network.as_mut().map(Network::host);
        let address = match &host {
            Some(host) => format!("{}:9092", host.address),
            None => format!("127.0.0.1:{}", free_port()),
        };
        let folder = self.folder.path().join(format!("broker-{id}"));
        std::fs::create_dir_all(&folder).expect("a folder for the broker");
        let log_folder = folder.join("logs");
        let replicas = options.makers.len().clamp(1, 3);
        let mut properties: BTreeMap<String, String> = [
            ("broker.id", id.to_string()),
            ("listeners", format!("PLAINTEXT://{address}")),
            ("log.dirs", log_folder.display().to_string()),
            ("zookeeper.connect", self.connect.clone()),
            (
                "zookeeper.session.timeout.ms",
                SESSION.as_millis().to_string(),
            ),
            ("default.replication.factor", replicas.to_string()),
            ("min.insync.replicas", replicas.min(2).to_string()),
            ("replica.lag.time.max.ms", "3000".to_owned()),
            ("replica.fetch.wait.max.ms", "200".to_owned()),
            ("offsets.topic.replication.factor", replicas.to_string()),
            ("offsets.topic.num.partitions", "4".to_owned()),
            ("transaction.state.log.replication.factor", "1".to_owned()),
            ("transaction.state.log.min.isr", "1".to_owned()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            ("auto.create.topics.enable", "false".to_owned()),
            // Tests move leaders themselves.
            ("auto.leader.rebalance.enable", "false".to_owned()),
            ("max.connections.per.ip", "2147483647".to_owned()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        for pair in &options.settings {
            let (key, value) = pair.split_once('=').expect("key=value");
            properties.insert(key.to_owned(), value.to_owned());
        }
        self.nodes.push(Node {
            id,
            maker,
            address,
            log_folder,
            host,
            folder,
            properties,
            process: None,
        });
        id
    }

    /// Addresses of all brokers, for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<&str> = self.nodes.iter().map(|n| n.address.as_str()).collect();
        addresses.join(",")
    }

    /// Folder for the test's own files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps the files of this cluster when it goes, to be looked at; those of ZooKeeper until the next boot.
    pub fn keep_files(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.memory.disable_cleanup(true);
        let link = self.folder.path().join("zookeeper");
        // Asked twice, it is there.
        let _ = symlink(self.memory.path(), link);
        self.folder.path().to_owned()
    }

    /// The broker with that id.
    pub fn node(&mut self, id: i32) -> &mut Node {
        let at = usize::try_from(id).expect("ids count from 0");
        &mut self.nodes[at]
    }

    /// A reader of the cluster's znodes.
    #[must_use]
    pub fn znodes(&self) -> Znodes {
        Znodes::new(&self.connect)
    }

    /// The ensemble.
    pub fn ensemble(&mut self) -> &mut Ensemble {
        match &mut self.zookeeper {
            ZooKeeper::Ensemble(ensemble) => ensemble,
            other => panic!("not an ensemble: {other:?}"),
        }
    }

    /// kill -9 of a lone real ZooKeeper.
    pub fn kill_zookeeper(&mut self) {
        match &mut self.zookeeper {
            ZooKeeper::Real(real, ..) => *real = None,
            other => panic!("not a real one alone: {other:?}"),
        }
    }

    /// Starts a lone real ZooKeeper again, on its data.
    pub fn restart_zookeeper(&mut self) {
        match &mut self.zookeeper {
            ZooKeeper::Real(real, folder, port) => {
                assert!(real.is_none(), "it still runs");
                *real = Some(RealZooKeeper::start_on(folder, *port));
            }
            other => panic!("not a real one alone: {other:?}"),
        }
    }

    /// An admin client of librdkafka.
    #[must_use]
    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        config(&self.bootstrap(), &[])
            .create()
            .expect("legal settings")
    }

    /// Creates a topic and waits until all its replicas are in sync.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replicas: i32,
        settings: &[(&str, &str)],
    ) {
        self.ask_for_topic(name, partitions, replicas, settings);
        self.znodes().wait_for_full_isr(name);
    }

    /// Deletes a topic; its nodes are gone when this returns.
    pub fn delete_topic(&self, name: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let options = AdminOptions::new();
        let gone = runtime.block_on(self.admin().delete_topics(&[name], &options));
        for result in gone.expect("an answer") {
            result.unwrap_or_else(|(name, code)| panic!("{name} is not deleted: {code}"));
        }
    }

    /// Creates a topic, and waits for no replica.
    pub fn ask_for_topic(
        &self,
        name: &str,
        partitions: i32,
        replicas: i32,
        settings: &[(&str, &str)],
    ) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let made = runtime.block_on(self.admin().create_topics([&topic], &AdminOptions::new()));
        for result in made.expect("an answer") {
            result.unwrap_or_else(|(name, code)| panic!("{name} is not made: {code}"));
        }
    }

    /// Starts every broker that is down, lets go on what is paused, and heals the network.
    pub fn heal(&mut self) {
        for node in &mut self.nodes {
            if let Some(host) = &node.host {
                host.heal();
            }
            node.resume();
            if !node.is_running() {
                node.start();
            }
        }
        if let ZooKeeper::Ensemble(ensemble) = &self.zookeeper {
            ensemble.hosts().for_each(Host::heal);
        }
    }

    /// The logs of a partition on all brokers that have it, once all end at the same offset.
    #[must_use]
    pub fn replica_logs(&self, topic: &str, partition: i32) -> Vec<ReplicaLog> {
        let name = format!("{topic}-{partition}");
        let read = || -> Vec<ReplicaLog> {
            let logs = self.nodes.iter().map(|node| {
                let folder = node.log_folder.join(&name);
                folder
                    .exists()
                    .then(|| ReplicaLog::read(node.id, &folder).ok())
            });
            logs.flatten().flatten().collect()
        };
        // What differs after this time is for the checker to tell.
        let deadline = clock::now() + Duration::from_secs(20);
        loop {
            let logs = read();
            let end = |log: &ReplicaLog| log.batches.last().map(|batch| batch.last);
            let equal = logs.windows(2).all(|pair| end(&pair[0]) == end(&pair[1]));
            if equal || clock::now() > deadline {
                return logs;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("files of the cluster: {}", self.keep_files().display());
        }
    }
}

impl Node {
    /// Sets a setting for the next start.
    pub fn set(&mut self, key: &str, value: &str) {
        self.properties.insert(key.to_owned(), value.to_owned());
        if key == "log.dirs" {
            self.log_folder = value.into();
        }
    }

    /// Starts and waits until it is ready.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_until_ready();
    }

    /// Starts without waiting.
    pub fn spawn(&mut self) {
        assert!(!self.is_running(), "broker {} still runs", self.id);
        let mut text = String::new();
        for (key, value) in &self.properties {
            let _ = writeln!(text, "{key}={value}");
        }
        let file = self.folder.join("server.properties");
        std::fs::write(&file, text).expect("server.properties");
        let file = file.to_string_lossy().into_owned();
        let program = |name: &Path| match &self.host {
            Some(host) => host.command(name),
            None => Command::new(name),
        };
        let (name, mut command) = match self.maker {
            Maker::Nyala => {
                let mut command = program(nyala_binary());
                command.args(["broker", "--config", &file]);
                ("nyala", command)
            }
            Maker::Kafka => {
                let java = program(Path::new("java"));
                ("kafka", java_by(java, "512m", "kafka.Kafka", &[&file]))
            }
        };
        command
            .current_dir(&self.folder)
            .env("RUST_BACKTRACE", "1")
            .env(
                "RUST_LOG",
                std::env::var("NYALA_TEST_LOG").unwrap_or_else(|_| "info".to_owned()),
            );
        let name = format!("{name}-{}", self.id);
        self.process = Some(Process::start(&name, &self.folder, &mut command));
    }

    /// Waits until it takes requests and is in the cluster.
    pub fn wait_until_ready(&mut self) {
        let process = self.process.as_mut().expect("it was started");
        match self.maker {
            Maker::Nyala => process.wait_for_line("ready line of nyala broker", |line| {
                line.starts_with("ready in ").then_some(())
            }),
            Maker::Kafka => {
                wait_for_port(process, &self.address);
                wait_for_itself(&self.address);
            }
        }
    }

    /// Whether its process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// What it has said on stderr since its first start.
    #[must_use]
    pub fn said(&self) -> String {
        self.process
            .as_ref()
            .map(Process::stderr)
            .unwrap_or_default()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM; it must end well. How long that took.
    pub fn stop(&mut self) -> Duration {
        let begun = clock::now();
        let ended = self.terminate();
        if self.maker == Maker::Nyala {
            assert!(ended.status.success(), "it ended badly: {ended:?}");
        }
        begun.elapsed()
    }

    /// SIGTERM, and what the process left behind.
    pub fn terminate(&mut self) -> Ended {
        let ended = self.process.as_mut().expect("it runs").terminate();
        self.process = None;
        ended
    }

    /// Sends SIGTERM and does not wait.
    pub fn ask_to_stop(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Waits for the end of one that was asked to stop.
    pub fn wait_for_end(&mut self) -> Ended {
        let process = self.process.as_mut().expect("it runs");
        let ended = process.wait(wait::SOON);
        self.process = None;
        ended
    }

    /// Stops its clock: SIGSTOP.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on: SIGCONT.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process
            && process.is_running()
        {
            process.signal(signal);
        }
    }
}
