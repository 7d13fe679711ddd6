//! ZooKeeper for tests: the real one, as a process on a free port, and the embedded one, in the
//! test's own process. Both have the same ticks, so that the same tests run against both.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nyala_coordinator::embedded::{OpenError, Server, ServerConfig, StartError};
use rustix::process::Signal;

use crate::kafka::{java_by, wait_for_port};
use crate::network::{Host, Network};
use crate::ports::free_port;
use crate::process::Process;
use crate::wait;
use crate::zookeeper_wire::four_letters;

/// A real ZooKeeper 3.8.4.
#[derive(Debug)]
pub struct RealZooKeeper {
    /// The process.
    pub process: Process,
    /// `127.0.0.1:port`.
    pub address: String,
}

impl RealZooKeeper {
    /// Starts with its data in `folder/zookeeper` and short ticks, so that sessions may be short.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        Self::start_on(folder, free_port())
    }

    /// Starts on a given port: again, after it was killed, on the same data.
    #[must_use]
    pub fn start_on(folder: &Path, port: u16) -> Self {
        let place = Place {
            folder: folder.to_owned(),
            address: format!("127.0.0.1:{port}"),
            host: None,
        };
        let process = place.start("");
        let address = place.address;
        wait_until_it_serves(&address);
        Self { process, address }
    }
}

/// Where one ZooKeeper server runs.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    /// `host:port` for clients.
    address: String,
    host: Option<Host>,
}

impl Place {
    /// Starts the process, with `members` as lines of its settings, and waits for its port.
    fn start(&self, members: &str) -> Process {
        let data = self.folder.join("zookeeper");
        std::fs::create_dir_all(&data).expect("data folder");
        let config = self.folder.join("zoo.cfg");
        let (ip, port) = self.address.split_once(':').expect("host:port");
        let text = format!(
            "tickTime=500\nminSessionTimeout=1000\nmaxSessionTimeout=60000\ndataDir={}\nclientPort={port}\n\
             clientPortAddress={ip}\nadmin.enableServer=false\n4lw.commands.whitelist=*\n\
             maxClientCnxns=0\nextendedTypesEnabled=true\n{members}",
            data.display()
        );
        std::fs::write(&config, text).expect("zoo.cfg");
        let java = match &self.host {
            Some(host) => host.command("java"),
            None => Command::new("java"),
        };
        let mut command = java_by(
            java,
            "256m",
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            &[&config.to_string_lossy()],
        );
        // Removes containers and TTL nodes soon, as the embedded server's tests ask it to.
        command.env("JAVA_TOOL_OPTIONS", "-Dznode.container.checkIntervalMs=200");
        let mut process = Process::start("zookeeper", &self.folder, &mut command);
        wait_for_port(&mut process, &self.address);
        process
    }
}

/// It listens before it serves.
fn wait_until_it_serves(address: &str) {
    wait::until("a ZooKeeper that serves", || match mode_of(address) {
        Some(mode) => Ok(mode),
        None => Err(four_letters(address, "srvr")),
    });
}

/// What a server says that it is: `leader`, `follower`, `standalone`; none: it does not serve.
fn mode_of(address: &str) -> Option<String> {
    let text = four_letters(address, "srvr").ok()?;
    let mode = text.lines().find_map(|line| line.strip_prefix("Mode: "))?;
    Some(mode.trim().to_owned())
}

/// Three real ZooKeepers, each on a host of its own if there is a network, else on loopback.
#[derive(Debug)]
pub struct Ensemble {
    places: Vec<Place>,
    members: String,
    processes: Vec<Option<Process>>,
}

