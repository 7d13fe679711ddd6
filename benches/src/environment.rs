//! The machine that the figures belong to; printed above every table.

use std::fs;
use std::process::Command;

/// Lines that describe the machine and both sides.
pub(crate) fn describe() -> Vec<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .next()
        .unwrap_or_default()
        .replace("MemTotal:", "");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        format!(
            "cpu: {} ({cores} cores)",
            model.trim_start_matches([':', ' ', '\t'])
        ),
        format!("memory: {}, kernel {}", memory.trim(), kernel.trim()),
        format!(
            "commit: {}",
            command("git", &["rev-parse", "--short", "HEAD"])
        ),
        format!("librdkafka: {}", rdkafka::util::get_rdkafka_version().1),
        "peer: Apache Kafka 3.9.1, ZooKeeper 3.8.4, heap 1 GiB, G1".to_owned(),
        "no fsync before an acknowledgement on either side (both defaults)".to_owned(),
    ]
}

fn command(name: &str, args: &[&str]) -> String {
    let out = Command::new(name).args(args).output();
    out.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
        .unwrap_or_default()
}
