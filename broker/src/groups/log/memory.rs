//! A log in memory, which can be told to fail or to wait.

use std::collections::HashMap;

use nyala_client::wire::batch::{BatchView, Batches, stamp};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Led, LoadError, OffsetsLog, Replicated, WriteError, Written};

#[derive(Debug)]
pub(crate) struct MemoryLog {
    partitions: Mutex<HashMap<i32, Vec<u8>>>,
    failure: Mutex<Option<WriteError>>,
    unreadable: Mutex<bool>,
    /// What replication waits for; `None` within: replicated at once.
    replication: watch::Sender<Option<Result<(), WriteError>>>,
    held: Mutex<bool>,
    deposed: Mutex<bool>,
}

impl MemoryLog {
    pub(crate) fn new() -> Self {
        Self {
            partitions: Mutex::default(),
            failure: Mutex::default(),
            unreadable: Mutex::default(),
            replication: watch::Sender::new(None),
            held: Mutex::default(),
            deposed: Mutex::default(),
        }
    }

    /// Every append fails from now on, or none.
    pub(crate) fn fail(&self, failure: Option<WriteError>) {
        *self.failure.lock() = failure;
    }

    pub(crate) fn set_unreadable(&self, unreadable: bool) {
        *self.unreadable.lock() = unreadable;
    }

    /// Another broker leads from now on, and nobody has told the groups.
    pub(crate) fn depose(&self) {
        *self.deposed.lock() = true;
    }

    fn replicated(&self) -> Option<Replicated> {
        let mut replication = self.replication.subscribe();
        let wait = async move {
            let result = replication.wait_for(Option::is_some).await;
            result.expect("the log lives").expect("a result")
        };
        self.held.lock().then(|| Box::pin(wait) as Replicated)
    }

    /// Appends wait for replication until `release`.
    pub(crate) fn hold(&self) {
        *self.held.lock() = true;
        self.replication.send_replace(None);
    }

    pub(crate) fn release(&self, result: Result<(), WriteError>) {
        *self.held.lock() = false;
        self.replication.send_replace(Some(result));
    }

    pub(crate) fn bytes(&self, partition: i32) -> Vec<u8> {
        self.partitions
            .lock()
            .get(&partition)
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn put(&self, partition: i32, bytes: Vec<u8>) {
        self.partitions.lock().insert(partition, bytes);
    }
}

fn next_offset(bytes: &[u8]) -> i64 {
    let last = Batches::new(bytes).filter_map(Result::ok).last();
    last.map_or(0, |batch| batch.next_offset())
}

impl OffsetsLog for MemoryLog {
    fn leads(&self, _led: Led) -> bool {
        !*self.deposed.lock()
    }

    fn settled(&self, _led: Led) -> Result<Option<Replicated>, LoadError> {
        Ok(self.replicated())
    }

    fn append(&self, led: Led, batch: &[u8], _now_ms: i64) -> Result<Written, WriteError> {
        if let Some(failure) = *self.failure.lock() {
            return Err(failure);
        }
        BatchView::parse(batch)
            .expect("a batch")
            .check_crc()
            .expect("its checksum");
        let mut partitions = self.partitions.lock();
        let bytes = partitions.entry(led.partition).or_default();
        let base_offset = next_offset(bytes);
        let mut batch = batch.to_vec();
        stamp(&mut batch, base_offset, 0);
        bytes.extend(batch);
        Ok(Written {
            base_offset,
            pending: self.replicated(),
        })
    }

    fn read(&self, led: Led, offset: i64, bytes_max: usize) -> Result<Vec<u8>, LoadError> {
        if *self.unreadable.lock() {
            return Err(LoadError::Read("told to fail".to_owned()));
        }
        let bytes = self.bytes(led.partition);
        let mut result = Vec::new();
        for batch in Batches::new(&bytes).filter_map(Result::ok) {
            if batch.next_offset() > offset
                && (result.is_empty() || result.len() + batch.size() <= bytes_max)
            {
                result.extend(batch.bytes());
            }
        }
        Ok(result)
    }

    fn start(&self, _led: Led) -> Result<i64, LoadError> {
        Ok(0)
    }
}
