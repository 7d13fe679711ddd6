//! The one real ZooKeeper 3.8.4 that all sides use, and what it has counted.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::target::{free_port, wait_for_port, workspace};

/// A running server; stopped, with its data, when dropped.
#[derive(Debug)]
pub(super) struct Server {
    /// `127.0.0.1:PORT`.
    pub(super) address: String,
    child: Child,
    folder: PathBuf,
}

/// Packets since the server's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packets {
    /// Requests of all clients.
    pub(super) received: u64,
    /// Answers and events.
    pub(super) sent: u64,
}

impl Server {
    /// Starts with ZooKeeper's own defaults, but for what it does before it answers a write.
    pub(super) fn start(class_path: &str, out: &Path, synced: bool) -> Result<Self> {
        let folder = out.join("recipes-zookeeper");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let port = free_port()?;
        let config = folder.join("zoo.cfg");
        let text = format!(
            "tickTime=2000\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\n4lw.commands.whitelist=*\nmaxClientCnxns=0\n",
            folder.join("data").display()
        );
        fs::write(&config, text)?;
        let sync = if synced { "yes" } else { "no" };
        let child = java(class_path, "512m")
            .arg(format!("-Dzookeeper.forceSync={sync}"))
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log"))?)
            .spawn()
            .context("java (Debian: default-jdk-headless)")?;
        let server = Self {
            address: format!("127.0.0.1:{port}"),
            child,
            folder,
        };
        wait_for_port(port)?;
        Ok(server)
    }

    /// What it has counted so far.
    pub(super) fn packets(&self) -> Result<Packets> {
        let mut socket = TcpStream::connect(&self.address)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        socket.write_all(b"mntr")?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        let count = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            let number = line.and_then(|value| value.trim().parse().ok());
            number.with_context(|| format!("ZooKeeper's mntr has no {key}"))
        };
        Ok(Packets {
            received: count("zk_packets_received\t")?,
            sent: count("zk_packets_sent\t")?,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing in it is needed any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// `java` with the jars of the real Kafka, ZooKeeper and Curator.
pub(super) fn java(class_path: &str, heap: &str) -> Command {
    let log4j = workspace().join("tests/kafka/log4j.properties");
    let mut command = Command::new("java");
    command
        .arg(format!("-Xmx{heap}"))
        .arg(format!("-Dlog4j.configuration=file:{}", log4j.display()))
        .args(["-Djava.awt.headless=true", "-cp", class_path]);
    command
}
