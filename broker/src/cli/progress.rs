//! Progress of long work, on standard error: a bar on a terminal, a line now and then otherwise.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use crate::cli::tell::tell;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use nyala_coordinator::clock;

/// Without a terminal one line in this time is enough.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Counts records and bytes, and shows them.
#[derive(Debug)]
pub(super) struct Progress {
    verb: &'static str,
    bar: Option<ProgressBar>,
    began: Instant,
    line_at: Instant,
    records: u64,
    bytes: u64,
}

impl Progress {
    /// `total` bytes, where known. A bar only if `shown`: it would mix with data on a terminal.
    pub(super) fn new(verb: &'static str, total: Option<u64>, shown: bool) -> Self {
        let began = clock::now();
        let bar = (shown && std::io::stderr().is_terminal()).then(|| bar(total));
        Self {
            verb,
            bar,
            began,
            line_at: began + LINE_INTERVAL,
            records: 0,
            bytes: 0,
        }
    }

    /// So many more are done.
    pub(super) fn add(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
            bar.set_message(format!("{} records", self.records));
            return;
        }
        let now = clock::now();
        if now >= self.line_at {
            self.line_at = now + LINE_INTERVAL;
            tell!("nyala: {}", self.summary());
        }
    }

    /// Says something without tearing the bar.
    pub(super) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| tell!("nyala: {line}")),
            None => tell!("nyala: {line}"),
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Counts and rate in one line.
    pub(super) fn summary(&self) -> String {
        let elapsed = self.elapsed();
        let millis = elapsed.as_millis().max(1);
        let rate = u128::from(self.records) * 1000 / millis;
        let bytes_rate = u128::from(self.bytes) * 1000 / millis;
        format!(
            "{} {} record{}, {} in {:.1} s ({rate} records/s, {}/s)",
            self.verb,
            self.records,
            if self.records == 1 { "" } else { "s" },
            HumanBytes(self.bytes),
            elapsed.as_secs_f64(),
            HumanBytes(u64::try_from(bytes_rate).unwrap_or(u64::MAX)),
        )
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg} eta {eta}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {bytes} {binary_bytes_per_sec} {msg}",
        ),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
