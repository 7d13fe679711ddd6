//! ZooKeeper for tests: the real one, as a process on a free port, and the embedded one, in the
//! test's own process. Both have the same ticks, so that the same tests run against both.

use std::path::Path;
use std::time::Duration;

use nyala_coordinator::embedded::{OpenError, Server, ServerConfig, StartError};

use crate::kafka::{free_port, java, wait_for_port};
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
        let data = folder.join("zookeeper");
        std::fs::create_dir_all(&data).expect("data folder");
        let config = folder.join("zoo.cfg");
        let text = format!(
            "tickTime=500\nminSessionTimeout=1000\nmaxSessionTimeout=60000\ndataDir={}\nclientPort={port}\n\
             clientPortAddress=127.0.0.1\nadmin.enableServer=false\n4lw.commands.whitelist=*\n\
             maxClientCnxns=0\nextendedTypesEnabled=true\n",
            data.display()
        );
        std::fs::write(&config, text).expect("zoo.cfg");
        let mut command = java(
            "256m",
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            &[&config.to_string_lossy()],
        );
        // Removes containers and TTL nodes soon, as the embedded server's tests ask it to.
        command.env("JAVA_TOOL_OPTIONS", "-Dznode.container.checkIntervalMs=200");
        let mut process = Process::start("zookeeper", folder, &mut command);
        wait_for_port(&mut process, port);
        let address = format!("127.0.0.1:{port}");
        // It listens before it serves.
        wait::until("a ZooKeeper that serves", || {
            match four_letters(&address, "srvr") {
                Ok(text) if text.contains("Mode:") => Ok(()),
                other => Err(other),
            }
        });
        Self { process, address }
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
