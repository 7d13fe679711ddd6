//! acks=all with three replicas: MB per CPU second, summed over the brokers. The load is prebuilt
//! frames, so that the brokers are the limit; all eight partitions are led by one of them.

use anyhow::Result;

use super::trio::Trio;
use super::{Figure, Sizes};
use crate::page_cache::Filler;
use crate::raw;
use crate::workload::{Kind, Workload};

const RUNS: usize = 3;
const PARTITIONS: usize = 8;

/// Settings of a topic of which a long warm-up fits a small disk.
const KEEPING_LITTLE: [(&str, &str); 2] = [
    ("retention.bytes", "268435456"),
    ("segment.bytes", "67108864"),
];

pub(super) fn measure(trio: &mut Trio, sizes: &Sizes) -> Result<Vec<Figure>> {
    let mut page_cache = Filler::new(trio.folder())?;
    let mut figures = Vec::new();
    for (name, batch_records, record_bytes) in [
        (
            "acks=all, 16 KB batches: MB per CPU second of all brokers (MB/s)",
            150,
            100,
        ),
        (
            "acks=all, 1 MB batches: MB per CPU second of all brokers (MB/s)",
            1000,
            1024,
        ),
    ] {
        let workload = Workload {
            batch_records,
            record_bytes,
            acks: -1,
            ..Workload::raw(Kind::RawProduce)
        };
        let address = trio.address(0).to_owned();
        let warm = format!("warm-{batch_records}");
        trio.create_topic(&warm, PARTITIONS, &KEEPING_LITTLE)?;
        raw::run(&address, &warm, &workload, sizes.warm_up)?;
        trio.delete_topic(&warm)?;
        let mut runs = Vec::new();
        for run in 0..RUNS {
            // Nothing is deleted while it is measured: touching memory that was given back is dearer
            // than all else (`page_cache.rs`).
            let topic = format!("acks-all-{batch_records}-{run}");
            trio.create_topic(&topic, PARTITIONS, &[])?;
            page_cache.fill()?;
            let before = trio.cpu_s();
            let moved = raw::run(&address, &topic, &workload, sizes.seconds)?;
            let mb = moved.bytes as f64 / 1e6;
            runs.push((mb / (trio.cpu_s() - before), mb / moved.seconds));
            trio.delete_topic(&topic)?;
        }
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (per_cpu, rate) = runs[RUNS / 2];
        figures.push(Figure {
            name,
            text: format!("{per_cpu:.0} ({rate:.0})"),
        });
    }
    Ok(figures)
}
