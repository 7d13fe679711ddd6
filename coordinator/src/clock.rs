//! The only reader of the system's clocks in the workspace; async code waits by tokio's.
//!
//! Deadlines and timeouts use monotonic time; wall time is only for what is stored or shown.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock"
)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall time in milliseconds since 1970, as Kafka's records and znodes carry it.
#[must_use]
pub fn wall_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Monotonic time that all processes of this machine share, in milliseconds from some moment before they
/// began: a deadline for another process.
#[must_use]
pub fn monotonic_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, millis) = (
        u64::try_from(now.tv_sec),
        u64::try_from(now.tv_nsec / 1_000_000),
    );
    seconds.unwrap_or(0) * 1000 + millis.unwrap_or(0)
}

/// Monotonic time, for deadlines.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
