//! `compare --recipes`: our recipes, kazoo's and Curator's against one real ZooKeeper 3.8.4.
//!
//! The sides take turns, each alone with the server, after a warm-up.
//! ZooKeeper counts the requests and events that each costs. kazoo and Curator run as processes of
//! their own for the whole time (`peer.rs`), ours in this one.

mod figures;
mod ours;
mod peer;
mod server;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::histogram::Latencies;
use crate::target::kafka_class_path;
use figures::{Row, SIDES, Workload};
use ours::Ours;
use peer::Peer;
use server::Server;

/// How much to measure.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    /// Seconds of each measured run.
    pub(crate) seconds: f64,
    /// Seconds of warm-up of each side before a workload is measured.
    pub(crate) warm_up: f64,
    /// Measured runs of each workload on each side.
    pub(crate) runs: usize,
    /// Only workloads with this in their name.
    pub(crate) only: Option<String>,
    /// Whether ZooKeeper has each write on disk before it answers, as it does by default.
    pub(crate) synced: bool,
}

impl Sizes {
    /// Of the files with the results.
    pub(crate) fn name(&self) -> &'static str {
        match self.synced {
            true => "recipes",
            false => "recipes-unsynced",
        }
    }
}

/// What one run gave.
#[derive(Clone, Debug)]
struct Taken {
    operations: u64,
    seconds: f64,
    /// Of each step, where steps do not overlap.
    latencies_us: Vec<u64>,
}

/// All three sides and their server.
struct Sides {
    server: Server,
    ours: Ours,
    kazoo: Peer,
    curator: Peer,
}

/// Measures all sides; a table in Markdown. Raw rows go to a CSV file beside it.
pub(crate) fn compare(out: &Path, sizes: &Sizes) -> Result<String> {
    let class_path = kafka_class_path()?;
    let server = Server::start(&class_path, out, sizes.synced)?;
    let (kazoo, kazoo_version) = Peer::kazoo(&server.address, out)?;
    let (curator, curator_version) = Peer::curator(&server.address, &class_path, out)?;
    let mut sides = Sides {
        ours: Ours::new(&server.address)?,
        server,
        kazoo,
        curator,
    };
    let mut rows = Vec::new();
    let wanted = |w: &&Workload| sizes.only.as_ref().is_none_or(|t| w.command.contains(t));
    for workload in figures::ALL.iter().filter(wanted) {
        for side in SIDES {
            sides.measure(workload, side, "warm-up", sizes.warm_up)?;
        }
        for run in 0..sizes.runs {
            for side in SIDES {
                let mut row = sides.measure(workload, side, &run.to_string(), sizes.seconds)?;
                row.run = run;
                eprintln!("  {row:.2?}");
                rows.push(row);
            }
        }
        // After every workload, so that an interrupted comparison keeps what it has.
        let rows = figures::csv(&rows);
        fs::write(out.join(format!("{}.csv", sizes.name())), rows)?;
    }
    Ok(format!(
        "kazoo {kazoo_version}, Curator {curator_version}, ZooKeeper 3.8.4 that {}; medians of {} runs of {} s, warm-up {} s\n\n{}",
        match sizes.synced {
            true => "syncs its log before it answers",
            false => "does not sync its log",
        },
        sizes.runs,
        sizes.seconds,
        sizes.warm_up,
        figures::table(&rows)
    ))
}

impl Sides {
    /// One run of `workload` by `side`, in fresh sessions.
    fn measure(
        &mut self,
        workload: &Workload,
        side: &'static str,
        run: &str,
        seconds: f64,
    ) -> Result<Row> {
        let Workload {
            command, sessions, ..
        } = *workload;
        // What is put stays there; the others leave their folder empty, and find it again.
        let path = match command {
            "put" | "push" | "batch" => format!("/recipes-{command}-{side}-{run}"),
            _ => format!("/recipes-{command}-{side}"),
        };
        self.open(side, sessions)?;
        let before = self.server.packets()?;
        let taken = match self.peer(side) {
            None => self.ours.measure(command, &path, seconds)?,
            Some(peer) => peer.ask(&format!("{command} {path} {seconds}"))?,
        };
        let after = self.server.packets()?;
        self.close(side)?;
        let mut latencies = Latencies::default();
        for latency in &taken.latencies_us {
            latencies.record(std::time::Duration::from_micros(*latency));
        }
        let (p50_ms, p99_ms) = latencies.p50_p99_ms();
        let operations = taken.operations as f64;
        let received = (after.received - before.received) as f64;
        let sent = (after.sent - before.sent) as f64;
        Ok(Row {
            command,
            side,
            run: 0,
            operations_s: operations / taken.seconds,
            p50_ms,
            p99_ms,
            requests: received / operations,
            events: (sent - received) / operations,
        })
    }

    fn open(&mut self, side: &str, sessions: usize) -> Result<()> {
        match self.peer(side) {
            None => self.ours.open(sessions),
            Some(peer) => peer.ask(&format!("open {sessions}")).map(drop),
        }
        .with_context(|| format!("{side}: {sessions} sessions"))
    }

    fn close(&mut self, side: &str) -> Result<()> {
        match self.peer(side) {
            None => self.ours.close(),
            Some(peer) => drop(peer.ask("close")?),
        }
        Ok(())
    }

    /// The process of a side; none: it is ours.
    fn peer(&mut self, side: &str) -> Option<&mut Peer> {
        match side {
            "kazoo" => Some(&mut self.kazoo),
            "curator" => Some(&mut self.curator),
            _ => None,
        }
    }
}
