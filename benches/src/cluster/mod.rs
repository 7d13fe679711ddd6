//! Figures of a cluster: three brokers of one side after three of the other, each with a real
//! ZooKeeper 3.8.4, replication factor 3, `min.insync.replicas=2`, sessions of 6 s.

mod failover;
mod metadata;
mod partitions;
mod throughput;
mod trio;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::target::Side;
use trio::Trio;

/// How much to measure.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    /// Leaders killed.
    pub(crate) kills: usize,
    /// Seconds of each measured run.
    pub(crate) seconds: f64,
    /// Seconds of warm-up before throughput is measured.
    pub(crate) warm_up: f64,
    /// Only parts with this in their name.
    pub(crate) only: Option<String>,
}

/// Session timeout of all brokers.
const SESSION: Duration = Duration::from_secs(6);

/// One figure.
struct Figure {
    name: &'static str,
    text: String,
}

type Part = (&'static str, fn(&mut Trio, &Sizes) -> Result<Vec<Figure>>);

const PARTS: [Part; 4] = [
    ("throughput", throughput::measure),
    ("shutdown", failover::shutdowns),
    ("failover", failover::kills),
    ("partitions", partitions::measure),
];

/// Measures both sides; a table in Markdown.
pub(crate) fn compare(out: &Path, sizes: &Sizes) -> Result<String> {
    let mut columns = Vec::new();
    for side in [Side::Nyala, Side::Kafka] {
        let mut figures = Vec::new();
        for (name, measure) in PARTS {
            if sizes.only.as_ref().is_some_and(|only| !name.contains(only)) {
                continue;
            }
            // Each part has a cluster of its own: none stands on what another left behind.
            eprintln!("{}: {name}", side.name());
            let mut trio = Trio::start(side, out)?;
            for figure in measure(&mut trio, sizes)? {
                eprintln!("  {}: {}", figure.name, figure.text);
                figures.push(figure);
            }
        }
        columns.push(figures);
    }
    let mut text = "| figure | Nyala | Kafka |\n| --- | ---: | ---: |\n".to_owned();
    if let [ours, theirs] = columns.as_slice() {
        for (ours, theirs) in ours.iter().zip(theirs) {
            writeln!(text, "| {} | {} | {} |", ours.name, ours.text, theirs.text)?;
        }
    }
    Ok(text)
}

/// Median, and the value at 99%, of durations, in milliseconds.
fn spread(values: &mut [Duration]) -> String {
    values.sort();
    let at = |share: usize| {
        let rank = (values.len() * share).div_ceil(100).max(1) - 1;
        values.get(rank).copied().unwrap_or_default().as_millis()
    };
    format!("{} / {}", at(50), at(99))
}
