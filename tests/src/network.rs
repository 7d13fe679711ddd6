//! Hosts that are network namespaces on one bridge, and packets that do not arrive.
//!
//! The test itself stays outside and reaches every host over the bridge. What drops packets is an
//! nft rule inside a host, so that a host can be cut off from some others, and in one direction.
//! This needs root (or the right to make network namespaces), `ip` and `nft`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A bridge with its hosts; all of it goes with the value.
#[derive(Debug)]
pub struct Network {
    /// Beginning of the names of the bridge and of its hosts.
    name: String,
    /// First three bytes of the addresses.
    prefix: String,
    hosts: u8,
}

/// One host: a network namespace with one address.
#[derive(Clone, Debug)]
pub struct Host {
    namespace: String,
    /// Its address.
    pub address: String,
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{program} {}: {said}", args.join(" ")))
    }
}

fn must(program: &str, args: &[&str]) {
    run(program, args).unwrap_or_else(|e| panic!("this test makes network namespaces: {e}"));
}

/// What the names of everything here begin with; the number of the process follows.
const MARK: &str = "ny";

impl Network {
    /// A bridge with an address of its own and no hosts.
    #[must_use]
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_what_the_dead_left();
        let process = std::process::id();
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{MARK}{process}x{count}");
            // Names are short (15 bytes with what follows) and addresses private.
            let number = process.wrapping_mul(31).wrapping_add(count) % (128 * 256);
            let prefix = format!("10.{}.{}", 64 + number / 256, number % 256);
            let taken = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
            if taken.contains(&format!("{prefix}.")) {
                continue;
            }
            must("ip", &["link", "add", &name, "type", "bridge"]);
            must(
                "ip",
                &["addr", "add", &format!("{prefix}.254/24"), "dev", &name],
            );
            must("ip", &["link", "set", &name, "up"]);
            return Self {
                name,
                prefix,
                hosts: 0,
            };
        }
    }

    /// One more host.
    #[must_use]
    pub fn host(&mut self) -> Host {
        self.hosts += 1;
        let number = self.hosts;
        let namespace = format!("{}h{number}", self.name);
        let outer = format!("{}o{number}", self.name);
        let address = format!("{}.{number}", self.prefix);
        must("ip", &["netns", "add", &namespace]);
        must(
            "ip",
            &[
                "link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", &namespace,
            ],
        );
        must("ip", &["link", "set", &outer, "master", &self.name, "up"]);
        let host = Host { namespace, address };
        let with_mask = format!("{}/24", host.address);
        host.run("ip", &["addr", "add", &with_mask, "dev", "eth0"]);
        host.run("ip", &["link", "set", "eth0", "up"]);
        host.run("ip", &["link", "set", "lo", "up"]);
        host.rules("");
        host
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes the hosts of a bridge, then the bridge.
fn remove(name: &str) {
    for namespace in names("/run/netns") {
        if namespace
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('h'))
        {
            let _ = run("ip", &["netns", "del", &namespace]);
        }
    }
    let _ = run("ip", &["link", "del", name]);
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Bridges of processes that were killed before they could clean up.
fn remove_what_the_dead_left() {
    for link in names("/sys/class/net") {
        let Some((process, count)) = link.strip_prefix(MARK).and_then(|n| n.split_once('x')) else {
            continue;
        };
        let is_bridge = count.bytes().all(|b| b.is_ascii_digit());
        if is_bridge && process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists()
        {
            remove(&link);
        }
    }
}

impl Host {
    /// `program` in this host, for arguments to be added to.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(program);
        command
    }

    fn run(&self, program: &str, args: &[&str]) {
        let within = ["netns", "exec", &self.namespace, program];
        must("ip", &[&within[..], args].concat());
    }

    /// Replaces the rules by which packets are dropped.
    fn rules(&self, rules: &str) {
        let script = format!(
            "table inet faults\ndelete table inet faults\ntable inet faults {{\n\
             chain incoming {{ type filter hook input priority 0; policy accept; {} }}\n}}\n",
            rules
        );
        let mut command = self.command("nft");
        command
            .args(["-f", "-"])
            .stdin(std::process::Stdio::piped());
        let mut child = command.spawn().expect("nft runs: Debian package nftables");
        let mut input = child.stdin.take().expect("piped");
        std::io::Write::write_all(&mut input, script.as_bytes()).expect("nft reads");
        drop(input);
        let status = child.wait().expect("nft ends");
        assert!(status.success(), "nft refuses: {script}");
    }

    /// From now on nothing arrives here that one of `hosts` sent; nothing else is dropped.
    pub fn drop_from<'a>(&self, hosts: impl IntoIterator<Item = &'a Self>) {
        let mut rules = String::new();
        for host in hosts {
            let _ = write!(rules, "ip saddr {} drop; ", host.address);
        }
        self.rules(&rules);
    }

    /// Everything arrives again.
    pub fn heal(&self) {
        self.rules("");
    }
}
