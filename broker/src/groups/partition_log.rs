//! `__consumer_offsets` as the broker's own partitions hold it.

use std::sync::Arc;
use std::time::Duration;

use nyala_coordinator::ids::LeaderEpoch;
use tokio::time::Instant;

use super::log::{Led, LoadError, OffsetsLog, Replicated, WriteError, Written};
use crate::replication::{
    Acks, AppendError, Isolation, Partition, ReadError, ReadRequest, Receipt, Table, WaitError,
};
use crate::storage;

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

    /// The partition, if it is led in that epoch.
    fn partition(&self, led: Led) -> Option<Arc<Partition>> {
        let partition = self.table.get(OFFSETS_TOPIC, led.partition)?;
        let leads = partition.check_epoch(Some(led.epoch)).is_ok();
        leads.then_some(partition)
    }
}

impl OffsetsLog for PartitionLog {
    fn leads(&self, led: Led) -> bool {
        let partition = self.table.get(OFFSETS_TOPIC, led.partition);
        partition.is_some_and(|p| p.serves_in(LeaderEpoch(led.epoch)))
    }

    fn settled(&self, led: Led) -> Result<Option<Replicated>, LoadError> {
        let partition = self.partition(led).ok_or(LoadError::NotLeader)?;
        let offsets = partition.offsets(Some(led.epoch));
        let offsets = offsets.map_err(|e| unreadable(&e))?;
        if offsets.high_watermark >= offsets.next {
            return Ok(None);
        }
        let deadline = Instant::now() + self.timeout;
        Ok(Some(Box::pin(async move {
            let replicated = partition.wait_replicated(offsets.next - 1, deadline);
            replicated.await.map_err(|error| unreplicated(&error))
        })))
    }

    fn append(&self, led: Led, batch: &[u8], now_ms: i64) -> Result<Written, WriteError> {
        let partition = self.partition(led).ok_or(WriteError::NotLeader)?;
        if batch.len() > partition.config().max_message_bytes {
            return Err(WriteError::TooLarge { bytes: batch.len() });
        }
        let receipt = partition
            .append_in(LeaderEpoch(led.epoch), batch, self.acks, now_ms)
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

    fn read(&self, led: Led, offset: i64, bytes_max: usize) -> Result<Vec<u8>, LoadError> {
        let partition = self.partition(led).ok_or(LoadError::NotLeader)?;
        let request = ReadRequest {
            offset,
            max_bytes: bytes_max,
            at_least_one: true,
            isolation: Isolation::ReadUncommitted,
            leader_epoch: Some(led.epoch),
            at_follower: false,
        };
        let read = partition.read(&request).map_err(|e| unreadable(&e))?;
        let bytes = read.slice.read_all();
        bytes.map_err(|error| LoadError::Read(error.to_string()))
    }

    fn start(&self, led: Led) -> Result<i64, LoadError> {
        let partition = self.partition(led).ok_or(LoadError::NotLeader)?;
        let offsets = partition.offsets(Some(led.epoch));
        let offsets = offsets.map_err(|e| unreadable(&e))?;
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
    replicated.map_err(|error| unreplicated(&error))
}

fn unreplicated(error: &WaitError) -> WriteError {
    match error {
        WaitError::TimedOut => WriteError::TimedOut,
        WaitError::NotEnoughReplicas(_) => WriteError::NotNow,
        WaitError::NotLeader(_) | WaitError::Storage(_) => WriteError::NotLeader,
    }
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
            | storage::AppendError::Fence(_)
            | storage::AppendError::OffsetOutOfOrder { .. } => WriteError::Unwritable,
        },
    }
}

fn unreadable(error: &ReadError) -> LoadError {
    match error {
        ReadError::NotLeader(_)
        | ReadError::FencedEpoch { .. }
        | ReadError::UnknownEpoch { .. }
        | ReadError::NotReplica { .. }
        | ReadError::StaleBroker { .. }
        | ReadError::OffsetNotAvailable(_) => LoadError::NotLeader,
        ReadError::Log(error) => LoadError::Read(error.to_string()),
    }
}
