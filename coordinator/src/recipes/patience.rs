//! How long a recipe waits: an optional limit over several steps, and ZooKeeper coming back.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::session::Session;

/// A limit that several steps share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    deadline: Option<Instant>,
}

impl Patience {
    /// `None` waits for ever.
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        Self { deadline }
    }

    /// `step`'s outcome, or `None` when the time is over first.
    pub(super) async fn of<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        match self.deadline {
            Some(deadline) => timeout_at(deadline, step).await.ok(),
            None => Some(step.await),
        }
    }
}

/// Pause between looks at something that fails while the session says that it is connected.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until calls go through again, a moment at least; or until the session was closed, which the next
/// call says.
pub(super) async fn until_connected(session: &Session) {
    tokio::time::sleep(PAUSE).await;
    session.connected_or_closed().await;
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Place, soon, until};
    use super::*;

    #[tokio::test]
    async fn a_session_that_is_closed_while_zookeeper_is_away_is_not_waited_for() {
        let mut place = Place::start().await;
        let session = place.session().await;
        place.stop().await;
        until("the loss", || async { !session.state().is_connected() }).await;
        let waiting = {
            let session = session.clone();
            tokio::spawn(async move { until_connected(&session).await })
        };
        session.close().await;
        soon("the end", waiting).await.expect("no panic");
    }
}
