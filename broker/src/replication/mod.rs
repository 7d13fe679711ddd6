//! Partitions of this broker: role, log and high watermark of each, and the table of them.
//!
//! `api` appends and reads here, `cluster` says who leads, `groups` keeps its offsets in partitions
//! like any other. `fetchers` copies what other brokers lead, over `peers`. Waiting is registering a
//! [`Waiter`] with partitions, never a callback. Only `fetchers`, `peers` and
//! `isr_changes` (AlterPartition) know the wire.

mod config;
mod error;
mod fetchers;
mod isr;
mod isr_changes;
mod leadership;
mod lease;
mod nearest;
mod partition;
mod peers;
mod progress;
mod state;
mod table;
mod terms;
mod throttle;
mod waits;

pub use config::{PartitionConfig, ReplicaSettings, TimestampType};
pub use error::{AppendError, FollowError, ReadError, WaitError};
pub use fetchers::{FetcherParts, FetcherSettings, Fetchers};
pub use isr::{IsrAnswer, IsrWish};
pub use isr_changes::{IsrChanges, IsrParts};
pub use lease::Lease;
pub use partition::Partition;
pub use peers::{PeerError, Peers, PeersConfig, Purpose};
pub use state::{
    Applied, FetchPosition, FollowerFetch, FollowerView, LeaderOffsets, ReplicaState, Role,
};
pub use table::{Lookup, Table};
pub use terms::{Acks, Isolation, Offsets, ReadRequest, ReadSlice, Receipt};
pub use throttle::{Side, Throttle, ThrottledReplicas};
pub use waits::{WaitSet, Waiter};
