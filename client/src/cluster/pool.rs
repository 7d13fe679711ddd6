//! Connections to brokers by address and purpose, made when needed, with a pause after a failure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::ClusterConfig;
use crate::connection::Connection;
use crate::error::ConnectionError;

/// What a connection is for. Replies come in order, so what may wait long goes its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Metadata, offsets, administration.
    Control,
    /// Produce, or long-polling fetches.
    Data,
    /// The group's coordinator: joins wait for others.
    Group,
}

type Slot = Arc<tokio::sync::Mutex<Entry>>;

/// One address. The lock is held while connecting, so that callers share one attempt.
#[derive(Debug, Default)]
struct Entry {
    connection: Option<Connection>,
    failures: u32,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Pool {
    config: crate::config::ConnectionConfig,
    backoff: Duration,
    backoff_max: Duration,
    entries: Mutex<HashMap<(String, Purpose), Slot>>,
}

impl Pool {
    pub(super) fn new(config: &ClusterConfig) -> Self {
        Self {
            config: config.connection.clone(),
            backoff: config.retry_backoff,
            backoff_max: config.reconnect_backoff_max,
            entries: Mutex::new(HashMap::new()),
        }
    }

    /// Ends the connections to all other addresses. A broker that left the cluster answers nobody:
    /// whoever waits for it hears now, and not when a deadline has passed.
    pub(super) fn keep(&self, addresses: &BTreeSet<String>) {
        self.entries.lock().retain(|(address, _), slot| {
            if addresses.contains(address) {
                return true;
            }
            // Somebody connects: that ends by itself.
            let Ok(entry) = slot.try_lock() else {
                return true;
            };
            if let Some(connection) = &entry.connection {
                connection.close();
            }
            false
        });
    }

    pub(super) async fn get(
        &self,
        address: &str,
        purpose: Purpose,
    ) -> Result<Connection, ConnectionError> {
        let key = (address.to_owned(), purpose);
        let slot = Arc::clone(self.entries.lock().entry(key).or_default());
        let mut entry = slot.lock().await;
        if let Some(open) = entry.connection.as_ref().filter(|c| c.is_open()) {
            return Ok(open.clone());
        }
        entry.connection = None;
        if let Some(at) = entry.retry_at {
            tokio::time::sleep_until(at).await;
        }
        match Connection::connect(address, self.config.clone()).await {
            Ok(connection) => {
                entry.connection = Some(connection.clone());
                entry.failures = 0;
                entry.retry_at = None;
                Ok(connection)
            }
            Err(error) => {
                let pause = self.backoff.saturating_mul(1 << entry.failures.min(10));
                entry.failures += 1;
                entry.retry_at = Some(Instant::now() + pause.min(self.backoff_max));
                Err(error)
            }
        }
    }
}
