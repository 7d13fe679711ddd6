//! The logs of this broker: one folder a partition, in Kafka's file formats, the end of each mapped.
//!
//! `log_dirs.rs` opens and closes all folders, `log.rs` is one partition's log and the hub of the
//! rest. Used by `replication/`; knows neither the wire's messages nor ZooKeeper, reads no clock
//! (callers pass `now_ms`) and runs no async code.

mod error;
mod log_config;
mod signatures;

pub use error::{AppendError, IdentityError, LogDirsError, ReadError, StorageError};
pub use log_config::LogConfig;
pub use signatures::*;
