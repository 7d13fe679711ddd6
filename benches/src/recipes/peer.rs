//! kazoo and Curator, each a process that is told by lines what to do.
//!
//! | command | what it does until SECONDS have passed |
//! | --- | --- |
//! | `open N`, `close` | opens N sessions, closes them: neither is measured |
//! | `lock PATH SECONDS` | the first session takes a lock and lets it go, alone |
//! | `contend PATH SECONDS` | every session does so, all on one lock; a latency is from one holder's call of release to the return of the next one's acquire |
//! | `turns PATH SECONDS` | the same, and each lets go and stands in line again in one step where the recipe has it |
//! | `share PATH SECONDS` | as `contend`, by 50 callers of the first session |
//! | `put PATH SECONDS` | puts an item of 100 bytes, and waits for the answer |
//! | `batch PATH SECONDS` | puts 100 items by the recipe's way for many, and waits until all are in |
//! | `leased PATH SECONDS` | the first session puts, the second takes under a lease and acknowledges; at most 100 items on the way |
//! | `unleased PATH SECONDS` | the same by the recipe that takes without a lease |
//!
//! The answer is a line: operations, seconds, and the latency of each step in microseconds.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::Taken;
use super::server::java;
use crate::target::workspace;

/// One of the two processes.
#[derive(Debug)]
pub(super) struct Peer {
    name: &'static str,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

fn sources() -> PathBuf {
    workspace().join("benches/src/recipes")
}

impl Peer {
    /// kazoo, under the Python that has it; and its version.
    pub(super) fn kazoo(address: &str, out: &Path) -> Result<(Self, String)> {
        let version = |python: &str| {
            let import = "import kazoo.version as v; print(v.__version__)";
            let said = Command::new(python).args(["-c", import]).output().ok()?;
            let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
            said.status.success().then(|| (python.to_owned(), version))
        };
        let found = ["python3", "/usr/bin/python3"]
            .into_iter()
            .find_map(version);
        let (python, version) =
            found.context("no python3 here has kazoo: apt-get install python3-kazoo")?;
        let mut command = Command::new(python);
        command.arg(sources().join("kazoo_side.py")).arg(address);
        Ok((Self::start("kazoo", command, out)?, version))
    }

    /// Curator, from the same jars as the tests', compiled as it starts.
    pub(super) fn curator(address: &str, class_path: &str, out: &Path) -> Result<(Self, String)> {
        let folder = PathBuf::from(class_path.trim_end_matches('*'));
        let jar = |name: &str| {
            let version = name.strip_prefix("curator-recipes-")?;
            Some(version.strip_suffix(".jar")?.to_owned())
        };
        let version = std::fs::read_dir(&folder)?
            .filter_map(|entry| jar(&entry.ok()?.file_name().to_string_lossy()))
            .next()
            .with_context(|| format!("no curator-recipes jar in {}", folder.display()))?;
        let javac = Command::new("javac").arg("-version").output();
        if !javac.is_ok_and(|said| said.status.success()) {
            bail!("no javac: apt-get install default-jdk-headless");
        }
        let mut command = java(class_path, "512m");
        command.arg(sources().join("CuratorSide.java")).arg(address);
        Ok((Self::start("curator", command, out)?, version))
    }

    fn start(name: &'static str, mut command: Command, out: &Path) -> Result<Self> {
        let log = std::fs::File::create(out.join(format!("recipes-{name}.log")))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdin = child.stdin.take().context("stdin is piped")?;
        let stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
        Ok(Self {
            name,
            child,
            stdin,
            stdout,
        })
    }

    /// One command, and its answer.
    pub(super) fn ask(&mut self, command: &str) -> Result<Taken> {
        writeln!(self.stdin, "{command}")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let name = self.name;
        let failed =
            || format!("{name} failed at {command:?}: see recipes-{name}.log; it said {line:?}");
        let mut words = line.split_whitespace();
        let operations = words.next().and_then(|word| word.parse().ok());
        let seconds = words.next().and_then(|word| word.parse().ok());
        let latencies = words.map(str::parse).collect::<Result<Vec<u64>, _>>();
        Ok(Taken {
            operations: operations.with_context(failed)?,
            seconds: seconds.with_context(failed)?,
            latencies_us: latencies.with_context(failed)?,
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It has nothing to lose but its sessions.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
