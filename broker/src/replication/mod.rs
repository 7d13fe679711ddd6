//! Partitions of this broker: role, log and high watermark of each, and the table of them.
//!
//! `api` appends and reads here, `cluster` says who leads, `groups` keeps its offsets in partitions
//! like any other. Waiting is registering a [`Waiter`] with partitions, never a callback. Nothing
//! here knows the wire.

mod config;
mod error;
mod isr;
mod partition;
mod table;
mod terms;
mod waits;

pub use config::{PartitionConfig, TimestampType};
pub use error::{AppendError, ReadError, WaitError};
pub use partition::Partition;
pub use table::{Lookup, Table};
pub use terms::{Acks, Isolation, Offsets, ReadRequest, ReadSlice, Receipt};
pub use waits::{WaitSet, Waiter};
