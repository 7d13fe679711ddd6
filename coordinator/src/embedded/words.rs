//! Four-letter words: `srvr`, `ruok` and `mntr`; every other one is refused by name.
//!
//! Text only. The list of allowed words is fixed: the others have a history of telling too much
//! or costing too much (CVE-2017-5637).

use std::time::{Duration, Instant};

use super::engine::Engine;

const VERSION: &str = "3.8.4-nyala";

/// Words that ZooKeeper knows; four other bytes are the length of a packet.
const KNOWN: [&str; 18] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst",
    "srvr", "stat", "stmk", "wchc", "wchp", "wchs",
];

/// The word, if the first four bytes of a connection are one.
pub(super) fn known(bytes: [u8; 4]) -> Option<&'static str> {
    KNOWN.into_iter().find(|word| word.as_bytes() == bytes)
}

/// Counters since the start.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) received: u64,
    pub(super) sent: u64,
    answered: u64,
    latency_sum: Duration,
    latency_min: Duration,
    latency_max: Duration,
}

impl Stats {
    /// `messages` were sent now, answering requests that came at `asked`.
    pub(super) fn note_sent(&mut self, messages: usize, asked: &[Instant], now: Instant) {
        self.sent += messages as u64;
        for &at in asked {
            let latency = now.saturating_duration_since(at);
            self.latency_min = match self.answered {
                0 => latency,
                _ => self.latency_min.min(latency),
            };
            self.latency_max = self.latency_max.max(latency);
            self.latency_sum += latency;
            self.answered += 1;
        }
    }

    fn latency_avg_ms(&self) -> f64 {
        match self.answered {
            0 => 0.0,
            n => self.latency_sum.as_secs_f64() * 1000.0 / n as f64,
        }
    }
}

/// What is answered to `word`.
pub(super) fn answer(word: &str, engine: &Engine) -> String {
    match word {
        "ruok" => "imok".to_owned(),
        "srvr" => srvr(engine),
        "mntr" => mntr(engine),
        _ => format!("{word} is not executed because it is not in the whitelist.\n"),
    }
}

fn srvr(engine: &Engine) -> String {
    let stats = &engine.stats;
    format!(
        "Zookeeper version: {VERSION}\n\
         Latency min/avg/max: {}/{:.4}/{}\n\
         Received: {}\nSent: {}\nConnections: {}\nOutstanding: 0\n\
         Zxid: {:#x}\nMode: standalone\nNode count: {}\n",
        stats.latency_min.as_millis(),
        stats.latency_avg_ms(),
        stats.latency_max.as_millis(),
        stats.received,
        stats.sent,
        engine.peers.len(),
        engine.zxid,
        engine.tree.len(),
    )
}

fn mntr(engine: &Engine) -> String {
    let stats = &engine.stats;
    let rows: [(&str, String); 16] = [
        ("version", VERSION.to_owned()),
        ("server_state", "standalone".to_owned()),
        ("avg_latency", format!("{:.4}", stats.latency_avg_ms())),
        ("max_latency", stats.latency_max.as_millis().to_string()),
        ("min_latency", stats.latency_min.as_millis().to_string()),
        ("packets_received", stats.received.to_string()),
        ("packets_sent", stats.sent.to_string()),
        ("num_alive_connections", engine.peers.len().to_string()),
        ("outstanding_requests", "0".to_owned()),
        ("znode_count", engine.tree.len().to_string()),
        ("watch_count", engine.watches.count().to_string()),
        (
            "ephemerals_count",
            engine.tree.ephemeral_count().to_string(),
        ),
        (
            "approximate_data_size",
            engine.tree.data_bytes().to_string(),
        ),
        ("global_sessions", engine.sessions.len().to_string()),
        ("local_sessions", "0".to_owned()),
        ("last_zxid", format!("{:#x}", engine.zxid)),
    ];
    rows.iter()
        .map(|(name, value)| format!("zk_{name}\t{value}\n"))
        .collect()
}
