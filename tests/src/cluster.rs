//! `nyala` as users run it: a process that is started, killed, paused and started again.
//!
//! The binary is built by cargo beside the test binary, once a run, so that no test ever speaks to
//! a broker of yesterday.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::ports::free_ports;
use crate::process::{Ended, Process, run};

/// Path of the `nyala` binary, built on first use.
#[must_use]
pub fn nyala_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Ok(given) = std::env::var("NYALA_BINARY") {
            return given.into();
        }
        let this = std::env::current_exe().expect("this binary has a path");
        let profile = this
            .ancestors()
            .find(|p| p.ends_with("debug") || p.ends_with("release"))
            .expect("cargo's target folder");
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
        cargo
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .args(["build", "--quiet", "--package", "nyala", "--bin", "nyala"])
            .arg("--target-dir")
            .arg(
                profile
                    .parent()
                    .expect("profile folders lie in the target folder"),
            );
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.status().expect("cargo runs");
        assert!(status.success(), "cannot build nyala: {status}");
        profile.join("nyala")
    })
}

/// How to start `nyala dev`.
#[derive(Debug, Clone, Default)]
pub struct DevOptions {
    /// Data folder; none: a fresh one that goes with the process.
    pub data: Option<PathBuf>,
    /// `--brokers`; 0: the default.
    pub brokers: usize,
    /// `--override key=value`.
    pub overrides: Vec<String>,
}

/// A running `nyala dev`.
#[derive(Debug)]
pub struct Dev {
    process: Option<Process>,
    options: DevOptions,
    ready: Ready,
    folder: TempDir,
}

/// What the `ready` line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Addresses of the brokers.
    pub brokers: Vec<String>,
    /// Address of the embedded ZooKeeper.
    pub zookeeper: String,
    /// Data folder.
    pub data: PathBuf,
    /// Milliseconds from start to ready.
    pub ms: u64,
}

impl Ready {
    /// Reads `ready in N ms: kafka A[,A...], zookeeper Z, data PATH`.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (ms, rest) = line.strip_prefix("ready in ")?.split_once(" ms: kafka ")?;
        let (brokers, rest) = rest.split_once(", zookeeper ")?;
        let (zookeeper, data) = rest.split_once(", data ")?;
        Some(Self {
            brokers: brokers.split(',').map(str::to_owned).collect(),
            zookeeper: zookeeper.to_owned(),
            data: data.into(),
            ms: ms.parse().ok()?,
        })
    }
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or("0")
}

impl Dev {
    /// Starts with fresh data and free ports.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(DevOptions::default())
    }

    /// Starts with `key=value` settings.
    #[must_use]
    pub fn start_with_overrides(overrides: &[&str]) -> Self {
        Self::start_with(DevOptions {
            overrides: overrides.iter().map(|&o| o.to_owned()).collect(),
            ..DevOptions::default()
        })
    }

    /// Starts as `options` say.
    #[must_use]
    pub fn start_with(mut options: DevOptions) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("nyala-test-")
            .tempdir()
            .expect("a folder for the test");
        options
            .data
            .get_or_insert_with(|| folder.path().join("data"));
        // Several brokers have consecutive ports: a restart needs the same ones again.
        let port = match options.brokers {
            0 | 1 => 0,
            several => free_ports(u16::try_from(several).expect("few")),
        };
        let (process, ready) = Self::spawn(&options, folder.path(), &port.to_string(), "0");
        Self {
            process: Some(process),
            options,
            ready,
            folder,
        }
    }

    fn spawn(options: &DevOptions, folder: &Path, port: &str, zk_port: &str) -> (Process, Ready) {
        let mut command = Command::new(nyala_binary());
        command
            .current_dir(folder)
            .env("RUST_BACKTRACE", "1")
            .args(["dev", "--port", port, "--zookeeper-port", zk_port]);
        if let Some(data) = &options.data {
            command.arg("--data").arg(data);
        }
        if options.brokers > 0 {
            command.args(["--brokers", &options.brokers.to_string()]);
        }
        for pair in &options.overrides {
            command.args(["--override", pair]);
        }
        let mut process = Process::start("nyala", folder, &mut command);
        let ready = process.wait_for_line("ready line of nyala dev", Ready::parse);
        (process, ready)
    }

    /// What the last `ready` line said.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Addresses of the brokers, comma-separated, for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.ready.brokers.join(",")
    }

    /// Address of the embedded ZooKeeper.
    #[must_use]
    pub fn zookeeper(&self) -> &str {
        &self.ready.zookeeper
    }

    /// Folder for the test's own files; goes when this does.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Log folder of the broker with that number, from 0.
    #[must_use]
    pub fn log_folder(&self, broker: usize) -> PathBuf {
        self.ready.data.join(format!("broker-{broker}"))
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it runs")
    }

    /// Number of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").pid()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// SIGTERM; it must end well.
    pub fn stop(&mut self) -> Ended {
        let ended = self.process().terminate();
        self.process = None;
        assert!(ended.status.success(), "nyala dev ended badly: {ended:?}");
        ended
    }

    /// Stops its clock ([`Process::pause`]).
    pub fn pause(&mut self) {
        self.process().pause();
    }

    /// Lets it go on: SIGCONT.
    pub fn resume(&mut self) {
        self.process().signal(Signal::CONT);
    }

    /// Starts again after [`Self::kill`] or [`Self::stop`], with the same data and the same ports.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "it still runs");
        let first = self.ready.brokers.first().expect("at least one broker");
        let (process, ready) = Self::spawn(
            &self.options,
            self.folder.path(),
            port(first),
            port(&self.ready.zookeeper),
        );
        assert_eq!(ready.brokers, self.ready.brokers, "same addresses again");
        self.ready = ready;
        self.process = Some(process);
    }

    /// Changes the settings for the next [`Self::restart`].
    pub fn set_overrides(&mut self, overrides: &[&str]) {
        self.options.overrides = overrides.iter().map(|&o| o.to_owned()).collect();
    }
}

/// Runs `nyala ARGS...` to its end.
#[must_use]
pub fn nyala(folder: &Path, args: &[&str]) -> Ended {
    let mut command = Command::new(nyala_binary());
    command.current_dir(folder).args(args);
    run(
        &name_of("nyala", args),
        folder,
        &mut command,
        Duration::from_secs(120),
    )
}

/// Runs `kcat ARGS...` to its end.
#[must_use]
pub fn kcat(folder: &Path, args: &[&str]) -> Ended {
    let mut command = Command::new("kcat");
    command.current_dir(folder).args(args);
    run(
        &name_of("kcat", args),
        folder,
        &mut command,
        Duration::from_secs(120),
    )
}

/// A file name for the output of one call.
pub(crate) fn name_of(program: &str, args: &[&str]) -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let first = args.first().copied().unwrap_or("").replace(['/', '.'], "");
    format!("{program}-{first}-{call}")
}