impl Ensemble {
    /// Starts three and waits until all serve; data in `folder/zookeeper-N`.
    #[must_use]
    pub fn start(folder: &Path, mut network: Option<&mut Network>) -> Self {
        let mut places = Vec::new();
        let mut members = "initLimit=20\nsyncLimit=6\n".to_owned();
        for number in 1..=3 {
            let folder = folder.join(format!("zookeeper-{number}"));
            let data = folder.join("zookeeper");
            std::fs::create_dir_all(&data).expect("data folder");
            std::fs::write(data.join("myid"), number.to_string()).expect("myid");
            let host = network.as_mut().map(|network| network.host());
            let (ip, ports) = match &host {
                Some(host) => (host.address.clone(), [2181, 2888, 3888]),
                None => ("127.0.0.1".to_owned(), [(); 3].map(|()| free_port())),
            };
            let _ = writeln!(members, "server.{number}={ip}:{}:{}", ports[1], ports[2]);
            places.push(Place {
                folder,
                address: format!("{ip}:{}", ports[0]),
                host,
            });
        }
        let processes = places.iter().map(|place| Some(place.start(&members)));
        let processes = processes.collect();
        for place in &places {
            wait_until_it_serves(&place.address);
        }
        Self {
            places,
            members,
            processes,
        }
    }

    /// Addresses for clients, comma-separated.
    #[must_use]
    pub fn connect(&self) -> String {
        let addresses: Vec<&str> = self.places.iter().map(|p| p.address.as_str()).collect();
        addresses.join(",")
    }

    /// Hosts of the members, from 0; empty without a network.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.places.iter().filter_map(|place| place.host.as_ref())
    }

    /// Who leads, from 0; none: nobody does at the moment.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let mut members = 0..self.places.len();
        members.find(|at| {
            self.processes[*at].is_some()
                && mode_of(&self.places[*at].address).is_some_and(|mode| mode == "leader")
        })
    }

    /// Members that run.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        let members = 0..self.places.len();
        members.filter(|at| self.processes[*at].is_some()).collect()
    }

    /// kill -9 of one.
    pub fn kill(&mut self, member: usize) {
        self.processes[member] = None;
    }

    /// Sends a signal to one that runs.
    pub fn signal(&self, member: usize, signal: Signal) {
        if let Some(process) = &self.processes[member] {
            process.signal(signal);
        }
    }

    /// Starts one that was killed, on its data; does not wait for it to serve.
    pub fn restart(&mut self, member: usize) {
        assert!(self.processes[member].is_none(), "it still runs");
        self.processes[member] = Some(self.places[member].start(&self.members));
    }

    /// Waits until all members that run serve.
    pub fn wait_until_it_serves(&self) {
        for member in self.running() {
            wait_until_it_serves(&self.places[member].address);
        }
    }
}

/// The embedded server, for tests that are not async themselves.
#[derive(Debug)]
pub struct EmbeddedZooKeeper {
    server: Option<Server>,
    runtime: tokio::runtime::Runtime,
    /// `127.0.0.1:port`.
    pub address: String,
}

impl EmbeddedZooKeeper {
    /// Settings that go with those of [`RealZooKeeper`]: short ticks, data in `folder/zookeeper`.
    #[must_use]
    pub fn config(folder: &Path) -> ServerConfig {
        ServerConfig {
            tick_time: Duration::from_millis(500),
            reap_interval: Duration::from_millis(200),
            ..ServerConfig::new(folder.join("zookeeper"))
        }
    }

    /// Starts with [`Self::config`].
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        Self::start_with(Self::config(folder))
    }

    /// Starts with settings of the test's own.
    #[must_use]
    pub fn start_with(config: ServerConfig) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        // A process that another test starts at this moment may hold the lock of the server before, as
        // it was when it was forked.
        let server = wait::until("an embedded ZooKeeper", || {
            match runtime.block_on(Server::start(config.clone())) {
                Err(e @ StartError::Open(OpenError::Locked { .. })) => Err(e),
                started => Ok(started.expect("a folder and a port of its own")),
            }
        });
        Self {
            address: server.address().to_string(),
            server: Some(server),
            runtime,
        }
    }

    /// The server itself.
    #[must_use]
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs until it is dropped")
    }
}

impl Drop for EmbeddedZooKeeper {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
    }
}
