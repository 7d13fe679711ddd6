//! `compare`: the same workloads against ours and a real Apache Kafka 3.9.1, one table.
//!
//! Both brokers run at the same time on the same disk, idle but for the workload at hand; runs
//! alternate between them, after a warm-up of both. What is printed are medians with the spread,
//! and every raw row goes into `results.csv`, a plot of the ratios into `ratios.svg`.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

mod cluster;
mod cold_reader;
mod driver;
mod environment;
mod histogram;
mod page_cache;
mod raw;
mod recipes;
mod report;
mod target;
mod usage;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

use report::Row;
use target::{Side, Target};
use usage::Usage;
use workload::{Kind, Until, Workload};

/// Compares Nyala with a real Apache Kafka 3.9.1 (fetched through Maven when missing).
#[derive(Debug, Parser)]
struct Args {
    /// Seconds of each measured run.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds of warm-up of each side before a workload is measured.
    #[arg(long, default_value_t = 20.0)]
    warm_up: f64,
    /// Measured runs of each workload on each side; the sides alternate.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only workloads whose name contains this text.
    #[arg(long)]
    only: Option<String>,
    /// A quick look at whether all of it works: half-second runs of little data; the figures mean nothing.
    #[arg(long)]
    smoke: bool,
    /// Instead of one broker of each side: three, and what a cluster is for - failover, shutdown,
    /// acks=all, many partitions. The sides run one after the other.
    #[arg(long)]
    cluster: bool,
    /// Instead of brokers: locks and queues of ours, kazoo's and Curator's on one real ZooKeeper.
    #[arg(long, conflicts_with = "cluster")]
    recipes: bool,
    /// With `--recipes`: ZooKeeper does not sync its log, so that the disk has no part in the figures.
    #[arg(long, requires = "recipes")]
    unsynced: bool,
    /// Leaders killed by `--cluster`.
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// Folder of both brokers' data while it runs, and of the results.
    #[arg(long, default_value = "benches/out")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    let mut read_bytes = READ_BYTES;
    if args.smoke {
        (args.seconds, args.warm_up, args.runs) = (0.5, 0.5, 1);
        read_bytes /= 64;
    }
    fs::create_dir_all(&args.out)?;
    let out = args.out.canonicalize()?;
    let environment = environment::describe();
    eprintln!("{}", environment.join("\n"));
    if args.cluster || args.recipes {
        return compare_others(args, &out);
    }
    let sides = [Side::Nyala, Side::Kafka];
    let targets = sides.into_iter().map(|side| Target::start(side, &out));
    let targets = targets.collect::<Result<Vec<_>>>()?;
    let wanted = |w: &&Workload| args.only.as_ref().is_none_or(|text| w.name.contains(text));
    let mut page_cache = page_cache::Filler::new(&out)?;
    let mut rows = Vec::new();
    for workload in workload::ALL.iter().filter(wanted) {
        eprintln!("{}", workload.name);
        for target in &targets {
            measure(target, workload, args.warm_up, read_bytes, WARM_UP)
                .with_context(|| format!("{}: {}", target.side.name(), workload.name))?;
        }
        for run in 0..args.runs {
            for target in &targets {
                if !args.smoke {
                    page_cache.fill()?;
                }
                let row = measure(target, workload, args.seconds, read_bytes, run)
                    .with_context(|| format!("{}: {}", target.side.name(), workload.name))?;
                eprintln!(
                    "  {} run {run}: {:.0} operations/s, {:.0} MB per CPU s, {:.0} operations per CPU s",
                    row.side.name(),
                    row.operations_s,
                    row.mb_per_cpu_s,
                    row.operations_per_cpu_s
                );
                rows.push(row);
            }
        }
        // After every workload, so that an interrupted comparison keeps what it has.
        report::csv(&rows, &out.join("results.csv"))?;
    }
    report::plot(&rows, &out.join("ratios.svg"))?;
    let mut text = environment
        .iter()
        .map(|l| format!("- {l}\n"))
        .collect::<String>();
    for target in &targets {
        text += &format!(
            "- {} ready after {:.0} ms\n",
            target.side.name(),
            target.ready_ms
        );
    }
    text += &format!("\n{}", report::table(&rows));
    fs::write(out.join("table.md"), &text)?;
    println!("{text}");
    eprintln!("rows, table and plot: {}", out.display());
    Ok(())
}

/// The comparisons that are not of one broker with another.
fn compare_others(args: Args, out: &Path) -> Result<()> {
    let (name, text) = if args.cluster {
        let sizes = cluster::Sizes {
            kills: args.kills,
            seconds: args.seconds,
            warm_up: args.warm_up,
            only: args.only,
        };
        ("cluster", cluster::compare(out, &sizes)?)
    } else {
        let sizes = recipes::Sizes {
            seconds: args.seconds,
            warm_up: args.warm_up,
            runs: args.runs,
            only: args.only,
            synced: !args.unsynced,
        };
        (sizes.name(), recipes::compare(out, &sizes)?)
    };
    fs::write(out.join(format!("{name}.md")), &text)?;
    println!("{text}");
    Ok(())
}

