//! Rows to CSV, to a table for README, and to a plot.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::target::Side;

/// One run of one workload on one side.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Position and name of the workload.
    pub(crate) workload: (usize, &'static str),
    /// Which broker.
    pub(crate) side: Side,
    /// Number of the run, from 0.
    pub(crate) run: usize,
    /// Operations (requests or records) per second.
    pub(crate) operations_s: f64,
    /// MB (1,000,000 bytes) per second.
    pub(crate) mb_s: f64,
    /// Latency of an operation at the median, milliseconds.
    pub(crate) p50_ms: f64,
    /// The same at 99%.
    pub(crate) p99_ms: f64,
    /// CPU seconds of the broker during the run.
    pub(crate) cpu_s: f64,
    /// Operations per broker CPU second.
    pub(crate) operations_per_cpu_s: f64,
    /// MB per broker CPU second.
    pub(crate) mb_per_cpu_s: f64,
    /// Anonymous memory of the broker after the run, MiB.
    pub(crate) anonymous_mib: f64,
}

/// Writes every row as CSV.
pub(crate) fn csv(rows: &[Row], path: &Path) -> Result<()> {
    let mut text = String::from(
        "workload,side,run,operations_s,mb_s,p50_ms,p99_ms,cpu_s,operations_per_cpu_s,mb_per_cpu_s,anonymous_mib\n",
    );
    for r in rows {
        writeln!(
            text,
            "\"{}\",{},{},{:.0},{:.2},{:.3},{:.3},{:.2},{:.0},{:.1},{:.1}",
            r.workload.1,
            r.side.name(),
            r.run,
            r.operations_s,
            r.mb_s,
            r.p50_ms,
            r.p99_ms,
            r.cpu_s,
            r.operations_per_cpu_s,
            r.mb_per_cpu_s,
            r.anonymous_mib
        )?;
    }
    Ok(fs::write(path, text)?)
}

/// Median and spread (lowest to highest) of one figure of one side.
#[derive(Clone, Copy, Debug, Default)]
struct Figure {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Figure {
    /// Median and half the spread, such as `1200 ±3%`.
    fn show(self) -> String {
        let digits = if self.median < 10.0 { 2 } else { 0 };
        let spread = (self.highest - self.lowest) / 2.0 / self.median * 100.0;
        format!("{:.digits$} ±{spread:.0}%", self.median)
    }
}

fn figure(rows: &[&Row], side: Side, of: impl Fn(&Row) -> f64) -> Figure {
    let mut values: Vec<f64> = rows
        .iter()
        .filter(|r| r.side == side)
        .map(|r| of(r))
        .collect();
    values.sort_by(f64::total_cmp);
    let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    let last = values.len().saturating_sub(1);
    let median = f64::midpoint(at(last / 2), at(values.len() / 2));
    Figure {
        median,
        lowest: at(0),
        highest: at(last),
    }
}

/// Two ratios of one workload, ours to Kafka's; more than 1 is in our favour.
#[derive(Clone, Debug)]
struct Ratio {
    name: &'static str,
    throughput: f64,
    per_cpu: f64,
}

fn by_workload(rows: &[Row]) -> BTreeMap<(usize, &'static str), Vec<&Row>> {
    let mut all: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        all.entry(row.workload).or_default().push(row);
    }
    all
}

/// The table, in Markdown: a workload a line; medians, with half the spread of the runs in percent.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| workload | operations/s | Kafka's | ratio | MB per CPU s | Kafka's | ratio \
         | p50 / p99 ms | Kafka's | anonymous MiB | Kafka's |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for ((_, name), rows) in by_workload(rows) {
        let both = |of: &dyn Fn(&Row) -> f64| {
            (
                figure(&rows, Side::Nyala, of),
                figure(&rows, Side::Kafka, of),
            )
        };
        let (rate, rate_kafka) = both(&|r| r.operations_s);
        let (cpu, cpu_kafka) = both(&|r| r.mb_per_cpu_s);
        let (p50, p50_kafka) = both(&|r| r.p50_ms);
        let (p99, p99_kafka) = both(&|r| r.p99_ms);
        let (memory, memory_kafka) = both(&|r| r.anonymous_mib);
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {:.2} | {} | {} | {:.2} | {:.2} / {:.2} | {:.2} / {:.2} | {:.0} | {:.0} |",
            rate.show(),
            rate_kafka.show(),
            rate.median / rate_kafka.median,
            cpu.show(),
            cpu_kafka.show(),
            cpu.median / cpu_kafka.median,
            p50.median,
            p99.median,
            p50_kafka.median,
            p99_kafka.median,
            memory.median,
            memory_kafka.median
        );
    }
    text
}

/// A bar chart of the ratios (ours to Kafka's), logarithmic, with a line at 1.
pub(crate) fn plot(rows: &[Row], path: &Path) -> Result<()> {
    let ratios: Vec<Ratio> = by_workload(rows)
        .into_iter()
        .map(|((_, name), rows)| {
            let ratio = |of: &dyn Fn(&Row) -> f64| {
                figure(&rows, Side::Nyala, of).median / figure(&rows, Side::Kafka, of).median
            };
            Ratio {
                name,
                throughput: ratio(&|r| r.operations_s),
                per_cpu: ratio(&|r| r.mb_per_cpu_s),
            }
        })
        .collect();
    let height = 60 + 34 * ratios.len();
    // 110 pixels a doubling, from 1/2 at x = 330.
    let x = |ratio: f64| 440.0 + 110.0 * ratio.clamp(0.5, 32.0).log2();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1020\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\">Nyala to Kafka 3.9.1, ratio (logarithmic): \
         <tspan fill=\"#1b6\">per broker CPU second</tspan>, <tspan fill=\"#48c\">throughput</tspan></text>\n"
    );
    for power in -1..=5 {
        let ratio = 2_f64.powi(power);
        writeln!(
            svg,
            "<line x1=\"{0:.0}\" x2=\"{0:.0}\" y1=\"45\" y2=\"{height}\" stroke=\"{1}\"/>\
             <text x=\"{0:.0}\" y=\"40\" text-anchor=\"middle\">{ratio}</text>",
            x(ratio),
            if power == 0 { "#444" } else { "#ddd" }
        )?;
    }
    for (i, r) in ratios.iter().enumerate() {
        let y = 52 + 34 * i;
        writeln!(
            svg,
            "<text x=\"320\" y=\"{}\" text-anchor=\"end\">{}</text>",
            y + 16,
            r.name
        )?;
        for (offset, colour, ratio) in [(0, "#1b6", r.per_cpu), (13, "#48c", r.throughput)] {
            let (from, to) = (x(1.0).min(x(ratio)), x(1.0).max(x(ratio)));
            writeln!(
                svg,
                "<rect x=\"{from:.1}\" y=\"{}\" width=\"{:.1}\" height=\"11\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{ratio:.2}</text>",
                y + offset,
                to - from,
                to + 4.0,
                y + offset + 10
            )?;
        }
    }
    svg.push_str("</svg>\n");
    Ok(fs::write(path, svg)?)
}
