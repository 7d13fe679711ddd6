//! Waiting on a condition with a deadline that says what it saw last.

use std::fmt::Debug;
use std::time::Duration;

use nyala_coordinator::clock;

/// Longest wait of a test for something that ought to happen soon: generous, for loaded machines.
pub const SOON: Duration = Duration::from_secs(120);

const PAUSE: Duration = Duration::from_millis(20);

/// Calls `look` until it answers `Ok`; panics with its last `Err` when `SOON` is over.
pub fn until<T, E: Debug>(what: &str, look: impl FnMut() -> Result<T, E>) -> T {
    until_within(SOON, what, look)
}

/// As [`until`], with a deadline of its own.
pub fn until_within<T, E: Debug>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let end = clock::now() + limit;
    loop {
        match look() {
            Ok(value) => return value,
            Err(state) if clock::now() > end => {
                panic!("{what}: not within {limit:?}; last seen: {state:?}")
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// As [`until`], for async tests.
pub async fn until_async<T, E: Debug, F: Future<Output = Result<T, E>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let end = clock::now() + SOON;
    loop {
        match look().await {
            Ok(value) => return value,
            Err(state) if clock::now() > end => {
                panic!("{what}: not within {SOON:?}; last seen: {state:?}")
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