/// What is written to be read: raw fetches read two partitions of eight, consumers all.
const READ_BYTES: u64 = 1 << 30;

/// Number of the run that is not measured.
const WARM_UP: usize = usize::MAX;

/// One run of `workload` against `target` on a topic of its own, which has `read_bytes` if it is to be read.
fn measure(
    target: &Target,
    workload: &Workload,
    seconds: f64,
    read_bytes: u64,
    run: usize,
) -> Result<Row> {
    let topic = Topic::create(target, workload, run)?;
    let (address, name) = (target.address.as_str(), topic.name.as_str());
    // What is read has the same length on both sides. The faster one would have the longer log otherwise,
    // and reading it the fewer hits in the CPU's cache.
    let records = read_bytes / workload.record_bytes as u64;
    match workload.kind {
        Kind::Consume => drop(driver::produce(
            address,
            name,
            workload,
            Until::Sent(records),
        )?),
        Kind::RawFetch => raw::fill(address, name, workload, read_bytes)?,
        _ => {}
    }
    let before = usage::of(target.pid);
    let mut used = None;
    let moved = match workload.kind {
        Kind::Produce => driver::produce(address, name, workload, Until::after(seconds))?,
        Kind::Consume => driver::consume(address, name, workload, records)?,
        Kind::Latency => driver::end_to_end(address, name, workload, seconds)?,
        Kind::RawProduce | Kind::RawLatency | Kind::RawFetch => {
            raw::run(address, name, workload, seconds)?
        }
        Kind::RawBesideColdReader => {
            let old_bytes = 2 * read_bytes;
            let (moved, meanwhile) =
                cold_reader::beside(target, workload, name, seconds, old_bytes)?;
            used = Some(meanwhile);
            moved
        }
    };
    let Usage {
        cpu_s,
        anonymous_mib,
    } = used.unwrap_or_else(|| usage::of(target.pid).since(before));
    let mb = moved.bytes as f64 / 1e6;
    let (p50_ms, p99_ms) = moved.latencies.p50_p99_ms();
    let index = position(workload);
    Ok(Row {
        workload: (index, workload.name),
        side: target.side,
        run,
        operations_s: moved.operations as f64 / moved.seconds,
        mb_s: mb / moved.seconds,
        p50_ms,
        p99_ms,
        cpu_s,
        operations_per_cpu_s: moved.operations as f64 / cpu_s,
        mb_per_cpu_s: mb / cpu_s,
        anonymous_mib,
    })
}

fn position(workload: &Workload) -> usize {
    workload::ALL
        .iter()
        .position(|w| w.name == workload.name)
        .unwrap_or(0)
}

/// A topic for one run, deleted after it: no run reads or fills another's log, or pays for its deletion.
struct Topic {
    name: String,
    admin: AdminClient<DefaultClientContext>,
    /// Of its broker.
    folder: PathBuf,
}

impl Topic {
    fn create(target: &Target, workload: &Workload, run: usize) -> Result<Self> {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", &target.address)
            .create()?;
        let index = position(workload);
        let name = format!("compare-{index}-{}", run.wrapping_add(1));
        let mut topic = NewTopic::new(&name, workload.partitions, TopicReplication::Fixed(1));
        if run == WARM_UP {
            // Both sides delete what is old, so that a long warm-up fits a small disk. Not while it is
            // measured: memory that was given back is dearer to touch than all else (`page_cache.rs`).
            topic = topic
                .set("retention.bytes", "536870912")
                .set("segment.bytes", "134217728");
        }
        let results = block_on(admin.create_topics([&topic], &AdminOptions::new()))?;
        for result in results {
            result.map_err(|(name, code)| anyhow::anyhow!("cannot create {name}: {code}"))?;
        }
        // The creation is answered before every broker leads: wait until all partitions have a leader.
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let metadata = admin
                .inner()
                .fetch_metadata(Some(&name), Duration::from_secs(10))?;
            let led = metadata.topics().iter().flat_map(|t| t.partitions());
            if led.filter(|p| p.leader() >= 0).count() == usize::try_from(workload.partitions)? {
                let folder = target.folder.clone();
                return Ok(Self {
                    name,
                    admin,
                    folder,
                });
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "topic {name} got no leaders in 30 s"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        let _ = block_on(
            self.admin
                .delete_topics(&[&self.name], &AdminOptions::new()),
        );
        let deadline = Instant::now() + Duration::from_secs(30);
        while page_cache::has_logs(&self.folder, &self.name) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn block_on<F: std::future::Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a current-thread runtime starts")
        .block_on(future)
}
