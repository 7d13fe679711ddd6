//! What callers of a partition say and hear: acknowledgement, isolation, receipts, slices.

use crate::storage::{Appended, Durable, FileSlice};

/// `acks` of a produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// 0: the producer takes no answer.
    None,
    /// 1: the leader has it.
    Leader,
    /// -1: all replicas in sync have it.
    All,
}

/// What a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Everything below the high watermark.
    ReadUncommitted,
    /// Everything below the last stable offset.
    ReadCommitted,
    /// Everything there is: followers only.
    LogEnd,
}

/// Proof of an append, and what is left to wait for before it may be acknowledged.
#[derive(Debug)]
pub struct Receipt {
    /// What was appended.
    pub appended: Appended,
    /// Under `flush.before.ack`: ready when it is on disk.
    pub durable: Option<Durable>,
    /// Whether every replica in sync has it already.
    pub replicated: bool,
}

/// What to read.
#[derive(Debug, Clone, Copy)]
pub struct ReadRequest {
    /// First offset wanted.
    pub offset: i64,
    /// At most so many bytes ...
    pub max_bytes: usize,
    /// ... unless this is set and the first batch has more (KIP-74).
    pub at_least_one: bool,
    /// Up to where.
    pub isolation: Isolation,
    /// Leader epoch that the reader knows, if it does (KIP-320).
    pub leader_epoch: Option<i32>,
    /// Whether a follower may answer too (KIP-392).
    pub at_follower: bool,
}

/// What was read, and the offsets at that moment.
#[derive(Debug)]
pub struct ReadSlice {
    /// Record batches, still in their file.
    pub slice: FileSlice,
    /// High watermark.
    pub high_watermark: i64,
    /// Last stable offset.
    pub last_stable: i64,
    /// First offset of the log.
    pub log_start: i64,
}

/// Offsets of a partition at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// First offset of the log.
    pub log_start: i64,
    /// Last stable offset.
    pub last_stable: i64,
    /// High watermark.
    pub high_watermark: i64,
    /// Offset of the next record.
    pub next: i64,
}
