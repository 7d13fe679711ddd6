//! A one-shot watch made into a current value: read, publish, wait for the hint, read again.
//!
//! Level-triggered: the value published is always one that was read, hints only say when to look.
//! After a reconnect every watch fires, so what was missed meanwhile is read then.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::session::Watch;

/// Pause after a read that failed.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// Keeps a value current until it is dropped.
#[derive(Debug)]
pub struct Watched<T> {
    current: watch::Receiver<T>,
    _task: AbortOnDropHandle<()>,
}

impl<T: Clone + PartialEq + Send + Sync + 'static> Watched<T> {
    /// Reads once, then follows. `read` arms the watch in the same call that reads.
    ///
    /// An error of the first read is given back; later ones leave the last value and are retried.
    pub async fn start<F, Fut, E>(read: F) -> Result<Self, E>
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(T, Watch), E>> + Send,
        E: std::fmt::Display + Send,
    {
        let (value, mut armed) = read().await?;
        let (publish, current) = watch::channel(value);
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = armed.changed() => {}
                    () = publish.closed() => return,
                }
                armed = loop {
                    match read().await {
                        Ok((value, armed)) => {
                            publish.send_if_modified(|old| {
                                let changed = *old != value;
                                *old = value;
                                changed
                            });
                            break armed;
                        }
                        Err(e) => {
                            debug!("reading again: {e}");
                            tokio::time::sleep(RETRY_EVERY).await;
                        }
                    }
                };
            }
        });
        Ok(Self {
            current,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// The value now and all later ones.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<T> {
        self.current.clone()
    }

    /// The value now.
    #[must_use]
    pub fn current(&self) -> T {
        self.current.borrow().clone()
    }
}
