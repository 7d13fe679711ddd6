//! Latencies in microseconds with three significant digits.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest duration that is told apart, 10 minutes; longer ones count as this.
const MICROS_MAX: u64 = 600_000_000;

/// A histogram of durations.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_max(MICROS_MAX, 3).expect("three digits are allowed"))
    }
}

impl Latencies {
    /// Notes one duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        self.0
            .saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds those of another thread.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// Milliseconds at half and at 99 of 100; 0 when nothing was recorded.
    pub(crate) fn p50_p99_ms(&self) -> (f64, f64) {
        let quantile_ms = |q| self.0.value_at_quantile(q) as f64 / 1000.0;
        (quantile_ms(0.5), quantile_ms(0.99))
    }
}
