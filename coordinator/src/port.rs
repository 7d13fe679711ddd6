//! Listening on a port that a process which was killed still gives back.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::time::Instant;

/// A port in use has so long to become free.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Binds by `bind`, again and again while the port is in use: the kernel gives it back when it has taken the maps and
/// sockets of a killed process apart, and whoever restarts that is faster.
///
/// # Errors
/// That of `bind`: at once, unless it is [`ErrorKind::AddrInUse`].
pub async fn bind_patiently<T, F>(mut bind: impl FnMut() -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match bind().await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                tokio::time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_waited_for_and_other_errors_are_not() {
        let mut attempts = 0;
        let bound = bind_patiently(|| {
            attempts += 1;
            let in_use = attempts < 3;
            async move {
                match in_use {
                    true => Err(ErrorKind::AddrInUse.into()),
                    false => Ok(7),
                }
            }
        });
        assert_eq!(bound.await.expect("free by then"), 7);
        assert_eq!(attempts, 3);
        for (kind, again) in [
            (ErrorKind::AddrInUse, true),
            (ErrorKind::PermissionDenied, false),
        ] {
            let mut attempts = 0;
            let refused = bind_patiently(|| {
                attempts += 1;
                async move { Err::<(), _>(kind.into()) }
            });
            assert_eq!(refused.await.expect_err("never free").kind(), kind);
            assert_eq!(attempts > 1, again, "{attempts}");
        }
    }
}
