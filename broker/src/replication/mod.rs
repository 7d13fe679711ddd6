//! Partitions of this broker: role, log and high watermark of each, and the table of them.
//!
//! `api` appends and reads here, `cluster` says who leads, `groups` keeps its offsets in partitions
//! like any other. `fetchers` copies what other brokers lead, over `peers`. Waiting is registering a [`Waiter`] with partitions, never a callback. Nothing
//! here knows the wire.

mod config;
mod error;
mod fetchers;
mod isr;
mod partition;
mod peers;
mod table;
mod terms;
mod waits;

pub use config::{PartitionConfig, TimestampType};
pub use error::{AppendError, ReadError, WaitError};
pub use fetchers::{FetcherParts, FetcherSettings, Fetchers};
pub use partition::Partition;
pub use peers::{PeerError, Peers, PeersConfig, Purpose};
pub use table::{Lookup, Table};
pub use terms::{Acks, Isolation, Offsets, ReadRequest, ReadSlice, Receipt};
pub use waits::{WaitSet, Waiter};
