//! How long an administrative request waits for what it changed to be seen.

use std::time::Duration;

/// Longest wait, whatever the request says: the connection is busy meanwhile.
const WAIT_MS_MAX: i32 = 300_000;

/// `timeout_ms` of a request; zero or less answers at once, as in Kafka.
pub(super) fn admin_timeout(timeout_ms: i32) -> Duration {
    let ms = timeout_ms.clamp(0, WAIT_MS_MAX);
    Duration::from_millis(u64::from(ms.unsigned_abs()))
}
