//! `__consumer_offsets` as the broker's own partitions hold it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::log::{LoadError, OffsetsLog, WriteError, Written};
use crate::replication::{
    Acks, AppendError, Isolation, Partition, ReadError, ReadRequest, Receipt, Table, WaitError,
};
use crate::storage::{self, Origin};

/// Topic that holds groups and their offsets.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The partitions of [`OFFSETS_TOPIC`] in the broker's table.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    table: Arc<Table>,
    acks: Acks,
    timeout: Duration,
}

impl PartitionLog {
    /// `acks` and `timeout`: `offsets.commit.required.acks` and `offsets.commit.timeout.ms`.
    pub(crate) fn new(table: Arc<Table>, acks: Acks, timeout: Duration) -> Self {
        Self {
            table,
            acks,
            timeout,
        }
    }

    fn partition(&self, partition: i32) -> Option<Arc<Partition>> {
        self.table.get(OFFSETS_TOPIC, partition)
    }
}

impl OffsetsLog for PartitionLog {
    fn append(&self, partition: i32, batch: &[u8], now_ms: i64) -> Result<Written, WriteError> {
        let partition = self.partition(partition).ok_or(WriteError::NotLeader)?;
        if batch.len() > partition.config().max_message_bytes {
            return Err(WriteError::TooLarge { bytes: batch.len() });
        }
        let receipt = partition
            .append(batch, Origin::Coordinator, self.acks, now_ms)
            .map_err(|error| refused(&error, batch.len()))?;
        let base_offset = receipt.appended.base_offset;
        let done = receipt.durable.is_none() && (receipt.replicated || self.acks != Acks::All);
        let deadline = Instant::now() + self.timeout;
        let wait = wait(partition, receipt, self.acks, deadline);
        Ok(Written {
            base_offset,
            pending: (!done).then(|| Box::pin(wait) as super::log::Replicated),
        })
    }

    fn read(&self, partition: i32, offset: i64, bytes_max: usize) -> Result<Vec<u8>, LoadError> {
        let partition = self.partition(partition).ok_or(LoadError::NotLeader)?;
        let request = ReadRequest {
            offset,
            max_bytes: bytes_max,
            at_least_one: true,
            isolation: Isolation::ReadUncommitted,
            leader_epoch: None,
        };
        let read = partition.read(&request).map_err(|e| unreadable(&e))?;
        let bytes = read.slice.read_all();
        bytes.map_err(|error| LoadError::Read(error.to_string()))
    }

    fn start(&self, partition: i32) -> Result<i64, LoadError> {
        let partition = self.partition(partition).ok_or(LoadError::NotLeader)?;
        let offsets = partition.offsets(None).map_err(|e| unreadable(&e))?;
        Ok(offsets.log_start)
    }
}

async fn wait(
    partition: Arc<Partition>,
    receipt: Receipt,
    acks: Acks,
    deadline: Instant,
) -> Result<(), WriteError> {
    if let Some(durable) = receipt.durable {
        durable.await.map_err(|_| WriteError::NotLeader)?;
    }
    if receipt.replicated || acks != Acks::All {
        return Ok(());
    }
    let last_offset = receipt.appended.last_offset;
    let replicated = partition.wait_replicated(last_offset, deadline).await;
    replicated.map_err(|error| match error {
        WaitError::TimedOut => WriteError::TimedOut,
        WaitError::NotLeader(_) | WaitError::Storage(_) => WriteError::NotLeader,
    })
}

fn refused(error: &AppendError, bytes: usize) -> WriteError {
    match error {
        AppendError::NotLeader(_) => WriteError::NotLeader,
        AppendError::NotEnoughReplicas { .. } => WriteError::NotNow,
        AppendError::Log(error) => match error {
            storage::AppendError::LargerThanSegment { .. } => WriteError::TooLarge { bytes },
            storage::AppendError::LowSpace { .. } | storage::AppendError::NoSpace(_) => {
                WriteError::NotNow
            }
            storage::AppendError::Storage(_) => WriteError::NotLeader,
            storage::AppendError::Malformed(_)
            | storage::AppendError::OutOfOrderSequence { .. }
            | storage::AppendError::InvalidProducerEpoch { .. }
            | storage::AppendError::OffsetOutOfOrder { .. } => WriteError::Unwritable,
        },
    }
}

fn unreadable(error: &ReadError) -> LoadError {
    match error {
        ReadError::NotLeader(_)
        | ReadError::FencedEpoch { .. }
        | ReadError::UnknownEpoch { .. } => LoadError::NotLeader,
        ReadError::Log(error) => LoadError::Read(error.to_string()),
    }
}
