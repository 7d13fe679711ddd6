//! The logs of this broker: one folder a partition, in Kafka's file formats, the end of each mapped.
//!
//! `log_dirs.rs` opens and closes all folders, `log.rs` is one partition's log and the hub of the
//! rest. Used by `replication/`; knows neither the wire's messages nor ZooKeeper, reads no clock
//! (callers pass `now_ms`) and runs no async code.
//!
//! Files of one partition `T-P/`, each named by the first offset of its segment:
//!
//! ```text
//! 00000000000000000000.log        record batches v2, one after the other
//! 00000000000000000000.index      u32 offset - base, u32 position       one entry every index.interval.bytes
//! 00000000000000000000.timeindex  u64 timestamp, u32 offset - base      largest timestamp so far
//! 00000000000000000000.txnindex   aborted transactions                  Kafka's; only looked for, and removed with its segment
//! 00000000000000012345.snapshot   producers' state as of offset 12345
//! leader-epoch-checkpoint         epoch, first offset of it
//! partition.metadata              topic id
//! fences                          fencing tokens                        only under the produce guard
//! ```
//!
//! Offsets, and the order that holds between them at all times:
//!
//! ```text
//! log_start <= first_unstable <= high_watermark <= next_offset
//!              recovery_point                   <= next_offset
//!
//! active .log  |== synced ==|== committed ==|-- window, zero --|-- allocated, zero --|
//!              0            recovery point  tail               window end            file size
//! ```
//!
//! Invariant: a store through a map only ever hits allocated file space (`mmap.rs`). Invariant: bytes
//! before `tail` never change; bytes behind it are nobody's until committed, and are cut on recovery.

#![deny(clippy::indexing_slicing)]

mod append;
mod batch_head;
mod boundaries;
mod checkpoint;
mod close;
mod durable;
mod epochs;
mod error;
mod fences;
mod flush;
mod guard;
mod health;
mod identity;
mod index_file;
mod log;
mod log_config;
mod log_dir;
mod log_dirs;
mod mmap;
mod names;
mod offset_index;
mod open;
mod producers;
mod properties;
mod read;
mod recovery;
mod reservation;
mod retention;
mod roll;
mod rounds;
mod segment;
mod sequence;
mod snapshot;
mod space;
mod tail;
mod time_index;
mod times;
mod truncate;
mod workers;

#[cfg(test)]
mod testing;

pub use append::{AppendAs, Appended, Origin};
pub use epochs::EpochEnd;
pub use error::{AppendError, IdentityError, LogDirsError, ReadError, StorageError};
pub use fences::{FenceMark, FenceRefusal, fence_marks};
pub use flush::Durable;
pub use health::{Health, LowDir};
pub use log::{Log, SharedLog};
pub use log_config::LogConfig;
pub use log_dir::DirState;
pub use log_dirs::{ConfigOf, LogDirs, LogDirsConfig, OpenReport};
pub use producers::Transactions;
pub use properties::Identity;
pub use read::{FileSlice, ReadAt, TimestampOffset};
pub use recovery::RecoveryReport;
pub use reservation::Reservation;
pub use rounds::RoundReport;
