//! ZooKeeper for tests: the real one, as a process on a free port.
//!
//! The embedded one comes with `nyala dev`, or in a test's own process from the coordinator crate.

use std::path::Path;

use crate::kafka::{free_port, java, wait_for_port};
use crate::process::Process;

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
        let mut process = Process::start("zookeeper", folder, &mut command);
        wait_for_port(&mut process, port);
        Self {
            process,
            address: format!("127.0.0.1:{port}"),
        }
    }
}
